/* Generalised divisive normalisation and its inverse form (docs/arithmetic.md, gdn). */
#include "rows/blocks.h"

enum { GAMMA, BETA, NUMERATOR, SHIFT };
enum { SQUARE_SHIFT, LO, HI, INVERSE };

/* Pixels at a time, a multiple of every tile's width: squares, norms and gamma should stay in the first-level cache. */
enum { PIXELS = 12 };

typedef struct {
    IcBlock *block; /* of gamma */
    int32_t *numerator, *shift, *half;
    int blocks, square_shift, inverse, small;
    int32_t lo, hi;
} Gdn;

typedef struct {
    int32_t *norm;   /* [PIXELS][channels, whole groups] */
    int32_t *line;   /* [channels] */
    int16_t *square; /* [PIXELS][channels, even] */
} Scratch;

static const char *check(const IcParams *p) {
    const IcArray *a = p->array;
    const int c = p->in[0].channels;
    if (a[GAMMA].size[0] != c || a[GAMMA].size[1] != c) return "gamma must be int16[channels, channels]";
    if (!ic_within(&a[GAMMA], 0, 32767)) return "gamma must not be negative";
    if (!ic_vector(&a[BETA], c, 1, IC_NORM_LIMIT - 1)) return "beta must be int32[channels], 1..2^30 - 1";
    if (!ic_vector(&a[NUMERATOR], c, 0, IC_NORM_LIMIT)) return "numerator must be int32[channels], 0..2^30";
    if (!ic_vector(&a[SHIFT], c, 1, 30)) return "shift must be uint8[channels], 1..30";
    if (p->number[SQUARE_SHIFT] < 0 || p->number[SQUARE_SHIFT] > 15) return "square_shift must be 0..15";
    return p->in[0].lo <= -32768 || p->in[0].hi > 32767 ? "input does not fit int16" : NULL;
}

static IcTensor out(const IcParams *p) { return (IcTensor){p->in[0].channels, p->number[LO], p->number[HI]}; }

static IcBound bound(const IcParams *p) {
    const IcArray *a = p->array;
    const int32_t *beta = a[BETA].data, *numerator = a[NUMERATOR].data;
    const int c = p->in[0].channels, shift = p->number[SQUARE_SHIFT];
    const int64_t x = ic_magnitude(p->in[0]), q = (x * x + ic_half(shift)) >> shift;
    int64_t norm = 0, digits = 0, factor = 0;
    if (q >= 1 << 15) return (IcBound){q, 1 << 15, "squares"};
    for (int j = 0; j < c; j++) {
        const IcSums sums = ic_sums((const int16_t *)a[GAMMA].data + (size_t)j * c, (size_t)c);
        const int64_t plain = beta[j] + q * sums.plain, wide = beta[j] + ic_digits(0, (int32_t)q) * sums.digits;
        const int64_t quotient = numerator[j] / ic_isqrt(beta[j]);
        norm = plain > norm ? plain : norm;
        digits = wide > digits ? wide : digits;
        factor = quotient > factor ? quotient : factor;
    }
    if (norm >= IC_NORM_LIMIT) return (IcBound){norm, IC_NORM_LIMIT, "norm"};
    if (digits >= IC_ACC_LIMIT) return (IcBound){digits, IC_ACC_LIMIT, "norm in digits"};
    if (p->number[INVERSE]) factor = ic_isqrt((int32_t)norm);
    const int64_t product = x * factor + ic_half(ic_largest(&a[SHIFT]));
    if (product >= IC_ACC_LIMIT) return (IcBound){product, IC_ACC_LIMIT, "product"};
    norm = digits > norm ? digits : norm;
    return (IcBound){product > norm ? product : norm, IC_ACC_LIMIT, ""};
}

static IcCost cost(const IcParams *p) { return ic_matrix_cost(&p->array[GAMMA]); }

static void pack(IcRow *row, const IcParams *p) {
    const IcArray *a = p->array;
    const int32_t *n = p->number;
    const int c = p->in[0].channels;
    const IcKernel k = {a[GAMMA].data, a[BETA].data, NULL, c, 1, 1, c};
    Gdn *gdn = row->state = ic_take(row, 1, sizeof *gdn);
    if (!gdn) return;
    *gdn = (Gdn){.square_shift = n[SQUARE_SHIFT], .inverse = n[INVERSE], .small = 1, .lo = n[LO], .hi = n[HI]};
    gdn->numerator = ic_take_wide(row, &a[NUMERATOR]);
    gdn->shift = ic_take_wide(row, &a[SHIFT]);
    gdn->half = ic_take_halves(row, &a[SHIFT]);
    for (int j = 0; j < c; j++)
        if (((const int32_t *)a[NUMERATOR].data)[j] / ic_isqrt(k.bias[j]) >= 1 << 19) gdn->small = 0;
    gdn->block = ic_pack_blocks(row, &k, ic_pack_direct, &gdn->blocks);
    if (gdn->block) row->work = ic_blocks_work(gdn->block, gdn->blocks);
}

