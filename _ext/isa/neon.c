/* NEON (AArch64, every core): a register tile of 5 pixels by 16 lanes, smlal and smlal2 by element.
 *
 * Weights are `planar`: the 16 lanes of one input value lie together, and smlal multiplies 4 of them by one element of
 * the vector that holds a pixel's pair of inputs. 20 accumulators, 4 weight vectors and the
 * pairs fit 32 registers (gcc 12 spills two of 24).
 */
#include <string.h>

#include "kernels.h"

#ifdef IC_NEON
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

static int supported(void) { return 1; } /* part of every AArch64 */

INLINE int32x4_t finish(const IcDot *d, int32x4_t acc, const int32_t *shift) {
    int32x4_t r = vshlq_s32(acc, vnegq_s32(vld1q_s32(shift))); /* a negative left shift is an arithmetic right shift */
    r = vminq_s32(vmaxq_s32(r, vdupq_n_s32(d->lo)), vdupq_n_s32(d->hi));
    if (d->slope) {
        const int32x4_t product = vmulq_s32(r, vdupq_n_s32(d->slope));
        const int32x4_t leaky = vshrq_n_s32(vaddq_s32(product, vdupq_n_s32(1 << 15)), 16);
        r = vbslq_s32(vcltzq_s32(r), leaky, r);
    }
    return r;
}

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
            const int32x4_t value = finish(d, acc[p][v], d->shift + 4 * v);
            if (d->wide) vst1q_s32((int32_t *)at + 4 * v, value);
            else vst1_s16((int16_t *)at + 4 * v, vmovn_s32(value));
        }
    }
}

static void dot(const IcDot *d, int groups, int pixels) {
    const int16_t *x = d->x;
    char *out = d->out;
    const ptrdiff_t step = (d->wide ? 4 : 2) * d->out_pixel;
    (void)groups; /* always one */
    for (; pixels >= 5; pixels -= 5, x += 5 * d->x_pixel, out += 5 * step) tile(d, x, out, 5);
    for (; pixels >= 2; pixels -= 2, x += 2 * d->x_pixel, out += 2 * step) tile(d, x, out, 2);
    for (; pixels >= 1; pixels -= 1, x += 1 * d->x_pixel, out += 1 * step) tile(d, x, out, 1);
}

static void square(const int16_t *x, int16_t *q, int count, int shift) { ic_square_body(x, q, count, shift); }

/* A float estimate made smaller by 2^-20 is below the true root (itself below 2^15) by less than 1: its floor is right
 * or one too small, and one comparison says which. */
INLINE int32x4_t isqrt(int32x4_t n) {
    const int32x4_t r = vcvtq_s32_f32(vmulq_n_f32(vsqrtq_f32(vcvtq_f32_s32(n)), 1.0f - 0x1p-20f));
    const uint32x4_t low = vcgtq_s32(vmlsq_s32(n, r, r), vaddq_s32(r, r));
    return vsubq_s32(r, vreinterpretq_s32_u32(low)); /* a mask is -1 */
}

/* floor(k / r), in double, where truncation is exact: a quotient that is no integer is at least 2^-15 from one, and the
 * rounding of a quotient up to 2^30 is below 2^-22. */
INLINE int32x4_t divide(int32x4_t k, int32x4_t r) {
    const int64x2_t k0 = vmovl_s32(vget_low_s32(k)), r0 = vmovl_s32(vget_low_s32(r));
    const float64x2_t a = vdivq_f64(vcvtq_f64_s64(k0), vcvtq_f64_s64(r0));
    const float64x2_t b = vdivq_f64(vcvtq_f64_s64(vmovl_high_s32(k)), vcvtq_f64_s64(vmovl_high_s32(r)));
    return vcombine_s32(vmovn_s64(vcvtq_s64_f64(a)), vmovn_s64(vcvtq_s64_f64(b)));
}

static void roots(const IcRoots *g) {
    const int32x4_t lo = vdupq_n_s32(g->lo), hi = vdupq_n_s32(g->hi);
    int c = 0;
    for (; c + 4 <= g->channels; c += 4) {
        const int32x4_t right = vnegq_s32(vld1q_s32(g->shift + c)), half = vld1q_s32(g->half + c);
        const int32x4_t numerator = vld1q_s32(g->numerator + c);
        for (int p = 0; p < g->pixels; p++) {
            int32x4_t m = isqrt(vld1q_s32(g->norm + p * g->norm_pixel + c));
            if (!g->inverse) m = divide(numerator, m);
            const int32x4_t x = vmovl_s16(vld1_s16(g->x + p * g->x_pixel + c));
            const int32x4_t y = vshlq_s32(vmlaq_s32(half, x, m), right);
            vst1_s16(g->out + p * g->out_pixel + c, vmovn_s32(vminq_s32(vmaxq_s32(y, lo), hi)));
        }
    }
    ic_roots_tail(g, c);
}

static void add(const IcPair *g) { IC_PAIR_BODY(g, ic_sum); }
static void gate(const IcPair *g) { IC_PAIR_BODY(g, ic_product); }
static void index_of(int32_t *v, int count, const int32_t *threshold, int thresholds) {
    ic_index_body(v, count, threshold, thresholds);
}

#define TARGET
#define VECTOR 16
#include "flow_rows.h"
#define FINISH(d, v, shift) finish(d, (int32x4_t)(v), shift)
#define NARROW(at, v) vst1_s16(at, vmovn_s32((int32x4_t)(v)))
#include "tiles.h"

const IcIsa ic_neon = {"neon", IC_GROUP, 1, supported, dot, square, roots, add, gate, index_of,
                            tile_in, tile_out, &flow_loops};
#endif
