/* Fuzz target: scale space and warp of the compiled core.
 *
 * A picture, a motion and a volume come from the input: any size, alignment and values that the core and the ranges of
 * a network let through. Arrays have exactly the sizes that they would have there. Then, for every instruction
 * set of this machine and a number of threads that the input names:
 *
 *     no step outside a buffer, no undefined arithmetic
 *     the scale space is that of the formulas (docs/arithmetic.md, scale_space), written plainly
 *     what is sampled from it, and from the arbitrary volume, is what the scalar set makes, to the bit
 *     no value leaves the range of what it is made of
 *     a motion of zero at the sharpest level gives the pixel back
 */
#include "input.h"
#include "isa/sets.h"
#include "rows/table.h"
#include "run/graph.h"

enum {
    MAX_PIXELS = 1 << 13,
    REACH = (1 << 18) - 1,    /* of a motion (network.py) */
    PICTURE = 8191,           /* of a picture; a volume has two bits more */
    SHARPEST = -(1 << 16),    /* the level of a motion at which nothing is blurred */
    C = IC_COLOURS,
    PIXEL = IC_LEVELS * IC_COLOURS
};

typedef struct {
    int h, w, lo, hi; /* of the picture's values */
    size_t pixels;
} Shape;

/* An array whose first value may lie at an odd multiple of its size; `memory` is to be freed. */
typedef struct {
    void *memory, *at;
} Array;

static Array array(size_t count, size_t size, int odd) {
    Array a = {block(count + (size_t)odd, size), NULL};
    a.at = (char *)a.memory + (size_t)odd * size;
    return a;
}

/* Values in [lo, hi]: the ends, noise, steps, single points; the first few come from the input one by one. */
static int32_t value(Input *in, uint32_t *state, int kind, size_t i, int32_t lo, int32_t hi) {
    const uint32_t r = next(state), span = (uint32_t)(hi - lo) + 1;
    switch (kind) {
    case 0: return r & 1 ? lo : hi;
    case 1: return i / 13 % 2 ? lo : hi;
    case 2: return r % 61 ? lo : hi;
    case 3: return lo + (int32_t)((uint64_t)(i * 7) % span);
    case 4: return i < 64 && in->at < in->end ? lo + (int32_t)(take(in, 3) % span) : hi;
    default: return lo + (int32_t)(r % span);
    }
}

static Array picture(Input *in, const Shape *s, size_t channels, int32_t lo, int32_t hi, int odd) {
    const Array a = array(s->pixels * channels, sizeof(int16_t), odd);
    uint32_t state = take(in, 4) | 1u;
    const int kind = (int)pick(in, 0, 7);
    for (size_t i = 0; i < s->pixels * channels; i++) ((int16_t *)a.at)[i] = (int16_t)value(in, &state, kind, i, lo, hi);
    return a;
}

/* Motions: none, of up to a power of two, to the ends of their range, or the input's own. */
static Array motions(Input *in, const Shape *s, int odd) {
    const Array a = array(s->pixels * C, sizeof(int32_t), odd);
    uint32_t state = take(in, 4) | 1u;
    const int kind = (int)pick(in, 0, 7), still = (int)pick(in, 0, 3);
    const int32_t most = take(in, 1) & 1 ? REACH : (1 << pick(in, 0, 17));
    for (size_t i = 0; i < s->pixels; i++)
        for (size_t c = 0; c < C; c++)
            ((int32_t *)a.at)[i * C + c] = still && next(&state) % 8 < (uint32_t)still ? (c < 2 ? 0 : SHARPEST)
                                                                     : value(in, &state, kind, i * C + c, -most, most);
    return a;
}

static int at(int i, int side) { return i < 0 ? 0 : i < side ? i : side - 1; }

