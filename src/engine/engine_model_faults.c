/* What ends a process, fails or lies. See engine_model_testing.h. */
#include "engine/engine_model_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CAPACITY GIB(16)

/* --- open and close --- */

bool world_open(world *w) {
    tape_error error = {0};
    tape_status status = engine_open(w->disk, MODEL_ROOT, &w->options, false, &w->db, &error);
    if (status != TAPE_OK) {
        if (w->db != NULL) {
            world_fail(w, "an open that failed left a handle");
        }
        (void)world_ok(w, status, &error, "open");
    }
    return status == TAPE_OK;
}

void world_close(world *w) {
    tape_error error = {0};
    model_views_close(w);
    bool healthy = !w->faulty && !w->failed && !w->store_failed;
    tape_status status = tape_close(&w->db, &error);
    if (status == TAPE_OK) {
        w->durable = w->o.count;
    } else if (healthy) {
        world_fail(w, "close: %s", error.text);
    }
}

/* The process is dead; its handles are let go. */
static void bury(world *w) {
    tape_error error;
    model_views_close(w);
    tape_status ignored = tape_close(&w->db, &error);
    (void)ignored;
}

void world_recover(world *w, uint64_t least) {
    uint64_t last = journal_seq(w->db->journal, TAPE_WRITTEN);
    if (last < least || last > w->o.count) {
        world_fail(
            w, "recovered %" PRIu64 ": at least %" PRIu64 " were promised, %" PRIu64 " appended",
            last, least, w->o.count);
    }
    if (last > 0 && !w->o.records[last - 1].last) {
        world_fail(w, "recovered %" PRIu64 ", which is amid an append", last);
    }
    oracle_truncate(&w->o, last);
    w->written = last;
    w->failed = false;
    w->store_failed = false;
    w->remove_failed = false;
}

/* Opens until it works; the process may be killed on the way, and the power may fail again. */
static void open_again(world *w, uint64_t least) {
    model_random_options(w);
    while (world_chance(w, 30)) {
        os_sim_crash_at(w->sim, os_sim_steps(w->sim) + 1 + world_random(w, 12));
        w->faulty = true;
        if (world_open(w)) {
            bury(w);
        }
        if (world_chance(w, 50) && least <= w->durable) {
            os_sim_power_loss(w->sim, NULL);
        } else {
            os_sim_process_crash(w->disk);
        }
        os_sim_crash_at(w->sim, 0);
        w->disk = os_sim_process_start(w->sim);
        w->faulty = false;
    }
    if (!world_open(w)) {
        world_fail(w, "it does not open");
    }
    world_recover(w, least);
    if (world_chance(w, 50)) {
        model_check_all(w);
    }
    if (world_chance(w, 10)) {
        bool found = false;
        model_verify(w, &found);
    }
}

static void kill_process(world *w) {
    os_sim_process_crash(w->disk);
    bury(w);
    os_sim_fault_clear(w->sim);
    os_sim_crash_at(w->sim, 0);
    w->faulty = false;
    w->disk = os_sim_process_start(w->sim);
    covered.crashes++;
}

static void lose_power(world *w) {
    os_sim_power_loss(w->sim, NULL);
    bury(w);
    os_sim_fault_clear(w->sim);
    os_sim_crash_at(w->sim, 0);
    w->faulty = false;
    w->disk = os_sim_process_start(w->sim);
    covered.power_losses++;
}

/* With everything on disk and nobody looking, nothing is left over. */
static void check_tidy(world *w) {
    tape_error error = {0};
    for (size_t i = 0; i < MODEL_VIEWS; i++) {
        model_scans_close(w, i);
    }
    model_append(w);
    if (world_ok(w, tape_checkpoint(w->db, &error), &error, "checkpoint")) {
        w->durable = w->o.count;
        model_check_directory(w);
    }
}

void model_reopen(world *w) {
    world_trace(w, "reopen");
    world_close(w);
    covered.reopens++;
    open_again(w, w->durable);
    if (world_chance(w, 40)) {
        check_tidy(w);
    }
}

