/* The coder as Python calls it; _core.c registers these. */
#ifndef ESPALIER_CODER_CALLS_H
#define ESPALIER_CODER_CALLS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *core_coder_write(PyObject *module, PyObject *args);
PyObject *core_coder_read(PyObject *module, PyObject *args);

extern const char coder_write_doc[], coder_read_doc[];

#endif
