/* Fuzz target: graphs of rows in the compiled core.
 *
 * A graph comes from the input: any rows, weights, shifts and ranges that the core's own checks let through, proved or
 * not. Arrays have exactly the sizes that they state. Then, for one of the instruction sets of this machine, which the
 * input names:
 *
 *     no step outside a buffer, no undefined arithmetic, in the facts of a row as well
 *     the outputs do not depend on the workspace's budget, nor on the threads
 *     a graph whose values keep the contract (`tame`) gives the scalar set's outputs to the bit
 */
#include "input.h"
#include "isa/sets.h"
#include "rows/table.h"
#include "run/graph.h"

enum { MAX_TENSORS = 12, MAX_VALUES = 1 << 13, MAX_WORK = 1 << 18 };

typedef struct {
    const IcRowKind *kind;
    int in[IC_MAX_INPUTS];
    int32_t number[IC_MAX_NUMBERS];
    IcArray array[IC_MAX_ARRAYS];
} Row;

typedef struct {
    IcTensor tensor[MAX_TENSORS];
    IcSize size[MAX_TENSORS];
    void *input[2];
    Row row[MAX_TENSORS];
    int inputs, rows, tame;
    int64_t work;
} Net;

static size_t count_of(const Net *net, int t) {
    return (size_t)net->size[t].height * (size_t)net->size[t].width * (size_t)net->tensor[t].channels;
}

static size_t bytes_of(const Net *net, int t) { return count_of(net, t) * ic_size(ic_type(net->tensor[t])); }

static void range(Input *in, const Net *net, int32_t *lo, int32_t *hi, int int16) {
    static const int32_t known[][2] = {{-2047, 2047}, {0, 255}, {0, 2047}, {-32767, 32767}, {-(1 << 30), 1 << 30}};
    const int k = take(in, 1) & 1 ? 0 : (int)pick(in, 0, 5 + !net->tame);
    if (k < 5) *lo = known[k][0], *hi = known[k][1];
    else *lo = (int32_t)take(in, 4), *hi = (int32_t)take(in, 4);
    if (net->tame && k == 5) *lo = -32768, *hi = 100;
    if (int16 && (*lo < -32768 || *hi > 32767)) *lo = -32768, *hi = 32767;
    if (*lo > *hi) *hi = *lo;
}

/* The value number i of an array: an end, noise, or zero where some are. */
static int64_t value(uint32_t r, int kind, size_t i, int64_t lo, int64_t hi) {
    if (kind == 0) return lo;
    if (kind == 1) return r & 64 ? lo : hi;
    if ((kind == 2 && r % 5) || (kind == 3 && i / 7 % 3 == 1)) return lo > 0 ? lo : 0;
    return lo + (int64_t)((r * (uint64_t)(hi - lo + 1)) >> 32);
}

/* Array k of a row, [a] or [a][b][c][d] with values in [lo, hi]. */
static void fill(Input *in, Row *row, int k, int a, int b, int c, int d, int64_t lo, int64_t hi) {
    IcArray *array = &row->array[k];
    *array = (IcArray){row->kind->array[k].type, row->kind->array[k].rank, {a, b, c, d}, NULL};
    const size_t count = ic_count(array);
    void *data = block(count, ic_size(array->type));
    uint32_t state = take(in, 4) | 1u;
    const int kind = (int)pick(in, 0, 5);
    for (size_t i = 0; i < count; i++) {
        const int32_t v = (int32_t)value(next(&state), kind, i, lo, hi);
        ic_put((IcLine){data, array->type}, (ptrdiff_t)i, &v, 1);
    }
    array->data = data;
}

static void vector(Input *in, Row *row, int k, int size, int64_t lo, int64_t hi) {
    fill(in, row, k, size, 1, 1, 1, lo, hi);
}

/* A transposed convolution: taps that are zero throughout a phase. */
static void drop_taps(Row *row) {
    const IcArray *w = &row->array[0];
    int16_t *data = (int16_t *)w->data;
    const size_t taps = (size_t)w->size[1] * (size_t)w->size[2] * (size_t)w->size[3], first = taps / (size_t)w->size[1];
    for (size_t i = 0; i < ic_count(w); i++)
        if (i / taps % 4 >= 2 && i % taps < first) data[i] = 0;
}

