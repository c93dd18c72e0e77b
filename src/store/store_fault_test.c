/* Flush, compaction of every kind and the manifest on a disk that fails, fills up, stops, lies or
 * rots: every fault against every kind of file, at every step.
 *
 * All tests begin with the same store: versions in many files of the last level, newer ones in
 * level 0, still newer ones to be flushed. A deed (one of `deeds`) is then done to clones of it. */
#include "store/store_fixture.h"

#include "os/os_sim.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DIR "/db/store"
#define KEYS 24u
#define BOTTOM 400u /* records in the last level */
#define UPPER 480u  /* those in level 0 included */
#define RECORDS 512u

static uint64_t scale(uint64_t quick, uint64_t full) {
    const char *text = getenv("TAPE_TEST_SCALE");
    return text != NULL && strcmp(text, "full") == 0 ? full : quick;
}

/* --- the store and what is done to it --- */

typedef enum deed_kind { FLUSH, COMPACT, RANGE, WHOLE, RETENTION, PACK, DEEDS } deed_kind;
static const char *const deeds[DEEDS] = {"flush", "compact", "range", "whole", "retention", "pack"};

static model the_model;
static os_sim *origin; /* the store, closed */

static store_options options_of(os_disk *disk, deed_kind deed) {
    store_options o = {.disk = disk,
                       .dir = DIR,
                       .store_id = fixture_store_id,
                       .table_bytes = KIB(3),
                       .compact_threads = deed == WHOLE ? 3 : 0,
                       .mapped_max = deed == RANGE ? 1 : 0};
    if (deed == RETENTION) {
        o.keep_ns[TAPE_TABLE_ORDERS] = 1; /* everything but the newest may go */
    }
    if (deed == PACK) {
        o.pack_level = 1;
        o.pack_codec = SSTABLE_ZSTD;
    }
    return o;
}

static tape_status open_store(os_disk *disk, deed_kind deed, store **s, tape_error *error) {
    store_options options = options_of(disk, deed);
    return store_open(s, &options, error);
}

static tape_status compact_wanted(store *s, tape_error *error) {
    bool worked = true;
    tape_status status = TAPE_OK;
    while (worked && status == TAPE_OK) {
        status = store_compact(s, (store_beat){0}, &worked, error);
    }
    return status;
}

static tape_status compact_all(store *s, tape_error *error) {
    return store_compact_range(s, 0, NULL, (store_beat){0}, error);
}

static tape_status flush(store *s, tape_error *error) {
    return store_flush(s, UINT64_MAX, true, error);
}

static tape_status apply_rest(store *s) {
    uint64_t applied = store_applied_seq(s);
    return applied == RECORDS ? TAPE_OK : model_apply(&the_model, s, applied + 1, RECORDS, NULL);
}

static tape_status do_deed(store *s, deed_kind deed, tape_error *error) {
    record_key_bounds bounds;
    tape_status status = TAPE_OK;
    switch (deed) {
    case FLUSH:
        return flush(s, error);
    case COMPACT:
        return compact_wanted(s, error);
    case RANGE:
        assert_int_equal(record_key_range(record_table(TAPE_TABLE_ORDERS), NULL, 0, "order-12",
                                          "order-4", NULL, &bounds, NULL),
                         TAPE_OK);
        return store_compact_range(s, TAPE_TABLE_ORDERS, &bounds, (store_beat){0}, error);
    default:
        status = flush(s, error);
        return status == TAPE_OK ? compact_all(s, error) : status;
    }
}

