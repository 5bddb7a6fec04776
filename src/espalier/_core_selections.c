/* Python's view of what selects: ranks, quantiles, the best scores. */
#define PY_SSIZE_T_CLEAN
#include "_core_selections.h"

#include "_core_rows.h"

const char kept_quantile_doc[] = PyDoc_STR(
"kept_quantile(addresses, sizes, threshold, ties, value, quantile)\n--\n\n"
"Write each tensor's magnitude that a fraction of what is kept (see write) doesn't exceed: of m in\n"
"rising order the ceil(quantile * m)-th, 0 where nothing is.");

const char largest_doc[] = PyDoc_STR(
"largest(addresses, sizes, k, threads)\n--\n\n"
"Return the k-th largest magnitude over all tensors, exactly, and two lists with a number a\n"
"tensor: entries above it and entries equal to it. NaN sorts above infinity.");

const char best_doc[] = PyDoc_STR(
"best(addresses, sizes, max_abs, prices, threshold, stay, equal, k, least, threads)\n--\n\n"
"Write what keeps the k entries of the best layer-adaptive scores (espalier.ops.Lamp), and at\n"
"least `least` of every tensor, all of a smaller one: each tensor's smallest magnitude that stays\n"
"(infinity: none does), how many equal to it stay, and how many there are. `max_abs` holds each\n"
"tensor's largest magnitude, finite, and `prices` what its scores are divided by, at least 1.");

PyObject *core_kept_quantile(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"addresses", "sizes", "threshold", "ties", "value", "quantile", NULL};
    static const Row wanted[] = {{"addresses", 'Q', 0},
                                 {"sizes", 'q', 0},
                                 {"threshold", 'f', 0},
                                 {"ties", 'q', 0},
                                 {"value", 'f', 1}};
    PyObject *objects[5];
    Selection selection;
    double quantile;
    Rows rows;
    Set set;
    int status;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOOd:kept_quantile", names, &objects[0],
                                     &objects[1], &objects[2], &objects[3], &objects[4],
                                     &quantile) ||
        rows_take(&rows, objects, wanted, 5))
        return NULL;
    if (set_take(&set, &rows, "addresses", 1, 1, kernels_in_use()))
        return rows_failed(&rows);
    if (!(quantile > 0.0 && quantile <= 1.0)) {
        PyErr_SetString(PyExc_ValueError, "quantile must be above 0 and at most 1.");
        return rows_failed(&rows);
    }
    selection = (Selection){rows.views[2].buf, rows.views[3].buf};
    Py_BEGIN_ALLOW_THREADS
    status = set_kept_quantile(&set, &selection, quantile, rows.views[4].buf);
    Py_END_ALLOW_THREADS
    return rows_done(&rows, status);
}

static PyObject *counts_list(const int64_t *counts, size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);

    for (size_t i = 0; list && i < count; i++) {
        PyObject *number = PyLong_FromLongLong(counts[i]);
        if (!number || PyList_SetItem(list, (Py_ssize_t)i, number))
            Py_CLEAR(list);
    }
    return list;
}

/* The answer of largest, once its counts are there. */
static PyObject *largest_answer(const Set *set, uint64_t k, int64_t *counts)
{
    PyObject *above, *equal;
    float threshold = 0.0f;
    int status;

    Py_BEGIN_ALLOW_THREADS
    status = set_largest(set, k, &threshold, counts, counts + set->count);
    Py_END_ALLOW_THREADS
    if (status)
        return PyErr_NoMemory();
    above = counts_list(counts, set->count);
    equal = above ? counts_list(counts + set->count, set->count) : NULL;
    if (!equal) {
        Py_XDECREF(above);
        return NULL;
    }
    return Py_BuildValue("dNN", (double)threshold, above, equal);
}

PyObject *core_largest(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"addresses", "sizes", "k", "threads", NULL};
    static const Row wanted[] = {{"addresses", 'Q', 0}, {"sizes", 'q', 0}};
    PyObject *objects[2], *answer;
    long long k, total = 0;
    int64_t *counts;
    int threads;
    Rows rows;
    Set set;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOLi:largest", names, &objects[0], &objects[1],
                                     &k, &threads) ||
        rows_take(&rows, objects, wanted, 2))
        return NULL;
    if (set_take(&set, &rows, "addresses", 1, threads, kernels_in_use()))
        return rows_failed(&rows);
    for (size_t t = 0; t < set.count; t++)
        total += set.sizes[t];
    if (k < 1 || k > total) {
        PyErr_Format(PyExc_ValueError,
                     "k must lie in [1, %lld], the number of entries; found %lld.", total, k);
        return rows_failed(&rows);
    }
    counts = PyMem_Calloc(2 * set.count, sizeof *counts);
    answer = counts ? largest_answer(&set, (uint64_t)k, counts) : PyErr_NoMemory();
    PyMem_Free(counts);
    rows_release(&rows);
    return answer;
}

PyObject *core_best(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"addresses", "sizes", "max_abs", "prices", "threshold", "stay",
                            "equal",     "k",     "least",   "threads", NULL};
    static const Row wanted[] = {{"addresses", 'Q', 0}, {"sizes", 'q', 0}, {"max_abs", 'f', 0},
                                 {"prices", 'd', 0},    {"threshold", 'f', 1}, {"stay", 'q', 1},
                                 {"equal", 'q', 1}};
    PyObject *o[7];
    long long k, least, protected = 0, total = 0;
    int threads, status;
    Rows rows;
    Set set;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOOOOLLi:best", names, &o[0], &o[1], &o[2],
                                     &o[3], &o[4], &o[5], &o[6], &k, &least, &threads) ||
        rows_take(&rows, o, wanted, 7))
        return NULL;
    if (set_take(&set, &rows, "addresses", 1, threads, kernels_in_use()))
        return rows_failed(&rows);
    for (size_t t = 0; t < set.count; t++) {
        total += set.sizes[t];
        protected += set.sizes[t] < least ? set.sizes[t] : least;
    }
    for (size_t t = 0; t < set.count; t++)
        if (!(((const double *)rows.views[3].buf)[t] >= 1.0)) {
            PyErr_SetString(PyExc_ValueError, "prices must be at least 1.");
            return rows_failed(&rows);
        }
    if (least < 0 || k <= protected || k > total) {
        PyErr_Format(PyExc_ValueError,
                     "k must lie in [%lld, %lld], above the entries that stay in any case and up "
                     "to all, and least be at least 0; found k %lld, least %lld.",
                     protected + 1, total, k, least);
        return rows_failed(&rows);
    }
    Py_BEGIN_ALLOW_THREADS
    status = set_best(&set, k, least, rows.views[3].buf, rows.views[2].buf, rows.views[4].buf,
                      rows.views[5].buf, rows.views[6].buf);
    Py_END_ALLOW_THREADS
    return rows_done(&rows, status);
}