static void read_conv(Input *in, Net *net, Row *row) {
    enum { LO, HI, STRIDE, PAD, UPSAMPLE = PAD + 4, SLOPE };
    const int most = net->tame ? 5 : 15, channels = net->tensor[row->in[0]].channels;
    int32_t *n = row->number;
    const int kh = take(in, 1) & 1 ? 3 : (int)pick(in, 1, most), kw = take(in, 1) & 1 ? kh : (int)pick(in, 1, most);
    n[STRIDE] = (int)pick(in, 1, 2), n[UPSAMPLE] = (int)pick(in, 1, 2);
    for (int i = 0; i < 4; i++) n[PAD + i] = take(in, 1) & 3 ? (i % 2 ? kw : kh) / 2 : (int)pick(in, 0, 14);
    n[SLOPE] = take(in, 1) & 1 ? (int)pick(in, 0, 65535) : 0;
    range(in, net, &n[LO], &n[HI], n[SLOPE] != 0);
    if (kh * kw * channels > 4000) return; /* such a row is too long, and refused without arrays */
    static const int weights[] = {127, 1560, 3640, 32767};
    const int most_w = weights[take(in, 1) % 4];
    const int out = take(in, 1) & 1 ? channels : (int)pick(in, 1, 80);
    fill(in, row, 0, out * n[UPSAMPLE] * n[UPSAMPLE], kh, kw, channels, -most_w, most_w);
    vector(in, row, 1, row->array[0].size[0], net->tame ? -(1 << 30) : -INT32_MAX, net->tame ? 1 << 30 : INT32_MAX);
    vector(in, row, 2, row->array[0].size[0], 0, 30);
    if (n[UPSAMPLE] == 2 && take(in, 1) & 1) drop_taps(row);
}

static void read_gdn(Input *in, Net *net, Row *row) {
    enum { SQUARE_SHIFT, LO, HI, INVERSE };
    const int c = net->tensor[row->in[0]].channels;
    int32_t *n = row->number;
    n[SQUARE_SHIFT] = net->tame ? 8 : (int)pick(in, 0, 15), n[INVERSE] = (int)pick(in, 0, 1);
    range(in, net, &n[LO], &n[HI], 0);
    fill(in, row, 0, c, c, 1, 1, 0, net->tame ? 255 : 32767);
    vector(in, row, 1, c, 1, net->tame ? 1 << 20 : IC_NORM_LIMIT - 1);
    vector(in, row, 2, c, 0, net->tame ? 1 << 19 : IC_NORM_LIMIT);
    vector(in, row, 3, c, 1, 30);
}

static void read_add(Input *in, Net *net, Row *row) {
    const int c = net->tensor[row->in[0]].channels;
    range(in, net, &row->number[0], &row->number[1], 0);
    for (int k = 0; k < 2; k++) vector(in, row, k, c, 0, net->tame ? 13 : 15);
    vector(in, row, 2, c, 0, 30);
}

static void read_gate(Input *in, Net *net, Row *row) {
    const IcTensor other = net->tensor[row->in[1]];
    const int64_t values = (int64_t)other.hi - other.lo + 1;
    range(in, net, &row->number[0], &row->number[1], 0);
    vector(in, row, 0, values > 1 << 16 ? 1 : (int)values, 0, 32767);
    vector(in, row, 1, net->tensor[row->in[0]].channels, 0, 28 + 2 * !net->tame);
}

static void read_rescale(Input *in, Net *net, Row *row) {
    row->number[2] = (int)pick(in, 0, 1);
    range(in, net, &row->number[0], &row->number[1], 0);
    vector(in, row, 0, net->tensor[row->in[0]].channels, 0, 30);
}

