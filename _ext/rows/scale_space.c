/* Scale space and warp, row by row; a team of threads shares the rows of each pass.
 *
 *     x --blur--> level 1 --halve, blur--> small 2 --halve, blur--> small 3 ... small 5
 *     small l --double l - 2 times--> half l, of half the sides
 *     x, level 1, half 2 .. 5 --double once more, all levels of a row together--> volume
 */
#include "flow.h"

#include <string.h>

#include "graph.h"

enum { C = IC_COLOURS, PIXEL = IC_LEVELS * C, RADIUS = IC_RADIUS, LINES = 2 * RADIUS + 1, CHUNK = 8 };

/* A picture of three channels without gaps. */
typedef struct {
    int16_t *data;
    int h, w;
} Plane;

typedef struct {
    const struct IcFlow *loops;
    const int16_t *x;
    int16_t *volume;
    int h, w;
    int16_t *blurred;         /* one direction done */
    Plane first;              /* level 1 */
    Plane half[IC_LEVELS];    /* from level 2 on: of half the sides */
    int16_t *small[IC_LEVELS]; /* from level 3 on: before it is doubled */
    int16_t *larger[2];       /* on the way from small to half */
    char *scratch;            /* a piece for each thread */
    size_t scratch_size;
} Space;

/* A thread's piece of scratch memory, for pictures of w columns. */
typedef struct {
    int32_t *row;                   /* [w + 2 * RADIUS][C] */
    int16_t *plain;                 /* [w][C] */
    int16_t *even[IC_LEVELS], *odd[IC_LEVELS]; /* [w / 2][C] */
} Scratch;

static size_t place(char *memory, int w, Scratch *s) {
    const size_t row = (size_t)(w + 2 * RADIUS) * C, plain = (size_t)w * C, half = plain / 2 + C;
    if (memory) {
        s->row = (int32_t *)memory;
        s->plain = (int16_t *)(s->row + row);
        for (int l = 0; l < IC_LEVELS; l++) {
            s->even[l] = s->plain + plain + (size_t)(2 * l) * half;
            s->odd[l] = s->even[l] + half;
        }
    }
    return (row * sizeof(int32_t) + (plain + 2 * IC_LEVELS * half) * sizeof(int16_t) + 127) / 64 * 64;
}

