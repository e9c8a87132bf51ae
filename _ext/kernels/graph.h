/* The integer network in C: packed rows, and a run of a graph over one picture.
 *
 *     graph.c    what a row is: its weights packed for one instruction set, in blocks of lanes
 *     steps.c    how a picture is cut: windows of rows that slide down each tensor, and who needs which rows when
 *     rows.c     what a row does to some of its tensor's rows
 *     winograd.c the same for convolutions that need fewer products than taps
 *     run.c      one call: workspace, threads, the loop over steps and rows
 *     team.c     a barrier and a work counter over pthreads (single-threaded where there are none)
 *
 * Tensors are numbered: the graph's inputs first, then one per row. The caller (native.pyx) has checked every size.
 */
#ifndef INTCODEC_GRAPH_H
#define INTCODEC_GRAPH_H

#include "kernels.h"
#include "team.h"

/* No kernel reads more rows or columns of border than this. */
#define IC_MAX_PAD 14

typedef enum { IC_U8, IC_I16, IC_I32 } IcType;
typedef enum { IC_CONV, IC_GDN, IC_RESCALE, IC_INDEX, IC_CONCAT, IC_ADD, IC_GATE } IcKind;

/* A part of a pixel's lanes that lies together in the output tensor. */
typedef struct {
    int lane, length, y, offset; /* first lane, count; output row y of the upsampled pair; elements from the pixel's */
} IcSpan;

/* Winograd products of a block over some of one phase's input channels (winograd.h). */
typedef struct {
    int phase, channel, pairs; /* channel: the first */
    unsigned mask;             /* positions whose weights are not all zero */
    int16_t *weight;           /* of those positions in turn, each [pairs][lanes][2] as in IcDot.weight */
} IcPart;

/* Up to `lanes` output channels that share one trimmed window of taps, or their Winograd parts. */
typedef struct {
    int groups, spans;
    int parts, outputs; /* outputs of a tile */
    IcPart *part;
    IcSpan span[2]; /* one, or one per phase row of a merged block */
    int ky, kx;     /* first tap of the window */
    int rows, pairs;
    int16_t *weight;
    int32_t *bias, *shift;
} IcBlock;

typedef struct {
    IcKind kind;
    int in, other, out; /* other: the second tensor of a row of two, else -1 */
    int lo, hi;
    /* conv */
    int kh, kw, stride, top, left, bottom, right, upsample, slope;
    int reach;    /* largest magnitude of an input */
    int winograd; /* computed by winograd.c: outputs across a tile, else 0 */
    int parted;   /* some sum of products over all input channels needs parts there */
    /* blocks of a conv, or of gamma with one run */
    IcBlock *block;
    int blocks;
    /* gdn, rescale, add, gate */
    int32_t *numerator, *shift, *half;
    int square_shift, inverse, small, magnitude;
    /* add */
    int32_t *in_shift, *other_shift;
    /* index; gate, a value for each value of `other` from table_lo on */
    int32_t *threshold, *table;
    int thresholds, table_lo; /* `thresholds` counts either */
} IcRow;

typedef struct {
    int channels;
    IcType type; /* of the caller's array; windows hold int16, or int32 for IC_I32 */
} IcTensor;

typedef struct {
    const IcIsa *isa;
    int inputs, rows, row_limit;
    IcTensor *tensor; /* [inputs + row_limit] */
    IcRow *row;
    int failed; /* an allocation failed while the graph was built */
} IcGraph;

/* A convolution's weights as the caller gives them, [out][kh][kw][cin]. */
typedef struct {
    const int16_t *weight;
    const int32_t *bias;
    const uint8_t *shift;
    int kh, kw, cin;
} IcSource;

static inline const int16_t *ic_tap(const IcSource *s, int o, int ky, int kx) {
    return s->weight + (((size_t)o * s->kh + ky) * s->kw + kx) * s->cin;
}

/* Memory aligned to 64 bytes; NULL without memory. */
void *ic_alloc(size_t bytes);
void ic_free(void *p);

IcGraph *ic_graph_new(const IcIsa *isa, int inputs, int rows);
void ic_graph_free(IcGraph *g);
void ic_graph_input(IcGraph *g, int index, int channels, IcType type);
/* Zeroed array that lives as long as the graph's rows, with 64 bytes more, so that vector loads of a last, partial group
 * stay inside; NULL without memory, and the graph has failed. */
void *ic_graph_take(IcGraph *g, size_t count, size_t size);
/* Each adds the next row and returns 0, or -1 without memory. `weight` is [out][kh][kw][channels of in]; no input is
 * larger than `reach` in magnitude. */
int ic_graph_conv(IcGraph *g, int in, IcType type, int out, int kh, int kw, const int16_t *weight, const int32_t *bias,
                  const uint8_t *shift, const int *pad, int stride, int upsample, int slope, int lo, int hi, int reach);
int ic_graph_gdn(IcGraph *g, int in, IcType type, const int16_t *gamma, const int32_t *beta, const int32_t *numerator,
                 const uint8_t *shift, int square_shift, int inverse, int lo, int hi);