void model_read_only(world *w) {
    tape_error error = {0};
    world_trace(w, "read only");
    world_close(w);
    w->options.read_only = true;
    if (!world_open(w)) {
        world_fail(w, "it does not open to be read");
    }
    world_recover(w, w->durable);
    tape_account account = {.user_id = "u"};
    tape_record record = TAPE_RECORD(ACCOUNTS, &account);
    if (tape_append(w->db, &record, 1, NULL, NULL, &error) == TAPE_OK ||
        tape_checkpoint(w->db, &error) == TAPE_OK) {
        world_fail(w, "a store that is open to be read was written");
    }
    model_check_all(w);
    tape_status status = tape_close(&w->db, &error);
    if (!world_ok(w, status, &error, "close")) {
        return;
    }
    open_again(w, w->durable);
}

void model_process_crash(world *w) {
    world_trace(w, "process crash");
    uint64_t written = w->written;
    kill_process(w);
    open_again(w, written);
}

void model_power_loss(world *w) {
    world_trace(w, "power loss");
    lose_power(w);
    open_again(w, w->durable);
}

/* --- a crash at some step on the disk --- */

void model_crash_at(world *w) {
    uint64_t step = os_sim_steps(w->sim) + 1 + world_random(w, world_chance(w, 50) ? 12 : 150);
    world_trace(w, "crash at %" PRIu64, step);
    os_sim_crash_at(w->sim, step);
    w->faulty = true;
    for (int i = 0; i < 60 && !os_sim_crash_reached(w->sim); i++) {
        world_step(w);
    }
    covered.crashes_at += os_sim_crash_reached(w->sim);
    uint64_t written = w->written;
    if (world_chance(w, 50)) {
        kill_process(w);
        open_again(w, written);
    } else {
        lose_power(w);
        open_again(w, w->durable);
    }
}

/* --- faults that are told --- */

static uint64_t table_files(world *w) {
    store_stats s;
    store_stats_read(w->db->store, &s);
    return s.table_files;
}

/* What a fault has stopped for good needs an open; what is left must do everything again. */
static void after_faults(world *w) {
    tape_error error;
    os_sim_fault_clear(w->sim);
    w->faulty = false;
    w->failed = journal_failure(w->db->journal, NULL) != TAPE_OK ||
                atomic_load(&w->db->store_cursor.failed) != 0;
    w->store_failed = !w->failed && tape_checkpoint(w->db, &error) == TAPE_FAILED;
    if (w->failed || w->store_failed) {
        world_trace(w, "%s failed", w->failed ? "journal" : "store");
        uint64_t least = w->failed ? w->durable : w->written;
        switch (world_random(w, 3)) {
        case 0:
            kill_process(w);
            break;
        case 1:
            least = w->durable;
            lose_power(w);
            break;
        default:
            world_close(w);
            least = w->durable > least ? w->durable : least;
            break;
        }
        open_again(w, least);
    } else if (w->remove_failed) {
        model_reopen(w);
    }
    check_tidy(w);
    model_check_all(w);
}

void model_io_fault(world *w) {
    static const os_sim_operation operations[] = {
        OS_SIM_WRITE,  OS_SIM_WRITE,  OS_SIM_WRITE,    OS_SIM_SYNC,   OS_SIM_SYNC, OS_SIM_READ,
        OS_SIM_CREATE, OS_SIM_RENAME, OS_SIM_DIR_SYNC, OS_SIM_REMOVE, OS_SIM_OPEN};
    static const char *const paths[] = {NULL, "*.journal*", "*.sst*", "*MANIFEST*", "*store*"};
    os_sim_fault fault = {.count = 1};
    fault.operation = operations[world_random(w, COUNT_OF(operations))];
    fault.effect = world_chance(w, 70) ? OS_SIM_EIO : OS_SIM_NO_SPACE;
    fault.path = paths[world_random(w, COUNT_OF(paths))];
    fault.skip = world_random(w, 12);
    if (world_chance(w, 30)) {
        fault.count = world_random(w, 4);
    }
    if (fault.operation != OS_SIM_WRITE && fault.operation != OS_SIM_CREATE) {
        fault.effect = OS_SIM_EIO;
    }
    world_trace(w, "fault %d %d on %s", (int)fault.operation, (int)fault.effect,
                fault.path == NULL ? "any" : fault.path);
    size_t number = os_sim_fault_add(w->sim, &fault);
    w->faulty = true;
    size_t steps = 5 + world_random(w, 40);
    for (size_t i = 0; i < steps; i++) {
        world_step(w);
    }
    covered.io_faults += os_sim_fault_hits(w->sim, number);
    w->remove_failed = fault.operation == OS_SIM_REMOVE;
    after_faults(w);
}

