/* tape/error.h: status codes and errors, shared by tape.h and reader.h.
 *
 * Every call that can fail returns a tape_status and fills a tape_error that the caller owns and
 * may leave out (NULL). Nothing is thread-local and nothing is allocated when a call fails.
 */
#ifndef TAPE_ERROR_H
#define TAPE_ERROR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TAPE_API __attribute__((visibility("default")))
#define TAPE_CHECKED __attribute__((warn_unused_result))
#else
#define TAPE_API
#define TAPE_CHECKED
#endif

/* The one table of outcomes: name, number, class, what it means.
 * Class: DONE; RETRY (the same call may succeed later); CALLER (the call must change); SYSTEM (the
 * machine must change: space, rights, memory); FATAL (the store must be reopened or repaired). */
#define TAPE_STATUS_TABLE(X)                                                                       \
    X(OK, 0, DONE, "done")                                                                         \
    X(BUSY, 1, RETRY, "the live window is full: the disk is slower than the producers")            \
    X(TIMEOUT, 2, RETRY, "the deadline passed first")                                              \
    X(LOCKED, 3, RETRY, "another process owns the store")                                          \
    X(INVALID, 10, CALLER, "an argument or a field has a value that is not allowed")               \
    X(USAGE, 11, CALLER, "the command line is wrong")                                              \
    X(EXISTS, 12, CALLER, "it is there already")                                                   \
    X(NOT_FOUND, 13, CALLER, "it is not there")                                                    \
    X(TOO_LARGE, 14, CALLER, "it is larger than the limit")                                        \
    X(FORBIDDEN, 15, CALLER, "it is not permitted")                                                \
    X(SQL, 16, CALLER, "the statement is wrong")                                                   \
    X(NO_STORE, 17, CALLER, "there is no tape store at that place")                                \
    X(TOO_OLD, 18, CALLER, "that sequence number is no longer kept")                               \
    X(CANCELLED, 19, CALLER, "the call was cancelled")                                             \
    X(IO, 30, SYSTEM, "the operating system reported an input/output error")                       \
    X(NO_SPACE, 31, SYSTEM, "the disk is full")                                                    \
    X(NO_MEMORY, 32, SYSTEM, "a memory limit was reached")                                         \
    X(ACCESS, 33, SYSTEM, "the operating system denied access")                                    \
    X(CORRUPT, 50, FATAL, "stored bytes are damaged")                                              \
    X(NEWER, 51, FATAL, "written by a newer version of tape")                                      \
    X(FAILED, 52, FATAL, "stopped after a failed write or sync; reopen the store")                 \
    X(LOST, 53, FATAL, "records were removed before this reader took them")

typedef enum tape_status {
#define TAPE_STATUS_ENUM(name, number, class, text) TAPE_##name = number,
    TAPE_STATUS_TABLE(TAPE_STATUS_ENUM)
#undef TAPE_STATUS_ENUM
} tape_status;

#define TAPE_NO_OFFSET UINT64_MAX

/* What went wrong, made where it went wrong. `text` is one line without a newline: what happened,
 * where, and what to do. `file` is empty and `offset` TAPE_NO_OFFSET where no file is involved. */
typedef struct tape_error {
    tape_status status;
    int32_t os_errno; /* errno of the failed system call, or 0 */
    uint64_t offset;  /* byte offset in `file` */
    char file[256];
    char text[744];
} tape_error;

/* The code's name ("LOCKED") and its one-line meaning. Never NULL. */
TAPE_API const char *tape_status_name(tape_status status);
TAPE_API const char *tape_status_text(tape_status status);

#ifdef __cplusplus
}
#endif
#endif
