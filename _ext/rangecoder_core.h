/* Range coder core: plain C11, header only, no Python, no float, no allocation.
 *
 * What may live here: the arithmetic of docs/rangecoder.md and nothing else. The caller owns every buffer;
 * every function returns RC_OK or one reason, and no input of any kind reads or writes outside a buffer.
 *
 * Theory of operation. A lane is one carry-propagating range coder. It holds the interval [lower, lower + range)
 * of a number whose leading words are already in the byte string. Coding a slot [start, start + freq) of a row
 * of total 2^16 keeps scale = range >> 16:   lower += scale * start,  range = scale * freq.
 * A carry out of lower is added to the bytes already written. The decoder keeps value = code - lower instead.
 *
 *   Invariant (between symbols): 2^32 <= range < 2^64, and in the decoder value < range.
 *
 * Symbol i belongs to lane i mod K: lanes are independent, so that a processor overlaps their latencies.
 */
#ifndef INTCODEC_RANGECODER_CORE_H
#define INTCODEC_RANGECODER_CORE_H

#include <string.h>

#include "rangecoder_tables.h"

#define RC_MAX_LANES 4
#define RC_WORD_BYTES 4
#define RC_WINDOW_BYTES 8
/* Bytes a lane's buffer must have free per symbol: at most two words are emitted, and one more is scratch. */
#define RC_SYMBOL_BYTES 12

/* Words are big-endian in the bytes on every machine. */
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
RC_INLINE void rc_store_word(uint8_t *out, uint32_t word) {
    word = __builtin_bswap32(word);
    memcpy(out, &word, RC_WORD_BYTES);
}
RC_INLINE uint32_t rc_load_word(const uint8_t *in) {
    uint32_t word;
    memcpy(&word, in, RC_WORD_BYTES);
    return __builtin_bswap32(word);
}
#else
RC_INLINE void rc_store_word(uint8_t *out, uint32_t word) {
    for (unsigned b = 0; b < RC_WORD_BYTES; b++) out[b] = (uint8_t)(word >> (24 - 8 * b));
}
RC_INLINE uint32_t rc_load_word(const uint8_t *in) {
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | (uint32_t)in[3];
}
#endif

/* ---- encoder ------------------------------------------------------------------------------------------------- */

/* Invariant: length <= capacity; range >= 2^32 between symbols; the bytes written, read as a binary fraction, plus
 * (lower + range) / 2^64 units of their last place stay below 1, so that a carry always ends inside the bytes. */
typedef struct {
    uint8_t *bytes;
    size_t length, capacity;
    uint64_t lower, range;
} rc_encoder_lane;

typedef struct {
    rc_encoder_lane lane[RC_MAX_LANES];
    unsigned lanes; /* K */
    unsigned next;  /* the lane of the next symbol */
} rc_encoder;

RC_FUNCTION void rc_encoder_init(rc_encoder *enc, unsigned lanes) {
    enc->lanes = lanes;
    enc->next = 0;
    for (unsigned k = 0; k < RC_MAX_LANES; k++) {
        rc_encoder_lane fresh = {NULL, 0, 0, 0, UINT64_MAX};
        enc->lane[k] = fresh;
    }
}

/* Bytes every lane must have free before n more symbols. */
RC_INLINE size_t rc_room(size_t n, unsigned lanes) {
    return RC_SYMBOL_BYTES * (n / lanes + 1);
}

RC_RARE void rc_carry(uint8_t *bytes, size_t length) {
    while (length > 0 && ++bytes[--length] == 0) {
    }
}

/* Narrow the interval to scale * [start, start + freq), then renormalize: emit a word when range < 2^32. The word
 * is stored always and kept only when due, because that branch would be unpredictable. */
RC_INLINE void rc_narrow(rc_encoder_lane *l, uint64_t scale, uint32_t start, uint32_t freq) {
    uint64_t step = scale * start;
    l->lower += step;
    l->range = scale * freq;
    if (RC_UNLIKELY(l->lower < step)) rc_carry(l->bytes, l->length);
    uint8_t *out = l->bytes + l->length;
    unsigned due = l->range >> 32 == 0;
    rc_store_word(out, (uint32_t)(l->lower >> 32));
    l->length += due * RC_WORD_BYTES;
    l->lower <<= due * 32;
    l->range <<= due * 32;
}

/* One equiprobable bit: the lower half of the interval is 0. */
RC_INLINE void rc_put_bit(rc_encoder_lane *l, unsigned bit) {
    rc_narrow(l, l->range >> 1, bit, 1);
}

