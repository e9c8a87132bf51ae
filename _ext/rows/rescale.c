/* Change of scale by a shift per channel, of a value or of its magnitude (docs/arithmetic.md, rescale). */
#include "core/row.h"

enum { LO, HI, MAGNITUDE };

typedef struct {
    int32_t *shift, lo, hi, magnitude;
} Rescale;

static const char *check(const IcParams *p) {
    return ic_vector(p->array, p->in[0].channels, 0, 30) ? NULL : "shift must be uint8[channels], 0..30";
}

static IcTensor out(const IcParams *p) { return (IcTensor){p->in[0].channels, p->number[LO], p->number[HI]}; }

static IcBound bound(const IcParams *p) {
    return (IcBound){ic_magnitude(p->in[0]) + ic_half(ic_largest(p->array)), IC_ACC_LIMIT, ""};
}

static void pack(IcRow *row, const IcParams *p) {
    Rescale *r = row->state = ic_take(row, 1, sizeof *r);
    if (r) *r = (Rescale){ic_take_wide(row, p->array), p->number[LO], p->number[HI], p->number[MAGNITUDE]};
}

static void line(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch) {
    const Rescale r = *(const Rescale *)row->state; /* copies: no store can change them */
    const IcLine from = *in;
    const int channels = row->to.channels;
    int32_t *values = scratch;
    for (ptrdiff_t at = 0; at < (ptrdiff_t)width * channels; at += channels) {
        for (int c = 0; c < channels; c++) {
            const int32_t v = ic_get(from, at + c);
            const int32_t size = r.magnitude && v < 0 ? (int32_t)(0u - (uint32_t)v) : v;
            values[c] = ic_rescale(size, r.shift[c], r.lo, r.hi);
        }
        ic_put(out, at, values, channels);
    }
}

const IcRowKind ic_kind_rescale = {
    .name = "rescale",
    .input = {"input"},
    .array = {{"shift", IC_U8, 1}},
    .field = {{"lo", IC_INTEGER}, {"hi", IC_INTEGER}, {"magnitude", IC_BOOLEAN}},
    .check = check,
    .out = out,
    .bound = bound,
    .pack = pack,
    .scratch = ic_pixel_scratch,
    .line = line,
};
