/* The live window: named shared memory in which an append becomes `written`.
 *
 * window_claim packs position and seq into one word, so that one compare-and-swap takes both. The
 * word holds their low halves; the high halves follow from durable_position and durable_seq, which
 * lag by no more than the ring (W1) and so by far less than the 128 GiB after which the word
 * repeats. An unpublished claim keeps durable_position at or below it, so reading durable after the
 * swap is exact; reading it before the swap, and before the word, can only underestimate the room.
 */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WINDOW_PREFIX "tape."

char *window_name(const journal_place *place, tape_error *error) {
    os_stat stat;
    if (os_path_stat(place->disk, place->root, &stat, error) != TAPE_OK) {
        return NULL;
    }
    buffer name = {0};
    buffer_append_text(&name, WINDOW_PREFIX);
    for (size_t i = 0; i < 16; i++) {
        buffer_printf(&name, "%02x", place->identity.store_id[i]);
    }
    /* The inode tells a copy of the store's directory from the original. */
    buffer_printf(&name, ".%" PRIx64 ".%" PRIx64, stat.device, stat.inode);
    buffer_append(&name, "", 1);
    return (char *)name.data;
}

/* --- windows that nobody will come for --- */

/* A directory that was moved after its owner was killed looks like one that was removed. Such a
 * window is kept for a while unless everything in it is durable. */
#define SWEEP_AGE_NS (INT64_C(3600) * NS_PER_SECOND)

static bool window_is_stale(const journal_place *place, const window_control *control) {
    os_stat stat;
    if (control->magic != WINDOW_MAGIC || control->version != WINDOW_VERSION ||
        os_process_alive(control->owner_pid) ||
        memchr(control->path, '\0', sizeof control->path) == NULL || control->path[0] != '/') {
        return false;
    }
    tape_status status = os_path_stat(place->disk, control->path, &stat, NULL);
    if (status != TAPE_OK && status != TAPE_NOT_FOUND) {
        return false;
    }
    if (status == TAPE_OK && stat.device == control->device && stat.inode == control->inode) {
        return false;
    }
    uint64_t written = atomic_load_explicit(&control->written_position, memory_order_acquire);
    uint64_t durable = atomic_load_explicit(&control->durable_position, memory_order_acquire);
    int64_t last = atomic_load_explicit(&control->last_append_ts, memory_order_relaxed);
    return written == durable || clock_realtime_ns() - last > SWEEP_AGE_NS;
}

static void sweep_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    const journal_place *place = context;
    os_shm head = {0};
    if (is_dir || size < WINDOW_CONTROL_BYTES ||
        strncmp(name, WINDOW_PREFIX, strlen(WINDOW_PREFIX)) != 0 ||
        os_shm_open(place->disk, name, WINDOW_CONTROL_BYTES, 0, false, &head, NULL) != TAPE_OK) {
        return;
    }
    const window_control *control = (const window_control *)(const void *)head.data;
    if (window_is_stale(place, control) && os_shm_remove(place->disk, name, NULL) == TAPE_OK) {
        log_line(LOG_INFO, "removed the live window of %s, which is gone", control->path);
    }
    os_shm_close(&head);
}

void window_sweep(const journal_place *place) {
    tape_status ignored = os_dir_list(place->disk, os_shm_dir(), sweep_visit, (void *)place, NULL);
    (void)ignored;
}

static void window_note_place(const journal_place *place, window_control *control) {
    os_stat stat;
    char *path = os_path_real(place->root);
    if (path != NULL && strlen(path) < sizeof control->path &&
        os_path_stat(place->disk, path, &stat, NULL) == TAPE_OK) {
        control->device = stat.device;
        control->inode = stat.inode;
        memcpy(control->path, path, strlen(path) + 1);
    }
    free(path);
}

static void window_attach(window *w) {
    w->control = (window_control *)(void *)w->shm.data;
    w->ring = w->shm.data + WINDOW_CONTROL_BYTES;
}

tape_status window_create(const journal_place *place, uint64_t ring_bytes, uint64_t epoch,
                          uint64_t position, uint64_t seq, int64_t append_ts, window *out,
                          tape_error *error) {
    *out = (window){.mask = ring_bytes - 1};
    char *name = window_name(place, error);
    if (name == NULL) {
        return error == NULL ? TAPE_IO : error->status;
    }
    tape_status status = os_shm_create(place->disk, name, WINDOW_CONTROL_BYTES, (size_t)ring_bytes,
                                       &out->shm, error);
    free(name);
    if (status != TAPE_OK) {
        return status;
    }
    window_attach(out);
    window_control *control = out->control;
    status = os_boot_id(place->disk, control->boot_id, error);
    if (status != TAPE_OK) {
        window_close(out);
        return status;
    }
    memcpy(control->store_id, place->identity.store_id, sizeof control->store_id);
    control->magic = WINDOW_MAGIC;
    control->version = WINDOW_VERSION;
    control->epoch = epoch;
    control->ring_bytes = ring_bytes;
    control->segment_bytes = place->identity.segment_bytes;
    control->start_position = position;
    control->owner_pid = getpid();
    window_note_place(place, control);
    atomic_init(&control->claim,
                (uint64_t)(uint32_t)(position / FRAME_ALIGN) << 32 | (uint32_t)seq);
    atomic_init(&control->written_position, position);
    atomic_init(&control->written_seq, seq);
    atomic_init(&control->last_append_ts, append_ts);
    atomic_init(&control->durable_position, position);
    atomic_init(&control->durable_seq, seq);
    atomic_init(&control->committed_position, position);
    atomic_init(&control->committed_seq, seq);
    atomic_store_explicit(&control->state, WINDOW_LIVE, memory_order_release);
    return TAPE_OK;
}

