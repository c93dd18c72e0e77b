/* Clocks. */
#include "base/base.h"

#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

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

int64_t clock_thread_ns(void) {
    return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

int64_t clock_deadline_ns(int64_t timeout_ns) {
    int64_t deadline = 0;
    if (timeout_ns < 0 || __builtin_add_overflow(clock_monotonic_ns(), timeout_ns, &deadline)) {
        return INT64_MAX;
    }
    return deadline;
}

/* --- stamps ---
 * The processor's counter, scaled between two readings of the real clock that are at most
 * STAMP_TICKS_MAX apart: about a third of what clock_gettime costs. The parameters are published
 * under a sequence count (odd while they change); a reader that meets a change asks the real clock.
 */
#if defined(__x86_64__)

#define STAMP_TICKS_MAX (UINT64_C(1) << 25) /* about 10 ms */

static struct {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t count;
    _Atomic uint64_t ticks;
    _Atomic uint64_t ns;
    _Atomic uint64_t scale; /* ns per tick, 32 binary places; 0: not known */
} stamp;
static bool stamp_counter_is_steady;

__attribute__((constructor)) static void stamp_init(void) {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    stamp_counter_is_steady = __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;
}

/* Takes a new pair of readings; the scale comes from the last pair if that is a good while ago. */
static int64_t stamp_calibrate(void) {
    uint64_t ns = (uint64_t)clock_realtime_ns();
    uint64_t ticks = __rdtsc();
    uint32_t count = atomic_load_explicit(&stamp.count, memory_order_relaxed);
    if ((count & 1) != 0 ||
        !atomic_compare_exchange_strong_explicit(&stamp.count, &count, count + 1,
                                                 memory_order_acquire, memory_order_relaxed)) {
        return (int64_t)ns; /* another thread is at it */
    }
    atomic_thread_fence(memory_order_release);
    uint64_t old_ticks = atomic_load_explicit(&stamp.ticks, memory_order_relaxed);
    uint64_t old_ns = atomic_load_explicit(&stamp.ns, memory_order_relaxed);
    uint64_t passed_ticks = ticks - old_ticks;
    uint64_t passed_ns = ns - old_ns;
    uint64_t scale = 0;
    /* Between a millisecond and four seconds, or else the quotient is too coarse or may overflow.
     */
    if (old_ticks != 0 && passed_ticks > STAMP_TICKS_MAX / 16 && passed_ns > 0 &&
        passed_ns < UINT64_C(4000000000) && passed_ticks < UINT64_C(1) << 36) {
        scale = (passed_ns << 32) / passed_ticks;
    }
    atomic_store_explicit(&stamp.ticks, ticks, memory_order_relaxed);
    atomic_store_explicit(&stamp.ns, ns, memory_order_relaxed);
    atomic_store_explicit(&stamp.scale, scale, memory_order_relaxed);
    atomic_store_explicit(&stamp.count, count + 2, memory_order_release);
    return (int64_t)ns;
}

int64_t clock_stamp_ns(void) {
    if (UNLIKELY(!stamp_counter_is_steady)) {
        return clock_realtime_ns();
    }
    uint32_t count = atomic_load_explicit(&stamp.count, memory_order_acquire);
    uint64_t old_ticks = atomic_load_explicit(&stamp.ticks, memory_order_relaxed);
    uint64_t old_ns = atomic_load_explicit(&stamp.ns, memory_order_relaxed);
    uint64_t scale = atomic_load_explicit(&stamp.scale, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (UNLIKELY((count & 1) != 0 ||
                 count != atomic_load_explicit(&stamp.count, memory_order_relaxed))) {
        return clock_realtime_ns();
    }
    uint64_t passed = __rdtsc() - old_ticks;
    if (UNLIKELY(passed > STAMP_TICKS_MAX)) {
        return stamp_calibrate();
    }
    if (UNLIKELY(scale == 0)) {
        return passed > STAMP_TICKS_MAX / 8 ? stamp_calibrate() : clock_realtime_ns();
    }
    return (int64_t)(old_ns + (passed * scale >> 32));
}

#else

int64_t clock_stamp_ns(void) {
    return clock_realtime_ns();
}

#endif
