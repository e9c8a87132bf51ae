/* Rows of convolution by the exact Winograd algorithm of winograd.h: packing when the model is loaded, and running.
 *
 *     input rows --tile_in--> v[phase][position][tile][C] --dot--> m[position][tile][lanes] --tile_out--> output rows
 *                                                         (per part)         (the last part; those before add up in y)
 */
#include "rows/winograd.h"

enum {
    GRANULE = 16,            /* input channels that are not parted */
    V_BYTES = 400 << 10,     /* with m and y, what a second-level cache holds */
    MOST_TILES = 36,
    MOST_TAPS = 3,
    MOST_U = 32767,          /* a transformed weight or input */
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

static const IcConv *conv_of(const IcRow *row) { return row->state; }
static int phases_of(const IcRow *row) { return row->geometry.stride * row->geometry.stride; }
static int positions_of(int across) { return IC_DOWN * (across + 2); }

/* The 3x3 taps of one output in a phase, each over all input channels; NULL: none. */
typedef const int16_t *Taps[MOST_TAPS * MOST_TAPS];

static void kernel_of(const IcKernel *s, int stride, int o, int phase, Taps g) {
    int ty[MOST_TAPS], tx[MOST_TAPS];
    taps_of(s->kh, stride, phase / stride, ty);
    taps_of(s->kw, stride, phase % stride, tx);
    for (int k = 0; k < MOST_TAPS * MOST_TAPS; k++) {
        const int ky = ty[k / MOST_TAPS], kx = tx[k % MOST_TAPS];
        g[k] = ky < 0 || kx < 0 ? NULL : ic_tap(s, o, ky, kx);
    }
}

/* Channels of the granule that begins at c. */
static int granule(const IcKernel *s, int c) { return s->cin - c < GRANULE ? s->cin - c : GRANULE; }

typedef int Run[GRANULE]; /* a value for each channel of a granule: loops over it become vector instructions */

/* u of both dimensions for the `count` input channels from c on, zero beyond; returns the largest in magnitude. */
static int transform(const Taps g, int c, int count, int across, Run u[IC_POSITIONS]) {
    Run w[MOST_TAPS * MOST_TAPS] = {{0}}, most = {0};
    for (int k = 0; k < MOST_TAPS * MOST_TAPS; k++)
        for (int i = 0; g[k] && i < count; i++) w[k][i] = g[k][c + i];
    Run h[IC_DOWN][MOST_TAPS];
    for (int j = 0; j < MOST_TAPS; j++)
        for (int i = 0; i < GRANULE; i++) {
            const int a = w[j][i], b = w[3 + j][i], d = w[6 + j][i];
            h[0][j][i] = 2 * a, h[1][j][i] = a + b + d, h[2][j][i] = a - b + d, h[3][j][i] = 2 * d;
        }
    for (int j = 0; j < IC_DOWN; j++) {
        Run *const out = u + j * (across + 2);
        for (int i = 0; i < GRANULE; i++) {
            const int a = h[j][0][i], b = h[j][1][i], d = h[j][2][i];
            if (across == 2) out[0][i] = 2 * a, out[1][i] = a + b + d, out[2][i] = a - b + d, out[3][i] = 2 * d;
            else {
                out[0][i] = 3 * a, out[1][i] = -a - b - d, out[2][i] = b - a - d;
                out[3][i] = a + 2 * b + 4 * d, out[4][i] = 3 * d;
            }
        }
    }
    for (int k = 0; k < positions_of(across); k++)
        for (int i = 0; i < GRANULE; i++) {
            const int size = u[k][i] < 0 ? -u[k][i] : u[k][i];
            most[i] = size > most[i] ? size : most[i];
        }
    for (int i = 1; i < GRANULE; i++) most[0] = most[i] > most[0] ? most[i] : most[0];
    return most[0];
}

/* max|x| * sum|w| of one output over the granule from channel c on. */
static int64_t reach_of(const IcKernel *s, const IcRow *row, const Taps g, int c) {
    const int count = granule(s, c);
    int sum = 0; /* at most 9 * 16 * 32767 */
    for (int k = 0; k < MOST_TAPS * MOST_TAPS; k++)
        for (int i = 0; g[k] && i < count; i++) sum += g[k][c + i] < 0 ? -g[k][c + i] : g[k][c + i];
    return sum * ic_magnitude(row->from[0]);
}

/* Do all transformed weights fit? `most` is the largest weight in magnitude. */
static int weights_fit(const IcRow *row, const IcKernel *s, int across, int most) {
    const int bound = across == 2 ? 9 : 21;
    if (bound * (int64_t)most <= MOST_U) return 1;
    if (across == 2) return 0; /* weights so large are rare */
    for (int o = 0; o < s->out; o++)
        for (int phase = 0; phase < phases_of(row); phase++) {
            Taps taps;
            Run u[IC_POSITIONS];
            kernel_of(s, row->geometry.stride, o, phase, taps);
            for (int c = 0; c < s->cin; c += GRANULE)
                if (transform(taps, c, granule(s, c), across, u) > MOST_U) return 0;
        }
    return 1;
}

/* Has a convolution a shape that tiles are made for? */
static int shaped(const IcRow *row, const IcKernel *s) {
    const int stride1 = row->geometry.stride == 1 && s->kh == 3 && s->kw == 3;
    const int stride2 = row->geometry.stride == 2 && s->kh >= 3 && s->kh <= 6 && s->kw >= 3 && s->kw <= 6;
    return row->isa->tile_in && (stride1 || stride2) && s->cin >= 2 * GRANULE && s->cin % 2 == 0;
}

/* Is no granule's sum too large for a part? */
static int sums_fit(const IcRow *row, IcConv *conv, const IcKernel *s) {
    for (int o = 0; o < s->out; o++)
        for (int phase = 0; phase < phases_of(row); phase++) {
            Taps taps;
            int64_t sum = 0;
            kernel_of(s, row->geometry.stride, o, phase, taps);
            for (int c = 0; c < s->cin; c += GRANULE) {
                const int64_t reach = reach_of(s, row, taps, c);
                if (reach >= PART_LIMIT) return 0;
                sum += reach;
            }
            conv->parted |= sum >= PART_LIMIT;
        }
    return 1;
}

void ic_winograd_choose(const IcRow *row, IcConv *conv, const IcKernel *s) {
    const int64_t reach = ic_magnitude(row->from[0]);
    conv->across = 0;
    if (!shaped(row, s) || reach > MOST_U / 4 || !sums_fit(row, conv, s)) return;
    int most = 0;
    for (size_t i = 0; i < (size_t)s->out * s->kh * s->kw * s->cin; i++) {
        const int size = s->weight[i] < 0 ? -s->weight[i] : s->weight[i];
        most = size > most ? size : most;
    }
    if (reach <= MOST_U / 12 && weights_fit(row, s, 3, most)) conv->across = 3;
    else if (weights_fit(row, s, 2, most)) conv->across = 2;
}

/* The end of the longest part of a block that begins at channel `from`. */
static int part_end(const IcKernel *s, const IcRow *row, const int *channel, int count, int phase, int from) {
    int end = s->cin;
    if (!conv_of(row)->parted) return end;
    for (int lane = 0; lane < count; lane++) {
        Taps taps;
        int64_t sum = 0;
        kernel_of(s, row->geometry.stride, channel[lane], phase, taps);
        for (int c = from; c < end; c += GRANULE) {
            sum += reach_of(s, row, taps, c);
            if (sum >= PART_LIMIT) end = c;
        }
    }
    return end;
}

/* Pack one output's weights of a part, [position][pairs][lanes][2], and mark the positions that have any. */
static void pack_lane(const IcRow *row, IcPart *part, const IcKernel *s, int channel, int lane, int lanes,
                      int16_t *all) {
    const size_t size = (size_t)part->pairs * lanes * 2;
    const int across = conv_of(row)->across, planar = row->isa->planar;
    Taps taps;
    kernel_of(s, row->geometry.stride, channel, part->phase, taps);
    for (int c = 0; c < 2 * part->pairs; c += GRANULE) {
        const int count = granule(s, part->channel + c);
        Run u[IC_POSITIONS];
        transform(taps, part->channel + c, count, across, u);
        int16_t *const to = all + (size_t)c * lanes + (size_t)(planar ? lane : 2 * lane);
        for (int i = 0; i < positions_of(across); i++) {
            int any = 0;
            for (int k = 0; k < count; k += 2) {
                int16_t *const pair = to + i * size + (size_t)k * lanes;
                pair[0] = (int16_t)u[i][k], pair[planar ? lanes : 1] = (int16_t)u[i][k + 1];
                any |= u[i][k] | u[i][k + 1];
            }
            part->mask |= (unsigned)(any != 0) << i;
        }
    }
}

static void pack_part(IcRow *row, IcPart *part, const IcKernel *s, const int *channel, int count, int lanes) {
    const size_t size = (size_t)part->pairs * lanes * 2;
    const int positions = positions_of(conv_of(row)->across);
    int16_t *all = ic_take(row, (size_t)positions * size, sizeof *all);
    if (!all) return;
    for (int lane = 0; lane < count; lane++) pack_lane(row, part, s, channel[lane], lane, lanes, all);
    int used = 0;
    for (int i = 0; i < positions; i++)
        if (part->mask >> i & 1) memmove(all + used++ * size, all + i * size, size * sizeof *all);
    part->weight = all;
}

void ic_winograd_pack(IcRow *row, IcBlock *b, const IcKernel *s, const int *channel, int count) {
    int parts = 0;
    for (int phase = 0; phase < phases_of(row); phase++)
        for (int c = 0; c < s->cin; parts++) c = part_end(s, row, channel, count, phase, c);
    b->part = ic_take(row, (size_t)parts, sizeof *b->part);
    b->outputs = 2 * conv_of(row)->across;
    for (int phase = 0; !row->failed && phase < phases_of(row); phase++)
        for (int c = 0, end; c < s->cin; c = end) {
            end = part_end(s, row, channel, count, phase, c);
            IcPart *part = &b->part[b->parts++];
            *part = (IcPart){.phase = phase, .channel = c, .pairs = (end - c) / 2};
            pack_part(row, part, s, channel, count, b->groups * IC_GROUP);
        }
}

static int tiles_at_once(const IcRow *row) {
    const int channels = row->from[0].channels, products = positions_of(conv_of(row)->across) * phases_of(row);
    const int tiles = V_BYTES / (2 * products * channels) / 6 * 6; /* `dot` takes 6 */
    return tiles < 6 ? 6 : tiles > MOST_TILES ? MOST_TILES : tiles;
}

typedef struct {
    int16_t *v;     /* [phases][positions][tiles][channels] */
    int16_t *patch; /* [IC_DOWN][IC_ACROSS][channels] */
    int32_t *m;     /* [positions][tiles][lanes] */
    int32_t *y;     /* [tiles][outputs][lanes] */
    int32_t *zero;  /* [lanes] */
    char **out;     /* [tiles][IC_OUTPUTS]: where the outputs of a batch begin in memory; NULL: outside the tensor */
    char **line;    /* the same for a block whose lanes do not lie together there: they go to its place in y */
} Scratch;

static size_t place(const IcRow *row, char *memory, Scratch *s) {
    const size_t channels = (size_t)row->from[0].channels, lanes = (size_t)row->isa->lanes;
    const size_t tiles = (size_t)tiles_at_once(row), positions = (size_t)positions_of(conv_of(row)->across);
    const size_t size[] = {2 * (size_t)phases_of(row) * positions * tiles * channels, 2 * IC_POSITIONS * channels,
                           4 * positions * tiles * lanes, 4 * tiles * IC_OUTPUTS * lanes, 4 * lanes,
                           sizeof(char *) * tiles * IC_OUTPUTS, sizeof(char *) * tiles * IC_OUTPUTS};
    size_t at[8] = {0};
    for (int i = 0; i < 7; i++) at[i + 1] = at[i] + (size[i] + 127) / 64 * 64;
    if (memory)
        *s = (Scratch){(int16_t *)(memory + at[0]), (int16_t *)(memory + at[1]), (int32_t *)(memory + at[2]),
                       (int32_t *)(memory + at[3]), (int32_t *)(memory + at[4]), (char **)(memory + at[5]),
                       (char **)(memory + at[6])};
    return at[7];
}

size_t ic_winograd_scratch(const IcRow *row) { return place(row, NULL, NULL); }

/* Transform one tile of one phase whose first output is (y, x): v[position][tile][channels]. What lies outside the
 * window is only seen by outputs that do not exist, or by positions whose weights are zero. */
static void load_tile(const IcView *in, const IcRow *row, int phase, int y, int x, int16_t *v, ptrdiff_t plane,
                      int16_t *patch) {
    int unused[MOST_TAPS];
    const IcGeometry *g = &row->geometry;
    const int stride = g->stride, c = in->channels, across = conv_of(row)->across, columns = across + 2;
    const int top = stride * y + taps_of(g->rows, stride, phase / stride, unused) - g->top;
    const int left = stride * x + taps_of(g->columns, stride, phase % stride, unused) - g->left;
    const int16_t *const window = (const int16_t *)in->memory, *source[IC_DOWN];
    int inside = left >= -in->left && left + (columns - 1) * stride < in->width + in->right;
    for (int i = 0; i < IC_DOWN; i++) {
        const int sy = top + stride * i;
        source[i] = window + (sy - in->first) * in->pitch + (ptrdiff_t)(in->left + left) * c;
        inside &= sy >= in->first && sy < in->bottom;
    }
    if (inside) {
        row->isa->tile_in(source, (ptrdiff_t)stride * c, c, across, v, plane);
        return;
    }
    memset(patch, 0, sizeof *patch * IC_POSITIONS * (size_t)c);
    for (int i = 0; i < IC_DOWN; i++) {
        const int sy = top + stride * i;
        for (int j = 0; j < columns; j++) {
            const int sx = left + stride * j;
            if (sy >= in->first && sy < in->bottom && sx >= -in->left && sx < in->width + in->right)
                memcpy(patch + (columns * i + j) * c,
                       window + (sy - in->first) * in->pitch + (ptrdiff_t)(in->left + sx) * c,
                       sizeof *patch * (size_t)c);
        }
        source[i] = patch + columns * i * c;
    }
    row->isa->tile_in(source, c, c, across, v, plane);
}

/* Where the outputs of the tile whose first output is (y, x) begin: rows before `to`, in row 0 of an upsampled pair. */
static void find_outputs(const IcRow *row, const IcView *out, int y, int x, int to, char *at[IC_OUTPUTS]) {
    const int up = row->geometry.up, width = out->width / up, across = conv_of(row)->across;
    const ptrdiff_t pixel = (ptrdiff_t)(up * out->channels) * (ptrdiff_t)ic_size(out->type);
    for (int k = 0; k < 2 * across; k++) {
        const int oy = y + k / across, ox = x + k % across;
        at[k] = oy < to && ox < width ? ic_line(out, oy * up).at + ox * pixel : NULL;
    }
}

/* The products of one part, and what becomes of them. */
static void multiply(const IcRow *row, const IcBlock *b, int i, const Scratch *s, int room, IcTiles *g) {
    const IcPart *part = &b->part[i];
    const int channels = row->from[0].channels, positions = positions_of(g->across);
    const ptrdiff_t v_plane = (ptrdiff_t)room * channels, m_plane = (ptrdiff_t)room * g->lanes;
    const int16_t *weight = part->weight, *v = s->v + part->phase * positions * v_plane + part->channel;
    for (int k = 0; k < positions; k++) {
        const int used = part->mask >> k & 1;
        g->m[k] = used ? s->m + k * m_plane : s->zero;
        g->m_tile[k] = used ? g->lanes : 0;
        if (!used) continue;
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
            .out_pixel = g->lanes,
            .wide = 1,
        };
        row->isa->dot(&d, b->groups, g->tiles);
        weight += (size_t)part->pairs * g->lanes * 2;
    }
    g->first = i == 0, g->last = i == b->parts - 1;
    row->isa->tile_out(g);
}