static tape_status window_check(const journal_place *place, const window_control *control,
                                tape_error *error) {
    uint8_t boot_id[16];
    tape_status status = os_boot_id(place->disk, boot_id, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (control->magic != WINDOW_MAGIC || control->version != WINDOW_VERSION ||
        memcmp(control->store_id, place->identity.store_id, 16) != 0 ||
        memcmp(control->boot_id, boot_id, 16) != 0 ||
        control->segment_bytes != place->identity.segment_bytes || control->ring_bytes == 0 ||
        (control->ring_bytes & (control->ring_bytes - 1)) != 0 ||
        atomic_load_explicit(&control->state, memory_order_acquire) != WINDOW_LIVE) {
        return error_set(error, TAPE_NOT_FOUND, "no live window of this store");
    }
    return TAPE_OK;
}

tape_status window_open(const journal_place *place, bool writable, window *out, tape_error *error) {
    *out = (window){0};
    char *name = window_name(place, error);
    if (name == NULL) {
        return error == NULL ? TAPE_IO : error->status;
    }
    os_shm head = {0};
    tape_status status =
        os_shm_open(place->disk, name, WINDOW_CONTROL_BYTES, 0, false, &head, error);
    uint64_t ring_bytes = 0;
    if (status == TAPE_OK) {
        const window_control *control = (const window_control *)(const void *)head.data;
        status = window_check(place, control, error);
        ring_bytes = control->ring_bytes;
        os_shm_close(&head);
    }
    if (status == TAPE_OK) {
        status = os_shm_open(place->disk, name, WINDOW_CONTROL_BYTES, (size_t)ring_bytes, writable,
                             &out->shm, error);
    }
    if (status == TAPE_OK) {
        window_attach(out);
        out->mask = ring_bytes - 1;
        /* The name may have been given to another window between the two opens. */
        status = window_check(place, out->control, error);
        if (status == TAPE_OK && out->control->ring_bytes != ring_bytes) {
            status = error_set(error, TAPE_NOT_FOUND, "the live window was just replaced");
        }
        if (status != TAPE_OK) {
            window_close(out);
        }
    }
    free(name);
    return status;
}

tape_status window_remove(const journal_place *place, tape_error *error) {
    char *name = window_name(place, error);
    if (name == NULL) {
        return error == NULL ? TAPE_IO : error->status;
    }
    tape_status status = os_shm_remove(place->disk, name, error);
    free(name);
    return status;
}

void window_close(window *w) {
    if (w->shm.data != NULL) {
        os_shm_close(&w->shm);
    }
    *w = (window){0};
}

/* The full value of which `low` are the low 32 bits, at or after `base` by less than 2^32. */
static inline uint64_t widen(uint64_t base, uint32_t low) {
    return base + (uint32_t)(low - (uint32_t)base);
}

bool window_claim(const window *w, uint64_t bytes, uint32_t records, uint64_t reserve,
                  uint64_t segment_bytes, window_range *out) {
    window_control *control = w->control;
    uint64_t ring_bytes = w->mask + 1;
    for (;;) {
        uint64_t durable =
            atomic_load_explicit(&control->durable_position, memory_order_acquire) / FRAME_ALIGN;
        uint64_t word = atomic_load_explicit(&control->claim, memory_order_acquire);
        uint64_t position = widen(durable, (uint32_t)(word >> 32)) * FRAME_ALIGN;
        uint64_t left = segment_bytes - position % segment_bytes;
        uint64_t pad = bytes > left ? left : 0;
        uint64_t end = position + pad + bytes;
        if (end - durable * FRAME_ALIGN > ring_bytes - reserve) {
            return false;
        }
        uint32_t seq_low = (uint32_t)word;
        uint64_t next =
            (uint64_t)(uint32_t)(end / FRAME_ALIGN) << 32 | (uint32_t)(seq_low + records);
        if (atomic_compare_exchange_weak_explicit(&control->claim, &word, next,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
            /* Readers who find their bytes overwritten must find the claim as well. */
            atomic_thread_fence(memory_order_release);
            durable = atomic_load_explicit(&control->durable_position, memory_order_acquire);
            uint64_t durable_seq =
                atomic_load_explicit(&control->durable_seq, memory_order_acquire);
            uint64_t start = widen(durable / FRAME_ALIGN, (uint32_t)(word >> 32)) * FRAME_ALIGN;
            *out = (window_range){
                .start = start + pad,
                .pad = pad,
                .end = start + pad + bytes,
                .first_seq = widen(durable_seq, seq_low) + 1,
            };
            return true;
        }
    }
}

uint64_t window_claimed(const window *w) {
    uint64_t durable =
        atomic_load_explicit(&w->control->durable_position, memory_order_acquire) / FRAME_ALIGN;
    uint64_t word = atomic_load_explicit(&w->control->claim, memory_order_acquire);
    return widen(durable, (uint32_t)(word >> 32)) * FRAME_ALIGN;
}

uint64_t window_level_position(const window *w, tape_level level) {
    const window_control *control = w->control;
    switch (level) {
    case TAPE_WRITTEN:
        return atomic_load_explicit(&control->written_position, memory_order_acquire);
    case TAPE_DURABLE:
        return atomic_load_explicit(&control->durable_position, memory_order_acquire);
    default:
        return atomic_load_explicit(&control->committed_position, memory_order_acquire);
    }
}

uint64_t window_level_seq(const window *w, tape_level level) {
    const window_control *control = w->control;
    switch (level) {
    case TAPE_WRITTEN:
        return atomic_load_explicit(&control->written_seq, memory_order_acquire);
    case TAPE_DURABLE:
        return atomic_load_explicit(&control->durable_seq, memory_order_acquire);
    default:
        return atomic_load_explicit(&control->committed_seq, memory_order_acquire);
    }
}
