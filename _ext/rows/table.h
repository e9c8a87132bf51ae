/* The kinds of rows. */
#ifndef INTCODEC_ROWS_TABLE_H
#define INTCODEC_ROWS_TABLE_H

#include "core/row.h"

/* The i-th kind, NULL past the last. */
const IcRowKind *ic_row_at(int i);
/* The kind of a name, NULL if there is none. */
const IcRowKind *ic_row_find(const char *name);

#endif
