/* expire.c: what keep_ns no longer asks for, by whole files.
 *
 * Of an event table a file's rows go; of an entity table a `past` file, since every version in it
 * has been superseded. What a table's history_seq says is made durable with it: a read below would
 * miss rows. */
#include "archive/archive_internal.h"

static bool is_expired(const archive *a, const archive_file_info *f, int64_t now_ns) {
    int64_t from = 0;
    int64_t to = 0;
    int64_t keep = a->options.keep_ns[f->table];
    int64_t bound = 0;
    if (keep <= 0 || (f->kind != ARCHIVE_ROWS && f->kind != ARCHIVE_PAST)) {
        return false;
    }
    archive_day_range(a, f->day, &from, &to);
    return !__builtin_sub_overflow(now_ns, keep, &bound) && to < bound;
}

tape_status archive_expire(archive *a, int64_t now_ns, tape_error *error) {
    archive_edit e = {0};
    tape_status status = TAPE_OK;
    size_t count = 0;
    pthread_mutex_lock(&a->write_lock);
    for (size_t i = 0; i < a->current->file_count; i++) {
        count += is_expired(a, &a->current->files[i]->info, now_ns);
    }
    if (count > 0) {
        status = archive_edit_begin(&e, a, false, (archive_beat){0}, error);
        for (size_t i = 0; status == TAPE_OK && i < e.base->file_count; i++) {
            archive_file *f = e.base->files[i];
            uint64_t seq = f->info.kind == ARCHIVE_PAST ? f->info.max_by : f->info.max_seq;
            if (is_expired(a, &f->info, now_ns)) {
                archive_edit_remove(&e, f);
                if (seq > e.history_seq[f->info.table]) {
                    e.history_seq[f->info.table] = seq;
                }
            }
        }
        if (status == TAPE_OK) {
            status = archive_edit_commit(&e, error);
        }
        if (status == TAPE_OK) {
            atomic_fetch_add(&a->expired_files, count);
        }
        archive_edit_end(&e);
    }
    pthread_mutex_unlock(&a->write_lock);
    if (status != TAPE_OK) {
        error_prefix(error, "letting expired files of the archive go");
    }
    return status;
}
