/*
 * FreeSpace and Allocation: which bytes of a set of arenas are free, and who has the others.
 *
 * It is in C because it changes several things at once, and an exception of a signal handler can come between
 * any two instructions of Python code (see record.c): each function here is one step. An allocation is found and
 * has its owner in one step; so it is divided, joined, and given back, by a destructor too, in any thread.
 *
 * What is free is recorded in holes.c. Nothing records the allocations: their owners know them.
 *
 * Allocations start at multiples of 16, and have bytes up to the next one; parts of them start anywhere.
 */
#include "space.h"

#include "holes.h"

#include <string.h>
#include <structmember.h>

#define MOST_ALIGNMENT 4096

typedef struct {
	PyObject_HEAD
	PyObject *arena, *start_object, *end_object, *valid;
	FreeSpace *space;
	struct arena *in;
	uint64_t start, end, limit;
} Allocation;

static PyTypeObject *space_type, *allocation_type;
static PyObject *use_after_free_error;

/* ---- Allocation ----------------------------------------------------------------------- */

/* One that owns nothing yet, of no arena. */
static Allocation *new_allocation(PyTypeObject *type)
{
	Allocation *self = (Allocation *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

	if (self) {
		Py_INCREF(Py_False);
		self->valid = Py_False;
	}
	return self;
}

static void set_valid(Allocation *self, PyObject *valid)
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

/* Say which bytes it is to own; set_valid() makes it the owner. */
static int place(Allocation *self, FreeSpace *space, struct arena *arena, uint64_t start, uint64_t end,
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
		set_valid(self, Py_False);
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
	left = new_allocation(Py_TYPE(op));
	right = new_allocation(Py_TYPE(op));
	if (left && right && !place(left, self->space, self->in, self->start, self->start + size, self->start + size) &&
	    !place(right, self->space, self->in, self->start + size, self->end, self->limit))
		pair = PyTuple_Pack(2, (PyObject *)left, (PyObject *)right);
	/* Making objects may run destructors, but those cannot have freed this one: the caller has it. */
	if (pair && check_valid(self) < 0)
		Py_CLEAR(pair);
	if (pair) {
		set_valid(self, Py_False);
		set_valid(left, Py_True);
		set_valid(right, Py_True);
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
	merged = new_allocation(Py_TYPE(op));
	if (!merged)
		return NULL;
	if (place(merged, self->space, self->in, self->start, other->end, other->limit) < 0 || check_valid(self) < 0 ||
	    check_valid(other) < 0) {
		Py_DECREF((PyObject *)merged);
		return NULL;
	}
	set_valid(self, Py_False);
	set_valid(other, Py_False);
	set_valid(merged, Py_True);
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
		Allocation *part = new_allocation(Py_TYPE(op));

		if (!part || !PyArg_ParseTuple(PyList_GetItem(list, i), "KK", &start, &size) ||
		    (i + 1 < n && !PyArg_ParseTuple(PyList_GetItem(list, i + 1), "KK", &limit, &unused)) ||
		    place(part, self->space, self->in, self->start + start, self->start + start + size,
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
		set_valid((Allocation *)PyList_GetItem(parts, i), Py_True);
	set_valid(self, Py_False);
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

static struct arena *find_arena(FreeSpace *self, PyObject *object)
{
	struct arena *arena = self->arenas;

	while (arena && arena->object != object)
		arena = arena->next;
	return arena;
}

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
	if (value != Py_False && (value != Py_True || find_arena(self->space, self->arena) != self->in)) {
		PyErr_SetString(PyExc_ValueError, "not a bool, or the arena of this allocation is gone");
		return -1;
	}
	set_valid(self, value);
	return 0;
}

static PyGetSetDef allocation_attributes[] = {
	{ "valid", allocation_get_valid, allocation_set_valid,
	  "False once the allocation was freed, split or merged. Do not set.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyObject *allocation_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

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
	"rsyscall.native._fast.Allocation", sizeof(Allocation), 0,
	Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, allocation_slots,
};

int rsys_free_allocation(PyObject *op)
{
	if (!PyObject_TypeCheck(op, allocation_type))
		return -1;
	give_back((Allocation *)op);
	return 0;
}

/* ---- FreeSpace ------------------------------------------------------------------------ */

/* FreeSpace(allocation_type, largest_kept): the type is a subclass of Allocation */
static PyObject *space_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *kind;
	unsigned long long largest_kept;
	FreeSpace *self;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "OK:FreeSpace", &kind, &largest_kept))
		return NULL;
	if (!PyType_Check(kind) || !PyType_IsSubtype((PyTypeObject *)kind, allocation_type)) {
		PyErr_SetString(PyExc_TypeError, "expected a subclass of Allocation");
		return NULL;
	}
	self = (FreeSpace *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!self)
		return NULL;
	Py_INCREF(kind);
	self->allocation_type = (PyTypeObject *)kind;
	self->last = &self->arenas;
	self->largest_kept = largest_kept;
	return (PyObject *)self;
}

static int space_traverse(PyObject *op, visitproc visit, void *arg)
{
	FreeSpace *self = (FreeSpace *)op;
	struct arena *arena;

	Py_VISIT(Py_TYPE(op));
	Py_VISIT((PyObject *)self->allocation_type);
	for (arena = self->arenas; arena; arena = arena->next)
		Py_VISIT(arena->object);
	return 0;
}

static int space_clear(PyObject *op)
{
	FreeSpace *self = (FreeSpace *)op;
	struct arena *arena;

	for (arena = self->arenas; arena; arena = arena->next)
		Py_CLEAR(arena->object);
	return 0;
}

static void space_dealloc(PyObject *op)
{
	FreeSpace *self = (FreeSpace *)op;
	PyTypeObject *type = Py_TYPE(op);
	struct arena *arena;
	struct hole *hole;

	PyObject_GC_UnTrack(op);
	while ((arena = self->arenas)) {
		while ((hole = arena->holes)) {
			arena->holes = hole->sibling;
			PyMem_Free(hole);
		}
		self->arenas = arena->next;
		Py_XDECREF(arena->object);
		PyMem_Free(arena);
	}
	while ((hole = self->spare)) {
		self->spare = hole->next;
		PyMem_Free(hole);
	}
	PyMem_Free(self->starts);
	PyMem_Free(self->ends);
	Py_XDECREF((PyObject *)self->allocation_type);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

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
	arena = PyObject_TypeCheck(space, space_type) ? find_arena((FreeSpace *)space, object) : NULL;
	if (!arena || start > end || end > arena->size) {
		PyErr_SetString(PyExc_ValueError, "no such bytes in this arena");
	} else if (rsys_holes_prepare((FreeSpace *)space, 1) == 0 && (self = new_allocation(type))) {
		if (place(self, (FreeSpace *)space, arena, start, end, end) < 0)
			Py_CLEAR(self);
		else if (valid)
			set_valid(self, Py_True);
	}
	Py_DECREF(space);
	return (PyObject *)self;
}

/* Two steps in one: the arena is here, and the mapping that it is has no other owner any more. */
static PyObject *space_add(PyObject *op, PyObject *args)
{
	FreeSpace *self = (FreeSpace *)op;
	PyObject *object, *record_object = Py_None;
	unsigned long long size;
	struct arena *arena;
	CallRecord *record;

	if (!PyArg_ParseTuple(args, "OK|O", &object, &size, &record_object) ||
	    rsys_as_record(record_object, &record) < 0)
		return NULL;
	if (!find_arena(self, object)) {
		if (rsys_holes_prepare(self, 1) < 0)
			return NULL;
		arena = PyMem_Calloc(1, sizeof(*arena));
		if (!arena)
			return PyErr_NoMemory();
		Py_INCREF(object);
		arena->object = object;
		arena->size = size;
		*self->last = arena;
		self->last = &arena->next;
		self->n_arenas++;
		rsys_holes_give(self, arena, 0, size);
	}
	if (record)
		rsys_record_release(record);
	Py_RETURN_NONE;
}

static void forget_arena(FreeSpace *self, struct arena *arena)
{
	struct arena **link = &self->arenas;

	while (*link != arena)
		link = &(*link)->next;
	*link = arena->next;
	if (!arena->next)
		self->last = link;
	self->n_arenas--;
	if (arena->holes)
		rsys_hole_remove(self, arena->holes);
	Py_DECREF(arena->object);
	PyMem_Free(arena);
}

static PyObject *space_remove(PyObject *op, PyObject *object)
{
	FreeSpace *self = (FreeSpace *)op;
	struct arena *arena = find_arena(self, object);

	if (!arena || !arena->empty) {
		PyErr_SetString(PyExc_ValueError, arena ? "the arena is in use" : "there is no such arena");
		return NULL;
	}
	forget_arena(self, arena);
	Py_RETURN_NONE;
}

/* Whether there are empty arenas besides the one that is kept for the next request. */
static int has_surplus(FreeSpace *self)
{
	struct arena *arena;

	if (self->n_empty != 1)
		return self->n_empty > 1;
	for (arena = self->arenas; !arena->empty; arena = arena->next)
		;
	return arena->size > self->largest_kept;
}

/*
 * retire(list, all=False): detach the surplus of empty arenas, the largest one that may be kept staying, and
 * append it to the list
 */
static PyObject *space_retire(PyObject *op, PyObject *args)
{
	FreeSpace *self = (FreeSpace *)op;
	PyObject *list;
	int all = 0;
	struct arena *arena, *next, *keep = NULL;

	if (!PyArg_ParseTuple(args, "O|p", &list, &all))
		return NULL;
	for (arena = self->arenas; !all && arena; arena = arena->next)
		if (arena->empty && arena->size <= self->largest_kept && (!keep || arena->size > keep->size))
			keep = arena;
	for (arena = self->arenas; arena; arena = next) {
		next = arena->next;
		if (!arena->empty || arena == keep)
			continue;
		if (PyList_Append(list, arena->object) < 0)
			return NULL;
		forget_arena(self, arena);
	}
	Py_RETURN_NONE;
}

/* -1 with an exception if there cannot be such an allocation */
static int parse_request(PyObject *size_object, PyObject *alignment_object, uint64_t *ret_size, uint64_t *ret_alignment)
{
	int overflow, over;
	long long size = PyLong_AsLongLongAndOverflow(size_object, &overflow), alignment;

	if (size == -1 && PyErr_Occurred())
		return -1;
	alignment = PyLong_AsLongLongAndOverflow(alignment_object, &over);
	if (alignment == -1 && PyErr_Occurred())
		return -1;
	if (overflow < 0 || (!overflow && size < 0))
		PyErr_Format(PyExc_ValueError, "cannot allocate a negative number of bytes: %S", size_object);
	else if (over < 0 || (!over && (alignment <= 0 || alignment & (alignment - 1))))
		PyErr_Format(PyExc_ValueError, "alignment is not a power of two: %S", alignment_object);
	else if (over || alignment > MOST_ALIGNMENT)
		PyErr_Format(PyExc_ValueError, "alignment %S is more than %d", alignment_object, MOST_ALIGNMENT);
	else {
		*ret_size = overflow || size > INT64_MAX / 4 ? INT64_MAX / 4 : size;
		*ret_alignment = alignment < GRANULE ? GRANULE : alignment;
		return 0;
	}
	return -1;
}

/*
 * allocate(size, alignment, arena=None, whatever=True) -> Allocation; None if there is no room. With
 * whatever=False also None if there is a surplus of empty arenas, to be unmapped first.
 */
static PyObject *space_allocate(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	FreeSpace *self = (FreeSpace *)op;
	uint64_t size, alignment, taken, start;
	struct arena *arena;
	struct hole *hole = NULL, *candidate;
	Allocation *allocation;

	if (n < 2 || n > 4) {
		PyErr_SetString(PyExc_TypeError, "allocate(size, alignment, arena, whatever)");
		return NULL;
	}
	if (parse_request(args[0], args[1], &size, &alignment) < 0)
		return NULL;
	if (n == 4 && args[3] == Py_False && has_surplus(self))
		Py_RETURN_NONE;
	taken = (size + GRANULE - 1) & -(uint64_t)GRANULE;
	if (!taken)
		taken = GRANULE;
	/* First the objects, since making them may run destructors, which give back. */
	if (rsys_holes_prepare(self, 1) < 0)
		return NULL;
	allocation = new_allocation(self->allocation_type);
	if (!allocation)
		return NULL;
	if (n > 2 && args[2] != Py_None) {
		arena = find_arena(self, args[2]);
		for (candidate = arena ? arena->holes : NULL; candidate; candidate = candidate->sibling)
			if (fits(candidate, taken, alignment) && (!hole || candidate->start < hole->start))
				hole = candidate;
	} else {
		hole = rsys_holes_find(self, taken, alignment);
	}
	if (!hole) {
		Py_DECREF((PyObject *)allocation);
		Py_RETURN_NONE;
	}
	/* Numbers are no garbage-collected objects: nothing runs from here on. */
	start = aligned_start(hole, alignment);
	if (place(allocation, self, hole->arena, start, start + size, start + taken) < 0) {
		Py_DECREF((PyObject *)allocation);
		return NULL;
	}
	rsys_holes_cut(self, hole, taken, alignment);
	set_valid(allocation, Py_True);
	return (PyObject *)allocation;
}

static PyObject *space_has_surplus(PyObject *op, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(has_surplus((FreeSpace *)op));
}

/* holes(arena) -> [(start, end), ...], for tests */
static PyObject *space_holes(PyObject *op, PyObject *object)
{
	struct arena *arena = find_arena((FreeSpace *)op, object);
	struct hole *hole;
	PyObject *list = PyList_New(0);

	for (hole = arena ? arena->holes : NULL; list && hole; hole = hole->sibling) {
		PyObject *pair = Py_BuildValue("(KK)", hole->start, hole->end);

		if (!pair || PyList_Append(list, pair) < 0)
			Py_CLEAR(list);
		Py_XDECREF(pair);
	}
	return list;
}

static PyObject *list_arenas(FreeSpace *self, int only_empty)
{
	PyObject *list = PyList_New(0), *tuple;
	struct arena *arena;

	for (arena = self->arenas; list && arena; arena = arena->next)
		if ((arena->empty || !only_empty) && PyList_Append(list, arena->object) < 0)
			Py_CLEAR(list);
	tuple = list ? PyList_AsTuple(list) : NULL;
	Py_XDECREF(list);
	return tuple;
}

static PyObject *space_get_arenas(PyObject *op, void *unused)
{
	(void)unused;
	return list_arenas((FreeSpace *)op, 0);
}

static PyObject *space_get_empty(PyObject *op, void *unused)
{
	(void)unused;
	return list_arenas((FreeSpace *)op, 1);
}

static PyObject *space_get_live(PyObject *op, void *unused)
{
	(void)unused;
	return PyLong_FromSize_t(((FreeSpace *)op)->n_live);
}

static PyObject *space_get_looked_at(PyObject *op, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(((FreeSpace *)op)->looked_at);
}

static PyMethodDef space_methods[] = {
	{ "add", space_add, METH_VARARGS, NULL },
	{ "remove", space_remove, METH_O, NULL },
	{ "retire", space_retire, METH_VARARGS, NULL },
	{ "allocate", (PyCFunction)(void (*)(void))space_allocate, METH_FASTCALL, NULL },
	{ "has_surplus", space_has_surplus, METH_NOARGS, NULL },
	{ "holes", space_holes, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef space_attributes[] = {
	{ "arenas", space_get_arenas, NULL, NULL, NULL },
	{ "empty", space_get_empty, NULL, NULL, NULL },
	{ "live", space_get_live, NULL, NULL, NULL },
	{ "looked_at", space_get_looked_at, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot space_slots[] = {
	{ Py_tp_new, space_new },
	{ Py_tp_dealloc, space_dealloc },
	{ Py_tp_traverse, space_traverse },
	{ Py_tp_clear, space_clear },
	{ Py_tp_methods, space_methods },
	{ Py_tp_getset, space_attributes },
	{ 0, NULL },
};

static PyType_Spec space_spec = {
	"rsyscall.native._fast.FreeSpace", sizeof(FreeSpace), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, space_slots,
};

PyObject *rsys_set_memory_errors(PyObject *module, PyObject *error)
{
	(void)module;
	Py_INCREF(error);
	use_after_free_error = error;
	Py_RETURN_NONE;
}

int rsys_space_init(PyObject *module)
{
	allocation_type = (PyTypeObject *)PyType_FromSpec(&allocation_spec);
	space_type = (PyTypeObject *)PyType_FromSpec(&space_spec);
	if (!allocation_type || !space_type ||
	    PyModule_AddObjectRef(module, "Allocation", (PyObject *)allocation_type) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "FreeSpace", (PyObject *)space_type);
}
