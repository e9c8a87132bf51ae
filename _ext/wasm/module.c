/* What the WebAssembly module exports besides graph.h's functions: the range decoder with its memory.
 *
 * What may live here: ownership of buffers for JavaScript, which checks what it passes in (web/engine.js, web/coder.js)
 * as native.pyx and rangecoder.pyx do for Python. The arithmetic is the headers'. Built by scripts/build-web.sh.
 */
#include <stdlib.h>

#include "rangecoder_core.h"
#include "run/graph.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

__attribute__((import_module("env"), import_name("progress"))) void report(int done, int steps);

static void progress(void *context, int done, int steps) {
    (void)context;
    report(done, steps);
}

/* Run a graph on one thread; returns 0, or -1 if it cannot be run. */
int EXPORT(graph_run)(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, size_t budget) {
    IcRun run = {.budget = budget, .threads = 1, .progress = progress};
    return ic_graph_run(g, w, height, width, data, &run) ? -1 : 0;
}

/* Rows of a latent's cdfs as the coder reads them. */
typedef struct {
    rc_tables tables;
    uint32_t *slots;
    uint16_t *lookup;
    rc_row *rows;
} Tables;

void EXPORT(tables_free)(Tables *t) {
    if (!t) return;
    free(t->slots);
    free(t->lookup);
    free(t->rows);
    free(t);
}

/* Return the tables, or NULL with *status RC_BAD_TABLE or RC_CAPACITY (no memory). The arrays are copied. */
Tables *EXPORT(tables_new)(const uint32_t *cdf, size_t total, const int32_t *starts, const int32_t *offsets, size_t rows,
                           int *status) {
    size_t buckets = 0;
    *status = rc_check_tables(cdf, total, starts, offsets, rows, &buckets);
    if (*status) return NULL;
    *status = RC_CAPACITY;
    Tables *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->slots = malloc((total - rows + 1) * sizeof *t->slots);
    t->lookup = malloc(buckets * sizeof *t->lookup);
    t->rows = malloc(rows * sizeof *t->rows);
    if (!t->slots || !t->lookup || !t->rows) {
        tables_free(t);
        return NULL;
    }
    rc_build_tables(cdf, starts, offsets, rows, t->slots, t->lookup, t->rows);
    t->tables = (rc_tables){t->slots, t->lookup, t->rows, (uint32_t)rows};
    *status = RC_OK;
    return t;
}

/* A decoder of `payload`, which must outlive it; NULL without memory. Its status may already say that the payload's head is
 * malformed. */
rc_decoder *EXPORT(decoder_new)(const uint8_t *payload, size_t size, unsigned lanes) {
    rc_decoder *d = malloc(sizeof *d);
    if (d) rc_decoder_init(d, lanes, payload, size);
    return d;
}

int EXPORT(decoder_status)(const rc_decoder *d) { return d->status; }

int EXPORT(decoder_read)(rc_decoder *d, const Tables *t, const uint16_t *indexes, int16_t *symbols, size_t n) {
    const int status = rc_check_indexes(indexes, n, t->tables.n_rows);
    return status ? status : rc_decode(d, &t->tables, indexes, symbols, n);
}

int EXPORT(decoder_finish)(const rc_decoder *d) {
    int status = d->status;
    for (unsigned k = 0; k < d->lanes && !status; k++) status = rc_finish(d->payload, &d->lane[k]);
    return status;
}
