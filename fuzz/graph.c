/* Fuzz target: the native kernels on hostile graphs.
 *
 * A description comes from the input: any rows, weights, shifts and ranges that _ext/native.pyx lets through, proved or
 * not; the checks here are its checks. Arrays have exactly the sizes that it would allocate. Then, for one of the
 * instruction sets of this machine, which the input names:
 *
 *     no step outside a buffer, no undefined arithmetic
 *     the outputs do not depend on the workspace's budget
 *     a graph whose values keep the contract (`tame`) gives the scalar set's outputs to the bit
 */
#include "graph.h"
#include "input.h"

enum { MAX_TENSORS = 12, MAX_VALUES = 1 << 13, MAX_WORK = 1 << 18 };

typedef struct {
    IcType type;
    int channels, height, width;
    int32_t lo, hi;
    void *array;
} Tensor;

typedef struct {
    IcKind kind;
    int in, other, out, kh, kw, pad[4], stride, upsample, slope, lo, hi, reach, square_shift, flag, count, table_lo;
    int16_t *weight, *table;
    int32_t *bias, *numerator;
    uint8_t *shift, *a_shift, *b_shift;
} Row;

typedef struct {
    Tensor tensor[MAX_TENSORS];
    Row row[MAX_TENSORS];
    int inputs, rows, tame, height, width;
    long work;
} Net;

static size_t bytes_of(IcType type) { return type == IC_U8 ? 1 : type == IC_I16 ? 2 : 4; }

static IcType type_of(int32_t lo, int32_t hi) {
    return lo >= 0 && hi <= 255 ? IC_U8 : lo >= -32768 && hi <= 32767 ? IC_I16 : IC_I32;
}

static void range(Input *in, const Net *net, Row *row, int int16) {
    static const int32_t known[][2] = {{-2047, 2047}, {0, 255}, {0, 2047}, {-32767, 32767}, {-(1 << 30), 1 << 30}};
    const int k = (int)pick(in, 0, 5 + !net->tame);
    if (k < 5) row->lo = known[k][0], row->hi = known[k][1];
    else row->lo = (int32_t)take(in, 4), row->hi = (int32_t)take(in, 4);
    if (net->tame && k == 5) row->lo = -32768, row->hi = 100;
    if (int16 && (row->lo < -32768 || row->hi > 32767)) row->lo = -32768, row->hi = 32767;
    if (row->lo > row->hi) row->hi = row->lo;
}

static void fill16(Input *in, int16_t *to, size_t count, int lo, int hi) {
    uint32_t state = take(in, 4) | 1u;
    const int kind = (int)pick(in, 0, 5);
    for (size_t i = 0; i < count; i++) {
        const uint32_t r = next(&state);
        to[i] = (int16_t)(kind == 0                    ? lo
                          : kind == 1                  ? (r & 1 ? lo : hi)
                          : kind == 2 && r % 5         ? 0
                          : kind == 3 && i / 7 % 3 == 1 ? 0
                                                       : lo + (int)(r % (uint32_t)(hi - lo + 1)));
    }
}

static void fill32(Input *in, int32_t *to, size_t count, int64_t lo, int64_t hi) {
    uint32_t state = take(in, 4) | 1u;
    const int ends = (int)pick(in, 0, 3) == 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t r = next(&state);
        to[i] = (int32_t)(ends ? (r & 64 ? lo : hi) : lo + (int64_t)((r * (uint64_t)(hi - lo + 1)) >> 32));
    }
}

static void fill8(Input *in, uint8_t *to, size_t count, int lo, int hi) {
    uint32_t state = take(in, 4) | 1u;
    for (size_t i = 0; i < count; i++) to[i] = (uint8_t)(lo + (int)(next(&state) % (uint32_t)(hi - lo + 1)));
}

/* Does a new tensor keep the limits that make a run short? */
static int affordable(Net *net, const Tensor *t, long work) {
    if (t->height < 1 || t->width < 1 || (long)t->height * t->width * t->channels > MAX_VALUES) return 0;
    net->work += work;
    return net->work <= MAX_WORK;
}

