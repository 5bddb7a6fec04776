/* Python's view of _core_pictures.c. */
#ifndef ESPALIER_CORE_PICTURES_H
#define ESPALIER_CORE_PICTURES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *core_take_pictures(PyObject *module, PyObject *args, PyObject *named);

extern const char take_pictures_doc[];

#endif
