/* Samples of a scale space where a motion points to (docs/arithmetic.md, warp). */
#include "rows/flow.h"

enum { MOST = 32764, REACH = 1 << 18, POINT_BITS = 8, GRID = 128 };

static const char *check(const IcParams *p) {
    const IcTensor volume = p->in[0], motion = p->in[1];
    if (ic_type(volume) != IC_I16 || volume.channels != IC_LEVELS * IC_COLOURS) return "the input must be a scale space";
    if (ic_magnitude(volume) > MOST) return "the scale space has too large values";
    if (ic_type(motion) != IC_I32 || motion.channels != 3) return "the motion must be int32[H, W, 3]";
    return ic_magnitude(motion) >= REACH ? "the motion reaches too far" : NULL;
}

static IcTensor out(const IcParams *p) {
    const IcTensor volume = p->in[0];
    const int half = (1 << IC_VOLUME_BITS) / 2;
    return (IcTensor){volume.channels / IC_LEVELS, ic_sar(volume.lo + half, IC_VOLUME_BITS),
                      ic_sar(volume.hi + half, IC_VOLUME_BITS)};
}

static IcBound bound(const IcParams *p) {
    const int64_t reach = ic_magnitude(p->in[1]) * (IC_MAX_FLOW_SIDE / GRID) + ic_half(POINT_BITS);
    const int64_t point = reach + ((int64_t)IC_MAX_FLOW_SIDE << POINT_BITS);
    const int64_t sums = (ic_magnitude(p->in[0]) << 2 * POINT_BITS) + ic_half(2 * POINT_BITS + IC_VOLUME_BITS);
    return (IcBound){point > sums ? point : sums, IC_ACC_LIMIT, ""};
}

/* Some values of each of eight neighbours, and two levels of three: what a pixel costs. */
enum { WORK = 400 };

static void pack(IcRow *row, const IcParams *p) {
    (void)p;
    row->work = WORK;
}

static void run(const IcRow *row, const IcStrip *s) {
    const IcView *out = s->out;
    const IcWarp w = {
        .volume = (const int16_t *)s->in[0]->memory,
        .motion = (const int32_t *)s->in[1]->memory,
        .out = (int16_t *)out->memory,
        .h = out->height,
        .w = out->width,
        .grid_x = (out->width + GRID - 1) / GRID,
        .grid_y = (out->height + GRID - 1) / GRID,
    };
    for (int y = s->from; y < s->to; y++) row->isa->warp(&w, y);
}

const IcRowKind ic_kind_warp = {
    .name = "warp",
    .input = {"input", "other"},
    .whole = 1,
    .check = check,
    .out = out,
    .fits = ic_flow_fits,
    .bound = bound,
    .pack = pack,
    .run = run,
};
