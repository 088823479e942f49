/*
 * Allocation: a range of bytes of an arena, and their owner.
 *
 * An allocation is divided, joined and given back in one step each, by a destructor too, in any thread: see
 * space.c, which makes allocations. Nothing records them: their owners know them.
 *
 * Allocations start at multiples of 16, and have bytes up to the next one; parts of them start anywhere.
 */
#include "allocation.h"

#include "space.h"

#include <structmember.h>

static PyTypeObject *allocation_type;
static PyObject *use_after_free_error;

Allocation *rsys_new_allocation(PyTypeObject *type)
{
	Allocation *self = (Allocation *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

	if (self) {
		Py_INCREF(Py_False);
		self->valid = Py_False;
	}
	return self;
}

void rsys_set_valid(Allocation *self, PyObject *valid)
{
	PyObject *before = self->valid;

	if (before != valid) {
		int change = valid == Py_True ? 1 : -1;

		self->space->n_live += change;
		self->in->n_live += change;
		rsys_arena_changed(self->space, self->in);
	}
	Py_INCREF(valid);
	self->valid = valid;
	Py_DECREF(before);
}

int rsys_place(Allocation *self, FreeSpace *space, struct arena *arena, uint64_t start, uint64_t end,
		 uint64_t limit)
{
	PyObject *start_object = PyLong_FromUnsignedLongLong(start), *end_object = PyLong_FromUnsignedLongLong(end);

	if (!start_object || !end_object) {
		Py_XDECREF(start_object);
		Py_XDECREF(end_object);
		return -1;
	}
	self->start_object = start_object;
	self->end_object = end_object;
	Py_INCREF((PyObject *)space);
	self->space = space;
	Py_INCREF(arena->object);
	self->arena = arena->object;
	self->in = arena;
	self->start = start;
	self->end = end;
	self->limit = limit;
	return 0;
}

static void give_back(Allocation *self)
{
	if (self->valid == Py_True) {
		rsys_set_valid(self, Py_False);
		rsys_holes_give(self->space, self->in, self->start, self->limit);
	}
}

static void allocation_finalize(PyObject *op)
{
	give_back((Allocation *)op);
}

static int allocation_traverse(PyObject *op, visitproc visit, void *arg)
{
	Allocation *self = (Allocation *)op;

	Py_VISIT(Py_TYPE(op));
	Py_VISIT(self->arena);
	Py_VISIT((PyObject *)self->space);
	return 0;
}

static int allocation_clear(PyObject *op)
{
	give_back((Allocation *)op);
	Py_CLEAR(((Allocation *)op)->arena);
	return 0;
}

static void allocation_dealloc(PyObject *op)
{
	Allocation *self = (Allocation *)op;
	PyTypeObject *type = Py_TYPE(op);

	PyObject_GC_UnTrack(op);
	give_back(self);
	Py_XDECREF(self->arena);
	Py_XDECREF(self->start_object);
	Py_XDECREF(self->end_object);
	Py_XDECREF(self->valid);
	Py_XDECREF((PyObject *)self->space);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

static int check_valid(Allocation *self)
{
	if (self->valid == Py_True)
		return 0;
	PyErr_Format(use_after_free_error, "allocation was freed, or consumed by split or merge: %R", self);
	return -1;
}

static PyObject *allocation_offset(PyObject *op, PyObject *unused)
{
	Allocation *self = (Allocation *)op;

	(void)unused;
	if (check_valid(self) < 0)
		return NULL;
	Py_INCREF(self->start_object);
	return self->start_object;
}

static PyObject *allocation_size(PyObject *op, PyObject *unused)
{
	Allocation *self = (Allocation *)op;

	(void)unused;
	return PyLong_FromUnsignedLongLong(self->end - self->start);
}

static PyObject *allocation_slack(PyObject *op, PyObject *unused)
{
	Allocation *self = (Allocation *)op;

	(void)unused;
	return PyLong_FromUnsignedLongLong(self->limit - self->end);
}

static PyObject *allocation_free(PyObject *op, PyObject *unused)
{
	(void)unused;
	give_back((Allocation *)op);
	Py_RETURN_NONE;
}

/*
 * The one argument of a method, given by position or by this name. Argument clinic would do it, but its
 * parser is not part of the limited API.
 */
static PyObject *only_argument(const char *method, const char *name, PyObject *const *args, Py_ssize_t n,
			       PyObject *names)
{
	Py_ssize_t named = names ? PyTuple_Size(names) : 0;

	if (n + named == 1 && (!named || PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), name) == 0))
		return args[0];
	PyErr_Format(PyExc_TypeError, "%s(%s) takes exactly this one argument", method, name);
	return NULL;
}

