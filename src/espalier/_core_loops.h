/* The hot loops, compiled once per instruction set: _core_kernels.c includes this file each time
 * with another VARIANT(name). Kept free of calls, so that each loop becomes vector code.
 */

/* Sums run in 16 lanes: four vectors of four doubles, whatever the width of the registers. */
static inline double VARIANT(lanes_total)(const Doubles *lanes)
{
    Doubles pairs = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    return (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]);
}

static void VARIANT(moments)(const float *w, size_t count, float shift, Moments *out)
{
    Doubles sum[4] = {{0}}, square[4] = {{0}};
    Ints largest = {0};
    const Doubles origin = (Doubles){0} + (double)shift;
    size_t whole = count - count % LANES;
    double sum_total, square_total;
    int32_t top = 0;

    for (size_t i = 0; i < whole; i += LANES) {
        UNROLL_4
        for (int j = 0; j < 4; j++) {
            Doubles x = DOUBLES(w + i + 4 * j) - origin;
            sum[j] += x;
            square[j] += x * x;
        }
        for (int j = 0; j < LANES; j += 8) {
            Ints bits = *(const Ints *)(w + i + j) & INT32_MAX;
            largest = LARGER(largest, bits);
        }
    }
    sum_total = VARIANT(lanes_total)(sum);
    square_total = VARIANT(lanes_total)(square);
    for (int j = 0; j < 8; j++)
        top = largest[j] > top ? largest[j] : top;
    for (size_t i = whole; i < count; i++) {
        double x = (double)w[i] - (double)shift;
        int32_t bits = (int32_t)magnitude_bits(w[i]);
        sum_total += x;
        square_total += x * x;
        top = bits > top ? bits : top;
    }
    *out = (Moments){sum_total, square_total, (uint32_t)top};
}

static double VARIANT(kept_sum)(const float *w, size_t count, float limit, size_t *kept)
{
    Doubles sum[4] = {{0}};
    size_t whole = count - count % LANES;
    uint32_t hits = 0;
    double total;

    for (size_t i = 0; i < whole; i += LANES) {
        float chosen[LANES];
        for (int j = 0; j < LANES; j++) {
            float magnitude = fabsf(w[i + (size_t)j]);
            chosen[j] = magnitude > limit ? magnitude : 0.0f;
        }
        UNROLL_4
        for (int j = 0; j < 4; j++)
            sum[j] += DOUBLES(chosen + 4 * j);
    }
    total = VARIANT(lanes_total)(sum);
    for (size_t i = whole; i < count; i++)
        total += fabsf(w[i]) > limit ? (double)fabsf(w[i]) : 0.0;
    for (size_t i = 0; i < count; i++)
        hits += fabsf(w[i]) > limit;
    *kept = hits;
    return total;
}

static void VARIANT(rank)(const float *w, size_t count, uint32_t bits, size_t *above, size_t *equal)
{
    int32_t more = 0, same = 0, pivot = (int32_t)bits;

    for (size_t i = 0; i < count; i++) {
        int32_t magnitude = (int32_t)magnitude_bits(w[i]);
        more += magnitude > pivot;
        same += magnitude == pivot;
    }
    *above = (size_t)more;
    *equal = (size_t)same;
}

/* Count, by their low bits, the entries whose top bits are `prefix`: few, so skip what holds none. */
static void VARIANT(tally)(const float *w, size_t count, uint32_t prefix, uint64_t *buckets)
{
    for (size_t start = 0; start < count; start += SKIP) {
        size_t end = count - start < SKIP ? count : start + SKIP;
        int hit = 0;
        for (size_t i = start; i < end; i++)
            hit |= magnitude_bits(w[i]) >> LOW_BITS == prefix;
        for (size_t i = start; hit && i < end; i++) {
            uint32_t bits = magnitude_bits(w[i]);
            if (bits >> LOW_BITS == prefix)
                buckets[bits & ((1u << LOW_BITS) - 1u)]++;
        }
    }
}

