/* AVX-512 VNNI: a register tile of up to 24 accumulators, one vpdpwssd per 32 multiply-adds.
 *
 * Tile shapes (pixels x groups of 16 lanes): 6x4, 8x3, 12x2, 12x1, and smaller ones for what is left of a row. Per
 * pair of inputs a 6x4 tile issues 4 weight loads, 6 broadcast loads and 24 vpdpwssd: the two multiplier ports are the
 * limit, not the load ports (vpdpwssd with an embedded broadcast would need 28 loads).
 *
 * The accumulators go through inline assembly because gcc 12 spills every one of them around _mm512_dpwssd_epi32.
 */
#include "isa/sets.h"

#ifdef IC_X86
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define INLINE static inline TARGET __attribute__((always_inline))
#define REGISTER __m512i
#include "isa/x86.h"

static int supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

/* isqrt. One Newton step brings the 14-bit estimate of 1 / sqrt(n) to a relative error below 2^-21, so n times it, made
 * smaller by 2^-19, is below the true root (itself below 2^15) by less than 1: its floor is right or one too small, and
 * one comparison says which: n - r * r > 2 * r. n is at least 1. Whatever bits the estimate has on another processor,
 * the result is the same. */
INLINE __m512i isqrt(__m512i n) {
    const __m512 f = _mm512_cvtepi32_ps(n), e = _mm512_rsqrt14_ps(f), r0 = _mm512_mul_ps(f, e);
    const __m512 half = _mm512_mul_ps(e, _mm512_set1_ps(0.5f));
    const __m512 step = _mm512_fnmadd_ps(r0, half, _mm512_set1_ps(0.5f - 0x1p-19f));
    const __m512i r = _mm512_cvttps_epi32(_mm512_fmadd_ps(r0, step, r0));
    const __m512i rest = _mm512_sub_epi32(n, _mm512_madd_epi16(r, r)); /* r < 2^15: the low halves give r * r */
    const __mmask16 low = _mm512_cmpgt_epi32_mask(rest, _mm512_add_epi32(r, r));
    return _mm512_mask_add_epi32(r, low, r, _mm512_set1_epi32(1));
}

/* floor(k / r). Quotients below 2^19: the float quotient, its relative error below 2^-22, made smaller by 2^-21, is
 * below the true one by less than 1; the remainder corrects it. Else in double, where truncation is exact: a quotient
 * that is no integer is at least 2^-15 from one, the rounding below 2^-22. */
INLINE __m512i divide(__m512i k, __m512i r, int small) {
    if (small) {
        const __m512 d = _mm512_cvtepi32_ps(r), e = _mm512_rcp14_ps(d);
        const __m512 f = _mm512_fmadd_ps(e, _mm512_fnmadd_ps(d, e, _mm512_set1_ps(1.0f - 0x1p-21f)), e);
        const __m512i q = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(k), f));
        const __m512i rest = _mm512_sub_epi32(k, _mm512_mullo_epi32(q, r));
        return _mm512_mask_add_epi32(q, _mm512_cmpge_epi32_mask(rest, r), q, _mm512_set1_epi32(1));
    }
    const __m256i k1 = _mm512_extracti32x8_epi32(k, 1), r1 = _mm512_extracti32x8_epi32(r, 1);
    const __m512d a = _mm512_div_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(k)),
                                    _mm512_cvtepi32_pd(_mm512_castsi512_si256(r)));
    const __m512d b = _mm512_div_pd(_mm512_cvtepi32_pd(k1), _mm512_cvtepi32_pd(r1));
    return _mm512_inserti32x8(_mm512_castsi256_si512(_mm512_cvttpd_epi32(a)), _mm512_cvttpd_epi32(b), 1);
}

#define VECTOR 64
#define SHIFTS(at) INTS(at)
#define SHIFT(v, by) ((Ints)_mm512_srav_epi32((__m512i)(v), (__m512i)(by)))
#define CLAMP(v, lo, hi) \
    ((Ints)_mm512_min_epi32(_mm512_max_epi32((__m512i)(v), _mm512_set1_epi32(lo)), _mm512_set1_epi32(hi)))
