/* Range coder tables: the rows of integer cdfs, laid out for the coder. Plain C11, header only, no allocation.
 *
 * What may live here: checking a model's rows and deriving from them what rangecoder_core.h reads per symbol. None
 * of it is stored in a model file. A slot is packed as start | freq << 16, which fits because every row has at
 * least two slots, so that both stay below 2^16.
 */
#ifndef INTCODEC_RANGECODER_TABLES_H
#define INTCODEC_RANGECODER_TABLES_H

#include <stddef.h>
#include <stdint.h>

#define RC_PRECISION 16

enum rc_status {
    RC_OK = 0,
    RC_PAST_END = 1,      /* the lane needs a byte that a canonical stream would have held */
    RC_BAD_CODE = 2,      /* no slot contains the code value */
    RC_BAD_ESCAPE = 3,    /* an escaped value leaves int16 */
    RC_NOT_CANONICAL = 4, /* bytes left over, or not the flush an encoder writes */
    RC_BAD_HEADER = 5,    /* lane lengths malformed, or larger than the payload */
    RC_BAD_INDEX = 6,     /* an index names no row */
    RC_CAPACITY = 7,      /* the caller gave too little room */
    RC_BAD_TABLE = 8      /* a cdf row that is not strictly increasing from 0 to 2^16 */
};

#if defined(__GNUC__) || defined(__clang__)
#define RC_INLINE static inline __attribute__((always_inline, unused))
#define RC_FUNCTION static __attribute__((unused))
#define RC_RARE static __attribute__((noinline, cold, unused))
#define RC_UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define RC_INLINE static inline
#define RC_FUNCTION static inline
#define RC_RARE static inline
#define RC_UNLIKELY(x) (x)
#endif

/* One row. Invariant: 1 <= escape <= 65535, and lookup[lut + (q >> shift)] is the slot that holds the first
 * quotient of q's bucket, so that a scan upwards from it ends inside the row. */
typedef struct {
    uint32_t first;  /* the row's slot 0 in slots[] */
    uint32_t lut;    /* the row's bucket 0 in lookup[] */
    uint16_t escape; /* the last slot */
    int16_t offset;  /* the symbol of slot 0 */
    uint8_t shift;   /* quotient bits below a bucket */
    uint8_t order;   /* of the Exp-Golomb code after an escape */
    uint16_t unused;
} rc_row;

typedef struct {
    const uint32_t *slots;  /* start | freq << 16; one slot of padding after the last row */
    const uint16_t *lookup; /* bucket -> slot */
    const rc_row *rows;
    uint32_t n_rows;
} rc_tables;

/* Buckets of a row: more for long rows, whose slots are thin. */
RC_INLINE unsigned rc_bucket_bits(uint32_t n_slots) {
    return n_slots <= 128 ? 8 : n_slots <= 512 ? 10 : 12;
}

/* Exp-Golomb order: max(0, bit_length(n_slots) - 5); an overshoot grows with the row's width. */
RC_INLINE unsigned rc_escape_order(uint32_t n_slots) {
    unsigned order = 0;
    while (n_slots >> (order + 5)) order++;
    return order;
}

/* Check the rows; say how many bucket entries rc_build_tables will write. starts[] holds n_rows + 1 positions. */
RC_FUNCTION int rc_check_tables(const uint32_t *cdf, size_t total, const int32_t *starts, const int32_t *offsets,
                                size_t n_rows, size_t *n_lookup) {
    size_t buckets = 0;
    if (n_rows == 0 || n_rows > 65536 || total > INT32_MAX) return RC_BAD_TABLE;
    if (starts[0] != 0 || starts[n_rows] < 0 || (size_t)starts[n_rows] != total) return RC_BAD_TABLE;
    for (size_t r = 0; r < n_rows; r++) {
        if (starts[r] < 0 || starts[r + 1] < starts[r] || (size_t)starts[r + 1] > total) return RC_BAD_TABLE;
        uint32_t n_slots = (uint32_t)(starts[r + 1] - starts[r]) - 1u;
        if (starts[r + 1] == starts[r] || n_slots < 2 || n_slots > 65536) return RC_BAD_TABLE;
        const uint32_t *row = cdf + starts[r];
        if (row[0] != 0 || row[n_slots] != 1u << RC_PRECISION) return RC_BAD_TABLE;
        for (uint32_t s = 0; s < n_slots; s++)
            if (row[s] >= row[s + 1]) return RC_BAD_TABLE;
        if (offsets[r] < INT16_MIN || offsets[r] > INT16_MAX) return RC_BAD_TABLE;
        if (offsets[r] + (int32_t)n_slots - 2 > INT16_MAX) return RC_BAD_TABLE;
        buckets += (size_t)1 << rc_bucket_bits(n_slots);
    }
    if (buckets > UINT32_MAX) return RC_BAD_TABLE;
    *n_lookup = buckets;
    return RC_OK;
}

/* Derive slots[total - n_rows + 1], lookup[n_lookup] and rows[n_rows] from rows that rc_check_tables accepted. */
RC_FUNCTION void rc_build_tables(const uint32_t *cdf, const int32_t *starts, const int32_t *offsets, size_t n_rows,
                                 uint32_t *slots, uint16_t *lookup, rc_row *rows) {
    uint32_t first = 0, lut = 0;
    for (size_t r = 0; r < n_rows; r++) {
        const uint32_t *row = cdf + starts[r];
        uint32_t n_slots = (uint32_t)(starts[r + 1] - starts[r]) - 1u;
        unsigned bits = rc_bucket_bits(n_slots), shift = RC_PRECISION - bits;
        rows[r].first = first;
        rows[r].lut = lut;
        rows[r].escape = (uint16_t)(n_slots - 1);
        rows[r].offset = (int16_t)offsets[r];
        rows[r].shift = (uint8_t)shift;
        rows[r].order = (uint8_t)rc_escape_order(n_slots);
        rows[r].unused = 0;
        for (uint32_t s = 0; s < n_slots; s++) slots[first + s] = row[s] | (row[s + 1] - row[s]) << 16;
        for (uint32_t b = 0, s = 0; b < 1u << bits; b++) {
            while (row[s + 1] <= b << shift) s++;
            lookup[lut + b] = (uint16_t)s;
        }
        first += n_slots;
        lut += 1u << bits;
    }
    slots[first] = 0;
}

RC_FUNCTION int rc_check_indexes(const uint16_t *indexes, size_t n, uint32_t n_rows) {
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) largest = indexes[i] > largest ? indexes[i] : largest;
    return n == 0 || largest < n_rows ? RC_OK : RC_BAD_INDEX;
}

#endif