/* After the escape slot: a sign bit (1: above the row), then Exp-Golomb of the excess, low bits last. */
RC_RARE void rc_put_excess(rc_encoder_lane *l, const rc_row *row, int32_t symbol) {
    int32_t above = symbol - row->offset - row->escape; /* >= 0 when the symbol is beyond the top */
    uint32_t v = above >= 0 ? (uint32_t)above : (uint32_t)(row->offset - 1 - symbol);
    unsigned bits = row->order + 1u;
    v += 1u << row->order;
    rc_put_bit(l, above >= 0);
    for (; v >> bits; bits++) rc_put_bit(l, 0);
    while (bits-- > 0) rc_put_bit(l, v >> bits & 1u);
}

RC_INLINE void rc_put(rc_encoder_lane *l, rc_tables t, int16_t symbol, uint16_t index) {
    const rc_row *row = t.rows + index;
    uint32_t slot = (uint32_t)((int32_t)symbol - row->offset); /* below the row wraps to a large number */
    int escaped = slot >= row->escape;
    slot = escaped ? row->escape : slot;
    uint32_t entry = t.slots[row->first + slot];
    rc_narrow(l, l->range >> RC_PRECISION, entry & 0xffffu, entry >> 16);
    if (RC_UNLIKELY(escaped)) {
        rc_encoder_lane copy = *l; /* so that the lane's own address stays here, and the lane in registers */
        rc_put_excess(&copy, row, symbol);
        *l = copy;
    }
}

/* Encode n symbols. Every lane must have rc_room(n, lanes) bytes free; indexes must have been checked. */
RC_FUNCTION int rc_encode(rc_encoder *enc, const rc_tables *t, const int16_t *symbols, const uint16_t *indexes,
                          size_t n) {
    size_t i = 0;
    const rc_tables tables = *t; /* a copy that no byte store can alias */
    for (unsigned k = 0; k < enc->lanes; k++)
        if (enc->lane[k].capacity - enc->lane[k].length < rc_room(n, enc->lanes)) return RC_CAPACITY;
    if (enc->lanes == 4) {
        for (; i < n && enc->next; i++, enc->next = (enc->next + 1) & 3u)
            rc_put(&enc->lane[enc->next], tables, symbols[i], indexes[i]);
        rc_encoder_lane a = enc->lane[0], b = enc->lane[1], c = enc->lane[2], d = enc->lane[3];
        for (size_t end = i + (n - i) / 4 * 4; i < end; i += 4) {
            rc_put(&a, tables, symbols[i], indexes[i]);
            rc_put(&b, tables, symbols[i + 1], indexes[i + 1]);
            rc_put(&c, tables, symbols[i + 2], indexes[i + 2]);
            rc_put(&d, tables, symbols[i + 3], indexes[i + 3]);
        }
        enc->lane[0] = a, enc->lane[1] = b, enc->lane[2] = c, enc->lane[3] = d;
    }
    for (; i < n; i++) {
        rc_put(&enc->lane[enc->next], tables, symbols[i], indexes[i]);
        enc->next = enc->next + 1 < enc->lanes ? enc->next + 1 : 0;
    }
    return RC_OK;
}

/* The distance from lower to the point of the final interval with the fewest bytes; *n is that number of bytes.
 * Four are enough: range >= 2^32, so a multiple of 2^32 lies in the interval. */
RC_INLINE uint64_t rc_flush_step(uint64_t lower, uint64_t range, unsigned *n) {
    uint64_t step = 0;
    for (*n = 0; *n <= RC_WORD_BYTES; ++*n) {
        step = (0 - lower) & UINT64_MAX >> (8 * *n);
        if (step < range) break;
    }
    return step;
}

/* Write a lane's last 0 to 4 bytes; needs RC_SYMBOL_BYTES free. Nothing may be encoded after it. */
RC_FUNCTION void rc_flush(rc_encoder_lane *l) {
    unsigned n;
    uint64_t step = rc_flush_step(l->lower, l->range, &n);
    l->lower += step;
    if (l->lower < step) rc_carry(l->bytes, l->length);
    for (unsigned b = 0; b < n; b++) l->bytes[l->length++] = (uint8_t)(l->lower >> (56 - 8 * b));
}

/* ---- decoder ------------------------------------------------------------------------------------------------- */

