/* The scalar set: plain C, integers only, the truth that every other set is compared with. */
#include "isa/sets.h"

#define TARGET
#include "isa/loops.h"

static int supported(void) { return 1; }

static int32_t finish(int32_t acc, int32_t shift, const IcDot *d) {
    int32_t v = ic_clamp(ic_sar(acc, shift), d->lo, d->hi);
    if (d->slope && v < 0) v = ic_sar(v * d->slope + (1 << 15), 16);
    return v;
}

/* One pixel, 16 lanes. Weights are `planar`, so that compilers turn the inner loops into widening vector products. */
static void dot1(const IcDot *d, const int16_t *x, int lane, int lanes, int32_t *out) {
    const int16_t *w = d->weight + lane;
    int32_t acc[IC_GROUP];
    memcpy(acc, d->bias + lane, sizeof acc);
    for (int r = 0; r < d->rows; r++, x += d->x_row)
        for (int k = 0; k < 2 * d->pairs; k++, w += lanes) {
            const int16_t value = x[k];
            for (int i = 0; i < IC_GROUP; i++) acc[i] = ic_add(acc[i], w[i] * value);
        }
    memcpy(out, acc, sizeof acc);
}

static void dot(const IcDot *d, int groups, int pixels) {
    int32_t acc[IC_GROUP];
    for (int p = 0; p < pixels; p++)
        for (int lane = 0; lane < groups * IC_GROUP; lane += IC_GROUP) {
            const ptrdiff_t at = p * d->out_pixel + lane;
            dot1(d, d->x + p * d->x_pixel, lane, groups * IC_GROUP, acc);
            for (int i = 0; i < IC_GROUP; i++) acc[i] = finish(acc[i], d->shift[lane + i], d);
            if (d->wide) memcpy((int32_t *)d->out + at, acc, sizeof acc);
            else
                for (int i = 0; i < IC_GROUP; i++) ((int16_t *)d->out)[at + i] = (int16_t)acc[i];
        }
}

static void roots(const IcRoots *g) { roots_from(g, 0); }

/* Without Winograd: the plain sum over all taps is what the others are compared with. */
const IcIsa ic_scalar = {"scalar",   .lanes = IC_GROUP, .planar = 1,        .supported = supported,
                         .dot = dot, .roots = roots,    .gate = gate_plain, LOOPS};
