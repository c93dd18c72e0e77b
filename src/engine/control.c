/* control: the verbs of other processes, answered by the owner of a store.
 *
 * Purpose: tape_control_serve and tape_control_call.
 * Format: one request and one reply per connection on the UNIX socket DIR/control.sock,
 * little-endian.
 *   request  u32 magic "tpcq", u32 version 1, u32 count of words, u32 bytes that follow; then the
 *            words, each ended by a NUL. Three descriptors come with the first byte.
 *   begin    u32 magic "tpcb", u32 0: the request is whole and runs from here on.
 *   reply    u32 magic "tpca", i32 exit status.
 * Invariants: (C1) a connection is only read from the same user or root (os_socket_accept); (C2)
 * every size of a request is checked against a limit before memory is taken for it; (C3) at most
 * CONTROL_REQUESTS_MAX handlers run at once, later requests wait in the socket's queue; (C4) no
 * handler runs once tape_close has gone past its hook: control_stop joins all threads; (C5) the
 * descriptors of a request are closed before its reply is sent.
 * Threads: one accepts; each request has one of its own. `lock` covers the slots' states.
 * Failure: a request that is malformed or slow ends its connection and nothing else. */
#include "engine/engine_internal.h"

#include <stdlib.h>

#define CONTROL_REQUEST_MAGIC 0x71637074u
#define CONTROL_BEGIN_MAGIC 0x62637074u
#define CONTROL_REPLY_MAGIC 0x61637074u
#define CONTROL_VERSION 1u
#define CONTROL_WORDS_MAX 4096u
#define CONTROL_BYTES_MAX (16u << 20)
#define CONTROL_REQUESTS_MAX 32
#define CONTROL_FILES 3
#define CONTROL_PEER_NS (5 * NS_PER_SECOND) /* for a peer to send its request or take its reply */

typedef struct control_request {
    uint32_t magic;
    uint32_t version;
    uint32_t words;
    uint32_t bytes;
} control_request;

typedef struct control_reply {
    uint32_t magic;
    int32_t exit_status;
} control_reply;

typedef enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_DONE } slot_state;

typedef struct control control;
typedef struct control_slot {
    control *owner;
    os_thread *thread;
    os_socket *socket;
    slot_state state;
} control_slot;

struct control {
    tape *db;
    tape_control_handler handler;
    void *context;
    os_listener *listener;
    os_thread *acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    control_slot slots[CONTROL_REQUESTS_MAX];
};

static char *socket_path(const char *dir) {
    return mem_printf("%s/control.sock", dir);
}

/* --- the owner's side --- */

static void close_files(const int *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        os_fd_close(files[i]);
    }
}

/* The header, and the descriptors that come with its first byte. */
static bool receive_header(os_socket *socket, int64_t deadline, control_request *request,
                           int files[OS_SOCKET_FILES_MAX], size_t *file_count) {
    size_t got = 0;
    *file_count = 0;
    if (os_socket_receive(socket, request, sizeof *request, &got, files, file_count, deadline,
                          NULL) != TAPE_OK ||
        got == 0) {
        return false;
    }
    if (got < sizeof *request &&
        os_socket_receive_exact(socket, (uint8_t *)request + got, sizeof *request - got, deadline,
                                NULL) != TAPE_OK) {
        return false;
    }
    return request->magic == CONTROL_REQUEST_MAGIC && request->version == CONTROL_VERSION &&
           request->words <= CONTROL_WORDS_MAX && request->bytes <= CONTROL_BYTES_MAX &&
           *file_count == CONTROL_FILES;
}

/* Points `argv` at the words in `bytes`; false when they are not `count` whole words. */
static bool split_words(char *bytes, size_t size, size_t count, char **argv) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        char *end = at < size ? memchr(bytes + at, '\0', size - at) : NULL;
        if (end == NULL) {
            return false;
        }
        argv[i] = bytes + at;
        at = (size_t)(end - bytes) + 1;
    }
    argv[count] = NULL;
    return at == size;
}