/* Put down the magnitudes' bits that lie within `span` of `base`, few as well. */
static size_t VARIANT(collect)(const float *w, size_t count, uint32_t base, uint32_t span,
                               uint32_t *found)
{
    size_t n = 0;

    for (size_t start = 0; start < count; start += SKIP) {
        size_t end = count - start < SKIP ? count : start + SKIP;
        int hit = 0;
        for (size_t i = start; i < end; i++)
            hit |= magnitude_bits(w[i]) - base <= span;
        for (size_t i = start; hit && i < end; i++) {
            uint32_t bits = magnitude_bits(w[i]);
            if (bits - base <= span)
                found[n++] = bits;
        }
    }
    return n;
}

enum { VARIANT(raw) = ROUND_COUNT }; /* step 0: what is kept stays as it is */

/* Rounding and mode are constants where this is called, so that no branch stays in the loop. */
static ALWAYS_INLINE void VARIANT(write_loop)(const Writing *job, int rounding, ShadowMode mode,
                                              size_t *kept, size_t *nonzero)
{
    float *restrict weights = job->weights;
    float *restrict shadow = job->shadow;
    const float *restrict noise = job->noise;
    const float limit = job->limit, step = job->step;
    uint32_t kept_here = 0, nonzero_here = 0;

    for (size_t i = 0; i < job->count; i++) {
        float w = weights[i], value;
        int keep = fabsf(w) > limit;

        if (rounding == ROUND_NEAREST)
            value = rintf(w / step) * step;
        else if (rounding == ROUND_FLOOR)
            value = floorf(w / step) * step;
        else if (rounding == ROUND_STOCHASTIC)
            value = floorf(w / step + noise[i]) * step;
        else if (rounding == ROUND_SIGN)
            value = w == 0.0f ? 0.0f : copysignf(step, w);
        else
            value = w;
        value = keep ? value + 0.0f : 0.0f; /* -0 + 0 is +0 */

        if (mode == SHADOW_COPY)
            shadow[i] = w;
        else if (mode == SHADOW_PRUNED)
            shadow[i] = keep ? w + 0.0f : 0.0f;
        else if (mode == SHADOW_MASKED)
            shadow[i] = keep ? shadow[i] : 0.0f;
        weights[i] = value;
        kept_here += (uint32_t)keep;
        nonzero_here += value != 0.0f;
    }
    *kept = kept_here;
    *nonzero = nonzero_here;
}

#define WRITE_IN_MODE(rounding)                                                                    \
    switch (job->mode) {                                                                           \
    case SHADOW_COPY:                                                                              \
        VARIANT(write_loop)(job, rounding, SHADOW_COPY, kept, nonzero);                            \
        return;                                                                                    \
    case SHADOW_PRUNED:                                                                            \
        VARIANT(write_loop)(job, rounding, SHADOW_PRUNED, kept, nonzero);                          \
        return;                                                                                    \
    case SHADOW_MASKED:                                                                            \
        VARIANT(write_loop)(job, rounding, SHADOW_MASKED, kept, nonzero);                          \
        return;                                                                                    \
    default:                                                                                       \
        VARIANT(write_loop)(job, rounding, SHADOW_NONE, kept, nonzero);                            \
        return;                                                                                    \
    }

static void VARIANT(write)(const Writing *job, size_t *kept, size_t *nonzero)
{
    switch (job->step == 0.0f ? (int)VARIANT(raw) : (int)job->rounding) {
    case ROUND_NEAREST:
        WRITE_IN_MODE(ROUND_NEAREST)
    case ROUND_FLOOR:
        WRITE_IN_MODE(ROUND_FLOOR)
    case ROUND_STOCHASTIC:
        WRITE_IN_MODE(ROUND_STOCHASTIC)
    case ROUND_SIGN:
        WRITE_IN_MODE(ROUND_SIGN)
    default:
        WRITE_IN_MODE(VARIANT(raw))
    }
}

#undef WRITE_IN_MODE

static const Kernels VARIANT(kernels) = {
    .name = VARIANT_NAME,
    .moments = VARIANT(moments),
    .kept_sum = VARIANT(kept_sum),
    .write = VARIANT(write),
    .rank = VARIANT(rank),
    .tally = VARIANT(tally),
    .collect = VARIANT(collect),
};
