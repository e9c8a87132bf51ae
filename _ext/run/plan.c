/* How a picture is cut. The output is made in steps from top to bottom; each tensor that a row reads keeps a window of
 * its rows, which slides down:
 *
 *                  first                done                 end        bottom
 *     -------------+--------------------+--------------------+----------+------------
 *      forgotten   | kept from before   | made in this step  | zero border, if the
 *                  | (halo of readers)  |                    | tensor ends here
 *
 * Going backwards from the rows that a step must deliver, every tensor learns how far it must be computed (`end`). No
 * row is computed twice, whatever the number of steps; a window holds one step's rows and the halo of its readers,
 * however tall the picture is. So the number of steps is free: it is the smallest that keeps all windows within the
 * budget. A graph of rows that read their whole inputs takes one step.
 */
#include "run/plan.h"

#include <limits.h>

/* A smaller budget asks for the thinnest steps and for every thread, whatever they cost: tests. */
#define SMALL_BUDGET ((size_t)1 << 20)

static int at_most(int a, int b) { return a < b ? a : b; }
static int at_least(int a, int b) { return a > b ? a : b; }

static int is_whole(const IcGraph *g) { return g->rows && g->row->kind->whole; }

/* Does a row look at nothing beside its pixel? */
static int pointwise(const IcRow *row) {
    const IcGeometry *g = &row->geometry;
    return !row->kind->whole && g->rows == 1 && g->columns == 1 && g->stride == 1 && g->up == 1 &&
           !(g->top || g->left || g->bottom || g->right);
}

static int reads(const IcRow *row, int tensor) {
    for (int k = 0; k < IC_MAX_INPUTS; k++)
        if (row->in[k] == tensor) return 1;
    return 0;
}

static void sizes(IcPlan *p, int height, int width, void *const *data) {
    const IcGraph *g = p->graph;
    for (int t = 0; t < p->planes; t++) {
        IcPlane *plane = &p->plane[t];
        IcSize size = {height, width};
        if (t >= g->inputs) {
            const IcRow *row = &g->row[t - g->inputs];
            const IcView *in = &p->plane[row->in[0]].view;
            ic_row_size(row->kind, row->geometry, (IcSize){in->height, in->width}, &size);
        }
        *plane = (IcPlane){.type = ic_type(g->tensor[t]), .data = data[t], .is_output = t >= g->inputs && data[t]};
        plane->view = (IcView){.height = size.height, .width = size.width, .channels = g->tensor[t].channels};
        plane->view.type = plane->type == IC_I32 ? IC_I32 : IC_I16;
    }
}

/* Does the row behind a row work in place, on the rows that this one just wrote? Both must be int16 in memory, and nobody
 * else may want this one's values. */
static const IcRow *in_place_after(const IcPlan *p, const IcRow *row) {
    const IcGraph *g = p->graph;
    const int next = row->out - g->inputs + 1;
    if (row->kind->whole || next >= g->rows) return NULL;
    const IcRow *after = &g->row[next];
    const IcPlane *from = &p->plane[row->out], *to = &p->plane[after->out];
    if (!after->kind->in_place || after->in[0] != row->out || from->is_output || from->type == IC_I32) return NULL;
    for (int i = next + 1; i < g->rows; i++)
        if (reads(&g->row[i], row->out)) return NULL;
    return (to->used ? to->type != IC_I32 : to->type == IC_I16) ? after : NULL;
}

/* Can a tensor's readers work on the caller's array? It has no zero border, and is not 64 bytes longer than its values:
 * only readers that look at single pixels may, and no odd run. */
static int direct(const IcPlan *p, int t) {
    const IcGraph *g = p->graph;
    const IcPlane *plane = &p->plane[t];
    if (plane->type == IC_U8) return 0;
    if (is_whole(g)) return plane->data != NULL;
    if (t >= g->inputs || plane->view.channels % 2) return 0;
    for (int i = 0; i < g->rows; i++)
        if (reads(&g->row[i], t) && !pointwise(&g->row[i])) return 0;
    return 1;
}

