/* Convolution, requantised by a shift per channel, with LeakyReLU and pixel shuffle (docs/arithmetic.md, conv). */
#include "rows/winograd.h"

enum { WEIGHT, BIAS, SHIFT };
enum { LO, HI, STRIDE, PAD, UPSAMPLE = PAD + 4, SLOPE };
enum { TOP = PAD, LEFT, BOTTOM, RIGHT };
enum { OUT, ROWS, COLUMNS, IN };

/* Pixels that pass through the scratch memory at a time, a multiple of every tile's width. */
enum { PIXELS = 48 };

static const char *check(const IcParams *p) {
    const int32_t *n = p->number, *size = p->array[WEIGHT].size;
    const int up = n[UPSAMPLE];
    if (size[OUT] < 1 || size[IN] != p->in[0].channels) return "the weight has no outputs, or another number of inputs";
    if (size[ROWS] < 1 || size[ROWS] > 15 || size[COLUMNS] < 1 || size[COLUMNS] > 15) return "kernel side must be 1..15";
    if (!ic_within(&p->array[WEIGHT], -32767, 32767)) return "weight -32768 is not allowed";
    if (p->in[0].lo <= -32768 || p->in[0].hi > 32767) return "input does not fit int16";
    if (!ic_vector(&p->array[BIAS], size[OUT], 1 - IC_ACC_LIMIT, IC_ACC_LIMIT - 1)) return "bad bias";
    if (!ic_vector(&p->array[SHIFT], size[OUT], 0, 30)) return "shift must be uint8[out], 0..30";
    if (n[STRIDE] != 1 && n[STRIDE] != 2) return "stride must be 1 or 2";
    if ((up != 1 && up != 2) || size[OUT] % (up * up)) return "bad upsample";
    for (int i = TOP; i <= RIGHT; i++)
        if (n[i] < 0 || n[i] > 14) return "pad must be 0..14";
    if (n[SLOPE] < 0 || n[SLOPE] > 65535) return "slope must be 0..65535";
    if (n[SLOPE] && (n[LO] < -32768 || n[HI] > 32767)) return "LeakyReLU needs an int16 range";
    return NULL;
}

static IcTensor out(const IcParams *p) {
    const int32_t *n = p->number, up = n[UPSAMPLE];
    const int32_t leaky = n[SLOPE] ? ic_sar(n[LO] * n[SLOPE] + (1 << 15), 16) : n[LO];
    return (IcTensor){p->array[WEIGHT].size[OUT] / (up * up), n[SLOPE] && leaky > 0 ? 0 : leaky, n[HI]};
}

static IcGeometry geometry(const IcParams *p) {
    const int32_t *n = p->number, *size = p->array[WEIGHT].size;
    return (IcGeometry){size[ROWS], size[COLUMNS], n[STRIDE], n[UPSAMPLE], n[TOP], n[LEFT], n[BOTTOM], n[RIGHT]};
}

static IcBound bound(const IcParams *p) {
    const IcArray *weight = &p->array[WEIGHT];
    const size_t run = ic_count(weight) / (size_t)weight->size[OUT];
    const int64_t x = ic_magnitude(p->in[0]), x_digits = ic_digits(p->in[0].lo, p->in[0].hi);
    int64_t worst = 0;
    for (int o = 0; o < weight->size[OUT]; o++) {
        const IcSums sums = ic_sums((const int16_t *)weight->data + (size_t)o * run, run);
        const int64_t b = ((const int32_t *)p->array[BIAS].data)[o], bias = b < 0 ? -b : b;
        const int64_t plain = bias + x * sums.plain, digits = bias + x_digits * sums.digits;
        worst = plain > worst ? plain : worst;
        worst = digits > worst ? digits : worst;
    }
    return (IcBound){worst, IC_ACC_LIMIT, ""};
}

static IcCost cost(const IcParams *p) { return ic_matrix_cost(&p->array[WEIGHT]); }

