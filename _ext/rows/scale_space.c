/* Ever blurrier versions of a picture side by side (docs/arithmetic.md, scale_space), in passes over rows:
 *
 *     x --blur--> level 1 --halve, blur--> small 2 --halve, blur--> small 3 ... small 5
 *     small l --double l - 2 times--> half l, of half the sides
 *     x, level 1, half 2 .. 5 --double once more, all levels of a row together--> volume
 */
#include "rows/flow.h"

enum { C = IC_COLOURS, PIXEL = IC_LEVELS * C, RADIUS = IC_RADIUS, LINES = 2 * RADIUS + 1 };

static const char *check(const IcParams *p) {
    const IcTensor x = p->in[0];
    const int fits = ic_type(x) == IC_I16 && x.channels == C && ic_magnitude(x) << IC_VOLUME_BITS < 1 << 15;
    return fits ? NULL : "the input must be int16[H, W, 3] below 2^13";
}

static IcTensor out(const IcParams *p) {
    const IcTensor x = p->in[0];
    return (IcTensor){x.channels * IC_LEVELS, x.lo * (1 << IC_VOLUME_BITS), x.hi * (1 << IC_VOLUME_BITS)};
}

static IcBound bound(const IcParams *p) {
    const int bits = IC_TAP_BITS + 2; /* the first pass over sums of four */
    return (IcBound){(ic_magnitude(out(p)) << bits) + ic_half(bits), IC_ACC_LIMIT, ""};
}

/* Taps of all levels along and across, and what is doubled: what a pixel costs. */
enum { WORK = 400 };

static void pack(IcRow *row, const IcParams *p) {
    (void)p;
    row->work = WORK;
}

/* What a pass does to make or to enlarge a level; `doubled` is how many times that was doubled before. */
typedef struct {
    enum { NOTHING, ALONG, ACROSS, TWICE, VOLUME } step;
    int level, doubled;
} Pass;

static Pass pass_at(int number) {
    for (int level = 1; level < IC_LEVELS; level++) {
        const int doublings = level > 2 ? level - 2 : 0;
        if (number < 2) return (Pass){number ? ACROSS : ALONG, level, 0};
        if (number < 2 + doublings) return (Pass){TWICE, level, number - 2};
        number -= 2 + doublings;
    }
    return (Pass){number ? NOTHING : VOLUME, 0, 0};
}

static int pass(const IcRow *row, int number, int height) {
    const Pass p = pass_at(number);
    (void)row;
    if (p.step == NOTHING || p.step == VOLUME) return p.step == VOLUME ? height : 0;
    const int small = height >> (p.level - 1);
    return p.step == TWICE ? small << (p.doubled + 1) : small;
}

/* A picture of three channels without gaps. */
typedef struct {
    int16_t *data;
    int h, w;
} Plane;

typedef struct {
    const IcIsa *isa;
    const int16_t *x;
    int16_t *volume;
    int h, w;
    int16_t *blurred;        /* one direction done */
    Plane small[IC_LEVELS];  /* before it is doubled; levels 1 and 2 stay as they are */
    Plane half[IC_LEVELS];   /* from level 2 on: of half the sides */
    int16_t *larger[2];      /* on the way from small to half */
    int32_t *row;            /* of this thread: [w + 2 * RADIUS][C], */
    int16_t *plain;          /* [w][C], */
    int16_t *even[IC_LEVELS], *odd[IC_LEVELS]; /* [w / 2][C] */
} Space;

/* 15 bytes a pixel. Once level 1 is there, only a quarter of `blurred` is used again: three halves take the others. */
static size_t shared(const IcRow *row, int height, int width) {
    (void)row;
    const size_t full = (size_t)height * (size_t)width * C;
    return (2 * full + full / 2) * sizeof(int16_t);
}

static void place_shared(Space *s, int16_t *memory) {
    const size_t full = (size_t)s->h * (size_t)s->w * C, quarter = full / 4;
    s->blurred = memory;
    s->small[1] = (Plane){memory + full, s->h, s->w};
    for (int l = 2; l < IC_LEVELS; l++) s->half[l] = (Plane){memory + (size_t)(l - 1) * quarter, s->h / 2, s->w / 2};
    s->half[IC_LEVELS - 1].data = memory + 2 * full;
    s->small[2] = s->half[2];
    int16_t *at = s->half[IC_LEVELS - 1].data + quarter;
    for (int k = 0; k < 2; k++, at += quarter / 4) s->larger[k] = at;
    for (int l = 3; l < IC_LEVELS; at += quarter / 4 >> 2 * (l - 3), l++)
        s->small[l] = (Plane){at, s->h >> (l - 1), s->w >> (l - 1)};
}

static size_t place_scratch(Space *s, char *memory, int width) {
    const size_t row = (size_t)(width + 2 * RADIUS) * C, plain = (size_t)width * C, half = plain / 2 + C;
    if (memory) {
        s->row = (int32_t *)memory;
        s->plain = (int16_t *)(s->row + row);
        for (int l = 0; l < IC_LEVELS; l++) {
            s->even[l] = s->plain + plain + (size_t)(2 * l) * half;
            s->odd[l] = s->even[l] + half;
        }
    }
    return row * sizeof(int32_t) + (plain + 2 * IC_LEVELS * half) * sizeof(int16_t);
}

