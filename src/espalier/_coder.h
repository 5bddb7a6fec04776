/* The entropy coder of the file format: docs/format.md says what each part means. No Python here.
 *
 * Integers only, so that every machine writes and reads the same bytes.
 */
#ifndef ESPALIER_CODER_H
#define ESPALIER_CODER_H

#include <stddef.h>
#include <stdint.h>

/* What a reader finds wrong with a stream; `at` of a Stream says where. */
typedef enum {
    CODER_DONE,
    CODER_NO_MEMORY,
    CODER_ENDS_EARLY,      /* the stream ends before the tensor does */
    CODER_ENDS_LATE,       /* bytes are left after the tensor's end */
    CODER_STATE,           /* the coder does not end in the state that a writer leaves */
    CODER_TOO_MANY,        /* more nonzeros than the header says */
    CODER_TOO_FEW,         /* fewer of them */
    CODER_TOO_LARGE,       /* a code beyond 2^62 */
    CODER_UNKNOWN_SYMBOL,  /* a code that the table does not hold; writers only */
} CoderStatus;

/* A tensor as the coder sees it: a matrix of kernels. */
typedef struct {
    unsigned long long rows, columns, nonzero; /* 64 bits */
    unsigned int kernel_rows, kernel_columns;
    long long offset; /* the least magnitude of a code */
    int is_signed;    /* codes have a sign; otherwise they are >= 0 */
    int has_codes;    /* otherwise only the mask is coded */
} Matrix;

/* The order-0 model: symbols ascending, frequencies that sum to 2^16. */
typedef struct {
    size_t count;
    const int64_t *symbols; /* 0 stands for a zero weight */
    const uint32_t *frequencies;
} Histogram;

typedef struct {
    uint8_t *bytes;
    size_t length, capacity, at;
} Stream;

void coder_prepare(void); /* once, before anything else */
void stream_free(Stream *stream);

/* Writers append to an empty stream; readers fill mask (zeros at first) and codes (`nonzero` of
 * them; NULL where there are none). Readers touch no byte outside of what they are given. */
CoderStatus context_write(const Matrix *matrix, const uint8_t *mask, const int64_t *codes,
                          Stream *stream);
CoderStatus context_read(const Matrix *matrix, uint8_t *mask, int64_t *codes, Stream *stream);
CoderStatus static_write(const Matrix *matrix, const Histogram *histogram, const uint8_t *mask,
                         const int64_t *codes, Stream *stream);
CoderStatus static_read(const Matrix *matrix, const Histogram *histogram, uint8_t *mask,
                        int64_t *codes, Stream *stream);

#endif
