/*
 * CallRecord: what is known about one call, and who owns what it has made.
 *
 * A signal handler of the program runs between two instructions of Python code, and may raise:
 * KeyboardInterrupt, or anything else. So an exception can come when the kernel has answered and before the
 * answer is stored: the number of a new descriptor is lost, or a close that was made is taken for one that
 * was not. No order of Python statements prevents that. C code does: handlers do not run inside of it.
 *
 * Hence a caller whose call must not be lost makes a record first, and hands it to the function that
 * makes the call. From then on there is always an answer to two questions:
 *
 *  - Was the call made? `sent` is False until the moment when it is, and never True without it.
 *  - Who owns the result? The record does, from the moment when the kernel has made it. A handle takes it
 *    over in one step (`track`, in handles.c). A record that dies before that gives it back: a descriptor
 *    becomes garbage of its table, a mapping is unmapped.
 *
 * A close is the same the other way around: the handle gives its number to a record in one step (`untrack`),
 * and the record lets it go in the step that makes the call. Interrupted before, the number is closed when
 * the record dies; after, it never is a second time.
 *
 * The memory of a process that shares ours says which descriptors pipe2, socketpair, recvmsg and recvmmsg have
 * made; they are read from there. Elsewhere only the reader of the memory learns them.
 */
#include "record.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arguments.h"
#include "freestanding.h"
#include "garbage.h"

enum { NOT_SENT, SENT, ANSWERED };
enum { MAKES_NOTHING, MAKES_DESCRIPTOR, MAKES_DESCRIPTORS_IN_MEMORY, MAKES_MAPPING };

/* As many as one message carries (SCM_MAX_FD is 253). */
#define MOST_DESCRIPTORS 256
/* SCM_PIDFD, which C libraries do not have yet. */
#define SCM_PIDFD_ 4

struct CallRecord {
	PyObject_HEAD
	PyObject *table;	/* of the descriptors; NULL: it makes none */
	int64_t result;
	uint64_t length;	/* of the mapping; how many messages recvmmsg has room for */
	uint64_t address;	/* where the kernel leaves descriptors */
	int64_t nr;
	int *more;		/* all of the numbers, if there are more than few */
	int few[2];
	unsigned int room;	/* in more */
	int closing;		/* what it owned until the call was made that closes it; -1: nothing */
	unsigned int n_owned;
	uint8_t makes, state, owns_mapping;
	CallRecord *next, **link;	/* in the list of those that own descriptors which are in memory */
};

static PyTypeObject *record_type;
static CallRecord *in_memory_records;

static int *owned(CallRecord *self)
{
	return self->more ? self->more : self->few;
}

static void list_remove(CallRecord *self)
{
	if (self->link) {
		*self->link = self->next;
		if (self->next)
			self->next->link = self->link;
		self->link = NULL;
	}
}

void rsys_record_disown(CallRecord *self, int number)
{
	int *numbers = owned(self);
	unsigned int i;

	for (i = 0; i < self->n_owned; i++)
		if (numbers[i] == number)
			numbers[i--] = numbers[--self->n_owned];
	if (!self->n_owned)
		list_remove(self);
}

void rsys_records_disown(PyObject *table, int number)
{
	CallRecord *record, *next;

	for (record = in_memory_records; record; record = next) {
		next = record->next;
		if (record->table == table)
			rsys_record_disown(record, number);
	}
}

/* Make room for this many numbers in all. */
static int make_room(CallRecord *self, unsigned int count)
{
	int *more;

	if (count <= (self->more ? self->room : 2))
		return 0;
	more = PyMem_Realloc(self->more, 2 * count * sizeof(int));
	if (!more)
		return -1;
	if (!self->more)
		memcpy(more, self->few, sizeof(self->few));
	self->more = more;
	self->room = 2 * count;
	return 0;
}

void rsys_record_own(CallRecord *self, int number)
{
	if (make_room(self, self->n_owned + 1) == 0)
		owned(self)[self->n_owned++] = number;
}

