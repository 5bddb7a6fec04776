/* The range coder under both models: 32 bits, bytes out as they are settled, carries passed on. */
#ifndef ESPALIER_CODER_RANGE_H
#define ESPALIER_CODER_RANGE_H

#include "_coder.h"

#include <stdlib.h>

#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum { SCALE_BITS = 16, RANGE_LEAST = 1 << 24 };

typedef struct {
    Stream *stream;
    const uint8_t *next, *end; /* readers: the bytes that are left */
    uint64_t low;     /* writers: start of the interval, with a bit for the carry */
    uint64_t pending; /* writers: bytes held back, since a carry may still change them */
    uint32_t range;
    uint32_t code;    /* readers: where the stream's number lies in the interval */
    uint8_t held;     /* writers: the first of the pending bytes; the others are 255 */
    uint8_t begun;    /* writers: whether the first byte, always 0, is left out already */
    uint8_t overrun;  /* readers: the stream had no byte where one was needed */
    uint8_t broken;   /* writers: no memory */
} Range;

static inline void range_put(Range *range, uint8_t byte)
{
    Stream *stream = range->stream;

    if (!range->begun) {
        range->begun = 1;
        return;
    }
    if (stream->length == stream->capacity) {
        size_t capacity = stream->capacity ? 2 * stream->capacity : 4096;
        uint8_t *bytes = realloc(stream->bytes, capacity);
        if (!bytes) {
            range->broken = 1;
            return;
        }
        stream->bytes = bytes;
        stream->capacity = capacity;
    }
    stream->bytes[stream->length++] = byte;
}

static inline void range_shift(Range *range)
{
    if (range->low < 0xff000000u || range->low >> 32) {
        uint8_t carry = (uint8_t)(range->low >> 32);
        uint8_t byte = range->held;
        for (; range->pending; range->pending--, byte = 0xff)
            range_put(range, (uint8_t)(byte + carry));
        range->held = (uint8_t)(range->low >> 24);
    }
    range->pending++;
    range->low = (range->low & 0x00ffffffu) << 8;
}

INLINE uint8_t range_get(Range *range)
{
    if (range->next < range->end)
        return *range->next++;
    range->overrun = 1;
    return 0;
}

/* No stream begins with four bytes of 255: its number would lie outside of the interval. */
INLINE CoderStatus range_begin(Range *range, Stream *stream, const int reading)
{
    *range = (Range){.stream = stream, .range = 0xffffffffu, .pending = 1};
    if (!reading)
        return CODER_DONE;
    range->next = stream->bytes;
    range->end = stream->bytes + stream->length;
    for (int i = 0; i < 4; i++)
        range->code = range->code << 8 | range_get(range);
    return range->code == range->range ? CODER_STATE : CODER_DONE;
}

INLINE void range_renew(Range *range, const int reading)
{
    while (range->range < RANGE_LEAST) {
        range->range <<= 8;
        if (reading)
            range->code = range->code << 8 | range_get(range);
        else
            range_shift(range);
    }
}

/* Code a bit that is 1 with probability p / 2^16; writers give it, readers get it. */
INLINE int range_bit(Range *range, uint32_t p, int bit, const int reading)
{
    uint32_t bound = (range->range >> SCALE_BITS) * p;

    if (reading)
        bit = range->code < bound;
    if (bit) {
        range->range = bound;
    } else {
        range->range -= bound;
        if (reading)
            range->code -= bound;
        else
            range->low += bound;
    }
    range_renew(range, reading);
    return bit;
}

/* The same without a jump that depends on the bit: for bits that no processor can guess. */
INLINE int range_bit_unguessed(Range *range, uint32_t p, int bit, const int reading)
{
    uint32_t bound = (range->range >> SCALE_BITS) * p, ones;

    if (!reading)
        return range_bit(range, p, bit, reading);
    bit = range->code < bound;
    ones = 0 - (uint32_t)bit;
    range->code -= bound & ~ones;
    range->range = (bound & ones) | ((range->range - bound) & ~ones);
    range_renew(range, reading);
    return bit;
}

/* Take the part [start, start + share) of 2^16 parts; the last part takes what rounding left. */
INLINE void range_part(Range *range, uint32_t start, uint32_t share, const int reading)
{
    uint32_t unit = range->range >> SCALE_BITS;
    uint32_t before = unit * start;

    if (reading)
        range->code -= before;
    else
        range->low += before;
    range->range = start + share == 1u << SCALE_BITS ? range->range - before : unit * share;
    range_renew(range, reading);
}

/* Which of the 2^16 parts the stream's number lies in. */
INLINE uint32_t range_find(const Range *range)
{
    uint32_t part = range->code / (range->range >> SCALE_BITS);

    return part < (1u << SCALE_BITS) ? part : (1u << SCALE_BITS) - 1;
}

INLINE size_t range_used(const Range *range) /* bytes; readers only */
{
    return (size_t)(range->next - range->stream->bytes);
}

INLINE CoderStatus range_end(Range *range, const int reading)
{
    if (reading) {
        if (range->overrun)
            return CODER_ENDS_EARLY;
        if (range->code)
            return CODER_STATE;
        return range->next < range->end ? CODER_ENDS_LATE : CODER_DONE;
    }
    for (int i = 0; i < 5; i++)
        range_shift(range);
    return range->broken ? CODER_NO_MEMORY : CODER_DONE;
}

#endif
