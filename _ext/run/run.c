/* One call of a graph: workspace, team of threads, and the loop over steps and jobs that every thread walks alike. */
#include <stdlib.h>

#include "core/memory.h"
#include "run/plan.h"
#include "run/team.h"

enum { WINDOWS, SCRATCH, SHARED, PLAN, SLOTS };

struct IcWorkspace {
    void *block[SLOTS];
    size_t size[SLOTS];
};

IcWorkspace *ic_workspace_new(void) { return calloc(1, sizeof(IcWorkspace)); }

static void empty(IcWorkspace *w) {
    for (int i = 0; i < SLOTS; i++) ic_free(w->block[i]);
    *w = (IcWorkspace){{NULL}, {0}};
}

void ic_workspace_free(IcWorkspace *w) {
    if (w) empty(w);
    free(w);
}

/* At least `size` bytes aligned to 64, contents undefined; slots are independent. NULL without memory. */
static void *get(IcWorkspace *w, int slot, size_t size) {
    if (w->size[slot] < size || !w->block[slot]) {
        ic_free(w->block[slot]);
        w->block[slot] = ic_alloc(size + 64);
        w->size[slot] = w->block[slot] ? size : 0;
    }
    return w->block[slot];
}

typedef struct {
    IcPlan plan;
    const IcRun *run;
    char *scratch, *shared;
    size_t stride; /* from a thread's scratch memory to the next's */
} Call;

static void copy_row(IcLine from, IcLine to, ptrdiff_t count) {
    if (from.type == to.type) memcpy(to.at, from.at, (size_t)count * ic_size(to.type));
    else if (from.type == IC_U8)
        for (ptrdiff_t i = 0; i < count; i++) ((int16_t *)to.at)[i] = ((const uint8_t *)from.at)[i];
    else
        for (ptrdiff_t i = 0; i < count; i++) ((uint8_t *)to.at)[i] = (uint8_t)((const int16_t *)from.at)[i];
}

/* Between the caller's array and a window. */
static void copy(const IcPlane *plane, IcTask task, int from, int to) {
    const IcView *v = &plane->view;
    const ptrdiff_t count = (ptrdiff_t)v->width * v->channels;
    for (int y = from; y < to; y++) {
        const IcLine window = ic_line(v, y);
        const IcLine array = {(char *)plane->data + (ptrdiff_t)y * count * (ptrdiff_t)ic_size(plane->type), plane->type};
        if (task == IC_LOAD) copy_row(array, window, count);
        else copy_row(window, array, count);
    }
}

static void compute(const IcRow *row, const IcStrip *s) {
    if (row->kind->run) {
        row->kind->run(row, s);
        return;
    }
    for (int y = s->from; y < s->to; y++) {
        IcLine in[IC_MAX_INPUTS];
        for (int k = 0; k < IC_MAX_INPUTS; k++)
            if (s->in[k]) in[k] = ic_line(s->in[k], y);
        row->kind->line(row, in, ic_line(s->out, y), s->out->width, s->scratch);
    }
}

static void run_item(const Call *call, const IcJob *job, int item, char *scratch) {
    const IcPlan *p = &call->plan;
    const int from = job->from + item / job->parts * job->chunk;
    const int to = from + job->chunk < job->to ? from + job->chunk : job->to;
    if (job->task != IC_COMPUTE) {
        copy(&p->plane[job->tensor], job->task, from, to);
        return;
    }
    const IcRow *row = job->row;
    IcStrip s = {.out = &p->plane[job->tensor].view, .from = from, .to = to, .part = item % job->parts};
    s.parts = job->parts, s.pass = job->pass, s.scratch = scratch, s.shared = call->shared;
    for (int k = 0; k < ic_row_inputs(row->kind); k++) s.in[k] = &p->plane[row->in[k]].view;
    compute(row, &s);
    for (int y = from * job->scale; job->after && y < to * job->scale; y++) {
        const IcLine line = ic_line(s.out, y);
        job->after->kind->line(job->after, &line, line, s.out->width, scratch);
    }
}

static void every_thread(void *context, IcTeam *team, int index) {
    Call *call = context;
    IcPlan *p = &call->plan;
    char *scratch = call->scratch + (size_t)index * call->stride;
    for (int step = 0; step < p->steps; step++) {
        if (index == 0) {
            ic_plan_step(p, step);
            ic_team_reset(team, 0);
            if (call->run->progress) call->run->progress(call->run->context, step, p->steps);
        }
        ic_team_barrier(team);
        for (int j = 0; j < p->jobs; j++) {
            const IcJob *job = &p->job[j];
            if (index == 0) ic_team_reset(team, j + 1);
            for (int item; (item = ic_team_next(team, j)) < job->items;) run_item(call, job, item, scratch);
            ic_team_barrier(team);
        }
    }
}

const char *ic_graph_run(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, IcRun *run) {
    const size_t planes = (size_t)(g->inputs + g->rows), jobs = (size_t)ic_plan_jobs(g, height);
    Call call = {.plan = {.graph = g, .budget = run->budget, .threads = run->threads}, .run = run};
    IcPlan *p = &call.plan;
    char *memory = get(w, PLAN, planes * (sizeof(IcPlane) + sizeof(IcSize)) + jobs * sizeof(IcJob));
    if (!memory) return ic_no_memory;
    p->plane = (IcPlane *)memory;
    p->job = (IcJob *)(memory + planes * sizeof(IcPlane));
    const char *wrong = ic_graph_sizes(g, height, width, (IcSize *)(p->job + jobs));
    if (wrong) return wrong;
    ic_plan_make(p, height, width, data);
    if (p->window_bytes > SIZE_MAX / 2) return ic_no_memory;
    call.stride = (p->scratch + 127) / 64 * 64;
    call.scratch = get(w, SCRATCH, call.stride * (size_t)p->threads);
    call.shared = get(w, SHARED, p->shared);
    char *windows = get(w, WINDOWS, (size_t)p->window_bytes);
    if (!call.scratch || !call.shared || !windows) return ic_no_memory;
    ic_plan_place(p, windows);
    run->bytes = (size_t)p->window_bytes + p->shared + call.stride * (size_t)p->threads;
    run->steps = p->steps;
    ic_team_run(p->threads, every_thread, &call);
    if (p->shared) empty(w); /* so much is not kept */
    return NULL;
}
