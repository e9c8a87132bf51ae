/* The CDF row of a scale: how many thresholds are below it (docs/arithmetic.md, scale_index). */
#include "core/row.h"

static const char *check(const IcParams *p) {
    const IcArray *thresholds = p->array;
    const int32_t *t = thresholds->data;
    if (thresholds->size[0] > 255) return "at most 255 thresholds";
    if (!ic_within(thresholds, p->in[0].lo, p->in[0].hi)) return "a threshold is outside the input's range";
    for (int k = 1; k < thresholds->size[0]; k++)
        if (t[k] < t[k - 1]) return "thresholds must ascend";
    return p->in[0].lo < 0 ? "a scale must not be negative" : NULL;
}

static IcTensor out(const IcParams *p) { return (IcTensor){p->in[0].channels, 0, p->array->size[0]}; }

static IcBound bound(const IcParams *p) { return (IcBound){ic_magnitude(p->in[0]), IC_ACC_LIMIT, ""}; }

static void pack(IcRow *row, const IcParams *p) { row->state = ic_take_wide(row, p->array); }

static void line(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch) {
    const int channels = row->to.channels;
    const IcLine from = *in; /* a copy: no store can change it */
    int32_t *values = scratch;
    for (ptrdiff_t at = 0; at < (ptrdiff_t)width * channels; at += channels) {
        for (int c = 0; c < channels; c++) values[c] = ic_get(from, at + c);
        row->isa->index(values, channels, row->state, row->to.hi);
        ic_put(out, at, values, channels);
    }
}

const IcRowKind ic_kind_scale_index = {
    .name = "scale_index",
    .input = {"input"},
    .array = {{"thresholds", IC_I32, 1}},
    .check = check,
    .out = out,
    .bound = bound,
    .pack = pack,
    .scratch = ic_pixel_scratch,
    .line = line,
};
