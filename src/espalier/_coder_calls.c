#include "_coder_calls.h"

#include "_coder.h"

#include <string.h>

enum { SIZE_MAX_WEIGHTS = INT32_MAX, KERNEL_MAX = 255, BUFFERS = 5 };
enum { MASK, CODES, STREAM, SYMBOLS, FREQUENCIES };

#define CODE_MAX (INT64_C(1) << 62)

/* All arguments of a call; buffers that a call has not are left out. */
typedef struct {
    Matrix matrix;
    Histogram histogram;
    Stream stream;
    Py_buffer views[BUFFERS];
    int held[BUFFERS];
} Call;

const char coder_write_doc[] = PyDoc_STR(
"coder_write(mask, codes, symbols, frequencies, matrix)\n--\n\n"
"Return the stream of a mask (bool) and its codes (int64, or None).\n\n"
"`matrix` is (rows, columns, kernel rows, kernel columns, nonzeros, offset, signed). With symbols\n"
"(int64, ascending) and frequencies (uint32, of sum 65536) the model is static, without it is\n"
"that of contexts.");

const char coder_read_doc[] = PyDoc_STR(
"coder_read(mask, codes, stream, symbols, frequencies, matrix)\n--\n\n"
"Fill a mask of zeros and its codes from a stream; return a status, 0 if all is well, and how many\n"
"bytes of the stream it has used.");

static void call_release(Call *call)
{
    for (int i = 0; i < BUFFERS; i++)
        if (call->held[i])
            PyBuffer_Release(&call->views[i]);
}

static int buffer_take(Call *call, int which, PyObject *object, int written)
{
    static const char *const names[] = {"mask", "codes", "stream", "symbols", "frequencies"};
    static const char *const formats[] = {"?", "ql", "B", "ql", "I"};
    Py_buffer *view = &call->views[which];
    int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (written ? PyBUF_WRITABLE : 0);

    if (!object || object == Py_None)
        return 0;
    if (PyObject_GetBuffer(object, view, flags))
        return -1;
    call->held[which] = 1;
    if (view->format && strlen(view->format) == 1 && strchr(formats[which], *view->format))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s must be a buffer of format '%c', found '%s'.", names[which],
                 *formats[which], view->format ? view->format : "B");
    return -1;
}

static int matrix_check(const Call *call)
{
    const Matrix *m = &call->matrix;
    uint64_t kernel = (uint64_t)m->kernel_rows * m->kernel_columns;
    int fits = m->rows >= 1 && m->columns >= 1 && m->rows <= SIZE_MAX_WEIGHTS &&
               m->columns <= SIZE_MAX_WEIGHTS && m->rows * m->columns <= SIZE_MAX_WEIGHTS &&
               kernel >= 1 && m->kernel_rows <= KERNEL_MAX && m->kernel_columns <= KERNEL_MAX &&
               m->columns % kernel == 0 && m->offset >= 0 && m->offset <= CODE_MAX &&
               call->held[MASK] && (uint64_t)call->views[MASK].len == m->rows * m->columns;

    if (!fits)
        PyErr_SetString(PyExc_ValueError,
                        "rows times columns must be the mask's size, 1 to 2^31 - 1; a kernel must "
                        "divide the columns; the offset must lie in [0, 2^62].");
    return fits ? 0 : -1;
}

static int histogram_take(Call *call)
{
    const Py_buffer *symbols = &call->views[SYMBOLS], *frequencies = &call->views[FREQUENCIES];
    Histogram *h = &call->histogram;
    int64_t most = CODE_MAX - call->matrix.offset + 1;
    uint64_t sum = 0;

    *h = (Histogram){(size_t)symbols->len / 8, symbols->buf, frequencies->buf};
    int fits = h->count >= 1 && h->count <= 65536 && (size_t)frequencies->len / 4 == h->count;
    for (size_t i = 0; fits && i < h->count; i++) {
        fits = h->frequencies[i] >= 1 && h->symbols[i] <= most && h->symbols[i] >= -most &&
               (i == 0 || h->symbols[i - 1] < h->symbols[i]);
        sum += h->frequencies[i];
    }
    if (fits && sum == 65536)
        return 0;
    PyErr_SetString(PyExc_ValueError, "symbols must ascend and frequencies, each at least 1, must "
                                      "sum to 65536.");
    return -1;
}

