/* What the vector sets have in common, in vectors of VECTOR bytes: a template that each of them includes.
 *
 * Vector types are GCC's and Clang's own, so that one text serves every set. Define before
 *
 *     TARGET, INLINE, VECTOR   attribute of all functions, of those that must be inlined; bytes of a register
 *     SHIFTS(at)               the shifts at an address, as SHIFT wants them
 *     SHIFT(v, by)             v >> by, each lane by its own
 *     CLAMP(v, lo, hi)         into the range of two int32
 *     NEGATIVE(v, a, b)        a where v < 0, else b
 *     NARROW(at, v)            store as int16 what fits it
 *     WIDEN(at)                load int16
 *     ROOT(n)                  floor(sqrt(n)), or ESTIMATE(n): int32 of the float root times 1 - 2^-20
 *     QUOTIENT(k, r, small)    floor(k / r); small: all quotients are below 2^19
 *     PRODUCT15(x, m)          x * m of an int16 and of 0 <= m < 2^15
 */

typedef int32_t Ints __attribute__((vector_size(VECTOR), aligned(4), may_alias));
typedef uint32_t Word __attribute__((vector_size(VECTOR), aligned(4), may_alias)); /* for sums that may wrap */
enum { LANES = VECTOR / 4 };

#define INTS(at) (*(const Ints *)(at))

/* Sums, bias included, requantised, clamped and rectified. */
INLINE Ints finish(const IcDot *d, Ints sum, Ints by) {
    const Ints v = CLAMP(SHIFT(sum, by), d->lo, d->hi);
    if (!d->slope) return v;
    return NEGATIVE(v, (v * d->slope + (1 << 15)) >> 16, v);
}

#ifndef ROOT
/* The estimate is below the true root (itself below 2^15) by less than 1: its floor is right or one too small, and one
 * comparison says which: n - r * r > 2 * r. */
INLINE Ints isqrt(Ints n) {
    const Ints r = ESTIMATE(n), rest = (Ints)((Word)n - (Word)PRODUCT15(r, r)), twice_r = (Ints)((Word)r + (Word)r);
    return r - (rest > twice_r); /* a mask is -1 */
}
#define ROOT(n) isqrt(n)
#endif

INLINE void roots_at(const IcRoots *g, const int c, const int inverse, const int small) {
    const Ints by = SHIFTS(g->shift + c), half = INTS(g->half + c), numerator = INTS(g->numerator + c);
    const int32_t *norm = g->norm + c, lo = g->lo, hi = g->hi;
    const int16_t *x = g->x + c;
    int16_t *out = g->out + c;
    for (int p = g->pixels; p > 0; p--, norm += g->norm_pixel, x += g->x_pixel, out += g->out_pixel) {
        const Ints r = ROOT(INTS(norm)), v = WIDEN(x);
        Word product = (Word)v;
        if (inverse) product = (Word)PRODUCT15(v, r);
        else product *= (Word)QUOTIENT(numerator, r, small);
        NARROW(out, CLAMP(SHIFT((Ints)(product + (Word)half), by), lo, hi));
    }
}

static TARGET void roots(const IcRoots *g) {
    int c = 0;
    for (; c + LANES <= g->channels; c += LANES) {
        if (g->inverse) roots_at(g, c, 1, 1);
        else if (g->small) roots_at(g, c, 0, 1);
        else roots_at(g, c, 0, 0);
    }
    roots_from(g, c);
}

/* As many tiles of N pixels of a row as fit: one step of a set's `dot`, whose x, out and pixels move on. */
#define EACH(N, TILE) \
    for (; pixels >= (N); pixels -= (N), x += (N) * d->x_pixel, out += (N) * (d->wide ? 4 : 2) * d->out_pixel) TILE

#include "isa/tiles.h"
