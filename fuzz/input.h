/* The fuzzer's bytes, taken one number at a time; zeros when they are used up. */
#ifndef INTCODEC_FUZZ_INPUT_H
#define INTCODEC_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For a driver of the target: threads to use in place of what the input says, where not 0; and a hash of what a machine
 * of any kind should have made of the inputs so far. */
int fuzz_threads = 0;
uint64_t fuzz_hash = 14695981039346656037u;

/* Note `count` integers of `size` bytes each. */
static inline void fuzz_note(const void *data, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t v = size == 1   ? ((const uint8_t *)data)[i]
                           : size == 2 ? ((const uint16_t *)data)[i]
                                       : ((const uint32_t *)data)[i];
        fuzz_hash = (fuzz_hash ^ v) * 1099511628211u;
    }
}

typedef struct {
    const uint8_t *at, *end;
} Input;

static inline uint32_t take(Input *in, int bytes) {
    uint32_t v = 0;
    while (bytes-- > 0) v = v << 8 | (in->at < in->end ? *in->at++ : 0u);
    return v;
}

/* A number in [lo, hi] from as few bytes as hold the difference. */
static inline int64_t pick(Input *in, int64_t lo, int64_t hi) {
    const uint64_t span = (uint64_t)(hi - lo);
    const int bytes = span < 1u << 8 ? 1 : span < 1u << 16 ? 2 : 4;
    return lo + (int64_t)(span == UINT32_MAX ? take(in, bytes) : take(in, bytes) % (span + 1));
}

/* A cheap stream of numbers that the input seeds, for arrays that need many. */
static inline uint32_t next(uint32_t *state) {
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

/* A block of exactly this size, so that a step outside it is seen; at least one byte. */
static inline void *block(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    if (!p) abort();
    return p;
}

/* A statement about the code under test that must hold for every input. */
#define REQUIRE(ok)                                                        \
    do {                                                                   \
        if (!(ok)) {                                                       \
            fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #ok); \
            abort();                                                       \
        }                                                                  \
    } while (0)

#endif
