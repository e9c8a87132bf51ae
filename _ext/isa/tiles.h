/* The two tile functions of Winograd convolutions (rows/winograd.h): a template that vector.h includes for each set. All
 * arithmetic on sums is unsigned: it wraps. */

typedef int16_t Half __attribute__((vector_size(VECTOR), aligned(2), may_alias));
enum { HALVES = VECTOR / 2 };

#define AT(p) (*(const Half *)(p))

/* v of two and of three outputs, to `out` and every `step` behind it. */
#define SPREAD2(a, b, c, d, out, step) \
    ((out)[0] = (a) - (c), (out)[step] = (b) + (c), (out)[2 * (step)] = (c) - (b), (out)[3 * (step)] = (b) - (d))
#define SPREAD3(a, b, c, d, e, out)                                                             \
    ((out)[1] = (d) - (c) - 2 * (b), (out)[2] = (d) - (c) + 2 * ((b) - (c)), (out)[3] = (d) - (b), \
     (out)[0] = (out)[3] + 2 * ((a) - (c)), (out)[4] = (e) - (c) + 2 * ((b) - (d)))

INLINE void spread(const int16_t *const *row, ptrdiff_t column, int channels, const int across, int16_t *v,
                  ptrdiff_t plane) {
    const int columns = across + 2;
    int c = 0;
    for (; c + HALVES <= channels; c += HALVES) {
        Half a[IC_POSITIONS], b[IC_ACROSS];
#pragma GCC unroll 5
        for (int j = 0; j < columns; j++) {
            const ptrdiff_t at = j * column + c;
            SPREAD2(AT(row[0] + at), AT(row[1] + at), AT(row[2] + at), AT(row[3] + at), a + j, columns);
        }
#pragma GCC unroll 4
        for (int i = 0; i < IC_DOWN; i++) {
            const Half *d = a + i * columns;
            if (across == 2) SPREAD2(d[0], d[1], d[2], d[3], b, 1);
            else SPREAD3(d[0], d[1], d[2], d[3], d[4], b);
#pragma GCC unroll 5
            for (int j = 0; j < columns; j++) *(Half *)(v + (columns * i + j) * plane + c) = b[j];
        }
    }
    for (; c < channels; c++) {
        int a[IC_POSITIONS], b[IC_ACROSS];
        for (int j = 0; j < columns; j++) {
            const ptrdiff_t at = j * column + c;
            SPREAD2(row[0][at], row[1][at], row[2][at], row[3][at], a + j, columns);
        }
        for (int i = 0; i < IC_DOWN; i++) {
            const int *d = a + i * columns;
            if (across == 2) SPREAD2(d[0], d[1], d[2], d[3], b, 1);
            else SPREAD3(d[0], d[1], d[2], d[3], d[4], b);
            for (int j = 0; j < columns; j++) v[(columns * i + j) * plane + c] = (int16_t)b[j];
        }
    }
}

/* v[positions][plane] of one tile from its rows of input; `column` elements from one column's channels to the next. */
static TARGET void tile_in(const int16_t *const *row, ptrdiff_t column, int channels, int across, int16_t *v,
                           ptrdiff_t plane) {
    if (across == 2) spread(row, column, channels, 2, v, plane);
    else spread(row, column, channels, 3, v, plane);
}

/* 2 y or 6 y of one row of products. */
INLINE void gather(const int32_t *const *m, const int across, int l, Word *y) {
    const Word m0 = *(const Word *)(m[0] + l), m1 = *(const Word *)(m[1] + l), m2 = *(const Word *)(m[2] + l);
    const Word m3 = *(const Word *)(m[3] + l);
    if (across == 2) {
        y[0] = m0 + m1 + m2, y[1] = m1 - m2 - m3;
        return;
    }
    const Word m4 = *(const Word *)(m[4] + l), three = m1 + m1 + m1, two = m3 + m3, more = two + m4;
    y[0] = m0 + three + m2 + m3, y[1] = three - m2 + two, y[2] = three + m2 + more + more;
}

INLINE void tiles(const IcTiles *g, const int across) {
    const int outputs = 2 * across, lanes = g->lanes, first = g->first, last = g->last; /* no store can change a copy */
    const ptrdiff_t offset = g->offset;
    const IcDot d = *g->d;
    const int32_t *m[IC_POSITIONS];
    int32_t *y = g->y;
    for (int k = 0; k < IC_DOWN * (across + 2); k++) m[k] = g->m[k];
    for (int t = 0; t < g->tiles; t++, y += outputs * lanes) {
        char *const *out = g->out + t * IC_OUTPUTS;
        for (int l = 0; l < lanes; l += LANES) {
            Word r[IC_DOWN][3], s[IC_OUTPUTS];
#pragma GCC unroll 4
            for (int i = 0; i < IC_DOWN; i++) gather(m + i * (across + 2), across, l, r[i]);
#pragma GCC unroll 3
            for (int j = 0; j < across; j++) {
                s[j] = r[0][j] + r[1][j] + r[2][j];
                s[across + j] = r[1][j] - r[2][j] - r[3][j];
            }
#pragma GCC unroll 6
            for (int k = 0; k < outputs; k++) {
                if (across == 3) s[k] *= 0xaaaaaaabu; /* the inverse of 3 */
                s[k] = (Word)((Ints)s[k] >> 2);
                Word *sum = (Word *)(y + k * lanes + l);
                if (!first) s[k] += *sum;
                if (!last) *sum = s[k];
            }
            if (!last) continue;
            const Word bias = *(const Word *)(d.bias + l);
            const Ints by = SHIFTS(d.shift + l);
#pragma GCC unroll 6
            for (int k = 0; k < outputs; k++) {
                if (!out[k]) continue;
                char *at = out[k] + offset;
                const Word value = (Word)finish(&d, (Ints)(s[k] + bias), by);
                if (d.wide) *(Word *)((int32_t *)at + l) = value;
                else NARROW((int16_t *)at + l, (Ints)value);
            }
        }
        for (int k = 0; k < IC_DOWN * (across + 2); k++) m[k] += g->m_tile[k];
    }
}

static TARGET void tile_out(const IcTiles *g) {
    if (g->across == 2) tiles(g, 2);
    else tiles(g, 3);
}
