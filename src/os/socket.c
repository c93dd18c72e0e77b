/* Purpose: local sockets, with file descriptors passed along: the control socket of a store.
 *
 * Invariants
 * S1. A socket's address holds only 108 bytes, so the directory is opened first and the socket
 * bound and reached as /proc/self/fd/N/NAME: a path may be of any length, its last part may not.
 * S2. The socket file is made for its owner only, and whoever connects is asked for his user
 * besides: the same as ours, or root. S3. No call waits in the kernel but in poll, which ends at
 * the deadline. S4. A descriptor that was received and not handed out is closed.
 *
 * Threads: one sender and one receiver at a time; os_socket_shutdown and os_listener_wake from any.
 */
#include "os/os_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 64
#define CONNECT_RETRY_NS (NS_PER_SECOND / 1000)

struct os_listener {
    int fd;
    int wake_fd;
    int dir_fd;
    char *path;
    const char *name; /* last part of path */
    dev_t device;
    ino_t inode;
};

struct os_socket {
    int fd;
    char *path;
};

/* --- addresses --- */

/* Opens the directory of `path` and fills the address that leads through it (S1). */
static tape_status address_fill(const char *path, struct sockaddr_un *address, int *dir_fd,
                                tape_error *error) {
    char *parent = os_path_parent(path);
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    tape_status status = TAPE_OK;
    int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        status = os_fail(error, errno, path, TAPE_NO_OFFSET, "reach socket");
        goto out;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int size =
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", fd, name);
    if (name[0] == '\0' || size < 0 || (size_t)size >= sizeof address->sun_path) {
        (void)close(fd);
        status = error_set_file(error, TAPE_INVALID, path, TAPE_NO_OFFSET,
                                "cannot use %s as a socket: the last part of the path is %s", path,
                                name[0] == '\0' ? "empty" : "too long");
        goto out;
    }
    *dir_fd = fd;
out:
    free(parent);
    return status;
}

