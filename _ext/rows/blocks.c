#include "rows/blocks.h"

/* The smallest window [y0, y1) x [x0, x1) outside which all taps of some channels are zero; at least one tap. */
typedef struct {
    int y0, y1, x0, x1;
} Window;

static Window trim(const IcKernel *k, const int *channel, int count) {
    Window w = {k->kh, 0, k->kw, 0};
    for (int i = 0; i < count; i++)
        for (int ky = 0; ky < k->kh; ky++)
            for (int kx = 0; kx < k->kw; kx++) {
                const int16_t *tap = ic_tap(k, channel[i], ky, kx);
                int any = 0;
                for (int c = 0; c < k->cin; c++) any |= tap[c];
                if (!any) continue;
                if (ky < w.y0) w.y0 = ky;
                if (ky >= w.y1) w.y1 = ky + 1;
                if (kx < w.x0) w.x0 = kx;
                if (kx >= w.x1) w.x1 = kx + 1;
            }
    return w.y1 ? w : (Window){0, 1, 0, 1};
}

static int groups_of(int count) { return (count + IC_GROUP - 1) / IC_GROUP; }

static int in_block(const IcRow *row, int at, int count) {
    return count - at < row->isa->lanes ? count - at : row->isa->lanes;
}

/* Pair products for one pixel of the blocks whose lanes hold `channel[0..count)` in this order. */
static int64_t cost(const IcRow *row, const IcKernel *k, const int *channel, int count) {
    int64_t total = 0;
    for (int at = 0; at < count; at += row->isa->lanes) {
        const int n = in_block(row, at, count);
        const Window w = trim(k, channel + at, n);
        total += (int64_t)groups_of(n) * (w.y1 - w.y0) * (((w.x1 - w.x0) * k->cin + 1) / 2);
    }
    return total;
}

void ic_pack_direct(IcRow *row, IcBlock *b, const IcKernel *k, const int *channel, int count) {
    const Window w = trim(k, channel, count);
    const int lanes = b->groups * IC_GROUP, run = (w.x1 - w.x0) * k->cin, planar = row->isa->planar;
    b->ky = w.y0, b->kx = w.x0;
    b->rows = w.y1 - w.y0, b->pairs = (run + 1) / 2;
    b->weight = ic_take(row, (size_t)b->rows * b->pairs * lanes * 2, sizeof *b->weight);
    if (!b->weight) return;
    for (int lane = 0; lane < count; lane++) {
        for (int r = 0; r < b->rows; r++) {
            const int16_t *from = ic_tap(k, channel[lane], w.y0 + r, w.x0);
            int16_t *to = b->weight + (size_t)r * b->pairs * lanes * 2;
            for (int i = 0; i < run; i++) {
                const size_t pair = (size_t)(i / 2) * lanes * 2;
                to[pair + (planar ? (i & 1) * lanes + lane : lane * 2 + (i & 1))] = from[i];
            }
        }
    }
}

static void pack_block(IcRow *row, IcBlock *b, const IcKernel *k, IcPacker *pack, const int *channel, int count) {
    b->groups = groups_of(count);
    b->bias = ic_take(row, (size_t)b->groups * IC_GROUP, sizeof *b->bias);
    b->shift = ic_take(row, (size_t)b->groups * IC_GROUP, sizeof *b->shift);
    if (row->failed) return;
    for (int lane = 0; lane < count; lane++) {
        b->bias[lane] = k->bias[channel[lane]];
        b->shift[lane] = k->shift ? k->shift[channel[lane]] : 0;
    }
    pack(row, b, k, channel, count);
}

/* Where the lanes [at, at + n) of a layout in pieces of `piece` channels go: piece i holds output row y = i, if there
 * are two, and starts at element `offset` of the pixel. */
static void set_spans(IcBlock *b, int at, int n, int piece, int y, int offset) {
    for (int lane = 0; lane < n;) {
        const int i = (at + lane) / piece, in = (at + lane) % piece;
        const int length = piece - in < n - lane ? piece - in : n - lane;
        b->span[b->spans++] = (IcSpan){lane, length, y + i, offset + in};
        lane += length;
    }
}

IcBlock *ic_pack_blocks(IcRow *row, const IcKernel *k, IcPacker *pack, int *blocks) {
    const int up = row->geometry.up, phases = up * up, channels = k->out / phases, lanes = row->isa->lanes;
    int *order = ic_take(row, (size_t)k->out, sizeof *order); /* lane -> channel of the weights, phase by phase */
    IcBlock *block = ic_take(row, (size_t)k->out / lanes + phases + 1, sizeof *block);
    if (row->failed) return NULL;
    for (int i = 0; i < k->out; i++) order[i] = i % channels * phases + i / channels;
    int64_t by_phase = 0, merged = 0;
    if (phases > 1 && k->out <= lanes) {
        for (int p = 0; p < phases; p++) by_phase += cost(row, k, order + p * channels, channels);
        merged = cost(row, k, order, k->out);
    }
    *blocks = 0;
    if (merged < by_phase) { /* the two phases of an output row follow each other there: one span of 2 * channels */
        set_spans(block, 0, k->out, 2 * channels, 0, 0);
        pack_block(row, &block[(*blocks)++], k, pack, order, k->out);
        return block;
    }
    for (int p = 0; p < phases; p++)
        for (int at = 0; at < channels; at += lanes) {
            IcBlock *b = &block[(*blocks)++];
            const int n = in_block(row, at, channels);
            set_spans(b, at, n, channels, p / up, p % up * channels);
            pack_block(row, b, k, pack, order + p * channels + at, n);
        }
    return block;
}

int64_t ic_blocks_work(const IcBlock *b, int blocks) {
    int64_t work = 0;
    for (; blocks > 0; blocks--, b++) {
        int64_t products = 0; /* of a tile */
        for (int i = 0; i < b->parts; i++)
            for (unsigned mask = b->part[i].mask; mask; mask &= mask - 1) products += 2 * b->part[i].pairs;
        work += IC_GROUP * b->groups * (2 * (int64_t)b->rows * b->pairs + products / (b->outputs ? b->outputs : 1));
    }
    return work;
}

/* Store int16 values, which never go to an int32 line. */
static void put16(IcLine line, ptrdiff_t i, const int16_t *v, int count) {
    if (line.type == IC_I16)
        for (int c = 0; c < count; c++) ((int16_t *)line.at)[i + c] = v[c];
    else
        for (int c = 0; c < count; c++) ((uint8_t *)line.at)[i + c] = (uint8_t)v[c];
}

void ic_store_span(IcLine line, ptrdiff_t pixel, const IcSpan *span, const void *lanes, int wide) {
    if (wide) ic_put(line, pixel + span->offset, (const int32_t *)lanes + span->lane, span->length);
    else put16(line, pixel + span->offset, (const int16_t *)lanes + span->lane, span->length);
}
