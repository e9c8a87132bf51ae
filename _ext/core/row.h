/* What a row of a network is: the contract between the kinds of rows and everybody who uses them.
 *
 * A kind of row is one file in rows/, with one `const IcRowKind` that rows/table.c lists. Whoever reads, proves, plans or
 * runs a network (run/, lib/) walks that table and knows no kind by its name. A kind has three parts:
 *
 *     names       as in a model's JSON: of the kind, of the tensors that it reads, of its arrays and numbers
 *     meaning     functions of a row as the model states it (IcParams), without memory: is it allowed, what does it
 *                 write, how large can its sums become, what does it cost
 *     execution   `pack` makes an IcRow for one instruction set, with a state of the kind's own; then `line` or `run`
 *                 computes some rows of a picture
 *
 * The meaning is that of docs/arithmetic.md; intcodec/rows/ has the same in Python.
 */
#ifndef INTCODEC_CORE_ROW_H
#define INTCODEC_CORE_ROW_H

#include "core/integers.h"
#include "core/isa.h"
#include "core/tensor.h"

enum { IC_MAX_INPUTS = 2, IC_MAX_ARRAYS = 4, IC_MAX_FIELDS = 8, IC_MAX_NUMBERS = 12 };

/* Every int32 intermediate stays strictly below this magnitude, a GDN's norm below the other. */
#define IC_ACC_LIMIT ((int64_t)1 << 31)
#define IC_NORM_LIMIT ((int64_t)1 << 30)

typedef struct IcRowKind IcRowKind;
typedef struct IcRow IcRow;

/* A row as its model states it: the tensors it reads, its numbers in the order of its fields, its arrays. */
typedef struct {
    IcTensor in[IC_MAX_INPUTS];
    const int32_t *number;
    const IcArray *array;
} IcParams;

/* Which of its input a row needs, the same for every output: an output of `up` x `up` pixels, number (y, x), is made from
 * the `rows` x `columns` pixels from (y * stride - top, x * stride - left) on; pixels outside are zero. */
typedef struct {
    int rows, columns, stride, up, top, left, bottom, right;
} IcGeometry;

/* The largest magnitude that a row's arithmetic can come to; the row is proved if it is below the limit. If it is not,
 * `what` names the part that reaches it, "" for the whole. */
typedef struct {
    int64_t value, limit;
    const char *what;
} IcBound;

static inline int ic_proved(IcBound b) { return b.value < b.limit; }

/* What a row costs: weights in memory, outputs rounded up to IC_COST_LANES, and products of an output of its geometry. */
enum { IC_COST_LANES = 64 };
typedef struct {
    int64_t weights, products;
} IcCost;

typedef struct {
    const char *name;
    IcType type;
    int rank;
} IcArrayField;

typedef enum { IC_INTEGER, IC_BOOLEAN, IC_FOUR_INTEGERS } IcFieldType;
typedef struct {
    const char *name;
    IcFieldType type;
} IcField;

/* What one call of `run` computes: outputs [from, to) in units of `up` rows, part `part` of `parts` of the channels, and
 * for a row with passes, of one pass. */
typedef struct {
    const IcView *in[IC_MAX_INPUTS], *out;
    int from, to, part, parts, pass;
    void *scratch; /* this thread's */
    void *shared;  /* all threads' */
} IcStrip;

struct IcRowKind {
    const char *name;
    const char *input[IC_MAX_INPUTS]; /* "input", and "other" where it reads two tensors */
    IcArrayField array[IC_MAX_ARRAYS]; /* up to one without a name */
    IcField field[IC_MAX_FIELDS];      /* likewise; a boolean is a number 0 or 1, four integers are four numbers */
    int whole;    /* reads its whole input; a graph has only such rows, or none */
    int in_place; /* `line` may write int16 to where it reads */

    /* Meaning. `check` comes first: the others trust what it has let through. Its result is NULL, or what is wrong. */
    const char *(*check)(const IcParams *p);
    IcTensor (*out)(const IcParams *p);         /* channels and range */
    IcGeometry (*geometry)(const IcParams *p);  /* NULL: an output is made from its own pixel */
    const char *(*fits)(IcSize in);             /* NULL: any size does */
    IcBound (*bound)(const IcParams *p);
    IcCost (*cost)(const IcParams *p); /* NULL: nothing */