static PyObject *allocation_split(PyObject *op, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
	PyObject *arg = only_argument("split", "size", args, n, names);
	Allocation *self = (Allocation *)op, *left, *right;
	long long size;
	PyObject *pair = NULL;

	if (!arg || check_valid(self) < 0)
		return NULL;
	size = PyLong_AsLongLong(arg);
	if (size == -1 && PyErr_Occurred())
		return NULL;
	if (size < 0 || (uint64_t)size > self->end - self->start) {
		PyErr_Format(PyExc_ValueError, "cannot split %lld bytes off an allocation of %llu", size,
			     (unsigned long long)(self->end - self->start));
		return NULL;
	}
	if (rsys_holes_prepare(self->space, 1) < 0)
		return NULL;
	left = rsys_new_allocation(Py_TYPE(op));
	right = rsys_new_allocation(Py_TYPE(op));
	if (left && right && !rsys_place(left, self->space, self->in, self->start, self->start + size, self->start + size) &&
	    !rsys_place(right, self->space, self->in, self->start + size, self->end, self->limit))
		pair = PyTuple_Pack(2, (PyObject *)left, (PyObject *)right);
	/* Making objects may run destructors, but those cannot have freed this one: the caller has it. */
	if (pair && check_valid(self) < 0)
		Py_CLEAR(pair);
	if (pair) {
		rsys_set_valid(self, Py_False);
		rsys_set_valid(left, Py_True);
		rsys_set_valid(right, Py_True);
	}
	Py_XDECREF((PyObject *)left);
	Py_XDECREF((PyObject *)right);
	return pair;
}

static PyObject *allocation_merge(PyObject *op, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
	PyObject *arg = only_argument("merge", "other", args, n, names);
	Allocation *self = (Allocation *)op, *other, *merged;

	if (!arg || check_valid(self) < 0)
		return NULL;
	if (!PyObject_TypeCheck(arg, allocation_type) || ((Allocation *)arg)->in != self->in) {
		PyErr_Format(PyExc_ValueError, "allocations are not of the same arena: %R and %R", op, arg);
		return NULL;
	}
	other = (Allocation *)arg;
	if (other != self && check_valid(other) < 0)
		return NULL;
	/* The last condition tells empty parts in the right order from those in the wrong one. */
	if (other == self || other->start != self->end || self->limit != self->end) {
		PyErr_Format(PyExc_ValueError, "the second allocation does not begin where the first one ends: %R and %R",
			     op, arg);
		return NULL;
	}
	merged = rsys_new_allocation(Py_TYPE(op));
	if (!merged)
		return NULL;
	if (rsys_place(merged, self->space, self->in, self->start, other->end, other->limit) < 0 || check_valid(self) < 0 ||
	    check_valid(other) < 0) {
		Py_DECREF((PyObject *)merged);
		return NULL;
	}
	rsys_set_valid(self, Py_False);
	rsys_set_valid(other, Py_False);
	rsys_set_valid(merged, Py_True);
	return (PyObject *)merged;
}

/* divide([(start, size), ...]) -> allocations, which consume this one: each up to where the next begins */
static PyObject *allocation_divide(PyObject *op, PyObject *list)
{
	Allocation *self = (Allocation *)op;
	Py_ssize_t n = PyList_Size(list), i;
	PyObject *parts;

	if (n < 0 || check_valid(self) < 0 || rsys_holes_prepare(self->space, n) < 0)
		return NULL;
	parts = PyList_New(n);
	for (i = 0; parts && i < n; i++) {
		unsigned long long start, size, limit = self->limit - self->start, unused;
		Allocation *part = rsys_new_allocation(Py_TYPE(op));

		if (!part || !PyArg_ParseTuple(PyList_GetItem(list, i), "KK", &start, &size) ||
		    (i + 1 < n && !PyArg_ParseTuple(PyList_GetItem(list, i + 1), "KK", &limit, &unused)) ||
		    rsys_place(part, self->space, self->in, self->start + start, self->start + start + size,
			  self->start + limit) < 0) {
			Py_XDECREF((PyObject *)part);
			Py_CLEAR(parts);
			break;
		}
		PyList_SetItem(parts, i, (PyObject *)part);
	}
	if (!parts || check_valid(self) < 0) {
		Py_XDECREF(parts);
		return NULL;
	}
	for (i = 0; i < n; i++)
		rsys_set_valid((Allocation *)PyList_GetItem(parts, i), Py_True);
	rsys_set_valid(self, Py_False);
	return parts;
}

static PyMethodDef allocation_methods[] = {
	{ "offset", allocation_offset, METH_NOARGS,
	  "The offset in bytes of this allocation from the start of its mapping; UseAfterFreeError once it is freed, "
	  "or consumed by `split` or `merge`." },
	{ "size", allocation_size, METH_NOARGS, "The size of this allocation in bytes." },
	{ "slack", allocation_slack, METH_NOARGS,
	  "How many bytes after the end also belong to it, because sizes are rounded up." },
	{ "free", allocation_free, METH_NOARGS, "Give the bytes back. Does nothing if the allocation is not valid." },
	{ "split", (PyCFunction)(void (*)(void))allocation_split, METH_FASTCALL | METH_KEYWORDS,
	  "split($self, size)\n--\n\n"
	  "Consume this allocation; return one of its first `size` bytes and one of the rest, maybe empty." },
	{ "merge", (PyCFunction)(void (*)(void))allocation_merge, METH_FASTCALL | METH_KEYWORDS,
	  "merge($self, other)\n--\n\n"
	  "Consume this allocation and the one that begins where it ends, giving one that covers both." },
	{ "divide", allocation_divide, METH_O, "Consume this allocation, giving several." },
	{ NULL, NULL, 0, NULL },
};