#define NEGATIVE(v, a, b) \
    ((Ints)_mm512_mask_mov_epi32((__m512i)(b), _mm512_movepi32_mask((__m512i)(v)), (__m512i)(a)))
#define NARROW(at, v) _mm256_storeu_si256((__m256i *)(at), _mm512_cvtepi32_epi16((__m512i)(v)))
#define WIDEN(at) ((Ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(at))))
#define ROOT(n) ((Ints)isqrt((__m512i)(n)))
#define QUOTIENT(k, r, small) ((Ints)divide((__m512i)(k), (__m512i)(r), small))
#define PRODUCT15(x, m) ((Ints)_mm512_madd_epi16((__m512i)(x), (__m512i)(m))) /* the high half of m is 0 */
#include "isa/loops.h"
#include "isa/vector.h"

INLINE void store(const IcDot *d, const __m512i *acc, const int groups, const int pixels, char *out) {
    const ptrdiff_t size = d->wide ? 4 : 2;
    if (d->wide && d->lo == INT32_MIN && d->hi == INT32_MAX) { /* the norms of GDN */
#pragma GCC unroll 12
        for (int p = 0; p < pixels; p++)
#pragma GCC unroll 4
            for (int v = 0; v < groups; v++)
                _mm512_storeu_si512(out + 4 * (p * d->out_pixel + v * IC_GROUP), acc[p * groups + v]);
        return;
    }
#pragma GCC unroll 4
    for (int v = 0; v < groups; v++) {
        const Ints by = SHIFTS(d->shift + v * IC_GROUP);
#pragma GCC unroll 12
        for (int p = 0; p < pixels; p++) {
            char *at = out + size * (p * d->out_pixel + v * IC_GROUP);
            const Ints r = finish(d, (Ints)acc[p * groups + v], by);
            if (d->wide) _mm512_storeu_si512(at, (__m512i)r);
            else NARROW(at, r);
        }
    }
}

/* Three pixels share one base pointer and the byte stride: [base], [base + s], [base + 2s]. */
INLINE void tile(const IcDot *d, const int16_t *x, char *out, const int groups, const int pixels) {
    __m512i acc[24], w[4];
    const ptrdiff_t s = 2 * d->x_pixel;
    const char *weight = (const char *)d->weight;
#pragma GCC unroll 4
    for (int v = 0; v < groups; v++) {
        const __m512i bias = _mm512_loadu_si512(d->bias + v * IC_GROUP);
#pragma GCC unroll 12
        for (int p = 0; p < pixels; p++) acc[p * groups + v] = bias;
    }
    for (int r = 0; r < d->rows; r++, x += d->x_row) {
        const char *x0 = (const char *)x, *x3 = x0 + 3 * s, *x6 = x0 + 6 * s, *x9 = x0 + 9 * s;
        for (int k = d->pairs; k > 0; k--) {
#pragma GCC unroll 4
            for (int v = 0; v < groups; v++) w[v] = _mm512_loadu_si512(weight + 64 * v);
#pragma GCC unroll 12
            for (int p = 0; p < pixels; p++) {
                const char *at = (p < 3 ? x0 : p < 6 ? x3 : p < 9 ? x6 : x9) + (p % 3) * s;
                if (groups == 1) { /* the broadcast serves one product only: let the product load it */
                    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc[p]) : "v"(w[0]), "m"(*(const pair_t *)at));
                    continue;
                }
                const __m512i b = pair_at(at);
#pragma GCC unroll 4
                for (int v = 0; v < groups; v++)
                    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc[p * groups + v]) : "v"(w[v]), "v"(b));
            }
            weight += 64 * groups;
            x0 += 4, x3 += 4, x6 += 4, x9 += 4;
        }
    }
    store(d, acc, groups, pixels, out);
}

/* One group and three taps at stride 1, where neighbouring pixels share their inputs: a broadcast of one input pixel
 * feeds the three outputs that it is a tap of, so the loads are 21 for 48 products instead of one each. */
