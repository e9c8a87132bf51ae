/* How one picture goes through a graph: which rows of which tensor are made when, and where they lie. */
#ifndef INTCODEC_RUN_PLAN_H
#define INTCODEC_RUN_PLAN_H

#include "run/graph.h"

/* A tensor's rows in memory. Rows that read it see `view`: its window, or the caller's array itself. */
typedef struct {
    IcView view;
    IcType type;    /* of the caller's array */
    void *data;     /* that array, or NULL */
    int is_output;  /* it is to be written */
    int used;       /* some row reads it */
    int direct;     /* rows read and write the caller's array: there is no window */
    int first, bottom;         /* rows in the window during this step */
    int was_first, was_bottom; /* the same during the last step */
    int done, end;             /* rows computed before this step, and after it */
    int capacity;              /* rows that the window has room for */
} IcPlane;

typedef enum { IC_LOAD, IC_COMPUTE, IC_STORE } IcTask;

/* One entry of a step: load or store rows of a tensor, or compute a row, or one pass of it, and the row that works in
 * place behind it. */
typedef struct {
    IcTask task;
    int tensor;         /* load, store; the tensor written by a compute job */
    const IcRow *row;   /* compute */
    const IcRow *after; /* in place, or NULL */
    int pass;
    int from, to;     /* rows of this step, in units of `scale` tensor rows */
    int scale;
    int chunk, parts; /* rows per item; parts that the channels are split into */
    int items;
} IcJob;

typedef struct {
    const IcGraph *graph;
    IcPlane *plane;
    IcJob *job;
    int planes, jobs, steps;
    size_t budget;
    int threads; /* set: how many of the wished threads the plan is worth */
    size_t scratch, shared;  /* set: bytes for each thread, and for all */
    uint64_t window_bytes;   /* set: for ic_plan_place. 64 bits: a very wide picture needs more than an address says */
} IcPlan;

/* How many jobs a plan of a graph may have, for inputs of a height. */
int ic_plan_jobs(const IcGraph *g, int height);
/* Fill the plan, whose graph, arrays, budget and wished threads are set, for a picture that the graph takes. */
void ic_plan_make(IcPlan *p, int height, int width, void *const *data);
void ic_plan_place(IcPlan *p, char *memory);
/* Go to a step: slide the windows, and set what each job has to do. Steps run in order from 0. */
void ic_plan_step(IcPlan *p, int step);

#endif
