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
 * budget.
 */
#include <string.h>

#include "graph.h"

static int at_most(int a, int b) { return a < b ? a : b; }
static int at_least(int a, int b) { return a > b ? a : b; }

/* Does a row look at nothing beside its pixel? */
static int pointwise(const IcRow *row) {
    if (row->kind != IC_CONV) return 1;
    return row->kh == 1 && row->kw == 1 && row->stride == 1 && row->upsample == 1 &&
           !(row->top || row->left || row->bottom || row->right);
}

static int up_of(const IcRow *row) { return row->kind == IC_CONV ? row->upsample : 1; }

static void sizes(IcPlan *p, int height, int width, void *const *data) {
    const IcGraph *g = p->graph;
    for (int t = 0; t < g->inputs + g->rows; t++) {
        IcPlane *plane = &p->plane[t];
        *plane = (IcPlane){.height = height, .width = width, .channels = g->tensor[t].channels, .data = data[t]};
        plane->type = g->tensor[t].type;
        plane->size = plane->type == IC_I32 ? 4 : 2;
        plane->is_input = t < g->inputs;
        plane->is_output = !plane->is_input && data[t];
        if (plane->is_input) continue;
        const IcRow *row = &g->row[t - g->inputs];
        const IcPlane *in = &p->plane[row->in];
        plane->height = in->height, plane->width = in->width;
        if (row->kind == IC_CONV) {
            plane->height = ((in->height + row->top + row->bottom - row->kh) / row->stride + 1) * row->upsample;
            plane->width = ((in->width + row->left + row->right - row->kw) / row->stride + 1) * row->upsample;
        }
    }
}

/* Does the GDN row behind a convolution work in place, on the rows that the convolution just wrote? Both must be int16,
 * and nobody else may want the convolution's own values. */
static int fuses(const IcPlan *p, const IcRow *conv) {
    const IcGraph *g = p->graph;
    const int next = conv->out - g->inputs + 1;
    if (conv->kind != IC_CONV || next >= g->rows) return 0;
    const IcRow *gdn = &g->row[next];
    const IcPlane *from = &p->plane[conv->out], *to = &p->plane[gdn->out];
    if (gdn->kind != IC_GDN || gdn->in != conv->out || from->is_output || from->type == IC_I32) return 0;
    for (int i = next + 1; i < g->rows; i++)
        if (g->row[i].in == conv->out || g->row[i].other == conv->out) return 0;
    return to->used ? to->type != IC_I32 : to->type == IC_I16;
}

/* Can an input's readers work on the caller's array? It has no zero border, and is not 64 bytes longer than its values:
 * only readers that look at single pixels may, and no odd run. */
static int direct(const IcPlan *p, int t) {
    const IcGraph *g = p->graph;
    if (p->plane[t].type == IC_U8 || p->plane[t].channels % 2) return 0;
    for (int i = 0; i < g->rows; i++) {
        const IcRow *row = &g->row[i];
        if ((row->in == t || row->other == t) && !pointwise(row)) return 0;
    }
    return 1;
}

static void make_jobs(IcPlan *p) {
    const IcGraph *g = p->graph;
    for (int i = 0; i < g->rows; i++) {
        p->plane[g->row[i].in].used = 1;
        if (g->row[i].other >= 0) p->plane[g->row[i].other].used = 1;
    }
    for (int t = 0; t < g->inputs; t++) {
        if (!p->plane[t].used) continue;
        p->plane[t].direct = direct(p, t);
        if (!p->plane[t].direct) p->job[p->jobs++] = (IcJob){.task = IC_LOAD, .tensor = t};
    }
    for (int i = 0; i < g->rows; i++) {
        const IcRow *row = &g->row[i];
        IcJob job = {.task = IC_COMPUTE, .row = row, .tensor = row->out};
        if (fuses(p, row)) {
            p->plane[row->out].used = 0;
            job.gdn = &g->row[++i];
            job.tensor = job.gdn->out;
        }
        p->job[p->jobs++] = job;
    }
    for (int t = g->inputs; t < g->inputs + g->rows; t++)
        if (p->plane[t].used && p->plane[t].is_output) p->job[p->jobs++] = (IcJob){.task = IC_STORE, .tensor = t};
}