static size_t scratch(const IcRow *row, int width) {
    (void)row;
    return place_scratch(NULL, NULL, width);
}

static int16_t *line_of(Plane p, int y) { return p.data + (ptrdiff_t)ic_clamp(y, 0, p.h - 1) * p.w * C; }

/* Row y of the picture, or of the sums of 2x2 blocks of the level before, blurred along. */
static void blur_along(const Space *s, int level, int y) {
    const int w = s->small[level].w;
    int32_t *row = s->row + RADIUS * C;
    if (level == 1) {
        const int16_t *x = s->x + (ptrdiff_t)y * w * C;
        for (int i = 0; i < w * C; i++) row[i] = x[i] * (1 << IC_VOLUME_BITS);
    } else {
        const int16_t *a = line_of(s->small[level - 1], 2 * y), *b = line_of(s->small[level - 1], 2 * y + 1);
        for (int i = 0; i < w; i++, a += 2 * C, b += 2 * C)
            for (int c = 0; c < C; c++) row[i * C + c] = a[c] + a[C + c] + b[c] + b[C + c];
    }
    for (int k = 0; k < RADIUS * C; k++) {
        s->row[k] = row[k % C];
        row[w * C + k] = row[(w - 1) * C + k % C];
    }
    s->isa->along(s->row, w * C, IC_TAP_BITS + (level > 1 ? 2 : 0), s->blurred + (ptrdiff_t)y * w * C);
}

/* Row y of a level: the blurred rows around it, blurred across. */
static void blur_across(const Space *s, int level, int y) {
    const Plane to = s->small[level], from = {s->blurred, to.h, to.w};
    const int16_t *lines[LINES];
    for (int k = 0; k < LINES; k++) lines[k] = line_of(from, y - RADIUS + k);
    s->isa->across(lines, to.w * C, line_of(to, y));
}

/* The even and odd pixels of row y at twice the size of `from`. */
static void twice(const Space *s, Plane from, int y, int level) {
    const int16_t *near = line_of(from, y / 2), *far = line_of(from, y / 2 - 1 + 2 * (y % 2));
    s->isa->twice(near, far, from.w * C, s->row, s->even[level], s->odd[level]);
}

/* Row y of a level that is doubled once more. */
static void double_row(const Space *s, Pass p, int y) {
    const Plane small = s->small[p.level];
    Plane from = small, to = {s->larger[p.doubled % 2], small.h << (p.doubled + 1), small.w << (p.doubled + 1)};
    if (p.doubled) from = (Plane){s->larger[(p.doubled - 1) % 2], to.h / 2, to.w / 2};
    if (to.h == s->h / 2) to = s->half[p.level];
    const int16_t *even = s->even[0], *odd = s->odd[0];
    int16_t *out = line_of(to, y);
    twice(s, from, y, 0);
    for (int i = 0; i < from.w; i++, out += 2 * C, even += C, odd += C) {
        memcpy(out, even, C * sizeof *out);
        memcpy(out + C, odd, C * sizeof *out);
    }
}

/* All levels of row y. */
static void volume_row(const Space *s, int y) {
    const int16_t *x = s->x + (ptrdiff_t)y * s->w * C, *first = line_of(s->small[1], y);
    int16_t *out = s->volume + (ptrdiff_t)y * s->w * PIXEL;
    for (int i = 0; i < s->w * C; i++) s->plain[i] = (int16_t)(x[i] * (1 << IC_VOLUME_BITS));
    for (int l = 2; l < IC_LEVELS; l++) twice(s, s->half[l], y, l);
    for (int i = 0; i < s->w; i++, out += PIXEL) {
        memcpy(out, s->plain + i * C, C * sizeof *out);
        memcpy(out + C, first + i * C, C * sizeof *out);
        for (int l = 2; l < IC_LEVELS; l++)
            memcpy(out + l * C, (i % 2 ? s->odd[l] : s->even[l]) + i / 2 * C, C * sizeof *out);
    }
}

static void run(const IcRow *row, const IcStrip *strip) {
    const IcView *in = strip->in[0];
    const Pass p = pass_at(strip->pass);
    Space s = {.isa = row->isa, .x = (const int16_t *)in->memory, .volume = (int16_t *)strip->out->memory};
    s.h = in->height, s.w = in->width;
    place_shared(&s, strip->shared);
    place_scratch(&s, strip->scratch, s.w);
    for (int y = strip->from; y < strip->to; y++)
        if (p.step == ALONG) blur_along(&s, p.level, y);
        else if (p.step == ACROSS) blur_across(&s, p.level, y);
        else if (p.step == TWICE) double_row(&s, p, y);
        else volume_row(&s, y);
}

const IcRowKind ic_kind_scale_space = {
    .name = "scale_space",
    .input = {"input"},
    .whole = 1,
    .check = check,
    .out = out,
    .fits = ic_flow_fits,
    .bound = bound,
    .pack = pack,
    .scratch = scratch,
    .shared = shared,
    .pass = pass,
    .run = run,
};
