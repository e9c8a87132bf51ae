/* What a job does to some rows of its tensor. Everything here is per item and touches only that item's rows; the heavy
 * parts are the instruction set's. */
#include <string.h>

#include "graph.h"

/* Pixels that pass through the scratch buffers at a time, multiples of every tile's width: for stores in pieces, and
 * for GDN, where squares, norms and gamma should all stay in the first-level cache. */
enum { PIXELS = 48, GDN_PIXELS = 12 };

typedef struct {
    int16_t *square; /* [GDN_PIXELS][channels, even] */
    int32_t *norm;   /* [GDN_PIXELS][channels, whole groups] */
    int32_t *tile;   /* [PIXELS][lanes], or int16 */
    int32_t *line;   /* [channels] */
    char *winograd;  /* winograd.c's own */
} Scratch;

static size_t padded(size_t channels) { return (channels + IC_GROUP - 1) / IC_GROUP * IC_GROUP; }

static size_t widest(const IcGraph *g) {
    size_t channels = 0;
    for (int t = 0; t < g->inputs + g->rows; t++)
        if ((size_t)g->tensor[t].channels > channels) channels = (size_t)g->tensor[t].channels;
    return padded(channels);
}

size_t ic_scratch_bytes(const IcGraph *g) {
    const size_t c = widest(g);
    const size_t here = 64 + 2 * GDN_PIXELS * c + 4 * GDN_PIXELS * c + 4 * PIXELS * (size_t)g->isa->lanes + 4 * c;
    return (here + 63) / 64 * 64 + ic_winograd_scratch(g);
}

static Scratch scratch_at(const IcGraph *g, char *memory) {
    const size_t c = widest(g);
    Scratch s;
    s.norm = (int32_t *)memory;
    s.tile = s.norm + GDN_PIXELS * c;
    s.line = s.tile + PIXELS * (size_t)g->isa->lanes;
    s.square = (int16_t *)(s.line + c);
    s.winograd = memory + (ic_scratch_bytes(g) - ic_winograd_scratch(g));
    return s;
}

static IcLine window_row(const IcPlane *t, int y) {
    const ptrdiff_t at = (y - t->first) * t->pitch + (ptrdiff_t)t->left * t->channels;
    return (IcLine){t->window + at * (ptrdiff_t)t->size, t->type == IC_I32 ? IC_I32 : IC_I16};
}

static size_t size_of(IcType type) { return type == IC_U8 ? 1 : type == IC_I16 ? 2 : 4; }

static IcLine array_row(const IcPlane *t, int y) {
    const size_t row = (size_t)t->width * (size_t)t->channels * size_of(t->type);
    return (IcLine){(char *)t->data + (size_t)y * row, t->type};
}

IcLine ic_output_row(const IcPlane *t, int y) { return t->used ? window_row(t, y) : array_row(t, y); }

static int32_t get(IcLine line, ptrdiff_t i) {
    return line.type == IC_U8    ? ((const uint8_t *)line.at)[i]
           : line.type == IC_I16 ? ((const int16_t *)line.at)[i]
                                 : ((const int32_t *)line.at)[i];
}

/* Store `count` int32 values from element i on. The rows' ranges have made them fit. */
static void put(IcLine line, ptrdiff_t i, const int32_t *v, int count) {
    if (line.type == IC_I32) memcpy((int32_t *)line.at + i, v, (size_t)count * 4);
    else if (line.type == IC_I16)
        for (int c = 0; c < count; c++) ((int16_t *)line.at)[i + c] = (int16_t)v[c];
    else
        for (int c = 0; c < count; c++) ((uint8_t *)line.at)[i + c] = (uint8_t)v[c];
}

/* The same from int16, which never goes to an int32 line. */
static void put16(IcLine line, ptrdiff_t i, const int16_t *v, int count) {
    if (line.type == IC_I16)
        for (int c = 0; c < count; c++) ((int16_t *)line.at)[i + c] = v[c];
    else
        for (int c = 0; c < count; c++) ((uint8_t *)line.at)[i + c] = (uint8_t)v[c];
}

void ic_store_span(IcLine line, ptrdiff_t pixel, const IcSpan *span, const void *lanes, int wide) {
    if (wide) put(line, pixel + span->offset, (const int32_t *)lanes + span->lane, span->length);
    else put16(line, pixel + span->offset, (const int16_t *)lanes + span->lane, span->length);
}

