/* Rows of convolution by the exact Winograd algorithm of winograd.h: packing when the model is loaded, and running.
 *
 *     input rows --tile_in--> v[phase][position][tile][C] --dot--> m[position][tile][lanes] --tile_out--> y[tile][4][lanes]
 *                                                         (per part)                      (adds up)       --finish--> rows
 */
#include <string.h>

#include "graph.h"
#include "winograd.h"

enum {
    GRANULE = 16,            /* input channels that are not parted */
    V_BYTES = 400 << 10,     /* with m and y, what a second-level cache holds */
    MOST_TILES = 48,
    MOST_TAPS = 3,
};
/* Sums of one part, in magnitude, so that four times a sum is an int32. */
static const int64_t PART_LIMIT = 1 << 29;

/* Taps of a kernel's side that see phase `a` of the input, in the window of three that slides over the phase; -1: none.
 * A single tap goes to the middle, where it costs two positions. Returns the source row of tap 0 at output 0, less the
 * padding. */
static int taps_of(int side, int stride, int a, int tap[MOST_TAPS]) {
    const int n = (side - a + stride - 1) / stride, origin = n == 1 && stride == 2 ? a - stride : a;
    for (int j = 0; j < MOST_TAPS; j++) {
        const int k = origin + stride * j;
        tap[j] = k >= 0 && k < side ? k : -1;
    }
    return origin;
}

static int phases_of(const IcRow *row) { return row->stride * row->stride; }

/* The 3x3 taps of one output in a phase, each over all input channels; NULL: none. */
typedef const int16_t *Taps[MOST_TAPS * MOST_TAPS];

static void kernel_of(const IcSource *s, const IcRow *row, int o, int phase, Taps g) {
    int ty[MOST_TAPS], tx[MOST_TAPS];
    taps_of(s->kh, row->stride, phase / row->stride, ty);
    taps_of(s->kw, row->stride, phase % row->stride, tx);
    for (int k = 0; k < MOST_TAPS * MOST_TAPS; k++) {
        const int ky = ty[k / MOST_TAPS], kx = tx[k % MOST_TAPS];
        g[k] = ky < 0 || kx < 0 ? NULL : ic_tap(s, o, ky, kx);
    }
}

/* u = G g G^T with twice the usual G, for input channel c. */
static void transform(const Taps g, int c, int u[IC_POSITIONS]) {
    int w[MOST_TAPS * MOST_TAPS], h[4][MOST_TAPS];
    for (int k = 0; k < MOST_TAPS * MOST_TAPS; k++) w[k] = g[k] ? g[k][c] : 0;
    for (int i = 0; i < MOST_TAPS; i++) {
        h[0][i] = 2 * w[i], h[1][i] = w[i] + w[3 + i] + w[6 + i];
        h[2][i] = w[i] - w[3 + i] + w[6 + i], h[3][i] = 2 * w[6 + i];
    }
    for (int j = 0; j < 4; j++) {
        u[4 * j] = 2 * h[j][0], u[4 * j + 1] = h[j][0] + h[j][1] + h[j][2];
        u[4 * j + 2] = h[j][0] - h[j][1] + h[j][2], u[4 * j + 3] = 2 * h[j][2];
    }
}

/* max|x| * sum|w| of one output over the granule from channel c on. */
static int64_t reach_of(const IcSource *s, const IcRow *row, const Taps g, int c) {
    const int n = s->cin - c < GRANULE ? s->cin - c : GRANULE;
    int sum = 0; /* at most 9 * 16 * 32767 */
    for (int k = 0; k < MOST_TAPS * MOST_TAPS; k++)
        for (int i = 0; g[k] && i < n; i++) sum += g[k][c + i] < 0 ? -g[k][c + i] : g[k][c + i];
    return (int64_t)sum * row->reach;
}

