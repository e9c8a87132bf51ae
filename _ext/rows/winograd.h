/* Exact Winograd convolution: 2x3 outputs of a 3x3 kernel from 20 products in place of 54, or 2x2 from 16 in place of
 * 36, every bit the same.
 *
 * F(2, 3) down and F(3, 3) or F(2, 3) across, of Lavin and Gray, "Fast algorithms for convolutional neural networks"
 * (CVPR 2016), in integers. For inputs d0, d1, ..., taps g0..g2, outputs y0, y1, ... and products m = v u, in one
 * dimension:
 *
 *     two outputs      v = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)
 *                      u = (2 g0, g0 + g1 + g2, g0 - g1 + g2, 2 g2)
 *                      2 y0 = m0 + m1 + m2       2 y1 = m1 - m2 - m3
 *     three outputs    v = (2 d0 - d1 - 2 d2 + d3, d3 - d2 - 2 d1, d3 - 3 d2 + 2 d1, d3 - d1, 2 d1 - d2 - 2 d3 + d4)
 *                      u = (3 g0, -g0 - g1 - g2, -g0 + g1 - g2, g0 + 2 g1 + 4 g2, 3 g2)
 *                      6 y0 = m0 + 3 m1 + m2 + m3    6 y1 = 3 m1 - m2 + 2 m3    6 y2 = 3 m1 + m2 + 4 m3 + 2 m4
 *
 * Nothing is halved, so in two dimensions the sums are 4 y or 12 y, exactly. Why this cannot go wrong:
 *
 *     v   is a sum of 2 * 2 or 2 * 6 inputs: 4 max|x| or 12 max|x| <= 32767 is checked when the row is packed
 *     u   is a sum of up to 9 or 21 weights: that it fits int16 is checked too
 *     4 y and 12 y are known modulo 2^32, whatever the products' sums do on the way; 12 y times the inverse of 3 modulo
 *         2^32 is 4 y. |4 y| < 2^31 because the input channels are summed in parts for which max|x| * sum|w| < 2^29; then
 *         4 y / 4 is a shift, and parts add up in int32 as docs/arithmetic.md (Proof) has proved.
 *
 * Three outputs across are taken where they pass the checks, else two; a row that fails both is computed directly. A
 * stride-2 kernel is a sum over the four phases of its input (rows and columns even or odd), each a stride-1 kernel of at
 * most 3x3 taps. Where taps are zero throughout - the phases of a transposed convolution, the odd phases of a 5x5 kernel -
 * u is zero at whole positions, and those are skipped: 63 products in place of 150 for 2x3 outputs of a 5x5 stride-2
 * convolution or its transpose.
 */
#ifndef INTCODEC_ROWS_WINOGRAD_H
#define INTCODEC_ROWS_WINOGRAD_H

#include "rows/blocks.h"

/* Set conv->across to the outputs across a tile, 2 or 3, if a convolution can be computed in tiles, every bit the same,
 * and is worth it; else to 0. Sets conv->parted. */
void ic_winograd_choose(const IcRow *row, IcConv *conv, const IcKernel *k);
IcPacker ic_winograd_pack;
size_t ic_winograd_scratch(const IcRow *row);
/* Compute the blocks [b0, b1) of a strip. */
void ic_winograd_run(const IcRow *row, const IcStrip *s, int b0, int b1);

#endif