/* position and end are places in the payload; the lane began at position - 8 - 4 * (words shifted in).
 * Invariant: value < range once a symbol is decoded; position <= end + 8. */
typedef struct {
    size_t position, end;
    uint64_t value, range;
} rc_decoder_lane;

/* status is sticky: after the first error every call returns it again. */
typedef struct {
    rc_decoder_lane lane[RC_MAX_LANES];
    const uint8_t *payload;
    unsigned lanes, next;
    int status;
} rc_decoder;

/* The n bytes before `at`; a byte past the lane's end is zero, and a flush leaves off at most eight. */
RC_FUNCTION uint64_t rc_tail(const uint8_t *payload, const rc_decoder_lane *l, size_t at, unsigned n) {
    uint64_t code = 0;
    for (size_t i = at - n; i < at; i++) code = code << 8 | (i < l->end ? payload[i] : 0);
    return code;
}

/* Read the header of lane lengths and open every lane. The payload must outlive the decoder. */
RC_FUNCTION int rc_decoder_init(rc_decoder *dec, unsigned lanes, const uint8_t *payload, size_t size) {
    size_t at = 0, length[RC_MAX_LANES];
    dec->status = RC_BAD_HEADER;
    if (lanes == 0 || lanes > RC_MAX_LANES) return RC_BAD_HEADER;
    dec->payload = payload;
    dec->lanes = lanes;
    dec->next = 0;
    for (unsigned k = 0; k + 1 < lanes; k++) {
        length[k] = 0;
        for (unsigned shift = 0;; shift += 7) {
            if (at >= size || shift > 28) return RC_BAD_HEADER;
            uint8_t byte = payload[at++];
            if (shift == 28 && byte > 7) return RC_BAD_HEADER; /* a length stays below 2^31 */
            length[k] |= (size_t)(byte & 0x7f) << shift;
            if (byte < 0x80) {
                if (byte == 0 && shift) return RC_BAD_HEADER; /* the shortest form is the only form */
                break;
            }
        }
    }
    for (unsigned k = 0; k < lanes; k++) {
        size_t take = k + 1 < lanes ? length[k] : size - at;
        if (take > size - at) return RC_BAD_HEADER;
        rc_decoder_lane lane = {at + RC_WINDOW_BYTES, at + take, 0, UINT64_MAX};
        lane.value = rc_tail(payload, &lane, lane.position, RC_WINDOW_BYTES);
        dec->lane[k] = lane;
        at += take;
    }
    return dec->status = RC_OK;
}

/* The last words of a lane, some of whose bytes may be implied zeros. */
RC_RARE int rc_renormalize_at_end(const uint8_t *payload, rc_decoder_lane *l) {
    if (l->range >> 32) return RC_OK;
    if (l->position + RC_WORD_BYTES > l->end + RC_WINDOW_BYTES) return RC_PAST_END;
    l->position += RC_WORD_BYTES;
    l->value = l->value << 32 | rc_tail(payload, l, l->position, RC_WORD_BYTES);
    l->range <<= 32;
    return RC_OK;
}

/* Shift a word in when range < 2^32; without a branch wherever a whole word is left. */
RC_INLINE int rc_renormalize(const uint8_t *payload, rc_decoder_lane *l) {
    if (RC_UNLIKELY(l->end < l->position + RC_WORD_BYTES)) {
        rc_decoder_lane copy = *l; /* so that the lane's own address stays here, and the lane in registers */
        int status = rc_renormalize_at_end(payload, &copy);
        *l = copy;
        return status;
    }
    int due = l->range >> 32 == 0;
    uint64_t shifted = l->value << 32 | rc_load_word(payload + l->position);
    l->value = due ? shifted : l->value;
    l->range = due ? l->range << 32 : l->range;
    l->position = due ? l->position + RC_WORD_BYTES : l->position;
    return RC_OK;
}

RC_FUNCTION int rc_get_bit(const uint8_t *payload, rc_decoder_lane *l, uint32_t *bits) {
    uint64_t half = l->range >> 1;
    uint64_t bit = l->value >= half;
    l->value -= bit ? half : 0;
    l->range = half;
    *bits = *bits << 1 | (uint32_t)bit;
    return l->value < half ? rc_renormalize(payload, l) : RC_BAD_CODE;
}