static int compare32(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void read_index(Input *in, Net *net, Row *row) {
    const IcTensor t = net->tensor[row->in[0]];
    vector(in, row, 0, (int)pick(in, 0, 255), t.lo, t.hi);
    qsort((void *)row->array[0].data, (size_t)row->array[0].size[0], sizeof(int32_t), compare32);
}

static void read_concat(Input *in, Net *net, Row *row) { (void)in, (void)net, (void)row; }

static const struct {
    const char *name;
    void (*read)(Input *in, Net *net, Row *row);
} READERS[] = {{"conv", read_conv}, {"gdn", read_gdn}, {"rescale", read_rescale}, {"scale_index", read_index},
               {"concat", read_concat}, {"add", read_add}, {"gate", read_gate}};

/* Is a new row allowed, and do its tensors keep the limits that make a run short? Sets what it writes. */
static int accepted(Net *net, const Row *row) {
    const int t = net->inputs + net->rows;
    IcParams p = {.number = row->number, .array = row->array};
    for (int k = 0; k < ic_row_inputs(row->kind); k++) {
        p.in[k] = net->tensor[row->in[k]];
        if (memcmp(&net->size[row->in[k]], &net->size[row->in[0]], sizeof(IcSize))) return 0;
    }
    if (ic_row_check(row->kind, &p)) return 0;
    net->tensor[t] = row->kind->out(&p);
    if (ic_row_size(row->kind, ic_row_geometry(row->kind, &p), net->size[row->in[0]], &net->size[t])) return 0;
    const IcBound bound = row->kind->bound(&p);
    REQUIRE(bound.value >= 0 && (bound.limit == IC_ACC_LIMIT || !ic_proved(bound)));
    if (net->tame && !strcmp(row->kind->name, "gdn") && !ic_proved(bound)) return 0; /* a root needs its range */
    const IcCost cost = row->kind->cost ? row->kind->cost(&p) : (IcCost){0, 0};
    REQUIRE(cost.weights >= cost.products);
    net->work += cost.products * ((int64_t)net->size[t].height * net->size[t].width / 4 + 4);
    return count_of(net, t) <= MAX_VALUES && net->work <= MAX_WORK && net->tensor[t].channels <= 200;
}

static void free_row(Row *row) {
    for (int k = 0; k < IC_MAX_ARRAYS; k++) free((void *)row->array[k].data);
}

static void read_row(Input *in, Net *net) {
    Row *row = &net->row[net->rows];
    const int last = net->inputs + net->rows - 1, kind = (int)pick(in, 0, 9) % 7;
    *row = (Row){.kind = ic_row_find(READERS[kind].name)};
    row->in[0] = take(in, 1) & 3 ? last : (int)pick(in, 0, last);
    if (row->kind->input[1]) row->in[1] = (int)pick(in, 0, last);
    READERS[kind].read(in, net, row);
    if (accepted(net, row)) net->rows++;
    else free_row(row);
}

static void read_inputs(Input *in, Net *net) {
    static const int32_t known[][2] = {{-2047, 2047}, {0, 255}, {-32767, 32767}, {-(1 << 30), 1 << 30}};
    net->tame = take(in, 1) & 1;
    net->inputs = (int)pick(in, 1, 2), net->rows = 0, net->work = 0;
    IcSize size = {(int)pick(in, 1, 12), (int)pick(in, 1, 20)};
    if (take(in, 1) % 8 == 0) size.width = (int)pick(in, 1, 200), size.height = (int)pick(in, 1, 6);
    for (int t = 0; t < net->inputs; t++) {
        const int k = (int)pick(in, 0, 3);
        IcTensor tensor = {(int)pick(in, 1, 70), known[k][0], known[k][1]};
        while (tensor.channels * size.height * size.width > MAX_VALUES) tensor.channels /= 2;
        net->tensor[t] = tensor, net->size[t] = size;
        net->input[t] = block(bytes_of(net, t), 1);
        uint32_t state = take(in, 4) | 1u;
        for (size_t n = 0; n < count_of(net, t); n++) {
            const uint32_t r = next(&state);
            const int32_t v = (int32_t)value(r, r & 32 ? 4 : 1, n, tensor.lo, tensor.hi);
            ic_put((IcLine){net->input[t], ic_type(tensor)}, (ptrdiff_t)n, &v, 1);
        }
    }
}

/* Outputs of one run: of the tensors that `wanted` names and of the last one. */
static void run(const Net *net, const IcIsa *isa, unsigned wanted, size_t budget, int threads, void **outputs) {
    IcGraph *g = ic_graph_new(isa, net->tensor, net->inputs, net->rows);
    IcWorkspace *w = ic_workspace_new();
    REQUIRE(g && w);
    for (int i = 0; i < net->rows; i++)
        REQUIRE(!ic_graph_add(g, net->row[i].kind, net->row[i].in, net->row[i].number, net->row[i].array));
    void *data[MAX_TENSORS] = {NULL};
    IcRun call = {.budget = budget, .threads = fuzz_threads ? fuzz_threads : threads};
    for (int t = 0; t < net->inputs + net->rows; t++) {
        outputs[t] = NULL;
        if (t < net->inputs) data[t] = net->input[t];
        else if (wanted >> t & 1 || t == net->inputs + net->rows - 1) data[t] = outputs[t] = block(bytes_of(net, t), 1);
    }
    REQUIRE(!ic_graph_run(g, w, net->size[0].height, net->size[0].width, data, &call));
    ic_workspace_free(w);
    ic_graph_free(g);
}

/* Free b after comparing it with a. */
static void compare(const Net *net, void **a, void **b) {
    for (int t = net->inputs; t < net->inputs + net->rows; t++) {
        REQUIRE(!a[t] || !memcmp(a[t], b[t], bytes_of(net, t)));
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
    for (int i = 0; i < most && in.at < in.end; i++) read_row(&in, &net);
    void *first[MAX_TENSORS], *again[MAX_TENSORS];
    if (net.rows) {
        run(&net, isa, wanted, 8 << 20, 1, first);
        run(&net, isa, wanted, budget, threads, again);
        compare(&net, first, again);
        if (net.tame) {
            run(&net, &ic_scalar, wanted, 8 << 20, 1, again);
            compare(&net, first, again);
            for (int t = net.inputs; t < net.inputs + net.rows; t++)
                fuzz_note(first[t], first[t] ? count_of(&net, t) : 0, ic_size(ic_type(net.tensor[t])));
        }
        compare(&net, (void *[MAX_TENSORS]){NULL}, first);
    }
    for (int i = 0; i < net.rows; i++) free_row(&net.row[i]);
    for (int t = 0; t < net.inputs; t++) free(net.input[t]);
    return 0;
}
