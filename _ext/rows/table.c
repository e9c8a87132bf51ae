/* The kinds of rows: one line for each. */
#include "rows/table.h"

#define KINDS(X)   \
    X(conv)        \
    X(gdn)         \
    X(rescale)     \
    X(scale_index) \
    X(concat)      \
    X(add)         \
    X(gate)        \
    X(scale_space) \
    X(warp)

#define DECLARE(kind) extern const IcRowKind ic_kind_##kind;
#define LIST(kind) &ic_kind_##kind,

KINDS(DECLARE)

static const IcRowKind *const table[] = {KINDS(LIST)};

const IcRowKind *ic_row_at(int i) { return i >= 0 && (size_t)i < sizeof table / sizeof *table ? table[i] : NULL; }

const IcRowKind *ic_row_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
}