/* The time poll may take; rounded up, so that a deadline is never missed by spinning. */
static int poll_timeout_ms(int64_t deadline_ns) {
    if (deadline_ns == INT64_MAX) {
        return -1;
    }
    int64_t left = deadline_ns - clock_monotonic_ns();
    if (left <= 0) {
        return 0;
    }
    int64_t ms = left / 1000000 + 1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Waits for `events` on fds[0..count). Returns the number ready; 0 once the deadline has passed. */
static int poll_until(struct pollfd *fds, nfds_t count, int64_t deadline_ns) {
    for (;;) {
        int ready = poll(fds, count, poll_timeout_ms(deadline_ns));
        ASSERT(ready >= 0 || errno == EINTR || errno == ENOMEM);
        if (ready > 0) {
            return ready;
        }
        if (deadline_ns != INT64_MAX && clock_monotonic_ns() >= deadline_ns) {
            return 0;
        }
    }
}

static tape_status timed_out(tape_error *error, const char *path, const char *doing) {
    return error_set_file(error, TAPE_TIMEOUT, path, TAPE_NO_OFFSET,
                          "the deadline passed while waiting to %s %s", doing, path);
}

static tape_status peer_left(tape_error *error, const char *path) {
    return error_set_file(error, TAPE_NOT_FOUND, path, TAPE_NO_OFFSET,
                          "the other side of %s has closed the connection", path);
}

/* --- listening --- */

/* Makes way for the socket file: removes one left by a dead process, nothing else. */
static tape_status listen_clear(const os_listener *l, tape_error *error) {
    struct stat stat;
    if (fstatat(l->dir_fd, l->name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? TAPE_OK
                               : os_fail(error, errno, l->path, TAPE_NO_OFFSET, "replace socket");
    }
    if (!S_ISSOCK(stat.st_mode)) {
        return error_set_file(error, TAPE_EXISTS, l->path, TAPE_NO_OFFSET,
                              "cannot make socket %s: a file of that name is there already",
                              l->path);
    }
    if (unlinkat(l->dir_fd, l->name, 0) != 0 && errno != ENOENT) {
        return os_fail(error, errno, l->path, TAPE_NO_OFFSET, "replace socket");
    }
    return TAPE_OK;
}

static tape_status listen_bind(os_listener *l, const struct sockaddr_un *address,
                               tape_error *error) {
    struct stat stat;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* The file that bind makes takes its mode from the socket (S2). */
    if (l->fd < 0 || l->wake_fd < 0 || fchmod(l->fd, 0600) != 0 ||
        bind(l->fd, (const struct sockaddr *)address, sizeof *address) != 0 ||
        fstatat(l->dir_fd, l->name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
        return os_fail(error, errno, l->path, TAPE_NO_OFFSET, "make socket");
    }
    l->device = stat.st_dev;
    l->inode = stat.st_ino;
    if (listen(l->fd, BACKLOG) != 0) {
        return os_fail(error, errno, l->path, TAPE_NO_OFFSET, "listen at");
    }
    return TAPE_OK;
}

tape_status os_socket_listen(const char *path, os_listener **out, tape_error *error) {
    struct sockaddr_un address;
    *out = NULL;
    os_listener *l = mem_zalloc(sizeof *l);
    l->fd = l->wake_fd = l->dir_fd = -1;
    l->path = mem_strdup(path);
    const char *slash = strrchr(l->path, '/');
    l->name = slash == NULL ? l->path : slash + 1;
    tape_status status = address_fill(path, &address, &l->dir_fd, error);
    if (status == TAPE_OK) {
        status = listen_clear(l, error);
    }
    if (status == TAPE_OK) {
        status = listen_bind(l, &address, error);
    }
    if (status != TAPE_OK) {
        os_listener_close(&l);
        return status;
    }
    *out = l;
    return TAPE_OK;
}

static os_socket *socket_make(int fd, const char *path) {
    os_socket *s = mem_zalloc(sizeof *s);
    s->fd = fd;
    s->path = mem_strdup(path);
    return s;
}

static bool peer_is_welcome(const os_listener *l, int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return false;
    }
    if (peer.uid == 0 || peer.uid == geteuid()) {
        return true;
    }
    log_line(LOG_WARN, "refused a connection to %s by user %lu, process %ld", l->path,
             (unsigned long)peer.uid, (long)peer.pid);
    return false;
}

tape_status os_socket_accept(os_listener *l, int64_t deadline_ns, os_socket **out,
                             tape_error *error) {
    *out = NULL;
    for (;;) {
        struct pollfd fds[2] = {{l->wake_fd, POLLIN, 0}, {l->fd, POLLIN, 0}};
        if (poll_until(fds, 2, deadline_ns) == 0) {
            return timed_out(error, l->path, "accept a connection at");
        }
        if (fds[0].revents != 0) {
            return error_set_file(error, TAPE_CANCELLED, l->path, TAPE_NO_OFFSET,
                                  "no more connections are accepted at %s", l->path);
        }
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0 && peer_is_welcome(l, fd)) {
            *out = socket_make(fd, l->path);
            return TAPE_OK;
        }
        if (fd >= 0) {
            (void)close(fd);
        } else if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED) {
            return os_fail(error, errno, l->path, TAPE_NO_OFFSET, "accept a connection at");
        }
    }
}

void os_listener_wake(os_listener *l) {
    const uint64_t one = 1;
    int saved = errno; /* signal handlers must leave it alone */
    ssize_t moved = write(l->wake_fd, &one, sizeof one);
    (void)moved; /* EAGAIN: it is awake */
    errno = saved;
}