static size_t whole_groups(int channels) { return ((size_t)channels + IC_GROUP - 1) / IC_GROUP * IC_GROUP; }

static size_t scratch(const IcRow *row, int width) {
    const size_t c = whole_groups(row->to.channels);
    (void)width;
    return (PIXELS + 1) * c * sizeof(int32_t) + PIXELS * c * sizeof(int16_t);
}

static Scratch place(const IcRow *row, void *memory) {
    const size_t c = whole_groups(row->to.channels);
    int32_t *norm = memory, *line = norm + PIXELS * c;
    return (Scratch){norm, line, (int16_t *)(line + c)};
}

/* The norms of n pixels of `channels` values each. */
static void norms(const IcRow *row, const int16_t *x, int n, const Scratch *s) {
    const Gdn *gdn = row->state;
    const int channels = row->to.channels;
    const ptrdiff_t even = (channels + 1) / 2 * 2, whole = (ptrdiff_t)whole_groups(channels);
    if (even == channels) row->isa->square(x, s->square, n * channels, gdn->square_shift);
    else
        for (int k = 0; k < n; k++) {
            row->isa->square(x + k * channels, s->square + k * even, channels, gdn->square_shift);
            s->square[k * even + channels] = 0;
        }
    int lane = 0;
    for (const IcBlock *b = gdn->block; b < gdn->block + gdn->blocks; lane += b++->groups * IC_GROUP) {
        const IcDot d = {
            .x = s->square,
            .x_pixel = even,
            .rows = 1,
            .pairs = b->pairs,
            .weight = b->weight,
            .bias = b->bias,
            .shift = b->shift,
            .lo = INT32_MIN,
            .hi = INT32_MAX,
            .out = s->norm + lane,
            .out_pixel = whole,
            .wide = 1,
        };
        row->isa->dot(&d, b->groups, n);
    }
}

static void line(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch) {
    const Gdn *gdn = row->state;
    const int channels = row->to.channels;
    const ptrdiff_t whole = (ptrdiff_t)whole_groups(channels);
    const int16_t *x = (const int16_t *)in->at;
    const Scratch s = place(row, scratch);
    IcRoots g = {
        .norm = s.norm,
        .norm_pixel = whole,
        .x_pixel = channels,
        .out_pixel = channels,
        .numerator = gdn->numerator,
        .shift = gdn->shift,
        .half = gdn->half,
        .lo = gdn->lo,
        .hi = gdn->hi,
        .inverse = gdn->inverse,
        .small = gdn->small,
        .channels = channels,
    };
    for (int at = 0; at < width; at += PIXELS, x += PIXELS * channels) {
        const int n = width - at < PIXELS ? width - at : PIXELS;
        norms(row, x, n, &s);
        if (out.type == IC_I16) {
            g.pixels = n;
            g.x = x;
            g.out = (int16_t *)out.at + (ptrdiff_t)at * channels;
            row->isa->roots(&g);
            continue;
        }
        for (int k = 0; k < n; k++) {
            for (int c = 0; c < channels; c++)
                s.line[c] = ic_gdn_value(x[k * channels + c], s.norm[k * whole + c], gdn->numerator[c], gdn->shift[c],
                                         gdn->lo, gdn->hi, gdn->inverse);
            ic_put(out, (ptrdiff_t)(at + k) * channels, s.line, channels);
        }
    }
}

const IcRowKind ic_kind_gdn = {
    .name = "gdn",
    .input = {"input"},
    .array = {{"gamma", IC_I16, 2}, {"beta", IC_I32, 1}, {"numerator", IC_I32, 1}, {"shift", IC_U8, 1}},
    .field = {{"square_shift", IC_INTEGER}, {"lo", IC_INTEGER}, {"hi", IC_INTEGER}, {"inverse", IC_BOOLEAN}},
    .in_place = 1,
    .check = check,
    .out = out,
    .bound = bound,
    .cost = cost,
    .pack = pack,
    .scratch = scratch,
    .line = line,
};
