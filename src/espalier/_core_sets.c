/* Passes over a set of tensors: cut into chunks, shared out to threads, combined in order. */
#include "_core.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A run of entries of one tensor. Its first `split` entries stay where |w| >= threshold, the rest
 * where |w| > threshold: so that ties are honoured in index order, by the same two loops. */
typedef struct {
    size_t tensor, start, count, split;
    size_t kept, nonzero;
    Moments moments;
    double sum;
} Chunk;

typedef struct {
    Chunk *chunks;
    ptrdiff_t count;
    int threads; /* a team is the whole of it or one thread: a changing size would cost more */
} Plan;

static float *entries(uint64_t address, const Chunk *chunk)
{
    return (float *)(uintptr_t)address + chunk->start;
}

static int plan_make(Plan *plan, const Set *set)
{
    size_t count = 0, next = 0;

    for (size_t t = 0; t < set->count; t++)
        count += ((size_t)set->sizes[t] + CHUNK - 1) / CHUNK;
    plan->count = (ptrdiff_t)count;
    plan->threads = count > 1 ? set->threads : 1;
    plan->chunks = calloc(count ? count : 1, sizeof *plan->chunks);
    if (!plan->chunks)
        return -1;
    for (size_t t = 0; t < set->count; t++) {
        size_t size = (size_t)set->sizes[t];
        for (size_t start = 0; start < size; start += CHUNK) {
            Chunk *chunk = &plan->chunks[next++];
            chunk->tensor = t;
            chunk->start = start;
            chunk->count = size - start < CHUNK ? size - start : CHUNK;
        }
    }
    return 0;
}

/* |x| >= threshold is |x| > at_least(threshold): the float just below it. */
static float at_least(float threshold)
{
    return threshold == 0.0f ? -1.0f : nextafterf(threshold, -INFINITY);
}

static size_t split_after(const float *w, size_t count, float threshold, int64_t ties)
{
    size_t i = 0;
    while (i < count && ties > 0)
        ties -= fabsf(w[i++]) == threshold;
    return i;
}

/* Set every chunk's split; counts the entries that equal the threshold only where ties ask for it. */
static void plan_split(Plan *plan, const Set *set, const Selection *selection)
{
    size_t tensor = SIZE_MAX;
    int64_t left = 0;

#pragma omp parallel for num_threads(plan->threads) schedule(static) if (plan->threads > 1)
    for (ptrdiff_t c = 0; c < plan->count; c++) {
        Chunk *chunk = &plan->chunks[c];
        float threshold = selection->threshold[chunk->tensor];
        uint32_t bits;
        if (selection->ties[chunk->tensor] <= 0)
            continue;
        memcpy(&bits, &threshold, sizeof bits);
        if (threshold == 0.0f)
            bits = 0;
        set->kernels->rank(entries(set->addresses[chunk->tensor], chunk), chunk->count, bits,
                           &chunk->nonzero, &chunk->kept);
    }
    for (ptrdiff_t c = 0; c < plan->count; c++) {
        Chunk *chunk = &plan->chunks[c];
        int64_t equal = (int64_t)chunk->kept;
        if (chunk->tensor != tensor) {
            tensor = chunk->tensor;
            left = selection->ties[tensor];
        }
        if (left < 0 || (left > 0 && left >= equal))
            chunk->split = chunk->count;
        else if (left > 0)
            chunk->split = split_after(entries(set->addresses[tensor], chunk), chunk->count,
                                       selection->threshold[tensor], left);
        if (left > 0)
            left = left > equal ? left - equal : 0;
    }
}

