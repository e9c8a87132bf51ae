/* Memory aligned to 64 bytes: what vector loads and stores want. */
#ifndef INTCODEC_CORE_MEMORY_H
#define INTCODEC_CORE_MEMORY_H

#include <stddef.h>

/* NULL without memory. */
void *ic_alloc(size_t bytes);
void ic_free(void *p);

#endif
