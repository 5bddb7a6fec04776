/* Arguments from Python: rows of numbers, and sets of tensors given by their addresses.
 *
 * A row is any object with the buffer protocol (a numpy array, an array.array).
 */
#ifndef ESPALIER_CORE_ROWS_H
#define ESPALIER_CORE_ROWS_H

#include <Python.h>

#include "_core.h"

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

/* These set a Python error and return -1 where an argument is at fault. */

/* Take every row, of the type it is wanted in, and check that all are as long as the first. */
int rows_take(Rows *rows, PyObject *const *objects, const Row *wanted, int count);
void rows_release(Rows *rows);

/* Release them and return None, or an error where memory ran out; or NULL for an error that is set. */
PyObject *rows_done(Rows *rows, int status);
PyObject *rows_failed(Rows *rows);

/* Make a set of the rows: addresses first, sizes in row `sizes_at`; `name` is what the caller calls
 * the addresses. */
int set_take(Set *set, const Rows *rows, const char *name, int sizes_at, int threads,
             const Kernels *kernels);

/* Check addresses against the sizes of the set; `optional` lets 0 through. */
int addresses_check(const char *name, const uint64_t *addresses, const Set *set, int optional);

#endif
