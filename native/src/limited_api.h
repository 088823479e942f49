/* Python.h, as every file of the extension module is to see it. */
#ifndef RSYS_LIMITED_API_H
#define RSYS_LIMITED_API_H

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#endif
