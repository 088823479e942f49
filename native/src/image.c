/* The arguments of execve as they lie in memory; see ExecImage of rsyscall.exec_image. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

/*
 * exec_strings(strings) -> bytes: all of them, encoded as os.fsencode does it, each with its NUL. ValueError if
 * there is a NUL in one.
 */
PyObject *rsys_exec_strings(PyObject *module, PyObject *strings)
{
	Py_ssize_t i, count = PyList_Size(strings), size = 0, room = 0;
	char *all = NULL, *more;
	PyObject *result = NULL;

	(void)module;
	if (count < 0)
		return NULL;
	for (i = 0; i < count; i++) {
		PyObject *encoded = NULL, *string = PyList_GetItem(strings, i);
		char *data;
		Py_ssize_t length;

		if (!string)
			goto out;	/* it has become shorter meanwhile */
		Py_INCREF(string);
		if (!PyUnicode_FSConverter(string, &encoded)) {
			Py_DECREF(string);
			goto out;
		}
		Py_DECREF(string);
		if (PyBytes_AsStringAndSize(encoded, &data, &length) < 0) {
			Py_DECREF(encoded);
			goto out;
		}
		if (size + length + 1 > room) {
			room = 2 * (size + length + 1);
			more = realloc(all, room);
			if (!more) {
				Py_DECREF(encoded);
				PyErr_NoMemory();
				goto out;
			}
			all = more;
		}
		memcpy(all + size, data, length + 1);	/* bytes objects end with a NUL */
		size += length + 1;
		Py_DECREF(encoded);
	}
	result = PyBytes_FromStringAndSize(all ? all : "", size);
out:
	free(all);
	return result;
}

/*
 * exec_image(address, front, strings, argc, envc) -> bytes for that address: `front`, argv, perhaps envp, and the
 * strings, which are the path, the arguments and the environment. envc: -1 if the environment is elsewhere.
 */
PyObject *rsys_exec_image(PyObject *module, PyObject *args)
{
	unsigned long long address;
	const char *front, *strings, *string;
	Py_ssize_t front_size, size, argc, envc, words, i;
	uint64_t *table;
	char *whole;
	PyObject *image;

	(void)module;
	if (!PyArg_ParseTuple(args, "Ky#y#nn", &address, &front, &front_size, &strings, &size, &argc, &envc))
		return NULL;
	words = argc + 1 + (envc < 0 ? 0 : envc + 1);
	/* As many strings as there are NULs, so that the loop below stays within them. */
	for (i = 0, string = strings; string < strings + size; i++)
		string = (const char *)memchr(string, 0, strings + size - string) + 1;
	if (argc < 0 || i != 1 + argc + (envc < 0 ? 0 : envc) || front_size % 8) {
		PyErr_SetString(PyExc_ValueError, "the counts do not fit the strings, or the front is not aligned");
		return NULL;
	}
	image = PyBytes_FromStringAndSize(NULL, front_size + 8 * words + size);
	if (!image)
		return NULL;
	whole = PyBytes_AsString(image);
	memcpy(whole, front, front_size);
	memcpy(whole + front_size + 8 * words, strings, size);
	address += front_size + 8 * words - (uint64_t)strings;
	table = (uint64_t *)(whole + front_size);
	string = strings + strlen(strings) + 1;
	for (i = 0; i < words; i++) {
		uint64_t word = 0;

		if (i != argc && i != words - 1) {
			word = address + (uint64_t)string;
			string += strlen(string) + 1;
		}
		memcpy(table + i, &word, 8);
	}
	return image;
}
