/* The layer-adaptive budget: which weights have the k best scores of a set (see ops/lamp.py).
 *
 * A histogram a tensor, by the top bits of the magnitudes, holds counts and sums of squares. Its
 * bins bound every score; those that the k-th best may lie in are few, and sorted. Sums are of
 * whole numbers, so that they are the same in any order.
 */
#include "_core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 1 << TOP_BITS };

/* A bin that is not empty, with what it holds and all above it. */
typedef struct {
    uint32_t top;
    int64_t upto, sum;
} Bin;

/* How many entries a bin holds, and the sum of their squares. */
typedef int64_t Held __attribute__((vector_size(16)));

/* One tensor: its bins, the largest first, and the sorted magnitudes of some of them. */
typedef struct {
    const float *w;
    int64_t size, least;
    double scale; /* of a square, into units of its sum */
    double price; /* that scores are divided by */
    Bin *bins;
    int64_t count;
    int64_t first, last; /* bins that are sorted */
    int64_t above;       /* entries in the bins before them */
    uint32_t *sorted;    /* bits of magnitudes, rising */
    double *scores;      /* falling: that of sorted[n - 1 - i] */
    int64_t n;
} Tensor;

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double square_of(const Tensor *tensor, uint32_t bits)
{
    double value = (double)of_bits(bits);
    return value * value * tensor->scale;
}

static double score_of(const Tensor *tensor, double square, int64_t total)
{
    return total > 0 ? fmin(square / (double)total, 1.0) / tensor->price : 0.0;
}

/* The least and the most that an entry of bin i can score; both fall with i. */
static double least_of(const Tensor *tensor, int64_t i)
{
    double square = square_of(tensor, tensor->bins[i].top << LOW_BITS);

    return score_of(tensor, square, tensor->bins[i].sum);
}

static double most_of(const Tensor *tensor, int64_t i)
{
    uint32_t low = tensor->bins[i].top << LOW_BITS;
    int64_t before = i ? tensor->bins[i - 1].sum : 0;
    double square = square_of(tensor, low | ((1u << LOW_BITS) - 1u));
    int64_t total = before + (int64_t)square_of(tensor, low);

    return total > 0 ? score_of(tensor, square, total) : square > 0.0 ? 1.0 / tensor->price : 0.0;
}

static double sorted_score(const Tensor *tensor, int64_t i)
{
    return tensor->scores[i];
}

/* How many of `count` falling values are at least s, or above it. */
static int64_t reach(const Tensor *tensor, double (*value)(const Tensor *, int64_t), int64_t count,
                     double s, int strictly)
{
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        double found = value(tensor, middle);
        if (found > s || (!strictly && found == s))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Entries of a tensor that score at least s: for certain, perhaps, or in fact. */
static int64_t entries_from(const Tensor *tensor, double (*value)(const Tensor *, int64_t), double s)
{
    int sorted = value == sorted_score;
    int64_t found = reach(tensor, value, sorted ? tensor->n : tensor->count, s, 0);

    found = sorted ? tensor->above + found : found ? tensor->bins[found - 1].upto : 0;
    return found > tensor->least ? found : tensor->least;
}

/* The largest s that k entries reach. Positive doubles sort as their bits do. */
static double search(const Tensor *tensors, size_t count, int64_t k,
                     double (*value)(const Tensor *, int64_t))
{
    const double ends = 2.0;
    uint64_t low = 0, high;
    double s;

    memcpy(&high, &ends, sizeof high);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        int64_t found = 0;
        memcpy(&s, &middle, sizeof s);
        for (size_t t = 0; t < count; t++)
            found += entries_from(&tensors[t], value, s);
        if (found >= k)
            low = middle;
        else
            high = middle;
    }
    memcpy(&s, &low, sizeof s);
    return s;
}

static void hold(const Tensor *tensor, int64_t from, int64_t to, Held *table)
{
    for (int64_t i = from; i < to; i++) {
        double value = (double)tensor->w[i];
        uint32_t bits;
        memcpy(&bits, &tensor->w[i], sizeof bits);
        table[(bits & INT32_MAX) >> LOW_BITS] += (Held){1, (int64_t)(value * value * tensor->scale)};
    }
}