void os_listener_close(os_listener **listener) {
    if (listener == NULL || *listener == NULL) {
        return;
    }
    os_listener *l = *listener;
    *listener = NULL;
    struct stat stat;
    /* The file may be another listener's by now. */
    if (l->inode != 0 && fstatat(l->dir_fd, l->name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
        stat.st_ino == l->inode && stat.st_dev == l->device) {
        (void)unlinkat(l->dir_fd, l->name, 0);
    }
    const int fds[] = {l->fd, l->wake_fd, l->dir_fd};
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    free(l->path);
    free(l);
}

/* --- connecting --- */

tape_status os_socket_connect(const char *path, int64_t deadline_ns, os_socket **out,
                              tape_error *error) {
    struct sockaddr_un address;
    int dir_fd = -1;
    *out = NULL;
    tape_status status = address_fill(path, &address, &dir_fd, error);
    if (status != TAPE_OK) {
        return status;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        status = os_fail(error, errno, path, TAPE_NO_OFFSET, "connect to");
        goto out;
    }
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        if (errno == EAGAIN) { /* more callers are waiting than the listener's queue holds */
            if (clock_monotonic_ns() >= deadline_ns) {
                status = timed_out(error, path, "connect to");
                goto out;
            }
            os_sleep_ns(CONNECT_RETRY_NS);
        } else if (errno == ECONNREFUSED) {
            status = error_set_file(error, TAPE_NOT_FOUND, path, TAPE_NO_OFFSET,
                                    "nobody listens at %s: the process that did has ended", path);
            goto out;
        } else if (errno != EINTR) {
            status = os_fail(error, errno, path, TAPE_NO_OFFSET, "connect to");
            goto out;
        }
    }
    *out = socket_make(fd, path);
    fd = -1;
out:
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)close(dir_fd);
    return status;
}

/* --- bytes and descriptors --- */

typedef union file_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * OS_SOCKET_FILES_MAX)];
} file_control;

static void attach_files(struct msghdr *message, file_control *control, const int *files,
                         size_t count) {
    *control = (file_control){0};
    message->msg_control = control->bytes;
    message->msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), files, sizeof(int) * count);
}

tape_status os_socket_send(os_socket *s, const void *data, size_t size, const int *files,
                           size_t file_count, int64_t deadline_ns, tape_error *error) {
    ASSERT(file_count <= OS_SOCKET_FILES_MAX && (file_count == 0 || size > 0));
    const uint8_t *from = data;
    size_t done = 0;
    while (done < size) {
        struct iovec part = {(void *)(uintptr_t)(from + done), size - done};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        file_control control;
        if (done == 0 && file_count > 0) {
            attach_files(&message, &control, files, file_count);
        }
        ssize_t moved = sendmsg(s->fd, &message, MSG_NOSIGNAL);
        if (moved >= 0) {
            done += (size_t)moved;
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET) {
            return peer_left(error, s->path);
        }
        if (errno != EAGAIN && errno != EINTR) {
            return os_fail(error, errno, s->path, TAPE_NO_OFFSET, "send to");
        }
        struct pollfd fd = {s->fd, POLLOUT, 0};
        if (poll_until(&fd, 1, deadline_ns) == 0) {
            return timed_out(error, s->path, "send to");
        }
    }
    return TAPE_OK;
}

/* Hands out the descriptors of a message, or closes them where there is no room (S4). */
static void take_files(struct msghdr *message, int *files, size_t *file_count) {
    size_t count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t sent = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < sent; i++) {
            int fd = 0;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (files != NULL && count < OS_SOCKET_FILES_MAX) {
                files[count++] = fd;
            } else {
                (void)close(fd);
            }
        }
    }
    if (file_count != NULL) {
        *file_count = count;
    }
}

tape_status os_socket_receive(os_socket *s, void *data, size_t size, size_t *got, int *files,
                              size_t *file_count, int64_t deadline_ns, tape_error *error) {
    ASSERT((files == NULL) == (file_count == NULL) && size > 0);
    *got = 0;
    if (file_count != NULL) {
        *file_count = 0;
    }
    for (;;) {
        struct iovec part = {data, size};
        file_control control = {0};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        ssize_t moved = recvmsg(s->fd, &message, MSG_CMSG_CLOEXEC);
        if (moved >= 0) {
            take_files(&message, files, file_count);
            *got = (size_t)moved;
            return TAPE_OK;
        }
        if (errno == ECONNRESET) {
            return TAPE_OK; /* closed with our bytes unread: an end like any other */
        }
        if (errno != EAGAIN && errno != EINTR) {
            return os_fail(error, errno, s->path, TAPE_NO_OFFSET, "receive from");
        }
        struct pollfd fd = {s->fd, POLLIN, 0};
        if (poll_until(&fd, 1, deadline_ns) == 0) {
            return timed_out(error, s->path, "receive from");
        }
    }
}