void model_disk_full(world *w) {
    tape_error error = {0};
    uint64_t free_bytes = 0;
    if (os_free_bytes(w->disk, "/", &free_bytes, &error) != TAPE_OK) {
        world_fail(w, "%s", error.text);
    }
    uint64_t room = world_random(w, KIB(300));
    /* Appends stop in time, if the disk fills up slowly and the manifest is not most of it. */
    bool kept = w->options.reserve_bytes >= MIB(1) && table_files(w) < 150;
    room += kept ? w->options.reserve_bytes + KIB(128) : 0;
    os_sim_set_capacity(w->sim, CAPACITY - free_bytes + room);
    world_trace(w, "disk full%s", kept ? " but for the reserve" : "");
    w->faulty = true;
    size_t steps = 20 + world_random(w, kept ? 400 : 60);
    for (size_t i = 0; i < steps; i++) {
        world_step(w);
    }
    covered.disk_full++;
    if (kept && tape_wait(w->db, w->o.count, TAPE_DURABLE, NS_PER_SECOND, &error) != TAPE_OK) {
        world_fail(w, "the reserve did not keep room for what was accepted: %s", error.text);
    }
    os_sim_set_capacity(w->sim, CAPACITY);
    if (journal_failure(w->db->journal, &error) != TAPE_OK) {
        world_fail(w, "a full disk has harmed the journal: %s", error.text);
    }
    after_faults(w);
}

/* --- rot --- */

typedef struct victim {
    char *path;
    uint64_t offset;
    unsigned bit;
    bool table; /* a table file that the manifest lists */
    bool manifest;
} victim;

/* One of the files of a directory whose names end so, by chance. */
typedef struct choice {
    world *w;
    const char *dir, *end;
    char *path;
    size_t count;
} choice;

static void choose_file(void *context, const char *name, bool is_dir, uint64_t size) {
    choice *c = context;
    const char *end = strrchr(name, '.');
    (void)size;
    if (!is_dir && end != NULL && strcmp(end, c->end) == 0 && world_random(c->w, ++c->count) == 0) {
        free(c->path);
        c->path = mem_printf("%s/%s", c->dir, name);
    }
}

/* Any byte of any file that counts, of a store that has just been flushed and has so many table
 * files. */
static bool choose_victim(world *w, uint64_t tables, victim *v) {
    tape_error error = {0};
    uint64_t size = 0;
    size_t kind = world_random(w, 8);
    *v = (victim){.bit = (unsigned)world_random(w, 8)};
    if (kind < 2) {
        v->manifest = kind == 1;
        v->path = mem_printf("%s", kind == 0 ? MODEL_ROOT "/TAPE" : MODEL_STORE "/MANIFEST");
    } else {
        bool table = kind >= 4;
        choice c = {
            .w = w, .dir = table ? MODEL_STORE : MODEL_JOURNAL, .end = table ? ".sst" : ".journal"};
        if (os_dir_list(w->disk, c.dir, choose_file, &c, &error) != TAPE_OK) {
            world_fail(w, "%s", error.text);
        }
        v->table = table && c.count == tables; /* else it may be one that is not read */
        v->path = c.path;
    }
    if (v->path == NULL || os_sim_file_size(w->sim, v->path, OS_SIM_CACHED, &size) != TAPE_OK ||
        size == 0) {
        free(v->path);
        return false;
    }
    v->offset = world_random(w, size);
    return true;
}

