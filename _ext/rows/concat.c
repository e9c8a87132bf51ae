/* The channels of one tensor, then those of another (docs/arithmetic.md, concat). */
#include "core/row.h"

static const char *check(const IcParams *p) {
    return ic_type(p->in[0]) != IC_I16 || ic_type(p->in[1]) != IC_I16 ? "both tensors must be int16" : NULL;
}

static IcTensor out(const IcParams *p) {
    const IcTensor a = p->in[0], b = p->in[1];
    return (IcTensor){a.channels + b.channels, a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
}

static IcBound bound(const IcParams *p) { return (IcBound){ic_magnitude(out(p)), IC_ACC_LIMIT, ""}; }

static void line(const IcRow *row, const IcLine *in, IcLine to, int width, void *scratch) {
    const int a = row->from[0].channels, b = row->from[1].channels;
    const int16_t *left = (const int16_t *)in[0].at, *right = (const int16_t *)in[1].at;
    int16_t *out = (int16_t *)to.at;
    (void)scratch;
    for (int x = 0; x < width; x++, left += a, right += b, out += a + b) {
        memcpy(out, left, (size_t)a * sizeof *out);
        memcpy(out + a, right, (size_t)b * sizeof *out);
    }
}

const IcRowKind ic_kind_concat = {
    .name = "concat",
    .input = {"input", "other"},
    .check = check,
    .out = out,
    .bound = bound,
    .line = line,
};
