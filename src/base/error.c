/* Errors: texts are made where the failure happens, in memory the caller owns. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>

const char *tape_status_name(tape_status status) {
    switch (status) {
#define STATUS_NAME(name, number, class, text)                                                     \
    case TAPE_##name:                                                                              \
        return #name;
        TAPE_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
    }
    return "UNKNOWN";
}

const char *tape_status_text(tape_status status) {
    switch (status) {
#define STATUS_TEXT(name, number, class, text)                                                     \
    case TAPE_##name:                                                                              \
        return text;
        TAPE_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "an unknown status code";
}

/* An error is one line: control characters (a name with a newline in it) become blanks. */
static void error_make_one_line(char *text) {
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ') {
            *text = ' ';
        }
    }
}

static void error_fill(tape_error *error, tape_status status, const char *file, uint64_t offset,
                       const char *format, va_list arguments) {
    error->status = status;
    error->os_errno = 0;
    error->offset = offset;
    error->file[0] = '\0';
    if (file != NULL) {
        (void)snprintf(error->file, sizeof error->file, "%s", file);
    }
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    error_make_one_line(error->text);
}

tape_status error_set(tape_error *error, tape_status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error_fill(error, status, NULL, TAPE_NO_OFFSET, format, arguments);
        va_end(arguments);
    }
    return status;
}

tape_status error_set_file(tape_error *error, tape_status status, const char *file, uint64_t offset,
                           const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error_fill(error, status, file, offset, format, arguments);
        va_end(arguments);
    }
    return status;
}

static tape_status status_of_errno(int os_errno) {
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
        return TAPE_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return TAPE_ACCESS;
    case ENOENT:
        return TAPE_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return TAPE_EXISTS;
    case ENOMEM:
        return TAPE_NO_MEMORY;
    case EINVAL:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
        return TAPE_INVALID;
    default:
        return TAPE_IO;
    }
}

tape_status error_set_errno(tape_error *error, int os_errno, const char *file, const char *doing) {
    tape_status status = status_of_errno(os_errno);
    char reason[128];
    const char *text = strerror_r(os_errno, reason, sizeof reason);
    (void)error_set_file(error, status, file, TAPE_NO_OFFSET, "cannot %s %s: %s", doing, file,
                         text);
    if (error != NULL) {
        error->os_errno = os_errno;
    }
    return status;
}

void error_prefix(tape_error *error, const char *format, ...) {
    if (error == NULL) {
        return;
    }
    char prefix[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    char text[sizeof error->text];
    memcpy(text, error->text, sizeof text);
    size_t used = (size_t)snprintf(error->text, sizeof error->text, "%s: ", prefix);
    size_t room = sizeof error->text - used;
    size_t length = strnlen(text, room - 1);
    memcpy(error->text + used, text, length);
    error->text[used + length] = '\0';
    error_make_one_line(error->text);
}
