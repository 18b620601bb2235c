/* The threads that process blocks: started by the first job that can use them, then kept until the process ends.
 *
 * A call costs a few microseconds while threads still wait actively for work, some ten when they sleep: they wait
 * actively only for ACTIVE_NS. A thread that gets no processor in time does not delay a job, because the others take its
 * blocks, and a finished job no longer admits it. Threads block all signals, so that handlers run in the threads of the
 * calling program. After fork() the child has none of them, and starts its own. Without POSIX threads the calling
 * thread does all the work. */
#include "pool.h"

#if defined(__has_include) && !defined(NEPHI_NO_THREADS)
#if __has_include(<pthread.h>) && __has_include(<stdatomic.h>)
#define HAS_THREADS
#endif
#endif

#ifdef HAS_THREADS
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define ACTIVE_NS 30000 /* of active waiting: longer than the time between two kernels of a fit */
#define SEAT 65536u /* `seats` counts free seats in its upper half, occupied ones in its lower half */

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("isb")
#else
#define PAUSE() (void)0
#endif

/* The current job. Its fields are constant while a seat is free or occupied. */
static struct {
    Work work;
    const void *job;
    int64_t count, size;
    unsigned free_seats; /* at the start */
} current;
static atomic_int_fast64_t next_block;
static atomic_uint seats;
static atomic_flag in_use = ATOMIC_FLAG_INIT; /* set while a thread has a job for the pool */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t new_job = PTHREAD_COND_INITIALIZER, all_left = PTHREAD_COND_INITIALIZER;
static atomic_uint jobs;           /* number of jobs published */
static atomic_int sleeping;        /* workers that wait for `new_job` */
static atomic_int caller_sleeping; /* whether the caller waits for `all_left` */
static int workers;                /* started; changed only while `in_use` */
static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;

/* In the child of fork(): forget the threads and the job of the parent. */
static void reset(void) {
    pthread_mutex_init(&mutex, 0);
    pthread_cond_init(&new_job, 0);
    pthread_cond_init(&all_left, 0);
    atomic_store(&seats, 0);
    atomic_store(&sleeping, 0);
    atomic_store(&caller_sleeping, 0);
    atomic_flag_clear(&in_use);
    workers = 0;
}

static void handle_forks(void) { pthread_atfork(0, 0, reset); }

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Wait actively, for a short time, until `value` is another one than `from`; return whether it is. */
static int changes(atomic_uint *value, unsigned from) {
    const int64_t end = nanoseconds() + ACTIVE_NS;
    do
        for (int pause = 0; pause < 16; pause++) {
            if (atomic_load(value) != from) return 1;
            PAUSE();
        }
    while (nanoseconds() < end);
    return 0;
}

static void process_blocks(int slot) {
    for (;;) {
        const int64_t begin = atomic_fetch_add(&next_block, 1) * current.size, left = current.count - begin;
        if (left <= 0) return;
        current.work(current.job, begin, begin + (left < current.size ? left : current.size), slot);
    }
}

/* Take a seat of the current job; return its slot, or 0 where none is free. */
static int take_seat(void) {
    unsigned seen = atomic_load(&seats);
    while (seen >= SEAT)
        if (atomic_compare_exchange_weak(&seats, &seen, seen - SEAT + 1)) return (int)(current.free_seats - seen / SEAT + 1);
    return 0;
}

static void leave_seat(void) {
    if (atomic_fetch_sub(&seats, 1) == 1 && atomic_load(&caller_sleeping)) {
        pthread_mutex_lock(&mutex);
        pthread_cond_signal(&all_left);
        pthread_mutex_unlock(&mutex);
    }
}

/* Wait until another job than number `seen` is published; return its number. */
static unsigned await_job(unsigned seen) {
    if (changes(&jobs, seen)) return atomic_load(&jobs);
    pthread_mutex_lock(&mutex);
    atomic_fetch_add(&sleeping, 1);
    while (atomic_load(&jobs) == seen) pthread_cond_wait(&new_job, &mutex);
    atomic_fetch_sub(&sleeping, 1);
    pthread_mutex_unlock(&mutex);
    return atomic_load(&jobs);
}

static void *serve(void *unused) {
    (void)unused;
    unsigned seen = 0;
    for (;;) {
        const int slot = take_seat();
        if (slot) {
            process_blocks(slot);
            leave_seat();
        }
        seen = await_job(seen);
    }
    return 0;
}

/* Start workers until there are `wanted`, or as many as the system allows. */
static void start_workers(int wanted) {
    sigset_t all, previous;
    pthread_once(&fork_handler, handle_forks);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous); /* inherited by new threads */
    for (pthread_t thread; workers < wanted; workers++) {
        if (pthread_create(&thread, 0, serve, 0)) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &previous, 0);
}

static void publish(unsigned free_seats) {
    current.free_seats = free_seats;
    atomic_store(&next_block, 0);
    atomic_store(&seats, free_seats * SEAT);
    atomic_fetch_add(&jobs, 1);
    const int asleep = atomic_load(&sleeping);
    if (!asleep) return;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < free_seats && (int)i < asleep; i++) pthread_cond_signal(&new_job);
    pthread_mutex_unlock(&mutex);
}

/* Admit no further thread, and wait until those that took a seat have left. */
static void close_job(void) {
    atomic_fetch_and(&seats, SEAT - 1);
    for (unsigned occupied; (occupied = atomic_load(&seats)) != 0;)
        if (!changes(&seats, occupied)) break;
    pthread_mutex_lock(&mutex);
    atomic_store(&caller_sleeping, 1);
    while (atomic_load(&seats)) pthread_cond_wait(&all_left, &mutex);
    atomic_store(&caller_sleeping, 0);
    pthread_mutex_unlock(&mutex);
}
#endif

void run_blocks(int64_t count, int64_t size, int64_t threads, Work work, const void *job) {
#ifdef HAS_THREADS
    const int used = slots(count, size, threads);
    if (used > 1 && !atomic_flag_test_and_set(&in_use)) {
        if (workers < used - 1) start_workers(used - 1);
        current.work = work, current.job = job, current.count = count, current.size = size;
        publish((unsigned)(used - 1));
        process_blocks(0);
        close_job();
        atomic_flag_clear(&in_use);
        return;
    }
#endif
    (void)threads;
    for (int64_t begin = 0; begin < count; begin += size)
        work(job, begin, begin + size < count ? begin + size : count, 0);
}
