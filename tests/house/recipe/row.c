/* The opposite of every value (docs/arithmetic.md, negate). */
#include "core/row.h"

static const char *check(const IcParams *p) { return ic_magnitude(p->in[0]) < 32768 ? NULL : "input must fit int16"; }

static IcTensor out(const IcParams *p) { return (IcTensor){p->in[0].channels, -p->in[0].hi, -p->in[0].lo}; }

static IcBound bound(const IcParams *p) { return (IcBound){ic_magnitude(p->in[0]), IC_ACC_LIMIT, ""}; }

static void line(const IcRow *row, const IcLine *in, IcLine out, int width, void *scratch) {
    (void)scratch;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)width * row->to.channels; i++) {
        const int32_t v = -ic_get(*in, i);
        ic_put(out, i, &v, 1);
    }
}

const IcRowKind ic_kind_negate = {
    .name = "negate", .input = {"input"}, .check = check, .out = out, .bound = bound, .line = line,
};
