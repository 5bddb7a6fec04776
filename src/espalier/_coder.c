/* The context model: adaptive binary coding of a mask and its codes.
 *
 * One walk over the tensor serves the writer and the reader, so that the two can't disagree.
 */
#include "_coder_cells.h"

#include <string.h>

enum { START_LEAST = 64, START_MOST = 65500 };
enum { EXPONENTS = 64, STEPS = 16, TREE = 8, TREE_BITS = 3, EXPONENT_MAX = 62 };
enum { NEIGHBOURS = 9, GRADES = 32, POSITIONS = 64, COUNTS = 16, HISTORY = 256, CLASSES = 9 };

/* A neighbour's code in a byte: 0 for a zero, else its magnitude's class 1 .. 8, and its sign. */
enum { CLASS = 15, NEGATIVE = 16 };

INLINE uint32_t class_of(uint8_t symbol)
{
    return symbol & CLASS;
}

INLINE uint32_t sign_of(uint8_t symbol) /* 0 none, 1 positive, 2 negative */
{
    return symbol == 0 ? 0 : symbol & NEGATIVE ? 2 : 1;
}

INLINE uint32_t weight_of(uint8_t symbol) /* 0 zero, 1 small, 2 large */
{
    uint32_t found = class_of(symbol);

    return found < 2 ? found : found > 2 ? 2 : 1;
}

typedef struct {
    uint32_t at;      /* in the row */
    uint32_t kernel;  /* which kernel of the row */
    Cell cell;
    uint8_t position; /* in the kernel */
    uint8_t has_above;
    uint8_t mean;     /* of the classes of its nonzeros */
} Column;

/* All that adapts, and the lines of the two filters before. */
typedef struct {
    Cell flags[2][2];
    Cell near[NEIGHBOURS * GRADES], kernel[POSITIONS * COUNTS + HISTORY];
    Cell sign_across[9], sign_back[27];
    Cell exponent_near[CLASSES * CLASSES][STEPS], exponent_column[CLASSES * 8][STEPS];
    Cell tree[5][EXPONENTS][TREE];
    int32_t mask_weights[4], sign_weights[2], exponent_weights[STEPS][2];
    int32_t tree_weights[EXPONENTS][2];
    Column *columns;
    size_t column_count;
    uint8_t *rows;     /* whether a row has any nonzero */
    uint8_t *memory;   /* of the lines */
    uint8_t *lines[3]; /* this filter's, the one's before, and the one's before that */
} Model;

/* What one row needs. */
typedef struct {
    Cell cell;
    uint32_t kernel, count, history, last;
    uint8_t last_sign;
} Row;

static void cells_fill(Cell *cells, size_t count, uint32_t p)
{
    for (size_t i = 0; i < count; i++)
        cells[i] = (Cell){.p = (uint16_t)p};
}

#define FILL(cells, p) cells_fill((Cell *)(cells), sizeof(cells) / sizeof(Cell), p)

static void weights_fill(int32_t *weights, size_t count, int32_t value)
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

/* Which rows and columns hold a nonzero: a bit each, in the context of the one before. */
INLINE void flags_walk(Model *model, const Matrix *matrix, const uint8_t *mask, Range *range,
                       const int reading)
{
    uint64_t rows = matrix->rows, columns = matrix->columns;
    uint32_t kernel = matrix->kernel_rows * matrix->kernel_columns;
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
        uint32_t position = (uint32_t)(c % kernel);
        before = code_single(range, &model->flags[1][before], used[c], reading);
        if (before)
            model->columns[model->column_count++] = (Column){
                .at = (uint32_t)c,
                .kernel = (uint32_t)(c / kernel),
                .position = (uint8_t)(position < POSITIONS ? position : POSITIONS - 1),
                .has_above = position >= matrix->kernel_columns,
            };
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
    uint8_t left, before, above, beyond; /* symbols around one weight */
} Around;

INLINE Around around(const Model *model, const Matrix *matrix, const Column *column)
{
    const uint8_t *line = model->lines[0] + column->at;
    uint32_t kernel = matrix->kernel_rows * matrix->kernel_columns;
    Around found = {.left = line[-1], .before = model->lines[1][column->at]};

    if (matrix->kernel_rows > 1)
        found.above = column->has_above ? line[-(ptrdiff_t)matrix->kernel_columns] : 0;
    else
        found.above = line[-2];
    found.beyond = kernel > 1 ? line[-(ptrdiff_t)kernel] : model->lines[2][column->at];
    return found;
}

INLINE int mask_bit(Model *model, const Matrix *matrix, Row *row, Column *column,
                    const Around *near, Range *range, int bit, const int reading)
{
    uint32_t around = weight_of(near->left) + weight_of(near->before) + weight_of(near->above) +
                      weight_of(near->beyond);
    uint32_t kernel = (uint32_t)POSITIONS * COUNTS + row->history;
    Cell *cells[4];

    if (matrix->kernel_rows * matrix->kernel_columns > 1) {
        if (column->kernel != row->kernel) {
            row->kernel = column->kernel;
            row->count = 0;
        }
        kernel = column->position * (uint32_t)COUNTS + row->count;
    }
    cells[0] = &row->cell;
    cells[1] = &column->cell;
    cells[2] = &model->kernel[kernel];
    cells[3] = &model->near[around * GRADES + cell_grade(&column->cell)];
    bit = code_mixed(range, model->mask_weights, cells, 4, bit, reading);
    row->count += bit && row->count < COUNTS - 1;
    row->history = (row->history << 1 | (uint32_t)bit) & (HISTORY - 1);
    return bit;
}

