/* The loops of an instruction set that need no intrinsics: a template that each set includes, plain C that compilers turn
 * into vectors. Define TARGET (the functions' attribute) before. LOOPS are their entries in the set's table.
 */
#include "core/integers.h"
#include "core/isa.h"

#include <string.h>

#define INLINE_LOOP static inline TARGET __attribute__((always_inline))

static TARGET void square(const int16_t *x, int16_t *q, int count, int shift) {
    const int32_t half = (int32_t)((1u << shift) >> 1);
    for (int i = 0; i < count; i++) q[i] = (int16_t)(((int32_t)x[i] * x[i] + half) >> shift); /* never negative */
}

/* The plain form of `roots` for the channels from c on: the scalar set's, and what is left of a vector. */
static TARGET void roots_from(const IcRoots *g, int c) {
    for (; c < g->channels; c++)
        for (int p = 0; p < g->pixels; p++)
            g->out[p * g->out_pixel + c] =
                (int16_t)ic_gdn_value(g->x[p * g->x_pixel + c], g->norm[p * g->norm_pixel + c], g->numerator[c],
                                      g->shift[c], g->lo, g->hi, g->inverse);
}

/* clamp((v + half) >> s) in unsigned steps that a vector set has one instruction each for: adding 2^31 turns the
 * arithmetic shift into a logical one. */
INLINE_LOOP int32_t pair_value(uint32_t v, int32_t half, int32_t s, int32_t lo, int32_t hi) {
    const uint32_t top = 0x80000000u;
    return ic_clamp((int32_t)(((v + (uint32_t)half + top) >> s) - (top >> s)), lo, hi);
}

/* The sums wrap; a gate's index is held inside its table whatever the values are. */
INLINE_LOOP uint32_t pair_sum(const IcPair *g, ptrdiff_t i, int c) {
    return ((uint32_t)(int32_t)g->a[i] << g->a_shift[c]) + ((uint32_t)(int32_t)g->b[i] << g->b_shift[c]);
}
INLINE_LOOP uint32_t pair_product(const IcPair *g, ptrdiff_t i, int c) {
    (void)c;
    return (uint32_t)(int32_t)g->a[i] * (uint32_t)g->table[ic_clamp(g->b[i] - g->table_lo, 0, g->table_last)];
}

#define PAIRS(VALUE)                                                                                       \
    const IcPair q = *g; /* a copy: no store through `out` can change it */                                \
    const int32_t *const half = q.half, *const shift = q.shift;                                            \
    for (ptrdiff_t p = 0, at = 0; p < q.pixels; p++, at += q.channels) {                                   \
        if (q.out16) {                                                                                     \
            int16_t *restrict out = q.out16 + at;                                                          \
            for (int c = 0; c < q.channels; c++)                                                           \
                out[c] = (int16_t)pair_value(VALUE(&q, at + c, c), half[c], shift[c], q.lo, q.hi);         \
        } else {                                                                                           \
            int32_t *restrict out = q.out32 + at;                                                          \
            for (int c = 0; c < q.channels; c++)                                                           \
                out[c] = pair_value(VALUE(&q, at + c, c), half[c], shift[c], q.lo, q.hi);                  \
        }                                                                                                  \
    }

static TARGET void add(const IcPair *g) { PAIRS(pair_sum) }
static TARGET void gate_plain(const IcPair *g) { PAIRS(pair_product) }

/* The thresholds below each value. Counting them all is quicker than a search, in vectors. */
static TARGET void index_of(int32_t *v, int count, const int32_t *threshold, int thresholds) {
    enum { PART = 64 };
    for (int i = 0; i < count; i += PART) {
        int32_t value[PART] = {0}, below[PART] = {0};
        const int n = count - i < PART ? count - i : PART;
        for (int k = 0; k < n; k++) value[k] = v[i + k];
        for (int t = 0; t < thresholds; t++)
            for (int k = 0; k < PART; k++) below[k] += threshold[t] < value[k];
        for (int k = 0; k < n; k++) v[i + k] = below[k];
    }
}

/* Scale space and warp: no sum leaves int32, see the proof in docs/arithmetic.md. */
static TARGET void along(const int32_t *restrict row, int count, int bits, int16_t *restrict out) {
    static const int32_t taps[IC_RADIUS + 1] = {17, 124, 590, 1792, 3490, 4358};
    const int32_t half = 1 << (bits - 1);
    for (int i = 0; i < count; i++) {
        const int32_t *p = row + i;
        int32_t sum = taps[IC_RADIUS] * p[IC_RADIUS * IC_COLOURS] + half;
        for (int k = 0; k < IC_RADIUS; k++)
            sum += taps[k] * (p[k * IC_COLOURS] + p[(2 * IC_RADIUS - k) * IC_COLOURS]);
        out[i] = (int16_t)(sum >> bits);
    }
}

static TARGET void across(const int16_t *const *line, int count, int16_t *restrict out) {
    const int16_t *a = line[0], *b = line[1], *c = line[2], *d = line[3], *e = line[4], *f = line[5];
    const int16_t *g = line[6], *h = line[7], *i = line[8], *j = line[9], *k = line[10];
    for (int n = 0; n < count; n++) {
        const int32_t sum = 17 * (a[n] + k[n]) + 124 * (b[n] + j[n]) + 590 * (c[n] + i[n]) + 1792 * (d[n] + h[n]) +
                            3490 * (e[n] + g[n]) + 4358 * f[n] + (1 << (IC_TAP_BITS - 1));
        out[n] = (int16_t)(sum >> IC_TAP_BITS);
    }
}

