/*
 * rsyscall.native.fast: the client side, as thin as the C API of Python allows.
 *
 * cffi releases the interpreter lock around every call, which costs milliseconds when
 * another Python thread is busy. Here the lock is kept for calls that cannot block and for
 * the first microseconds of a wait, and given up after that.
 */
#include "arguments.h"
#include "borrow.h"
#include "client.h"
#include "shared_ring.h"
#include "clock.h"
#include "destructor.h"
#include "image.h"
#include "local_call.h"
#include "naming.h"
#include "pidfd.h"
#include "pipe.h"
#include "record.h"
#include "pointers.h"
#include "space.h"

static PyMethodDef module_methods[] = {
	{ "syscall", (PyCFunction)(void (*)(void))rsys_local_syscall, METH_FASTCALL, NULL },
	{ "recorded_syscall", (PyCFunction)(void (*)(void))rsys_recorded_local_syscall, METH_FASTCALL, NULL },
	{ "borrow_pointer", (PyCFunction)(void (*)(void))rsys_borrow_pointer, METH_FASTCALL, NULL },
	{ "successor", (PyCFunction)(void (*)(void))rsys_successor, METH_FASTCALL, NULL },
	{ "naming", (PyCFunction)(void (*)(void))rsys_naming, METH_FASTCALL, NULL },
	{ "read_memory", (PyCFunction)(void (*)(void))rsys_read_memory, METH_FASTCALL, NULL },
	{ "write_memory", (PyCFunction)(void (*)(void))rsys_write_memory, METH_FASTCALL, NULL },
	{ "note", (PyCFunction)(void (*)(void))rsys_note, METH_FASTCALL, NULL },
	{ "set_word_types", rsys_set_word_types, METH_O, NULL },
	{ "exec_strings", rsys_exec_strings, METH_O, NULL },
	{ "exec_image", rsys_exec_image, METH_VARARGS, NULL },
	{ "spin_for_exit", rsys_spin_for_exit, METH_VARARGS, NULL },
	{ "block_for_exit", rsys_block_for_exit, METH_VARARGS, NULL },
	{ "forget_watched", rsys_forget_watched, METH_VARARGS, NULL },
	{ "set_memory_errors", rsys_set_memory_errors, METH_O, NULL },
	{ "set_raw_syscall", rsys_set_raw_syscall, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT, "fast", NULL, -1, module_methods, NULL, NULL, NULL, NULL,
};

static int add_code(PyObject *module, const char *name, int64_t value)
{
	PyObject *number = PyLong_FromLongLong(value);
	int err = number ? PyModule_AddObjectRef(module, name, number) : -1;

	Py_XDECREF(number);
	return err;
}

PyMODINIT_FUNC PyInit_fast(void)
{
	PyObject *module;
	PyTypeObject *hub_type, *ring_type, *record_type, *pidfd_type, *pipe_type;

	rsys_clock_init();
	module = PyModule_Create(&module_def);
	if (!module || rsys_arguments_init() < 0 || rsys_owner_init(module) < 0 ||
	    rsys_destructor_init(module) < 0 || rsys_naming_init(module) < 0 || rsys_borrow_init(module) < 0)
		return NULL;
	hub_type = rsys_hub_init();
	ring_type = rsys_ring_init();
	record_type = rsys_record_init();
	pidfd_type = rsys_pidfd_init();
	pipe_type = rsys_pipe_init();
	if (!hub_type || !ring_type || !record_type || !pidfd_type || !pipe_type ||
	    rsys_handles_init(module) < 0 ||
	    rsys_space_init(module) < 0 || rsys_pointers_init(module) < 0 ||
	    PyModule_AddObjectRef(module, "CallRecord", (PyObject *)record_type) < 0 ||
	    PyModule_AddObjectRef(module, "OwnedPidfd", (PyObject *)pidfd_type) < 0 ||
	    PyModule_AddObjectRef(module, "OwnedPipe", (PyObject *)pipe_type) < 0 ||
	    PyModule_AddObjectRef(module, "Hub", (PyObject *)hub_type) < 0 ||
	    PyModule_AddObjectRef(module, "Ring", (PyObject *)ring_type) < 0 ||
	    add_code(module, "PENDING", RESULT_PENDING) < 0 || add_code(module, "UNSENT", RESULT_UNSENT) < 0 ||
	    add_code(module, "HANGUP", RESULT_HANGUP) < 0 || add_code(module, "FULL", RESULT_FULL) < 0 ||
	    add_code(module, "RING_SLOTS", RSYS_RING_SLOTS) < 0 ||
	    add_code(module, "LINKED", RSYS_NR_LINKED) < 0 ||
	    add_code(module, "SHARED_SIZE", RSYS_SHARED_SIZE) < 0 ||
	    add_code(module, "NESTED_SIZE", sizeof(struct rsys_shared)) < 0 ||
	    add_code(module, "BOUNCE_OFFSET", RSYS_BOUNCE_OFFSET) < 0 ||
	    add_code(module, "BOUNCE_SIZE", RSYS_BOUNCE_SIZE) < 0 ||
	    add_code(module, "ARENA_OFFSET", RSYS_ARENA_OFFSET) < 0 ||
	    add_code(module, "ARENA_SIZE", RSYS_ARENA_SIZE) < 0)
		return NULL;
	return module;
}
