/* A tensor weighted by a tabulated function of another (docs/arithmetic.md, gate). */
#include "rows/pair.h"

enum { TABLE, SHIFT };
enum { LO, HI };

static const char *check(const IcParams *p) {
    const char *wrong = ic_pair_check(p, &p->array[SHIFT]);
    if (wrong) return wrong;
    const int64_t values = (int64_t)p->in[1].hi - p->in[1].lo + 1;
    return ic_vector(&p->array[TABLE], values, 0, 32767) ? NULL : "table must have a value for each of the other tensor";
}

static IcTensor out(const IcParams *p) { return (IcTensor){p->in[0].channels, p->number[LO], p->number[HI]}; }

static IcBound bound(const IcParams *p) {
    const int64_t product = ic_magnitude(p->in[0]) * ic_largest(&p->array[TABLE]);
    return (IcBound){product + ic_half(ic_largest(&p->array[SHIFT])), IC_ACC_LIMIT, ""};
}

static void pack(IcRow *row, const IcParams *p) {
    IcPair *pair = ic_pair_pack(row, &p->array[SHIFT], p->number[LO], p->number[HI]);
    if (!pair) return;
    pair->table = ic_take_wide(row, &p->array[TABLE]);
    pair->table_lo = p->in[1].lo, pair->table_last = p->array[TABLE].size[0] - 1;
}

static void line(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch) {
    ic_pair_line(row, row->isa->gate, in, out, width, scratch);
}

const IcRowKind ic_kind_gate = {
    .name = "gate",
    .input = {"input", "other"},
    .array = {{"table", IC_I16, 1}, {"shift", IC_U8, 1}},
    .field = {{"lo", IC_INTEGER}, {"hi", IC_INTEGER}},
    .check = check,
    .out = out,
    .bound = bound,
    .pack = pack,
    .scratch = ic_pixel_scratch,
    .line = line,
};
