/* Python's view of the compiled core: checks every argument, lets go of the GIL, runs the passes.
 *
 * Rows of numbers come as objects with the buffer protocol (numpy arrays, array.array), tensors as
 * addresses in a uint64 row. Limited API of CPython 3.11, so that one build serves all later ones.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_core.h"

#include <string.h>

enum { MAX_ROWS = 9 };

/* One argument: a row of n items of one type. */
typedef struct {
    const char *name;
    char type; /* 'Q' uint64, 'q' int64, 'f' float32, 'd' float64 */
    int written;
} Row;

typedef struct {
    Py_buffer views[MAX_ROWS];
    int held;
    size_t count; /* items of every row */
} Rows;

static const Kernels *kernels;

static void rows_release(Rows *rows)
{
    while (rows->held > 0)
        PyBuffer_Release(&rows->views[--rows->held]);
}

static const char *type_name(char type)
{
    return type == 'Q' ? "uint64" : type == 'q' ? "int64" : type == 'f' ? "float32" : "float64";
}

static int type_fits(const Py_buffer *view, char type)
{
    const char *format = view->format ? view->format : "B";
    Py_ssize_t size = type == 'f' ? 4 : 8;

    if (*format == '@' || *format == '=' || *format == '<')
        format++;
    if (strlen(format) != 1 || view->itemsize != size)
        return 0;
    if (type == 'Q')
        return *format == 'Q' || *format == 'L' || *format == 'N';
    if (type == 'q')
        return *format == 'q' || *format == 'l' || *format == 'n';
    return *format == type;
}

static int row_take(Rows *rows, PyObject *object, const Row *row)
{
    Py_buffer *view = &rows->views[rows->held];
    int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (row->written ? PyBUF_WRITABLE : 0);

    if (PyObject_GetBuffer(object, view, flags)) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s must be a contiguous%s buffer of %s, found %R.",
                     row->name, row->written ? " writable" : "", type_name(row->type),
                     (PyObject *)Py_TYPE(object));
        return -1;
    }
    rows->held++;
    if (!type_fits(view, row->type)) {
        PyErr_Format(PyExc_TypeError,
                     "%s must be a buffer of %s, found items of %zd bytes with format '%s'.",
                     row->name, type_name(row->type), view->itemsize,
                     view->format ? view->format : "B");
        return -1;
    }
    return 0;
}

/* Take every row and check that all are as long as the first. */
static int rows_take(Rows *rows, PyObject *const *objects, const Row *wanted, int count)
{
    rows->held = 0;
    for (int i = 0; i < count; i++) {
        size_t items;
        if (row_take(rows, objects[i], &wanted[i])) {
            rows_release(rows);
            return -1;
        }
        items = (size_t)(rows->views[i].len / rows->views[i].itemsize);
        if (i == 0)
            rows->count = items;
        if (items != rows->count) {
            PyErr_Format(PyExc_ValueError,
                         "%s holds %zu items and %s holds %zu: give one item a tensor.",
                         wanted[i].name, items, wanted[0].name, rows->count);
            rows_release(rows);
            return -1;
        }
    }
    return 0;
}

/* Check a row of addresses against the sizes; `optional` lets 0 through. */
static int addresses_check(const char *name, const uint64_t *addresses, const Set *set,
                           int optional)
{
    for (size_t t = 0; t < set->count; t++) {
        if (set->sizes[t] == 0 || (optional && addresses[t] == 0))
            continue;
        if (addresses[t] == 0 || addresses[t] % sizeof(float)) {
            PyErr_Format(PyExc_ValueError,
                         "%s[%zu] is %s: give the address of %lld float32 entries.", name, t,
                         addresses[t] ? "not aligned to 4 bytes" : "null",
                         (long long)set->sizes[t]);
            return -1;
        }
    }
    return 0;
}

/* The first two rows of every function are addresses and sizes; `sizes` is row number `at`. */
static int set_take(Set *set, const Rows *rows, const char *name, int at, int threads)
{
    set->count = rows->count;
    set->addresses = rows->views[0].buf;
    set->sizes = rows->views[at].buf;
    set->threads = threads;
    set->kernels = kernels;
    if (threads < 1) {
        PyErr_Format(PyExc_ValueError, "threads must be at least 1, found %d.", threads);
        return -1;
    }
    for (size_t t = 0; t < set->count; t++) {
        if (set->sizes[t] < 0) {
            PyErr_Format(PyExc_ValueError, "sizes[%zu] must be at least 0, found %lld.", t,
                         (long long)set->sizes[t]);
            return -1;
        }
    }
    return addresses_check(name, set->addresses, set, 0);
}

