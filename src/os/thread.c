/* Purpose: threads, futexes and waiting.
 *
 * Invariants
 * T1. A thread of ours takes no signal that is meant for the process: an embedding program's
 * handlers run on its own threads. Faults of the thread itself still end the process. */
#include "os/os.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NAME_BYTES 16

struct os_thread {
    pthread_t thread;
    void (*run)(void *);
    void *argument;
    char name[NAME_BYTES];
};

static void *thread_main(void *argument) {
    os_thread *t = argument;
    (void)pthread_setname_np(pthread_self(), t->name);
    t->run(t->argument);
    return NULL;
}

static tape_status thread_failed(tape_error *error, int reason, const char *name, int cpu) {
    if (reason == EINVAL && cpu >= 0) {
        return error_set(error, TAPE_INVALID,
                         "cannot run thread %s on CPU %d: this process may not use it (see taskset "
                         "-p)",
                         name, cpu);
    }
    tape_status status = error_set(
        error, reason == EAGAIN ? TAPE_NO_MEMORY : TAPE_IO, "cannot start thread %s: %s", name,
        reason == EAGAIN ? "the limit of threads is reached (ulimit -u)" : strerrordesc_np(reason));
    if (error != NULL) {
        error->os_errno = reason;
    }
    return status;
}

static int thread_create(os_thread *t, int cpu) {
    pthread_attr_t attributes;
    int reason = pthread_attr_init(&attributes);
    if (reason != 0) {
        return reason;
    }
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (cpu >= CPU_SETSIZE) {
            reason = EINVAL;
        } else {
            CPU_SET((size_t)cpu, &set);
            reason = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
        }
    }
    if (reason == 0) {
        sigset_t ours;
        sigset_t old;
        (void)sigfillset(&ours);
        static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
        for (size_t i = 0; i < COUNT_OF(faults); i++) {
            (void)sigdelset(&ours, faults[i]);
        }
        /* The thread inherits the mask it is created under (T1). */
        (void)pthread_sigmask(SIG_SETMASK, &ours, &old);
        reason = pthread_create(&t->thread, &attributes, thread_main, t);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    (void)pthread_attr_destroy(&attributes);
    return reason;
}

tape_status os_thread_start(os_thread **out, const char *name, int cpu, void (*run)(void *),
                            void *argument, tape_error *error) {
    ASSERT(strlen(name) < NAME_BYTES);
    *out = NULL;
    os_thread *t = mem_zalloc(sizeof *t);
    t->run = run;
    t->argument = argument;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    int reason = thread_create(t, cpu);
    if (reason != 0) {
        free(t);
        return thread_failed(error, reason, name, cpu);
    }
    *out = t;
    return TAPE_OK;
}

void os_thread_join(os_thread **thread) {
    if (thread == NULL || *thread == NULL) {
        return;
    }
    os_thread *t = *thread;
    *thread = NULL;
    ASSERT(pthread_join(t->thread, NULL) == 0);
    free(t);
}

void os_thread_lower(int nice) {
    /* Neither is more than a wish: where the system refuses, the thread runs as others do. */
    struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
    if (nice > 0) {
        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
    }
}

void os_yield(void) {
    (void)sched_yield();
}

static struct timespec timespec_of_ns(int64_t ns) {
    if (ns < 0) {
        ns = 0;
    }
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SECOND),
                             .tv_nsec = (long)(ns % NS_PER_SECOND)};
}

void os_sleep_ns(int64_t ns) {
    if (ns <= 0) {
        return;
    }
    struct timespec until = timespec_of_ns(clock_deadline_ns(ns));
    int reason = 0;
    do {
        reason = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    } while (reason == EINTR);
}

int os_cpu_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        return count > 0 ? count : 1;
    }
    /* More CPUs than a cpu_set_t has room for. */
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 && count <= INT_MAX ? (int)count : 1;
}

/* --- futex --- */

void os_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns) {
    struct timespec until = timespec_of_ns(deadline_ns);
    /* FUTEX_WAIT_BITSET takes an absolute time on the monotonic clock. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                  deadline_ns == INT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

void os_futex_wake(_Atomic uint32_t *word, int count) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
}
