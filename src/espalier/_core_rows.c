#define PY_SSIZE_T_CLEAN
#include "_core_rows.h"

#include <string.h>

void rows_release(Rows *rows)
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

int rows_take(Rows *rows, PyObject *const *objects, const Row *wanted, int count)
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

int addresses_check(const char *name, const uint64_t *addresses, const Set *set, int optional)
{
    for (size_t t = 0; t < set->count; t++) {
        if (set->sizes[t] == 0 || (optional && addresses[t] == 0))
            continue;
        if (addresses[t] == 0 || addresses[t] % sizeof(float)) {
            PyErr_Format(
                PyExc_ValueError, "%s[%zu] is %s: give the address of %lld float32 entries.", name,
                t, addresses[t] ? "not aligned to 4 bytes" : "null", (long long)set->sizes[t]);
            return -1;
        }
    }
    return 0;
}

int set_take(Set *set, const Rows *rows, const char *name, int sizes_at, int threads,
             const Kernels *kernels)
{
    set->count = rows->count;
    set->addresses = rows->views[0].buf;
    set->sizes = rows->views[sizes_at].buf;
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

PyObject *rows_done(Rows *rows, int status)
{
    rows_release(rows);
    if (status)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyObject *rows_failed(Rows *rows)
{
    rows_release(rows);
    return NULL;
}
