/* Compare every instruction set of this machine with the scalar one on random graphs, without Python: for sanitizers
 * and for foreign machines under an emulator. Built and run by tests/test_native.py:
 *
 *     cc -std=c11 -O2 -I_ext/kernels _ext/kernels/check/check.c _ext/kernels/X.c ... -pthread -o check && ./check 40
 *
 * Each trial makes a chain of random rows, some of which read a second, earlier tensor, with values at the ends of their ranges, runs it in scalar C, untiled and on
 * one thread, then with each set, each workspace size and several threads, and compares all tensors. Prints the number
 * of comparisons and a hash of the scalar results, which must be the same on every machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

enum { MAX_ROWS = 6 };

static uint64_t state;

static uint32_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}
static int between(int lo, int hi) { return lo + (int)(next() % (uint32_t)(hi - lo + 1)); }

typedef struct {
    int kind, in, other, channels_in, out, kh, kw, stride, upsample, slope, lo, hi, reach, square_shift, inverse, count;
    int pad[4];
    IcType type;
    int16_t *weight; /* or a gate's table */
    int32_t *bias, *numerator;
    uint8_t *shift, *in_shift, *other_shift;
} Row;

static void *array(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    if (!p) abort();
    return p;
}

/* A convolution's sums stay below 2^31 for |x| <= 32767 because sum |w| <= 60000 and |bias| <= 2^24. */
static void make_conv(Row *r) {
    static const int counts[] = {1, 3, 16, 20, 64, 67, 80}; /* 64 and 80 wide enough for winograd.c */
    r->upsample = between(1, 2), r->stride = between(1, 2), r->slope = between(0, 1) ? 655 : 0;
    r->kh = between(1, 5), r->kw = between(1, 4);
    for (int i = 0; i < 4; i++) r->pad[i] = between(0, 3);
    if (between(0, 2) == 0) {
        r->kh = r->kw = 3, r->stride = 1, r->upsample = 2;
        for (int i = 0; i < 4; i++) r->pad[i] = 1;
    }
    r->out = counts[between(0, 6)] * r->upsample * r->upsample;
    const int run = r->kh * r->kw * r->channels_in, largest = 60000 / run < 32767 ? 60000 / run : 32767;
    r->weight = array((size_t)r->out * run, 2);
    r->bias = array(r->out, 4);
    r->shift = array(r->out, 1);
    for (int o = 0; o < r->out; o++) {
        r->bias[o] = between(-(1 << 24), 1 << 24), r->shift[o] = (uint8_t)between(0, 30);
        for (int k = 0; k < run; k++) {
            const int ky = k / r->channels_in / r->kw, kx = k / r->channels_in % r->kw;
            if (r->upsample == 2 && r->kh == 3 && ((o % 4 / 2 && ky == 0) || (o % 2 && kx == 0))) continue;
            r->weight[o * run + k] = (int16_t)(between(0, 3) ? between(-largest, largest) : largest);
        }
    }
}

/* Norms stay below 2^30 because sum gamma <= 30000 and the squares below 2^15. */
static void make_gdn(Row *r) {
    const int c = r->channels_in, largest = 30000 / c;
    r->out = c, r->square_shift = 15, r->inverse = between(0, 1);
    r->weight = array((size_t)c * c, 2);
    r->bias = array(c, 4), r->numerator = array(c, 4), r->shift = array(c, 1);
    for (int j = 0; j < c; j++) {
        r->bias[j] = between(0, 1) ? 1 : between(1, 1 << 24);
        /* |x| * m + 2^(shift-1) < 2^31 for m <= 32767 */
        int root = 1;
        while ((root + 1) * (root + 1) <= r->bias[j]) root++;
        r->numerator[j] = between(0, 32767) * root;
        r->shift[j] = (uint8_t)between(1, 20);
        for (int i = 0; i < c; i++) r->weight[j * c + i] = (int16_t)between(0, largest);
    }
}

static void make_row(Row *r, int in, int channels, IcType type_in) {
    static const int ranges[][2] = {{-2047, 2047}, {0, 255}, {0, 2047}, {-32767, 32767}, {-(1 << 28), 1 << 28}};
    memset(r, 0, sizeof *r);
    r->in = in, r->channels_in = channels;
    const int range = between(0, 9), pick = range < 5 ? range : 0;
    r->lo = ranges[pick][0], r->hi = ranges[pick][1];
    r->type = pick == 1 ? IC_U8 : pick == 4 ? IC_I32 : IC_I16;
    r->kind = type_in == IC_I32 ? IC_RESCALE : between(0, 3) == 0 ? IC_GDN : between(0, 9) == 0 ? IC_RESCALE : IC_CONV;
    if (r->kind == IC_CONV) make_conv(r);
    else if (r->kind == IC_GDN) make_gdn(r);
    else {
        r->out = channels, r->shift = array(channels, 1), r->inverse = between(0, 1);
        for (int c = 0; c < channels; c++) r->shift[c] = (uint8_t)between(0, 16);
    }
    if (r->slope && r->type == IC_I32) r->lo = -2047, r->hi = 2047, r->type = IC_I16;
}

