/* The compiled core: passes over a set of float32 tensors. Shared by _core*.c; no Python here.
 *
 * Every result is the same on one thread and on many, and on every instruction set: tensors are cut
 * into chunks of a fixed size, sums run in lanes of a fixed number and are combined in a fixed
 * order.
 */
#ifndef ESPALIER_CORE_H
#define ESPALIER_CORE_H

#include <stddef.h>
#include <stdint.h>

enum { CHUNK = 16384 };              /* entries of a chunk: 64 KiB */
/* Below so many entries one thread is faster than waking a team: about 20 us of work. */
enum { TEAM_FROM = 16 * CHUNK };
enum { INFINITY_BITS = 0x7f800000 }; /* magnitudes from here on are infinite or NaN */

typedef enum { ROUND_NEAREST, ROUND_FLOOR, ROUND_STOCHASTIC, ROUND_SIGN, ROUND_COUNT } Rounding;
typedef enum { SHADOW_NONE, SHADOW_COPY, SHADOW_PRUNED, SHADOW_MASKED, SHADOW_COUNT } ShadowMode;

/* Sums of x - shift and of its square, and the largest magnitude as bits. */
typedef struct {
    double sum, square;
    uint32_t largest;
} Moments;

/* What to write over `count` entries; kept are those with |w| > limit. */
typedef struct {
    float *weights;
    float *shadow;      /* read and written as `mode` says */
    const float *noise; /* for ROUND_STOCHASTIC */
    size_t count;       /* at most CHUNK */
    float limit, step;
    Rounding rounding;
    ShadowMode mode;
} Writing;

/* Magnitudes sort as their 31 bits do; a histogram of the top ones, then one of the low ones. */
enum { TOP_BITS = 16, LOW_BITS = 15 };

/* The loops, once per instruction set. */
typedef struct {
    const char *name;
    void (*moments)(const float *w, size_t count, float shift, Moments *out);
    double (*kept_sum)(const float *w, size_t count, float limit, size_t *kept);
    void (*write)(const Writing *job, size_t *kept, size_t *nonzero);
    void (*rank)(const float *w, size_t count, uint32_t bits, size_t *above, size_t *equal);
    void (*tally)(const float *w, size_t count, uint32_t prefix, uint64_t *buckets);
    size_t (*collect)(const float *w, size_t count, uint32_t base, uint32_t span, uint32_t *bits);
} Kernels;

const Kernels *kernels_at(size_t index); /* NULL past the last that this processor runs */
const Kernels *kernels_in_use(void);
void kernels_use(const Kernels *kernels);

/* n tensors by address. */
typedef struct {
    size_t count;
    const uint64_t *addresses;
    const int64_t *sizes;
    int threads;
    const Kernels *kernels;
} Set;

/* Which entries stay: |w| > threshold, and the first `ties` equal to it (negative: all of them). */
typedef struct {
    const float *threshold;
    const int64_t *ties;
} Selection;

/* Each returns 0, or -1 when memory for its small tables runs out. */
int set_measure(const Set *set, double *std, float *max_abs);
int set_kept_mean(const Set *set, const Selection *selection, double *mean);
int set_write(const Set *set, const Selection *selection, const uint64_t *shadows,
              const uint64_t *noise, const float *step, Rounding rounding, ShadowMode mode,
              int64_t *kept, int64_t *nonzero);
int set_copy(const Set *destinations, const uint64_t *sources);
int set_largest(const Set *set, uint64_t k, float *threshold, int64_t *above, int64_t *equal);
int set_best(const Set *set, int64_t k, int64_t least, const double *prices, const float *max_abs,
             float *threshold, int64_t *stay, int64_t *equal);
/* The magnitude that a fraction of the kept entries don't exceed; 0 where none is kept. */
int set_kept_quantile(const Set *set, const Selection *selection, double quantile, float *value);

/* Sort numbers from base to base + span, rising; `spare` holds n too. */
void bits_sort(uint32_t *keys, uint32_t *spare, size_t n, uint32_t base, uint32_t span);

#endif
