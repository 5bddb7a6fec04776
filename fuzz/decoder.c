/* libFuzzer on the C decoder: the first bytes choose the tensor, the rest is its stream. */
#include "_coder.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD = 8, MOST = 4096 };

static void attack_contexts(const Matrix *matrix, Stream *stream, uint8_t *mask, int64_t *codes)
{
    context_read(matrix, mask, codes, stream);
}

static void attack_static(const Matrix *matrix, Stream *stream, uint8_t *mask, int64_t *codes)
{
    static const int64_t symbols[] = {-3, -1, 0, 1, 2, INT64_C(1) << 40};
    static const uint32_t frequencies[] = {1, 5000, 50000, 10000, 534, 1};
    const Histogram histogram = {6, symbols, frequencies};

    static_read(matrix, &histogram, mask, codes, stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int prepared;
    if (!prepared) {
        coder_prepare();
        prepared = 1;
    }
    if (size < HEAD)
        return 0;
    Matrix matrix = {.kernel_rows = 1 + data[0] % 5, .kernel_columns = 1 + data[1] % 5};
    matrix.rows = 1 + data[2] % 32;
    matrix.columns = (1ull + data[3] % 8) * matrix.kernel_rows * matrix.kernel_columns;
    matrix.nonzero = (data[4] | (unsigned)data[5] << 8) % (matrix.rows * matrix.columns + 1);
    matrix.is_signed = data[6] & 1;
    matrix.has_codes = data[6] >> 1 & 1;
    matrix.offset = data[7] < 250 ? data[7] : INT64_C(1) << (data[7] - 193);
    uint8_t *mask = calloc(matrix.rows * matrix.columns, 1);
    int64_t *codes = matrix.has_codes ? calloc(matrix.nonzero + !matrix.nonzero, 8) : NULL;
    uint8_t *bytes = malloc(size - HEAD + !(size - HEAD)); /* of its own, so that overruns show */
    memcpy(bytes, data + HEAD, size - HEAD);
    Stream stream = {.bytes = bytes, .length = size - HEAD};
    if (data[6] & 4)
        attack_static(&matrix, &stream, mask, codes);
    else
        attack_contexts(&matrix, &stream, mask, codes);
    free(bytes);
    free(mask);
    free(codes);
    return 0;
}
