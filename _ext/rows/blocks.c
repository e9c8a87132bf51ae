/* Rows of a graph, packed for one instruction set when the model is loaded.
 *
 * A convolution's output channels become blocks of `lanes` lanes. Without upsampling, block b holds channels b * lanes
 * and up. With upsampling there are two layouts and the cheaper one is taken:
 *
 *     by phase   the channels of each phase (py, px) on their own, so that the taps that are zero throughout a phase
 *                (3x3, 3x2, 2x3, 2x2 for a 5x5 transposed convolution) are trimmed, and a block is stored in one piece
 *     merged     all phases of all channels together, [py][px][c]: for the 3 channels of the last layer, 12 lanes of
 *                one group instead of 3 lanes of four
 *
 * A lane that holds no channel has zero weights, bias and shift.
 */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

void *ic_alloc(size_t bytes) {
#if defined(_WIN32)
    return _aligned_malloc(bytes, 64);
#else
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
#endif
}

void ic_free(void *p) {
#if defined(_WIN32)
    _aligned_free(p);
#else
    free(p);
#endif
}

void *ic_graph_take(IcGraph *g, size_t count, size_t size) {
    void *p = ic_alloc(count * size + 64);
    if (p) memset(p, 0, count * size + 64);
    else g->failed = 1;
    return p;
}

IcGraph *ic_graph_new(const IcIsa *isa, int inputs, int rows) {
    IcGraph *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->isa = isa;
    g->inputs = inputs;
    g->row_limit = rows;
    g->tensor = calloc((size_t)(inputs + rows + 1), sizeof *g->tensor);
    g->row = calloc((size_t)rows + 1, sizeof *g->row);
    if (g->tensor && g->row) return g;
    ic_graph_free(g);
    return NULL;
}

void ic_graph_free(IcGraph *g) {
    if (!g) return;
    for (int i = 0; g->row && i < g->rows; i++) {
        IcRow *row = &g->row[i];
        for (int b = 0; row->block && b < row->blocks; b++) {
            for (int i = 0; i < row->block[b].parts; i++) ic_free(row->block[b].part[i].weight);
            ic_free(row->block[b].part);
            ic_free(row->block[b].weight);
            ic_free(row->block[b].bias);
            ic_free(row->block[b].shift);
        }
        ic_free(row->block);
        ic_free(row->numerator);
        ic_free(row->shift);
        ic_free(row->half);
        ic_free(row->threshold);
        ic_free(row->table);
        ic_free(row->in_shift);
        ic_free(row->other_shift);
    }
    free(g->tensor);
    free(g->row);
    free(g);
}

void ic_graph_input(IcGraph *g, int index, int channels, IcType type) { g->tensor[index] = (IcTensor){channels, type}; }

static IcRow *add(IcGraph *g, IcKind kind, int in, int channels, IcType type, int lo, int hi) {
    IcRow *row = &g->row[g->rows];
    *row = (IcRow){.kind = kind, .in = in, .other = -1, .out = g->inputs + g->rows, .lo = lo, .hi = hi};
    g->tensor[row->out] = (IcTensor){channels, type};
    g->rows++;
    return row;
}

/* The smallest window [y0, y1) x [x0, x1) outside which all taps of the channels are zero; at least one tap. */
static void trim(const IcSource *s, const int *channel, int count, int *window) {
    int y0 = s->kh, y1 = 0, x0 = s->kw, x1 = 0;
    for (int i = 0; i < count; i++)
        for (int ky = 0; ky < s->kh; ky++)
            for (int kx = 0; kx < s->kw; kx++) {
                const int16_t *w = ic_tap(s, channel[i], ky, kx);
                int any = 0;
                for (int c = 0; c < s->cin; c++) any |= w[c];
                if (!any) continue;
                if (ky < y0) y0 = ky;
                if (ky >= y1) y1 = ky + 1;
                if (kx < x0) x0 = kx;
                if (kx >= x1) x1 = kx + 1;
            }
    if (y1 == 0) y0 = x0 = 0, y1 = x1 = 1;
    window[0] = y0, window[1] = y1, window[2] = x0, window[3] = x1;
}

static int block_groups(int count) { return (count + IC_GROUP - 1) / IC_GROUP; }

/* Pair products of one pixel of a block: what its kernel costs. */
static long cost(const IcSource *s, const int *channel, int count) {
    int w[4];
    trim(s, channel, count, w);
    return (long)block_groups(count) * (w[1] - w[0]) * (((w[3] - w[2]) * s->cin + 1) / 2);
}

