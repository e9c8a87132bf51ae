/* Add and gate: a row of two int16 tensors of as many channels, its result shifted and clamped per channel. */
#ifndef INTCODEC_ROWS_PAIR_H
#define INTCODEC_ROWS_PAIR_H

#include "core/row.h"

const char *ic_pair_check(const IcParams *p, const IcArray *shift);
/* The row's state, with all that does not change from line to line; NULL without memory. */
IcPair *ic_pair_pack(IcRow *row, const IcArray *shift, int32_t lo, int32_t hi);
/* One line, by the instruction set's `work`. */
void ic_pair_line(const IcRow *row, void (*work)(const IcPair *), const IcLine *in, IcLine out, int width,
                  void *scratch);

#endif