static int clip(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

static int16_t *line(Plane p, int y) { return p.data + (ptrdiff_t)clip(y, 0, p.h - 1) * p.w * C; }

static void blur_along(const Space *s, int32_t *row, int w, int bits, int y) {
    for (int k = 0; k < RADIUS * C; k++) {
        row[k] = row[RADIUS * C + k % C];
        row[(w + RADIUS) * C + k] = row[(w + RADIUS - 1) * C + k % C];
    }
    s->loops->along(row, w * C, bits, s->blurred + (ptrdiff_t)y * w * C);
}

/* Row y of the picture, blurred along. */
static void first_row(const Space *s, int y, const Scratch *t) {
    const int16_t *x = s->x + (ptrdiff_t)y * s->w * C;
    int32_t *row = t->row + RADIUS * C;
    for (int i = 0; i < s->w * C; i++) row[i] = x[i] * 4;
    blur_along(s, t->row, s->w, IC_TAP_BITS, y);
}

/* Row y of the sums of 2x2 blocks of `from`, blurred along. */
static void halved_row(const Space *s, Plane from, int y, const Scratch *t) {
    const int16_t *a = line(from, 2 * y), *b = line(from, 2 * y + 1);
    int32_t *row = t->row + RADIUS * C;
    for (int i = 0; i < from.w / 2; i++, a += 2 * C, b += 2 * C, row += C)
        for (int c = 0; c < C; c++) row[c] = a[c] + a[C + c] + b[c] + b[C + c];
    blur_along(s, t->row, from.w / 2, IC_TAP_BITS + 2, y);
}

/* Row y of `to`: the blurred rows around it, blurred across. */
static void blur_across(const Space *s, Plane to, int y) {
    const Plane from = {s->blurred, to.h, to.w};
    const int16_t *lines[LINES];
    for (int k = 0; k < LINES; k++) lines[k] = line(from, y - RADIUS + k);
    s->loops->across(lines, to.w * C, line(to, y));
}

/* The pixels of row y at twice the size of `from`. */
static void twice(const Space *s, Plane from, int y, int32_t *row, int16_t *even, int16_t *odd) {
    s->loops->twice(line(from, y / 2), line(from, y / 2 - 1 + 2 * (y % 2)), from.w * C, row, even, odd);
}

/* Row y of `to`, which has twice the size of `from`. */
static void double_row(const Space *s, Plane from, Plane to, int y, const Scratch *t) {
    const int16_t *even = t->even[0], *odd = t->odd[0];
    twice(s, from, y, t->row, t->even[0], t->odd[0]);
    int16_t *out = line(to, y);
    for (int i = 0; i < from.w; i++, out += 2 * C, even += C, odd += C) {
        memcpy(out, even, C * sizeof *out);
        memcpy(out + C, odd, C * sizeof *out);
    }
}

/* All levels of row y. */
static void volume_row(const Space *s, int y, const Scratch *t) {
    const int16_t *x = s->x + (ptrdiff_t)y * s->w * C, *first = line(s->first, y);
    int16_t *out = s->volume + (ptrdiff_t)y * s->w * PIXEL;
    for (int i = 0; i < s->w * C; i++) t->plain[i] = (int16_t)(x[i] * 4);
    for (int l = 2; l < IC_LEVELS; l++) twice(s, s->half[l], y, t->row, t->even[l], t->odd[l]);
    for (int i = 0; i < s->w; i++, out += PIXEL) {
        memcpy(out, t->plain + i * C, C * sizeof *out);
        memcpy(out + C, first + i * C, C * sizeof *out);
        for (int l = 2; l < IC_LEVELS; l++)
            memcpy(out + l * C, (i % 2 ? t->odd[l] : t->even[l]) + i / 2 * C, C * sizeof *out);
    }
}

/* Hand the rows of a pass to the team, CHUNK at a time, and wait for all of them. */
#define PASS(ROWS, CALL)                                                                  \
    do {                                                                                  \
        if (index == 0) ic_team_reset(team, job + 1);                                     \
        for (int item; (item = ic_team_next(team, job)) * CHUNK < (ROWS);)                \
            for (int y = item * CHUNK; y < (item + 1) * CHUNK && y < (ROWS); y++) CALL;   \
        ic_team_barrier(team);                                                            \
        job++;                                                                            \
    } while (0)

static void space(void *context, IcTeam *team, int index) {
    const Space *s = context;
    Scratch t = {NULL, NULL, {NULL}, {NULL}};
    place(s->scratch + (size_t)index * s->scratch_size, s->w, &t);
    int job = 0;
    if (index == 0) ic_team_reset(team, 0);
    ic_team_barrier(team);
    PASS(s->h, first_row(s, y, &t));
    PASS(s->h, blur_across(s, s->first, y));
    Plane last = s->first;
    for (int level = 2; level < IC_LEVELS; level++) {
        const Plane small = {level == 2 ? s->half[2].data : s->small[level], last.h / 2, last.w / 2};
        PASS(small.h, halved_row(s, last, y, &t));
        PASS(small.h, blur_across(s, small, y));
        Plane from = small;
        while (from.h < s->h / 2) {
            Plane to = {s->larger[from.data == s->larger[0]], 2 * from.h, 2 * from.w};
            if (to.h == s->h / 2) to = s->half[level];
            PASS(to.h, double_row(s, from, to, y, &t));
            from = to;
        }
        last = small;
    }
    PASS(s->h, volume_row(s, y, &t));
}

int ic_scale_space(const IcIsa *isa, const int16_t *x, int h, int w, int16_t *volume, int threads) {
    const size_t full = (size_t)h * w * C, quarter = full / 4;
    Space s = {.loops = isa->flow, .x = x, .volume = volume, .h = h, .w = w, .scratch_size = place(NULL, w, NULL)};
    s.scratch = ic_alloc(s.scratch_size * (size_t)threads);
    s.blurred = ic_alloc((2 * full + 2 * quarter) * sizeof(int16_t));
    const int failed = !s.scratch || !s.blurred;
    if (!failed) {
        /* Once level 1 is there, only a quarter of `blurred` is used again: three halves take the others. */
        s.first = (Plane){s.blurred + full, h, w};
        for (int l = 2; l < IC_LEVELS; l++) s.half[l] = (Plane){s.blurred + (size_t)(l - 1) * quarter, h / 2, w / 2};
        s.half[IC_LEVELS - 1].data = s.blurred + 2 * full;
        int16_t *at = s.half[IC_LEVELS - 1].data + quarter;
        for (int k = 0; k < 2; k++, at += quarter / 4) s.larger[k] = at;
        for (int l = 3; l < IC_LEVELS; at += quarter / 4 >> 2 * (l - 3), l++) s.small[l] = at;
        ic_team_run(threads, space, &s);
    }
    ic_free(s.scratch);
    ic_free(s.blurred);
    return -failed;
}

typedef struct {
    const struct IcFlow *loops;
    IcWarping picture;
} Warping;

static void warp(void *context, IcTeam *team, int index) {
    const Warping *p = context;
    int job = 0;
    if (index == 0) ic_team_reset(team, 0);
    ic_team_barrier(team);
    PASS(p->picture.h, p->loops->warp(&p->picture, y));
}

void ic_warp(const IcIsa *isa, const int16_t *volume, const int32_t *motion, int h, int w, int16_t *out, int threads) {
    Warping p = {isa->flow, {volume, motion, out, h, w, (w + 127) / 128, (h + 127) / 128}};
    ic_team_run(threads, warp, &p);
}