static int make_origin(void **state) {
    (void)state;
    the_model = (model){.keys = KEYS, .random = 4711};
    while (the_model.count < RECORDS) {
        model_add(&the_model);
    }
    origin = os_sim_create(1);
    os_disk *disk = os_sim_process_start(origin);
    assert_int_equal(os_dir_make(disk, "/db", NULL), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/", NULL), TAPE_OK);
    store *s = NULL;
    assert_int_equal(open_store(disk, FLUSH, &s, NULL), TAPE_OK);
    for (uint64_t seq = 0; seq < BOTTOM; seq += BOTTOM / 2) { /* two that have to be merged */
        assert_int_equal(model_apply(&the_model, s, seq + 1, seq + BOTTOM / 2, NULL), TAPE_OK);
        assert_int_equal(flush(s, NULL), TAPE_OK);
    }
    assert_int_equal(compact_all(s, NULL), TAPE_OK);
    for (uint64_t seq = BOTTOM; seq < UPPER; seq += 20) {
        assert_int_equal(model_apply(&the_model, s, seq + 1, seq + 20, NULL), TAPE_OK);
        assert_int_equal(flush(s, NULL), TAPE_OK);
    }
    store_stats stats;
    store_stats_read(s, &stats);
    assert_true(stats.level_files[0] >= 16 && stats.level_files[6] > 12);
    assert_true(stats.score >= 1);
    store_close(&s);
    os_sim_process_crash(disk);
    return 0;
}

static int drop_origin(void **state) {
    (void)state;
    model_deinit(&the_model);
    os_sim_destroy(&origin);
    return 0;
}

static os_sim *machine(uint64_t seed) {
    os_sim *sim = os_sim_clone(origin);
    os_sim_seed(sim, seed);
    return sim;
}

/* --- what must hold --- */

/* Each key now and at some seqs: what the model has, or, where that is allowed, CORRUPT or too old.
 * Returns how many were CORRUPT. */
static unsigned compare(store *s, deed_kind deed, bool corrupt_allowed) {
    unsigned corrupt = 0;
    uint64_t applied = store_applied_seq(s);
    for (uint32_t key = 0; key < KEYS; key++) {
        for (uint64_t at = applied; at > 0; at = at > 100 ? at - 100 : 0) {
            uint8_t bytes[RECORD_KEY_BYTES_MAX];
            _Alignas(8) uint8_t got[TAPE_RECORD_BYTES_MAX];
            size_t size = 0;
            const tape_table_info *table = model_key(key, bytes, &size);
            tape_error error;
            tape_status status = fixture_get(s, table, (slice){bytes, size}, at, got, NULL, &error);
            if (corrupt_allowed && status == TAPE_CORRUPT) {
                assert_non_null(strstr(error.file, DIR "/"));
                corrupt++;
            } else if (status != TAPE_TOO_OLD || deed != RETENTION ||
                       table->id != TAPE_TABLE_ORDERS || at == applied) {
                assert_true(model_agrees(&the_model, s, key, at));
            }
        }
    }
    return corrupt;
}

static void fail_on_damage(void *context, const tape_error *finding) {
    (void)context;
    fail_msg("%s", finding->text);
}

static void name_damage(void *context, const tape_error *finding) {
    (void)context;
    assert_non_null(strstr(finding->file, DIR "/"));
    assert_true(strlen(finding->text) > 0);
}

typedef struct listing {
    uint64_t bytes;
    uint64_t tables;
} listing;

static void list_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    listing *l = context;
    const char *end = strrchr(name, '.');
    assert_false(is_dir);
    if (end != NULL && strcmp(end, ".sst") == 0) {
        l->tables++;
    } else if (strcmp(name, "MANIFEST") != 0) {
        fail_msg("%s is left over", name);
    }
    l->bytes += size;
}

/* The directory holds what the manifest lists and nothing else, and so does the disk. */
static void assert_tidy(os_disk *disk, store *s) {
    listing l = {0};
    store_stats stats;
    uint64_t free_bytes = 0;
    store_stats_read(s, &stats);
    assert_int_equal(os_dir_list(disk, DIR, list_entry, &l, NULL), TAPE_OK);
    assert_int_equal(l.tables, stats.table_files);
    assert_int_equal(os_dir_sync(disk, DIR, NULL), TAPE_OK); /* the machine keeps what may return */
    assert_int_equal(os_free_bytes(disk, DIR, &free_bytes, NULL), TAPE_OK);
    assert_int_equal(GIB(16) - free_bytes, l.bytes);
}