tape_status os_socket_receive_exact(os_socket *s, void *data, size_t size, int64_t deadline_ns,
                                    tape_error *error) {
    uint8_t *to = data;
    size_t done = 0;
    while (done < size) {
        size_t got = 0;
        tape_status status =
            os_socket_receive(s, to + done, size - done, &got, NULL, NULL, deadline_ns, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (got == 0) {
            return error_set_file(error, TAPE_IO, s->path, TAPE_NO_OFFSET,
                                  "the other side of %s closed the connection after %zu of %zu "
                                  "bytes",
                                  s->path, done, size);
        }
        done += got;
    }
    return TAPE_OK;
}

bool os_socket_peer_gone(os_socket *s) {
    struct pollfd fd = {s->fd, POLLRDHUP, 0};
    int ready = 0;
    do {
        ready = poll(&fd, 1, 0);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void os_socket_shutdown(os_socket *s) {
    (void)shutdown(s->fd, SHUT_RDWR); /* ENOTCONN: the peer did it first */
}

void os_socket_close(os_socket **s) {
    if (s == NULL || *s == NULL) {
        return;
    }
    (void)close((*s)->fd);
    free((*s)->path);
    free(*s);
    *s = NULL;
}

/* --- descriptors that came from elsewhere --- */

/* Writes what fits now and returns like write(2). No more than a pipe that poll calls writable is
 * sure to take, so it does not wait. */
static ssize_t write_some(int fd, const uint8_t *data, size_t size) {
    ssize_t moved = 0;
    do {
        moved = write(fd, data, size < PIPE_BUF ? size : PIPE_BUF);
    } while (moved < 0 && errno == EINTR);
    return moved;
}

static tape_status write_until(int fd, const uint8_t *data, size_t size, size_t *written,
                               int64_t deadline_ns, tape_error *error) {
    while (*written < size) {
        struct pollfd wait = {fd, POLLOUT, 0};
        if (poll_until(&wait, 1, deadline_ns) == 0) {
            return timed_out(error, "the output", "write to");
        }
        ssize_t moved = write_some(fd, data + *written, size - *written);
        if (moved > 0) {
            *written += (size_t)moved;
        } else if (moved < 0 && errno == EPIPE) {
            return error_set(error, TAPE_NOT_FOUND, "the reader of the output has closed it");
        } else if (moved == 0 || errno != EAGAIN) {
            return os_fail(error, moved < 0 ? errno : EIO, "the output", TAPE_NO_OFFSET, "write");
        }
    }
    return TAPE_OK;
}

/* A closed pipe must be an error to the caller, not a signal to the whole process: the signal is
 * held back meanwhile and taken away, unless it was pending before. */
tape_status os_fd_write(int fd, const void *data, size_t size, size_t *written, int64_t deadline_ns,
                        tape_error *error) {
    const struct timespec now = {0};
    sigset_t pipe_signal;
    sigset_t pending;
    sigset_t old;
    size_t ignored = 0;
    written = written == NULL ? &ignored : written;
    *written = 0;
    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
    (void)sigpending(&pending);
    tape_status status = write_until(fd, data, size, written, deadline_ns, error);
    if (status == TAPE_NOT_FOUND && sigismember(&pending, SIGPIPE) == 0) {
        while (sigtimedwait(&pipe_signal, NULL, &now) < 0 && errno == EINTR) {
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return status;
}

void os_fd_close(int fd) {
    (void)close(fd);
}
