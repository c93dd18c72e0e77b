/* base: what every module stands on. No I/O but the log's line on stderr.
 *
 * Errors, assertions, checksums, clocks, arenas, the log. See README.md. */
#ifndef BASE_H
#define BASE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tape/error.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tape's formats are little-endian and read in place"
#endif

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define NS_PER_SECOND INT64_C(1000000000)
#define CACHE_LINE_BYTES 64
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define ALIGN_UP(n, to) (((n) + ((to)-1)) & ~(uint64_t)((to)-1))
#define ALIGN_DOWN(n, to) ((n) & ~(uint64_t)((to)-1))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))

/* --- assertions: always on, O(1); a programmer's error ends the process --- */
_Noreturn void assert_failed(const char *condition, const char *file, int line);
#define ASSERT(c) (LIKELY(c) ? (void)0 : assert_failed(#c, __FILE__, __LINE__))

/* --- errors: fill `error` (nullable) and return `status`, so that callers write
 *     `return error_set(error, TAPE_INVALID, "...", ...)` --- */
tape_status error_set(tape_error *error, tape_status status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The same with the file and byte offset (or TAPE_NO_OFFSET) it is about. */
tape_status error_set_file(tape_error *error, tape_status status, const char *file, uint64_t offset,
                           const char *format, ...) PRINTF_LIKE(5, 6);
/* For a failed system call: the status follows from errno (ENOSPC, EDQUOT: NO_SPACE; EACCES, EPERM,
 * EROFS: ACCESS; ENOENT: NOT_FOUND; EEXIST: EXISTS; ENOMEM: NO_MEMORY; else IO). `doing` is a verb
 * phrase ("open", "sync"); the text says doing, file and strerror. */
tape_status error_set_errno(tape_error *error, int os_errno, const char *file, const char *doing);
/* Put "prefix: " before the text already there. */
void error_prefix(tape_error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* --- a run of bytes that somebody else owns --- */
typedef struct slice {
    const uint8_t *data;
    size_t size;
} slice;

/* memcmp order, shorter first where one is a prefix of the other. */
int slice_compare(slice a, slice b);

/* --- little-endian words at any address --- */
static inline uint64_t load_u64(const void *from) {
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return v;
}
static inline uint32_t load_u32(const void *from) {
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return v;
}
static inline void store_u64(void *to, uint64_t v) {
    memcpy(to, &v, sizeof v);
}
static inline void store_u32(void *to, uint32_t v) {
    memcpy(to, &v, sizeof v);
}

/* --- checksums ---
 * CRC-32C (Castagnoli), hardware where there is one. `crc` is a running value: start with 0;
 * feeding a buffer in pieces gives the same result as at once. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
/* By tables, for processors without the instruction; the same results. */
uint32_t crc32c_software(uint32_t crc, const void *data, size_t size);

#if defined(__SSE4_2__)
#define CRC32C_WORD(crc, word) ((uint32_t)__builtin_ia32_crc32di((crc), (word)))
#define CRC32C_BYTE(crc, byte) ((uint32_t)__builtin_ia32_crc32qi((crc), (byte)))
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define CRC32C_WORD(crc, word) __crc32cd((crc), (word))
#define CRC32C_BYTE(crc, byte) __crc32cb((crc), (byte))
#endif

/* The state between words, for chains of them: start with CRC32C_START, end with crc32c_end. */
#define CRC32C_START UINT32_MAX
static inline uint32_t crc32c_step(uint32_t state, uint64_t word) {
#if defined(CRC32C_WORD)
    return CRC32C_WORD(state, word);
#else
    return ~crc32c_software(~state, &word, sizeof word);
#endif
}
static inline uint32_t crc32c_end(uint32_t state) {
    return ~state;
}

/* --- clocks, in ns --- */
int64_t clock_realtime_ns(void);  /* Unix time, UTC */
int64_t clock_stamp_ns(void);     /* the same, cheaper, within microseconds of it; may go back */
int64_t clock_monotonic_ns(void); /* for deadlines and durations */
int64_t clock_thread_ns(void);    /* time the calling thread has run on a processor */
/* The deadline `timeout_ns` from now; negative means never (INT64_MAX). */
int64_t clock_deadline_ns(int64_t timeout_ns);

/* --- arena: bump allocation, freed all at once. One thread at a time allocates. --- */
typedef struct arena_block arena_block;
typedef struct arena {
    arena_block *head;
    size_t block_bytes;
    size_t used_bytes;     /* handed out */
    size_t reserved_bytes; /* taken from the system */
} arena;
void arena_init(arena *a, size_t block_bytes);
/* `align` is a power of two up to 64. NULL when memory is exhausted. */
void *arena_alloc(arena *a, size_t size, size_t align);
void arena_deinit(arena *a);

/* --- memory that is not expected to run out: ends the process with a message if it does --- */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *old, size_t size);
char *mem_strdup(const char *text);
char *mem_printf(const char *format, ...) PRINTF_LIKE(1, 2); /* caller frees */

/* --- a growing byte buffer --- */
typedef struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
} buffer;
void buffer_reserve(buffer *b, size_t more);
void buffer_append(buffer *b, const void *data, size_t size);
void buffer_append_text(buffer *b, const char *text);
void buffer_printf(buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buffer_deinit(buffer *b);

/* --- numbers as decimal text, whatever the program's locale --- */
/* The shortest decimal that reads back exactly, with a NUL; returns the length. Valid JSON but for
 * nan, inf and -inf; zero with a sign is -0.0. */
size_t number_format_f64(double value, char out[32]);
/* Without a NUL; returns the length, at most 20. */
size_t number_format_u64(uint64_t value, char *out);
/* Reads all of `text`: sign, digits, point, exponent; also nan and inf with a sign, in any case.
 * False when it is not a number, or is beyond the range of a double. */
bool number_parse_f64(const char *text, size_t size, double *out);
/* Reads digits only, all of `text`. */
bool number_parse_u64(const char *text, size_t size, uint64_t *out);

/* --- log: one line per event on stderr, or to the sink an embedding program sets --- */
typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } log_level;
typedef void (*log_sink)(void *context, log_level level, const char *line);
void log_set(log_level least, log_sink sink, void *context); /* sink NULL: stderr */
void log_line(log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

static inline void cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
