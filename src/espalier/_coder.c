/* The context model: adaptive binary coding of a mask and its codes.
 *
 * One walk over the tensor serves the writer and the reader, so that the two can't disagree.
 */
#include "_coder_cells.h"

#include <string.h>

enum { START_LEAST = 64, START_MOST = 65500 };
enum { EXPONENTS = 64, STEPS = 16, TREE = 8, TREE_BITS = 3, EXPONENT_MAX = 62 };
enum { NEIGHBOURS = 9, GRADES = 32, POSITIONS = 64, COUNTS = 16, HISTORY = 256, CLASSES = 9 };

/* A neighbour's code in a byte, 0 for a zero: the class of its magnitude, 1 to 8, in four bits, its
 * sign (1 positive, 2 negative) in two and its weight (1 small, 2 large) in the top two. */
enum { CLASS = 15, SIGN_SHIFT = 4, SIGN = 3, WEIGHT_SHIFT = 6, LARGE_SHIFT = 7 };
enum { SMALL_MOST = 2, SYMBOL = 1 << WEIGHT_SHIFT | 1 << SIGN_SHIFT | 1 }; /* of a mask alone */

INLINE uint8_t symbol_of(uint64_t magnitude, int negative)
{
    uint32_t class = 1 + (uint32_t)(magnitude < 7 ? magnitude : 7);

    return (uint8_t)(class | (1u + (uint32_t)negative) << SIGN_SHIFT |
                     (1u + (class > SMALL_MOST)) << WEIGHT_SHIFT);
}

INLINE uint32_t class_of(uint32_t symbol)
{
    return symbol & CLASS;
}

INLINE uint32_t sign_of(uint32_t symbol)
{
    return symbol >> SIGN_SHIFT & SIGN;
}

INLINE uint32_t weight_of(uint32_t symbol)
{
    return symbol >> WEIGHT_SHIFT;
}

INLINE uint32_t is_large(uint32_t symbol)
{
    return symbol >> LARGE_SHIFT;
}

typedef struct {
    uint32_t at;      /* in the row */
    int32_t above;    /* of the neighbour above; -1, where a zero lies, if there is none */
    Cell cell;
    uint8_t position; /* in the kernel */
    uint8_t begins;   /* whether it is the first of its kernel that is left */
    uint8_t mean;     /* of the classes of its nonzeros */
} Column;

/* All that adapts, and the lines of the two filters before. */
typedef struct {
    Cell flags[2][2];
    Cell near[NEIGHBOURS * GRADES], kernel[POSITIONS * COUNTS + HISTORY];
    Cell sign_across[9], sign_back[27];
    Cell exponent_near[CLASSES * CLASSES][STEPS], exponent_column[CLASSES * 8][STEPS];
    Cell tree[5][EXPONENTS][TREE];
    int64_t mask_weights[4], sign_weights[2], exponent_weights[STEPS][2];
    int64_t tree_weights[EXPONENTS][2];
    Column *columns;
    size_t column_count;
    uint8_t *rows;     /* whether a row has any nonzero */
    uint8_t *memory;   /* of the lines */
    uint8_t *lines[3]; /* this filter's, the one's before, and the one's before that */
} Model;

/* What one row needs. */
typedef struct {
    Cell cell;
    uint32_t count, history, last, last_sign;
} Row;

static void cells_fill(Cell *cells, size_t count, uint32_t p)
{
    for (size_t i = 0; i < count; i++)
        cells[i] = cell_of(p);
}

#define FILL(cells, p) cells_fill((Cell *)(cells), sizeof(cells) / sizeof(Cell), p)

static void weights_fill(int64_t *weights, size_t count, int64_t value)
{
    for (size_t i = 0; i < count; i++)
        weights[i] = value;
}

static void model_free(Model *model)
{
    if (model) {
        free(model->columns);
        free(model->rows);
        free(model->memory);
        free(model);
    }
}