void rsys_record_sent(CallRecord *self, const int64_t v[7], int in_memory)
{
	self->state = SENT;
	self->nr = v[0];
	if (v[0] == __NR_close) {
		unsigned int before = self->n_owned;

		rsys_record_disown(self, (int)v[1]);
		self->closing = before != self->n_owned ? (int)v[1] : -1;
	} else if (self->makes == MAKES_DESCRIPTORS_IN_MEMORY && in_memory) {
		int second = v[0] == __NR_recvmsg || v[0] == __NR_recvmmsg;

		self->address = v[0] == __NR_socketpair ? v[4] : second ? v[2] : v[1];
		self->length = v[0] == __NR_recvmmsg ? (uint32_t)v[3] : 1;
	}
}

void rsys_record_unsent(CallRecord *self)
{
	self->state = NOT_SENT;
	if (self->closing >= 0)
		rsys_record_own(self, self->closing);
	self->closing = -1;
}

/* Those that came with one message, besides those that are owned already. */
static void own_received(CallRecord *self, struct msghdr *msg)
{
	struct cmsghdr *part;
	unsigned int total = 0, n;

	for (part = CMSG_FIRSTHDR(msg); part; part = CMSG_NXTHDR(msg, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_len < CMSG_LEN(0) ||
		    (part->cmsg_type != SCM_RIGHTS && part->cmsg_type != SCM_PIDFD_))
			continue;
		n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (!n || total + n > MOST_DESCRIPTORS)
			continue;
		if (make_room(self, self->n_owned + n) < 0)
			break;
		memcpy(owned(self) + self->n_owned, CMSG_DATA(part), n * sizeof(int));
		self->n_owned += n;
		total += n;
	}
}

/* As struct mmsghdr, which C libraries have only among their extensions. */
struct header {
	struct msghdr hdr;
	unsigned int len;
};

/* That many headers have been filled, at most. */
static void own_all_received(CallRecord *self, uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count && i < self->length; i++)
		own_received(self, &((struct header *)self->address)[i].hdr);
}

static void list_add(CallRecord *self)
{
	if (!self->n_owned || self->link)
		return;
	self->next = in_memory_records;
	self->link = &in_memory_records;
	if (self->next)
		self->next->link = &self->next;
	in_memory_records = self;
}

void rsys_record_answered(CallRecord *self, int64_t result)
{
	int failed = result < 0 && result >= -4095;

	self->state = ANSWERED;
	self->result = result;
	if (failed || self->nr == __NR_close)
		return;
	switch (self->makes) {
	case MAKES_DESCRIPTOR:
		/* A process that is not trusted may answer anything. */
		if (result >= 0 && result <= INT_MAX)
			rsys_record_own(self, (int)result);
		break;
	case MAKES_DESCRIPTORS_IN_MEMORY:
		if (!self->address)
			break;
		if (self->nr == __NR_recvmsg) {
			own_received(self, (struct msghdr *)self->address);
		} else if (self->nr == __NR_recvmmsg) {
			own_all_received(self, (uint64_t)result);
		} else {
			memcpy(self->few, (void *)self->address, sizeof(self->few));
			self->n_owned = 2;
		}
		list_add(self);
		break;
	case MAKES_MAPPING:
		self->owns_mapping = 1;
		break;
	}
}

void rsys_record_release(CallRecord *self)
{
	list_remove(self);
	self->n_owned = 0;
	self->owns_mapping = 0;
}

int rsys_record_owns(CallRecord *self)
{
	return self->n_owned || self->owns_mapping;
}

int rsys_as_record(PyObject *obj, CallRecord **ret)
{
	*ret = NULL;
	if (obj == Py_None)
		return 0;
	if (!PyObject_TypeCheck(obj, record_type)) {
		PyErr_Format(PyExc_TypeError, "expected a CallRecord or None, not %R", obj);
		return -1;
	}
	*ret = (CallRecord *)obj;
	return 0;
}

