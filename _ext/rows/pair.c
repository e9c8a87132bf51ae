#include "rows/pair.h"

const char *ic_pair_check(const IcParams *p, const IcArray *shift) {
    if (p->in[0].channels != p->in[1].channels) return "the two tensors have different numbers of channels";
    if (ic_magnitude(p->in[0]) >= 1 << 15 || ic_magnitude(p->in[1]) >= 1 << 15) return "inputs do not fit int16";
    return ic_vector(shift, p->in[0].channels, 0, 30) ? NULL : "shift must be uint8[channels], 0..30";
}

IcPair *ic_pair_pack(IcRow *row, const IcArray *shift, int32_t lo, int32_t hi) {
    IcPair *pair = row->state = ic_take(row, 1, sizeof *pair);
    if (!pair) return NULL;
    *pair = (IcPair){.lo = lo, .hi = hi, .channels = row->to.channels};
    pair->shift = ic_take_wide(row, shift);
    pair->half = ic_take_halves(row, shift);
    return pair;
}

void ic_pair_line(const IcRow *row, void (*work)(const IcPair *), const IcLine *in, IcLine out, int width,
                  void *scratch) {
    IcPair pair = *(const IcPair *)row->state;
    const int channels = pair.channels;
    pair.a = (const int16_t *)in[0].at, pair.b = (const int16_t *)in[1].at;
    if (out.type == IC_I16) pair.out16 = (int16_t *)out.at;
    else pair.out32 = out.type == IC_I32 ? (int32_t *)out.at : scratch;
    if (out.type != IC_U8) {
        pair.pixels = width;
        work(&pair);
        return;
    }
    pair.pixels = 1;
    for (ptrdiff_t at = 0; at < (ptrdiff_t)width * channels; at += channels, pair.a += channels, pair.b += channels) {
        work(&pair);
        ic_put(out, at, scratch, channels);
    }
}