static Model *model_new(const Matrix *matrix)
{
    Model *model = calloc(1, sizeof *model);
    size_t kernel = (size_t)matrix->kernel_rows * matrix->kernel_columns;
    size_t margin = kernel > 2 ? kernel : 2, line = margin + (size_t)matrix->columns;

    if (!model)
        return NULL;
    model->columns = malloc((size_t)matrix->columns * sizeof(Column));
    model->rows = calloc((size_t)matrix->rows, 1);
    model->memory = calloc(3, line);
    if (!model->columns || !model->rows || !model->memory) {
        model_free(model);
        return NULL;
    }
    for (size_t i = 0; i < 3; i++)
        model->lines[i] = model->memory + i * line + margin;
    FILL(model->flags, 32768);
    FILL(model->sign_across, 32768);
    FILL(model->sign_back, 32768);
    FILL(model->exponent_near, 32768);
    FILL(model->exponent_column, 32768);
    FILL(model->tree, 32768);
    weights_fill(model->mask_weights, 4, 19660);
    weights_fill(model->sign_weights, 2, 26214);
    weights_fill(&model->exponent_weights[0][0], STEPS * 2, 32768);
    weights_fill(&model->tree_weights[0][0], EXPONENTS * 2, 32768);
    return model;
}

static void column_add(Model *model, const Matrix *matrix, uint32_t at)
{
    uint32_t kernel = matrix->kernel_rows * matrix->kernel_columns, position = at % kernel;
    size_t count = model->column_count++;
    Column *column = &model->columns[count];

    *column = (Column){.at = at, .above = (int32_t)at - 2};
    column->position = (uint8_t)(position < POSITIONS ? position : POSITIONS - 1);
    column->begins = count == 0 || column[-1].at / kernel != at / kernel;
    if (matrix->kernel_rows > 1)
        column->above = (int32_t)at - (int32_t)matrix->kernel_columns;
    if (matrix->kernel_rows > 1 && position < matrix->kernel_columns)
        column->above = -1;
}

/* Which rows and columns hold a nonzero: a bit each, in the context of the one before. */
INLINE void flags_walk(Model *model, const Matrix *matrix, const uint8_t *mask, Range *range,
                       const int reading)
{
    uint64_t rows = matrix->rows, columns = matrix->columns;
    uint8_t *used = model->lines[0];
    int before = 1;

    for (uint64_t r = 0; !reading && r < rows; r++) {
        for (uint64_t c = 0; c < columns; c++) {
            used[c] |= mask[r * columns + c];
            model->rows[r] |= mask[r * columns + c];
        }
    }
    for (uint64_t r = 0; r < rows; r++) {
        before = code_single(range, &model->flags[0][before], model->rows[r], reading);
        model->rows[r] = (uint8_t)before;
    }
    before = 1;
    for (uint64_t c = 0; c < columns; c++) {
        before = code_single(range, &model->flags[1][before], used[c], reading);
        if (before)
            column_add(model, matrix, (uint32_t)c);
    }
    memset(used, 0, (size_t)columns);
}

/* Density of the rows and columns that are left; where all contexts of the mask start. */
static uint32_t start_of(const Model *model, const Matrix *matrix)
{
    uint64_t rows = 0, p;

    for (uint64_t r = 0; r < matrix->rows; r++)
        rows += model->rows[r];
    if (!rows || !model->column_count)
        return START_LEAST;
    p = (matrix->nonzero << 16) / (rows * model->column_count);
    return (uint32_t)(p < START_LEAST ? START_LEAST : p > START_MOST ? START_MOST : p);
}

typedef struct {
    uint32_t left, before, above, beyond; /* symbols around one weight */
} Around;