/* What the store told its owner. */
typedef struct promise {
    uint64_t flushed_seq;
    tape_status status;
    tape_error error;
} promise;

/* Who asks for the newest is told something, even that it is not known yet. */
static void assert_answers(store *s) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    _Alignas(8) uint8_t got[TAPE_RECORD_BYTES_MAX];
    size_t size = 0;
    const tape_table_info *table = model_key(0, bytes, &size);
    tape_error error;
    tape_status status = fixture_get(s, table, (slice){bytes, size}, UINT64_MAX, got, NULL, &error);
    assert_true(status == TAPE_OK || status == TAPE_TOO_OLD);
}

/* The store opens, holds what was promised and nothing wrong, goes on to the end, and leaves
 * nothing behind. */
static void assert_recovers(os_sim *sim, deed_kind deed, const promise *p, const char *what,
                            uint64_t step) {
    os_disk *disk = os_sim_process_start(sim);
    store *s = NULL;
    tape_error error;
    if (open_store(disk, deed, &s, &error) != TAPE_OK) {
        fail_msg("%s, %s at %" PRIu64 ": %s", deeds[deed], what, step, error.text);
    }
    if (store_flushed_seq(s) < p->flushed_seq || store_flushed_seq(s) > RECORDS) {
        fail_msg("%s, %s at %" PRIu64 ": flushed %" PRIu64 " of %" PRIu64, deeds[deed], what, step,
                 store_flushed_seq(s), p->flushed_seq);
    }
    if (deed == RETENTION) { /* a flush says first up to where it drops versions */
        assert_answers(s);
        assert_int_equal(apply_rest(s), TAPE_OK);
    }
    assert_int_equal(compare(s, deed, false), 0);
    assert_int_equal(store_verify(s, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
    assert_int_equal(apply_rest(s), TAPE_OK);
    assert_int_equal(flush(s, &error), TAPE_OK);
    assert_tidy(disk, s);
    assert_int_equal(compact_all(s, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(s), RECORDS);
    assert_tidy(disk, s);
    store_close(&s);
    assert_int_equal(open_store(disk, deed, &s, NULL), TAPE_OK);
    assert_int_equal(compare(s, deed, false), 0);
    assert_int_equal(store_verify(s, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
    store_close(&s);
}

/* Opens, brings the rest and does the deed. The store is left open. */
static void work(os_disk *disk, deed_kind deed, store **s, promise *p) {
    *s = NULL;
    p->status = open_store(disk, deed, s, &p->error);
    if (p->status == TAPE_OK) {
        assert_int_equal(apply_rest(*s), TAPE_OK);
        p->status = do_deed(*s, deed, &p->error);
        p->flushed_seq = store_flushed_seq(*s);
    }
}

/* --- stopped at every step --- */

typedef enum ending {
    KILLED,
    LOSE_ALL,
    KEEP_ALL,
    PREFIX,
    ANY,
    KILLED_THEN_LOSE_ALL,
    ENDINGS
} ending;
static const char *const endings[ENDINGS] = {"kill",   "lose all", "keep all",
                                             "prefix", "any",      "kill, then lose all"};

static void lose_power(os_sim *sim, os_sim_power_mode mode) {
    const os_sim_power power = {.mode = mode, .lose_percent = 50, .tear_percent = 50};
    os_sim_power_loss(sim, &power);
}

static void end_process(os_sim *sim, os_disk *disk, deed_kind deed, ending how, promise *p) {
    static const os_sim_power_mode modes[ENDINGS] = {
        [LOSE_ALL] = OS_SIM_POWER_LOSE_ALL,
        [KEEP_ALL] = OS_SIM_POWER_KEEP_ALL,
        [PREFIX] = OS_SIM_POWER_PREFIX,
        [ANY] = OS_SIM_POWER_RANDOM,
    };
    if (how != KILLED && how != KILLED_THEN_LOSE_ALL) {
        lose_power(sim, modes[how]);
        return;
    }
    os_sim_process_crash(disk);
    if (how == KILLED_THEN_LOSE_ALL) {
        /* The next process takes for granted what it reads, and says so. */
        store *s = NULL;
        os_sim_crash_at(sim, 0);
        assert_int_equal(open_store(os_sim_process_start(sim), deed, &s, NULL), TAPE_OK);
        assert_int_equal(apply_rest(s), TAPE_OK);
        assert_int_equal(flush(s, NULL), TAPE_OK);
        p->flushed_seq = store_flushed_seq(s);
        lose_power(sim, OS_SIM_POWER_LOSE_ALL);
        store_close(&s);
    }
}

static void deeds_stopped_at_any_step_lose_nothing_and_leave_nothing(void **state) {
    (void)state;
    for (deed_kind deed = 0; deed < DEEDS; deed++) {
        uint64_t steps = 0;
        for (ending how = 0; how < ENDINGS; how++) {
            bool done = false;
            for (uint64_t step = 1 + how; !done; step += deed == FLUSH ? 1 : scale(11, 1)) {
                os_sim *sim = machine(step);
                os_sim_crash_at(sim, os_sim_steps(sim) + step);
                os_disk *disk = os_sim_process_start(sim);
                promise p = {0};
                store *s = NULL;
                work(disk, deed, &s, &p);
                done = !os_sim_crash_reached(sim);
                assert_true(done ? p.status == TAPE_OK : p.status != TAPE_OK || deed != FLUSH);
                end_process(sim, disk, deed, how, &p);
                os_sim_crash_at(sim, 0);
                store_close(&s);
                assert_recovers(sim, deed, &p, endings[how], step);
                os_sim_destroy(&sim);
                steps = step > steps ? step : steps;
            }
        }
        print_message("%s: %" PRIu64 " steps on the disk\n", deeds[deed], steps);
        assert_true(steps > (deed == FLUSH ? 10 : 40));
    }
}

/* --- failures that are told --- */

typedef struct fault_case {
    const char *name;
    os_sim_operation operation;
    os_sim_effect effect;
    tape_status status; /* OK: the deed may go on without */
} fault_case;

static const fault_case told[] = {
    {"EIO on write", OS_SIM_WRITE, OS_SIM_EIO, TAPE_IO},
    {"disk full on write", OS_SIM_WRITE, OS_SIM_NO_SPACE, TAPE_NO_SPACE},
    {"disk full on create", OS_SIM_CREATE, OS_SIM_NO_SPACE, TAPE_NO_SPACE},
    {"EIO on create", OS_SIM_CREATE, OS_SIM_EIO, TAPE_IO},
    {"EIO on rename", OS_SIM_RENAME, OS_SIM_EIO, TAPE_IO},
    {"EIO on open", OS_SIM_OPEN, OS_SIM_EIO, TAPE_IO},
    {"EIO on read", OS_SIM_READ, OS_SIM_EIO, TAPE_IO},
    {"EIO on sync", OS_SIM_SYNC, OS_SIM_EIO, TAPE_FAILED},
    {"EIO on directory sync", OS_SIM_DIR_SYNC, OS_SIM_EIO, TAPE_FAILED},
    {"EIO on remove", OS_SIM_REMOVE, OS_SIM_EIO, TAPE_OK},
};

/* Returns how often the fault hit. */
static uint64_t told_fault(deed_kind deed, const fault_case *c, uint64_t skip) {
    os_sim *sim = machine(skip + 1);
    os_disk *disk = os_sim_process_start(sim);
    store *s = NULL;
    promise p = {0};
    tape_error error = {0};
    assert_int_equal(open_store(disk, deed, &s, NULL), TAPE_OK);
    assert_int_equal(apply_rest(s), TAPE_OK);
    os_sim_fault fault = {
        .operation = c->operation, .effect = c->effect, .path = DIR "*", .skip = skip, .count = 1};
    size_t number = os_sim_fault_add(sim, &fault);
    tape_status status = do_deed(s, deed, &error);
    uint64_t hits = os_sim_fault_hits(sim, number);
    os_sim_fault_clear(sim);
    if (c->status == TAPE_OK || hits == 0) {
        assert_int_equal(status, TAPE_OK);
    } else if (status != c->status || error.status != status) {
        fail_msg("%s, %s after %" PRIu64 ": %s: %s", deeds[deed], c->name, skip,
                 tape_status_name(status), error.text);
    }
    assert_int_equal(compare(s, deed, false), 0);
    if (status == TAPE_FAILED) { /* for good */
        assert_int_equal(do_deed(s, deed, &error), TAPE_FAILED);
        assert_int_equal(compare(s, deed, false), 0);
    } else {
        assert_int_equal(do_deed(s, deed, &error), TAPE_OK);
        assert_int_equal(flush(s, &error), TAPE_OK);
        if (c->operation != OS_SIM_REMOVE) { /* that file goes after the next opening */
            assert_tidy(disk, s);
        }
    }
    p.flushed_seq = store_flushed_seq(s);
    /* What a failed sync left readable must not be built upon. */
    end_process(sim, disk, deed, skip % 2 == 0 ? LOSE_ALL : KILLED_THEN_LOSE_ALL, &p);
    store_close(&s);
    assert_recovers(sim, deed, &p, c->name, skip);
    os_sim_destroy(&sim);
    return hits;
}

static void deeds_that_fail_leave_the_store_as_it_was(void **state) {
    (void)state;
    uint64_t hits = 0;
    for (deed_kind deed = 0; deed < DEEDS; deed++) {
        for (size_t c = 0; c < COUNT_OF(told); c++) {
            uint64_t hit = 1;
            for (uint64_t skip = c % 3; hit > 0; skip += scale(5, 1)) {
                hit = told_fault(deed, &told[c], skip);
                hits += hit;
            }
        }
    }
    print_message("%" PRIu64 " failures\n", hits);
    assert_true(hits > 200);
}

/* --- a disk that is full --- */

static uint64_t used_bytes(os_disk *disk) {
    uint64_t free_bytes = 0;
    assert_int_equal(os_free_bytes(disk, DIR, &free_bytes, NULL), TAPE_OK);
    return GIB(16) - free_bytes;
}

static void deeds_on_a_full_disk_give_their_room_back_and_go_on(void **state) {
    (void)state;
    uint64_t refused = 0;
    for (deed_kind deed = 0; deed < DEEDS; deed++) {
        tape_status status = TAPE_NO_SPACE;
        for (uint64_t room = 0; status == TAPE_NO_SPACE; room += scale(2711, 509)) {
            os_sim *sim = machine(room);
            os_disk *disk = os_sim_process_start(sim);
            uint64_t before = used_bytes(disk);
            store *s = NULL;
            promise p = {0};
            tape_error error = {0};
            assert_int_equal(open_store(disk, deed, &s, NULL), TAPE_OK);
            assert_int_equal(apply_rest(s), TAPE_OK);
            os_sim_set_capacity(sim, before + room);
            status = do_deed(s, deed, &error);
            os_sim_set_capacity(sim, GIB(16));
            assert_int_equal(compare(s, deed, false), 0);
            if (status != TAPE_OK) {
                assert_int_equal(status, TAPE_NO_SPACE);
                assert_non_null(strstr(error.text, DIR));
                refused++;
            }
            assert_int_equal(do_deed(s, deed, &error), TAPE_OK);
            assert_int_equal(flush(s, &error), TAPE_OK);
            assert_tidy(disk, s);
            p.flushed_seq = store_flushed_seq(s);
            store_close(&s);
            lose_power(sim, OS_SIM_POWER_LOSE_ALL);
            assert_recovers(sim, deed, &p, "full disk", room);
            os_sim_destroy(&sim);
        }
    }
    assert_true(refused >= 2 * DEEDS);
}

/* --- a disk that lies --- */

typedef struct lie {
    const char *name;
    os_sim_operation operation;
    os_sim_effect effect;
    const char *to_path; /* MISDIRECTED: NULL: within the file */
} lie;

static const lie lies[] = {
    {"lost write", OS_SIM_WRITE, OS_SIM_LOST, NULL},
    {"torn write", OS_SIM_WRITE, OS_SIM_TORN, NULL},
    {"misdirected write", OS_SIM_WRITE, OS_SIM_MISDIRECTED, NULL},
    {"write misdirected to a table", OS_SIM_WRITE, OS_SIM_MISDIRECTED, "table"},
    {"write misdirected to the manifest", OS_SIM_WRITE, OS_SIM_MISDIRECTED, DIR "/MANIFEST"},
    {"sync that does nothing", OS_SIM_SYNC, OS_SIM_LOST, NULL},
    {"create that is never durable", OS_SIM_CREATE, OS_SIM_LOST, NULL},
    {"rename that is never durable", OS_SIM_RENAME, OS_SIM_LOST, NULL},
    {"remove that is never durable", OS_SIM_REMOVE, OS_SIM_LOST, NULL},
    {"directory sync that does nothing", OS_SIM_DIR_SYNC, OS_SIM_LOST, NULL},
};
static const char *const kinds_of_files[] = {DIR "/*.sst*", DIR "/MANIFEST*"};

typedef struct verdicts {
    uint64_t refused, found, fell_back, harmless;
} verdicts;

typedef struct table_names {
    char *path[256];
    size_t count;
} table_names;

static void name_table(void *context, const char *name, bool is_dir, uint64_t size) {
    table_names *t = context;
    const char *end = strrchr(name, '.');
    (void)is_dir;
    (void)size;
    if (end != NULL && strcmp(end, ".sst") == 0 && t->count < COUNT_OF(t->path)) {
        t->path[t->count++] = mem_printf("%s/%s", DIR, name);
    }
}

static void list_tables(os_disk *disk, table_names *out) {
    *out = (table_names){0};
    assert_int_equal(os_dir_list(disk, DIR, name_table, out, NULL), TAPE_OK);
}

static void free_names(table_names *names) {
    for (size_t i = 0; i < names->count; i++) {
        free(names->path[i]);
    }
}

/* Opens what a lie has left: nothing wrong is read, and what is refused is named. */
static void judge(os_sim *sim, deed_kind deed, const promise *p, const char *what, uint64_t skip,
                  verdicts *v) {
    os_disk *disk = os_sim_process_start(sim);
    store *s = NULL;
    tape_error error = {0};
    tape_status status = open_store(disk, deed, &s, &error);
    if (status != TAPE_OK) {
        if (status != TAPE_CORRUPT || strstr(error.file, DIR "/") == NULL) {
            fail_msg("%s, %s after %" PRIu64 ": %s: %s", deeds[deed], what, skip,
                     tape_status_name(status), error.text);
        }
        v->refused++;
        return;
    }
    uint64_t flushed = store_flushed_seq(s);
    if (deed == RETENTION) {
        assert_int_equal(apply_rest(s), TAPE_OK);
    }
    unsigned corrupt = compare(s, deed, true);
    status = store_verify(s, name_damage, NULL, NULL, NULL, NULL);
    if (status == TAPE_OK && corrupt > 0) {
        fail_msg("%s, %s after %" PRIu64 ": verify missed what gets met", deeds[deed], what, skip);
    }
    store_close(&s);
    if (status != TAPE_OK) {
        v->found++;
    } else {
        v->fell_back += flushed < p->flushed_seq;
        v->harmless += flushed >= p->flushed_seq;
        promise less = {.flushed_seq = flushed};
        os_sim_process_crash(disk);
        assert_recovers(sim, deed, &less, what, skip);
    }
}

static uint64_t told_lie(deed_kind deed, const lie *l, const char *path, uint64_t skip,
                         verdicts *v) {
    os_sim *sim = machine(skip + 3);
    os_disk *disk = os_sim_process_start(sim);
    table_names names;
    list_tables(disk, &names);
    os_sim_fault fault = {.operation = l->operation,
                          .effect = l->effect,
                          .path = path,
                          .skip = skip,
                          .count = 1,
                          .to_path = l->to_path,
                          .to_offset = skip % 3 * 1024};
    if (l->operation == OS_SIM_DIR_SYNC) {
        fault.path = DIR;
    }
    if (l->to_path != NULL && strcmp(l->to_path, "table") == 0) {
        fault.to_path = names.path[skip % names.count];
    }
    size_t number = os_sim_fault_add(sim, &fault);
    promise p = {0};
    store *s = NULL;
    work(disk, deed, &s, &p);
    if (s != NULL && skip % 2 == 0) { /* more is built upon it */
        tape_status ignored = flush(s, NULL);
        ignored = compact_all(s, NULL);
        (void)ignored;
    }
    uint64_t hits = os_sim_fault_hits(sim, number);
    os_sim_fault_clear(sim);
    store_close(&s);
    lose_power(sim, OS_SIM_POWER_LOSE_ALL);
    judge(sim, deed, &p, l->name, skip, v);
    free_names(&names);
    os_sim_destroy(&sim);
    return hits;
}

static void deeds_on_a_disk_that_lies_are_never_silently_wrong(void **state) {
    (void)state;
    verdicts v = {0};
    for (deed_kind deed = 0; deed < DEEDS; deed++) {
        for (size_t i = 0; i < COUNT_OF(lies); i++) {
            for (size_t k = 0; k < COUNT_OF(kinds_of_files); k++) {
                uint64_t hits = 1;
                for (uint64_t skip = i % 2; hits > 0; skip += scale(9, 1)) {
                    hits = told_lie(deed, &lies[i], kinds_of_files[k], skip, &v);
                }
            }
        }
    }
    print_message("%" PRIu64 " refused, %" PRIu64 " found, %" PRIu64 " fell back, %" PRIu64
                  " harmless\n",
                  v.refused, v.found, v.fell_back, v.harmless);
    assert_true(v.refused > 0 && v.found > 0 && v.harmless > 0);
}

/* --- rot, and files that are gone --- */

/* A table file that is damaged fails what needs it, and nothing else. */
static void rot_in_a_table_is_found_and_fails_only_what_needs_it(void **state) {
    (void)state;
    for (deed_kind deed = COMPACT; deed < DEEDS; deed++) {
        os_sim *made = machine(deed);
        os_disk *disk = os_sim_process_start(made);
        store *s = NULL;
        promise p = {0};
        work(disk, deed, &s, &p);
        assert_int_equal(p.status, TAPE_OK);
        store_close(&s);
        table_names names;
        list_tables(disk, &names);
        os_sim_process_crash(disk);
        uint64_t random = deed;
        uint64_t read_corrupt = 0;
        for (uint64_t round = 0; round < scale(25, 600); round++) {
            os_sim *sim = os_sim_clone(made);
            uint64_t size = 0;
            const char *path = names.path[fixture_random(&random) % names.count];
            assert_int_equal(os_sim_file_size(sim, path, OS_SIM_DURABLE, &size), TAPE_OK);
            uint64_t at = fixture_random(&random) % size;
            assert_int_equal(os_sim_flip_bit(sim, path, at, (unsigned)(at % 8)), TAPE_OK);
            assert_int_equal(open_store(os_sim_process_start(sim), deed, &s, NULL), TAPE_OK);
            unsigned corrupt = compare(s, deed, true);
            assert_true(corrupt < KEYS * 6);
            read_corrupt += corrupt > 0;
            store_stats stats;
            store_stats_read(s, &stats);
            assert_int_equal(stats.damaged_reads, corrupt);
            if (store_verify(s, name_damage, NULL, NULL, NULL, NULL) != TAPE_CORRUPT) {
                fail_msg("%s: bit %u of byte %" PRIu64 " of %s was not found", deeds[deed],
                         (unsigned)(at % 8), at, path);
            }
            store_close(&s);
            os_sim_destroy(&sim);
        }
        assert_true(read_corrupt > 0);
        free_names(&names);
        os_sim_destroy(&made);
    }
}

static void rot_in_the_manifest_is_refused_or_falls_back(void **state) {
    (void)state;
    os_sim *made = machine(7);
    os_disk *disk = os_sim_process_start(made);
    store *s = NULL;
    promise p = {0};
    work(disk, WHOLE, &s, &p);
    assert_int_equal(p.status, TAPE_OK);
    store_close(&s);
    os_sim_process_crash(disk);
    uint64_t size = 0;
    uint64_t random = 9;
    uint64_t refused = 0;
    assert_int_equal(os_sim_file_size(made, DIR "/MANIFEST", OS_SIM_DURABLE, &size), TAPE_OK);
    uint64_t rounds = scale(200, 5000);
    for (uint64_t round = 0; round < rounds; round++) {
        os_sim *sim = os_sim_clone(made);
        uint64_t at = fixture_random(&random) % size;
        if (round % 4 == 0) { /* the last edit */
            at = size - 1 - fixture_random(&random) % 500;
        }
        assert_int_equal(os_sim_flip_bit(sim, DIR "/MANIFEST", at, (unsigned)(at % 8)), TAPE_OK);
        tape_error error = {0};
        tape_status status = open_store(os_sim_process_start(sim), WHOLE, &s, &error);
        if (status != TAPE_OK) {
            assert_int_equal(status, TAPE_CORRUPT);
            assert_non_null(strstr(error.file, DIR "/"));
            refused++;
        } else {
            (void)compare(s, WHOLE, true);
        }
        store_close(&s);
        os_sim_destroy(&sim);
    }
    assert_true(refused > rounds / 2);
    os_sim_destroy(&made);
}

static void listed_file_that_is_gone_is_refused_by_name(void **state) {
    (void)state;
    table_names names;
    os_sim *sim = machine(1);
    os_disk *disk = os_sim_process_start(sim);
    list_tables(disk, &names);
    os_sim_destroy(&sim);
    assert_true(names.count > 20);
    for (size_t i = 0; i < names.count; i += (size_t)scale(3, 1)) {
        sim = machine(i);
        disk = os_sim_process_start(sim);
        assert_int_equal(os_remove(disk, names.path[i], NULL), TAPE_OK);
        store *s = NULL;
        tape_error error = {0};
        assert_int_equal(open_store(disk, FLUSH, &s, &error), TAPE_CORRUPT);
        assert_string_equal(error.file, names.path[i]);
        os_sim_destroy(&sim);
    }
    free_names(&names);
}

static void log_nothing(void *context, log_level level, const char *line) {
    (void)context;
    (void)level;
    (void)line;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deeds_stopped_at_any_step_lose_nothing_and_leave_nothing),
        cmocka_unit_test(deeds_that_fail_leave_the_store_as_it_was),
        cmocka_unit_test(deeds_on_a_full_disk_give_their_room_back_and_go_on),
        cmocka_unit_test(deeds_on_a_disk_that_lies_are_never_silently_wrong),
        cmocka_unit_test(rot_in_a_table_is_found_and_fails_only_what_needs_it),
        cmocka_unit_test(rot_in_the_manifest_is_refused_or_falls_back),
        cmocka_unit_test(listed_file_that_is_gone_is_refused_by_name),
    };
    log_set(LOG_ERROR, log_nothing, NULL);
    return cmocka_run_group_tests_name("store_fault", tests, make_origin, drop_origin);
}
