/* The three tile functions of winograd.h, in vectors of VECTOR bytes: a template that each instruction set includes.
 *
 * Define TARGET (the functions' attribute) and VECTOR (bytes of a register) before, and OWN_FINISH where the set has its
 * own finish_lanes. Vector types are GCC's and Clang's own, so that one text serves every set; all arithmetic on sums is
 * unsigned: it wraps.
 */
typedef int16_t Half __attribute__((vector_size(VECTOR), aligned(2), may_alias));
typedef uint32_t Word __attribute__((vector_size(VECTOR), aligned(4), may_alias));
enum { HALVES = VECTOR / 2, WORDS = VECTOR / 4 };

#define AT(p) (*(const Half *)(p))

/* (d0 - d2, d1 + d2, d2 - d1, d1 - d3) */
#define SPREAD(a, b, c, d, out0, out1, out2, out3) (out0) = (a) - (c), (out1) = (b) + (c), (out2) = (c) - (b), (out3) = (b) - (d)

/* v[16][plane] of one tile from its four rows of input; `column` elements from one column's channels to the next. */
static TARGET void tile_in(const int16_t *const *row, ptrdiff_t column, int channels, int16_t *v, ptrdiff_t plane) {
    int c = 0;
    for (; c + HALVES <= channels; c += HALVES) {
        Half a[4][4], b[4][4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const ptrdiff_t at = j * column + c;
            SPREAD(AT(row[0] + at), AT(row[1] + at), AT(row[2] + at), AT(row[3] + at), a[0][j], a[1][j], a[2][j], a[3][j]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            SPREAD(a[i][0], a[i][1], a[i][2], a[i][3], b[i][0], b[i][1], b[i][2], b[i][3]);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) *(Half *)(v + (4 * i + j) * plane + c) = b[i][j];
        }
    }
    for (; c < channels; c++) {
        int a[4][4], b[4][4];
        for (int j = 0; j < 4; j++) {
            const ptrdiff_t at = j * column + c;
            SPREAD(row[0][at], row[1][at], row[2][at], row[3][at], a[0][j], a[1][j], a[2][j], a[3][j]);
        }
        for (int i = 0; i < 4; i++) {
            SPREAD(a[i][0], a[i][1], a[i][2], a[i][3], b[i][0], b[i][1], b[i][2], b[i][3]);
            for (int j = 0; j < 4; j++) v[(4 * i + j) * plane + c] = (int16_t)b[i][j];
        }
    }
}

/* y[4][lanes] += the outputs of one tile, from m[16] rows of lanes sums; `first`: = in place of +=. */
static TARGET void tile_out(const int32_t *const *m, int32_t *y, int lanes, int first) {
    const uint32_t top = 0x80000000u;
    for (int l = 0; l < lanes; l += WORDS) {
        Word a[4], b[4], s[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const Word m0 = *(const Word *)(m[4 * i] + l), m1 = *(const Word *)(m[4 * i + 1] + l);
            const Word m2 = *(const Word *)(m[4 * i + 2] + l), m3 = *(const Word *)(m[4 * i + 3] + l);
            a[i] = m0 + m1 + m2, b[i] = m1 - m2 - m3;
        }
        s[0] = a[0] + a[1] + a[2], s[1] = b[0] + b[1] + b[2];
        s[2] = a[1] - a[2] - a[3], s[3] = b[1] - b[2] - b[3];
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            Word *out = (Word *)(y + k * lanes + l);
            const Word quarter = ((s[k] + top) >> 2) - (top >> 2); /* an arithmetic shift */
            if (first) *out = quarter;
            else *out += quarter;
        }
    }
}

#ifndef OWN_FINISH
/* What `dot` does behind its sums: add the bias, requantise, clamp, LeakyReLU. */
static TARGET void finish_lanes(const int32_t *acc, const int32_t *bias, const int32_t *shift, int lanes, int32_t lo,
                                int32_t hi, int32_t slope, void *out, int wide) {
    const uint32_t top = 0x80000000u;
    int16_t *restrict narrow = out;
    int32_t *restrict broad = out;
    for (int l = 0; l < lanes; l++) {
        const uint32_t v = (uint32_t)acc[l] + (uint32_t)bias[l];
        const int32_t r = ic_clamp((int32_t)(((v + top) >> shift[l]) - (top >> shift[l])), lo, hi);
        const int32_t leaky = (int32_t)(((uint32_t)r * (uint32_t)slope + 0x8000u + top) >> 16) - 0x8000;
        const int32_t value = slope && r < 0 ? leaky : r;
        if (wide) broad[l] = value;
        else narrow[l] = (int16_t)value;
    }
}
#endif
