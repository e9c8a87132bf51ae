/* WebAssembly simd128: a register tile of 4 pixels by 8 lanes, i32x4.dot_i16x8_s and i32x4.add.
 *
 * The dot instruction is SSE2's pmaddwd. 8 accumulators, 2 weight vectors, splats and products fit the 15 registers that
 * V8 hands out on x86; tiles of 10 or 12 accumulators are slower there. The 16 lanes of a block are two such tiles.
 * A module with these instructions is refused whole by a machine without them, so there is nothing to detect here.
 */
#include "isa/sets.h"

#ifdef IC_WASM
#include <wasm_simd128.h>

#define INLINE static inline __attribute__((always_inline))

static int supported(void) { return 1; }

/* Vectors shift all lanes alike only. floor(v / 2^s) is the high word of 2 * v * 2^(31 - s); the factor is kept negative
 * because -2^31 (s = 0) is an int32 and 2^31 is not. It is made as a float, whose exponent 31 - s is. */
INLINE v128_t factor(v128_t shift) {
    const v128_t exponent = wasm_i32x4_shl(wasm_i32x4_sub(wasm_i32x4_splat(127 + 31), shift), 23);
    return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_neg(exponent));
}

INLINE v128_t shift_right(v128_t v, v128_t by) {
    const v128_t low = wasm_i64x2_neg(wasm_i64x2_extmul_low_i32x4(v, by));
    const v128_t high = wasm_i64x2_neg(wasm_i64x2_extmul_high_i32x4(v, by));
    return wasm_i32x4_shuffle(wasm_i64x2_shl(low, 1), wasm_i64x2_shl(high, 1), 1, 3, 5, 7);
}

/* floor(k / r), in double, where truncation is exact: a quotient that is no integer is at least 2^-15 from one, and the
 * rounding of a quotient up to 2^30 is below 2^-22. */
INLINE v128_t divide(v128_t k, v128_t r, int small) {
    (void)small;
    const v128_t k1 = wasm_i32x4_shuffle(k, k, 2, 3, 2, 3), r1 = wasm_i32x4_shuffle(r, r, 2, 3, 2, 3);
    const v128_t a = wasm_f64x2_div(wasm_f64x2_convert_low_i32x4(k), wasm_f64x2_convert_low_i32x4(r));
    const v128_t b = wasm_f64x2_div(wasm_f64x2_convert_low_i32x4(k1), wasm_f64x2_convert_low_i32x4(r1));
    return wasm_i32x4_shuffle(wasm_i32x4_trunc_sat_f64x2_zero(a), wasm_i32x4_trunc_sat_f64x2_zero(b), 0, 1, 4, 5);
}

#define TARGET
#define VECTOR 16
#define SHIFTS(at) ((Ints)factor(wasm_v128_load(at)))
#define SHIFT(v, by) ((Ints)shift_right((v128_t)(v), (v128_t)(by)))
#define CLAMP(v, lo, hi) \
    ((Ints)wasm_i32x4_min(wasm_i32x4_max((v128_t)(v), wasm_i32x4_splat(lo)), wasm_i32x4_splat(hi)))
#define NEGATIVE(v, a, b) ((Ints)wasm_v128_bitselect((v128_t)(a), (v128_t)(b), (v128_t)((v) >> 31)))
#define NARROW(at, v) wasm_v128_store64_lane(at, wasm_i16x8_narrow_i32x4((v128_t)(v), (v128_t)(v)), 0)
#define WIDEN(at) ((Ints)wasm_i32x4_load16x4(at))
#define ESTIMATE(n) ((Ints)wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_mul( \
    wasm_f32x4_sqrt(wasm_f32x4_convert_i32x4((v128_t)(n))), wasm_f32x4_splat(1.0f - 0x1p-20f))))
#define QUOTIENT(k, r, small) ((Ints)divide((v128_t)(k), (v128_t)(r), small))
#define PRODUCT15(x, m) ((Ints)((Word)(x) * (Word)(m)))
#include "isa/loops.h"
#include "isa/vector.h"

INLINE void tile(const IcDot *d, const int16_t *x, int lane, char *out, const int pixels) {
    v128_t acc[4][2];
    const int16_t *weight = d->weight + 2 * lane;
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++) {
        acc[p][0] = wasm_v128_load(d->bias + lane);
        acc[p][1] = wasm_v128_load(d->bias + lane + 4);
    }
    for (int r = 0; r < d->rows; r++, x += d->x_row) {
        const int16_t *from = x;
        for (int k = d->pairs; k > 0; k--, weight += 2 * IC_GROUP, from += 2) {
            const v128_t w0 = wasm_v128_load(weight), w1 = wasm_v128_load(weight + 8);
#pragma GCC unroll 4
            for (int p = 0; p < pixels; p++) {
                const v128_t pair = wasm_v128_load32_splat(from + p * d->x_pixel);
                acc[p][0] = wasm_i32x4_add(acc[p][0], wasm_i32x4_dot_i16x8(w0, pair));
                acc[p][1] = wasm_i32x4_add(acc[p][1], wasm_i32x4_dot_i16x8(w1, pair));
            }
        }
    }
    const Ints by0 = SHIFTS(d->shift + lane), by1 = SHIFTS(d->shift + lane + 4);
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++) {
        const v128_t a = (v128_t)finish(d, (Ints)acc[p][0], by0), b = (v128_t)finish(d, (Ints)acc[p][1], by1);
        char *at = out + (d->wide ? 4 : 2) * (p * d->out_pixel + lane);
        if (d->wide) wasm_v128_store(at, a), wasm_v128_store(at + 16, b);
        else wasm_v128_store(at, wasm_i16x8_narrow_i32x4(a, b));
    }
}

static void dot(const IcDot *d, int groups, int pixels) {
    const int16_t *x = d->x;
    char *out = d->out;
    (void)groups; /* always one */
    EACH(4, for (int lane = 0; lane < IC_GROUP; lane += 8) tile(d, x, lane, out, 4));
    EACH(1, for (int lane = 0; lane < IC_GROUP; lane += 8) tile(d, x, lane, out, 1));
}

const IcIsa ic_wasm = {"simd128", IC_GROUP, 0, supported, dot, .roots = roots, .tile_in = tile_in, .tile_out = tile_out,
                       .gate = gate_plain, LOOPS};
#endif
