/* Adaptive probabilities and their mixing. The tables are made once, of integers alone. */
#ifndef ESPALIER_CODER_CELLS_H
#define ESPALIER_CODER_CELLS_H

#include "_coder_range.h"

enum { LOGIT_MAX = 2047 };      /* of a logit in units of 1/256 */
enum { SEEN_MAX = 500 };        /* bits after which a cell adapts no slower */
enum { WEIGHT_MAX = 1 << 20 };  /* of a mixing weight in units of 2^-16 */
enum { P_LEAST = 24, P_MOST = 65512 };

/* In one block, found from one address, and small: the model shares the first cache with them. */
typedef struct {
    uint16_t squash[2 * LOGIT_MAX + 2]; /* logit + 2048 -> probability to code with, in 2^-16 */
    uint16_t rate[SEEN_MAX + 1];        /* bits seen -> speed in 2^-16 */
    int16_t stretch[4096];              /* probability in 2^-12 -> logit */
} Tables;

extern Tables coder_tables __attribute__((visibility("hidden")));

/* How often a bit was 1 in one context: a probability in 2^-16, and in the word's low half how many
 * bits it has seen. One word, so that one load and one store do. */
typedef uint32_t Cell;

INLINE Cell cell_of(uint32_t p)
{
    return p << 16;
}

/* Move towards 65535 or 0. A step down wraps around in 32 bits, where dropping the low half rounds
 * it down: away from 0, as docs/format.md has it. */
INLINE void cell_learn(Cell *cell, int bit)
{
    uint32_t word = *cell, seen = word & 0xffff;
    uint32_t step = ((bit ? 65535u : 0u) - (word >> 16)) * coder_tables.rate[seen];

    *cell = word + (step & 0xffff0000u) + (seen < SEEN_MAX);
}

INLINE int32_t cell_logit(const Cell *cell)
{
    return coder_tables.stretch[*cell >> 20];
}

INLINE uint32_t cell_grade(const Cell *cell) /* 0 .. 31 */
{
    return (uint32_t)(cell_logit(cell) + 2048) >> 7;
}

INLINE int code_single(Range *range, Cell *cell, int bit, const int reading)
{
    uint32_t p = *cell >> 16;

    p = p < P_LEAST ? P_LEAST : p > P_MOST ? P_MOST : p;
    bit = range_bit(range, p, bit, reading);
    cell_learn(cell, bit);
    return bit;
}

/* The number of [-most, most] that is nearest; a call, since it is hardly ever another one. */
__attribute__((noinline, cold, unused)) static int64_t clamped(int64_t number, int64_t most)
{
    return number < -most ? -most : number > most ? most : number;
}

/* Cells whose logits are mixed by learned weights, 2 or 4 of them. */
typedef struct {
    int64_t *weights;
    Cell *cells[4];
    int64_t logits[4];
} Mix;

INLINE uint32_t mix_probability(Mix *mix, const int count)
{
    int64_t sum, *logits = mix->logits, *weights = mix->weights;

    for (int i = 0; i < count; i++)
        logits[i] = cell_logit(mix->cells[i]);
    sum = weights[0] * logits[0] + weights[1] * logits[1];
    if (count == 4)
        sum += weights[2] * logits[2] + weights[3] * logits[3];
    sum >>= 16;
    if (UNLIKELY((uint64_t)(sum + LOGIT_MAX) > 2 * LOGIT_MAX))
        sum = clamped(sum, LOGIT_MAX);
    return coder_tables.squash[sum + 2048];
}

INLINE void mix_learn(Mix *mix, const int count, uint32_t p, int bit)
{
    int64_t error = ((int64_t)bit << 16) - (int64_t)p;
    uint64_t beyond = 0; /* at least 2 WEIGHT_MAX if any weight is out of bounds */

    for (int i = 0; i < count; i++) {
        int64_t weight = mix->weights[i] + ((mix->logits[i] * error + 65536) >> 17);
        mix->weights[i] = weight;
        beyond |= (uint64_t)(weight + WEIGHT_MAX - 1);
        cell_learn(mix->cells[i], bit);
    }
    if (UNLIKELY(beyond >= 2 * WEIGHT_MAX))
        for (int i = 0; i < count; i++)
            mix->weights[i] = clamped(mix->weights[i], WEIGHT_MAX);
}

/* A bit that is often guessed right: what is learnt of a 1 and of a 0 is code of its own. */
INLINE int code_guessed(Range *range, Mix mix, const int count, int bit, const int reading)
{
    uint32_t p = mix_probability(&mix, count);

    if (range_bit(range, p, bit, reading)) {
        mix_learn(&mix, count, p, 1);
        return 1;
    }
    mix_learn(&mix, count, p, 0);
    return 0;
}

/* A bit that is hardly guessed. */
INLINE int code_unguessed(Range *range, Mix mix, const int count, int bit, const int reading)
{
    uint32_t p = mix_probability(&mix, count);

    bit = range_bit_unguessed(range, p, bit, reading);
    mix_learn(&mix, count, p, bit);
    return bit;
}

#endif