    /* Execution. `pack` fills a row for row->isa and copies what it keeps; without memory it just returns. NULL: there is
     * nothing to fill. */
    void (*pack)(IcRow *row, const IcParams *p);
    size_t (*scratch)(const IcRow *row, int width);            /* bytes for each thread; NULL: none */
    size_t (*shared)(const IcRow *row, int height, int width); /* bytes for all threads; NULL: none */
    int (*pass)(const IcRow *row, int pass, int height); /* rows of a pass, 0 past the last; NULL: one, all rows */
    /* One of the two. `line` is for rows that look at nothing beside the pixel: one line of `width` pixels. */
    void (*line)(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch);
    void (*run)(const IcRow *row, const IcStrip *s);
};

/* A row packed for an instruction set. */
struct IcRow {
    const IcRowKind *kind;
    const IcIsa *isa;
    int in[IC_MAX_INPUTS], out; /* numbers of tensors; -1 for an input that the kind does not have */
    IcTensor from[IC_MAX_INPUTS], to;
    IcGeometry geometry;
    /* what `pack` sets */
    void *state;
    int64_t work;   /* multiply-accumulates of an output of the geometry */
    int parts;      /* that the channels may be split into, to share them out to threads; at least 1 */
    int tall;       /* outputs that are best made together, one below the other; at least 1 */
    void *memory;   /* what ic_take gave */
    int failed;     /* there was not enough */
};

/* How many inputs, arrays and numbers a kind has. */
int ic_row_inputs(const IcRowKind *kind);
int ic_row_arrays(const IcRowKind *kind);
int ic_row_numbers(const IcRowKind *kind);

/* Check a row as a whole, types and ranks of its arrays included: NULL, or what is wrong. */
const char *ic_row_check(const IcRowKind *kind, const IcParams *p);
IcGeometry ic_row_geometry(const IcRowKind *kind, const IcParams *p);
/* The size of the output for inputs of a size: NULL, or what is wrong with that. */
const char *ic_row_size(const IcRowKind *kind, IcGeometry g, IcSize in, IcSize *out);

/* Zeroed memory that lives as long as the row, aligned to 64 bytes and with 64 more, so that vector loads of a last,
 * partial group stay inside. NULL without memory, and the row has failed. */
void *ic_take(IcRow *row, size_t count, size_t size);
/* The same with an array's values as int32, and with 2^(v - 1) of each, 0 for v = 0. */
int32_t *ic_take_wide(IcRow *row, const IcArray *a);
int32_t *ic_take_halves(IcRow *row, const IcArray *a);
/* Free what a row took. */
void ic_row_free(IcRow *row);

/* For `scratch`: a pixel of int32. */
size_t ic_pixel_scratch(const IcRow *row, int width);
/* For `check`: does an array have `size` values, all in [lo, hi]? */
int ic_vector(const IcArray *a, int64_t size, int64_t lo, int64_t hi);
/* Is every value of an array in [lo, hi]? */
int ic_within(const IcArray *a, int64_t lo, int64_t hi);
/* For `bound`: the largest value of an array that is not empty; 2^(shift - 1), 0 for 0. */
int64_t ic_largest(const IcArray *a);
static inline int64_t ic_half(int64_t shift) { return ((int64_t)1 << shift) >> 1; }
/* Sums of magnitudes: of weights, and of their digits, 256 |high| + |low|. */
typedef struct {
    int64_t plain, digits;
} IcSums;
IcSums ic_sums(const int16_t *weight, size_t count);
/* The largest 256 |high| + |low| of values in [lo, hi], which fit int16. */
static inline int64_t ic_digits(int32_t lo, int32_t hi) {
    const int32_t a = ic_sar(lo + 128, 8), b = ic_sar(hi + 128, 8);
    const int32_t low = a < 0 ? -a : a, high = b < 0 ? -b : b;
    return 256 * (int64_t)(low > high ? low : high) + 128;
}
/* For `cost`: that of products with a matrix [out][...]. */
IcCost ic_matrix_cost(const IcArray *matrix);

#endif
