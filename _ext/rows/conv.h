/* A packed convolution: what conv.c and winograd.c share. */
#ifndef INTCODEC_ROWS_CONV_H
#define INTCODEC_ROWS_CONV_H

#include "rows/blocks.h"

typedef struct {
    int32_t lo, hi, slope;
    int across; /* in Winograd tiles: outputs across a tile, else 0 */
    int parted; /* some sum of products over all input channels needs parts there */
    int blocks;
    IcBlock *block;
} IcConv;

#endif