/* A row of tensors `in` and `other`, of one size and not int32, that reaches the ends of the sums' range. */
static void make_pair(Row *r, int in, int other, const int *channels, const IcType *types) {
    static const int ranges[][2] = {{-2047, 2047}, {0, 255}, {-32767, 32767}, {-(1 << 28), 1 << 28}};
    static const IcType type_of[] = {IC_I16, IC_U8, IC_I16, IC_I32};
    const int c = channels[in], pick = between(0, 3);
    memset(r, 0, sizeof *r);
    r->in = in, r->other = other, r->channels_in = r->out = c;
    r->lo = ranges[pick][0], r->hi = ranges[pick][1], r->type = type_of[pick];
    if (types[in] == IC_I16 && types[other] == IC_I16 && c + channels[other] < 150 &&
        (c != channels[other] || between(0, 2) == 0)) {
        r->kind = IC_CONCAT, r->out = c + channels[other], r->type = IC_I16;
        return;
    }
    r->kind = between(0, 1) ? IC_ADD : IC_GATE, r->count = 65536;
    r->shift = array(c, 1), r->in_shift = array(c, 1), r->other_shift = array(c, 1);
    r->weight = array(r->count, 2);
    for (int i = 0; i < r->count; i++) r->weight[i] = (int16_t)between(0, 32767);
    for (int k = 0; k < c; k++) {
        r->shift[k] = (uint8_t)between(0, 16);
        r->in_shift[k] = (uint8_t)between(0, 15), r->other_shift[k] = (uint8_t)between(0, 15);
    }
}

static IcGraph *build(const IcIsa *isa, int channels, IcType type, const Row *row, int rows) {
    IcGraph *g = ic_graph_new(isa, 1, rows);
    if (!g) abort();
    ic_graph_input(g, 0, channels, type);
    for (int i = 0; i < rows; i++) {
        const Row *r = &row[i];
        int status;
        if (r->kind == IC_CONV)
            status = ic_graph_conv(g, r->in, r->type, r->out, r->kh, r->kw, r->weight, r->bias, r->shift, r->pad,
                                   r->stride, r->upsample, r->slope, r->lo, r->hi, r->reach);
        else if (r->kind == IC_GDN)
            status = ic_graph_gdn(g, r->in, r->type, r->weight, r->bias, r->numerator, r->shift, r->square_shift,
                                  r->inverse, r->lo, r->hi);
        else if (r->kind == IC_CONCAT) status = ic_graph_concat(g, r->in, r->other, r->type);
        else if (r->kind == IC_ADD)
            status = ic_graph_add(g, r->in, r->other, r->type, r->in_shift, r->other_shift, r->shift, r->lo, r->hi);
        else if (r->kind == IC_GATE)
            status = ic_graph_gate(g, r->in, r->other, r->type, r->weight, r->count, -32768, r->shift, r->lo, r->hi);
        else status = ic_graph_rescale(g, r->in, r->type, r->shift, r->inverse, r->lo, r->hi);
        if (status) abort();
    }
    return g;
}

static size_t width_of(IcType type) { return type == IC_U8 ? 1 : type == IC_I16 ? 2 : 4; }