/* Take a bin out of the tables of all threads. */
static Held taken(Held *tables, int threads, uint32_t top)
{
    Held all = {0, 0};
    for (Held *held = tables + top; held < tables + (size_t)threads * BINS; held += BINS) {
        all += *held;
        *held = (Held){0, 0};
    }
    return all;
}

/* Make a tensor's bins, in a table a thread, empty before and after. */
static void fill(Tensor *tensor, Held *tables, int threads, uint32_t largest)
{
    int team = tensor->size >= TEAM_FROM ? threads : 1;
    Held all = {0, 0}, zeros;

#pragma omp parallel for num_threads(team) schedule(static, 1) if (team > 1)
    for (int thread = 0; thread < team; thread++)
        hold(tensor, tensor->size * thread / team, tensor->size * (thread + 1) / team,
             tables + (size_t)thread * BINS);
    zeros = taken(tables, team, 0); /* far below the others */
    for (uint32_t top = largest >> LOW_BITS; top > 0 && all[0] + zeros[0] < tensor->size; top--) {
        Held held = taken(tables, team, top);
        all += held;
        if (held[0])
            tensor->bins[tensor->count++] = (Bin){top, all[0], all[1]};
    }
    all += zeros;
    if (zeros[0])
        tensor->bins[tensor->count++] = (Bin){0, all[0], all[1]};
}

/* Sort the bins that scores from low to high may lie in, and one above: its last entry may be the
 * smallest that stays. */
static void choose(Tensor *tensor, double low, double high)
{
    int64_t last = reach(tensor, most_of, tensor->count, low, 0) - 1;

    tensor->first = reach(tensor, least_of, tensor->count, high, 1) - 1;
    tensor->first = tensor->first < 0 ? 0 : tensor->first;
    last = last < tensor->first ? tensor->first : last;
    while (last < tensor->count - 1 && tensor->bins[last].upto < tensor->least)
        last++;
    tensor->last = last;
    tensor->above = tensor->first ? tensor->bins[tensor->first - 1].upto : 0;
    tensor->n = tensor->count ? tensor->bins[last].upto - tensor->above : 0;
}

static void score(Tensor *tensor, uint32_t *spare, const Kernels *kernels)
{
    uint32_t base, span;
    int64_t total, n = 0;

    if (!tensor->n)
        return;
    base = tensor->bins[tensor->last].top << LOW_BITS;
    span = (tensor->bins[tensor->first].top << LOW_BITS | ((1u << LOW_BITS) - 1u)) - base;
    total = tensor->first ? tensor->bins[tensor->first - 1].sum : 0;
    for (int64_t i = 0; i < tensor->size; i += CHUNK) {
        int64_t count = tensor->size - i < CHUNK ? tensor->size - i : CHUNK;
        n += (int64_t)kernels->collect(tensor->w + i, (size_t)count, base, span, tensor->sorted + n);
    }
    bits_sort(tensor->sorted, spare, (size_t)n, base, span);
    for (int64_t i = 0; i < n; i++) {
        double square = square_of(tensor, tensor->sorted[n - 1 - i]);
        total += (int64_t)square;
        tensor->scores[i] = score_of(tensor, square, total);
    }
}

/* Turn a number of entries into the smallest of them, and how many equal to it are among them. */
static void cut(const Tensor *tensor, int64_t kept, float *threshold, int64_t *stay, int64_t *equal)
{
    int64_t at = tensor->n - (kept - tensor->above), low = at, high = at + 1;

    *threshold = INFINITY;
    *stay = *equal = 0;
    if (kept == 0)
        return;
    *threshold = of_bits(tensor->sorted[at]);
    while (low > 0 && tensor->sorted[low - 1] == tensor->sorted[at])
        low--;
    while (high < tensor->n && tensor->sorted[high] == tensor->sorted[at])
        high++;
    *stay = high - at;
    *equal = high - low;
}