/* CallRecord(table=None, in_memory=False, length=0) */
static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	/* Made for every call that opens or closes something: PyArg_ParseTuple would take half of the time. */
	Py_ssize_t n = PyTuple_Size(args);
	PyObject *table = n > 0 ? PyTuple_GetItem(args, 0) : Py_None;
	int in_memory = n > 1 && PyTuple_GetItem(args, 1) == Py_True;
	unsigned long long length = n > 2 ? PyLong_AsUnsignedLongLong(PyTuple_GetItem(args, 2)) : 0;
	CallRecord *self;

	if (n > 3 || kwargs) {
		PyErr_SetString(PyExc_TypeError, "CallRecord(table, in_memory, length)");
		return NULL;
	}
	if (PyErr_Occurred())
		return NULL;
	self = (CallRecord *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!self)
		return NULL;
	self->closing = -1;
	if (table != Py_None) {
		Py_INCREF(table);
		self->table = table;
		self->makes = in_memory ? MAKES_DESCRIPTORS_IN_MEMORY : MAKES_DESCRIPTOR;
	} else if (length) {
		self->makes = MAKES_MAPPING;
		self->length = length;
	}
	return (PyObject *)self;
}

/* No caller wants what this record owns. */
static void give_up(CallRecord *self, int quietly)
{
	unsigned int n = self->n_owned, i;

	list_remove(self);
	self->n_owned = 0;
	for (i = 0; i < n; i++)
		rsys_abandon(self->table, owned(self)[i], quietly);
	if (self->owns_mapping)
		munmap((void *)self->result, self->length);
	self->owns_mapping = 0;
}