/* Compute a batch of tiles of one block whose inputs are transformed. */
static void run_block(const IcRow *row, const IcBlock *b, const IcView *out, const Scratch *s, int tiles, int room) {
    const IcConv *conv = row->state;
    const int up = row->geometry.up, lanes = b->groups * IC_GROUP, outputs = 2 * conv->across;
    const int wide = out->type == IC_I32;
    const ptrdiff_t pair = up == 2 ? out->pitch * (ptrdiff_t)ic_size(out->type) : 0; /* bytes to row 1 of a pair */
    const int together = b->spans == 1 && b->span[0].length == lanes && out->type != IC_U8;
    const IcDot d = {
        .bias = b->bias, .shift = b->shift, .lo = conv->lo, .hi = conv->hi, .slope = conv->slope, .wide = wide};
    IcTiles g = {
        .across = conv->across,
        .tiles = tiles,
        .lanes = lanes,
        .y = s->y,
        .d = &d,
        .out = together ? s->out : s->line,
        .offset = together ? b->span[0].y * pair + b->span[0].offset * (ptrdiff_t)(wide ? 4 : 2) : 0,
    };
    for (int t = 0; !together && t < tiles; t++)
        for (int k = 0; k < outputs; k++) {
            char *const slot = (char *)(s->y + ((ptrdiff_t)t * outputs + k) * lanes);
            s->line[t * IC_OUTPUTS + k] = s->out[t * IC_OUTPUTS + k] ? slot : NULL;
        }
    for (int i = 0; i < b->parts; i++) multiply(row, b, i, s, room, &g);
    for (int t = 0; !together && t < tiles; t++)
        for (int k = 0; k < outputs; k++) {
            char *const at = s->out[t * IC_OUTPUTS + k];
            for (int i = 0; at && i < b->spans; i++)
                ic_store_span((IcLine){at + b->span[i].y * pair, out->type}, 0, &b->span[i],
                              s->line[t * IC_OUTPUTS + k], wide);
        }
}

