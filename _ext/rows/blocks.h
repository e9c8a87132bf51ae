/* The weights of a convolution, or of GDN's mixing, packed for one instruction set when the model is loaded.
 *
 * Output channels become blocks of `lanes` lanes. Without upsampling, block b holds channels b * lanes and up. With
 * upsampling there are two layouts and the cheaper one is taken:
 *
 *     by phase   the channels of each phase (py, px) on their own, so that the taps that are zero throughout a phase
 *                (3x3, 3x2, 2x3, 2x2 for a 5x5 transposed convolution) are trimmed, and a block is stored in one piece
 *     merged     all phases of all channels together, [py][px][c]: for the 3 channels of the last layer, 12 lanes of
 *                one group instead of 3 lanes of four
 *
 * A lane that holds no channel has zero weights, bias and shift.
 */
#ifndef INTCODEC_ROWS_BLOCKS_H
#define INTCODEC_ROWS_BLOCKS_H

#include "core/row.h"

/* Weights as a model has them, [out][kh][kw][cin]. */
typedef struct {
    const int16_t *weight;
    const int32_t *bias;
    const uint8_t *shift; /* NULL: all 0 */
    int out, kh, kw, cin;
} IcKernel;

static inline const int16_t *ic_tap(const IcKernel *k, int o, int ky, int kx) {
    return k->weight + (((size_t)o * k->kh + ky) * k->kw + kx) * k->cin;
}

/* A part of a pixel's lanes that lies together in the output tensor. */
typedef struct {
    int lane, length, y, offset; /* first lane, count; output row y of the upsampled pair; elements from the pixel's */
} IcSpan;

/* Winograd products of a block over some of one phase's input channels (winograd.h). */
typedef struct {
    int phase, channel, pairs; /* channel: the first */
    unsigned mask;             /* positions whose weights are not all zero */
    int16_t *weight;           /* of those positions in turn, each [pairs][lanes][2] as in IcDot.weight */
} IcPart;

/* Up to `lanes` output channels that share one trimmed window of taps, or their Winograd parts. */
typedef struct {
    int groups, spans;
    IcSpan span[2]; /* one, or one per phase row of a merged block */
    int32_t *bias, *shift;
    int ky, kx; /* first tap of the window */
    int rows, pairs;
    int16_t *weight;
    int parts, outputs; /* outputs of a tile */
    IcPart *part;
} IcBlock;

/* A packed convolution. */
typedef struct {
    int32_t lo, hi, slope;
    int across; /* in Winograd tiles: outputs across a tile, else 0 */
    int parted; /* some sum of products over all input channels needs parts there */
    int blocks;
    IcBlock *block;
} IcConv;

/* Packs the weights of a block whose lanes are the outputs channel[0..count). */
typedef void IcPacker(IcRow *row, IcBlock *b, const IcKernel *k, const int *channel, int count);

/* For `dot`, in their trimmed window. */
IcPacker ic_pack_direct;

/* Pack all outputs and return their blocks; NULL without memory. */
IcBlock *ic_pack_blocks(IcRow *row, const IcKernel *k, IcPacker *pack, int *blocks);

/* Multiply-accumulates of blocks for one pixel. */
int64_t ic_blocks_work(const IcBlock *b, int blocks);

/* Store a span of lanes, int32 where `wide`, else int16, `pixel` elements into the line. */
void ic_store_span(IcLine line, ptrdiff_t pixel, const IcSpan *span, const void *lanes, int wide);

#endif