static void record_dealloc(PyObject *op)
{
	CallRecord *self = (CallRecord *)op;
	PyTypeObject *type = Py_TYPE(op);

	give_up(self, 0);
	PyMem_Free(self->more);
	Py_XDECREF(self->table);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

/* begin(number, args...): the call is made now, by code that does not know of records */
static PyObject *record_begin(PyObject *op, PyObject *args)
{
	PyObject *items[7];
	int64_t v[7];
	Py_ssize_t n = PyTuple_Size(args), i;

	for (i = 0; i < n && i < 7; i++)
		items[i] = PyTuple_GetItem(args, i);
	if (rsys_parse_call(items, n, v) < 0)
		return NULL;
	rsys_record_sent((CallRecord *)op, v, 0);
	Py_RETURN_NONE;
}

static PyObject *record_unsent(PyObject *op, PyObject *unused)
{
	(void)unused;
	rsys_record_unsent((CallRecord *)op);
	Py_RETURN_NONE;
}

static PyObject *record_answer(PyObject *op, PyObject *arg)
{
	int64_t result;

	if (rsys_as_word(arg, &result) < 0)
		return NULL;
	rsys_record_answered((CallRecord *)op, result);
	Py_RETURN_NONE;
}

/* own(number): a descriptor of the table that has no other owner */
static PyObject *record_own(PyObject *op, PyObject *arg)
{
	long number = PyLong_AsLong(arg);

	if (number == -1 && PyErr_Occurred())
		return NULL;
	if (!((CallRecord *)op)->table || number < 0 || number > INT_MAX) {
		PyErr_SetString(PyExc_ValueError, "only what is made for a table can be owned, by its number");
		return NULL;
	}
	rsys_record_own((CallRecord *)op, (int)number);
	Py_RETURN_NONE;
}

/* release(): what was made has an owner now, who knows it from the answer */
static PyObject *record_release(PyObject *op, PyObject *unused)
{
	(void)unused;
	rsys_record_release((CallRecord *)op);
	Py_RETURN_NONE;
}

/* give_up(quietly=False): what is owned becomes garbage; quietly, the hook of the table is not called */
static PyObject *record_give_up(PyObject *op, PyObject *args)
{
	int quietly = 0;

	if (!PyArg_ParseTuple(args, "|p", &quietly))
		return NULL;
	give_up((CallRecord *)op, quietly);
	Py_RETURN_NONE;
}

/*
 * lost(): the process has left our memory, which is as it left it, before recvmmsg was answered. Descriptors of
 * messages that had come by then are owned: the table has them, if others share it.
 */
static PyObject *record_lost(PyObject *op, PyObject *unused)
{
	CallRecord *self = (CallRecord *)op;
	uint64_t count = 0;

	(void)unused;
	if (self->state == SENT && self->nr == __NR_recvmmsg && self->address) {
		/* The kernel leaves this flag, which it was asked for, in a header when a message has come. */
		while (count < self->length &&
		       ((struct header *)self->address)[count].hdr.msg_flags & MSG_CMSG_CLOEXEC)
			count++;
		rsys_record_answered(self, (int64_t)count);
	}
	Py_RETURN_NONE;
}

/*
 * part(index) -> a record that owns, in the place of this one, what came with one of the messages of recvmmsg. It
 * looks into the memory: not for one who has let others write there since the call.
 */
static PyObject *record_part(PyObject *op, PyObject *arg)
{
	CallRecord *self = (CallRecord *)op, *part;
	PyTypeObject *type = Py_TYPE(op);
	unsigned long long index = PyLong_AsUnsignedLongLong(arg);
	unsigned int i, n;

	if (PyErr_Occurred())
		return NULL;
	part = (CallRecord *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!part)
		return NULL;
	part->closing = -1;
	Py_XINCREF(self->table);
	part->table = self->table;
	part->makes = self->makes;
	part->state = self->state;
	part->result = self->result;
	part->nr = self->nr;
	part->address = self->address;
	if (self->state == ANSWERED && self->nr == __NR_recvmmsg && self->address && index < self->length)
		own_received(part, &((struct header *)self->address)[index].hdr);
	/* What has another owner already stays there. */
	for (i = 0; i < part->n_owned;) {
		int number = owned(part)[i];

		n = self->n_owned;
		rsys_record_disown(self, number);
		if (n != self->n_owned)
			i++;
		else
			rsys_record_disown(part, number);
	}
	list_add(part);
	return (PyObject *)part;
}

static PyObject *get_sent(PyObject *op, void *unused)
{
	(void)unused;
	return PyBool_FromLong(((CallRecord *)op)->state != NOT_SENT);
}

static PyObject *get_refused(PyObject *op, void *unused)
{
	CallRecord *self = (CallRecord *)op;

	(void)unused;
	return PyBool_FromLong(self->state == ANSWERED && self->result < 0 && self->result >= -4095);
}

static PyObject *get_result(PyObject *op, void *unused)
{
	CallRecord *self = (CallRecord *)op;

	(void)unused;
	if (self->state != ANSWERED)
		Py_RETURN_NONE;
	return PyLong_FromLongLong(self->result);
}

static PyObject *get_owned(PyObject *op, void *unused)
{
	CallRecord *self = (CallRecord *)op;
	PyObject *numbers = PyTuple_New(self->n_owned);
	unsigned int i;

	(void)unused;
	for (i = 0; numbers && i < self->n_owned; i++)
		PyTuple_SetItem(numbers, i, PyLong_FromLong(owned(self)[i]));
	return numbers;
}

static PyObject *get_sees_memory(PyObject *op, void *unused)
{
	(void)unused;
	return PyBool_FromLong(((CallRecord *)op)->address != 0);
}

static PyMethodDef record_methods[] = {
	{ "begin", record_begin, METH_VARARGS, NULL },
	{ "unsent", record_unsent, METH_NOARGS, NULL },
	{ "answer", record_answer, METH_O, NULL },
	{ "own", record_own, METH_O, NULL },
	{ "lost", record_lost, METH_NOARGS, NULL },
	{ "part", record_part, METH_O, NULL },
	{ "give_up", record_give_up, METH_VARARGS, NULL },
	{ "release", record_release, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef record_attributes[] = {
	{ "sent", get_sent, NULL, NULL, NULL },
	{ "refused", get_refused, NULL, NULL, NULL },
	{ "result", get_result, NULL, NULL, NULL },
	{ "owned", get_owned, NULL, NULL, NULL },
	{ "sees_memory", get_sees_memory, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot record_slots[] = {
	{ Py_tp_new, record_new },
	{ Py_tp_dealloc, record_dealloc },
	{ Py_tp_methods, record_methods },
	{ Py_tp_getset, record_attributes },
	{ 0, NULL },
};

static PyType_Spec record_spec = {
	"rsyscall.native.fast.CallRecord", sizeof(CallRecord), 0, Py_TPFLAGS_DEFAULT, record_slots,
};

PyTypeObject *rsys_record_init(void)
{
	if (!record_type)
		record_type = (PyTypeObject *)PyType_FromSpec(&record_spec);
	return record_type;
}