void ic_winograd_run(const IcRow *row, const IcStrip *strip, int b0, int b1) {
    const IcConv *conv = row->state;
    const IcView *in = strip->in[0], *out = strip->out;
    const int across = (out->width / row->geometry.up + conv->across - 1) / conv->across; /* tiles */
    const int total = across * ((strip->to - strip->from + 1) / 2), room = tiles_at_once(row);
    const ptrdiff_t plane = (ptrdiff_t)room * in->channels;
    Scratch s;
    place(row, strip->scratch, &s);
    memset(s.zero, 0, sizeof *s.zero * (size_t)row->isa->lanes);
    for (int at = 0; at < total; at += room) {
        const int n = total - at < room ? total - at : room;
        for (int t = 0; t < n; t++) {
            const int y = strip->from + (at + t) / across * 2, x = (at + t) % across * conv->across;
            find_outputs(row, out, y, x, strip->to, s.out + t * IC_OUTPUTS);
            for (int phase = 0; phase < phases_of(row); phase++)
                load_tile(in, row, phase, y, x,
                          s.v + phase * positions_of(conv->across) * plane + (ptrdiff_t)t * in->channels, plane, s.patch);
        }
        for (int b = b0; b < b1; b++) run_block(row, &conv->block[b], out, &s, n, room);
    }
}
