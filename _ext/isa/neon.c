/* NEON (AArch64, every core): a register tile of 5 pixels by 16 lanes, smlal and smlal2 by element.
 *
 * Weights are `planar`: the 16 lanes of one input value lie together, and smlal multiplies 4 of them by one element of
 * the vector that holds a pixel's pair of inputs. 20 accumulators, 4 weight vectors and the
 * pairs fit 32 registers (gcc 12 spills two of 24).
 */
#include "isa/sets.h"

#ifdef IC_NEON
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

static int supported(void) { return 1; } /* part of every AArch64 */

/* floor(k / r), in double, where truncation is exact: a quotient that is no integer is at least 2^-15 from one, and the
 * rounding of a quotient up to 2^30 is below 2^-22. */
INLINE int32x4_t divide(int32x4_t k, int32x4_t r, int small) {
    (void)small;
    const int64x2_t k0 = vmovl_s32(vget_low_s32(k)), r0 = vmovl_s32(vget_low_s32(r));
    const float64x2_t a = vdivq_f64(vcvtq_f64_s64(k0), vcvtq_f64_s64(r0));
    const float64x2_t b = vdivq_f64(vcvtq_f64_s64(vmovl_high_s32(k)), vcvtq_f64_s64(vmovl_high_s32(r)));
    return vcombine_s32(vmovn_s64(vcvtq_s64_f64(a)), vmovn_s64(vcvtq_s64_f64(b)));
}

#define TARGET
#define VECTOR 16
#define SHIFTS(at) ((Ints)vnegq_s32(vld1q_s32(at))) /* a negative left shift is an arithmetic right shift */
#define SHIFT(v, by) ((Ints)vshlq_s32((int32x4_t)(v), (int32x4_t)(by)))
#define CLAMP(v, lo, hi) ((Ints)vminq_s32(vmaxq_s32((int32x4_t)(v), vdupq_n_s32(lo)), vdupq_n_s32(hi)))
#define NEGATIVE(v, a, b) ((Ints)vbslq_s32(vcltzq_s32((int32x4_t)(v)), (int32x4_t)(a), (int32x4_t)(b)))
#define NARROW(at, v) vst1_s16(at, vmovn_s32((int32x4_t)(v)))
#define WIDEN(at) ((Ints)vmovl_s16(vld1_s16(at)))
#define ESTIMATE(n) \
    ((Ints)vcvtq_s32_f32(vmulq_n_f32(vsqrtq_f32(vcvtq_f32_s32((int32x4_t)(n))), 1.0f - 0x1p-20f)))
#define QUOTIENT(k, r, small) ((Ints)divide((int32x4_t)(k), (int32x4_t)(r), small))
#define PRODUCT15(x, m) ((Ints)((Word)(x) * (Word)(m)))
#include "isa/loops.h"
#include "isa/vector.h"

/* The pair of inputs at any int16 address, as elements 0 and 1. */
INLINE int16x4_t pair_at(const int16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return vreinterpret_s16_s32(vdup_n_s32(pair));
}

INLINE void tile(const IcDot *d, const int16_t *x, char *out, const int pixels) {
    int32x4_t acc[5][4];
    const int16_t *weight = d->weight;
#pragma GCC unroll 5
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) acc[p][v] = vld1q_s32(d->bias + 4 * v);
    for (int r = 0; r < d->rows; r++, x += d->x_row)
        for (int k = 0; k < d->pairs; k++, weight += 32) {
            const int16x8_t w0 = vld1q_s16(weight), w1 = vld1q_s16(weight + 8);
            const int16x8_t u0 = vld1q_s16(weight + 16), u1 = vld1q_s16(weight + 24);
#pragma GCC unroll 5
            for (int p = 0; p < pixels; p++) {
                const int16x4_t b = pair_at(x + p * d->x_pixel + 2 * k);
                acc[p][0] = vmlal_lane_s16(acc[p][0], vget_low_s16(w0), b, 0);
                acc[p][1] = vmlal_high_lane_s16(acc[p][1], w0, b, 0);
                acc[p][2] = vmlal_lane_s16(acc[p][2], vget_low_s16(w1), b, 0);
                acc[p][3] = vmlal_high_lane_s16(acc[p][3], w1, b, 0);
                acc[p][0] = vmlal_lane_s16(acc[p][0], vget_low_s16(u0), b, 1);
                acc[p][1] = vmlal_high_lane_s16(acc[p][1], u0, b, 1);
                acc[p][2] = vmlal_lane_s16(acc[p][2], vget_low_s16(u1), b, 1);
                acc[p][3] = vmlal_high_lane_s16(acc[p][3], u1, b, 1);
            }
        }
#pragma GCC unroll 5
    for (int p = 0; p < pixels; p++) {
        char *at = out + (d->wide ? 4 : 2) * p * d->out_pixel;
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            const Ints value = finish(d, (Ints)acc[p][v], SHIFTS(d->shift + 4 * v));
            if (d->wide) vst1q_s32((int32_t *)at + 4 * v, (int32x4_t)value);
            else NARROW((int16_t *)at + 4 * v, value);
        }
    }
}

static void dot(const IcDot *d, int groups, int pixels) {
    const int16_t *x = d->x;
    char *out = d->out;
    (void)groups; /* always one */
    EACH(5, tile(d, x, out, 5));
    EACH(2, tile(d, x, out, 2));
    EACH(1, tile(d, x, out, 1));
}

const IcIsa ic_neon = {"neon", IC_GROUP, 1, supported, dot, .roots = roots, .tile_in = tile_in, .tile_out = tile_out,
                       .gate = gate_plain, LOOPS};
#endif