static TARGET void twice(const int16_t *restrict near, const int16_t *restrict far, int count, int32_t *restrict sum,
                         int16_t *restrict even, int16_t *restrict odd) {
    for (int i = 0; i < count; i++) sum[IC_COLOURS + i] = 3 * near[i] + far[i];
    for (int c = 0; c < IC_COLOURS; c++) {
        sum[c] = sum[IC_COLOURS + c];
        sum[IC_COLOURS + count + c] = sum[count + c];
    }
    for (int i = 0; i < count; i++) {
        const int32_t here = 3 * sum[IC_COLOURS + i] + 8;
        even[i] = (int16_t)((here + sum[i]) >> 4);
        odd[i] = (int16_t)((here + sum[2 * IC_COLOURS + i]) >> 4);
    }
}

/* A place in a row and between its levels, all in 1/256, for AT_ONCE pixels. */
enum { AT_ONCE = 64 };
typedef struct {
    int32_t x[AT_ONCE], y[AT_ONCE], z[AT_ONCE];
} Places;

INLINE_LOOP int32_t between(int32_t v, int32_t hi) {
    return v < 0 ? 0 : v > hi ? hi : v;
}

static TARGET void places(const IcWarp *p, int y, int x, int n, Places *restrict at) {
    const int32_t *motion = p->motion + ((ptrdiff_t)y * p->w + x) * IC_COLOURS;
    const int32_t gx = p->grid_x, gy = p->grid_y, right = 256 * (p->w - 1), bottom = 256 * (p->h - 1);
    for (int i = 0; i < n; i++) {
        const int32_t *m = motion + i * IC_COLOURS;
        at->x[i] = between(256 * (x + i) + ((m[0] * gx + 2) >> 2), right);
        at->y[i] = between(256 * y + ((m[1] * gy + 2) >> 2), bottom);
        at->z[i] = between(((3 * m[2] + 128) >> 8) + 128 * (IC_LEVELS - 1), 256 * (IC_LEVELS - 1));
    }
}

/* Two neighbouring levels are six values, of which eight are read: from two before the last level on, so that no step
 * leaves the pixel. Vector types are GCC's and Clang's own; `Sums` wraps, and what it ends in fits int32. */
enum { EIGHT = 8, PIXEL = IC_LEVELS * IC_COLOURS };
typedef int16_t Values __attribute__((vector_size(2 * EIGHT), aligned(2), may_alias));
typedef int32_t Planes __attribute__((vector_size(4 * EIGHT)));
typedef uint32_t Sums __attribute__((vector_size(4 * EIGHT)));

#define VALUES_AT(p) ((Sums)__builtin_convertvector(*(const Values *)(p), Planes))

static TARGET void warp(const IcWarp *p, int y) {
    Places at;
    int16_t *out = p->out + (ptrdiff_t)y * p->w * IC_COLOURS;
    for (int x = 0; x < p->w; x += AT_ONCE) {
        const int count = p->w - x < AT_ONCE ? p->w - x : AT_ONCE;
        places(p, y, x, count, &at);
        for (int i = 0; i < count; i++, out += IC_COLOURS) {
            const int32_t px = at.x[i], py = at.y[i], pz = at.z[i];
            const int z = pz >> 8 < IC_LEVELS - 2 ? pz >> 8 : IC_LEVELS - 2;
            const int32_t fx = px & 255, fy = py & 255, fz = pz - 256 * z;
            const int from = z * IC_COLOURS < PIXEL - EIGHT ? z * IC_COLOURS : PIXEL - EIGHT;
            /* a weight of 0 belongs to the neighbour that does not exist at an edge */
            const ptrdiff_t right = fx ? PIXEL : 0, below = fy ? (ptrdiff_t)p->w * PIXEL : 0;
            const int16_t *a = p->volume + ((ptrdiff_t)(py >> 8) * p->w + (px >> 8)) * PIXEL + from;
            const int16_t *b = a + right, *c = a + below, *d = c + right;
            const Sums v = VALUES_AT(a), w = VALUES_AT(c);
            const Sums top = v * 256u + (VALUES_AT(b) - v) * (uint32_t)fx;
            const Sums bottom = w * 256u + (VALUES_AT(d) - w) * (uint32_t)fx;
            const Planes plane = (Planes)(top * 256u + (bottom - top) * (uint32_t)fy + 128u) >> 8;
            int32_t all[EIGHT];
            memcpy(all, &plane, sizeof all);
            const int32_t *near = all + (z * IC_COLOURS - from);
            for (int k = 0; k < IC_COLOURS; k++)
                out[k] = (int16_t)((near[k] * (256 - fz) + near[IC_COLOURS + k] * fz + (1 << 17)) >> 18);
        }
    }
}

#define LOOPS \
    .square = square, .add = add, .index = index_of, .along = along, .across = across, .twice = twice, .warp = warp