static bool send_reply(os_socket *socket, uint32_t magic, int exit_status) {
    const control_reply reply = {magic, exit_status};
    return os_socket_send(socket, &reply, sizeof reply, NULL, 0, clock_deadline_ns(CONTROL_PEER_NS),
                          NULL) == TAPE_OK;
}

static void answer(control *c, os_socket *socket) {
    int64_t deadline = clock_deadline_ns(CONTROL_PEER_NS);
    control_request request = {0};
    int files[OS_SOCKET_FILES_MAX];
    size_t file_count = 0;
    char *bytes = NULL;
    char **argv = NULL;
    if (!receive_header(socket, deadline, &request, files, &file_count)) {
        goto out;
    }
    bytes = mem_alloc(request.bytes);
    argv = mem_alloc((request.words + 1) * sizeof *argv);
    if ((request.bytes > 0 &&
         os_socket_receive_exact(socket, bytes, request.bytes, deadline, NULL) != TAPE_OK) ||
        !split_words(bytes, request.bytes, request.words, argv)) {
        goto out;
    }
    if (!send_reply(socket, CONTROL_BEGIN_MAGIC, 0)) {
        goto out;
    }
    int exit_status = c->handler(c->context, c->db, (int)request.words, argv, files);
    close_files(files, file_count);
    file_count = 0;
    if (!send_reply(socket, CONTROL_REPLY_MAGIC, exit_status)) {
        log_line(LOG_DEBUG, "control socket: whoever asked has gone without its answer");
    }
out:
    close_files(files, file_count);
    free(argv);
    free(bytes);
}