INLINE int mask_bit(Model *model, Row *row, Column *column, const Around *near, Range *range,
                    int bit, const int has_kernels, const int reading)
{
    uint32_t around = weight_of(near->left) + weight_of(near->before) + weight_of(near->above) +
                      weight_of(near->beyond);
    uint32_t context = POSITIONS * COUNTS + row->history;
    Mix mix = {.weights = model->mask_weights};

    if (has_kernels) {
        row->count = column->begins ? 0 : row->count;
        context = column->position * (uint32_t)COUNTS + row->count;
    }
    mix.cells[0] = &row->cell;
    mix.cells[1] = &column->cell;
    mix.cells[2] = &model->kernel[context];
    mix.cells[3] = &model->near[around * GRADES + cell_grade(&column->cell)];
    bit = code_guessed(range, mix, 4, bit, reading);
    if (has_kernels)
        row->count += bit && row->count < COUNTS - 1;
    else
        row->history = (row->history << 1 | (uint32_t)bit) & (HISTORY - 1);
    return bit;
}

INLINE int sign_bit(Model *model, const Row *row, const Around *near, Range *range, int bit,
                    const int reading)
{
    uint32_t across = sign_of(near->left) * 3 + sign_of(near->above);
    uint32_t back = sign_of(near->before) * 9 + sign_of(near->beyond) * 3 + row->last_sign;
    Mix mix = {model->sign_weights, {&model->sign_across[across], &model->sign_back[back]}, {0}};

    return code_unguessed(range, mix, 2, bit, reading);
}

/* The place of a number's highest bit, in unary. */
INLINE uint32_t exponent_walk(Model *model, const Row *row, const Column *column,
                              const Around *near, Range *range, uint64_t number,
                              CoderStatus *status, const int reading)
{
    Cell *close = model->exponent_near[class_of(near->above) * CLASSES + row->last];
    Cell *down = model->exponent_column[column->mean * 8u + (cell_grade(&row->cell) >> 2)];
    uint32_t exponent = 0;

    for (size_t step = 0;; exponent++, step += step < STEPS - 1) {
        Mix mix = {model->exponent_weights[step], {&close[step], &down[step]}, {0}};
        int bit = reading ? 0 : number >> exponent > 1;
        if (!code_guessed(range, mix, 2, bit, reading))
            return exponent;
        if (exponent == EXPONENT_MAX) {
            *status = CODER_TOO_LARGE;
            return 0;
        }
    }
}

/* The bits below a number's highest, from the top; return the number. */
INLINE uint64_t bits_walk(Model *model, uint32_t exponent, const Around *near, Range *range,
                          uint64_t number, const int reading)
{
    uint32_t where = 1 + is_large(near->left) + 2u * is_large(near->before);
    uint64_t known = 1; /* its top bits; while they are few, the node of the tree */

    for (uint32_t below = exponent; below-- > 0;) {
        int bit = reading ? 0 : (int)(number >> below & 1);
        if (known >> TREE_BITS) {
            bit = range_bit_unguessed(range, 32768, bit, reading);
        } else {
            Cell *shared = &model->tree[0][exponent][known];
            Cell *own = &model->tree[where][exponent][known];
            Mix mix = {model->tree_weights[exponent], {shared, own}, {0}};
            bit = code_unguessed(range, mix, 2, bit, reading);
        }
        known = known << 1 | (uint64_t)bit;
    }
    return known;
}

INLINE int64_t code_walk(Model *model, const Matrix *matrix, Row *row, Column *column,
                         const Around *near, Range *range, int64_t code, CoderStatus *status,
                         const int reading)
{
    int negative = !reading && code < 0;
    uint64_t offset = (uint64_t)matrix->offset, value = 0;
    uint32_t exponent;
    uint8_t symbol;

    if (!reading)
        value = (negative ? 0 - (uint64_t)code : (uint64_t)code) - offset;
    if (matrix->is_signed)
        negative = sign_bit(model, row, near, range, negative, reading);
    exponent = exponent_walk(model, row, column, near, range, value + 1, status, reading);
    value = bits_walk(model, exponent, near, range, value + 1, reading) - 1;
    if (*status || value > (UINT64_C(1) << 62) - offset) {
        *status = CODER_TOO_LARGE;
        return 0;
    }
    symbol = symbol_of(value, negative);
    row->last = class_of(symbol) < 7 ? class_of(symbol) : 7;
    row->last_sign = sign_of(symbol);
    column->mean = (uint8_t)((column->mean + class_of(symbol) + 1) >> 1);
    model->lines[0][column->at] = symbol;
    return negative ? -(int64_t)(value + offset) : (int64_t)(value + offset);
}