static int read_conv(Input *in, Net *net, Row *row, const Tensor *src, Tensor *out) {
    const int most = net->tame ? 5 : 15;
    row->kind = IC_CONV;
    row->kh = take(in, 1) & 1 ? 3 : (int)pick(in, 1, most), row->kw = take(in, 1) & 1 ? row->kh : (int)pick(in, 1, most);
    row->stride = (int)pick(in, 1, 2), row->upsample = (int)pick(in, 1, 2);
    for (int i = 0; i < 4; i++) row->pad[i] = take(in, 1) & 3 ? (i % 2 ? row->kw : row->kh) / 2 : (int)pick(in, 0, 14);
    row->slope = take(in, 1) & 1 ? (int)pick(in, 0, 65535) : 0;
    range(in, net, row, row->slope != 0);
    row->reach = src->hi > -src->lo ? src->hi : -src->lo;
    const int h = src->height + row->pad[0] + row->pad[2] - row->kh, w = src->width + row->pad[1] + row->pad[3] - row->kw;
    if (h < 0 || w < 0) return 0;
    out->height = (h / row->stride + 1) * row->upsample, out->width = (w / row->stride + 1) * row->upsample;
    out->channels = (int)pick(in, 1, 80);
    const int o = out->channels * row->upsample * row->upsample;
    const size_t taps = (size_t)row->kh * row->kw * src->channels;
    const long pixels = (long)out->height * out->width / (row->upsample * row->upsample);
    if (!affordable(net, out, (long)taps * (o + 63) / 64 * 64 * (pixels + 4))) return 0;
    row->weight = block(taps * o, 2), row->bias = block(o, 4), row->shift = block(o, 1);
    if (net->tame) fill16(in, row->weight, taps * o, -127, 127);
    else fill16(in, row->weight, taps * o, take(in, 1) & 1 ? -3640 : -32768, take(in, 1) & 1 ? 3640 : 32767);
    if (net->tame) fill32(in, row->bias, o, -(1 << 30), 1 << 30);
    else fill32(in, row->bias, o, INT32_MIN, INT32_MAX);
    fill8(in, row->shift, o, 0, 30);
    if (row->upsample == 2 && take(in, 1) & 1) /* a transposed convolution: taps that are zero throughout a phase */
        for (size_t i = 0; i < taps * o; i++)
            if (i / taps % 4 >= 2 && i % taps < taps / row->kh) row->weight[i] = 0;
    return 1;
}

static int read_gdn(Input *in, Net *net, Row *row, const Tensor *src, Tensor *out) {
    const int c = out->channels;
    row->kind = IC_GDN;
    row->square_shift = net->tame ? 8 : (int)pick(in, 0, 15), row->flag = (int)pick(in, 0, 1);
    range(in, net, row, 0);
    if (net->tame && (src->lo < -2047 || src->hi > 2047)) return 0;
    if (!affordable(net, out, (long)c * c * src->height * src->width)) return 0;
    row->weight = block((size_t)c * c, 2), row->bias = block(c, 4), row->numerator = block(c, 4), row->shift = block(c, 1);
    fill16(in, row->weight, (size_t)c * c, net->tame ? 0 : -32768, net->tame ? 255 : 32767);
    fill32(in, row->bias, c, 1, net->tame ? 1 << 20 : INT32_MAX);
    fill32(in, row->numerator, c, 0, net->tame ? 1 << 19 : INT32_MAX);
    fill8(in, row->shift, c, 1, 30);
    return 1;
}

static int read_pair(Input *in, Net *net, Row *row, const Tensor *a, Tensor *out) {
    row->other = (int)pick(in, 0, net->inputs + net->rows - 1);
    const Tensor *b = &net->tensor[row->other];
    if (b->height != a->height || b->width != a->width || b->type == IC_I32) return 0;
    if (row->kind == IC_CONCAT) {
        if (a->type != IC_I16 || b->type != IC_I16) return 0;
        out->channels = a->channels + b->channels;
        row->lo = a->lo < b->lo ? a->lo : b->lo, row->hi = a->hi > b->hi ? a->hi : b->hi;
        return out->channels <= 200 && affordable(net, out, 0);
    }
    const int c = out->channels;
    if (b->channels != c) return 0;
    range(in, net, row, 0);
    row->shift = block(c, 1);
    fill8(in, row->shift, c, 0, 30);
    if (row->kind == IC_ADD) {
        row->a_shift = block(c, 1), row->b_shift = block(c, 1);
        fill8(in, row->a_shift, c, 0, net->tame ? 13 : 15), fill8(in, row->b_shift, c, 0, net->tame ? 13 : 15);
    } else {
        row->count = net->tame ? b->hi - b->lo + 1 : (int)pick(in, 1, 300);
        row->table_lo = net->tame ? b->lo : (int)pick(in, -32768, 32768 - row->count);
        row->table = block((size_t)row->count, 2);
        fill16(in, row->table, (size_t)row->count, net->tame ? 0 : -32768, 32767);
        if (net->tame) for (int i = 0; i < c; i++) row->shift[i] %= 29;
    }
    return affordable(net, out, 0);
}

