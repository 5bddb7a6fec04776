/* Python's view of _core_norm.c. */
#ifndef ESPALIER_CORE_NORM_H
#define ESPALIER_CORE_NORM_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *core_norm_relu(PyObject *module, PyObject *args, PyObject *named);

extern const char norm_relu_doc[];

#endif