INLINE CoderStatus row_walk(Model *model, const Matrix *matrix, uint32_t start, uint8_t *mask,
                            int64_t *codes, uint64_t *found, Range *range,
                            const int has_kernels, const int reading)
{
    Row row = {.cell = cell_of(start)};
    CoderStatus status = CODER_DONE;
    uint8_t *line = model->lines[0];
    const uint8_t *before = model->lines[1], *beyond = model->lines[2];

    if (has_kernels)
        beyond = line - (ptrdiff_t)(matrix->kernel_rows * matrix->kernel_columns);
    for (size_t i = 0; i < model->column_count; i++) {
        Column *column = &model->columns[i];
        size_t at = column->at;
        const Around near = {line[(ptrdiff_t)at - 1], before[at], line[column->above], beyond[at]};
        int bit = reading ? 0 : mask[at];
        bit = mask_bit(model, &row, column, &near, range, bit, has_kernels, reading);
        if (!bit)
            continue;
        if (*found == matrix->nonzero)
            return CODER_TOO_MANY;
        if (reading)
            mask[at] = 1;
        line[at] = SYMBOL;
        if (matrix->has_codes) {
            int64_t code = reading ? 0 : codes[*found];
            code = code_walk(model, matrix, &row, column, &near, range, code, &status, reading);
            if (status)
                return status;
            if (reading)
                codes[*found] = code;
        }
        ++*found;
    }
    return reading && range->overrun ? CODER_ENDS_EARLY : CODER_DONE;
}

INLINE CoderStatus context_walk(const Matrix *matrix, uint8_t *mask, int64_t *codes,
                                Stream *stream, const int reading)
{
    Model *model = model_new(matrix);
    uint64_t found = 0;
    uint32_t start, kernel = matrix->kernel_rows * matrix->kernel_columns;
    CoderStatus status;
    Range range;

    if (!model)
        return CODER_NO_MEMORY;
    status = range_begin(&range, stream, reading);
    flags_walk(model, matrix, mask, &range, reading);
    start = start_of(model, matrix);
    FILL(model->near, start);
    FILL(model->kernel, start);
    for (size_t i = 0; i < model->column_count; i++)
        model->columns[i].cell = cell_of(start);
    for (uint64_t r = 0; r < matrix->rows && !status; r++) {
        if (!model->rows[r])
            continue;
        uint8_t *row = mask + r * matrix->columns;
        status = kernel > 1
                     ? row_walk(model, matrix, start, row, codes, &found, &range, 1, reading)
                     : row_walk(model, matrix, start, row, codes, &found, &range, 0, reading);
        uint8_t *oldest = model->lines[2];
        model->lines[2] = model->lines[1];
        model->lines[1] = model->lines[0];
        model->lines[0] = memset(oldest, 0, (size_t)matrix->columns);
    }
    model_free(model);
    if (reading)
        stream->at = range_used(&range);
    if (reading && range.overrun)
        return CODER_ENDS_EARLY;
    if (!status)
        status = range_end(&range, reading);
    if (!status && found != matrix->nonzero)
        status = CODER_TOO_FEW;
    return status;
}

CoderStatus context_write(const Matrix *matrix, const uint8_t *mask, const int64_t *codes,
                          Stream *stream)
{
    return context_walk(matrix, (uint8_t *)mask, (int64_t *)codes, stream, 0);
}

CoderStatus context_read(const Matrix *matrix, uint8_t *mask, int64_t *codes, Stream *stream)
{
    return context_walk(matrix, mask, codes, stream, 1);
}