static int read_row(Input *in, Net *net) {
    Row *row = &net->row[net->rows];
    const int tensors = net->inputs + net->rows;
    const IcKind kind = (IcKind)pick(in, 0, 9) % 7;
    *row = (Row){.kind = kind, .other = -1, .out = tensors};
    row->in = take(in, 1) & 3 ? tensors - 1 : (int)pick(in, 0, tensors - 1);
    const Tensor *src = &net->tensor[row->in];
    Tensor *out = &net->tensor[tensors];
    *out = *src, out->array = NULL;
    int ok = 0;
    if (kind != IC_RESCALE && kind != IC_INDEX && src->type == IC_I32) return 0;
    if (kind == IC_CONV) ok = read_conv(in, net, row, src, out);
    else if (kind == IC_GDN) ok = read_gdn(in, net, row, src, out);
    else if (kind == IC_RESCALE) {
        row->flag = (int)pick(in, 0, 1), range(in, net, row, 0);
        row->shift = block(out->channels, 1);
        fill8(in, row->shift, out->channels, 0, 30);
        ok = affordable(net, out, 0);
    } else if (kind == IC_INDEX) {
        row->count = (int)pick(in, 0, 255), row->lo = 0, row->hi = 255;
        row->bias = block(row->count, 4);
        fill32(in, row->bias, row->count, INT32_MIN, INT32_MAX);
        ok = affordable(net, out, 0);
    } else ok = read_pair(in, net, row, src, out);
    int lo = row->lo;
    if (row->slope) lo = (int)(((int64_t)lo * row->slope + 32768) >> 16), lo = lo < 0 ? lo : 0;
    out->lo = lo, out->hi = row->hi, out->type = type_of(lo, row->hi);
    if (!net->tame && kind != IC_CONCAT && take(in, 1) % 16 == 0) /* native.pyx takes a row's dtype on trust */
        out->type = (IcType)pick(in, 0, 2);
    if (kind == IC_CONCAT) out->type = IC_I16;
    net->rows += ok;
    return ok;
}

static void free_row(Row *row) {
    free(row->weight), free(row->table), free(row->bias), free(row->numerator);
    free(row->shift), free(row->a_shift), free(row->b_shift);
}

static void read_inputs(Input *in, Net *net) {
    net->tame = take(in, 1) & 1;
    net->inputs = (int)pick(in, 1, 2), net->rows = 0, net->work = 0;
    net->height = (int)pick(in, 1, 12), net->width = (int)pick(in, 1, 20);
    if (take(in, 1) % 8 == 0) net->width = (int)pick(in, 1, 200), net->height = (int)pick(in, 1, 6);
    for (int i = 0; i < net->inputs; i++) {
        Tensor *t = &net->tensor[i];
        static const int32_t known[][2] = {{-2047, 2047}, {0, 255}, {-32767, 32767}, {-(1 << 30), 1 << 30}};
        const int k = (int)pick(in, 0, 3);
        *t = (Tensor){.channels = (int)pick(in, 1, 70), .height = net->height, .width = net->width};
        while (t->channels * t->height * t->width > MAX_VALUES) t->channels = t->channels / 2;
        t->lo = known[k][0], t->hi = known[k][1], t->type = type_of(t->lo, t->hi);
        const size_t count = (size_t)t->height * t->width * t->channels;
        t->array = block(count, bytes_of(t->type));
        uint32_t state = take(in, 4) | 1u;
        for (size_t n = 0; n < count; n++) {
            const uint32_t r = next(&state);
            const int32_t v = r & 32 ? t->lo + (int32_t)((r >> 8) * (uint64_t)(t->hi - (int64_t)t->lo + 1) >> 24)
                                     : (r & 64 ? t->lo : t->hi);
            if (t->type == IC_U8) ((uint8_t *)t->array)[n] = (uint8_t)v;
            else if (t->type == IC_I16) ((int16_t *)t->array)[n] = (int16_t)v;
            else ((int32_t *)t->array)[n] = v;
        }
    }
}