static int passes_of(const IcRow *row, int height) {
    int n = 0;
    while (row->kind->pass && row->kind->pass(row, n, height)) n++;
    return row->kind->pass ? n : 1;
}

int ic_plan_jobs(const IcGraph *g, int height) {
    int jobs = g->inputs + g->rows; /* to load or to store */
    for (int i = 0; i < g->rows; i++) jobs += passes_of(&g->row[i], height);
    return jobs;
}

static void make_jobs(IcPlan *p) {
    const IcGraph *g = p->graph;
    for (int i = 0; i < g->rows; i++)
        for (int k = 0; k < ic_row_inputs(g->row[i].kind); k++) p->plane[g->row[i].in[k]].used = 1;
    for (int t = 0; t < p->planes; t++) {
        p->plane[t].direct = p->plane[t].used && direct(p, t);
        if (t < g->inputs && p->plane[t].used && !p->plane[t].direct)
            p->job[p->jobs++] = (IcJob){.task = IC_LOAD, .tensor = t, .scale = 1};
    }
    for (int i = 0; i < g->rows; i++) {
        const IcRow *row = &g->row[i];
        IcJob job = {.task = IC_COMPUTE, .row = row, .tensor = row->out, .scale = row->geometry.up};
        job.after = in_place_after(p, row);
        if (job.after) {
            p->plane[row->out].used = 0;
            job.tensor = job.after->out;
            i++;
        }
        const int passes = passes_of(row, p->plane[row->out].view.height);
        for (; job.pass < passes; job.pass++) p->job[p->jobs++] = job;
    }
    for (int t = g->inputs; t < p->planes; t++)
        if (p->plane[t].used && p->plane[t].is_output && !p->plane[t].direct)
            p->job[p->jobs++] = (IcJob){.task = IC_STORE, .tensor = t, .scale = 1};
}

/* Zero columns that a tensor's readers look at. */
static void borders(IcPlan *p) {
    for (int j = 0; j < p->jobs; j++) {
        if (p->job[j].task != IC_COMPUTE) continue;
        const IcRow *row = p->job[j].row;
        const IcGeometry *g = &row->geometry;
        const int last = p->plane[row->out].view.width / g->up - 1;
        for (int k = 0; k < ic_row_inputs(row->kind); k++) {
            IcView *in = &p->plane[row->in[k]].view;
            in->left = at_least(in->left, g->left);
            in->right = at_least(in->right, last * g->stride + g->columns - g->left - in->width);
        }
    }
    for (int t = 0; t < p->planes; t++) {
        IcView *v = &p->plane[t].view;
        v->pitch = (ptrdiff_t)(v->left + v->width + v->right) * v->channels;
    }
}

/* Rows of an output that are due after a step: whole units where several are made together. */
static int due(const IcPlan *p, const IcPlane *plane, int step) {
    const int up = p->graph->row[plane - p->plane - p->graph->inputs].geometry.up;
    return (int)((int64_t)plane->view.height * (step + 1) / p->steps) / up * up;
}

/* A job needs rows of a tensor that it reads. A tensor that several rows read (a shortcut) keeps what the slowest of them
 * has not read: each says so in every step, even in one in which it makes nothing. */
static void need(IcPlane *in, const IcJob *job, int from, int to) {
    const IcGeometry *g = &job->row->geometry;
    int first = from * g->stride - g->top, bottom = to ? (to - 1) * g->stride + g->rows - g->top : 0;
    if (job->row->kind->whole) first = 0, bottom = to ? in->view.height : 0;
    in->first = at_most(in->first, first);
    in->bottom = at_least(in->bottom, bottom);
    in->end = at_least(in->end, at_most(bottom, in->view.height));
}

