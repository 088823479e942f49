/*
 * FreeSpace: which bytes of a set of arenas are free.
 *
 * It is in C because it changes several things at once, and an exception of a signal handler can come between
 * any two instructions of Python code (see record.c): each function here is one step. An allocation is found and
 * has its owner in one step.
 *
 * holes.c records what is free, and allocation.c has the owners of the rest.
 */
#include "space.h"

#include "allocation.h"
#include "holes.h"

#define MOST_ALIGNMENT 4096

/* FreeSpace(allocation_type, largest_kept): the type is a subclass of Allocation */
static PyObject *space_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *kind;
	unsigned long long largest_kept;
	FreeSpace *self;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "OK:FreeSpace", &kind, &largest_kept))
		return NULL;
	if (!rsys_is_allocation_type(kind)) {
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
	if (!rsys_find_arena(self, object)) {
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
	struct arena *arena = rsys_find_arena(self, object);

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
	allocation = rsys_new_allocation(self->allocation_type);
	if (!allocation)
		return NULL;
	if (n > 2 && args[2] != Py_None) {
		arena = rsys_find_arena(self, args[2]);
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
	if (rsys_place(allocation, self, hole->arena, start, start + size, start + taken) < 0) {
		Py_DECREF((PyObject *)allocation);
		return NULL;
	}
	rsys_holes_cut(self, hole, taken, alignment);
	rsys_set_valid(allocation, Py_True);
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
	struct arena *arena = rsys_find_arena((FreeSpace *)op, object);
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
	"rsyscall.native.fast.FreeSpace", sizeof(FreeSpace), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, space_slots,
};

int rsys_space_init(PyObject *module)
{
	rsys_space_type = (PyTypeObject *)PyType_FromSpec(&space_spec);
	if (!rsys_space_type || rsys_allocation_init(module) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "FreeSpace", (PyObject *)rsys_space_type);
}