enum { SLIDE = 16, TAPS = 3 };

static TARGET void slide(const IcDot *d, const int16_t *x, char *out) {
    __m512i acc[SLIDE], w[TAPS];
    const ptrdiff_t s = 2 * d->x_pixel, tap = 64 * (ptrdiff_t)d->tap_pairs;
    const char *weight = (const char *)d->weight;
#pragma GCC unroll 16
    for (int p = 0; p < SLIDE; p++) acc[p] = _mm512_loadu_si512(d->bias);
    for (int r = 0; r < d->rows; r++, x += d->x_row, weight += (TAPS - 1) * tap) {
        const char *base[6];
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) base[i] = (const char *)x + 3 * i * s;
        for (int k = d->tap_pairs; k > 0; k--, weight += 64) {
#pragma GCC unroll 3
            for (int t = 0; t < TAPS; t++) w[t] = _mm512_loadu_si512(weight + t * tap);
#pragma GCC unroll 18
            for (int i = 0; i < SLIDE + TAPS - 1; i++) {
                const __m512i b = pair_at(base[i / 3] + (i % 3) * s);
#pragma GCC unroll 3
                for (int t = 0; t < TAPS; t++)
                    if (i >= t && i - t < SLIDE) __asm__("vpdpwssd %2, %1, %0" : "+v"(acc[i - t]) : "v"(w[t]), "v"(b));
            }
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) base[i] += 4;
        }
    }
    store(d, acc, 1, SLIDE / 2, out);
    store(d, acc + SLIDE / 2, 1, SLIDE / 2, out + (d->wide ? 4 : 2) * (SLIDE / 2) * d->out_pixel);
}

/* The whole row: the largest tile that fits, then smaller ones. */
#define ROW(G, A, B, C)                                  \
    static TARGET void row##G(const IcDot *d, int pixels) { \
        const int16_t *x = d->x;                         \
        char *out = d->out;                              \
        EACH(A, tile(d, x, out, G, A));                  \
        EACH(B, tile(d, x, out, G, B));                  \
        EACH(C, tile(d, x, out, G, C));                  \
        EACH(1, tile(d, x, out, G, 1));                  \
    }
ROW(1, 12, 6, 3)
ROW(2, 12, 6, 3)
ROW(3, 8, 4, 2)
ROW(4, 6, 4, 2)

/* Few pixels and many inputs, such as a context model's: the weights are read once, from the third-level cache, and that
 * takes about as long as the products. So all tiles work on a piece of the weights that fits the first-level cache,
 * while the next piece is being fetched; the sums wait in memory. */
enum { FEW = 24, PIECE = 64 };

INLINE void part(const IcDot *d, const int16_t *x, const char *weight, int pairs, const char *next, int32_t *sum,
                 const int pixels) {
    __m512i acc[24], w[4];
    const ptrdiff_t s = 2 * d->x_pixel;
    const char *x0 = (const char *)x, *x3 = x0 + 3 * s;
#pragma GCC unroll 24
    for (int i = 0; i < 4 * pixels; i++) acc[i] = _mm512_load_si512(sum + IC_GROUP * i);
    for (; pairs > 0; pairs--, weight += 256, next += 128, x0 += 4, x3 += 4) {
        _mm_prefetch(next, _MM_HINT_T0);
        _mm_prefetch(next + 64, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) w[v] = _mm512_loadu_si512(weight + 64 * v);
#pragma GCC unroll 6
        for (int p = 0; p < pixels; p++) {
            const __m512i b = pair_at((p < 3 ? x0 : x3) + (p % 3) * s);
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) __asm__("vpdpwssd %2, %1, %0" : "+v"(acc[4 * p + v]) : "v"(w[v]), "v"(b));
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < 4 * pixels; i++) _mm512_store_si512(sum + IC_GROUP * i, acc[i]);
}