int set_measure(const Set *set, double *std, float *max_abs)
{
    Plan plan;
    ptrdiff_t c = 0;

    if (plan_make(&plan, set))
        return -1;
#pragma omp parallel for num_threads(plan.threads) schedule(static) if (plan.threads > 1)
    for (c = 0; c < plan.count; c++) {
        Chunk *chunk = &plan.chunks[c];
        const float *tensor = (const float *)(uintptr_t)set->addresses[chunk->tensor];
        set->kernels->moments(tensor + chunk->start, chunk->count, tensor[0], &chunk->moments);
    }
    c = 0;
    for (size_t t = 0; t < set->count; t++) {
        Moments all = {0};
        double size = (double)set->sizes[t], variance;
        for (; c < plan.count && plan.chunks[c].tensor == t; c++) {
            const Moments *part = &plan.chunks[c].moments;
            all.sum += part->sum;
            all.square += part->square;
            all.largest = part->largest > all.largest ? part->largest : all.largest;
        }
        memcpy(&max_abs[t], &all.largest, sizeof all.largest);
        variance = set->sizes[t] ? (all.square - all.sum * (all.sum / size)) / size : 0.0;
        std[t] = all.largest >= INFINITY_BITS ? (double)NAN : sqrt(variance > 0.0 ? variance : 0.0);
    }
    free(plan.chunks);
    return 0;
}

int set_kept_mean(const Set *set, const Selection *selection, double *mean)
{
    Plan plan;
    ptrdiff_t c = 0;

    if (plan_make(&plan, set))
        return -1;
    plan_split(&plan, set, selection);
#pragma omp parallel for num_threads(plan.threads) schedule(static) if (plan.threads > 1)
    for (c = 0; c < plan.count; c++) {
        Chunk *chunk = &plan.chunks[c];
        const float *w = entries(set->addresses[chunk->tensor], chunk);
        float threshold = selection->threshold[chunk->tensor];
        size_t first, second;
        chunk->sum = set->kernels->kept_sum(w, chunk->split, at_least(threshold), &first);
        chunk->sum += set->kernels->kept_sum(w + chunk->split, chunk->count - chunk->split,
                                             threshold, &second);
        chunk->kept = first + second;
    }
    c = 0;
    for (size_t t = 0; t < set->count; t++) {
        double sum = 0.0;
        size_t kept = 0;
        for (; c < plan.count && plan.chunks[c].tensor == t; c++) {
            sum += plan.chunks[c].sum;
            kept += plan.chunks[c].kept;
        }
        mean[t] = kept ? sum / (double)kept : 0.0;
    }
    free(plan.chunks);
    return 0;
}

int set_write(const Set *set, const Selection *selection, const uint64_t *shadows,
              const uint64_t *noise, const float *step, Rounding rounding, ShadowMode mode,
              int64_t *kept, int64_t *nonzero)
{
    Plan plan;

    if (plan_make(&plan, set))
        return -1;
    plan_split(&plan, set, selection);
#pragma omp parallel for num_threads(plan.threads) schedule(static) if (plan.threads > 1)
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        Chunk *chunk = &plan.chunks[c];
        size_t t = chunk->tensor, kept_rest, nonzero_rest;
        Writing job = {
            .weights = entries(set->addresses[t], chunk),
            .shadow = shadows[t] ? entries(shadows[t], chunk) : NULL,
            .noise = noise[t] ? entries(noise[t], chunk) : NULL,
            .count = chunk->split,
            .limit = at_least(selection->threshold[t]),
            .step = step[t],
            .rounding = rounding,
            .mode = shadows[t] ? mode : SHADOW_NONE,
        };
        set->kernels->write(&job, &chunk->kept, &chunk->nonzero);
        if (chunk->split == chunk->count)
            continue;
        job.weights += chunk->split;
        job.shadow = job.shadow ? job.shadow + chunk->split : NULL;
        job.noise = job.noise ? job.noise + chunk->split : NULL;
        job.count = chunk->count - chunk->split;
        job.limit = selection->threshold[t];
        set->kernels->write(&job, &kept_rest, &nonzero_rest);
        chunk->kept += kept_rest;
        chunk->nonzero += nonzero_rest;
    }
    memset(kept, 0, set->count * sizeof *kept);
    memset(nonzero, 0, set->count * sizeof *nonzero);
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        kept[plan.chunks[c].tensor] += (int64_t)plan.chunks[c].kept;
        nonzero[plan.chunks[c].tensor] += (int64_t)plan.chunks[c].nonzero;
    }
    free(plan.chunks);
    return 0;
}

