/* A team of pthreads that lives for one call. Creating a thread costs some 20 us, a call milliseconds; in exchange
 * nothing outlives the call, so fork, interpreter exit and engines in many threads need no care. */
#include "run/team.h"

#if defined(_WIN32) || defined(__STDC_NO_ATOMICS__) || (defined(__wasm__) && !defined(__wasm_atomics__))

struct IcTeam {
    int next[2];
};

void ic_team_run(int threads, void (*body)(void *, IcTeam *, int), void *context) {
    IcTeam team = {{0, 0}};
    (void)threads;
    body(context, &team, 0);
}
void ic_team_barrier(IcTeam *team) { (void)team; }
int ic_team_next(IcTeam *team, int job) { return team->next[job & 1]++; }
void ic_team_reset(IcTeam *team, int job) { team->next[job & 1] = 0; }

#else

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_THREADS = 256, SPINS = 2000 };

struct IcTeam {
    int threads;
    atomic_int next[2], waiting, turn;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    void (*body)(void *, IcTeam *, int);
    void *context;
};

typedef struct {
    IcTeam *team;
    int index;
    pthread_t id;
} Member;

static void *enter(void *arg) {
    Member *m = arg;
    /* The size of the team is known once every thread has been asked for: the lock is held until then. */
    pthread_mutex_lock(&m->team->lock);
    pthread_mutex_unlock(&m->team->lock);
    m->team->body(m->team->context, m->team, m->index);
    return NULL;
}

void ic_team_run(int threads, void (*body)(void *, IcTeam *, int), void *context) {
    IcTeam team = {.threads = 1, .body = body, .context = context};
    Member member[MAX_THREADS];
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > 1) {
        pthread_mutex_init(&team.lock, NULL);
        pthread_cond_init(&team.turned, NULL);
        pthread_mutex_lock(&team.lock);
        while (team.threads < threads) {
            Member *m = &member[team.threads];
            *m = (Member){.team = &team, .index = team.threads};
            if (pthread_create(&m->id, NULL, enter, m)) break;
            team.threads++;
        }
        pthread_mutex_unlock(&team.lock);
    }
    body(context, &team, 0);
    for (int i = 1; i < team.threads; i++) pthread_join(member[i].id, NULL);
    if (threads > 1) {
        pthread_cond_destroy(&team.turned);
        pthread_mutex_destroy(&team.lock);
    }
}

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void ic_team_barrier(IcTeam *team) {
    if (team->threads == 1) return;
    const int turn = atomic_load(&team->turn);
    if (atomic_fetch_add(&team->waiting, 1) == team->threads - 1) {
        atomic_store(&team->waiting, 0);
        pthread_mutex_lock(&team->lock);
        atomic_store(&team->turn, turn ^ 1);
        pthread_cond_broadcast(&team->turned);
        pthread_mutex_unlock(&team->lock);
        return;
    }
    /* The others are mostly a few microseconds behind: spin first, then sleep. */
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&team->turn) != turn) return;
        pause_cpu();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load(&team->turn) == turn) pthread_cond_wait(&team->turned, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

int ic_team_next(IcTeam *team, int job) { return atomic_fetch_add(&team->next[job & 1], 1); }
void ic_team_reset(IcTeam *team, int job) { atomic_store(&team->next[job & 1], 0); }

#endif
