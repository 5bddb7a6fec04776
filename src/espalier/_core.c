/* Python's view of the compiled core: takes the arguments, lets go of the GIL, runs the passes.
 *
 * Limited API of CPython 3.11, so that one build serves all later ones.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_coder.h"
#include "_coder_calls.h"
#include "_core_norm.h"
#include "_core_pictures.h"
#include "_core_rows.h"
#include "_core_selections.h"

#include <string.h>

static PyObject *core_measure(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"addresses", "sizes", "std", "max_abs", "threads", NULL};
    static const Row wanted[] = {
        {"addresses", 'Q', 0}, {"sizes", 'q', 0}, {"std", 'd', 1}, {"max_abs", 'f', 1}};
    PyObject *objects[4];
    Rows rows;
    Set set;
    int threads, status;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOi:measure", names, &objects[0], &objects[1],
                                     &objects[2], &objects[3], &threads) ||
        rows_take(&rows, objects, wanted, 4))
        return NULL;
    if (set_take(&set, &rows, "addresses", 1, threads, kernels_in_use()))
        return rows_failed(&rows);
    Py_BEGIN_ALLOW_THREADS
    status = set_measure(&set, rows.views[2].buf, rows.views[3].buf);
    Py_END_ALLOW_THREADS
    return rows_done(&rows, status);
}

static PyObject *core_kept_mean(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"addresses", "sizes", "threshold", "ties", "mean", "threads", NULL};
    static const Row wanted[] = {{"addresses", 'Q', 0},
                                 {"sizes", 'q', 0},
                                 {"threshold", 'f', 0},
                                 {"ties", 'q', 0},
                                 {"mean", 'd', 1}};
    PyObject *objects[5];
    Selection selection;
    Rows rows;
    Set set;
    int threads, status;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOOi:kept_mean", names, &objects[0],
                                     &objects[1], &objects[2], &objects[3], &objects[4],
                                     &threads) ||
        rows_take(&rows, objects, wanted, 5))
        return NULL;
    if (set_take(&set, &rows, "addresses", 1, threads, kernels_in_use()))
        return rows_failed(&rows);
    selection = (Selection){rows.views[2].buf, rows.views[3].buf};
    Py_BEGIN_ALLOW_THREADS
    status = set_kept_mean(&set, &selection, rows.views[4].buf);
    Py_END_ALLOW_THREADS
    return rows_done(&rows, status);
}

static int write_check(const Set *set, const uint64_t *shadows, const uint64_t *noise,
                       int rounding, int shadow_mode)
{
    if (rounding < 0 || rounding >= ROUND_COUNT) {
        PyErr_Format(PyExc_ValueError,
                     "rounding must be 0 (nearest), 1 (floor), 2 (stochastic) or 3 (sign), "
                     "found %d.",
                     rounding);
        return -1;
    }
    if (shadow_mode < 0 || shadow_mode >= SHADOW_COUNT) {
        PyErr_Format(PyExc_ValueError,
                     "shadow_mode must be 0 (none), 1 (copy), 2 (pruned) or 3 (masked), found %d.",
                     shadow_mode);
        return -1;
    }
    if (addresses_check("shadows", shadows, set, 1) ||
        addresses_check("noise", noise, set, rounding != ROUND_STOCHASTIC))
        return -1;
    for (size_t t = 0; t < set->count; t++) {
        if (set->sizes[t] && (shadows[t] == set->addresses[t] || noise[t] == set->addresses[t])) {
            PyErr_Format(PyExc_ValueError,
                         "%s[%zu] is the address of the weights themselves: give it memory of its "
                         "own.",
                         shadows[t] == set->addresses[t] ? "shadows" : "noise", t);
            return -1;
        }
    }
    return 0;
}

static PyObject *core_write(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"addresses", "sizes",   "shadows",  "noise",       "threshold",
                            "ties",      "step",    "rounding", "shadow_mode", "kept",
                            "nonzero",   "threads", NULL};
    static const Row wanted[] = {{"addresses", 'Q', 0}, {"sizes", 'q', 0},     {"shadows", 'Q', 0},
                                 {"noise", 'Q', 0},     {"threshold", 'f', 0}, {"ties", 'q', 0},
                                 {"step", 'f', 0},      {"kept", 'q', 1},      {"nonzero", 'q', 1}};
    PyObject *o[9];
    Selection selection;
    Rows rows;
    Set set;
    int rounding, shadow_mode, threads, status;

    _Static_assert(sizeof wanted / sizeof *wanted == 9, "one description a row");
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOOOOiiOOi:write", names, &o[0], &o[1], &o[2],
                                     &o[3], &o[4], &o[5], &o[6], &rounding, &shadow_mode, &o[7],
                                     &o[8], &threads) ||
        rows_take(&rows, o, wanted, 9))
        return NULL;
    if (set_take(&set, &rows, "addresses", 1, threads, kernels_in_use()) ||
        write_check(&set, rows.views[2].buf, rows.views[3].buf, rounding, shadow_mode))
        return rows_failed(&rows);
    selection = (Selection){rows.views[4].buf, rows.views[5].buf};
    Py_BEGIN_ALLOW_THREADS
    status = set_write(&set, &selection, rows.views[2].buf, rows.views[3].buf, rows.views[6].buf,
                       (Rounding)rounding, (ShadowMode)shadow_mode, rows.views[7].buf,
                       rows.views[8].buf);
    Py_END_ALLOW_THREADS
    return rows_done(&rows, status);
}

static PyObject *core_copy(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"destinations", "sources", "sizes", "threads", NULL};
    static const Row wanted[] = {{"destinations", 'Q', 0}, {"sources", 'Q', 0}, {"sizes", 'q', 0}};
    PyObject *objects[3];
    Rows rows;
    Set set;
    int threads, status;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOi:copy", names, &objects[0], &objects[1],
                                     &objects[2], &threads) ||
        rows_take(&rows, objects, wanted, 3))
        return NULL;
    if (set_take(&set, &rows, "destinations", 2, threads, kernels_in_use()) ||
        addresses_check("sources", rows.views[1].buf, &set, 0))
        return rows_failed(&rows);
    Py_BEGIN_ALLOW_THREADS
    status = set_copy(&set, rows.views[1].buf);
    Py_END_ALLOW_THREADS
    return rows_done(&rows, status);
}

static PyObject *core_variants(PyObject *module, PyObject *unused)
{
    PyObject *names = PyList_New(0);

    (void)module;
    (void)unused;
    for (size_t i = 0; names && kernels_at(i); i++) {
        PyObject *name = PyUnicode_FromString(kernels_at(i)->name);
        if (!name || PyList_Append(names, name))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *core_use(PyObject *module, PyObject *args)
{
    const char *name;

    (void)module;
    if (!PyArg_ParseTuple(args, "s:use", &name))
        return NULL;
    for (size_t i = 0; kernels_at(i); i++) {
        if (strcmp(name, kernels_at(i)->name) == 0) {
            kernels_use(kernels_at(i));
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_ValueError, "this processor runs no variant '%s': see variants().",
                        name);
}

PyDoc_STRVAR(measure_doc,
"measure(addresses, sizes, std, max_abs, threads)\n--\n\n"
"Write each tensor's population standard deviation and largest magnitude.\n\n"
"Zeros count. Sums run in float64, shifted by the first entry, so that a constant tensor gives\n"
"exactly 0. The deviation is NaN where an entry is NaN or infinite, and 0 for an empty tensor.");

PyDoc_STRVAR(kept_mean_doc,
"kept_mean(addresses, sizes, threshold, ties, mean, threads)\n--\n\n"
"Write each tensor's mean magnitude of what is kept (see write), 0 where nothing is.");

PyDoc_STRVAR(write_doc,
"write(addresses, sizes, shadows, noise, threshold, ties, step, rounding, shadow_mode, kept, "
"nonzero, threads)\n--\n\n"
"Prune and quantize in place; count what is kept and what is nonzero.\n\n"
"An entry stays where its magnitude exceeds the threshold; of those equal to it the first `ties`\n"
"in index order stay, all of them where `ties` is negative. What stays is rounded to a multiple\n"
"of `step` (0: left alone): 0 nearest with ties to even, 1 floor, 2 floor of w / step + noise,\n"
"3 the sign of w times step. Zeros come out as +0. The shadow becomes 1 a copy of the weights as\n"
"they were, 2 the same with the pruned ones at zero, 3 itself with the pruned ones at zero; 0, or\n"
"an address of 0, leaves it alone. Tensors and shadows must not overlap.");

PyDoc_STRVAR(copy_doc,
"copy(destinations, sources, sizes, threads)\n--\n\n"
"Copy tensors that do not overlap.");

PyDoc_STRVAR(variants_doc,
"variants()\n--\n\n"
"Return the names of the instruction sets this processor runs, the fastest first.");

PyDoc_STRVAR(use_doc,
"use(variant)\n--\n\n"
"Run on this instruction set from now on; the results do not depend on it.");

#define NAMED(name)                                                                                \
    {#name, (PyCFunction)(void (*)(void))core_##name, METH_VARARGS | METH_KEYWORDS, name##_doc}

static PyMethodDef methods[] = {
    NAMED(measure),
    NAMED(kept_mean),
    NAMED(kept_quantile),
    NAMED(write),
    NAMED(copy),
    NAMED(largest),
    NAMED(best),
    NAMED(take_pictures),
    NAMED(norm_relu),
    {"coder_write", core_coder_write, METH_VARARGS, coder_write_doc},
    {"coder_read", core_coder_read, METH_VARARGS, coder_read_doc},
    {"variants", core_variants, METH_NOARGS, variants_doc},
    {"use", core_use, METH_VARARGS, use_doc},
    {NULL, NULL, 0, NULL},
};

static int core_exec(PyObject *module)
{
    (void)module;
    kernels_use(kernels_at(0));
    coder_prepare();
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)core_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "espalier._core",
    .m_doc = "Passes over sets of float32 tensors, images out of a data set, the file's coder.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