static int call_take(Call *call, PyObject *const *objects, int reading)
{
    Matrix *m = &call->matrix;

    for (int i = 0; i < BUFFERS; i++)
        if (buffer_take(call, i, objects[i], reading && i <= CODES))
            return -1;
    m->has_codes = call->held[CODES];
    if (matrix_check(call))
        return -1;
    if (m->has_codes && (uint64_t)call->views[CODES].len / 8 != m->nonzero) {
        PyErr_SetString(PyExc_ValueError, "give one code a nonzero.");
        return -1;
    }
    if (call->held[SYMBOLS] && call->held[FREQUENCIES])
        return histogram_take(call);
    return 0;
}

#define MATRIX_FORMAT "(KKIIKLp)"
#define MATRIX(m)                                                                                  \
    &(m).rows, &(m).columns, &(m).kernel_rows, &(m).kernel_columns, &(m).nonzero, &(m).offset,     \
        &(m).is_signed

PyObject *core_coder_write(PyObject *module, PyObject *args)
{
    PyObject *o[BUFFERS] = {NULL}, *bytes = NULL;
    CoderStatus status;
    Call call = {0};
    const Py_buffer *v = call.views;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO" MATRIX_FORMAT ":coder_write", &o[MASK], &o[CODES],
                          &o[SYMBOLS], &o[FREQUENCIES], MATRIX(call.matrix)))
        return NULL;
    if (call_take(&call, o, 0)) {
        call_release(&call);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = call.histogram.count
                 ? static_write(&call.matrix, &call.histogram, v[MASK].buf, v[CODES].buf,
                                &call.stream)
                 : context_write(&call.matrix, v[MASK].buf, v[CODES].buf, &call.stream);
    Py_END_ALLOW_THREADS
    if (status == CODER_NO_MEMORY)
        PyErr_NoMemory();
    else if (status)
        PyErr_Format(PyExc_ValueError, "mask, codes and matrix don't fit (status %d).", (int)status);
    else
        bytes = PyBytes_FromStringAndSize((char *)call.stream.bytes,
                                          (Py_ssize_t)call.stream.length);
    stream_free(&call.stream);
    call_release(&call);
    return bytes;
}

PyObject *core_coder_read(PyObject *module, PyObject *args)
{
    PyObject *o[BUFFERS] = {NULL}, *answer = NULL;
    CoderStatus status;
    Call call = {0};
    const Py_buffer *v = call.views;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO" MATRIX_FORMAT ":coder_read", &o[MASK], &o[CODES],
                          &o[STREAM], &o[SYMBOLS], &o[FREQUENCIES], MATRIX(call.matrix)))
        return NULL;
    if (call_take(&call, o, 1)) {
        call_release(&call);
        return NULL;
    }
    call.stream.bytes = v[STREAM].buf;
    call.stream.length = call.held[STREAM] ? (size_t)v[STREAM].len : 0;
    Py_BEGIN_ALLOW_THREADS
    status = call.histogram.count
                 ? static_read(&call.matrix, &call.histogram, v[MASK].buf, v[CODES].buf,
                               &call.stream)
                 : context_read(&call.matrix, v[MASK].buf, v[CODES].buf, &call.stream);
    Py_END_ALLOW_THREADS
    if (status == CODER_NO_MEMORY)
        PyErr_NoMemory();
    else
        answer = Py_BuildValue("in", (int)status, (Py_ssize_t)call.stream.at);
    call_release(&call);
    return answer;
}