static void pack(IcRow *row, const IcParams *p) {
    const IcArray *a = p->array;
    const int32_t *n = p->number, *size = a[WEIGHT].size;
    const IcKernel k = {a[WEIGHT].data, a[BIAS].data, a[SHIFT].data, size[OUT], size[ROWS], size[COLUMNS], size[IN]};
    IcConv *conv = row->state = ic_take(row, 1, sizeof *conv);
    if (!conv) return;
    *conv = (IcConv){.lo = n[LO], .hi = n[HI], .slope = n[SLOPE]};
    ic_winograd_choose(row, conv, &k);
    conv->block = ic_pack_blocks(row, &k, conv->across ? ic_winograd_pack : ic_pack_direct, &conv->blocks);
    if (!conv->block) return;
    row->work = ic_blocks_work(conv->block, conv->blocks);
    row->parts = conv->blocks;
    row->tall = conv->across ? 2 : 1;
}

static size_t scratch(const IcRow *row, int width) {
    const IcConv *conv = row->state;
    (void)width;
    return conv->across ? ic_winograd_scratch(row) : sizeof(int32_t) * PIXELS * (size_t)row->isa->lanes;
}

/* One block of one row of outputs. */
static void run_block(const IcRow *row, const IcBlock *b, const IcStrip *s, int y) {
    const IcConv *conv = row->state;
    const IcGeometry *g = &row->geometry;
    const IcView *in = s->in[0], *out = s->out;
    const int lanes = b->groups * IC_GROUP, width = out->width / g->up;
    const int pixel = g->up * out->channels; /* elements from one pixel's outputs to the next's */
    const IcLine to[2] = {ic_line(out, y * g->up), ic_line(out, y * g->up + g->up - 1)};
    IcDot d = {
        .x = (const int16_t *)ic_line(in, y * g->stride - g->top + b->ky).at +
             (ptrdiff_t)(b->kx - g->left) * in->channels,
        .x_pixel = (ptrdiff_t)g->stride * in->channels,
        .x_row = in->pitch,
        .rows = b->rows,
        .pairs = b->pairs,
        .tap_pairs = g->stride == 1 && in->channels % 2 == 0 ? in->channels / 2 : 0,
        .weight = b->weight,
        .bias = b->bias,
        .shift = b->shift,
        .lo = conv->lo,
        .hi = conv->hi,
        .slope = conv->slope,
        .wide = out->type == IC_I32,
    };
    if (b->spans == 1 && b->span[0].length == lanes && out->type != IC_U8) {
        d.out = to[b->span[0].y].at + b->span[0].offset * (ptrdiff_t)ic_size(out->type);
        d.out_pixel = pixel;
        row->isa->dot(&d, b->groups, width);
        return;
    }
    d.out = s->scratch;
    d.out_pixel = lanes;
    for (int x = 0; x < width; x += PIXELS, d.x += PIXELS * d.x_pixel) {
        const int n = width - x < PIXELS ? width - x : PIXELS;
        row->isa->dot(&d, b->groups, n);
        for (int i = 0; i < b->spans; i++)
            for (int k = 0; k < n; k++)
                ic_store_span(to[b->span[i].y], (ptrdiff_t)(x + k) * pixel, &b->span[i],
                              (char *)s->scratch + (d.wide ? 4 : 2) * k * lanes, d.wide);
    }
}

static void run(const IcRow *row, const IcStrip *s) {
    const IcConv *conv = row->state;
    const int b0 = conv->blocks * s->part / s->parts, b1 = conv->blocks * (s->part + 1) / s->parts;
    if (conv->across) ic_winograd_run(row, s, b0, b1);
    else
        for (int b = b0; b < b1; b++)
            for (int y = s->from; y < s->to; y++) run_block(row, &conv->block[b], s, y);
}

const IcRowKind ic_kind_conv = {
    .name = "conv",
    .input = {"input"},
    .array = {{"weight", IC_I16, 4}, {"bias", IC_I32, 1}, {"shift", IC_U8, 1}},
    .field = {{"lo", IC_INTEGER},
              {"hi", IC_INTEGER},
              {"stride", IC_INTEGER},
              {"pad", IC_FOUR_INTEGERS},
              {"upsample", IC_INTEGER},
              {"slope", IC_INTEGER}},
    .check = check,
    .out = out,
    .geometry = geometry,
    .bound = bound,
    .cost = cost,
    .pack = pack,
    .scratch = scratch,
    .run = run,
};