INLINE int sign_bit(Model *model, const Row *row, const Around *near, Range *range, int bit,
                    const int reading)
{
    uint32_t across = sign_of(near->left) * 3 + sign_of(near->above);
    uint32_t back = sign_of(near->before) * 9 + sign_of(near->beyond) * 3 + row->last_sign;
    Cell *cells[2] = {&model->sign_across[across], &model->sign_back[back]};

    return code_mixed(range, model->sign_weights, cells, 2, bit, reading);
}

/* magnitude + 1 as its highest bit's place, in unary, and the bits below, from the top. */
INLINE uint64_t magnitude(Model *model, const Row *row, const Column *column, const Around *near,
                          Range *range, uint64_t value, CoderStatus *status, const int reading)
{
    Cell *close = model->exponent_near[class_of(near->above) * CLASSES + row->last];
    Cell *down = model->exponent_column[column->mean * 8u + (cell_grade(&row->cell) >> 2)];
    uint32_t where = (class_of(near->left) > 2) + 2u * (class_of(near->before) > 2);
    uint32_t exponent = 0, node = 1;
    uint64_t number = 1;
    int bit;

    for (;; exponent++) {
        uint32_t step = exponent < STEPS ? exponent : STEPS - 1;
        Cell *cells[2] = {&close[step], &down[step]};
        bit = code_mixed(range, model->exponent_weights[step], cells, 2,
                         reading ? 0 : (value + 1) >> exponent > 1, reading);
        if (!bit)
            break;
        if (exponent == EXPONENT_MAX) {
            *status = CODER_TOO_LARGE;
            return 0;
        }
    }
    for (uint32_t i = exponent; i-- > 0; number = number << 1 | (uint64_t)bit) {
        bit = reading ? 0 : (int)((value + 1) >> i & 1);
        if (exponent - i > TREE_BITS) {
            bit = range_bit(range, 32768, bit, reading);
            continue;
        }
        Cell *cells[2] = {&model->tree[0][exponent][node], &model->tree[1 + where][exponent][node]};
        bit = code_mixed(range, model->tree_weights[exponent], cells, 2, bit, reading);
        node = node << 1 | (uint32_t)bit;
    }
    return number - 1;
}

INLINE int64_t code_walk(Model *model, const Matrix *matrix, Row *row, Column *column,
                         const Around *near, Range *range, int64_t code, CoderStatus *status,
                         const int reading)
{
    int negative = !reading && code < 0;
    uint64_t offset = (uint64_t)matrix->offset, value = 0;
    uint8_t symbol;

    if (!reading)
        value = (negative ? 0 - (uint64_t)code : (uint64_t)code) - offset;
    if (matrix->is_signed)
        negative = sign_bit(model, row, near, range, negative, reading);
    value = magnitude(model, row, column, near, range, value, status, reading);
    if (value > (UINT64_C(1) << 62) - offset) {
        *status = CODER_TOO_LARGE;
        return 0;
    }
    symbol = (uint8_t)(1 + (value < 7 ? value : 7));
    row->last = symbol < 8 ? symbol : 7;
    row->last_sign = (uint8_t)(1 + negative);
    column->mean = (uint8_t)((column->mean + symbol + 1u) >> 1);
    model->lines[0][column->at] = (uint8_t)(symbol | (negative ? NEGATIVE : 0));
    return negative ? -(int64_t)(value + offset) : (int64_t)(value + offset);
}

INLINE CoderStatus row_walk(Model *model, const Matrix *matrix, uint32_t start, uint8_t *mask,
                            int64_t *codes, uint64_t *found, Range *range, const int reading)
{
    Row row = {.cell = {.p = (uint16_t)start}, .kernel = UINT32_MAX};
    CoderStatus status = CODER_DONE;

    for (size_t i = 0; i < model->column_count; i++) {
        Column *column = &model->columns[i];
        Around near = around(model, matrix, column);
        int bit = reading ? 0 : mask[column->at];
        bit = mask_bit(model, matrix, &row, column, &near, range, bit, reading);
        if (!bit)
            continue;
        if (*found == matrix->nonzero)
            return CODER_TOO_MANY;
        if (reading)
            mask[column->at] = 1;
        model->lines[0][column->at] = 1;
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
    uint32_t start;
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
        model->columns[i].cell.p = (uint16_t)start;
    for (uint64_t r = 0; r < matrix->rows && !status; r++) {
        if (!model->rows[r])
            continue;
        status = row_walk(model, matrix, start, mask + r * matrix->columns, codes, &found, &range,
                          reading);
        uint8_t *oldest = model->lines[2];
        model->lines[2] = model->lines[1];
        model->lines[1] = model->lines[0];
        model->lines[0] = memset(oldest, 0, (size_t)matrix->columns);
    }
    model_free(model);
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