/* One block of one row of a convolution. */
static void conv_row(const IcPlan *p, const IcRow *row, const IcBlock *b, const IcPlane *out, int y, Scratch *s) {
    const IcPlane *in = &p->plane[row->in];
    const int lanes = b->groups * IC_GROUP, up = row->upsample, width = out->width / up;
    const int pixel = up * out->channels; /* elements from one pixel's outputs to the next's */
    const IcLine from = window_row(in, y * row->stride - row->top + b->ky);
    IcLine to[2] = {ic_output_row(out, y * up), {NULL, IC_I16}};
    if (up == 2) to[1] = ic_output_row(out, y * up + 1);
    IcDot d = {
        .x = (const int16_t *)from.at + (ptrdiff_t)(b->kx - row->left) * in->channels,
        .x_pixel = (ptrdiff_t)row->stride * in->channels,
        .x_row = in->pitch,
        .rows = b->rows,
        .pairs = b->pairs,
        .tap_pairs = row->stride == 1 && in->channels % 2 == 0 ? in->channels / 2 : 0,
        .weight = b->weight,
        .bias = b->bias,
        .shift = b->shift,
        .lo = row->lo,
        .hi = row->hi,
        .slope = row->slope,
        .wide = to[0].type == IC_I32,
    };
    if (b->spans == 1 && b->span[0].length == lanes && to[0].type != IC_U8) {
        d.out = to[b->span[0].y].at + b->span[0].offset * (ptrdiff_t)size_of(to[0].type);
        d.out_pixel = pixel;
        p->graph->isa->dot(&d, b->groups, width);
        return;
    }
    d.out = s->tile;
    d.out_pixel = lanes;
    for (int x = 0; x < width; x += PIXELS, d.x += PIXELS * d.x_pixel) {
        const int n = width - x < PIXELS ? width - x : PIXELS;
        p->graph->isa->dot(&d, b->groups, n);
        for (int i = 0; i < b->spans; i++)
            for (int k = 0; k < n; k++)
                ic_store_span(to[b->span[i].y], (ptrdiff_t)(x + k) * pixel, &b->span[i],
                              (char *)s->tile + (d.wide ? 4 : 2) * k * lanes, d.wide);
    }
}

static void gdn_row(const IcPlan *p, const IcRow *row, IcLine from, IcLine to, int width, Scratch *s) {
    const IcIsa *isa = p->graph->isa;
    const int channels = p->graph->tensor[row->out].channels;
    const ptrdiff_t even = (channels + 1) / 2 * 2, whole = (ptrdiff_t)padded((size_t)channels);
    const int16_t *x = (const int16_t *)from.at;
    IcRoots g = {
        .norm = s->norm,
        .norm_pixel = whole,
        .x_pixel = channels,
        .out_pixel = channels,
        .numerator = row->numerator,
        .shift = row->shift,
        .half = row->half,
        .lo = row->lo,
        .hi = row->hi,
        .inverse = row->inverse,
        .small = row->small,
        .channels = channels,
    };
    for (int at = 0; at < width; at += GDN_PIXELS, x += GDN_PIXELS * channels) {
        const int n = width - at < GDN_PIXELS ? width - at : GDN_PIXELS;
        if (even == channels) isa->square(x, s->square, n * channels, row->square_shift);
        else
            for (int k = 0; k < n; k++) {
                isa->square(x + k * channels, s->square + k * even, channels, row->square_shift);
                s->square[k * even + channels] = 0;
            }
        int lane = 0;
        for (int b = 0; b < row->blocks; lane += row->block[b++].groups * IC_GROUP) {
            const IcBlock *block = &row->block[b];
            const IcDot d = {
                .x = s->square,
                .x_pixel = even,
                .rows = 1,
                .pairs = block->pairs,
                .weight = block->weight,
                .bias = block->bias,
                .shift = block->shift,
                .lo = INT32_MIN,
                .hi = INT32_MAX,
                .out = s->norm + lane,
                .out_pixel = whole,
                .wide = 1,
            };
            isa->dot(&d, block->groups, n);
        }
        if (to.type == IC_I16) {
            g.pixels = n;
            g.x = x;
            g.out = (int16_t *)to.at + (ptrdiff_t)at * channels;
            isa->roots(&g);
            continue;
        }
        for (int k = 0; k < n; k++) {
            for (int c = 0; c < channels; c++)
                s->line[c] = ic_gdn_value(x[k * channels + c], s->norm[k * whole + c], row->numerator[c],
                                          row->shift[c], row->lo, row->hi, row->inverse);
            put(to, (ptrdiff_t)(at + k) * channels, s->line, channels);
        }
    }
}

static void rescale_row(const IcRow *row, IcLine from, IcLine to, int width, int channels, int32_t *line) {
    for (ptrdiff_t x = 0; x < width; x++) {
        for (int c = 0; c < channels; c++) {
            const int32_t v = get(from, x * channels + c);
            const int32_t size = row->magnitude && v < 0 ? (int32_t)(0u - (uint32_t)v) : v;
            line[c] = ic_rescale(size, row->shift[c], row->lo, row->hi);
        }
        put(to, x * channels, line, channels);
    }
}

