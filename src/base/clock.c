/* Clocks. */
#include "base/base.h"

#include <time.h>

static int64_t clock_read(clockid_t id) {
    struct timespec now;
    ASSERT(clock_gettime(id, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

int64_t clock_realtime_ns(void) {
    return clock_read(CLOCK_REALTIME);
}

int64_t clock_monotonic_ns(void) {
    return clock_read(CLOCK_MONOTONIC);
}

int64_t clock_deadline_ns(int64_t timeout_ns) {
    int64_t deadline = 0;
    if (timeout_ns < 0 || __builtin_add_overflow(clock_monotonic_ns(), timeout_ns, &deadline)) {
        return INT64_MAX;
    }
    return deadline;
}