static TARGET void few(const IcDot *d, int pixels) {
    _Alignas(64) int32_t sum[FEW * 64];
    const int tiles = (pixels + 5) / 6;
    const char *weight = (const char *)d->weight;
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < 4; v++)
            _mm512_store_si512(sum + 64 * p + IC_GROUP * v, _mm512_loadu_si512(d->bias + IC_GROUP * v));
    for (int r = 0; r < d->rows; r++)
        for (int k = 0, n; k < d->pairs; k += n, weight += 256 * n) {
            n = d->pairs - k < PIECE ? d->pairs - k : PIECE;
            for (int t = 0; t < tiles; t++) {
                const int at = pixels * t / tiles, size = pixels * (t + 1) / tiles - at; /* 3 to 6 */
                const int16_t *x = d->x + r * d->x_row + at * d->x_pixel + 2 * k;
                const char *next = weight + 256 * n + 128 * n * t; /* two tiles fetch a piece */
                if (size == 6) part(d, x, weight, n, next, sum + 64 * at, 6);
                else if (size == 5) part(d, x, weight, n, next, sum + 64 * at, 5);
                else if (size == 4) part(d, x, weight, n, next, sum + 64 * at, 4);
                else part(d, x, weight, n, next, sum + 64 * at, 3);
            }
        }
    for (int p = 0; p < pixels; p++) {
        __m512i acc[4];
        for (int v = 0; v < 4; v++) acc[v] = _mm512_load_si512(sum + 64 * p + IC_GROUP * v);
        store(d, acc, 4, 1, (char *)d->out + (d->wide ? 4 : 2) * p * d->out_pixel);
    }
}

static TARGET void dot(const IcDot *d, int groups, int pixels) {
    if (groups == 4 && pixels > 6 && pixels <= FEW && d->rows * d->pairs > 2 * PIECE) few(d, pixels);
    else if (groups == 4) row4(d, pixels);
    else if (groups == 3) row3(d, pixels);
    else if (groups == 2) row2(d, pixels);
    else if (d->pairs == TAPS * d->tap_pairs && pixels >= SLIDE) {
        IcDot rest = *d;
        for (; pixels >= SLIDE; pixels -= SLIDE, rest.x += SLIDE * d->x_pixel) {
            slide(d, rest.x, rest.out);
            rest.out = (char *)rest.out + (d->wide ? 4 : 2) * SLIDE * d->out_pixel;
        }
        row1(&rest, pixels);
    } else row1(d, pixels);
}

/* gate_plain, whose look-up gcc does not turn into a gather. */
static TARGET void gate(const IcPair *g) {
    if (!g->out16 || g->channels % 16) {
        gate_plain(g);
        return;
    }
    const __m512i lo = _mm512_set1_epi32(g->lo), hi = _mm512_set1_epi32(g->hi), zero = _mm512_setzero_si512();
    const __m512i table_lo = _mm512_set1_epi32(g->table_lo), table_last = _mm512_set1_epi32(g->table_last);
    for (ptrdiff_t p = 0, at = 0; p < g->pixels; p++)
        for (int c = 0; c < g->channels; c += 16, at += 16) {
            const __m512i a = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(g->a + at)));
            const __m512i b = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(g->b + at)));
            const __m512i i = _mm512_min_epi32(_mm512_max_epi32(_mm512_sub_epi32(b, table_lo), zero), table_last);
            const __m512i v = _mm512_mullo_epi32(a, _mm512_i32gather_epi32(i, g->table, 4));
            __m512i y = _mm512_add_epi32(v, _mm512_loadu_si512(g->half + c));
            y = _mm512_srav_epi32(y, _mm512_loadu_si512(g->shift + c));
            y = _mm512_min_epi32(_mm512_max_epi32(y, lo), hi);
            _mm256_storeu_si256((__m256i *)(g->out16 + at), _mm512_cvtepi32_epi16(y));
        }
}

const IcIsa ic_avx512vnni = {"avx512vnni",        64,           0, supported, dot, .roots = roots, .tile_in = tile_in,
                             .tile_out = tile_out, .gate = gate, LOOPS};
#endif
