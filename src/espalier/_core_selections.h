/* Python's view of what selects, in _core_selections.c. */
#ifndef ESPALIER_CORE_SELECTIONS_H
#define ESPALIER_CORE_SELECTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *core_best(PyObject *module, PyObject *args, PyObject *named);
PyObject *core_kept_quantile(PyObject *module, PyObject *args, PyObject *named);
PyObject *core_largest(PyObject *module, PyObject *args, PyObject *named);

extern const char best_doc[], kept_quantile_doc[], largest_doc[];

#endif