static void run_request(void *argument) {
    control_slot *slot = argument;
    control *c = slot->owner;
    answer(c, slot->socket);
    os_socket_close(&slot->socket);
    pthread_mutex_lock(&c->lock);
    slot->state = SLOT_DONE;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

/* Waits for a slot that no request uses; NULL when the store is closing. */
static control_slot *take_slot(control *c) {
    control_slot *found = NULL;
    pthread_mutex_lock(&c->lock);
    while (found == NULL && !c->stopping) {
        for (size_t i = 0; i < CONTROL_REQUESTS_MAX && found == NULL; i++) {
            found = c->slots[i].state == SLOT_RUNNING ? NULL : &c->slots[i];
        }
        if (found == NULL) {
            pthread_cond_wait(&c->changed, &c->lock);
        }
    }
    if (found != NULL) {
        found->state = SLOT_RUNNING;
    }
    pthread_mutex_unlock(&c->lock);
    if (found != NULL && found->thread != NULL) {
        os_thread_join(&found->thread);
    }
    return found;
}

static void leave_slot(control_slot *slot) {
    pthread_mutex_lock(&slot->owner->lock);
    slot->state = SLOT_FREE;
    pthread_mutex_unlock(&slot->owner->lock);
}

static void accept_requests(void *argument) {
    control *c = argument;
    control_slot *slot = NULL;
    while ((slot = take_slot(c)) != NULL) {
        tape_error error = {0};
        tape_status status = os_socket_accept(c->listener, INT64_MAX, &slot->socket, &error);
        if (status == TAPE_OK) {
            status = os_thread_start(&slot->thread, "tape-control", -1, run_request, slot, &error);
            if (status == TAPE_OK) {
                continue;
            }
            os_socket_close(&slot->socket);
        }
        leave_slot(slot);
        if (status == TAPE_CANCELLED) {
            return;
        }
        log_line(LOG_WARN, "control socket: %s", error.text);
        os_sleep_ns(NS_PER_SECOND / 10); /* out of descriptors or threads: let others finish */
    }
}

static void control_stop(void *context) {
    control *c = context;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    os_listener_wake(c->listener);
    os_thread_join(&c->acceptor);
    for (size_t i = 0; i < CONTROL_REQUESTS_MAX; i++) {
        if (c->slots[i].thread != NULL) {
            os_thread_join(&c->slots[i].thread);
        }
    }
    os_listener_close(&c->listener);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

tape_status tape_control_serve(tape *db, tape_control_handler handler, void *context,
                               tape_error *error) {
    ASSERT(db != NULL && handler != NULL);
    if (db->on_close != NULL) {
        return error_set(error, TAPE_EXISTS, "%s answers other processes already", db->dir);
    }
    char *path = socket_path(engine_dir(db));
    control *c = mem_zalloc(sizeof *c);
    c->db = db;
    c->handler = handler;
    c->context = context;
    for (size_t i = 0; i < CONTROL_REQUESTS_MAX; i++) {
        c->slots[i].owner = c;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    tape_status status = os_socket_listen(path, &c->listener, error);
    free(path);
    if (status == TAPE_OK) {
        status = os_thread_start(&c->acceptor, "tape-control", -1, accept_requests, c, error);
    }
    if (status != TAPE_OK) {
        os_listener_close(&c->listener);
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return status;
    }
    engine_on_close(db, control_stop, c);
    return TAPE_OK;
}

/* --- the asking side --- */

static tape_status build_request(int argc, char *const *argv, buffer *out, tape_error *error) {
    control_request request = {CONTROL_REQUEST_MAGIC, CONTROL_VERSION, (uint32_t)argc, 0};
    if (argc < 0 || (uint32_t)argc > CONTROL_WORDS_MAX) {
        return error_set(error, TAPE_TOO_LARGE, "a request of %d words: at most %u are taken", argc,
                         CONTROL_WORDS_MAX);
    }
    buffer_append(out, &request, sizeof request);
    for (int i = 0; i < argc; i++) {
        size_t size = strlen(argv[i]) + 1;
        if (size > CONTROL_BYTES_MAX - (out->size - sizeof request)) {
            return error_set(error, TAPE_TOO_LARGE, "a request of more than %u bytes",
                             CONTROL_BYTES_MAX);
        }
        buffer_append(out, argv[i], size);
    }
    request.bytes = (uint32_t)(out->size - sizeof request);
    memcpy(out->data, &request, sizeof request);
    return TAPE_OK;
}

static bool receive_reply(os_socket *socket, uint32_t magic, control_reply *out) {
    return os_socket_receive_exact(socket, out, sizeof *out, INT64_MAX, NULL) == TAPE_OK &&
           out->magic == magic;
}

tape_status tape_control_call(const char *dir, int argc, char *const *argv, const int fds[3],
                              int *exit_status, tape_error *error) {
    char *path = socket_path(dir);
    os_socket *socket = NULL;
    buffer request = {0};
    control_reply reply = {0};
    int64_t deadline = clock_deadline_ns(CONTROL_PEER_NS);
    tape_status status = build_request(argc, argv, &request, error);
    if (status != TAPE_OK) {
        goto out;
    }
    status = os_socket_connect(path, deadline, &socket, error);
    if (status != TAPE_OK) {
        goto out;
    }
    /* The owner may be busy with as many requests as it takes: no deadline from here. One that
     * closes drops what it has not begun. */
    if (os_socket_send(socket, request.data, request.size, fds, CONTROL_FILES, INT64_MAX, error) !=
            TAPE_OK ||
        !receive_reply(socket, CONTROL_BEGIN_MAGIC, &reply)) {
        status = error_set(error, TAPE_NOT_FOUND,
                           "the process that owns %s ended before it took the request", dir);
        goto out;
    }
    if (!receive_reply(socket, CONTROL_REPLY_MAGIC, &reply)) {
        status = error_set(error, TAPE_IO,
                           "the process that owns %s ended before it answered: run the command "
                           "again",
                           dir);
        goto out;
    }
    *exit_status = reply.exit_status;
out:
    os_socket_close(&socket);
    buffer_deinit(&request);
    free(path);
    return status;
}
