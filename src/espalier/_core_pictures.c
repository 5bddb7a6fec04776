/* Images out of a data set: shifted with reflection, mirrored, normalized, in one pass.
 *
 * The floor is to read every byte once and write every float once; no index is made in memory.
 */
#include "_core_pictures.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *set; /* (images, height, width, channels) */
    float *out;         /* (count, height, width, channels) */
    size_t count, height, width, channels;
    const int64_t *chosen, *down, *right; /* output (y, x) is input (y + down, x + right) */
    const uint8_t *flip;
    const float *scale, *shift; /* (width * channels) */
} Pictures;

/* Reflect an index of -size < index < 2 * size - 1 into 0 to size - 1, edges not repeated. */
static size_t reflected(int64_t index, int64_t size)
{
    index = index < 0 ? -index : index;
    return (size_t)(index >= size ? 2 * (size - 1) - index : index);
}

/* Fill a row of the output's pixels: pixel x comes from byte from[x] on. */
static void row_move(uint8_t *pixels, const uint8_t *line, const size_t *from, size_t width,
                     size_t channels)
{
    if (channels != 3) {
        for (size_t x = 0; x < width; x++)
            memcpy(pixels + x * channels, line + from[x], channels);
        return;
    }
    for (size_t x = 0; x < width; x++) {
        pixels[3 * x] = line[from[x]];
        pixels[3 * x + 1] = line[from[x] + 1];
        pixels[3 * x + 2] = line[from[x] + 2];
    }
}

static void picture_take(const Pictures *p, size_t n, size_t *from, uint8_t *pixels)
{
    size_t row = p->width * p->channels, image = p->height * row;
    const uint8_t *source = p->set + (size_t)p->chosen[n] * image;
    float *out = p->out + n * image;

    for (size_t x = 0; x < p->width; x++) {
        size_t place = p->flip[n] ? p->width - 1 - x : x;
        from[place] = p->channels * reflected((int64_t)x + p->right[n], (int64_t)p->width);
    }
    for (size_t y = 0; y < p->height; y++, out += row) {
        size_t line = reflected((int64_t)y + p->down[n], (int64_t)p->height);
        row_move(pixels, source + row * line, from, p->width, p->channels);
        for (size_t i = 0; i < row; i++)
            out[i] = (float)pixels[i] * p->scale[i] + p->shift[i];
    }
}

static int pictures_take(const Pictures *p)
{
    size_t *from = malloc(p->width * sizeof *from);
    uint8_t *pixels = malloc(p->width * p->channels);
    int made = from && pixels;

    for (size_t n = 0; made && n < p->count; n++)
        picture_take(p, n, from, pixels);
    free(from);
    free(pixels);
    return made ? 0 : -1;
}

static int reaches_over(int64_t shift, size_t size)
{
    return shift <= -(int64_t)size || shift >= (int64_t)size;
}

/* Every image exists, and no shift reaches further than a reflection does. */
static int pictures_check(const Pictures *p, Py_ssize_t set_bytes)
{
    size_t image = p->height * p->width * p->channels;
    int64_t images = image ? (int64_t)((size_t)set_bytes / image) : 0;

    for (size_t n = 0; n < p->count; n++) {
        if (p->chosen[n] < 0 || p->chosen[n] >= images) {
            PyErr_Format(PyExc_IndexError, "chosen[%zu] is image %lld of %lld.", n,
                         (long long)p->chosen[n], (long long)images);
            return -1;
        }
        if (reaches_over(p->down[n], p->height) || reaches_over(p->right[n], p->width)) {
            PyErr_Format(PyExc_ValueError, "image %zu is shifted by (%lld, %lld) of (%zu, %zu).", n,
                         (long long)p->down[n], (long long)p->right[n], p->height, p->width);
            return -1;
        }
    }
    return 0;
}

/* Of a side or of channels, so that products of sizes stay in range. */
enum { MOST_PIXELS = 65536 };

enum { SET, OUT, CHOSEN, DOWN, RIGHT, FLIP, SCALE, SHIFT, BUFFERS };

static PyObject *pictures_answer(Py_buffer *held, Py_ssize_t h, Py_ssize_t w, Py_ssize_t c)
{
    Pictures p = {.set = held[SET].buf,     .out = held[OUT].buf,
                  .height = (size_t)h,      .width = (size_t)w,
                  .channels = (size_t)c,    .chosen = held[CHOSEN].buf,
                  .down = held[DOWN].buf,   .right = held[RIGHT].buf,
                  .flip = held[FLIP].buf,   .scale = held[SCALE].buf,
                  .shift = held[SHIFT].buf, .count = (size_t)held[FLIP].len};
    Py_ssize_t row, count = held[FLIP].len;
    int status;

    if (h < 1 || w < 1 || c < 1 || h > MOST_PIXELS || w > MOST_PIXELS || c > MOST_PIXELS)
        return PyErr_Format(PyExc_ValueError, "sizes must lie in [1, %d], found (%zd, %zd, %zd).",
                            MOST_PIXELS, h, w, c);
    row = w * c;
    if (held[SCALE].len != 4 * row || held[SHIFT].len != 4 * row ||
        held[CHOSEN].len != 8 * count || held[DOWN].len != 8 * count ||
        held[RIGHT].len != 8 * count || held[OUT].len != 4 * count * h * row)
        return PyErr_Format(PyExc_ValueError,
                            "buffers don't fit %zd images of %zd x %zd x %zd bytes.", count, h, w,
                            c);
    if (pictures_check(&p, held[SET].len))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = pictures_take(&p);
    Py_END_ALLOW_THREADS
    if (status)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyObject *core_take_pictures(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"set",  "out",   "sizes", "chosen", "down",
                            "right", "flip", "scale", "shift",  NULL};
    PyObject *objects[BUFFERS], *result = NULL;
    Py_buffer held[BUFFERS];
    Py_ssize_t h, w, c;
    int taken = 0;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OO(nnn)OOOOOO:take_pictures", names,
                                     &objects[SET], &objects[OUT], &h, &w, &c, &objects[CHOSEN],
                                     &objects[DOWN], &objects[RIGHT], &objects[FLIP],
                                     &objects[SCALE], &objects[SHIFT]))
        return NULL;
    while (taken < BUFFERS && !PyObject_GetBuffer(objects[taken], &held[taken],
                                                  PyBUF_C_CONTIGUOUS |
                                                      (taken == OUT ? PyBUF_WRITABLE : 0)))
        taken++;
    if (taken == BUFFERS)
        result = pictures_answer(held, h, w, c);
    while (taken > 0)
        PyBuffer_Release(&held[--taken]);
    return result;
}

const char take_pictures_doc[] = PyDoc_STR(
"take_pictures(set, out, sizes, chosen, down, right, flip, scale, shift)\n--\n\n"
"Take images out of a set of bytes: shifted with reflection at the border, mirrored, normalized.\n\n"
"`sizes` are (height, width, channels), channels innermost in set and out. Output row y is input\n"
"row y + down; columns likewise, mirrored after that; out = byte * scale + shift, with a scale\n"
"and a shift for every entry of a row.");
