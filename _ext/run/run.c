/* One call of a graph: workspace, team of threads, and the loop over steps and jobs that every thread walks alike. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

enum { SLOT_WINDOWS, SLOT_SCRATCH, SLOT_PLAN };

IcWorkspace *ic_workspace_new(void) { return calloc(1, sizeof(IcWorkspace)); }

void ic_workspace_free(IcWorkspace *w) {
    if (!w) return;
    for (int i = 0; i < 3; i++) ic_free(w->block[i]);
    free(w);
}

void *ic_workspace_get(IcWorkspace *w, int slot, size_t size) {
    if (w->size[slot] < size) {
        ic_free(w->block[slot]);
        w->block[slot] = ic_alloc(size);
        w->size[slot] = w->block[slot] ? size : 0;
    }
    return w->block[slot];
}

typedef struct {
    IcPlan plan;
    int threads;
    char *scratch;
    size_t scratch_bytes;
} Call;

static void walk(void *context, IcTeam *team, int index) {
    Call *call = context;
    IcPlan *p = &call->plan;
    char *scratch = call->scratch + (size_t)index * call->scratch_bytes;
    for (int step = 0; step < p->steps; step++) {
        if (index == 0) {
            ic_plan_step(p, step, call->threads);
            ic_team_reset(team, 0);
#ifdef IC_PROGRESS
            ic_progress(step, p->steps);
#endif
        }
        ic_team_barrier(team);
        for (int j = 0; j < p->jobs; j++) {
            const IcJob *job = &p->job[j];
            if (index == 0) ic_team_reset(team, j + 1);
            for (int item; (item = ic_team_next(team, j)) < job->items;) ic_job_item(p, job, item, scratch);
            ic_team_barrier(team);
        }
    }
}

int ic_graph_run(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, size_t budget, int threads,
                 size_t *used) {
    const size_t planes = (size_t)(g->inputs + g->rows), jobs = 2 * planes; /* load or store, and compute */
    Call call = {.plan = {.graph = g, .planes = (int)planes}, .threads = threads};
    char *memory = ic_workspace_get(w, SLOT_PLAN, planes * sizeof(IcPlane) + jobs * sizeof(IcJob));
    if (!memory) return -1;
    call.plan.plane = (IcPlane *)memory;
    call.plan.job = (IcJob *)(memory + planes * sizeof(IcPlane));
    const uint64_t wished = ic_plan_make(&call.plan, height, width, data, budget);
    if (wished > SIZE_MAX / 2) return -1;
    const size_t bytes = (size_t)wished;
    call.threads = ic_plan_threads(&call.plan, budget, threads);
    call.scratch_bytes = (ic_scratch_bytes(g) + 127) / 64 * 64;
    call.scratch = ic_workspace_get(w, SLOT_SCRATCH, call.scratch_bytes * (size_t)call.threads);
    char *windows = ic_workspace_get(w, SLOT_WINDOWS, bytes + 64);
    if (!call.scratch || !windows) return -1;
    ic_plan_place(&call.plan, windows);
    used[0] = bytes + call.scratch_bytes * (size_t)call.threads;
    used[1] = (size_t)call.plan.steps;
    ic_team_run(call.threads, walk, &call);
    return 0;
}
