/* Python objects as arguments of system calls. */
#include "arguments.h"

/* The one object that 0 is: most arguments are. */
static PyObject *zero;

int rsys_arguments_init(void)
{
	zero = PyLong_FromLong(0);
	return zero ? 0 : -1;
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
		number = PyNumber_Long(obj);
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