static void hand_out(const Tensor *tensors, size_t count, int64_t k, float *threshold,
                     int64_t *stay, int64_t *equal)
{
    double s = search(tensors, count, k, sorted_score);
    int64_t left = k;

    for (size_t t = 0; t < count; t++) { /* stay holds how many score more */
        const Tensor *tensor = &tensors[t];
        stay[t] = tensor->above + reach(tensor, sorted_score, tensor->n, s, 1);
        stay[t] = stay[t] > tensor->least ? stay[t] : tensor->least;
        left -= stay[t];
    }
    for (size_t t = 0; t < count; t++) {
        int64_t more = entries_from(&tensors[t], sorted_score, s) - stay[t];
        more = more < left ? more : left;
        left -= more;
        cut(&tensors[t], stay[t] + more, &threshold[t], &stay[t], &equal[t]);
    }
}

/* Memory for the bins of all tensors: no more than there are entries, or bins. */
static Bin *bins_make(Tensor *tensors, const Set *set)
{
    size_t wanted = 0;
    Bin *bins;

    for (size_t t = 0; t < set->count; t++)
        wanted += set->sizes[t] < BINS ? (size_t)set->sizes[t] : BINS;
    bins = malloc((wanted + 1) * sizeof *bins);
    for (size_t t = 0, next = 0; bins && t < set->count; t++) {
        tensors[t].bins = bins + next;
        next += set->sizes[t] < BINS ? (size_t)set->sizes[t] : BINS;
    }
    return bins;
}

static void tensors_take(Tensor *tensors, const Set *set, int64_t least, const double *prices,
                         const float *max_abs, Held *tables)
{
    for (size_t t = 0; t < set->count; t++) {
        Tensor *tensor = &tensors[t];
        uint32_t largest;
        int exponent, length = 0;

        tensor->w = (const float *)(uintptr_t)set->addresses[t];
        tensor->size = set->sizes[t];
        tensor->least = least < tensor->size ? least : tensor->size;
        tensor->price = prices[t];
        memcpy(&largest, &max_abs[t], sizeof largest);
        frexp((double)max_abs[t], &exponent);
        while (tensor->size >> length)
            length++;
        tensor->scale = ldexp(1.0, 62 - length - 2 * exponent);
        if (tensor->size)
            fill(tensor, tables, set->threads, largest);
    }
}

/* Sort what is left to be sorted, in one piece of memory. */
static void *tensors_score(Tensor *tensors, const Set *set)
{
    size_t all = 0, most = 0;
    double *scores;
    uint32_t *bits;

    for (size_t t = 0; t < set->count; t++) {
        size_t n = (size_t)tensors[t].n;
        all += n;
        most = n > most ? n : most;
    }
    scores = malloc((all + 1) * (sizeof *scores + sizeof *bits) + most * sizeof *bits);
    if (!scores)
        return NULL;
    bits = (uint32_t *)(scores + all + 1);
    for (size_t t = 0, next = 0; t < set->count; t++) {
        tensors[t].scores = scores + next;
        tensors[t].sorted = bits + next;
        next += (size_t)tensors[t].n;
        score(&tensors[t], bits + all, set->kernels);
    }
    return scores;
}

int set_best(const Set *set, int64_t k, int64_t least, const double *prices, const float *max_abs,
             float *threshold, int64_t *stay, int64_t *equal)
{
    Tensor *tensors = calloc(set->count + 1, sizeof *tensors);
    Held *tables = calloc((size_t)set->threads * BINS, sizeof *tables);
    Bin *bins = tensors ? bins_make(tensors, set) : NULL;
    void *scores = NULL;

    if (tensors && tables && bins) {
        double low, high;
        tensors_take(tensors, set, least, prices, max_abs, tables);
        low = search(tensors, set->count, k, least_of);
        high = search(tensors, set->count, k, most_of);
        for (size_t t = 0; t < set->count; t++)
            choose(&tensors[t], low, high);
        scores = tensors_score(tensors, set);
        if (scores)
            hand_out(tensors, set->count, k, threshold, stay, equal);
    }
    free(scores);
    free(bins);
    free(tables);
    free(tensors);
    return scores ? 0 : -1;
}
