/* Exact Winograd convolution: 2x2 outputs of a 3x3 kernel from 16 products in place of 36, every bit the same.
 *
 * F(2x2, 3x3) of Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), in integers. In one
 * dimension, for inputs d0..d3, taps g0..g2 and outputs y0, y1:
 *
 *     v = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)        u = (2 g0, g0 + g1 + g2, g0 - g1 + g2, 2 g2)
 *     2 y0 = v0 u0 + v1 u1 + v2 u2                    2 y1 = v1 u1 - v2 u2 - v3 u3
 *
 * With twice the usual u nothing is halved, so in two dimensions the sums are 4 y, exactly. Why this cannot go wrong:
 *
 *     v   is a sum of four inputs:           4 max|x| <= 32767 is checked when the row is packed
 *     u   is a sum of up to nine weights:    9 max|w| <= 32767 is checked too
 *     4 y is known modulo 2^32, whatever the products' sums do on the way, and |4 y| < 2^31 because the input channels
 *         are summed in parts for which max|x| * sum|w| < 2^29; then 4 y / 4 is a shift, and parts add up in int32 as
 *         docs/arithmetic.md, section 8, has proved.
 *
 * A row that fails a check is computed directly. A stride-2 kernel is a sum over the four phases of its input (rows and
 * columns even or odd), each a stride-1 kernel of at most 3x3 taps. Where taps are zero throughout - the phases of a
 * transposed convolution, the odd phases of a 5x5 kernel - u is zero at whole positions, and those are skipped: 49
 * products in place of 100 for a 5x5 stride-2 convolution or its transpose.
 */
#ifndef INTCODEC_WINOGRAD_H
#define INTCODEC_WINOGRAD_H

#include "kernels.h"

enum { IC_POSITIONS = 16 };

#endif
