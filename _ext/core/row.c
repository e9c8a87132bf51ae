/* What is the same for every kind of row: checks that its table entry describes, its size, its memory. */
#include "core/row.h"

#include "core/memory.h"

int ic_row_inputs(const IcRowKind *kind) {
    int n = 0;
    while (n < IC_MAX_INPUTS && kind->input[n]) n++;
    return n;
}

int ic_row_arrays(const IcRowKind *kind) {
    int n = 0;
    while (n < IC_MAX_ARRAYS && kind->array[n].name) n++;
    return n;
}

int ic_row_numbers(const IcRowKind *kind) {
    int n = 0;
    for (int i = 0; i < IC_MAX_FIELDS && kind->field[i].name; i++) n += kind->field[i].type == IC_FOUR_INTEGERS ? 4 : 1;
    return n;
}

const char *ic_row_check(const IcRowKind *kind, const IcParams *p) {
    int lo = 0, hi = 0, ranges = 0;
    for (int i = 0, n = 0; i < IC_MAX_FIELDS && kind->field[i].name; i++) {
        const IcFieldType type = kind->field[i].type;
        if (type == IC_BOOLEAN && p->number[n] != 0 && p->number[n] != 1) return "a boolean is neither 0 nor 1";
        if (!strcmp(kind->field[i].name, "lo")) lo = p->number[n], ranges++;
        if (!strcmp(kind->field[i].name, "hi")) hi = p->number[n], ranges++;
        n += type == IC_FOUR_INTEGERS ? 4 : 1;
    }
    if (ranges && (lo > hi || lo == INT32_MIN)) return "bad range";
    for (int i = 0; i < ic_row_arrays(kind); i++)
        if (p->array[i].type != kind->array[i].type || p->array[i].rank != kind->array[i].rank)
            return "an array has the wrong type or number of dimensions";
    const char *wrong = kind->check(p);
    if (wrong) return wrong;
    return ic_tensor_fits(kind->out(p)) ? NULL : "too many channels";
}

IcGeometry ic_row_geometry(const IcRowKind *kind, const IcParams *p) {
    if (kind->geometry) return kind->geometry(p);
    return (IcGeometry){.rows = 1, .columns = 1, .stride = 1, .up = 1};
}

const char *ic_row_size(const IcRowKind *kind, IcGeometry g, IcSize in, IcSize *out) {
    const int high = in.height + g.top + g.bottom - g.rows, wide = in.width + g.left + g.right - g.columns;
    if (high < 0 || wide < 0) return "smaller than the kernel";
    *out = (IcSize){(high / g.stride + 1) * g.up, (wide / g.stride + 1) * g.up};
    return kind->fits ? kind->fits(in) : NULL;
}

/* What a row took is a list: each piece begins with the address of the one before. */
enum { HEAD = 64 };

void *ic_take(IcRow *row, size_t count, size_t size) {
    const int fits = count < (SIZE_MAX / 2 - HEAD - 64) / size;
    char *piece = fits ? ic_alloc(HEAD + count * size + 64) : NULL;
    if (!piece) {
        row->failed = 1;
        return NULL;
    }
    memcpy(piece, &row->memory, sizeof row->memory);
    row->memory = piece;
    return memset(piece + HEAD, 0, count * size + 64);
}

int32_t *ic_take_wide(IcRow *row, const IcArray *a) {
    const size_t count = ic_count(a);
    int32_t *wide = ic_take(row, count, sizeof *wide);
    const IcLine values = {(char *)a->data, a->type};
    for (size_t i = 0; wide && i < count; i++) wide[i] = ic_get(values, (ptrdiff_t)i);
    return wide;
}

int32_t *ic_take_halves(IcRow *row, const IcArray *a) {
    int32_t *half = ic_take_wide(row, a);
    for (size_t i = 0; half && i < ic_count(a); i++) half[i] = (int32_t)ic_half(half[i]);
    return half;
}

void ic_row_free(IcRow *row) {
    while (row->memory) {
        void *piece = row->memory;
        memcpy(&row->memory, piece, sizeof row->memory);
        ic_free(piece);
    }
}

size_t ic_pixel_scratch(const IcRow *row, int width) {
    (void)width;
    return sizeof(int32_t) * (size_t)row->to.channels;
}

/* Set the ends of an array's values; an empty one has none, and the ends are 0. */
#define ENDS(TYPE)                                    \
    do {                                              \
        const TYPE *v = a->data;                      \
        TYPE low = v[0], high = v[0];                 \
        for (size_t i = 1; i < count; i++) {          \
            low = v[i] < low ? v[i] : low;            \
            high = v[i] > high ? v[i] : high;         \
        }                                             \
        ends[0] = low, ends[1] = high;                \
    } while (0)

static void ends_of(const IcArray *a, int64_t ends[2]) {
    const size_t count = ic_count(a);
    ends[0] = ends[1] = 0;
    if (!count) return;
    if (a->type == IC_U8) ENDS(uint8_t);
    else if (a->type == IC_I16) ENDS(int16_t);
    else ENDS(int32_t);
}

int ic_within(const IcArray *a, int64_t lo, int64_t hi) {
    int64_t ends[2];
    ends_of(a, ends);
    return !ic_count(a) || (ends[0] >= lo && ends[1] <= hi);
}

int ic_vector(const IcArray *a, int64_t size, int64_t lo, int64_t hi) {
    return a->rank == 1 && a->size[0] == size && ic_within(a, lo, hi);
}

int64_t ic_largest(const IcArray *a) {
    int64_t ends[2];
    ends_of(a, ends);
    return ends[1];
}

IcSums ic_sums(const int16_t *weight, size_t count) {
    enum { RUN = 1 << 15 }; /* whose sums fit int32 */
    IcSums sums = {0, 0};
    for (size_t at = 0; at < count; at += RUN) {
        const size_t end = count - at < RUN ? count : at + RUN;
        uint32_t plain = 0, digits = 0;
        for (size_t i = at; i < end; i++) {
            const int w = weight[i], high = (w + 128) >> 8, low = w - 256 * high;
            plain += (uint32_t)(w < 0 ? -w : w);
            digits += (uint32_t)(256 * (high < 0 ? -high : high) + (low < 0 ? -low : low));
        }
        sums.plain += plain, sums.digits += digits;
    }
    return sums;
}

IcCost ic_matrix_cost(const IcArray *matrix) {
    const int64_t products = (int64_t)ic_count(matrix), out = matrix->size[0];
    return (IcCost){products / out * ((out + IC_COST_LANES - 1) / IC_COST_LANES * IC_COST_LANES), products};
}
