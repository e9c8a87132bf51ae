/* Scale space and warp (docs/arithmetic.md, section 9): two functions over whole pictures, outside the graphs' strips,
 * because a motion may point anywhere in its picture. Their inner loops are compiled for each instruction set. */
#ifndef INTCODEC_FLOW_H
#define INTCODEC_FLOW_H

#include "kernels.h"

enum { IC_LEVELS = 6, IC_COLOURS = 3, IC_RADIUS = 5, IC_TAP_BITS = 14 };

/* volume[h][w][IC_LEVELS][3] of x[h][w][3], h and w multiples of 16. Returns 0, or -1 without memory. Besides the
 * volume (36 bytes a pixel) it takes 15 bytes a pixel while it runs. */
int ic_scale_space(const IcIsa *isa, const int16_t *x, int h, int w, int16_t *volume, int threads);

/* out[h][w][3] of volume[h][w][IC_LEVELS][3] and motion[h][w][3]; sides up to 65536. */
void ic_warp(const IcIsa *isa, const int16_t *volume, const int32_t *motion, int h, int w, int16_t *out, int threads);

typedef struct {
    const int16_t *volume;
    const int32_t *motion;
    int16_t *out;
    int h, w, grid_x, grid_y;
} IcWarping;

/* The inner loops of an instruction set (flow_rows.h); `count` is of values, colours included. */
struct IcFlow {
    /* out[i] = row[i ..] blurred; row has IC_RADIUS pixels more on either side */
    void (*along)(const int32_t *row, int count, int bits, int16_t *out);
    /* out[i] = the 2 * IC_RADIUS + 1 lines blurred across */
    void (*across)(const int16_t *const *line, int count, int16_t *out);
    /* The even and the odd pixels of a row of twice the size, from the row that is near and the one that is far;
     * `sum` holds count + 2 * IC_COLOURS values. */
    void (*twice)(const int16_t *near, const int16_t *far, int count, int32_t *sum, int16_t *even, int16_t *odd);
    void (*warp)(const IcWarping *p, int y);
};

#endif