/* Pack a block's weights for `dot`, in their trimmed window. */
static void pack_direct(IcGraph *g, IcBlock *b, const IcSource *s, const int *channel, int count) {
    int w[4];
    trim(s, channel, count, w);
    const int lanes = b->groups * IC_GROUP, run = (w[3] - w[2]) * s->cin;
    b->ky = w[0], b->kx = w[2];
    b->rows = w[1] - w[0], b->pairs = (run + 1) / 2;
    b->weight = ic_graph_take(g, (size_t)b->rows * b->pairs * lanes * 2, sizeof *b->weight);
    if (g->failed) return;
    for (int lane = 0; lane < count; lane++) {
        for (int r = 0; r < b->rows; r++) {
            const int16_t *from = ic_tap(s, channel[lane], w[0] + r, w[2]);
            int16_t *to = b->weight + (size_t)r * b->pairs * lanes * 2;
            for (int k = 0; k < run; k++) {
                const size_t pair = (size_t)(k / 2) * lanes * 2;
                to[pair + (g->isa->planar ? (k & 1) * lanes + lane : lane * 2 + (k & 1))] = from[k];
            }
        }
    }
}

/* Pack one block: weights, bias and shift. The spans are the caller's. */
static void pack(IcGraph *g, const IcRow *row, IcBlock *b, const IcSource *s, const int *channel, int count) {
    b->groups = block_groups(count);
    b->bias = ic_graph_take(g, (size_t)b->groups * IC_GROUP, sizeof *b->bias);
    b->shift = ic_graph_take(g, (size_t)b->groups * IC_GROUP, sizeof *b->shift);
    if (g->failed) return;
    for (int lane = 0; lane < count; lane++) {
        b->bias[lane] = s->bias[channel[lane]];
        b->shift[lane] = s->shift ? s->shift[channel[lane]] : 0;
    }
    if (row->winograd) ic_winograd_pack(g, row, b, s, channel, count);
    else pack_direct(g, b, s, channel, count);
}

int64_t ic_block_work(const IcBlock *b) {
    const int64_t lanes = b->groups * IC_GROUP;
    int64_t products = 0; /* of a tile */
    for (int i = 0; i < b->parts; i++)
        for (unsigned mask = b->part[i].mask; mask; mask &= mask - 1) products += 2 * b->part[i].pairs;
    return lanes * (2 * (int64_t)b->rows * b->pairs + products / (b->outputs ? b->outputs : 1));
}

/* What the blocks of a row cost whose lanes hold `channel[0..count)` in this order. */
static long cost_of_blocks(const IcGraph *g, const IcSource *s, const int *channel, int count) {
    long total = 0;
    for (int at = 0; at < count; at += g->isa->lanes)
        total += cost(s, channel + at, count - at < g->isa->lanes ? count - at : g->isa->lanes);
    return total;
}

/* Pack those blocks; returns how many. */
static int lay_out(IcGraph *g, const IcRow *row, IcBlock *out, const IcSource *s, const int *channel, int count) {
    int blocks = 0;
    for (int at = 0; at < count; at += g->isa->lanes, blocks++)
        pack(g, row, out + blocks, s, channel + at, count - at < g->isa->lanes ? count - at : g->isa->lanes);
    return blocks;
}

/* Where the lanes [at, at + n) of a layout in pieces of `piece` channels go: piece i holds output row y = i and starts
 * at element offset[i] of the pixel. */
static void spans(IcBlock *b, int at, int n, int piece, const int *y, const int *offset) {
    b->spans = 0;
    for (int lane = 0; lane < n;) {
        const int i = (at + lane) / piece, in = (at + lane) % piece;
        const int length = piece - in < n - lane ? piece - in : n - lane;
        b->span[b->spans++] = (IcSpan){lane, length, y[i], offset[i] + in};
        lane += length;
    }
}

int ic_graph_conv(IcGraph *g, int in, IcType type, int out, int kh, int kw, const int16_t *weight, const int32_t *bias,
                  const uint8_t *shift, const int *pad, int stride, int upsample, int slope, int lo, int hi, int reach) {
    const int phases = upsample * upsample, channels = out / phases, lanes = g->isa->lanes;
    const IcSource s = {weight, bias, shift, kh, kw, g->tensor[in].channels};
    IcRow *row = add(g, IC_CONV, in, channels, type, lo, hi);
    row->kh = kh, row->kw = kw, row->stride = stride, row->upsample = upsample, row->slope = slope;
    row->top = pad[0], row->left = pad[1], row->bottom = pad[2], row->right = pad[3];
    row->reach = reach;
    row->winograd = ic_winograd_fits(g, row, &s, out);

    int *order = ic_graph_take(g, out, sizeof *order); /* lane -> channel of the weights, phase by phase */
    row->block = ic_graph_take(g, (size_t)out / lanes + phases + 1, sizeof *row->block);
    if (g->failed) {
        ic_free(order);
        return -1;
    }
    for (int p = 0; p < phases; p++)
        for (int c = 0; c < channels; c++) order[p * channels + c] = c * phases + p;

    long by_phase = 0, merged = 0;
    if (phases > 1 && out <= lanes) {
        for (int p = 0; p < phases; p++) by_phase += cost_of_blocks(g, &s, order + p * channels, channels);
        merged = cost_of_blocks(g, &s, order, out);
    }
    if (merged < by_phase) {
        /* The two phases of an output row follow each other in the output: one span of 2 * channels. */
        const int y[2] = {0, 1}, offset[2] = {0, 0};
        row->blocks = lay_out(g, row, row->block, &s, order, out);
        spans(row->block, 0, out, 2 * channels, y, offset);
    } else {
        for (int p = 0; p < phases; p++) {
            const int y = p / upsample, offset = p % upsample * channels;
            IcBlock *b = row->block + row->blocks;
            const int n = lay_out(g, row, b, &s, order + p * channels, channels);
            for (int i = 0; i < n; i++)
                spans(b + i, i * lanes, channels - i * lanes < lanes ? channels - i * lanes : lanes, channels, &y,
                      &offset);
            row->blocks += n;
        }
    }
    ic_free(order);
    return g->failed ? -1 : 0;
}

