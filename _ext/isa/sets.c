/* Run-time choice of the instruction set: one table, fastest first. */
#include <string.h>

#include "isa/sets.h"

static const IcIsa *const table[] = {
#ifdef IC_X86
    &ic_avx512vnni,
    &ic_avx2,
#endif
#ifdef IC_NEON
    &ic_neon,
#endif
#ifdef IC_WASM
    &ic_wasm,
#endif
    &ic_scalar,
};

const IcIsa *ic_isa_at(int i) { return i >= 0 && (size_t)i < sizeof table / sizeof *table ? table[i] : NULL; }

const IcIsa *ic_isa_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if ((!name || !strcmp(name, table[i]->name)) && table[i]->supported()) return table[i];
    return NULL;
}
