/* Batch normalization, ReLU and 2x2 max-pooling of a bfloat16 map, in one go each way.
 *
 * A map is read twice and its result written once, forward and backward: the floor, since the
 * statistics need all of it. Where it is pooled, the entries that win their windows are set aside,
 * and the statistics of the gradient need those alone. Sums of an image run in the order of its
 * pixels, those of a batch in the order of its images: neither threads nor the instruction set
 * change a bit. Loops run over BLOCK channels, and become vector code.
 */
#include "_core_norm.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define FOR_EACH_ISA __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define FOR_EACH_ISA
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL_3 _Pragma("clang loop unroll_count(3)")
#else
#define UNROLL_3 _Pragma("GCC unroll 3")
#endif

enum { BLOCK = 32, LOST = 4 };

typedef struct {
    const uint16_t *x, *dy;                /* (images, height, width, channels), dy as the result */
    uint16_t *y, *dx;                      /* y NULL: backward */
    uint16_t *winner, *place;              /* where pooled, else NULL; of each window's largest: */
    const float *weight, *bias;            /* x, and where, 0 to 3; LOST where the result is 0 */
    float *mean, *inverse, *variance;      /* of the batch: 1 / sqrt(variance + eps); unbiased */
    float *dweight, *dbias;
    size_t images, height, width, channels;
    double eps;
    int threads;
} Norm;

/* BLOCK channels of an image: where they begin, what is the same for all pixels, and sums. */
typedef struct {
    const uint16_t *x, *dy;
    uint16_t *out, *winner, *place;
    size_t height, width, channels;
    float origin[BLOCK], scale[BLOCK], shift[BLOCK], pull[BLOCK], tilt[BLOCK];
    float sum[BLOCK], product[BLOCK];
} Part;

/* BLOCK bfloat16 values as floats, and back: to the nearest, ties to even. */
static ALWAYS_INLINE void widen(float *restrict values, const uint16_t *restrict halves)
{
    for (size_t c = 0; c < BLOCK; c++) {
        uint32_t bits = (uint32_t)halves[c] << 16;
        memcpy(values + c, &bits, sizeof bits);
    }
}

