/* Fuzz target: the range coder on hostile tables, indexes and payloads.
 *
 *     tables    raw arrays, of which rc_check_tables may let only good ones through; or rows that are good by construction
 *     decode    any payload ends in symbols or a status
 *     canonical what decodes to its exact end is what the encoder makes of the symbols, byte for byte
 *     encode    any symbols decode to themselves
 *
 * Every buffer has exactly the size that the core is told, so that the sanitizers see each step outside.
 */
#include "input.h"
#include "rangecoder_core.h"

enum { MAX_ROWS = 6, MAX_SLOTS = 600, MAX_SYMBOLS = 400 };

typedef struct {
    uint32_t *cdf;
    int32_t *starts, *offsets;
    size_t total, rows;
} Arrays;

static void raw_arrays(Input *in, Arrays *a) {
    a->rows = (size_t)pick(in, 1, MAX_ROWS);
    a->total = (size_t)pick(in, 0, 40);
    a->cdf = block(a->total, sizeof *a->cdf);
    a->starts = block(a->rows + 1, sizeof *a->starts);
    a->offsets = block(a->rows, sizeof *a->offsets);
    for (size_t i = 0; i < a->total; i++) a->cdf[i] = take(in, 1) & 1 ? 65536u : take(in, 3);
    for (size_t i = 0; i <= a->rows; i++) a->starts[i] = (int32_t)(take(in, 1) & 1 ? take(in, 4) : take(in, 1));
    for (size_t i = 0; i < a->rows; i++) a->offsets[i] = (int32_t)(take(in, 1) & 1 ? take(in, 4) : take(in, 1));
}

/* Rows whose slots have at least one unit each; the rest of the 65536 goes to slots that the input names. */
static void good_arrays(Input *in, Arrays *a) {
    size_t slots[MAX_ROWS];
    a->rows = (size_t)pick(in, 1, MAX_ROWS), a->total = 0;
    for (size_t r = 0; r < a->rows; r++) {
        slots[r] = (size_t)(take(in, 1) & 3 ? pick(in, 2, 40) : pick(in, 2, MAX_SLOTS));
        a->total += slots[r] + 1;
    }
    a->cdf = block(a->total, sizeof *a->cdf);
    a->starts = block(a->rows + 1, sizeof *a->starts);
    a->offsets = block(a->rows, sizeof *a->offsets);
    uint32_t *row = a->cdf;
    for (size_t r = 0; r < a->rows; row += slots[r++] + 1) {
        a->starts[r + 1] = a->starts[r] + (int32_t)slots[r] + 1;
        a->offsets[r] = (int32_t)pick(in, INT16_MIN, INT16_MAX + 2 - (int64_t)slots[r]);
        uint32_t rest = 65536u - (uint32_t)slots[r];
        for (size_t s = 1; s <= slots[r]; s++) row[s] = 1;
        for (int i = 0; i < 4 && rest; i++) {
            const uint32_t more = (uint32_t)pick(in, 0, rest);
            row[1 + pick(in, 0, (int64_t)slots[r] - 1)] += more;
            rest -= more;
        }
        row[slots[r]] += rest;
        for (size_t s = 1; s <= slots[r]; s++) row[s] += row[s - 1];
    }
}

static size_t encode(const rc_tables *t, unsigned lanes, const int16_t *symbols, const uint16_t *indexes, size_t n,
                     size_t cut, uint8_t **payload) {
    rc_encoder enc;
    rc_encoder_init(&enc, lanes);
    const size_t room = rc_room(n, lanes) + rc_room(1, lanes) + RC_SYMBOL_BYTES;
    for (unsigned k = 0; k < lanes; k++) enc.lane[k].bytes = block(room, 1), enc.lane[k].capacity = room;
    REQUIRE(rc_encode(&enc, t, symbols, indexes, cut) == RC_OK);
    REQUIRE(rc_encode(&enc, t, symbols + cut, indexes + cut, n - cut) == RC_OK);
    size_t size = 0;
    for (unsigned k = 0; k < lanes; k++) {
        rc_flush(&enc.lane[k]);
        size += enc.lane[k].length + 5;
    }
    uint8_t *out = *payload = block(size, 1);
    for (unsigned k = 0; k + 1 < lanes; k++) {
        size_t v = enc.lane[k].length;
        for (; v > 0x7f; v >>= 7) *out++ = (uint8_t)(v | 0x80);
        *out++ = (uint8_t)v;
    }
    for (unsigned k = 0; k < lanes; k++) {
        memcpy(out, enc.lane[k].bytes, enc.lane[k].length);
        out += enc.lane[k].length;
        free(enc.lane[k].bytes);
    }
    return (size_t)(out - *payload);
}