int main(int argc, char **argv) {
    const int trials = argc > 1 ? atoi(argv[1]) : 20;
    static const size_t budgets[] = {SIZE_MAX, 1, 20000};
    uint64_t hash = 14695981039346656037u;
    long compared = 0;
    for (int trial = 0; trial < trials; trial++) {
        state = (uint64_t)trial * 7919 + 1;
        Row row[MAX_ROWS];
        const int channels = between(1, 40);
        const IcType type = between(0, 1) ? IC_I16 : IC_U8;
        int height[MAX_ROWS + 1], width[MAX_ROWS + 1], c[MAX_ROWS + 1], rows = 0;
        int reach[MAX_ROWS + 1]; /* largest magnitude of a tensor */
        IcType types[MAX_ROWS + 1];
        height[0] = between(1, 20), width[0] = between(1, 40), c[0] = channels, types[0] = type;
        reach[0] = type == IC_U8 ? 255 : 32767;
        while (rows < MAX_ROWS) {
            Row *r = &row[rows];
            int h = height[rows], w = width[rows];
            const int other = between(0, rows);
            const int fit = height[other] == h && width[other] == w && types[rows] != IC_I32 && types[other] != IC_I32;
            const int joins = types[rows] == IC_I16 && types[other] == IC_I16 && c[rows] + c[other] < 150;
            if (fit && (c[other] == c[rows] || joins) && between(0, 1)) make_pair(r, rows, other, c, types);
            else make_row(r, rows, c[rows], types[rows]);
            if (r->kind == IC_CONV) {
                h += r->pad[0] + r->pad[2] - r->kh, w += r->pad[1] + r->pad[3] - r->kw;
                if (h < 0 || w < 0) {
                    free(r->weight), free(r->bias), free(r->shift);
                    break;
                }
                h = (h / r->stride + 1) * r->upsample, w = (w / r->stride + 1) * r->upsample;
            }
            r->reach = reach[rows];
            rows++;
            reach[rows] = r->kind == IC_CONCAT ? (reach[r->in] > reach[r->other] ? reach[r->in] : reach[r->other])
                                               : (r->hi > -r->lo ? r->hi : -r->lo);
            height[rows] = h, width[rows] = w, types[rows] = r->type;
            c[rows] = r->out / (r->kind == IC_CONV ? r->upsample * r->upsample : 1);
        }
        void *want[MAX_ROWS + 1], *got[MAX_ROWS + 1];
        size_t bytes[MAX_ROWS + 1];
        for (int t = 0; t <= rows; t++) {
            bytes[t] = (size_t)height[t] * width[t] * c[t] * width_of(types[t]);
            want[t] = array(bytes[t], 1), got[t] = array(bytes[t], 1);
        }
        for (size_t i = 0; i < bytes[0] / width_of(type); i++) {
            const int v = between(0, 2) ? between(-32767, 32767) : 32767;
            if (type == IC_U8) ((uint8_t *)want[0])[i] = (uint8_t)v;
            else ((int16_t *)want[0])[i] = (int16_t)v;
        }
        memcpy(got[0], want[0], bytes[0]);
        IcWorkspace *space = ic_workspace_new();
        size_t used[2];
        IcGraph *truth = build(ic_isa_find("scalar"), channels, type, row, rows);
        if (ic_graph_run(truth, space, height[0], width[0], want, budgets[0], 1, used)) abort();
        for (int t = 1; t <= rows; t++)
            for (size_t i = 0; i < bytes[t]; i++) hash = (hash ^ ((uint8_t *)want[t])[i]) * 1099511628211u;
        ic_graph_free(truth);
        for (int s = 0; ic_isa_at(s); s++) {
            if (!ic_isa_at(s)->supported()) continue;
            IcGraph *g = build(ic_isa_at(s), channels, type, row, rows);
            for (int run = 0; run < 6; run++) {
                void *data[MAX_ROWS + 1];
                for (int t = 0; t <= rows; t++) {
                    /* Odd runs want the last tensor only, so that GDN works in place. */
                    data[t] = t == 0 || t == rows || run % 2 == 0 ? got[t] : NULL;
                    if (t) memset(got[t], 0x55, bytes[t]);
                }
                if (ic_graph_run(g, space, height[0], width[0], data, budgets[run / 2], run % 3 + 1, used)) abort();
                for (int t = 1; t <= rows; t++) {
                    if (!data[t]) continue;
                    compared++;
                    if (!memcmp(got[t], want[t], bytes[t])) continue;
                    printf("trial %d: %s differs in row %d of %d (run %d)\n", trial, ic_isa_at(s)->name, t, rows, run);
                    return 1;
                }
            }
            ic_graph_free(g);
        }
        ic_workspace_free(space);
        for (int t = 0; t <= rows; t++) free(want[t]), free(got[t]);
        for (int i = 0; i < rows; i++)
            free(row[i].weight), free(row[i].bias), free(row[i].numerator), free(row[i].shift), free(row[i].in_shift),
                free(row[i].other_shift);
    }
    for (int s = 0; ic_isa_at(s); s++)
        if (ic_isa_at(s)->supported()) printf("%s ", ic_isa_at(s)->name);
    printf("equal: %ld comparisons, hash %016llx\n", compared, (unsigned long long)hash);
    return 0;
}
