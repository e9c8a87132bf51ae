/* What scale space and warp share: the sizes of pictures that they take. */
#ifndef INTCODEC_ROWS_FLOW_H
#define INTCODEC_ROWS_FLOW_H

#include "core/row.h"

enum { IC_MAX_FLOW_SIDE = 1 << 16, IC_FLOW_SIDE_STEP = 1 << (IC_LEVELS - 2), IC_VOLUME_BITS = 2 };

static inline const char *ic_flow_fits(IcSize in) {
    const int steps = in.height % IC_FLOW_SIDE_STEP == 0 && in.width % IC_FLOW_SIDE_STEP == 0;
    if (steps && in.height <= IC_MAX_FLOW_SIDE && in.width <= IC_MAX_FLOW_SIDE) return NULL;
    return "the sides of a scale space must be multiples of 16 up to 65536";
}

#endif
