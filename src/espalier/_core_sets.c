/* Passes over a set of tensors: cut into chunks, shared out to threads, combined in order. */
#include "_core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A run of entries of one tensor. Its first `split` entries stay where |w| >= threshold, the rest
 * where |w| > threshold: so that ties are honoured in index order, by the same two loops. */
typedef struct {
    size_t tensor, start, count, split;
    size_t above, equal; /* entries whose magnitude exceeds or equals the threshold */
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
    size_t count = 0, next = 0, entries_in_all = 0;

    for (size_t t = 0; t < set->count; t++)
        count += ((size_t)set->sizes[t] + CHUNK - 1) / CHUNK;
    for (size_t t = 0; t < set->count; t++)
        entries_in_all += (size_t)set->sizes[t];
    plan->count = (ptrdiff_t)count;
    plan->threads = entries_in_all >= TEAM_FROM ? set->threads : 1;
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

/* Count, in every tensor with ties to break, the entries that equal its threshold. */
static void plan_count_equal(Plan *plan, const Set *set, const Selection *selection)
{
    int asked = 0;
    for (size_t t = 0; t < set->count; t++)
        asked |= selection->ties[t] > 0;
    if (!asked)
        return;
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
                           &chunk->above, &chunk->equal);
    }
}

/* Set every chunk's split: of a tensor's ties, what the chunks before it left over. */
static void plan_split(Plan *plan, const Set *set, const Selection *selection)
{
    size_t tensor = SIZE_MAX;
    int64_t left = 0;

    plan_count_equal(plan, set, selection);
    for (ptrdiff_t c = 0; c < plan->count; c++) {
        Chunk *chunk = &plan->chunks[c];
        int64_t equal = (int64_t)chunk->equal;
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

static uint32_t top_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7fffffffu) >> LOW_BITS;
}

/* Count the entries by their top bits: in two histograms in turn, since neighbours are often alike
 * and a counter is slow to raise twice in a row. */
static void count_top(const float *w, size_t count, uint64_t *even, uint64_t *odd)
{
    size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        even[top_bits(w[i])]++;
        odd[top_bits(w[i + 1])]++;
    }
    if (i < count)
        even[top_bits(w[i])]++;
}

/* Find the bits of the k-th largest magnitude: the top ones, or the low ones of those under
 * `prefix`; k becomes the rank among the entries that share them. */
static int select_bits(const Plan *plan, const Set *set, int low, uint32_t prefix, uint64_t *k,
                       uint32_t *bits)
{
    const size_t buckets = (size_t)1 << (low ? LOW_BITS : TOP_BITS);
    const size_t count = low ? (size_t)plan->threads : 2 * (size_t)plan->threads;
    uint64_t *histograms = calloc(count * buckets, sizeof *histograms);

    if (!histograms)
        return -1;
#pragma omp parallel for num_threads(plan->threads) schedule(static, 1) if (plan->threads > 1)
    for (int thread = 0; thread < plan->threads; thread++) {
        uint64_t *own = histograms + (size_t)thread * (low ? 1 : 2) * buckets;
        ptrdiff_t last = plan->count * (thread + 1) / plan->threads;
        for (ptrdiff_t c = plan->count * thread / plan->threads; c < last; c++) {
            const Chunk *chunk = &plan->chunks[c];
            const float *w = entries(set->addresses[chunk->tensor], chunk);
            if (low)
                set->kernels->tally(w, chunk->count, prefix, own);
            else
                count_top(w, chunk->count, own, own + buckets);
        }
    }
    for (*bits = (uint32_t)buckets - 1;; --*bits) {
        uint64_t held = 0;
        for (size_t h = 0; h < count; h++)
            held += histograms[h * buckets + *bits];
        if (held >= *k)
            break;
        *k -= held;
    }
    free(histograms);
    return 0;
}

int set_largest(const Set *set, uint64_t k, float *threshold, int64_t *above, int64_t *equal)
{
    Plan plan;
    uint32_t top, low, bits;

    if (plan_make(&plan, set))
        return -1;
    if (select_bits(&plan, set, 0, 0, &k, &top) || select_bits(&plan, set, 1, top, &k, &low)) {
        free(plan.chunks);
        return -1;
    }
    bits = top << LOW_BITS | low;
    memcpy(threshold, &bits, sizeof bits);
#pragma omp parallel for num_threads(plan.threads) schedule(static) if (plan.threads > 1)
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        Chunk *chunk = &plan.chunks[c];
        set->kernels->rank(entries(set->addresses[chunk->tensor], chunk), chunk->count, bits,
                           &chunk->above, &chunk->equal);
    }
    memset(above, 0, set->count * sizeof *above);
    memset(equal, 0, set->count * sizeof *equal);
    for (ptrdiff_t c = 0; c < plan.count; c++) {
        above[plan.chunks[c].tensor] += (int64_t)plan.chunks[c].above;
        equal[plan.chunks[c].tensor] += (int64_t)plan.chunks[c].equal;
    }
    free(plan.chunks);
    return 0;
}