/* Move every tensor's window and goal from step - 1 to `step`. */
static void go(IcPlan *p, int step) {
    for (int t = 0; t < p->planes; t++) {
        IcPlane *plane = &p->plane[t];
        plane->was_first = plane->first;
        plane->was_bottom = step ? plane->bottom : INT_MIN; /* nothing is kept from before step 0 */
        if (step == 0) plane->end = plane->bottom = 0;
        plane->done = plane->first = plane->end;
        if (plane->is_output) plane->end = at_least(plane->end, due(p, plane, step));
    }
    for (int j = p->jobs - 1; j >= 0; j--) {
        const IcJob *job = &p->job[j];
        IcPlane *out = &p->plane[job->tensor];
        out->end = (out->end + job->scale - 1) / job->scale * job->scale;
        if (job->task == IC_COMPUTE)
            for (int k = 0; k < ic_row_inputs(job->row->kind); k++)
                need(&p->plane[job->row->in[k]], job, out->done / job->scale, out->end / job->scale);
        out->bottom = at_least(out->bottom, out->end);
    }
    for (int j = 0; j < p->jobs; j++) {
        IcJob *job = &p->job[j];
        job->from = p->plane[job->tensor].done / job->scale, job->to = p->plane[job->tensor].end / job->scale;
        if (job->task == IC_COMPUTE && job->row->kind->pass && job->to)
            job->from = 0, job->to = job->row->kind->pass(job->row, job->pass, p->plane[job->tensor].view.height);
    }
}

static uint64_t window_bytes(const IcPlane *plane) {
    if (!plane->used || plane->direct) return 0;
    /* 64 bytes more: the last odd run of a kernel reads one element past its end. */
    const uint64_t bytes = (uint64_t)plane->capacity * (uint64_t)plane->view.pitch * ic_size(plane->view.type);
    return (bytes + 127) / 64 * 64;
}

static uint64_t measure(IcPlan *p, int steps) {
    uint64_t total = 0;
    p->steps = steps;
    for (int t = 0; t < p->planes; t++) p->plane[t].capacity = 0;
    for (int step = 0; step < p->steps; step++) {
        go(p, step);
        for (int t = 0; t < p->planes; t++)
            p->plane[t].capacity = at_least(p->plane[t].capacity, p->plane[t].bottom - p->plane[t].first);
    }
    for (int t = 0; t < p->planes; t++) total += window_bytes(&p->plane[t]);
    return total;
}

/* Choose the number of steps. */
static void cut(IcPlan *p) {
    int most = 1;
    for (int t = 0; t < p->planes; t++)
        if (p->plane[t].is_output && !is_whole(p->graph)) most = at_least(most, p->plane[t].view.height);
    p->window_bytes = measure(p, 1);
    while (p->window_bytes > p->budget && p->steps < most) {
        const int before = p->steps;
        const uint64_t bytes = measure(p, at_most(2 * before, most));
        if (p->budget >= SMALL_BUDGET && bytes > p->window_bytes / 4 * 3) {
            p->window_bytes = measure(p, before); /* halos are what is left: thinner steps only cost time */
            return;
        }
        p->window_bytes = bytes;
    }
}

/* May the pixels of a narrow picture be taken as one row? */
static int flat(const IcGraph *g, int height, int width) {
    enum { WIDTH = 16, PIXELS = 1024 };
    if (width >= WIDTH || height > PIXELS / width) return 0;
    for (int i = 0; i < g->rows; i++)
        if (!pointwise(&g->row[i])) return 0;
    return 1;
}

/* Threads that the plan is worth, and what its rows want beside the windows. */
static void measure_work(IcPlan *p) {
    /* A thread costs its start, some 50 us, and waits at every job's end: it must have a multiple of that to do. */
    const int64_t worth = (int64_t)40 * 1000 * 1000;
    int64_t work = 0;
    p->scratch = p->shared = 0;
    for (int i = 0; i < p->graph->rows; i++) {
        const IcRow *row = &p->graph->row[i];
        const IcView *out = &p->plane[row->out].view;
        work += row->work * (out->height / row->geometry.up) * (out->width / row->geometry.up);
        const size_t scratch = row->kind->scratch ? row->kind->scratch(row, out->width) : 0;
        const size_t shared = row->kind->shared ? row->kind->shared(row, out->height, out->width) : 0;
        p->scratch = scratch > p->scratch ? scratch : p->scratch;
        p->shared = shared > p->shared ? shared : p->shared;
    }
    if (p->budget >= SMALL_BUDGET) p->threads = work / worth < p->threads ? at_least(1, (int)(work / worth)) : p->threads;
}

