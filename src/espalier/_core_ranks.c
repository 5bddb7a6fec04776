/* The r-th largest magnitude of a tensor: a sample says how far down it will be, what lies above is
 * sorted, and where the sample was wrong everything is.
 */
#include "_core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIGIT = 11, SAMPLE = 64, WHOLE = 128 * SAMPLE };

void bits_sort(uint32_t *keys, uint32_t *spare, size_t n, uint32_t base, uint32_t span)
{
    uint32_t *from = keys, *to = spare;

    for (int shift = 0; shift < 32 && span >> shift; shift += DIGIT) {
        size_t starts[1 << DIGIT] = {0}, next = 0;
        uint32_t *swapped = from;
        for (size_t i = 0; i < n; i++)
            starts[(from[i] - base) >> shift & ((1u << DIGIT) - 1u)]++;
        for (size_t digit = 0; digit < (size_t)1 << DIGIT; digit++) {
            size_t held = starts[digit];
            starts[digit] = next;
            next += held;
        }
        for (size_t i = 0; i < n; i++)
            to[starts[(from[i] - base) >> shift & ((1u << DIGIT) - 1u)]++] = from[i];
        from = to;
        to = swapped;
    }
    if (from != keys && n)
        memcpy(keys, from, n * sizeof *keys);
}

/* The magnitude that the rank will hardly lie below; 0 where everything shall be sorted. */
static uint32_t guess(const float *w, size_t size, size_t rank, uint32_t *scratch)
{
    size_t n = size / SAMPLE, reach = rank / SAMPLE * 4 / 3 + 16;

    if (size <= WHOLE || reach >= n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(&scratch[i], &w[i * SAMPLE], sizeof *scratch);
        scratch[i] &= INT32_MAX;
    }
    bits_sort(scratch, scratch + n, n, 0, INT32_MAX);
    return scratch[n - 1 - reach];
}

/* Sorts in `scratch`, which holds twice the entries. */
static uint32_t ranked(const Kernels *kernels, const float *w, size_t size, size_t rank,
                       uint32_t *scratch)
{
    uint32_t base = guess(w, size, rank, scratch);
    size_t n;

    for (;; base = 0) {
        n = 0;
        for (size_t i = 0; i < size; i += CHUNK)
            n += kernels->collect(w + i, size - i < CHUNK ? size - i : CHUNK, base,
                                  INT32_MAX - base, scratch + n);
        if (n >= rank)
            break;
    }
    bits_sort(scratch, scratch + n, n, base, INT32_MAX - base);
    return scratch[n - rank];
}

static void above_and_equal(const Set *set, size_t t, float threshold, int64_t *above,
                            int64_t *equal)
{
    const float *w = (const float *)(uintptr_t)set->addresses[t];
    size_t size = (size_t)set->sizes[t], more, same;
    uint32_t bits;

    memcpy(&bits, &threshold, sizeof bits);
    *above = *equal = 0;
    for (size_t i = 0; i < size; i += CHUNK) {
        size_t count = size - i < CHUNK ? size - i : CHUNK;
        set->kernels->rank(w + i, count, bits & INT32_MAX, &more, &same);
        *above += (int64_t)more;
        *equal += (int64_t)same;
    }
}

int set_kept_quantile(const Set *set, const Selection *selection, double quantile, float *value)
{
    size_t most = 0;
    uint32_t *scratch;

    for (size_t t = 0; t < set->count; t++)
        most = (size_t)set->sizes[t] > most ? (size_t)set->sizes[t] : most;
    scratch = malloc((2 * most + 1) * sizeof *scratch);
    if (!scratch)
        return -1;
    for (size_t t = 0; t < set->count; t++) {
        const float *w = (const float *)(uintptr_t)set->addresses[t];
        int64_t above, equal, ties = selection->ties[t], kept, rank;
        uint32_t bits;

        above_and_equal(set, t, selection->threshold[t], &above, &equal);
        kept = above + (ties < 0 || ties > equal ? equal : ties);
        rank = kept + 1 - (int64_t)ceil(quantile * (double)kept); /* from the largest on */
        value[t] = kept ? selection->threshold[t] : 0.0f;
        if (!kept || rank > above)
            continue;
        bits = ranked(set->kernels, w, (size_t)set->sizes[t], (size_t)rank, scratch);
        memcpy(&value[t], &bits, sizeof bits);
    }
    free(scratch);
    return 0;
}
