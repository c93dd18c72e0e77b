/* Reading every byte of every segment and checking all there is to check. */
#include "journal/journal_internal.h"

#include <stdlib.h>

typedef struct verify {
    const journal_place *place;
    segment_list segments;
    uint64_t live_end; /* with an owner: nothing beyond it is looked at; UINT64_MAX: none */
    uint64_t mark;     /* known durable since the last clean close */
    void (*damage)(void *, const tape_error *);
    void *context;
    uint64_t records;
    uint64_t found;
} verify;

static void verify_damage(verify *v, const tape_error *finding) {
    v->found++;
    if (v->damage != NULL) {
        v->damage(v->context, finding);
    }
}

/* Whether the segment after this one agrees with how this one ends. */
static void verify_join(verify *v, scan *s) {
    tape_error error;
    scan_step step = scan_next(s, &error);
    if (step == SCAN_FAILED) {
        verify_damage(v, &error);
    }
}

/* The header's page holds nothing but the header. */
static void verify_header_page(verify *v, const scan *s, uint64_t index) {
    for (uint64_t at = sizeof(segment_header); at < SEGMENT_HEADER_BYTES; at++) {
        if (s->map.data[at] != 0) {
            tape_error error;
            char *path = segment_path(v->place, index);
            tape_status status = error_set_file(
                &error, TAPE_CORRUPT, path, at,
                "%s at offset %llu: expected 00, actual %02x, in the unused part of the header",
                path, (unsigned long long)at, s->map.data[at]);
            (void)status;
            free(path);
            verify_damage(v, &error);
            return;
        }
    }
}

static void verify_segment(verify *v, uint64_t index) {
    uint64_t end = (index + 1) * v->place->identity.segment_bytes;
    bool last = index == v->segments.first + v->segments.count - 1;
    uint64_t stop = end < v->live_end ? end : v->live_end;
    tape_error error;
    scan s;
    if (scan_start(&s, v->place, v->segments, index, &error) != TAPE_OK) {
        verify_damage(v, &error);
        scan_end(&s);
        return;
    }
    verify_header_page(v, &s, index);
    bool damaged = false;
    while (s.position < stop) {
        scan_step step = scan_next(&s, &error);
        if (step == SCAN_FRAME) {
            v->records += s.header.type < FRAME_CONTROL ? 1 : 0;
            continue;
        }
        if (s.zero && last && scan_rest_is_zero(&s) && s.position == s.commit.end &&
            s.position >= v->mark) {
            break;
        }
        uint64_t durable = s.commit.end > v->mark ? s.commit.end : v->mark;
        tape_status status = scan_report(&s, stop < end ? stop : durable, &error);
        (void)status;
        verify_damage(v, &error);
        damaged = true;
        if (!scan_resume(&s)) {
            break;
        }
    }
    if (!damaged && !last && s.position == end) {
        verify_join(v, &s);
    }
    scan_end(&s);
}

tape_status journal_verify(os_disk *disk, const char *root,
                           void (*damage)(void *, const tape_error *), void *context,
                           uint64_t *files, uint64_t *records, tape_error *error) {
    journal_place place;
    verify v = {.place = &place, .damage = damage, .context = context, .live_end = UINT64_MAX};
    tape_status status = journal_place_init(&place, disk, root, error);
    if (status == TAPE_OK) {
        status = segment_list_read(&place, &v.segments, error);
    }
    window w;
    if (status == TAPE_OK && window_open(&place, false, &w, NULL) == TAPE_OK) {
        v.live_end = atomic_load_explicit(&w.control->durable_position, memory_order_acquire);
        window_close(&w);
        /* Segments put in place after the list was read are beyond it. */
    }
    tape_error local;
    if (status == TAPE_OK && journal_mark_read(&place, &v.mark, &local) != TAPE_OK) {
        v.mark = 0;
        verify_damage(&v, &local);
    }
    for (uint64_t i = 0; status == TAPE_OK && i < v.segments.count; i++) {
        verify_segment(&v, v.segments.first + i);
    }
    *files = v.segments.count + 1 + (v.mark != 0 ? 1 : 0); /* the identity, and the mark */
    *records = v.records;
    if (place.dir != NULL) {
        journal_place_deinit(&place);
    }
    if (status == TAPE_OK && v.found > 0) {
        status = error_set(error, TAPE_CORRUPT, "%llu damaged places in the journal",
                           (unsigned long long)v.found);
    }
    return status;
}