static void flip(world *w, const victim *v) {
    if (os_sim_flip_bit(w->sim, v->path, v->offset, v->bit) != TAPE_OK) {
        world_fail(w, "no byte %" PRIu64 " in %s", v->offset, v->path);
    }
}

/* The whole round of the scrubber. */
static bool scrub_finds(world *w) {
    bool found = false;
    for (uint64_t i = table_files(w) + 1; i > 0; i--) {
        tape_error error = {0};
        bool worked = false;
        tape_status status = store_scrub(w->db->store, (store_beat){0}, &worked, &error);
        found |= status == TAPE_CORRUPT;
        (void)world_ok(w, status, &error, "scrub");
    }
    return found;
}

/* While the store is open: nobody may have noticed, but whoever looks does. */
void model_flip_open(world *w) {
    victim v;
    bool found = false;
    tape_error error = {0};
    if (!world_ok(w, tape_checkpoint(w->db, &error), &error, "checkpoint")) {
        return;
    }
    w->durable = w->o.count;
    if (!choose_victim(w, table_files(w), &v)) {
        return;
    }
    world_trace(w, "flip %s %" PRIu64 " open", strrchr(v.path, '/'), v.offset);
    flip(w, &v);
    w->damaged = true;
    model_verify(w, &found);
    if (!found && (v.table || v.manifest)) {
        world_fail(w, "verify did not find bit %u of byte %" PRIu64 " in %s", v.bit, v.offset,
                   v.path);
    }
    if (v.table && !scrub_finds(w)) {
        world_fail(w, "scrub did not find bit %u of byte %" PRIu64 " in %s", v.bit, v.offset,
                   v.path);
    }
    flip(w, &v);
    w->damaged = false;
    covered.flips_open++;
    covered.flips_found += found;
    model_verify(w, &found);
    free(v.path);
}

static bool same_bytes(const world *w, const char *path, const uint8_t *data, size_t size) {
    uint8_t *now = NULL;
    size_t now_size = 0;
    if (os_sim_read_raw(w->sim, path, OS_SIM_CACHED, &now, &now_size) != TAPE_OK) {
        return false;
    }
    bool same = now_size == size && memcmp(now, data, size) == 0;
    free(now);
    return same;
}

/* Opens the store with the damage in it: refused, or found, or harmless. */
static void open_flipped(world *w, const victim *v) {
    tape_error error = {0};
    bool found = false;
    uint8_t *data = NULL;
    size_t size = 0;
    if (os_sim_read_raw(w->sim, v->path, OS_SIM_CACHED, &data, &size) != TAPE_OK) {
        world_fail(w, "%s cannot be read", v->path);
    }
    w->disk = os_sim_process_start(w->sim);
    tape_status status = engine_open(w->disk, MODEL_ROOT, &w->options, false, &w->db, &error);
    bool refused = status != TAPE_OK;
    if (!refused) {
        world_recover(w, w->durable);
        w->damaged = true;
        model_verify(w, &found);
        w->damaged = found;
        model_check_all(w);
        os_sim_process_crash(w->disk);
        bury(w);
    } else if ((status != TAPE_CORRUPT && status != TAPE_NEWER && status != TAPE_NO_STORE) ||
               error.text[0] == '\0') {
        world_fail(w, "open: %s: %s", tape_status_name(status), error.text);
    } else {
        os_sim_process_crash(w->disk);
    }
    w->damaged = false;
    covered.flips_found += found;
    covered.flips_refused += refused;
    if (v->table && (refused || !found)) {
        world_fail(w, "bit %u of byte %" PRIu64 " in %s: %s", v->bit, v->offset, v->path,
                   refused ? "the store does not open" : "verify did not find it");
    }
    if ((refused || v->table || v->manifest) && same_bytes(w, v->path, data, size)) {
        flip(w, v);
        w->disk = os_sim_process_start(w->sim);
        if (!world_open(w)) {
            world_fail(w, "it does not open after its repair");
        }
        world_recover(w, w->durable);
        model_verify(w, &found);
        model_check_all(w);
        os_sim_process_crash(w->disk);
        bury(w);
    }
    free(data);
}

