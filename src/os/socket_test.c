/* Local sockets: long paths, descriptors, deadlines, waking, and who may connect. */
#include "os/os.h"

#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND NS_PER_SECOND

static char root[512];
static char path[600];

static int make_root(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    /* Longer than an address holds. */
    (void)snprintf(root, sizeof root, "%s/tape-socket-%0150d-XXXXXX", base != NULL ? base : "/tmp",
                   0);
    if (mkdtemp(root) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/control.sock", root);
    return 0;
}

static int remove_root(void **state) {
    (void)state;
    return rmdir(root);
}

static int64_t soon(void) {
    return clock_deadline_ns(20 * SECOND);
}

static void pair_make(os_listener **listener, os_socket **client, os_socket **server) {
    tape_error error = {0};
    if (os_socket_listen(path, listener, &error) != TAPE_OK ||
        os_socket_connect(path, soon(), client, &error) != TAPE_OK ||
        os_socket_accept(*listener, soon(), server, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void pair_close(os_listener **listener, os_socket **client, os_socket **server) {
    os_socket_close(client);
    os_socket_close(server);
    os_listener_close(listener);
    assert_int_equal(access(path, F_OK), -1);
}

static void socket_carries_bytes_both_ways_on_a_long_path(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    char text[16] = {0};
    size_t got = 0;
    pair_make(&listener, &client, &server);
    assert_true(strlen(path) > 108);
    struct stat stat_;
    assert_int_equal(stat(path, &stat_), 0);
    assert_int_equal(stat_.st_mode & 0777, 0600);
    assert_int_equal(os_socket_send(client, "question", 8, NULL, 0, soon(), NULL), TAPE_OK);
    assert_int_equal(os_socket_receive_exact(server, text, 8, soon(), NULL), TAPE_OK);
    assert_string_equal(text, "question");
    assert_int_equal(os_socket_send(server, "yes", 3, NULL, 0, soon(), NULL), TAPE_OK);
    assert_int_equal(os_socket_receive(client, text, sizeof text, &got, NULL, NULL, soon(), NULL),
                     TAPE_OK);
    assert_int_equal(got, 3);
    assert_false(os_socket_peer_gone(client));
    pair_close(&listener, &client, &server);
}

static void socket_passes_three_descriptors(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    int pipes[3][2];
    int sent[3];
    pair_make(&listener, &client, &server);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pipe(pipes[i]), 0);
        sent[i] = pipes[i][1];
    }
    assert_int_equal(os_socket_send(client, "take", 4, sent, 3, soon(), NULL), TAPE_OK);
    int files[OS_SOCKET_FILES_MAX];
    size_t count = 0;
    size_t got = 0;
    char text[8];
    assert_int_equal(
        os_socket_receive(server, text, sizeof text, &got, files, &count, soon(), NULL), TAPE_OK);
    assert_int_equal(got, 4);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        size_t written = 0;
        assert_int_equal(os_fd_write(files[i], &"abc"[i], 1, &written, soon(), NULL), TAPE_OK);
        assert_int_equal(written, 1);
        assert_int_equal(read(pipes[i][0], text, 1), 1);
        assert_int_equal(text[0], "abc"[i]);
        os_fd_close(pipes[i][0]);
        tape_error error;
        os_fd_close(pipes[i][1]);
        /* The reading end is closed: an error, not a signal that ends this test. */
        assert_int_equal(os_fd_write(files[i], "x", 1, NULL, soon(), &error), TAPE_NOT_FOUND);
        os_fd_close(files[i]);
    }
    pair_close(&listener, &client, &server);
}

static void descriptors_nobody_asked_for_are_closed(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    int ends[2];
    char byte = 0;
    pair_make(&listener, &client, &server);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(os_socket_send(client, "x", 1, &ends[1], 1, soon(), NULL), TAPE_OK);
    os_fd_close(ends[1]);
    assert_int_equal(os_socket_receive_exact(server, &byte, 1, soon(), NULL), TAPE_OK);
    /* End of file: no copy of the writing end is left anywhere. */
    assert_int_equal(read(ends[0], &byte, 1), 0);
    os_fd_close(ends[0]);
    pair_close(&listener, &client, &server);
}

static void waits_end_at_their_deadline(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    os_socket *none = NULL;
    tape_error error;
    char byte = 0;
    size_t got = 0;
    pair_make(&listener, &client, &server);
    assert_int_equal(os_socket_accept(listener, clock_deadline_ns(1000000), &none, &error),
                     TAPE_TIMEOUT);
    assert_null(none);
    assert_int_equal(
        os_socket_receive(server, &byte, 1, &got, NULL, NULL, clock_deadline_ns(1000000), &error),
        TAPE_TIMEOUT);
    size_t size = MIB(4);
    char *bulk = mem_zalloc(size);
    assert_int_equal(
        os_socket_send(client, bulk, size, NULL, 0, clock_deadline_ns(1000000), &error),
        TAPE_TIMEOUT);
    int ends[2];
    size_t written = 0;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(os_fd_write(ends[1], bulk, size, &written, clock_deadline_ns(1000000), &error),
                     TAPE_TIMEOUT);
    assert_true(written > 0 && written < size);
    os_fd_close(ends[0]);
    os_fd_close(ends[1]);
    free(bulk);
    pair_close(&listener, &client, &server);
}

static void peer_that_leaves_is_noticed(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    tape_error error;
    char bytes[8];
    size_t got = 1;
    pair_make(&listener, &client, &server);
    assert_int_equal(os_socket_send(client, "half", 4, NULL, 0, soon(), NULL), TAPE_OK);
    os_socket_close(&client);
    assert_true(os_socket_peer_gone(server));
    assert_int_equal(os_socket_receive_exact(server, bytes, 8, soon(), &error), TAPE_IO);
    assert_non_null(strstr(error.text, "4 of 8"));
    assert_int_equal(os_socket_receive(server, bytes, 8, &got, NULL, NULL, soon(), &error),
                     TAPE_OK);
    assert_int_equal(got, 0);
    assert_int_equal(os_socket_send(server, "x", 1, NULL, 0, soon(), &error), TAPE_NOT_FOUND);
    pair_close(&listener, &client, &server);
}

static void connect_where_nobody_listens_is_not_found(void **state) {
    (void)state;
    os_socket *client = NULL;
    os_listener *listener = NULL;
    tape_error error;
    char other[700];
    assert_int_equal(os_socket_connect(path, soon(), &client, &error), TAPE_NOT_FOUND);
    (void)snprintf(other, sizeof other, "%s/none/x.sock", root);
    assert_int_equal(os_socket_connect(other, soon(), &client, &error), TAPE_NOT_FOUND);
    (void)snprintf(other, sizeof other, "%s/%0120d", root, 0);
    assert_int_equal(os_socket_connect(other, soon(), &client, &error), TAPE_INVALID);
    assert_int_equal(os_socket_listen(other, &listener, &error), TAPE_INVALID);
    assert_null(listener);

    /* The file of a process that was killed. */
    pid_t child = fork();
    if (child == 0) {
        _exit(os_socket_listen(path, &listener, NULL) == TAPE_OK ? 0 : 1);
    }
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(os_socket_connect(path, soon(), &client, &error), TAPE_NOT_FOUND);
    os_socket *server = NULL;
    pair_make(&listener, &client, &server);
    pair_close(&listener, &client, &server);
}

static void listen_leaves_other_files_alone(void **state) {
    (void)state;
    os_listener *listener = NULL;
    tape_error error;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fclose(file);
    assert_int_equal(os_socket_listen(path, &listener, &error), TAPE_EXISTS);
    assert_int_equal(unlink(path), 0);

    /* A listener that was replaced does not take its successor's file along. */
    os_listener *successor = NULL;
    assert_int_equal(os_socket_listen(path, &listener, &error), TAPE_OK);
    assert_int_equal(os_socket_listen(path, &successor, &error), TAPE_OK);
    os_listener_close(&listener);
    assert_int_equal(access(path, F_OK), 0);
    os_listener_close(&successor);
    os_listener_close(&successor);
    assert_int_equal(access(path, F_OK), -1);
}

static void wake_listener(void *argument) {
    os_listener_wake(argument);
}

static void accept_is_woken_for_good(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *none = NULL;
    os_thread *thread = NULL;
    tape_error error;
    assert_int_equal(os_socket_listen(path, &listener, &error), TAPE_OK);
    assert_int_equal(os_thread_start(&thread, "waker", -1, wake_listener, listener, NULL), TAPE_OK);
    assert_int_equal(os_socket_accept(listener, INT64_MAX, &none, &error), TAPE_CANCELLED);
    os_thread_join(&thread);
    os_listener_wake(listener);
    assert_int_equal(os_socket_accept(listener, INT64_MAX, &none, &error), TAPE_CANCELLED);
    os_listener_close(&listener);
}

static void shut_down(void *argument) {
    os_socket_shutdown(argument);
}

static void shutdown_ends_a_waiting_receive(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    os_thread *thread = NULL;
    char byte = 0;
    size_t got = 1;
    pair_make(&listener, &client, &server);
    assert_int_equal(os_thread_start(&thread, "closer", -1, shut_down, server, NULL), TAPE_OK);
    assert_int_equal(os_socket_receive(server, &byte, 1, &got, NULL, NULL, INT64_MAX, NULL),
                     TAPE_OK);
    assert_int_equal(got, 0);
    os_thread_join(&thread);
    pair_close(&listener, &client, &server);
}

static void other_users_are_refused(void **state) {
    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root can become somebody else */
    }
    os_listener *listener = NULL;
    os_socket *client = NULL;
    tape_error error;
    assert_int_equal(os_socket_listen(path, &listener, &error), TAPE_OK);
    assert_int_equal(chmod(root, 0755), 0);
    for (int open_to_all = 0; open_to_all < 2; open_to_all++) {
        /* With the file's permissions first, then without: each of the two guards alone. */
        assert_int_equal(chmod(path, open_to_all ? 0666 : 0600), 0);
        pid_t child = fork();
        if (child == 0) {
            char byte = 0;
            size_t got = 1;
            if (setuid(65534) != 0) {
                _exit(2);
            }
            tape_status status = os_socket_connect(path, soon(), &client, NULL);
            if (!open_to_all) {
                _exit(status == TAPE_ACCESS ? 0 : 1);
            }
            _exit(status == TAPE_OK &&
                          os_socket_receive(client, &byte, 1, &got, NULL, NULL, soon(), NULL) ==
                              TAPE_OK &&
                          got == 0
                      ? 0
                      : 1);
        }
        log_set(LOG_ERROR, NULL, NULL);
        int result = 0;
        while (waitpid(child, &result, WNOHANG) == 0) {
            os_socket *server = NULL;
            assert_int_equal(os_socket_accept(listener, clock_deadline_ns(5000000), &server, NULL),
                             TAPE_TIMEOUT);
        }
        assert_int_equal(result, 0);
        log_set(LOG_INFO, NULL, NULL);
    }
    os_listener_close(&listener);
}

