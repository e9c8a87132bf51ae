/* Sum of two tensors whose scales differ by powers of two (docs/arithmetic.md, add). */
#include "rows/pair.h"

enum { INPUT_SHIFT, OTHER_SHIFT, SHIFT };
enum { LO, HI };

static const char *check(const IcParams *p) {
    for (int i = INPUT_SHIFT; i <= OTHER_SHIFT; i++)
        if (!ic_vector(&p->array[i], p->in[0].channels, 0, 15))
            return "input_shift and other_shift must be uint8[channels], 0..15";
    return ic_pair_check(p, &p->array[SHIFT]);
}

static IcTensor out(const IcParams *p) { return (IcTensor){p->in[0].channels, p->number[LO], p->number[HI]}; }

static IcBound bound(const IcParams *p) {
    const int64_t a = ic_magnitude(p->in[0]) << ic_largest(&p->array[INPUT_SHIFT]);
    const int64_t b = ic_magnitude(p->in[1]) << ic_largest(&p->array[OTHER_SHIFT]);
    return (IcBound){a + b + ic_half(ic_largest(&p->array[SHIFT])), IC_ACC_LIMIT, ""};
}

static void pack(IcRow *row, const IcParams *p) {
    IcPair *pair = ic_pair_pack(row, &p->array[SHIFT], p->number[LO], p->number[HI]);
    if (!pair) return;
    pair->a_shift = ic_take_wide(row, &p->array[INPUT_SHIFT]);
    pair->b_shift = ic_take_wide(row, &p->array[OTHER_SHIFT]);
}

static void line(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch) {
    ic_pair_line(row, row->isa->add, in, out, width, scratch);
}

const IcRowKind ic_kind_add = {
    .name = "add",
    .input = {"input", "other"},
    .array = {{"input_shift", IC_U8, 1}, {"other_shift", IC_U8, 1}, {"shift", IC_U8, 1}},
    .field = {{"lo", IC_INTEGER}, {"hi", IC_INTEGER}},
    .check = check,
    .out = out,
    .bound = bound,
    .pack = pack,
    .scratch = ic_pixel_scratch,
    .line = line,
};