int ic_winograd_fits(const IcGraph *g, const IcRow *row, const IcSource *s, int out) {
    const int stride1 = row->stride == 1 && s->kh == 3 && s->kw == 3;
    const int stride2 = row->stride == 2 && s->kh >= 3 && s->kh <= 6 && s->kw >= 3 && s->kw <= 6;
    if (!g->isa->tile_in || !(stride1 || stride2) || s->cin < 2 * GRANULE || s->cin % 2 || row->reach > 32767 / 4)
        return 0;
    int lo = 0, hi = 0;
    for (size_t i = 0; i < (size_t)out * s->kh * s->kw * s->cin; i++) {
        lo = s->weight[i] < lo ? s->weight[i] : lo;
        hi = s->weight[i] > hi ? s->weight[i] : hi;
    }
    if (lo < -32767 / 9 || hi > 32767 / 9) return 0;
    for (int o = 0; o < out; o++)
        for (int phase = 0; phase < phases_of(row); phase++) {
            Taps taps;
            kernel_of(s, row, o, phase, taps);
            for (int c = 0; c < s->cin; c += GRANULE)
                if (reach_of(s, row, taps, c) >= PART_LIMIT) return 0;
        }
    return 1;
}

/* The end of the longest part of a block that begins at channel `from`. */
static int part_end(const IcSource *s, const IcRow *row, const int *channel, int count, int phase, int from) {
    int end = s->cin;
    for (int lane = 0; lane < count; lane++) {
        Taps taps;
        int64_t sum = 0;
        kernel_of(s, row, channel[lane], phase, taps);
        for (int c = from; c < end; c += GRANULE) {
            sum += reach_of(s, row, taps, c);
            if (sum >= PART_LIMIT) end = c;
        }
    }
    return end;
}

static void pack_part(IcGraph *g, const IcRow *row, IcPart *part, const IcSource *s, const int *channel, int count,
                      int lanes) {
    const size_t size = (size_t)part->pairs * lanes * 2;
    int16_t *all = ic_graph_take(g, IC_POSITIONS * size, sizeof *all);
    if (g->failed) return;
    for (int lane = 0; lane < count; lane++) {
        Taps taps;
        kernel_of(s, row, channel[lane], part->phase, taps);
        for (int k = 0; k < 2 * part->pairs; k++) {
            int u[IC_POSITIONS];
            transform(taps, part->channel + k, u);
            const size_t at = (size_t)(k / 2) * lanes * 2 +
                              (size_t)(g->isa->planar ? (k & 1) * lanes + lane : lane * 2 + (k & 1));
            for (int i = 0; i < IC_POSITIONS; i++)
                if (u[i]) {
                    all[i * size + at] = (int16_t)u[i];
                    part->mask |= 1u << i;
                }
        }
    }
    int used = 0;
    for (int i = 0; i < IC_POSITIONS; i++)
        if (part->mask >> i & 1) memmove(all + used++ * size, all + i * size, size * sizeof *all);
    part->weight = all;
}

void ic_winograd_pack(IcGraph *g, const IcRow *row, IcBlock *b, const IcSource *s, const int *channel, int count) {
    int parts = 0;
    for (int phase = 0; phase < phases_of(row); phase++)
        for (int c = 0; c < s->cin; parts++) c = part_end(s, row, channel, count, phase, c);
    b->part = ic_graph_take(g, parts, sizeof *b->part);
    for (int phase = 0; !g->failed && phase < phases_of(row); phase++)
        for (int c = 0, end; c < s->cin; c = end) {
            end = part_end(s, row, channel, count, phase, c);
            IcPart *part = &b->part[b->parts++];
            *part = (IcPart){.phase = phase, .channel = c, .pairs = (end - c) / 2};
            pack_part(g, row, part, s, channel, count, b->groups * IC_GROUP);
        }
}

static int tiles_at_once(const IcRow *row, int channels) {
    const int tiles = V_BYTES / (2 * IC_POSITIONS * phases_of(row) * channels) / 6 * 6; /* whole tiles of `dot` */
    return tiles < 6 ? 6 : tiles > MOST_TILES ? MOST_TILES : tiles;
}