/* v[h][w][C] blurred along or across; the sums lose `bits` bits. */
static void blur(int32_t *v, int h, int w, int bits, int along) {
    static const int32_t taps[] = {17, 124, 590, 1792, 3490, 4358, 3490, 1792, 590, 124, 17};
    int32_t *out = block((size_t)h * w * C, sizeof *out);
    for (int y = 0; y < h; y++)
        for (int i = 0; i < w * C; i++) {
            int64_t sum = 1 << (bits - 1);
            for (int k = -5; k <= 5; k++)
                sum += (int64_t)taps[k + 5] * (along ? v[(y * w + at(i / C + k, w)) * C + i % C]
                                                     : v[at(y + k, h) * w * C + i]);
            out[y * w * C + i] = (int32_t)(sum >> bits);
        }
    memcpy(v, out, (size_t)h * w * C * sizeof *v);
    free(out);
}

/* Put a level into the volume, from a picture whose sides are 2^times shorter. */
static void place(const Shape *s, const int32_t *small, int h, int w, int times, int16_t *volume, int level) {
    int32_t *v = block(s->pixels * C, sizeof *v), *out = block(s->pixels * C, sizeof *out);
    memcpy(v, small, (size_t)h * w * C * sizeof *v);
    for (; times--; h *= 2, w *= 2) {
        for (int y = 0; y < 2 * h; y++)
            for (int i = 0; i < 2 * w * C; i++) {
                const int x = i / C / 2, c = i % C, beside = at(x - 1 + 2 * (i / C % 2), w);
                const int32_t *near = v + y / 2 * w * C + c, *far = v + at(y / 2 - 1 + 2 * (y % 2), h) * w * C + c;
                out[y * 2 * w * C + i] =
                    (9 * near[x * C] + 3 * near[beside * C] + 3 * far[x * C] + far[beside * C] + 8) >> 4;
            }
        memcpy(v, out, (size_t)h * w * 4 * C * sizeof *v);
    }
    for (size_t i = 0; i < s->pixels * C; i++) volume[(i / C * IC_LEVELS + (size_t)level) * C + i % C] = (int16_t)v[i];
    free(v), free(out);
}

static int16_t *plain_space(const Shape *s, const int16_t *x) {
    int16_t *volume = block(s->pixels * PIXEL, sizeof *volume);
    int32_t *v = block(s->pixels * C, sizeof *v);
    for (size_t i = 0; i < s->pixels * C; i++) v[i] = 4 * x[i];
    place(s, v, s->h, s->w, 0, volume, 0);
    for (int level = 1, h = s->h, w = s->w; level < IC_LEVELS; level++) {
        if (level > 1) {
            h /= 2, w /= 2;
            for (int i = 0; i < h * w * C; i++) { /* never ahead of what it reads */
                const int32_t *a = v + (i / C / w * 4 * w + i / C % w * 2) * C + i % C, *b = a + 2 * w * C;
                v[i] = a[0] + a[C] + b[0] + b[C];
            }
        }
        blur(v, h, w, 14 + 2 * (level > 1), 1), blur(v, h, w, 14, 0);
        place(s, v, h, w, level - 1, volume, level);
    }
    free(v);
    return volume;
}

static void inside(const int16_t *values, size_t count, int lo, int hi) {
    for (size_t i = 0; i < count; i++) REQUIRE(values[i] >= lo && values[i] <= hi);
}

static void still_is_still(const int16_t *x, const int32_t *motion, const int16_t *made, size_t pixels) {
    for (size_t i = 0; i < pixels; i++)
        if (!motion[i * C] && !motion[i * C + 1] && motion[i * C + 2] <= SHARPEST)
            REQUIRE(!memcmp(made + i * C, x + i * C, C * sizeof *x));
}

/* Run a graph of the last `rows` of a scale space and its warp; tensors are `first`, the motion, and what is made. */
static void run_rows(const IcIsa *isa, const Shape *s, int rows, IcTensor first, void *const *tensors, int threads) {
    static const int sources[2][2] = {{0, 1}, {2, 1}}; /* of a warp alone, and of one behind a scale space */
    const IcTensor inputs[2] = {first, {C, -REACH, REACH}};
    IcGraph *g = ic_graph_new(isa, inputs, 2, rows);
    IcWorkspace *w = ic_workspace_new();
    IcRun call = {.budget = 1, .threads = fuzz_threads ? fuzz_threads : threads};
    REQUIRE(g && w);
    if (rows == 2) REQUIRE(!ic_graph_add(g, ic_row_find("scale_space"), sources[0], NULL, NULL));
    REQUIRE(!ic_graph_add(g, ic_row_find("warp"), sources[rows - 1], NULL, NULL));
    REQUIRE(!ic_graph_run(g, w, s->h, s->w, tensors, &call));
    ic_workspace_free(w);
    ic_graph_free(g);
}