/* While it is closed; on another machine that has the same on its disk. */
void model_flip_closed(world *w) {
    victim v;
    tape_error error = {0};
    if (!world_ok(w, tape_checkpoint(w->db, &error), &error, "checkpoint")) {
        return;
    }
    uint64_t tables = table_files(w);
    world_close(w);
    if (!choose_victim(w, tables, &v)) {
        open_again(w, w->durable);
        return;
    }
    world_trace(w, "flip %s %" PRIu64 " closed", strrchr(v.path, '/'), v.offset);
    os_sim *sim = w->sim;
    os_disk *disk = w->disk;
    w->sim = os_sim_clone(sim);
    flip(w, &v);
    covered.flips_closed++;
    open_flipped(w, &v);
    os_sim_destroy(&w->sim);
    w->sim = sim;
    w->disk = disk;
    free(v.path);
    open_again(w, w->durable);
}

/* --- a disk that lies --- */

void model_lie(world *w) {
    static const struct {
        os_sim_operation operation;
        os_sim_effect effect;
    } lies[] = {{OS_SIM_WRITE, OS_SIM_LOST},        {OS_SIM_WRITE, OS_SIM_TORN},
                {OS_SIM_WRITE, OS_SIM_MISDIRECTED}, {OS_SIM_SYNC, OS_SIM_LOST},
                {OS_SIM_CREATE, OS_SIM_LOST},       {OS_SIM_RENAME, OS_SIM_LOST},
                {OS_SIM_DIR_SYNC, OS_SIM_LOST},     {OS_SIM_REMOVE, OS_SIM_LOST}};
    static const char *const paths[] = {NULL, "*.journal*", "*.sst*", "*MANIFEST*", "*store*"};
    size_t kind = world_random(w, COUNT_OF(lies));
    os_sim_fault fault = {.operation = lies[kind].operation, .effect = lies[kind].effect};
    fault.path = paths[world_random(w, COUNT_OF(paths))];
    fault.skip = world_random(w, 20);
    fault.count = 1 + world_random(w, 2);
    fault.to_offset = world_random(w, 4) * 4096;
    world_trace(w, "lie %zu on %s", kind, fault.path == NULL ? "any" : fault.path);
    size_t number = os_sim_fault_add(w->sim, &fault);
    w->faulty = true; /* nothing but what a lie may do to a process that goes on */
    w->damaged = true;
    for (size_t i = 0; i < 60; i++) {
        world_step(w);
    }
    covered.lies += os_sim_fault_hits(w->sim, number);
    bool power = world_chance(w, 50);
    if (power) {
        lose_power(w);
    } else {
        kill_process(w);
        os_sim_drop_caches(w->sim);
    }
    tape_error error = {0};
    bool found = false;
    tape_status status = engine_open(w->disk, MODEL_ROOT, &w->options, false, &w->db, &error);
    if (status != TAPE_OK) {
        if (status != TAPE_CORRUPT || error.file[0] == '\0') {
            world_fail(w, "open: %s: %s", tape_status_name(status), error.text);
        }
        covered.lies_refused++;
        return;
    }
    uint64_t last = journal_seq(w->db->journal, TAPE_WRITTEN);
    model_verify(w, &found);
    /* What a lying disk lost with every trace of it, no one can miss. */
    world_recover(w, found || power || last > w->written ? 0 : w->durable);
    w->damaged = found;
    covered.lies_harmless += !found;
    model_check_all(w);
    os_sim_process_crash(w->disk);
    bury(w);
}
