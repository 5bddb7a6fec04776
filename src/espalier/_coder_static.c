/* The static model: one frequency a symbol, the same all over the tensor. */
#include "_coder_range.h"

#include <string.h>

enum { PARTS = 1 << SCALE_BITS };

typedef struct {
    uint32_t *starts; /* of each symbol's part; one more at the end */
    uint16_t *finder; /* part -> symbol; readers only */
} Parts;

static void parts_free(Parts *parts)
{
    free(parts->starts);
    free(parts->finder);
}

static int parts_new(Parts *parts, const Histogram *histogram, int reading)
{
    uint32_t sum = 0;

    *parts = (Parts){.starts = malloc((histogram->count + 1) * sizeof *parts->starts)};
    if (reading)
        parts->finder = malloc(PARTS * sizeof *parts->finder);
    if (!parts->starts || (reading && !parts->finder)) {
        parts_free(parts);
        return -1;
    }
    for (size_t i = 0; i < histogram->count; i++) {
        parts->starts[i] = sum;
        for (uint32_t k = 0; reading && k < histogram->frequencies[i]; k++)
            parts->finder[sum + k] = (uint16_t)i;
        sum += histogram->frequencies[i];
    }
    parts->starts[histogram->count] = sum;
    return 0;
}

/* A weight's symbol: 0, or its magnitude above the offset, counted from 1, with its sign. */
static int64_t symbol_of(const Matrix *matrix, int64_t code)
{
    if (!matrix->has_codes)
        return 1;
    return code < 0 ? code + matrix->offset - 1 : code - matrix->offset + 1;
}

static int64_t code_of(const Matrix *matrix, int64_t symbol)
{
    return symbol < 0 ? symbol - matrix->offset + 1 : symbol + matrix->offset - 1;
}

static size_t place_of(const Histogram *histogram, int64_t symbol)
{
    size_t low = 0, high = histogram->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (histogram->symbols[middle] < symbol)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

CoderStatus static_write(const Matrix *matrix, const Histogram *histogram, const uint8_t *mask,
                         const int64_t *codes, Stream *stream)
{
    uint64_t found = 0, size = matrix->rows * matrix->columns;
    CoderStatus status = CODER_DONE;
    Parts parts;
    Range range;

    if (parts_new(&parts, histogram, 0))
        return CODER_NO_MEMORY;
    (void)range_begin(&range, stream, 0);
    for (uint64_t i = 0; i < size; i++) {
        int64_t symbol = 0;
        if (mask[i] && found == matrix->nonzero) {
            status = CODER_TOO_MANY;
            break;
        }
        if (mask[i])
            symbol = symbol_of(matrix, matrix->has_codes ? codes[found] : 0);
        found += mask[i];
        size_t place = place_of(histogram, symbol);
        if (place == histogram->count || histogram->symbols[place] != symbol) {
            status = CODER_UNKNOWN_SYMBOL;
            break;
        }
        range_part(&range, parts.starts[place], histogram->frequencies[place], 0);
    }
    parts_free(&parts);
    if (!status && found != matrix->nonzero)
        status = CODER_TOO_FEW;
    return status ? status : range_end(&range, 0);
}

CoderStatus static_read(const Matrix *matrix, const Histogram *histogram, uint8_t *mask,
                        int64_t *codes, Stream *stream)
{
    uint64_t found = 0, size = matrix->rows * matrix->columns;
    CoderStatus status;
    Parts parts;
    Range range;

    if (parts_new(&parts, histogram, 1))
        return CODER_NO_MEMORY;
    status = range_begin(&range, stream, 1);
    for (uint64_t i = 0; i < size && !range.overrun && !status; i++) {
        size_t place = parts.finder[range_find(&range)];
        range_part(&range, parts.starts[place], histogram->frequencies[place], 1);
        if (histogram->symbols[place] == 0)
            continue;
        if (found == matrix->nonzero) {
            status = CODER_TOO_MANY;
            continue;
        }
        mask[i] = 1;
        if (matrix->has_codes)
            codes[found] = code_of(matrix, histogram->symbols[place]);
        found++;
    }
    parts_free(&parts);
    stream->at = range_used(&range);
    if (range.overrun)
        return CODER_ENDS_EARLY;
    if (!status)
        status = range_end(&range, 1);
    return !status && found != matrix->nonzero ? CODER_TOO_FEW : status;
}