static int32_t *widen(IcGraph *g, const uint8_t *shift, int count) {
    int32_t *wide = ic_graph_take(g, count, sizeof *wide);
    for (int c = 0; wide && c < count; c++) wide[c] = shift[c];
    return wide;
}

int ic_graph_gdn(IcGraph *g, int in, IcType type, const int16_t *gamma, const int32_t *beta, const int32_t *numerator,
                 const uint8_t *shift, int square_shift, int inverse, int lo, int hi) {
    const int channels = g->tensor[in].channels, lanes = g->isa->lanes;
    const IcSource s = {gamma, beta, NULL, 1, 1, channels};
    IcRow *row = add(g, IC_GDN, in, channels, type, lo, hi);
    row->square_shift = square_shift, row->inverse = inverse, row->small = 1;
    int *order = ic_graph_take(g, channels, sizeof *order);
    row->block = ic_graph_take(g, (size_t)channels / lanes + 1, sizeof *row->block);
    row->numerator = ic_graph_take(g, channels, sizeof *row->numerator);
    row->shift = widen(g, shift, channels);
    row->half = ic_graph_take(g, channels, sizeof *row->half);
    if (g->failed) {
        ic_free(order);
        return -1;
    }
    for (int c = 0; c < channels; c++) {
        order[c] = c;
        row->numerator[c] = numerator[c];
        row->half[c] = (int32_t)((1u << shift[c]) >> 1);
        if (numerator[c] / ic_isqrt(beta[c]) >= 1 << 19) row->small = 0;
    }
    row->blocks = lay_out(g, row, row->block, &s, order, channels);
    /* The norms are wanted from all inputs, wherever a block's gamma happens to be zero: no offset to care for, because
     * a 1x1 window cannot be trimmed. */
    ic_free(order);
    return g->failed ? -1 : 0;
}

int ic_graph_rescale(IcGraph *g, int in, IcType type, const uint8_t *shift, int magnitude, int lo, int hi) {
    IcRow *row = add(g, IC_RESCALE, in, g->tensor[in].channels, type, lo, hi);
    row->magnitude = magnitude;
    row->shift = widen(g, shift, g->tensor[in].channels);
    return g->failed ? -1 : 0;
}

int ic_graph_index(IcGraph *g, int in, IcType type, const int32_t *threshold, int count) {
    IcRow *row = add(g, IC_INDEX, in, g->tensor[in].channels, type, 0, 255);
    row->thresholds = count;
    row->threshold = ic_graph_take(g, (size_t)count + 1, sizeof *row->threshold);
    if (g->failed) return -1;
    memcpy(row->threshold, threshold, (size_t)count * sizeof *threshold);
    return 0;
}

int ic_graph_concat(IcGraph *g, int in, int other, IcType type) {
    const int channels = g->tensor[in].channels + g->tensor[other].channels;
    add(g, IC_CONCAT, in, channels, type, INT32_MIN, INT32_MAX)->other = other;
    return 0;
}

static IcRow *add_pair(IcGraph *g, IcKind kind, int in, int other, IcType type, const uint8_t *shift, int lo, int hi) {
    const int channels = g->tensor[in].channels;
    IcRow *row = add(g, kind, in, channels, type, lo, hi);
    row->other = other;
    row->shift = widen(g, shift, channels);
    row->half = ic_graph_take(g, channels, sizeof *row->half);
    for (int c = 0; row->half && c < channels; c++) row->half[c] = (int32_t)((1u << shift[c]) >> 1);
    return row;
}

int ic_graph_add(IcGraph *g, int in, int other, IcType type, const uint8_t *in_shift, const uint8_t *other_shift,
                 const uint8_t *shift, int lo, int hi) {
    IcRow *row = add_pair(g, IC_ADD, in, other, type, shift, lo, hi);
    row->in_shift = widen(g, in_shift, g->tensor[in].channels);
    row->other_shift = widen(g, other_shift, g->tensor[in].channels);
    return g->failed ? -1 : 0;
}

int ic_graph_gate(IcGraph *g, int in, int other, IcType type, const int16_t *table, int count, int table_lo,
                  const uint8_t *shift, int lo, int hi) {
    IcRow *row = add_pair(g, IC_GATE, in, other, type, shift, lo, hi);
    row->table_lo = table_lo, row->thresholds = count;
    row->table = ic_graph_take(g, (size_t)count, sizeof *row->table);
    for (int i = 0; row->table && i < count; i++) row->table[i] = table[i];
    return g->failed ? -1 : 0;
}
