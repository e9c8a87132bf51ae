/* A graph of packed rows, and running it on a picture.
 *
 *     graph.c    building a graph row by row, and the sizes of its tensors
 *     plan.c     how a picture is cut: windows of rows that slide down each tensor, and who needs which rows when
 *     run.c      one call: workspace, threads, the loop over steps and jobs
 *     team.c     a barrier and a work counter over pthreads (single-threaded where there are none)
 *
 * Tensors are numbered: the graph's inputs first, then one per row. No kind of row is known by its name here.
 */
#ifndef INTCODEC_RUN_GRAPH_H
#define INTCODEC_RUN_GRAPH_H

#include "core/row.h"

enum { IC_MAX_SIDE = 1 << 24, IC_MAX_THREADS = 256 };

typedef struct {
    const IcIsa *isa;
    int inputs, rows, row_limit;
    IcTensor *tensor; /* [inputs + row_limit] */
    IcRow *row;
} IcGraph;

/* What is returned instead of NULL where there is not enough memory. */
extern const char ic_no_memory[];

/* A graph without rows, for up to `rows` of them; NULL without memory. The inputs, which ic_tensor_fits, are copied. */
IcGraph *ic_graph_new(const IcIsa *isa, const IcTensor *inputs, int count, int rows);
void ic_graph_free(IcGraph *g);

/* Check, pack and add the next row: NULL, or what is wrong, or ic_no_memory. `inputs` are numbers of tensors, as many as
 * the kind reads; `numbers` and `arrays` are in the order of the kind's fields and arrays, and copied. */
const char *ic_graph_add(IcGraph *g, const IcRowKind *kind, const int *inputs, const int32_t *numbers,
                         const IcArray *arrays);

/* Set size[t] to that of every tensor: NULL, or why a row does not take inputs of this size. */
const char *ic_graph_sizes(const IcGraph *g, int height, int width, IcSize *size);

/* A workspace belongs to one call at a time; it grows and is used again. */
typedef struct IcWorkspace IcWorkspace;
IcWorkspace *ic_workspace_new(void);
void ic_workspace_free(IcWorkspace *w);

typedef struct {
    size_t budget; /* wished bytes of windows; at least the rows that a kernel needs are held */
    int threads;   /* 1..IC_MAX_THREADS */
    void (*progress)(void *context, int done, int steps); /* NULL, or told before each step how many are done */
    void *context;
    size_t bytes; /* set: bytes of the workspace */
    int steps;    /* set */
} IcRun;

/* Run the graph on a picture. data[t] is the caller's array of tensor t, [height][width][channels] in its type, given for
 * every input and every tensor that is wanted, else NULL. NULL, or what is wrong, or ic_no_memory. */
const char *ic_graph_run(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, IcRun *run);

#endif