static ALWAYS_INLINE void narrow(uint16_t *restrict halves, const float *restrict values)
{
    for (size_t c = 0; c < BLOCK; c++) {
        uint32_t bits;
        memcpy(&bits, values + c, sizeof bits);
        halves[c] = (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
}

/* Sums of x - origin and of its square. */
FOR_EACH_ISA static void moments(Part *p)
{
    float v[BLOCK], sum[BLOCK] = {0}, square[BLOCK] = {0};
    for (size_t i = 0; i < p->height * p->width; i++) {
        widen(v, p->x + i * p->channels);
        for (size_t c = 0; c < BLOCK; c++) {
            float offset = v[c] - p->origin[c];
            sum[c] += offset;
            square[c] += offset * offset;
        }
    }
    memcpy(p->sum, sum, sizeof sum);
    memcpy(p->product, square, sizeof square);
}

FOR_EACH_ISA static void forward(Part *p)
{
    float v[BLOCK];
    for (size_t i = 0; i < p->height * p->width; i++) {
        widen(v, p->x + i * p->channels);
        for (size_t c = 0; c < BLOCK; c++) {
            float z = v[c] * p->scale[c] + p->shift[c];
            v[c] = z < 0.0f ? 0.0f : z; /* NaN stays */
        }
        narrow(p->out + i * p->channels, v);
    }
}

FOR_EACH_ISA static void forward_pooled(Part *p)
{
    size_t line = p->width * p->channels, at = 0;
    const size_t window[4] = {0, p->channels, line, line + p->channels};
    float v[4][BLOCK], top[BLOCK], from[BLOCK];
    uint32_t place[BLOCK];
    for (size_t h = 0; h < p->height; h += 2)
        for (size_t w = 0; w < p->width; w += 2, at += p->channels) {
            for (size_t k = 0; k < 4; k++)
                widen(v[k], p->x + h * line + w * p->channels + window[k]);
            for (size_t c = 0; c < BLOCK; c++) {
                float best = v[0][c] * p->scale[c] + p->shift[c], winner = v[0][c];
                uint32_t which = 0;
                UNROLL_3
                for (uint32_t k = 1; k < 4; k++) {
                    float z = v[k][c] * p->scale[c] + p->shift[c];
                    winner = z > best ? v[k][c] : winner;
                    which = z > best ? k : which;
                    best = z > best ? z : best;
                }
                from[c] = winner;
                place[c] = best > 0.0f ? which : LOST;
                top[c] = best < 0.0f ? 0.0f : best;
            }
            for (size_t c = 0; c < BLOCK; c++)
                p->place[at + c] = (uint16_t)place[c];
            narrow(p->out + at, top);
            narrow(p->winner + at, from);
        }
}

/* Sums of g and of g * (x - mean), g the gradient where ReLU let it through. */
FOR_EACH_ISA static void gradient_sums(Part *p)
{
    float v[BLOCK], g[BLOCK], sum[BLOCK] = {0}, product[BLOCK] = {0};
    for (size_t i = 0; i < p->height * p->width; i++) {
        widen(v, p->x + i * p->channels);
        widen(g, p->dy + i * p->channels);
        for (size_t c = 0; c < BLOCK; c++) {
            g[c] = v[c] * p->scale[c] + p->shift[c] > 0.0f ? g[c] : 0.0f;
            sum[c] += g[c];
            product[c] += g[c] * (v[c] - p->origin[c]);
        }
    }
    memcpy(p->sum, sum, sizeof sum);
    memcpy(p->product, product, sizeof product);
}

FOR_EACH_ISA static void gradient_sums_pooled(Part *p)
{
    float v[BLOCK], g[BLOCK], sum[BLOCK] = {0}, product[BLOCK] = {0};
    for (size_t i = 0; i < p->height * p->width / 4; i++) {
        const uint16_t *place = p->place + i * p->channels;
        widen(v, p->winner + i * p->channels);
        widen(g, p->dy + i * p->channels);
        for (size_t c = 0; c < BLOCK; c++) {
            g[c] = place[c] < LOST ? g[c] : 0.0f;
            sum[c] += g[c];
            product[c] += g[c] * (v[c] - p->origin[c]);
        }
    }
    memcpy(p->sum, sum, sizeof sum);
    memcpy(p->product, product, sizeof product);
}

/* v becomes scale * (g - mean(g) - slope * (v - mean)): `pull` is scale * mean(g), `tilt` its like. */
static ALWAYS_INLINE void spread(const Part *p, float *restrict v, const float *restrict g)
{
    for (size_t c = 0; c < BLOCK; c++)
        v[c] = p->scale[c] * g[c] - (p->pull[c] + p->tilt[c] * (v[c] - p->origin[c]));
}

FOR_EACH_ISA static void backward(Part *p)
{
    float v[BLOCK], g[BLOCK];
    for (size_t i = 0; i < p->height * p->width; i++) {
        widen(v, p->x + i * p->channels);
        widen(g, p->dy + i * p->channels);
        for (size_t c = 0; c < BLOCK; c++)
            g[c] = v[c] * p->scale[c] + p->shift[c] > 0.0f ? g[c] : 0.0f;
        spread(p, v, g);
        narrow(p->out + i * p->channels, v);
    }
}

FOR_EACH_ISA static void backward_pooled(Part *p)
{
    size_t line = p->width * p->channels, at = 0;
    const size_t window[4] = {0, p->channels, line, line + p->channels};
    float v[BLOCK], g[BLOCK], share[BLOCK];
    for (size_t h = 0; h < p->height; h += 2)
        for (size_t w = 0; w < p->width; w += 2, at += p->channels) {
            const uint16_t *place = p->place + at;
            widen(g, p->dy + at);
            for (uint32_t k = 0; k < 4; k++) {
                size_t here = h * line + w * p->channels + window[k];
                widen(v, p->x + here);
                for (size_t c = 0; c < BLOCK; c++)
                    share[c] = place[c] == k ? g[c] : 0.0f;
                spread(p, v, share);
                narrow(p->out + here, v);
            }
        }
}

/* Where the c-th channels of image n begin. */
static Part part_of(const Norm *norm, size_t n, size_t c)
{
    size_t size = norm->height * norm->width * norm->channels;
    float count = (float)(norm->images * norm->height * norm->width);
    size_t in = n * size + c, out = norm->place ? n * (size / 4) + c : in;
    Part part = {.x = norm->x + in,
                 .dy = norm->dy ? norm->dy + out : NULL,
                 .out = norm->y ? norm->y + out : norm->dx + in,
                 .winner = norm->place ? norm->winner + out : NULL,
                 .place = norm->place ? norm->place + out : NULL,
                 .height = norm->height,
                 .width = norm->width,
                 .channels = norm->channels};
    for (size_t i = 0; i < BLOCK; i++) {
        float inverse = norm->inverse[c + i], scale = norm->weight[c + i] * inverse;
        part.origin[i] = norm->mean[c + i];
        part.scale[i] = scale;
        part.shift[i] = norm->bias[c + i] - norm->mean[c + i] * scale;
        part.pull[i] = scale * (norm->dbias[c + i] / count);
        part.tilt[i] = scale * inverse * (norm->dweight[c + i] / count);
    }
    return part;
}

/* Run `work` over the batch; it leaves `sums` (images, 2, channels) where they aren't NULL. */
static void over_parts(const Norm *norm, void (*work)(Part *), float *sums)
{
    ptrdiff_t images = (ptrdiff_t)norm->images;

#pragma omp parallel for num_threads(norm->threads) schedule(static) if (norm->threads > 1)
    for (ptrdiff_t n = 0; n < images; n++)
        for (size_t c = 0; c < norm->channels; c += BLOCK) {
            Part part = part_of(norm, (size_t)n, c);
            work(&part);
            if (sums) {
                float *here = sums + 2 * (size_t)n * norm->channels + c;
                memcpy(here, part.sum, sizeof part.sum);
                memcpy(here + norm->channels, part.product, sizeof part.product);
            }
        }
}

static double total(const Norm *norm, const float *sums, size_t entry)
{
    double sum = 0.0;
    for (size_t n = 0; n < norm->images; n++)
        sum += (double)sums[2 * n * norm->channels + entry];
    return sum;
}

/* On entry `mean` holds a value near it, which the sums are taken from. */
static void norm_forward(const Norm *norm, float *sums)
{
    double count = (double)(norm->images * norm->height * norm->width);

    over_parts(norm, moments, sums);
    for (size_t c = 0; c < norm->channels; c++) {
        double offset = total(norm, sums, c) / count;
        double variance = total(norm, sums, norm->channels + c) / count - offset * offset;
        variance = variance < 0.0 ? 0.0 : variance; /* NaN stays */
        norm->mean[c] = (float)((double)norm->mean[c] + offset);
        norm->inverse[c] = (float)(1.0 / sqrt(variance + norm->eps));
        norm->variance[c] = (float)(variance * (count / (count - 1.0)));
    }
    over_parts(norm, norm->place ? forward_pooled : forward, NULL);
}

static void norm_backward(const Norm *norm, float *sums)
{
    over_parts(norm, norm->place ? gradient_sums_pooled : gradient_sums, sums);
    for (size_t c = 0; c < norm->channels; c++) {
        double product = total(norm, sums, norm->channels + c);
        norm->dbias[c] = (float)total(norm, sums, c);
        norm->dweight[c] = (float)(product * (double)norm->inverse[c]);
    }
    over_parts(norm, norm->place ? backward_pooled : backward, NULL);
}

static void *at(unsigned long long address)
{
    return (void *)(uintptr_t)address;
}

PyObject *core_norm_relu(PyObject *module, PyObject *args, PyObject *named)
{
    static char *names[] = {"sizes", "maps", "won", "affine", "statistics", "eps", "threads", NULL};
    unsigned long long x, y, dy, dx, winner, place, weight, bias, statistics;
    Py_ssize_t images, height, width, channels;
    Norm norm = {0};
    float *sums;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, named, "(nnnn)(KKKK)(KK)(KK)Kdi:norm_relu", names,
                                     &images, &height, &width, &channels, &x, &y, &dy, &dx, &winner,
                                     &place, &weight, &bias, &statistics, &norm.eps, &norm.threads))
        return NULL;
    if (images < 1 || height < 1 || width < 1 || channels < 1 || channels % BLOCK ||
        images * height * width < 2 || (place && (height % 2 || width % 2)))
        return PyErr_Format(PyExc_ValueError,
                            "a map of %zd images of %zd x %zd pixels and %zd channels: expected "
                            "channels by %d, two pixels or more, and even sides to be pooled.",
                            images, height, width, channels, BLOCK);
    norm.x = at(x), norm.y = at(y), norm.dy = at(dy), norm.dx = at(dx);
    norm.winner = at(winner), norm.place = at(place);
    norm.weight = at(weight), norm.bias = at(bias);
    norm.mean = at(statistics), norm.inverse = norm.mean + channels;
    norm.variance = norm.inverse + channels, norm.dweight = norm.variance + channels;
    norm.dbias = norm.dweight + channels;
    norm.images = (size_t)images, norm.height = (size_t)height;
    norm.width = (size_t)width, norm.channels = (size_t)channels;
    sums = malloc((size_t)images * 2 * (size_t)channels * sizeof *sums);
    if (!sums)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    if (norm.y)
        norm_forward(&norm, sums);
    else
        norm_backward(&norm, sums);
    free(sums);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

const char norm_relu_doc[] = PyDoc_STR(
"norm_relu(sizes, maps, won, affine, statistics, eps, threads)\n--\n\n"
"Batch normalization, ReLU and, where `won` is given, 2x2 max-pooling of a bfloat16 map.\n\n"
"All by address, 0 for none. `sizes` are (images, height, width, channels), channels innermost in\n"
"all maps: (x, y, 0, 0) computes y, (x, 0, dy, dx) computes dx. `won` are two maps of 16 bits, as\n"
"large as y, that carry the winners of the windows from the first call to the second; `affine`\n"
"the weight and the bias, float32. `statistics`, float32 of (5, channels), carries the batch's\n"
"mean (on entry a value near it, say of the first pixel), 1 / sqrt(variance + eps) and its\n"
"unbiased variance; the second call adds the gradients of weight and bias. The rest starts as 0.");