int set_copy(const Set *destinations, const uint64_t *sources)
{
    Plan plan;

    if (plan_make(&plan, destinations))
        return -1;
#pragma omp parallel for num_threads(plan.threads) schedule(static) if (plan.threads > 1)
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        const Chunk *chunk = &plan.chunks[c];
        memcpy(entries(destinations->addresses[chunk->tensor], chunk),
               entries(sources[chunk->tensor], chunk), chunk->count * sizeof(float));
    }
    free(plan.chunks);
    return 0;
}

/* Radix selection on the bits of |w|, from the top: 11, 10 and 10 bits. */
enum { DIGITS = 3, BUCKETS = 2048, BLOCK = 1024 };
static const int digit_shift[DIGITS] = {20, 10, 0};
static const int digit_bits[DIGITS] = {11, 10, 10};

/* Count, by their next digit, the entries whose higher digits are `prefix`. */
static void count_digit(const float *w, size_t count, int digit, uint32_t prefix,
                        uint64_t *buckets)
{
    const int shift = digit_shift[digit];
    const int above = shift + digit_bits[digit];
    const uint32_t mask = (1u << digit_bits[digit]) - 1u;
    uint32_t block[BLOCK];

    for (size_t start = 0; start < count; start += BLOCK) {
        size_t end = count - start < BLOCK ? count - start : BLOCK;
        size_t found = 0;
        for (size_t i = 0; i < end; i++) {
            uint32_t bits;
            memcpy(&bits, &w[start + i], sizeof bits);
            bits &= 0x7fffffffu;
            block[found] = (bits >> shift) & mask;
            found += (bits >> above) == prefix;
        }
        for (size_t i = 0; i < found; i++)
            buckets[block[i]]++;
    }
}

int set_largest(const Set *set, uint64_t k, float *threshold, int64_t *above, int64_t *equal)
{
    Plan plan;
    uint64_t *buckets;
    uint32_t prefix = 0;

    if (plan_make(&plan, set))
        return -1;
    buckets = malloc((size_t)plan.threads * BUCKETS * sizeof *buckets);
    if (!buckets) {
        free(plan.chunks);
        return -1;
    }
    for (int digit = 0; digit < DIGITS; digit++) {
        uint32_t bucket = (1u << digit_bits[digit]) - 1u;
        memset(buckets, 0, (size_t)plan.threads * BUCKETS * sizeof *buckets);
#pragma omp parallel for num_threads(plan.threads) schedule(static, 1) if (plan.threads > 1)
        for (int thread = 0; thread < plan.threads; thread++) {
            ptrdiff_t first = plan.count * thread / plan.threads;
            ptrdiff_t last = plan.count * (thread + 1) / plan.threads;
            for (ptrdiff_t c = first; c < last; c++) {
                const Chunk *chunk = &plan.chunks[c];
                count_digit(entries(set->addresses[chunk->tensor], chunk), chunk->count, digit,
                            prefix, buckets + (size_t)thread * BUCKETS);
            }
        }
        for (int thread = 1; thread < plan.threads; thread++)
            for (size_t b = 0; b < BUCKETS; b++)
                buckets[b] += buckets[(size_t)thread * BUCKETS + b];
        while (buckets[bucket] < k)
            k -= buckets[bucket--];
        prefix = prefix << digit_bits[digit] | bucket;
    }
    free(buckets);
    memcpy(threshold, &prefix, sizeof prefix);
#pragma omp parallel for num_threads(plan.threads) schedule(static) if (plan.threads > 1)
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        Chunk *chunk = &plan.chunks[c];
        set->kernels->rank(entries(set->addresses[chunk->tensor], chunk), chunk->count, prefix,
                           &chunk->nonzero, &chunk->kept);
    }
    memset(above, 0, set->count * sizeof *above);
    memset(equal, 0, set->count * sizeof *equal);
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        above[plan.chunks[c].tensor] += (int64_t)plan.chunks[c].nonzero;
        equal[plan.chunks[c].tensor] += (int64_t)plan.chunks[c].kept;
    }
    free(plan.chunks);
    return 0;
}
