/* The instruction sets. */
#ifndef INTCODEC_ISA_SETS_H
#define INTCODEC_ISA_SETS_H

#include "core/isa.h"

extern const IcIsa ic_scalar, ic_avx2, ic_avx512vnni, ic_neon, ic_wasm;

/* The set of this name, the fastest that this machine supports for NULL; NULL if it is not to be had here. */
const IcIsa *ic_isa_find(const char *name);
/* The i-th compiled set, fastest first, NULL past the last. */
const IcIsa *ic_isa_at(int i);

#endif
