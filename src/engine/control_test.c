/* Requests of other processes on the control socket: answered, refused, and outlived. */
#include "engine/engine_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct fixture {
    char root[64];
    char dir[96];
    char socket[128];
    tape *db;
    _Atomic int running;
    _Atomic int most;
    _Atomic int answered;
    _Atomic bool hold; /* handlers wait until it is false */
} fixture;

/* Writes its words, one a line, to the second descriptor. */
static int handler(void *context, tape *db, int argc, char **argv, const int fds[3]) {
    fixture *f = context;
    assert_ptr_equal(db, f->db);
    assert_null(argv[argc]);
    int now = atomic_fetch_add(&f->running, 1) + 1;
    for (int most = atomic_load(&f->most);
         now > most && !atomic_compare_exchange_weak(&f->most, &most, now);) {
    }
    while (atomic_load(&f->hold)) {
        os_sleep_ns(NS_PER_SECOND / 1000);
    }
    for (int i = 0; i < argc; i++) {
        dprintf(fds[1], "%s\n", argv[i]);
    }
    dprintf(fds[2], "%d words", argc);
    atomic_fetch_sub(&f->running, 1);
    atomic_fetch_add(&f->answered, 1);
    return argc;
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    tape_error error;
    assert_non_null(f);
    (void)snprintf(f->root, sizeof f->root, "/tmp/tape-control-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->dir, sizeof f->dir, "%s/db", f->root);
    (void)snprintf(f->socket, sizeof f->socket, "%s/control.sock", f->dir);
    tape_create_options create;
    tape_create_options_init(&create);
    create.segment_bytes = MIB(4);
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(8);
    if (tape_create(f->dir, &create, &error) != TAPE_OK ||
        tape_open(f->dir, &options, &f->db, &error) != TAPE_OK ||
        tape_control_serve(f->db, handler, f, &error) != TAPE_OK) {
        print_error("%s\n", error.text);
        return -1;
    }
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tape_status status = tape_close(&f->db, NULL);
    char *command = mem_printf("rm -rf %s", f->root);
    int removed = system(command);
    free(command);
    free(f);
    return status == TAPE_OK && removed == 0 ? 0 : -1;
}

/* Asks with pipes; `out` gets what the handler wrote to stdout. */
static tape_status ask(const fixture *f, int argc, char **argv, int *exit_status, char out[256],
                       tape_error *error) {
    int ends[2];
    int null = open("/dev/null", O_RDWR);
    assert_true(null >= 0 && pipe(ends) == 0);
    const int fds[3] = {null, ends[1], null};
    tape_status status = tape_control_call(f->dir, argc, argv, fds, exit_status, error);
    (void)close(ends[1]);
    (void)close(null);
    ssize_t got = read(ends[0], out, 255);
    out[got < 0 ? 0 : got] = '\0';
    (void)close(ends[0]);
    return status;
}

static void the_owner_gets_words_and_descriptors(void **state) {
    fixture *f = *state;
    char *argv[] = {"get", "", "two words", "\xc3\xa9"};
    char out[256];
    int exit_status = -1;
    tape_error error = {0};
    assert_int_equal(ask(f, 4, argv, &exit_status, out, &error), TAPE_OK);
    assert_int_equal(exit_status, 4);
    assert_string_equal(out, "get\n\ntwo words\n\xc3\xa9\n");
    assert_int_equal(ask(f, 0, argv, &exit_status, out, &error), TAPE_OK);
    assert_int_equal(exit_status, 0);
    assert_string_equal(out, "");
}

static void nobody_answers_where_no_owner_is(void **state) {
    fixture *f = *state;
    char *argv[] = {"get"};
    char out[256];
    int exit_status = -1;
    tape_error error = {0};
    assert_int_equal(tape_close(&f->db, &error), TAPE_OK);
    assert_int_equal(access(f->socket, F_OK), -1);
    assert_int_equal(ask(f, 1, argv, &exit_status, out, &error), TAPE_NOT_FOUND);
    assert_int_equal(exit_status, -1);
}

static void a_store_answers_by_one_handler(void **state) {
    fixture *f = *state;
    tape_error error = {0};
    assert_int_equal(tape_control_serve(f->db, handler, f, &error), TAPE_EXISTS);
    assert_non_null(strstr(error.text, f->dir));
}

static void a_request_that_is_too_large_is_not_sent(void **state) {
    fixture *f = *state;
    size_t size = 17u << 20;
    char *large = mem_alloc(size);
    memset(large, 'x', size - 1);
    large[size - 1] = '\0';
    char *argv[] = {large};
    char out[256];
    int exit_status = -1;
    tape_error error = {0};
    assert_int_equal(ask(f, 1, argv, &exit_status, out, &error), TAPE_TOO_LARGE);
    assert_int_equal(atomic_load(&f->answered), 0);
    free(large);
}

/* Sends bytes as they are, with or without descriptors, and expects the connection to end. */
static void send_raw(fixture *f, const void *bytes, size_t size, size_t files) {
    os_socket *socket = NULL;
    tape_error error = {0};
    uint8_t byte;
    size_t got = 1;
    int null = open("/dev/null", O_RDWR);
    const int fds[3] = {null, null, null};
    int64_t deadline = clock_deadline_ns(10 * NS_PER_SECOND);
    assert_int_equal(os_socket_connect(f->socket, deadline, &socket, &error), TAPE_OK);
    tape_status sent = os_socket_send(socket, bytes, size, fds, files, deadline, &error);
    if (sent == TAPE_OK) {
        tape_status status =
            os_socket_receive(socket, &byte, 1, &got, NULL, NULL, deadline, &error);
        assert_true(status != TAPE_OK || got == 0);
        assert_int_not_equal(status, TAPE_TIMEOUT);
    }
    os_socket_close(&socket);
    (void)close(null);
}

static void a_malformed_request_ends_its_connection_and_nothing_else(void **state) {
    fixture *f = *state;
    typedef struct raw {
        uint32_t magic, version, words, bytes;
        char text[8];
    } raw;
    const raw good = {0x71637074u, 1, 2, 4, "a\0b"};
    raw bad = good;
    bad.magic ^= 1;
    send_raw(f, &bad, 20, 3);
    bad = good;
    bad.version = 2;
    send_raw(f, &bad, 20, 3);
    bad = good;
    bad.words = 3; /* more than there are */
    send_raw(f, &bad, 20, 3);
    bad = good;
    bad.words = 1; /* fewer */
    send_raw(f, &bad, 20, 3);
    bad = good;
    bad.words = UINT32_MAX;
    send_raw(f, &bad, 20, 3);
    bad = good;
    bad.bytes = UINT32_MAX;
    send_raw(f, &bad, 20, 3);
    bad = good;
    bad.text[3] = 'c'; /* the last word has no end */
    send_raw(f, &bad, 20, 3);
    send_raw(f, &good, 20, 2);
    send_raw(f, &good, 20, 0);
    assert_int_equal(atomic_load(&f->answered), 0);
    the_owner_gets_words_and_descriptors(state);
}

static void a_peer_that_goes_leaves_the_owner_as_it_was(void **state) {
    fixture *f = *state;
    os_socket *socket = NULL;
    tape_error error = {0};
    int64_t deadline = clock_deadline_ns(10 * NS_PER_SECOND);
    assert_int_equal(os_socket_connect(f->socket, deadline, &socket, &error), TAPE_OK);
    os_socket_close(&socket);
    assert_int_equal(os_socket_connect(f->socket, deadline, &socket, &error), TAPE_OK);
    assert_int_equal(os_socket_send(socket, "tp", 2, NULL, 0, deadline, &error), TAPE_OK);
    os_socket_close(&socket);
    the_owner_gets_words_and_descriptors(state);
}

#define CALLERS 48

typedef struct caller {
    fixture *f;
    os_thread *thread;
    int exit_status;
    tape_status status;
} caller;

static void call(void *argument) {
    caller *c = argument;
    char *argv[] = {"a", "b", "c"};
    char out[256];
    tape_error error = {0};
    c->status = ask(c->f, 3, argv, &c->exit_status, out, &error);
}

static void start_callers(fixture *f, caller *callers, size_t count) {
    tape_error error = {0};
    for (size_t i = 0; i < count; i++) {
        callers[i] = (caller){.f = f, .exit_status = -1};
        assert_int_equal(
            os_thread_start(&callers[i].thread, "caller", -1, call, &callers[i], &error), TAPE_OK);
    }
}

static void at_most_32_run_at_once_and_the_rest_wait(void **state) {
    fixture *f = *state;
    caller callers[CALLERS];
    atomic_store(&f->hold, true);
    start_callers(f, callers, CALLERS);
    while (atomic_load(&f->running) < 32) {
        os_sleep_ns(NS_PER_SECOND / 1000);
    }
    os_sleep_ns(NS_PER_SECOND / 20); /* for a 33rd to show up, if it could */
    assert_int_equal(atomic_load(&f->running), 32);
    atomic_store(&f->hold, false);
    for (size_t i = 0; i < CALLERS; i++) {
        os_thread_join(&callers[i].thread);
        assert_int_equal(callers[i].status, TAPE_OK);
        assert_int_equal(callers[i].exit_status, 3);
    }
    assert_int_equal(atomic_load(&f->most), 32);
    assert_int_equal(atomic_load(&f->answered), CALLERS);
}

static void let_go(void *argument) {
    fixture *f = argument;
    os_sleep_ns(NS_PER_SECOND / 20);
    atomic_store(&f->hold, false);
}

static void a_request_that_was_not_begun_finds_nobody(void **state) {
    fixture *f = *state;
    caller running[32];
    caller waiting[2];
    os_thread *releaser = NULL;
    tape_error error = {0};
    atomic_store(&f->hold, true);
    start_callers(f, running, COUNT_OF(running));
    while (atomic_load(&f->running) < (int)COUNT_OF(running)) {
        os_sleep_ns(NS_PER_SECOND / 1000);
    }
    start_callers(f, waiting, COUNT_OF(waiting));
    os_sleep_ns(NS_PER_SECOND / 20); /* until they have connected, or close enough */
    assert_int_equal(os_thread_start(&releaser, "releaser", -1, let_go, f, &error), TAPE_OK);
    tape *db = f->db;
    assert_int_equal(tape_close(&db, &error), TAPE_OK);
    f->db = NULL;
    for (size_t i = 0; i < COUNT_OF(running); i++) {
        os_thread_join(&running[i].thread);
        assert_int_equal(running[i].status, TAPE_OK);
    }
    for (size_t i = 0; i < COUNT_OF(waiting); i++) {
        os_thread_join(&waiting[i].thread);
        assert_int_equal(waiting[i].status, TAPE_NOT_FOUND);
        assert_int_equal(waiting[i].exit_status, -1);
    }
    os_thread_join(&releaser);
}

static void closing_waits_for_the_requests_that_run(void **state) {
    fixture *f = *state;
    caller callers[4];
    os_thread *releaser = NULL;
    tape_error error = {0};
    atomic_store(&f->hold, true);
    start_callers(f, callers, COUNT_OF(callers));
    while (atomic_load(&f->running) < (int)COUNT_OF(callers)) {
        os_sleep_ns(NS_PER_SECOND / 1000);
    }
    assert_int_equal(os_thread_start(&releaser, "releaser", -1, let_go, f, &error), TAPE_OK);
    tape *db = f->db; /* the handlers still compare it */
    assert_int_equal(tape_close(&db, &error), TAPE_OK);
    assert_int_equal(atomic_load(&f->answered), COUNT_OF(callers));
    f->db = NULL;
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        os_thread_join(&callers[i].thread);
        assert_int_equal(callers[i].status, TAPE_OK);
    }
    os_thread_join(&releaser);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        CASE(the_owner_gets_words_and_descriptors),
        CASE(nobody_answers_where_no_owner_is),
        CASE(a_store_answers_by_one_handler),
        CASE(a_request_that_is_too_large_is_not_sent),
        CASE(a_malformed_request_ends_its_connection_and_nothing_else),
        CASE(a_peer_that_goes_leaves_the_owner_as_it_was),
        CASE(at_most_32_run_at_once_and_the_rest_wait),
        CASE(closing_waits_for_the_requests_that_run),
        CASE(a_request_that_was_not_begun_finds_nobody),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
