/* Tensors and arrays: what they hold, and where their rows lie in memory.
 *
 * What may live here: types that rows, instruction sets and runs share, and nothing that computes a network.
 */
#ifndef INTCODEC_CORE_TENSOR_H
#define INTCODEC_CORE_TENSOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum { IC_U8, IC_I16, IC_I32 } IcType;

static inline size_t ic_size(IcType type) { return type == IC_U8 ? 1 : type == IC_I16 ? 2 : 4; }

/* A tensor [height][width][channels] with values in [lo, hi]. */
enum { IC_MAX_CHANNELS = 1 << 14 };
typedef struct {
    int32_t channels, lo, hi;
} IcTensor;

/* Every int32 value stays below 2^31 in magnitude. */
static inline int ic_tensor_fits(IcTensor t) {
    return t.channels >= 1 && t.channels <= IC_MAX_CHANNELS && t.lo > INT32_MIN && t.lo <= t.hi;
}

/* How its values are stored outside of a run: in the smallest type that holds the range. */
static inline IcType ic_type(IcTensor t) {
    return t.lo >= 0 && t.hi <= 255 ? IC_U8 : t.lo >= -32768 && t.hi <= 32767 ? IC_I16 : IC_I32;
}

/* The largest magnitude that it can hold. */
static inline int64_t ic_magnitude(IcTensor t) {
    const int64_t lo = t.lo < 0 ? -(int64_t)t.lo : t.lo, hi = t.hi < 0 ? -(int64_t)t.hi : t.hi;
    return lo > hi ? lo : hi;
}

/* An array of a row as its model has it, C-contiguous, in this machine's byte order, aligned to its type; sizes past the
 * rank are 1. */
enum { IC_MAX_RANK = 4 };
typedef struct {
    IcType type;
    int32_t rank, size[IC_MAX_RANK];
    const void *data;
} IcArray;

static inline size_t ic_count(const IcArray *a) {
    size_t count = 1;
    for (int i = 0; i < a->rank; i++) count *= (size_t)a->size[i];
    return count;
}

typedef struct {
    int height, width;
} IcSize;

/* A row of a tensor in memory, from column 0 on. */
typedef struct {
    char *at;
    IcType type;
} IcLine;

/* The rows [first, bottom) of a tensor that are in memory. Row numbers below 0 and from `height` on, and the columns
 * that `left` and `right` count, are zero borders. A row of the graph reads int16, or int32 where a value needs it; it
 * writes that too, or uint8 where the tensor goes to the caller alone. */
typedef struct {
    int height, width, channels;
    int first, bottom;
    int left, right;
    IcType type;     /* of the values in memory */
    ptrdiff_t pitch; /* values from a row to the next */
    char *memory;    /* row `first`, its left border included */
} IcView;

static inline IcLine ic_line(const IcView *v, int y) {
    const ptrdiff_t at = (y - v->first) * v->pitch + (ptrdiff_t)v->left * v->channels;
    return (IcLine){v->memory + at * (ptrdiff_t)ic_size(v->type), v->type};
}

static inline int32_t ic_get(IcLine line, ptrdiff_t i) {
    return line.type == IC_U8    ? ((const uint8_t *)line.at)[i]
           : line.type == IC_I16 ? ((const int16_t *)line.at)[i]
                                 : ((const int32_t *)line.at)[i];
}

/* Store `count` values from element i on. The rows' ranges have made them fit. */
static inline void ic_put(IcLine line, ptrdiff_t i, const int32_t *v, int count) {
    if (line.type == IC_I32) memcpy((int32_t *)line.at + i, v, (size_t)count * 4);
    else if (line.type == IC_I16)
        for (int c = 0; c < count; c++) ((int16_t *)line.at)[i + c] = (int16_t)v[c];
    else
        for (int c = 0; c < count; c++) ((uint8_t *)line.at)[i + c] = (uint8_t)v[c];
}

#endif