static PyObject *done(Rows *rows, int status)
{
    rows_release(rows);
    if (status)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *failed(Rows *rows)
{
    rows_release(rows);
    return NULL;
}

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
    if (set_take(&set, &rows, "addresses", 1, threads))
        return failed(&rows);
    Py_BEGIN_ALLOW_THREADS
    status = set_measure(&set, rows.views[2].buf, rows.views[3].buf);
    Py_END_ALLOW_THREADS
    return done(&rows, status);
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
    if (set_take(&set, &rows, "addresses", 1, threads))
        return failed(&rows);
    selection = (Selection){rows.views[2].buf, rows.views[3].buf};
    Py_BEGIN_ALLOW_THREADS
    status = set_kept_mean(&set, &selection, rows.views[4].buf);
    Py_END_ALLOW_THREADS
    return done(&rows, status);
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
                     "shadow_mode must be 0 (none), 1 (before), 2 (kept) or 3 (masked), found %d.",
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
    static char *names[] = {"addresses", "sizes",    "shadows",     "noise", "threshold",
                            "ties",      "step",     "rounding",    "shadow_mode",
                            "kept",      "nonzero",  "threads",     NULL};
    static const Row wanted[] = {{"addresses", 'Q', 0}, {"sizes", 'q', 0}, {"shadows", 'Q', 0},
                                 {"noise", 'Q', 0},     {"threshold", 'f', 0}, {"ties", 'q', 0},
                                 {"step", 'f', 0},      {"kept", 'q', 1},  {"nonzero", 'q', 1}};
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
    if (set_take(&set, &rows, "addresses", 1, threads) ||
        write_check(&set, rows.views[2].buf, rows.views[3].buf, rounding, shadow_mode))
        return failed(&rows);
    selection = (Selection){rows.views[4].buf, rows.views[5].buf};
    Py_BEGIN_ALLOW_THREADS
    status = set_write(&set, &selection, rows.views[2].buf, rows.views[3].buf, rows.views[6].buf,
                       (Rounding)rounding, (ShadowMode)shadow_mode, rows.views[7].buf,
                       rows.views[8].buf);
    Py_END_ALLOW_THREADS
    return done(&rows, status);
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
    if (set_take(&set, &rows, "destinations", 2, threads) ||
        addresses_check("sources", rows.views[1].buf, &set, 0))
        return failed(&rows);
    Py_BEGIN_ALLOW_THREADS
    status = set_copy(&set, rows.views[1].buf);
    Py_END_ALLOW_THREADS
    return done(&rows, status);
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

static PyObject *core_largest(PyObject *module, PyObject *args, PyObject *named)
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
    if (set_take(&set, &rows, "addresses", 1, threads))
        return failed(&rows);
    for (size_t t = 0; t < set.count; t++)
        total += set.sizes[t];
    if (k < 1 || k > total) {
        PyErr_Format(PyExc_ValueError, "k must lie in [1, %lld], the number of entries; found %lld.",
                     total, k);
        return failed(&rows);
    }
    counts = PyMem_Calloc(2 * set.count, sizeof *counts);
    answer = counts ? largest_answer(&set, (uint64_t)k, counts) : PyErr_NoMemory();
    PyMem_Free(counts);
    rows_release(&rows);
    return answer;
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
            kernels = kernels_at(i);
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
"in index order stay, all of them where `ties` is negative. What stays is rounded to a multiple of\n"
"`step` (0: left alone): 0 nearest with ties to even, 1 floor, 2 floor of w / step + noise, 3 sign\n"
"times step. Zeros come out as +0. The shadow is 1 the weights from before, 2 the same with the\n"
"pruned set to zero, 3 the shadow itself with the pruned set to zero; 0 leaves it alone, as does\n"
"an address of 0.");

PyDoc_STRVAR(copy_doc,
"copy(destinations, sources, sizes, threads)\n--\n\n"
"Copy tensors that do not overlap.");

PyDoc_STRVAR(largest_doc,
"largest(addresses, sizes, k, threads)\n--\n\n"
"Return the k-th largest magnitude over all tensors, exactly, and two lists with a number a\n"
"tensor: entries above it and entries equal to it. NaN sorts above infinity.");

PyDoc_STRVAR(variants_doc,
"variants()\n--\n\n"
"Return the names of the instruction sets this processor runs, the fastest first.");

PyDoc_STRVAR(use_doc,
"use(variant)\n--\n\n"
"Run on this instruction set from now on; the results do not depend on it.");

#define NAMED(name) {#name, (PyCFunction)(void (*)(void))core_##name, METH_VARARGS | METH_KEYWORDS, \
                     name##_doc}

static PyMethodDef methods[] = {
    NAMED(measure),
    NAMED(kept_mean),
    NAMED(write),
    NAMED(copy),
    NAMED(largest),
    {"variants", core_variants, METH_NOARGS, variants_doc},
    {"use", core_use, METH_VARARGS, use_doc},
    {NULL, NULL, 0, NULL},
};

static int core_exec(PyObject *module)
{
    (void)module;
    kernels = kernels_at(0);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)core_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "espalier._core",
    .m_doc = "Passes over sets of float32 tensors, in place and by address.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