typedef struct {
    int16_t *v;     /* [phases][IC_POSITIONS][tiles][channels] */
    int16_t *patch; /* [4][4][channels] */
    int32_t *m;     /* [IC_POSITIONS][tiles][lanes] */
    int32_t *y;     /* [tiles][4][lanes] */
    int32_t *zero;  /* [lanes] */
    int32_t *line;  /* [lanes] */
} Scratch;

static size_t place(const IcGraph *g, const IcRow *row, char *memory, Scratch *s) {
    const size_t channels = (size_t)g->tensor[row->in].channels, lanes = (size_t)g->isa->lanes;
    const size_t tiles = (size_t)tiles_at_once(row, (int)channels);
    const size_t size[] = {2 * (size_t)phases_of(row) * IC_POSITIONS * tiles * channels, 2 * 16 * channels,
                           4 * IC_POSITIONS * tiles * lanes, 4 * tiles * 4 * lanes, 4 * lanes, 4 * lanes};
    size_t at[7] = {0};
    for (int i = 0; i < 6; i++) at[i + 1] = at[i] + (size[i] + 127) / 64 * 64;
    if (memory)
        *s = (Scratch){(int16_t *)(memory + at[0]), (int16_t *)(memory + at[1]), (int32_t *)(memory + at[2]),
                       (int32_t *)(memory + at[3]), (int32_t *)(memory + at[4]), (int32_t *)(memory + at[5])};
    return at[6];
}