/* Zero columns that a tensor's readers look at. */
static void borders(IcPlan *p) {
    for (int j = 0; j < p->jobs; j++) {
        if (p->job[j].task != IC_COMPUTE || p->job[j].row->kind != IC_CONV) continue;
        const IcRow *row = p->job[j].row;
        IcPlane *in = &p->plane[row->in];
        const int last = p->plane[row->out].width / row->upsample - 1;
        in->left = at_least(in->left, row->left);
        in->right = at_least(in->right, last * row->stride + row->kw - row->left - in->width);
    }
    for (int t = 0; t < p->planes; t++) {
        IcPlane *plane = &p->plane[t];
        plane->pitch = (ptrdiff_t)(plane->left + plane->width + plane->right) * plane->channels;
    }
}

/* Rows of an output that are due after a step. Whole pairs of rows where they are made in pairs. */
static int due(const IcPlan *p, const IcPlane *plane, int step) {
    const IcRow *row = &p->graph->row[plane - p->plane - p->graph->inputs];
    const int rows = (int)((int64_t)plane->height * (step + 1) / p->steps);
    return row->kind == IC_CONV && row->upsample == 2 ? rows & ~1 : rows;
}

/* A reader needs the rows [first, bottom) of a tensor. A tensor that several rows read (a shortcut) keeps what the
 * slowest of them has not read: each says so in every step, even in one in which it makes nothing. */
static void need(IcPlane *in, int first, int bottom) {
    in->first = at_most(in->first, first);
    in->bottom = at_least(in->bottom, bottom);
    in->end = at_least(in->end, at_most(bottom, in->height));
}

/* Move every tensor's window and goal from step - 1 to `step`. */
static void go(IcPlan *p, int step) {
    for (int t = 0; t < p->planes; t++) {
        IcPlane *plane = &p->plane[t];
        plane->was_first = plane->first;
        plane->was_bottom = step ? plane->bottom : -IC_MAX_PAD; /* nothing is kept from before step 0 */
        if (step == 0) plane->end = plane->bottom = 0;
        plane->done = plane->first = plane->end;
        if (plane->is_output) plane->end = at_least(plane->end, due(p, plane, step));
    }
    for (int j = p->jobs - 1; j >= 0; j--) {
        IcJob *job = &p->job[j];
        IcPlane *out = &p->plane[job->tensor];
        job->scale = 1;
        if (job->task == IC_COMPUTE) {
            const IcRow *row = job->row;
            job->scale = up_of(row);
            out->end = (out->end + job->scale - 1) / job->scale * job->scale;
            const int from = out->done / job->scale, to = out->end / job->scale;
            int first = from, bottom = to;
            if (row->kind == IC_CONV) {
                first = from * row->stride - row->top;
                bottom = to ? (to - 1) * row->stride + row->kh - row->top : 0;
            }
            need(&p->plane[row->in], first, bottom);
            if (row->other >= 0) need(&p->plane[row->other], first, bottom);
        }
        out->bottom = at_least(out->bottom, out->end);
    }
    for (int j = 0; j < p->jobs; j++) {
        IcJob *job = &p->job[j];
        job->from = p->plane[job->tensor].done / job->scale, job->to = p->plane[job->tensor].end / job->scale;
    }
}

/* 64 bits: on a machine of 32, a very wide picture's windows can need more than an address says. */
static uint64_t window_bytes(const IcPlane *plane) {
    if (plane->direct) return 0;
    /* 64 bytes more: the last odd run of a kernel reads one element past its end. */
    return ((uint64_t)plane->capacity * (uint64_t)plane->pitch * plane->size + 127) / 64 * 64;
}

static uint64_t measure(IcPlan *p) {
    uint64_t total = 0;
    for (int t = 0; t < p->planes; t++) p->plane[t].capacity = 0;
    for (int step = 0; step < p->steps; step++) {
        go(p, step);
        for (int t = 0; t < p->planes; t++)
            p->plane[t].capacity = at_least(p->plane[t].capacity, p->plane[t].bottom - p->plane[t].first);
    }
    for (int t = 0; t < p->planes; t++)
        if (p->plane[t].used) total += window_bytes(&p->plane[t]);
    return total;
}

/* May the pixels of a narrow picture be taken as one row? */
static int flat(const IcGraph *g, int height, int width) {
    enum { WIDTH = 16, PIXELS = 1024 };
    if (width >= WIDTH || height > PIXELS / width) return 0;
    for (int i = 0; i < g->rows; i++)
        if (!pointwise(&g->row[i])) return 0;
    return 1;
}

/* A smaller budget asks for the thinnest steps and for every thread, whatever they cost: tests. */
#define SMALL_BUDGET ((size_t)1 << 20)

