#include "_coder_cells.h"

/* 65536 / (1 + exp(-x / 2)) for x = -16 .. 16 */
static const uint32_t KNOTS[33] = {
    22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
    4971,  7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
    62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514,
};

Tables coder_tables;

void coder_prepare(void)
{
    uint32_t next = 0;

    for (int x = -LOGIT_MAX; x <= LOGIT_MAX; x++) {
        uint32_t at = (uint32_t)(x + 2048), knot = at >> 7, part = at & 127;
        uint32_t p = (KNOTS[knot] * (128 - part) + KNOTS[knot + 1] * part + 64) >> 7;
        coder_tables.squash[at] = (uint16_t)(p < P_LEAST ? P_LEAST : p > P_MOST ? P_MOST : p);
        for (; next <= p >> 4; next++)
            coder_tables.stretch[next] = (int16_t)x;
    }
    for (; next < 4096; next++)
        coder_tables.stretch[next] = LOGIT_MAX;
    for (uint32_t seen = 0; seen <= SEEN_MAX; seen++)
        coder_tables.rate[seen] = (uint16_t)(131072 / (2 * seen + 3));
}

void stream_free(Stream *stream)
{
    free(stream->bytes);
    *stream = (Stream){0};
}
