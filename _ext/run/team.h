/* Threads of one call: work items handed out by a counter, and a barrier between the jobs. */
#ifndef INTCODEC_RUN_TEAM_H
#define INTCODEC_RUN_TEAM_H

typedef struct IcTeam IcTeam;

/* Run body(context, team, index) on `threads` threads, the caller being index 0. Fewer run where the system gives no
 * more; the body must not care. */
void ic_team_run(int threads, void (*body)(void *context, IcTeam *team, int index), void *context);
/* Wait until every thread of the team is here. */
void ic_team_barrier(IcTeam *team);
/* The next unclaimed item of job number `job`. Two counters take turns: while the team works on a job, thread 0 resets
 * the counter of the job after it. */
int ic_team_next(IcTeam *team, int job);
void ic_team_reset(IcTeam *team, int job);

#endif
