/* The instruction-set layer: a few small functions per set, one table entry each, every entry exact to the bit.
 *
 * Theory of operation. All heavy work of an integer network is one shape: for some output pixels and a block of output
 * channels ("lanes"), a dot product over a few runs of contiguous int16 values (one run per kernel row, kw * C long)
 * with exact int32 accumulation. `dot` computes it in a register tile of several pixels by up to `lanes` channels and
 * requantises in the registers. A run is read as pairs of int16 because every SIMD set has the pair product (pmaddwd,
 * vpdpwssd, two smlal, dot_i16x8_s). `square` and `roots` are the two halves of GDN around the same `dot`. The rest are
 * plain loops (isa/loops.h), which each set's compiler flags turn into vectors.
 *
 * The contract is docs/arithmetic.md; isa/scalar.c is its plain form in C and the truth for the other files. Sums wrap
 * modulo 2^32 in every set alike, so a model without a proof gives wrong pixels but never undefined behaviour.
 */
#ifndef INTCODEC_CORE_ISA_H
#define INTCODEC_CORE_ISA_H

#include <stddef.h>
#include <stdint.h>

/* Lanes come in groups of this many: one AVX-512 register of int32. */
enum { IC_GROUP = 16 };

#if defined(__x86_64__) && defined(__GNUC__)
#define IC_X86 1
#endif
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#define IC_NEON 1
#endif
#if defined(__wasm_simd128__)
#define IC_WASM 1
#endif

/* One row of output pixels times one block of lanes. Strides are in elements. */
typedef struct {
    const int16_t *x;      /* first tap of the first pixel; one element past each odd run may be read */
    ptrdiff_t x_pixel;     /* from a pixel's taps to the next pixel's */
    ptrdiff_t x_row;       /* from a run to the next */
    int rows, pairs;       /* runs, and int16 pairs per run */
    int tap_pairs;         /* pairs per tap where neighbouring pixels' taps overlap in whole pairs (stride 1), else 0 */
    const int16_t *weight; /* [rows][pairs][lanes][2], or [rows][pairs][2][lanes] where the set is `planar` */
    const int32_t *bias;   /* [lanes], the rounding constant included */
    const int32_t *shift;  /* [lanes], 0..30 */
    int32_t lo, hi, slope; /* clamp, then LeakyReLU where slope != 0 */
    void *out;             /* int32 where `wide`, else int16 */
    ptrdiff_t out_pixel;
    int wide;
} IcDot;

/* The second half of GDN: y = clamp((x * m + half) >> shift), m = isqrt(norm) or numerator / isqrt(norm). */
typedef struct {
    const int32_t *norm;
    ptrdiff_t norm_pixel;
    const int16_t *x;
    int16_t *out; /* may be x */
    ptrdiff_t x_pixel, out_pixel;
    const int32_t *numerator, *shift, *half; /* [channels], half = 2^(shift-1) */
    int32_t lo, hi;
    int inverse;
    int small; /* every quotient is below 2^19: a float estimate is less than one off */
    int channels, pixels;
} IcRoots;

/* A row of two tensors, pixels * channels values that lie together on either side (docs/arithmetic.md, add and gate). */
typedef struct {
    const int16_t *a, *b;
    int16_t *out16; /* one of the two is NULL */
    int32_t *out32;
    const int32_t *a_shift, *b_shift; /* add: [channels] */
    const int32_t *shift, *half;      /* [channels], half = 2^(shift-1) or 0 */
    const int32_t *table;             /* gate: values for b = table_lo .. table_lo + table_last */
    int32_t table_lo, table_last, lo, hi;
    int channels, pixels;
} IcPair;

/* Winograd tiles (rows/winograd.h): rows and columns of a tile's window, products and outputs, at most. */
enum { IC_DOWN = 4, IC_ACROSS = 5, IC_POSITIONS = IC_DOWN * IC_ACROSS, IC_OUTPUTS = 6 };

/* What a batch of tiles becomes in one block of lanes, from the products of one part. */
typedef struct {
    int across, tiles, lanes;       /* across: outputs of a tile's row, 2 or 3 */
    const int32_t *m[IC_POSITIONS]; /* the first tile's products, [lanes] */
    ptrdiff_t m_tile[IC_POSITIONS]; /* to the next tile's */
    int32_t *y;                     /* [tiles][2 * across][lanes]: sums of the parts before */
    int first, last;                /* part: y is not read; y is not written, but `out` */
    const IcDot *d;                 /* bias, shift, range and type of what goes to `out` */
    char *const *out;               /* [tiles][IC_OUTPUTS]: where `offset` bytes are added; NULL: no such output */
    ptrdiff_t offset;
} IcTiles;

/* Scale space and warp (docs/arithmetic.md, sections of these names). */
enum { IC_LEVELS = 6, IC_COLOURS = 3, IC_RADIUS = 5, IC_TAP_BITS = 14 };

typedef struct {
    const int16_t *volume; /* [h][w][IC_LEVELS][IC_COLOURS] */
    const int32_t *motion; /* [h][w][3] */
    int16_t *out;
    int h, w, grid_x, grid_y;
} IcWarp;

typedef struct {
    const char *name;
    int lanes;  /* channels per block of packed weights, a multiple of IC_GROUP */
    int planar; /* layout of a weight pair, see IcDot.weight */
    int (*supported)(void);
    void (*dot)(const IcDot *d, int groups, int pixels); /* groups: lanes of this block / IC_GROUP */
    void (*square)(const int16_t *x, int16_t *q, int count, int shift);
    void (*roots)(const IcRoots *g);
    /* NULL where convolutions are computed directly */
    void (*tile_in)(const int16_t *const *row, ptrdiff_t column, int channels, int across, int16_t *v, ptrdiff_t plane);
    void (*tile_out)(const IcTiles *g);
    void (*add)(const IcPair *g);
    void (*gate)(const IcPair *g);
    void (*index)(int32_t *v, int count, const int32_t *threshold, int thresholds); /* in place */
    /* Loops of a scale space over `count` values of a row, colours included. Along: out[i] = row[i ..] blurred; row has
     * IC_RADIUS pixels more on either side. Across: the 2 * IC_RADIUS + 1 lines blurred. Twice: the even and the odd
     * pixels of a row of twice the size, from the row that is near and the one that is far; `sum` holds
     * count + 2 * IC_COLOURS values. */
    void (*along)(const int32_t *row, int count, int bits, int16_t *out);
    void (*across)(const int16_t *const *line, int count, int16_t *out);
    void (*twice)(const int16_t *near, const int16_t *far, int count, int32_t *sum, int16_t *even, int16_t *odd);
    void (*warp)(const IcWarp *p, int y);
} IcIsa;

#endif