static PyMemberDef allocation_members[] = {
	{ "arena", T_OBJECT_EX, offsetof(Allocation, arena), READONLY, "Where the bytes are." },
	{ "start", T_OBJECT_EX, offsetof(Allocation, start_object), READONLY, "Offset in the arena of the first byte." },
	{ "limit", T_LONGLONG, offsetof(Allocation, limit), READONLY, "Offset after the last byte that belongs to it." },
	{ "end", T_OBJECT_EX, offsetof(Allocation, end_object), READONLY, "Offset in the arena after the last byte." },
	{ NULL, 0, 0, 0, NULL },
};

static PyObject *allocation_get_valid(PyObject *op, void *unused)
{
	(void)unused;
	return Py_NewRef(((Allocation *)op)->valid);
}

/* valid = False: the bytes are the caller's, which nothing else frees, until valid = True */
static int allocation_set_valid(PyObject *op, PyObject *value, void *unused)
{
	Allocation *self = (Allocation *)op;

	(void)unused;
	if (value != Py_False && (value != Py_True || rsys_find_arena(self->space, self->arena) != self->in)) {
		PyErr_SetString(PyExc_ValueError, "not a bool, or the arena of this allocation is gone");
		return -1;
	}
	rsys_set_valid(self, value);
	return 0;
}

static PyGetSetDef allocation_attributes[] = {
	{ "valid", allocation_get_valid, allocation_set_valid,
	  "False once the allocation was freed, split or merged. Do not set.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

/* Allocation(arena, start, end, valid=True): of bytes that the caller has */
static PyObject *allocation_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "arena", "start", "end", "valid", NULL };
	PyObject *object, *space;
	unsigned long long start, end;
	int valid = 1;
	struct arena *arena;
	Allocation *self = NULL;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OKK|p:Allocation", names, &object, &start, &end, &valid))
		return NULL;
	space = PyObject_GetAttrString(object, "space");
	if (!space)
		return NULL;
	arena = PyObject_TypeCheck(space, rsys_space_type) ? rsys_find_arena((FreeSpace *)space, object) : NULL;
	if (!arena || start > end || end > arena->size) {
		PyErr_SetString(PyExc_ValueError, "no such bytes in this arena");
	} else if (rsys_holes_prepare((FreeSpace *)space, 1) == 0 && (self = rsys_new_allocation(type))) {
		if (rsys_place(self, (FreeSpace *)space, arena, start, end, end) < 0)
			Py_CLEAR(self);
		else if (valid)
			rsys_set_valid(self, Py_True);
	}
	Py_DECREF(space);
	return (PyObject *)self;
}

static PyType_Slot allocation_slots[] = {
	{ Py_tp_doc, "Allocation(arena, start, end, valid=True)\n--\n\nA range of bytes of an arena." },
	{ Py_tp_new, allocation_new },
	{ Py_tp_dealloc, allocation_dealloc },
	{ Py_tp_finalize, allocation_finalize },
	{ Py_tp_traverse, allocation_traverse },
	{ Py_tp_clear, allocation_clear },
	{ Py_tp_methods, allocation_methods },
	{ Py_tp_members, allocation_members },
	{ Py_tp_getset, allocation_attributes },
	{ 0, NULL },
};

static PyType_Spec allocation_spec = {
	"rsyscall.native.fast.Allocation", sizeof(Allocation), 0,
	Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, allocation_slots,
};

int rsys_free_allocation(PyObject *op)
{
	if (!PyObject_TypeCheck(op, allocation_type))
		return -1;
	give_back((Allocation *)op);
	return 0;
}

int rsys_is_live_allocation(PyObject *op)
{
	return op && Py_IS_TYPE(op, allocation_type) && ((Allocation *)op)->valid == Py_True;
}

int rsys_is_allocation_type(PyObject *type)
{
	return PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, allocation_type);
}

PyObject *rsys_set_memory_errors(PyObject *module, PyObject *error)
{
	(void)module;
	Py_INCREF(error);
	use_after_free_error = error;
	Py_RETURN_NONE;
}

int rsys_allocation_init(PyObject *module)
{
	allocation_type = (PyTypeObject *)PyType_FromSpec(&allocation_spec);
	return allocation_type ? PyModule_AddObjectRef(module, "Allocation", (PyObject *)allocation_type) : -1;
}