/* Multiply-accumulates of the convolutions and of GDN. */
static int64_t work(const IcPlan *p) {
    int64_t total = 0;
    for (int i = 0; i < p->graph->rows; i++) {
        const IcRow *row = &p->graph->row[i];
        const IcPlane *out = &p->plane[row->out];
        int64_t pixel = 0;
        for (int b = 0; b < row->blocks; b++) pixel += ic_block_work(&row->block[b]);
        total += pixel * (out->height / up_of(row)) * (out->width / up_of(row));
    }
    return total;
}

int ic_plan_threads(const IcPlan *p, size_t budget, int threads) {
    /* A thread costs its start, some 50 us, and waits at every job's end: it must have a multiple of that to do. */
    const int64_t worth = (int64_t)40 * 1000 * 1000, most = work(p) / worth;
    if (budget < SMALL_BUDGET) return threads;
    return threads <= most ? threads : most > 1 ? (int)most : 1;
}

uint64_t ic_plan_make(IcPlan *p, int height, int width, void *const *data, size_t budget) {
    int most = 1;
    /* A kernel wants many pixels of a row at a time. The pixels of a context model's run are a column, so they are taken
     * as a row: the arrays are the same. */
    if (flat(p->graph, height, width)) width *= height, height = 1;
    sizes(p, height, width, data);
    make_jobs(p);
    borders(p);
    for (int t = 0; t < p->planes; t++)
        if (p->plane[t].is_output) most = at_least(most, p->plane[t].height);
    p->steps = 1;
    uint64_t bytes = measure(p);
    while (bytes > budget && p->steps < most) {
        const int before = p->steps;
        p->steps = at_most(2 * before, most);
        const uint64_t less = measure(p);
        if (budget >= SMALL_BUDGET && less > bytes / 4 * 3) { /* halos are what is left: thinner steps only cost time */
            p->steps = before;
            return measure(p);
        }
        bytes = less;
    }
    return bytes;
}

void ic_plan_place(IcPlan *p, char *memory) {
    for (int t = 0; t < p->planes; t++) {
        if (!p->plane[t].used) continue;
        p->plane[t].window = memory;
        memory += (size_t)window_bytes(&p->plane[t]);
    }
}

/* Slide a window from rows [first, bottom) of the last step to those of this one; rows that come in are zero outside
 * the tensor, and inside it at their left and right ends. */
static void slide(IcPlane *plane) {
    const int first = plane->was_first, bottom = plane->was_bottom;
    const size_t pixel = plane->size * (size_t)plane->channels, pitch = plane->size * (size_t)plane->pitch;
    if (plane->direct) {
        plane->window = (char *)plane->data + (size_t)plane->first * pitch;
        return;
    }
    if (bottom > plane->first && first < plane->first) /* first <= plane->first always: readers only move down */
        memmove(plane->window, plane->window + (size_t)(plane->first - first) * pitch,
                (size_t)(bottom - plane->first) * pitch);
    for (int y = at_least(bottom, plane->first); y < plane->bottom; y++) {
        char *row = plane->window + (size_t)(y - plane->first) * pitch;
        if (y < 0 || y >= plane->height) {
            memset(row, 0, pitch);
        } else {
            memset(row, 0, (size_t)plane->left * pixel);
            memset(row + (size_t)(plane->left + plane->width) * pixel, 0, (size_t)plane->right * pixel);
        }
    }
}

/* Items of a job: some rows of some blocks, small enough to share out and to stay in a core's cache until the GDN. */
static void share(const IcPlan *p, IcJob *job, int threads) {
    enum { ITEM_BYTES = 1 << 18, ITEMS_PER_THREAD = 4 };
    const IcPlane *out = &p->plane[job->tensor];
    const int rows = job->to - job->from;
    const int64_t bytes = (int64_t)out->width * out->channels * job->scale * 2;
    job->chunk = (int)at_least(1, at_most(rows, (int)(ITEM_BYTES / (bytes + 1))));
    if (threads > 1) job->chunk = at_most(job->chunk, at_least(1, rows / (ITEMS_PER_THREAD * threads)));
    if (job->task == IC_COMPUTE && job->row->winograd) job->chunk += job->chunk & 1; /* tiles are two rows high */
    job->split = 1;
    job->items = (rows + job->chunk - 1) / job->chunk;
    if (threads > 1 && job->task == IC_COMPUTE && job->row->kind == IC_CONV && !job->gdn && job->items < 2 * threads)
        job->split = at_most(job->row->blocks, 4 * threads);
    job->items *= job->split;
}

void ic_plan_step(IcPlan *p, int step, int threads) {
    go(p, step);
    for (int t = 0; t < p->planes; t++)
        if (p->plane[t].used) slide(&p->plane[t]);
    for (int j = 0; j < p->jobs; j++) share(p, &p->job[j], threads);
}