/* Decode in two calls; the status of the whole, the check of the end included. */
static int decode(const rc_tables *t, unsigned lanes, const uint8_t *payload, size_t size, const uint16_t *indexes,
                  size_t n, size_t cut, int16_t *symbols) {
    rc_decoder dec;
    int status = rc_decoder_init(&dec, lanes, payload, size);
    if (status == RC_OK) status = rc_decode(&dec, t, indexes, symbols, cut);
    const int before = status;
    if (before != RC_BAD_HEADER) status = rc_decode(&dec, t, indexes + cut, symbols + cut, n - cut);
    REQUIRE(before == RC_OK || status == before); /* the first error stays */
    for (unsigned k = 0; k < lanes && status == RC_OK; k++) status = rc_finish(payload, &dec.lane[k]);
    return status;
}

static void run(Input *in, const rc_tables *t) {
    const unsigned lanes = (unsigned)pick(in, 1, RC_MAX_LANES), encoding = take(in, 1) & 1;
    const size_t n = (size_t)pick(in, 0, MAX_SYMBOLS), cut = (size_t)pick(in, 0, (int64_t)n);
    const unsigned seed = take(in, 1);
    uint16_t *indexes = block(n, sizeof *indexes);
    int16_t *symbols = block(n, sizeof *symbols), *again = block(n, sizeof *again);
    for (size_t i = 0; i < n; i++) indexes[i] = (uint16_t)((seed + i * (seed | 1u)) % t->n_rows);
    uint8_t *made = NULL;
    if (encoding) {
        for (size_t i = 0; i < n; i++) {
            const rc_row *row = t->rows + indexes[i];
            const int at = row->offset + (int)take(in, 1) - 2;
            symbols[i] = in->at < in->end && *in->at == 0xff ? (int16_t)take(in, 3)
                         : at > INT16_MAX                    ? INT16_MAX
                         : at < INT16_MIN                    ? INT16_MIN
                                                             : (int16_t)at;
        }
        const size_t size = encode(t, lanes, symbols, indexes, n, cut, &made);
        uint8_t *exact = block(size, 1);
        memcpy(exact, made, size);
        REQUIRE(decode(t, lanes, exact, size, indexes, n, cut, again) == RC_OK);
        REQUIRE(!memcmp(symbols, again, n * sizeof *symbols));
        free(exact);
    } else {
        const size_t size = (size_t)(in->end - in->at);
        uint8_t *exact = block(size, 1);
        memcpy(exact, in->at, size);
        if (decode(t, lanes, exact, size, indexes, n, cut, symbols) == RC_OK) {
            REQUIRE(encode(t, lanes, symbols, indexes, n, cut, &made) == size);
            REQUIRE(!memcmp(made, exact, size));
        }
        free(exact);
    }
    free(made), free(indexes), free(symbols), free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input in = {data, data + size};
    Arrays a;
    size_t n_lookup = 0;
    const int good = take(&in, 1) & 7;
    if (good) good_arrays(&in, &a);
    else raw_arrays(&in, &a);
    const int status = rc_check_tables(a.cdf, a.total, a.starts, a.offsets, a.rows, &n_lookup);
    REQUIRE(status == RC_OK || !good);
    if (status == RC_OK) {
        uint32_t *slots = block(a.total - a.rows + 1, sizeof *slots);
        uint16_t *lookup = block(n_lookup, sizeof *lookup);
        rc_row *rows = block(a.rows, sizeof *rows);
        rc_build_tables(a.cdf, a.starts, a.offsets, a.rows, slots, lookup, rows);
        const rc_tables tables = {slots, lookup, rows, (uint32_t)a.rows};
        run(&in, &tables);
        free(slots), free(lookup), free(rows);
    }
    free(a.cdf), free(a.starts), free(a.offsets);
    return 0;
}