static void index_row(const IcIsa *isa, const IcRow *row, IcLine from, IcLine to, int width, int channels,
                      int32_t *line) {
    for (ptrdiff_t x = 0; x < width; x++) {
        for (int c = 0; c < channels; c++) line[c] = get(from, x * channels + c);
        isa->index(line, channels, row->threshold, row->thresholds);
        put(to, x * channels, line, channels);
    }
}

static void concat_row(IcLine a, IcLine b, IcLine to, int width, int a_channels, int b_channels) {
    const int16_t *left = (const int16_t *)a.at, *right = (const int16_t *)b.at;
    int16_t *out = (int16_t *)to.at;
    for (int x = 0; x < width; x++) {
        memcpy(out, left, (size_t)a_channels * sizeof *out);
        memcpy(out + a_channels, right, (size_t)b_channels * sizeof *out);
        left += a_channels, right += b_channels, out += a_channels + b_channels;
    }
}

static void pair_row(const IcIsa *isa, const IcRow *row, IcLine a, IcLine b, IcLine to, int width, int channels,
                     int32_t *line) {
    void (*const run)(const IcPair *) = row->kind == IC_ADD ? isa->add : isa->gate;
    IcPair g = {
        .a = (const int16_t *)a.at,
        .b = (const int16_t *)b.at,
        .out16 = to.type == IC_I16 ? (int16_t *)to.at : NULL,
        .out32 = to.type == IC_I32 ? (int32_t *)to.at : line,
        .a_shift = row->in_shift,
        .b_shift = row->other_shift,
        .shift = row->shift,
        .half = row->half,
        .table = row->table,
        .table_lo = row->table_lo,
        .table_last = row->thresholds - 1,
        .lo = row->lo,
        .hi = row->hi,
        .channels = channels,
        .pixels = width,
    };
    if (to.type != IC_U8) {
        run(&g);
        return;
    }
    g.pixels = 1;
    for (ptrdiff_t x = 0; x < width; x++, g.a += channels, g.b += channels) {
        run(&g);
        put(to, x * channels, line, channels);
    }
}

static void copy_row(IcLine from, IcLine to, ptrdiff_t count) {
    if (from.type == to.type) memcpy(to.at, from.at, (size_t)count * size_of(to.type));
    else if (from.type == IC_U8)
        for (ptrdiff_t i = 0; i < count; i++) ((int16_t *)to.at)[i] = ((const uint8_t *)from.at)[i];
    else
        for (ptrdiff_t i = 0; i < count; i++) ((uint8_t *)to.at)[i] = (uint8_t)((const int16_t *)from.at)[i];
}

static void compute(const IcPlan *p, const IcJob *job, int from, int to, int part, Scratch *s) {
    const IcRow *row = job->row;
    const IcPlane *in = &p->plane[row->in], *out = &p->plane[job->tensor];
    if (row->kind == IC_CONV) {
        const int b0 = row->blocks * part / job->split, b1 = row->blocks * (part + 1) / job->split;
        if (row->winograd) ic_winograd_rows(p, row, b0, b1, out, from, to, s->winograd);
        else
            for (int b = b0; b < b1; b++)
                for (int y = from; y < to; y++) conv_row(p, row, &row->block[b], out, y, s);
        for (int y = from * job->scale; job->gdn && y < to * job->scale; y++) {
            const IcLine line = ic_output_row(out, y);
            gdn_row(p, job->gdn, line, line, out->width, s);
        }
        return;
    }
    for (int y = from; y < to; y++) {
        const IcLine source = window_row(in, y), target = ic_output_row(out, y);
        if (row->kind == IC_GDN) gdn_row(p, row, source, target, out->width, s);
        else if (row->kind == IC_RESCALE) rescale_row(row, source, target, out->width, out->channels, s->line);
        else if (row->kind == IC_INDEX)
            index_row(p->graph->isa, row, source, target, out->width, out->channels, s->line);
        else {
            const IcPlane *second = &p->plane[row->other];
            const IcLine other = window_row(second, y);
            if (row->kind == IC_CONCAT)
                concat_row(source, other, target, out->width, in->channels, second->channels);
            else pair_row(p->graph->isa, row, source, other, target, out->width, out->channels, s->line);
        }
    }
}

void ic_job_item(const IcPlan *p, const IcJob *job, int item, void *memory) {
    Scratch s = scratch_at(p->graph, memory);
    const int from = job->from + item / job->split * job->chunk;
    const int to = from + job->chunk < job->to ? from + job->chunk : job->to;
    const IcPlane *t = &p->plane[job->tensor];
    if (job->task == IC_COMPUTE) {
        compute(p, job, from, to, item % job->split, &s);
        return;
    }
    for (int y = from; y < to; y++) {
        const IcLine array = array_row(t, y), window = window_row(t, y);
        if (job->task == IC_LOAD) copy_row(array, window, (ptrdiff_t)t->width * t->channels);
        else copy_row(window, array, (ptrdiff_t)t->width * t->channels);
    }
}