/* --- interrupted calls --- */

static void ignore_signal(int number) {
    (void)number;
}

typedef struct rain {
    pthread_t on;
    _Atomic bool stop;
} rain;

static void rain_signals(void *argument) {
    rain *r = argument;
    while (!atomic_load(&r->stop)) {
        (void)pthread_kill(r->on, SIGUSR1);
        os_yield();
    }
}

typedef struct bulk {
    os_socket *socket;
    const uint8_t *data;
    size_t size;
} bulk;

static void send_bulk(void *argument) {
    bulk *b = argument;
    ASSERT(os_socket_send(b->socket, b->data, b->size, NULL, 0, soon(), NULL) == TAPE_OK);
}

static void signals_do_not_disturb_transfers(void **state) {
    (void)state;
    os_listener *listener = NULL;
    os_socket *client = NULL;
    os_socket *server = NULL;
    struct sigaction action = {.sa_handler = ignore_signal}; /* no SA_RESTART */
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    pair_make(&listener, &client, &server);
    size_t size = MIB(2);
    uint8_t *data = mem_alloc(size);
    uint8_t *back = mem_alloc(size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 31 + (i >> 9));
    }
    os_thread *rainer = NULL;
    os_thread *sender = NULL;
    rain r = {.on = pthread_self()};
    bulk b = {client, data, size};
    assert_int_equal(os_thread_start(&rainer, "rain", -1, rain_signals, &r, NULL), TAPE_OK);
    assert_int_equal(os_thread_start(&sender, "sender", -1, send_bulk, &b, NULL), TAPE_OK);
    assert_int_equal(os_socket_receive_exact(server, back, size, soon(), NULL), TAPE_OK);
    assert_memory_equal(data, back, size);
    char file_path[700];
    (void)snprintf(file_path, sizeof file_path, "%s/file", root);
    os_file *file = NULL;
    size_t got = 0;
    memset(back, 0, size);
    assert_int_equal(os_file_open(os_disk_linux(), file_path, OS_WRITE | OS_CREATE, &file, NULL),
                     TAPE_OK);
    assert_int_equal(os_file_write(file, 0, data, size, NULL), TAPE_OK);
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_int_equal(os_file_read(file, 0, back, size, &got, NULL), TAPE_OK);
    assert_memory_equal(data, back, size);
    os_file_close(&file);
    assert_int_equal(unlink(file_path), 0);
    atomic_store(&r.stop, true);
    os_thread_join(&rainer);
    os_thread_join(&sender);
    free(data);
    free(back);
    pair_close(&listener, &client, &server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(socket_carries_bytes_both_ways_on_a_long_path),
        cmocka_unit_test(socket_passes_three_descriptors),
        cmocka_unit_test(descriptors_nobody_asked_for_are_closed),
        cmocka_unit_test(waits_end_at_their_deadline),
        cmocka_unit_test(peer_that_leaves_is_noticed),
        cmocka_unit_test(connect_where_nobody_listens_is_not_found),
        cmocka_unit_test(listen_leaves_other_files_alone),
        cmocka_unit_test(accept_is_woken_for_good),
        cmocka_unit_test(shutdown_ends_a_waiting_receive),
        cmocka_unit_test(other_users_are_refused),
        cmocka_unit_test(signals_do_not_disturb_transfers),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