int ic_graph_rescale(IcGraph *g, int in, IcType type, const uint8_t *shift, int magnitude, int lo, int hi);
int ic_graph_index(IcGraph *g, int in, IcType type, const int32_t *threshold, int count);
int ic_graph_concat(IcGraph *g, int in, int other, IcType type);
int ic_graph_add(IcGraph *g, int in, int other, IcType type, const uint8_t *in_shift, const uint8_t *other_shift,
                 const uint8_t *shift, int lo, int hi);
int ic_graph_gate(IcGraph *g, int in, int other, IcType type, const int16_t *table, int count, int table_lo,
                  const uint8_t *shift, int lo, int hi);

/* Multiply-accumulates that a block takes for one pixel. */
int64_t ic_block_work(const IcBlock *b);

/* The rows [first, bottom) of a tensor that are in memory, as the kernels see them. Row numbers below 0 and from the
 * tensor's height on are zero borders. */
typedef struct {
    int height, width, channels;
    IcType type;
    int is_input, is_output; /* the caller's array `data` is read or written */
    void *data;
    int used;                /* has a window: some row reads it */
    int direct;              /* the window is the caller's array itself */
    int left, right;         /* zero columns of the window */
    int first, bottom;       /* rows in the window during this step */
    int was_first, was_bottom; /* the same during the last step */
    int done, end;           /* rows computed before this step, and after it */
    int capacity;            /* rows that the window has room for */
    size_t size;             /* bytes of an element in the window */
    ptrdiff_t pitch;         /* elements per window row */
    char *window;
} IcPlane;

typedef enum { IC_LOAD, IC_COMPUTE, IC_STORE } IcTask;

/* One entry of a step: load or store rows of a tensor, or compute a row (and the GDN that works in place behind it). */
typedef struct {
    IcTask task;
    int tensor;       /* load, store; the tensor written by a compute job */
    const IcRow *row; /* compute */
    const IcRow *gdn; /* fused, or NULL */
    int from, to;     /* rows of this step, in units of `scale` tensor rows */
    int scale;
    int chunk, split; /* rows per item; parts that the blocks are split into */
    int items;
} IcJob;

typedef struct {
    const IcGraph *graph;
    IcPlane *plane;
    IcJob *job;
    int planes, jobs, steps;
} IcPlan;

/* A workspace belongs to one call at a time; it grows and is used again. */
typedef struct {
    void *block[3];
    size_t size[3];
} IcWorkspace;

IcWorkspace *ic_workspace_new(void);
void ic_workspace_free(IcWorkspace *w);
/* At least `size` bytes aligned to 64, contents undefined; slots are independent. NULL without memory. */
void *ic_workspace_get(IcWorkspace *w, int slot, size_t size);

/* steps.c */
/* Fill the plan for a picture (its arrays are the caller's); returns the bytes that ic_plan_place needs. */
uint64_t ic_plan_make(IcPlan *p, int height, int width, void *const *data, size_t budget);
/* How many of the wished threads a plan is worth. */
int ic_plan_threads(const IcPlan *p, size_t budget, int threads);
void ic_plan_place(IcPlan *p, char *memory);
/* Go to a step: slide the windows, and set what each job has to do. Steps run in order from 0. */
void ic_plan_step(IcPlan *p, int step, int threads);

#ifdef IC_PROGRESS
/* Provided by the embedder, and told before each step of a call how many of its steps are done. */
void ic_progress(int done, int steps);
#endif

/* A row of a tensor where rows are written: its window, or the caller's array if no row reads the tensor. */
typedef struct {
    char *at; /* column 0 */
    IcType type;
} IcLine;

/* rows.c */
IcLine ic_output_row(const IcPlane *t, int y);
/* Store a span of lanes, int32 where `wide`, else int16, `pixel` elements into the line. */
void ic_store_span(IcLine line, ptrdiff_t pixel, const IcSpan *span, const void *lanes, int wide);
size_t ic_scratch_bytes(const IcGraph *g);
void ic_job_item(const IcPlan *p, const IcJob *job, int item, void *scratch);

/* winograd.c */
/* Outputs across a tile, 2 or 3, if winograd.c can compute a convolution, every bit the same, and is worth it; else 0. Sets
 * row->parted. */
int ic_winograd_fits(const IcGraph *g, IcRow *row, const IcSource *s, int out);
/* Pack the parts of a block whose lanes are the outputs channel[0..count). */
void ic_winograd_pack(IcGraph *g, const IcRow *row, IcBlock *b, const IcSource *s, const int *channel, int count);
size_t ic_winograd_scratch(const IcGraph *g);
/* Compute the rows [from, to) of the blocks [b0, b1), rows before the pixel shuffle. */
void ic_winograd_rows(const IcPlan *p, const IcRow *row, int b0, int b1, const IcPlane *out, int from, int to,
                      char *scratch);

/* Run the graph on a picture. data[t] is the caller's array of tensor t, given for every input and every tensor that is
 * wanted, else NULL. `budget` is how many bytes the windows should take at most, a wish: at least the rows that a
 * kernel needs are held. Returns 0, or -1 without memory. used[0] is set to the workspace's bytes, used[1] to steps. */
int ic_graph_run(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, size_t budget, int threads,
                 size_t *used);

#endif