static IcGraph *build(const Net *net, const IcIsa *isa) {
    IcGraph *g = ic_graph_new(isa, net->inputs, net->rows);
    REQUIRE(g);
    for (int i = 0; i < net->inputs; i++) ic_graph_input(g, i, net->tensor[i].channels, net->tensor[i].type);
    for (int i = 0; i < net->rows; i++) {
        const Row *r = &net->row[i];
        const Tensor *out = &net->tensor[r->out];
        const int o = out->channels * r->upsample * r->upsample;
        int status = 0;
        switch (r->kind) {
        case IC_CONV:
            status = ic_graph_conv(g, r->in, out->type, o, r->kh, r->kw, r->weight, r->bias, r->shift, r->pad, r->stride,
                                   r->upsample, r->slope, r->lo, r->hi, r->reach);
            break;
        case IC_GDN:
            status = ic_graph_gdn(g, r->in, out->type, r->weight, r->bias, r->numerator, r->shift, r->square_shift,
                                  r->flag, r->lo, r->hi);
            break;
        case IC_RESCALE: status = ic_graph_rescale(g, r->in, out->type, r->shift, r->flag, r->lo, r->hi); break;
        case IC_INDEX: status = ic_graph_index(g, r->in, out->type, r->bias, r->count); break;
        case IC_CONCAT: status = ic_graph_concat(g, r->in, r->other, out->type); break;
        case IC_ADD:
            status = ic_graph_add(g, r->in, r->other, out->type, r->a_shift, r->b_shift, r->shift, r->lo, r->hi);
            break;
        case IC_GATE:
            status = ic_graph_gate(g, r->in, r->other, out->type, r->table, r->count, r->table_lo, r->shift, r->lo, r->hi);
            break;
        }
        REQUIRE(!status);
    }
    return g;
}

/* Outputs of one run: of the tensors that `wanted` names and of the last one. */
static void run(const Net *net, const IcIsa *isa, unsigned wanted, size_t budget, int threads, void **outputs) {
    IcGraph *g = build(net, isa);
    IcWorkspace *w = ic_workspace_new();
    REQUIRE(w);
    void *data[MAX_TENSORS] = {NULL};
    size_t used[2];
    for (int t = 0; t < net->inputs + net->rows; t++) {
        const Tensor *tensor = &net->tensor[t];
        outputs[t] = NULL;
        if (t < net->inputs) data[t] = tensor->array;
        else if (wanted >> t & 1 || t == net->inputs + net->rows - 1)
            data[t] = outputs[t] =
                block((size_t)tensor->height * tensor->width * tensor->channels, bytes_of(tensor->type));
    }
    REQUIRE(!ic_graph_run(g, w, net->height, net->width, data, budget, threads, used));
    ic_workspace_free(w);
    ic_graph_free(g);
}

static void compare(const Net *net, void **a, void **b) {
    for (int t = net->inputs; t < net->inputs + net->rows; t++) {
        const Tensor *tensor = &net->tensor[t];
        const size_t bytes = (size_t)tensor->height * tensor->width * tensor->channels * bytes_of(tensor->type);
        REQUIRE(!a[t] || !memcmp(a[t], b[t], bytes));
        free(b[t]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Net net;
    Input in = {data, data + size};
    const IcIsa *isa = ic_isa_at((int)pick(&in, 0, 2));
    if (!isa || !isa->supported()) isa = &ic_scalar;
    read_inputs(&in, &net);
    const unsigned wanted = take(&in, 2);
    const size_t budget = take(&in, 1) & 1 ? take(&in, 2) : (size_t)8 << 20;
    const int most = (int)pick(&in, 1, MAX_TENSORS - 2), threads = take(&in, 1) % 64 == 63 ? 3 : 1;
    for (int i = 0; i < most && in.at < in.end; i++)
        if (!read_row(&in, &net)) free_row(&net.row[net.rows]);
    void *first[MAX_TENSORS], *again[MAX_TENSORS];
    if (net.rows) {
        run(&net, isa, wanted, 8 << 20, 1, first);
        run(&net, isa, wanted, budget, threads, again);
        compare(&net, first, again);
        if (net.tame) {
            run(&net, &ic_scalar, wanted, 8 << 20, 1, again);
            compare(&net, first, again);
        }
        compare(&net, (void *[MAX_TENSORS]){NULL}, first);
    }
    for (int i = 0; i < net.rows; i++) free_row(&net.row[i]);
    for (int i = 0; i < net.inputs; i++) free(net.tensor[i].array);
    return 0;
}
