/* Adaptive probabilities and their mixing. The tables are made once, of integers alone. */
#ifndef ESPALIER_CODER_CELLS_H
#define ESPALIER_CODER_CELLS_H

#include "_coder_range.h"

enum { LOGIT_MAX = 2047 };      /* of a logit in units of 1/256 */
enum { SEEN_MAX = 500 };        /* bits after which a cell adapts no slower */
enum { WEIGHT_MAX = 1 << 20 };  /* of a mixing weight in units of 2^-16 */
enum { P_LEAST = 24, P_MOST = 65512 };

extern uint32_t squash_table[2 * LOGIT_MAX + 2]; /* logit + 2048 -> probability in 2^-16 */
extern int16_t stretch_table[4096];              /* probability in 2^-12 -> logit */
extern uint32_t rate_table[SEEN_MAX + 1];        /* bits seen -> speed in 2^-16 */

/* How often a bit was 1 in one context: a probability in 2^-16, and how many bits it has seen. */
typedef struct {
    uint16_t p, seen;
} Cell;

INLINE void cell_learn(Cell *cell, int bit)
{
    int32_t rate = (int32_t)rate_table[cell->seen];

    if (bit)
        cell->p = (uint16_t)(cell->p + (uint16_t)(((uint32_t)(65535 - cell->p) * (uint32_t)rate) >> 16));
    else
        cell->p = (uint16_t)(cell->p - (uint16_t)(((uint32_t)cell->p * (uint32_t)rate + 65535) >> 16));
    cell->seen = (uint16_t)(cell->seen + (cell->seen < SEEN_MAX));
}

INLINE int32_t cell_logit(const Cell *cell)
{
    return stretch_table[cell->p >> 4];
}

INLINE uint32_t cell_grade(const Cell *cell) /* 0 .. 31 */
{
    return (uint32_t)(cell_logit(cell) + 2048) >> 7;
}

INLINE int code_single(Range *range, Cell *cell, int bit, const int reading)
{
    uint32_t p = cell->p < P_LEAST ? P_LEAST : cell->p > P_MOST ? P_MOST : cell->p;

    bit = range_bit(range, p, bit, reading);
    cell_learn(cell, bit);
    return bit;
}

/* Mix the logits of `count` cells by learned weights. */
INLINE int code_mixed(Range *range, int32_t *weights, Cell *const *cells, const int count, int bit,
                      const int reading)
{
    int32_t logits[4], error;
    int64_t sum = 0;
    uint32_t p;

    for (int i = 0; i < count; i++) {
        logits[i] = cell_logit(cells[i]);
        sum += (int64_t)weights[i] * logits[i];
    }
    sum >>= 16;
    sum = sum < -LOGIT_MAX ? -LOGIT_MAX : sum > LOGIT_MAX ? LOGIT_MAX : sum;
    p = squash_table[sum + 2048];
    p = p < P_LEAST ? P_LEAST : p > P_MOST ? P_MOST : p;
    bit = range_bit(range, p, bit, reading);
    error = (bit << 16) - (int32_t)p;
    for (int i = 0; i < count; i++) {
        int32_t w = weights[i] + (int32_t)(((int64_t)logits[i] * error + 65536) >> 17);
        weights[i] = w < -WEIGHT_MAX ? -WEIGHT_MAX : w > WEIGHT_MAX ? WEIGHT_MAX : w;
        cell_learn(cells[i], bit);
    }
    return bit;
}

#endif