/* The scale space of x, its samples, and samples of another volume, on one instruction set. */
static void run(const IcIsa *isa, const Shape *s, void *x, void *motion, void *other, int threads, int odd,
                Array made[3]) {
    made[0] = array(s->pixels * PIXEL, sizeof(int16_t), odd);
    made[1] = array(s->pixels * C, sizeof(int16_t), odd), made[2] = array(s->pixels * C, sizeof(int16_t), odd);
    run_rows(isa, s, 2, (IcTensor){C, s->lo, s->hi}, (void *[]){x, motion, made[0].at, made[1].at}, threads);
    const Array hidden = array(s->pixels * C, sizeof(int16_t), odd); /* the same without asking for the volume */
    run_rows(isa, s, 2, (IcTensor){C, s->lo, s->hi}, (void *[]){x, motion, NULL, hidden.at}, threads);
    REQUIRE(!memcmp(hidden.at, made[1].at, s->pixels * C * sizeof(int16_t)));
    free(hidden.memory);
    run_rows(isa, s, 1, (IcTensor){PIXEL, 4 * s->lo, 4 * s->hi}, (void *[]){other, motion, made[2].at}, threads);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input in = {data, data + size};
    Shape s = {.h = 16 * (int)pick(&in, 1, 4), .w = 16 * (int)pick(&in, 1, 4)};
    if (take(&in, 1) % 8 == 0) s.w = 16 * (int)pick(&in, 1, 32); /* more than one step of the motion's grid */
    if (take(&in, 1) % 8 == 0) s.h = 16 * (int)pick(&in, 1, 32);
    while (s.h * s.w > MAX_PIXELS) *(s.h > s.w ? &s.h : &s.w) -= 16;
    s.pixels = (size_t)s.h * (size_t)s.w;
    static const int ranges[][2] = {{-1024, 5104}, {-PICTURE, PICTURE}, {0, 4080}, {PICTURE, PICTURE}, {-PICTURE, -1}};
    const int range = (int)pick(&in, 0, 4), odd = take(&in, 1) & 1, threads = take(&in, 1) % 16 == 15 ? 3 : 1;
    s.lo = ranges[range][0], s.hi = ranges[range][1];

    const Array x = picture(&in, &s, C, s.lo, s.hi, odd), motion = motions(&in, &s, odd);
    const Array volume = picture(&in, &s, PIXEL, 4 * s.lo, 4 * s.hi, odd);
    Array first[3], again[3];
    run(&ic_scalar, &s, x.at, motion.at, volume.at, 1, 0, first);
    int16_t *plain = plain_space(&s, x.at);
    REQUIRE(!memcmp(plain, first[0].at, s.pixels * PIXEL * sizeof *plain));
    free(plain);
    for (int k = 0; k < 3; k++) fuzz_note(first[k].at, s.pixels * (k ? C : PIXEL), sizeof(int16_t));
    inside(first[0].at, s.pixels * PIXEL, 4 * s.lo, 4 * s.hi);
    for (int k = 1; k < 3; k++) inside(first[k].at, s.pixels * C, s.lo, s.hi);
    still_is_still(x.at, motion.at, first[1].at, s.pixels);
    const IcIsa *isa;
    for (int i = 0; (isa = ic_isa_at(i)); i++) {
        if (!isa->supported() || (isa == &ic_scalar && threads == 1)) continue;
        run(isa, &s, x.at, motion.at, volume.at, threads, odd, again);
        for (int k = 0; k < 3; k++) {
            REQUIRE(!memcmp(first[k].at, again[k].at, s.pixels * (k ? C : PIXEL) * sizeof(int16_t)));
            free(again[k].memory);
        }
    }
    for (int k = 0; k < 3; k++) free(first[k].memory);
    free(x.memory), free(motion.memory), free(volume.memory);
    return 0;
}
