/* Python objects as arguments of system calls. */
#include "arguments.h"

/* The one object that 0 is: most arguments are. */
static PyObject *zero;

int rsys_arguments_init(void)
{
	zero = PyLong_FromLong(0);
	return zero ? 0 : -1;
}

/* Classes whose objects stand for a number, and the attribute that has it: faster than their __int__. */
static struct {
	PyObject *type, *attribute;
} words[8];
static int word_types;

PyObject *rsys_set_word_types(PyObject *module, PyObject *types)
{
	PyObject *type, *attribute;
	Py_ssize_t at = 0;

	(void)module;
	if (!PyDict_Check(types) || PyDict_Size(types) > 8) {
		PyErr_SetString(PyExc_TypeError, "set_word_types(at most 8 classes, each with the name of an attribute)");
		return NULL;
	}
	for (word_types = 0; PyDict_Next(types, &at, &type, &attribute); word_types++) {
		Py_INCREF(type);
		Py_INCREF(attribute);
		words[word_types].type = type;
		words[word_types].attribute = attribute;
	}
	Py_RETURN_NONE;
}

/* The number that an object stands for, as a new reference. */
static PyObject *as_number(PyObject *obj)
{
	PyObject *type = (PyObject *)Py_TYPE(obj), *number;
	int i;

	for (i = 0; i < word_types; i++) {
		if (words[i].type != type)
			continue;
		number = PyObject_GetAttr(obj, words[i].attribute);
		if (number && PyLong_Check(number))
			return number;
		Py_XDECREF(number);
		PyErr_Clear();
		break;
	}
	return PyNumber_Long(obj);
}

int rsys_as_word(PyObject *obj, int64_t *ret)
{
	int overflow;
	long long value;
	PyObject *number = NULL;

	if (obj == zero) {
		*ret = 0;
		return 0;
	}
	if (!PyLong_Check(obj)) {
		if (PyFloat_Check(obj) || PyUnicode_Check(obj) || PyBytes_Check(obj) || PyByteArray_Check(obj)) {
			PyErr_Format(PyExc_TypeError, "an argument of a system call is an integer or "
				     "convertible by int(), not %R", obj);
			return -1;
		}
		number = as_number(obj);
		if (!number)
			return -1;
		obj = number;
	}
	value = PyLong_AsLongLongAndOverflow(obj, &overflow);
	if (overflow > 0)
		value = (long long)PyLong_AsUnsignedLongLong(obj);
	else if (overflow < 0)
		PyErr_Format(PyExc_OverflowError, "%R does not fit into 64 bits", obj);
	Py_XDECREF(number);
	if (value == -1 && PyErr_Occurred())
		return -1;
	*ret = value;
	return 0;
}

int rsys_parse_call(PyObject *const *args, Py_ssize_t n, int64_t v[7])
{
	Py_ssize_t i;

	if (n < 1 || n > 7) {
		PyErr_Format(PyExc_TypeError, "a system call takes a number and up to 6 arguments, got %zd in all", n);
		return -1;
	}
	for (i = 0; i < n; i++)
		if (rsys_as_word(args[i], &v[i]) < 0)
			return -1;
	for (; i < 7; i++)
		v[i] = 0;
	return 0;
}

/*
 * note(calls, type, number, args...): append a call to a list, as an object of that class, which is derived from
 * tuple, with its arguments as plain integers.
 */
PyObject *rsys_note(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t v[7];
	PyObject *call = NULL, *values = NULL, *one = NULL;
	Py_ssize_t i;

	(void)module;
	if (n < 3 || !PyType_Check(args[1])) {
		PyErr_SetString(PyExc_TypeError, "note(calls, type, number, args...)");
		return NULL;
	}
	if (rsys_parse_call(args + 2, n - 2, v) < 0)
		return NULL;
	values = PyTuple_New(7);
	if (!values)
		return NULL;
	for (i = 0; i < 7; i++) {
		/* The number keeps its name; unsigned words stay what they were. */
		PyObject *value = i < n - 2 && (i == 0 || PyLong_CheckExact(args[2 + i])) ? args[2 + i] : NULL;

		if (value)
			Py_INCREF(value);
		else if (i < n - 2 && !PyLong_Check(args[2 + i]))
			value = as_number(args[2 + i]);
		else
			value = PyLong_FromLongLong(v[i]);
		if (!value || PyTuple_SetItem(values, i, value) < 0)
			goto out;
	}
	one = PyTuple_New(1);
	if (!one || PyTuple_SetItem(one, 0, values) < 0) {
		values = NULL;
		goto out;
	}
	values = NULL;
	call = ((newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new))((PyTypeObject *)args[1], one, NULL);
	if (call && PyList_Append(args[0], call) < 0)
		Py_CLEAR(call);
out:
	Py_XDECREF(values);
	Py_XDECREF(one);
	if (!call)
		return NULL;
	Py_DECREF(call);
	Py_RETURN_NONE;
}