void ic_plan_make(IcPlan *p, int height, int width, void *const *data) {
    /* A kernel wants many pixels of a row at a time. The pixels of a context model's run are a column, so they are taken
     * as a row: the arrays are the same. */
    if (flat(p->graph, height, width)) width *= height, height = 1;
    p->planes = p->graph->inputs + p->graph->rows;
    sizes(p, height, width, data);
    make_jobs(p);
    borders(p);
    cut(p);
    measure_work(p);
}

void ic_plan_place(IcPlan *p, char *memory) {
    for (int t = 0; t < p->planes; t++) {
        IcPlane *plane = &p->plane[t];
        if (!plane->used) { /* its rows go to the caller's array, if to any */
            plane->view.memory = plane->data;
            plane->view.type = plane->type;
            plane->view.bottom = plane->view.height;
            continue;
        }
        plane->view.memory = memory;
        memory += (size_t)window_bytes(plane);
    }
}

/* Slide a window from rows [first, bottom) of the last step to those of this one; rows that come in are zero outside
 * the tensor, and inside it at their left and right ends. */
static void slide(IcPlane *plane) {
    IcView *v = &plane->view;
    const int first = plane->was_first, bottom = plane->was_bottom;
    const size_t pixel = ic_size(v->type) * (size_t)v->channels, pitch = ic_size(v->type) * (size_t)v->pitch;
    v->first = plane->first, v->bottom = plane->bottom;
    if (plane->direct) {
        v->memory = (char *)plane->data + (size_t)plane->first * pitch;
        return;
    }
    if (bottom > plane->first && first < plane->first) /* first <= plane->first always: readers only move down */
        memmove(v->memory, v->memory + (size_t)(plane->first - first) * pitch, (size_t)(bottom - plane->first) * pitch);
    for (int y = at_least(bottom, plane->first); y < plane->bottom; y++) {
        char *row = v->memory + (size_t)(y - plane->first) * pitch;
        if (y < 0 || y >= v->height) {
            memset(row, 0, pitch);
        } else {
            memset(row, 0, (size_t)v->left * pixel);
            memset(row + (size_t)(v->left + v->width) * pixel, 0, (size_t)v->right * pixel);
        }
    }
}

/* Items of a job: some rows of some parts, small enough to share out and to stay in a core's cache until the row that
 * works in place. */
static void share(const IcPlan *p, IcJob *job) {
    enum { ITEM_BYTES = 1 << 18, ITEMS_PER_THREAD = 4 };
    const IcView *out = &p->plane[job->tensor].view;
    const int rows = job->to - job->from, tall = job->task == IC_COMPUTE ? job->row->tall : 1;
    const int64_t bytes = (int64_t)out->width * out->channels * job->scale * 2;
    job->chunk = (int)at_least(1, at_most(rows, (int)(ITEM_BYTES / (bytes + 1))));
    if (p->threads > 1) job->chunk = at_most(job->chunk, at_least(1, rows / (ITEMS_PER_THREAD * p->threads)));
    job->chunk = (job->chunk + tall - 1) / tall * tall;
    job->parts = 1;
    job->items = (rows + job->chunk - 1) / job->chunk;
    if (p->threads > 1 && job->task == IC_COMPUTE && !job->after && job->items < 2 * p->threads)
        job->parts = at_most(job->row->parts, 4 * p->threads);
    job->items *= job->parts;
}

void ic_plan_step(IcPlan *p, int step) {
    go(p, step);
    for (int t = 0; t < p->planes; t++)
        if (p->plane[t].used) slide(&p->plane[t]);
    for (int j = 0; j < p->jobs; j++) share(p, &p->job[j]);
}