size_t ic_winograd_scratch(const IcGraph *g) {
    size_t most = 0;
    for (int i = 0; i < g->rows; i++) {
        const size_t bytes = g->row[i].winograd ? place(g, &g->row[i], NULL, NULL) : 0;
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Transform one tile of one phase whose first output is (y, x): v[position][tile][channels]. What lies outside the
 * window is only seen by outputs that do not exist, or by positions whose weights are zero. */
static void load_tile(const IcPlane *in, const IcRow *row, const IcIsa *isa, int phase, int y, int x, int16_t *v,
                      ptrdiff_t plane, int16_t *patch) {
    int unused[MOST_TAPS];
    const int stride = row->stride, c = in->channels;
    const int top = stride * y + taps_of(row->kh, stride, phase / stride, unused) - row->top;
    const int left = stride * x + taps_of(row->kw, stride, phase % stride, unused) - row->left;
    const int16_t *const window = (const int16_t *)in->window, *source[4];
    int inside = left >= -in->left && left + 3 * stride < in->width + in->right;
    for (int i = 0; i < 4; i++) {
        const int sy = top + stride * i;
        source[i] = window + (sy - in->first) * in->pitch + (ptrdiff_t)(in->left + left) * c;
        inside &= sy >= in->first && sy < in->bottom;
    }
    if (inside) {
        isa->tile_in(source, (ptrdiff_t)stride * c, c, v, plane);
        return;
    }
    memset(patch, 0, sizeof *patch * 16 * (size_t)c);
    for (int i = 0; i < 4; i++) {
        const int sy = top + stride * i;
        for (int j = 0; j < 4; j++) {
            const int sx = left + stride * j;
            if (sy >= in->first && sy < in->bottom && sx >= -in->left && sx < in->width + in->right)
                memcpy(patch + (4 * i + j) * c, window + (sy - in->first) * in->pitch + (ptrdiff_t)(in->left + sx) * c,
                       sizeof *patch * (size_t)c);
        }
        source[i] = patch + 4 * i * c;
    }
    isa->tile_in(source, c, c, v, plane);
}

/* y of `tiles` tiles of one block. */
static void multiply(const IcIsa *isa, const IcBlock *b, const Scratch *s, int channels, int tiles, int room) {
    const int lanes = b->groups * IC_GROUP;
    const ptrdiff_t v_plane = (ptrdiff_t)room * channels, m_plane = (ptrdiff_t)room * lanes;
    for (int i = 0; i < b->parts; i++) {
        const IcPart *part = &b->part[i];
        const int16_t *weight = part->weight, *v = s->v + part->phase * IC_POSITIONS * v_plane + part->channel;
        for (int k = 0; k < IC_POSITIONS; k++) {
            if (!(part->mask >> k & 1)) continue;
            const IcDot d = {
                .x = v + k * v_plane,
                .x_pixel = channels,
                .rows = 1,
                .pairs = part->pairs,
                .weight = weight,
                .bias = s->zero,
                .shift = s->zero,
                .lo = INT32_MIN,
                .hi = INT32_MAX,
                .out = s->m + k * m_plane,
                .out_pixel = lanes,
                .wide = 1,
            };
            isa->dot(&d, b->groups, tiles);
            weight += (size_t)part->pairs * lanes * 2;
        }
        for (int t = 0; t < tiles; t++) {
            const int32_t *m[IC_POSITIONS];
            for (int k = 0; k < IC_POSITIONS; k++)
                m[k] = part->mask >> k & 1 ? s->m + k * m_plane + t * lanes : s->zero;
            isa->tile_out(m, s->y + (ptrdiff_t)t * 4 * lanes, lanes, i == 0);
        }
    }
}

/* Requantise and store the outputs of one tile that exist. */
static void store_tile(const IcIsa *isa, const IcRow *row, const IcBlock *b, const IcPlane *out, int y, int x, int to,
                       const int32_t *sums, int32_t *line) {
    const int lanes = b->groups * IC_GROUP, up = row->upsample, width = out->width / up;
    for (int k = 0; k < 4; k++, sums += lanes) {
        const int oy = y + k / 2, ox = x + k % 2;
        if (oy >= to || ox >= width) continue;
        const IcLine first = ic_output_row(out, oy * up);
        const int wide = first.type == IC_I32;
        const ptrdiff_t pixel = (ptrdiff_t)ox * up * out->channels;
        if (b->spans == 1 && b->span[0].length == lanes && first.type != IC_U8) {
            const IcLine target = b->span[0].y ? ic_output_row(out, oy * up + 1) : first;
            char *at = target.at + (pixel + b->span[0].offset) * (ptrdiff_t)(wide ? 4 : 2);
            isa->finish(sums, b->bias, b->shift, lanes, row->lo, row->hi, row->slope, at, wide);
            continue;
        }
        isa->finish(sums, b->bias, b->shift, lanes, row->lo, row->hi, row->slope, line, wide);
        for (int i = 0; i < b->spans; i++)
            ic_store_span(ic_output_row(out, oy * up + b->span[i].y), pixel, &b->span[i], line, wide);
    }
}

void ic_winograd_rows(const IcPlan *p, const IcRow *row, int b0, int b1, const IcPlane *out, int from, int to,
                      char *memory) {
    const IcIsa *isa = p->graph->isa;
    const IcPlane *in = &p->plane[row->in];
    const int across = (out->width / row->upsample + 1) / 2, total = across * ((to - from + 1) / 2);
    const int room = tiles_at_once(row, in->channels);
    const ptrdiff_t plane = (ptrdiff_t)room * in->channels;
    Scratch s;
    place(p->graph, row, memory, &s);
    memset(s.zero, 0, sizeof *s.zero * (size_t)isa->lanes);
    for (int at = 0; at < total; at += room) {
        const int n = total - at < room ? total - at : room;
        for (int phase = 0; phase < phases_of(row); phase++)
            for (int t = 0; t < n; t++)
                load_tile(in, row, isa, phase, from + (at + t) / across * 2, (at + t) % across * 2,
                          s.v + phase * IC_POSITIONS * plane + (ptrdiff_t)t * in->channels, plane, s.patch);
        for (int b = b0; b < b1; b++) {
            multiply(isa, &row->block[b], &s, in->channels, n, room);
            for (int t = 0; t < n; t++)
                store_tile(isa, row, &row->block[b], out, from + (at + t) / across * 2, (at + t) % across * 2, to,
                           s.y + (ptrdiff_t)t * 4 * row->block[b].groups * IC_GROUP, s.line);
        }
    }
}