RC_RARE int rc_get_excess(const uint8_t *payload, rc_decoder_lane *l, const rc_row *row, int16_t *symbol) {
    uint32_t above = 0, v = 0;
    unsigned bits = row->order;
    int status = rc_get_bit(payload, l, &above);
    for (; status == RC_OK && v == 0; bits++) {
        if (bits > RC_PRECISION) return RC_BAD_ESCAPE;
        status = rc_get_bit(payload, l, &v);
    }
    for (; status == RC_OK && bits > 1; bits--) status = rc_get_bit(payload, l, &v);
    if (status != RC_OK) return status;
    int32_t excess = (int32_t)(v - (1u << row->order));
    int32_t wide = above ? row->offset + row->escape + excess : row->offset - 1 - excess;
    if (wide < INT16_MIN || wide > INT16_MAX) return RC_BAD_ESCAPE;
    *symbol = (int16_t)wide;
    return RC_OK;
}

RC_INLINE int rc_get(const uint8_t *payload, rc_decoder_lane *l, rc_tables t, uint16_t index, int16_t *symbol) {
    const rc_row *row = t.rows + index;
    uint64_t scale = l->range >> RC_PRECISION;
    uint64_t quotient = l->value / scale; /* scale >= 2^16 */
    if (RC_UNLIKELY(quotient >> RC_PRECISION)) return RC_BAD_CODE;
    uint32_t q = (uint32_t)quotient;
    uint32_t slot = t.lookup[row->lut + (q >> row->shift)];
    const uint32_t *entries = t.slots + row->first + slot;
    uint32_t entry = entries[0], after = entries[1];
    unsigned past = q - (entry & 0xffffu) >= entry >> 16; /* one step without a branch; more are rare */
    entry = past ? after : entry;
    slot += past;
    while (RC_UNLIKELY(q - (entry & 0xffffu) >= entry >> 16)) entry = t.slots[row->first + ++slot];
    l->value -= scale * (entry & 0xffffu);
    l->range = scale * (entry >> 16);
    *symbol = (int16_t)(row->offset + (int32_t)slot);
    int status = rc_renormalize(payload, l);
    if (RC_UNLIKELY(slot == row->escape) && status == RC_OK) {
        rc_decoder_lane copy = *l;
        status = rc_get_excess(payload, &copy, row, symbol);
        *l = copy;
    }
    return status;
}

/* Decode n symbols. indexes must have been checked. */
RC_FUNCTION int rc_decode(rc_decoder *dec, const rc_tables *t, const uint16_t *indexes, int16_t *symbols, size_t n) {
    size_t i = 0;
    int status = dec->status;
    const uint8_t *payload = dec->payload;
    const rc_tables tables = *t;
    if (dec->lanes == 4) {
        for (; i < n && dec->next && !status; i++, dec->next = (dec->next + 1) & 3u)
            status = rc_get(payload, &dec->lane[dec->next], tables, indexes[i], symbols + i);
        rc_decoder_lane a = dec->lane[0], b = dec->lane[1], c = dec->lane[2], d = dec->lane[3];
        for (size_t end = i + (n - i) / 4 * 4; i < end && !status; i += 4) {
            int in_a = rc_get(payload, &a, tables, indexes[i], symbols + i);
            int in_b = rc_get(payload, &b, tables, indexes[i + 1], symbols + i + 1);
            int in_c = rc_get(payload, &c, tables, indexes[i + 2], symbols + i + 2);
            int in_d = rc_get(payload, &d, tables, indexes[i + 3], symbols + i + 3);
            if (RC_UNLIKELY(in_a | in_b | in_c | in_d)) status = in_a ? in_a : in_b ? in_b : in_c ? in_c : in_d;
        }
        dec->lane[0] = a, dec->lane[1] = b, dec->lane[2] = c, dec->lane[3] = d;
    }
    for (; i < n && !status; i++) {
        status = rc_get(payload, &dec->lane[dec->next], tables, indexes[i], symbols + i);
        dec->next = dec->next + 1 < dec->lanes ? dec->next + 1 : 0;
    }
    return dec->status = status;
}

/* Check that a lane ended as an encoder ends it: consumed exactly, with the flush of rc_flush_step. */
RC_FUNCTION int rc_finish(const uint8_t *payload, const rc_decoder_lane *l) {
    unsigned n;
    uint64_t lower = rc_tail(payload, l, l->position, RC_WINDOW_BYTES) - l->value;
    uint64_t step = rc_flush_step(lower, l->range, &n);
    return step == l->value && l->end + RC_WINDOW_BYTES == l->position + n ? RC_OK : RC_NOT_CANONICAL;
}

#endif
