#include "run/graph.h"

#include <stdlib.h>

const char ic_no_memory[] = "not enough memory";

IcGraph *ic_graph_new(const IcIsa *isa, const IcTensor *inputs, int count, int rows) {
    IcGraph *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    *g = (IcGraph){.isa = isa, .inputs = count, .row_limit = rows};
    g->tensor = calloc((size_t)(count + rows), sizeof *g->tensor);
    g->row = calloc((size_t)rows + 1, sizeof *g->row);
    if (!g->tensor || !g->row) {
        ic_graph_free(g);
        return NULL;
    }
    memcpy(g->tensor, inputs, (size_t)count * sizeof *inputs);
    return g;
}

void ic_graph_free(IcGraph *g) {
    if (!g) return;
    for (int i = 0; g->row && i < g->rows; i++) ic_row_free(&g->row[i]);
    free(g->tensor);
    free(g->row);
    free(g);
}

const char *ic_graph_add(IcGraph *g, const IcRowKind *kind, const int *inputs, const int32_t *numbers,
                         const IcArray *arrays) {
    const int tensors = g->inputs + g->rows;
    IcParams p = {.number = numbers, .array = arrays};
    IcRow row = {.kind = kind, .isa = g->isa, .out = tensors, .parts = 1, .tall = 1};
    if (g->rows == g->row_limit) return "more rows than announced";
    if (g->rows && g->row->kind->whole != kind->whole)
        return "rows that need their whole input have to be in a graph of their own";
    for (int i = 0; i < IC_MAX_INPUTS; i++) {
        row.in[i] = i < ic_row_inputs(kind) ? inputs[i] : -1;
        if (row.in[i] >= tensors || (row.in[i] < 0 && i < ic_row_inputs(kind)))
            return "a row reads a tensor that is not written before";
        if (row.in[i] >= 0) row.from[i] = p.in[i] = g->tensor[row.in[i]];
    }
    const char *wrong = ic_row_check(kind, &p);
    if (wrong) return wrong;
    row.to = kind->out(&p);
    row.geometry = ic_row_geometry(kind, &p);
    if (kind->pack) kind->pack(&row, &p);
    if (row.failed) {
        ic_row_free(&row);
        return ic_no_memory;
    }
    g->tensor[tensors] = row.to;
    g->row[g->rows++] = row;
    return NULL;
}

const char *ic_graph_sizes(const IcGraph *g, int height, int width, IcSize *size) {
    if (height < 1 || width < 1 || height > IC_MAX_SIDE || width > IC_MAX_SIDE) return "bad size";
    for (int t = 0; t < g->inputs; t++) size[t] = (IcSize){height, width};
    for (int i = 0; i < g->rows; i++) {
        const IcRow *row = &g->row[i];
        const IcSize in = size[row->in[0]], *out = &size[row->out];
        for (int k = 1; k < ic_row_inputs(row->kind); k++)
            if (size[row->in[k]].height != in.height || size[row->in[k]].width != in.width)
                return "the tensors that a row reads differ in size";
        const char *wrong = ic_row_size(row->kind, row->geometry, in, &size[row->out]);
        if (wrong) return wrong;
        if (out->height > IC_MAX_SIDE || out->width > IC_MAX_SIDE) return "too large";
    }
    return NULL;
}
