/* manifest.c: see manifest.h. */
#include "store/manifest.h"

#include "format/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define EDIT_FILES_MAX 4096u /* per edit of a new file: keeps frames small */
#define PAYLOAD_VERSION 2u
/* A file this much longer than twice what it has to state is replaced by one that states it. */
#define GROWTH_BYTES_MAX KIB(256)
#define FILE_BYTES_MAX GIB(4)
#define RESTORE_HINT "restore the store from a snapshot or a backup"
#define TOO_OLD_TEXT                                                                               \
    "%s: manifest format %u, made by an earlier version of tape; remove the directory %s: the "    \
    "journal builds it again when it has been kept from seq 1 on"

/* The payload of a MANIFEST_HISTORY item. */
typedef struct history_item {
    uint64_t table;
    uint64_t seq;
} history_item;

/* --- order and plausibility --- */

/* The order of entries within a table: key, then seq descending. */
static int place_compare(slice key_a, uint64_t seq_a, slice key_b, uint64_t seq_b) {
    int order = slice_compare(key_a, key_b);
    return order != 0 ? order : (seq_a < seq_b) - (seq_a > seq_b);
}

static slice first_key(const sstable_info *info) {
    return (slice){info->min_key, info->min_key_size};
}

static slice last_key(const sstable_info *info) {
    return (slice){info->max_key, info->max_key_size};
}

/* By table, level, and where the file starts in its level. */
static int compare_in_levels(const void *left, const void *right) {
    const manifest_entry *a = *(const manifest_entry *const *)left;
    const manifest_entry *b = *(const manifest_entry *const *)right;
    if (a->info.table != b->info.table) {
        return a->info.table < b->info.table ? -1 : 1;
    }
    if (a->level != b->level) {
        return a->level < b->level ? -1 : 1;
    }
    if (a->level == 0) {
        return (a->info.min_seq > b->info.min_seq) - (a->info.min_seq < b->info.min_seq);
    }
    return place_compare(first_key(&a->info), a->info.first_seq, first_key(&b->info),
                         b->info.first_seq);
}

/* Of one table and level: whether all of `a` comes before all of `b`. */
static bool ends_before(const manifest_entry *a, const manifest_entry *b) {
    if (a->level == 0) {
        return a->info.max_seq < b->info.min_seq;
    }
    return place_compare(last_key(&a->info), a->info.last_seq, first_key(&b->info),
                         b->info.first_seq) < 0;
}

bool manifest_levels_sound(const manifest *m, const manifest_entry **one,
                           const manifest_entry **other) {
    const manifest_entry **files = mem_alloc((m->entry_count + 1) * sizeof(manifest_entry *));
    for (size_t i = 0; i < m->entry_count; i++) {
        files[i] = &m->entries[i];
    }
    qsort(files, m->entry_count, sizeof(manifest_entry *), compare_in_levels);
    bool sound = true;
    for (size_t i = 1; i < m->entry_count && sound; i++) {
        const manifest_entry *a = files[i - 1];
        const manifest_entry *b = files[i];
        sound = a->info.table != b->info.table || a->level != b->level || ends_before(a, b);
        if (!sound && one != NULL) {
            *one = a;
        }
        if (!sound && other != NULL) {
            *other = b;
        }
    }
    free(files);
    return sound;
}

static bool key_plausible(const uint8_t key[RECORD_KEY_BYTES_MAX], uint32_t size, uint16_t table) {
    if (size < 2 || size > RECORD_KEY_BYTES_MAX || key[0] != table) {
        return false;
    }
    for (uint32_t i = size; i < RECORD_KEY_BYTES_MAX; i++) {
        if (key[i] != 0) {
            return false;
        }
    }
    return true;
}

/* What cannot be right about a file, or NULL. */
static const char *implausible(const manifest_table *t, uint64_t flushed_seq,
                               uint64_t next_number) {
    slice first = {t->min_key, t->min_key_size};
    slice last = {t->max_key, t->max_key_size};
    if (t->number == 0 || t->number >= next_number) {
        return "its number is 0 or not below the next file's";
    }
    if (t->level >= MANIFEST_LEVELS) {
        return "there is no such level";
    }
    if (t->table == 0) {
        return "it is of no table";
    }
    if (t->min_seq == 0 || t->min_seq > t->max_seq || t->max_seq > flushed_seq) {
        return "its range of seq is empty or goes beyond the flushed seq";
    }
    if (t->size_bytes == 0 || t->entries == 0 || t->entries - 1 > t->max_seq - t->min_seq ||
        t->keys == 0 || t->keys > t->entries) {
        return "its counts of bytes, records or keys are impossible";
    }
    if (t->min_ts > t->max_ts || t->min_append_ts > t->max_append_ts) {
        return "its range of time is empty";
    }
    if (!key_plausible(t->min_key, t->min_key_size, t->table) ||
        !key_plausible(t->max_key, t->max_key_size, t->table)) {
        return "a key is not one of its table";
    }
    if (t->first_seq < t->min_seq || t->first_seq > t->max_seq || t->last_seq < t->min_seq ||
        t->last_seq > t->max_seq ||
        place_compare(first, t->first_seq, last, t->last_seq) > (t->entries == 1 ? 0 : -1)) {
        return "its first record does not come before its last";
    }
    return NULL;
}

static bool table_has_history(uint64_t table) {
    return table > 0 && table <= TAPE_TABLE_COUNT;
}

static manifest_table table_of_entry(const manifest_entry *entry) {
    const sstable_info *info = &entry->info;
    manifest_table t = {
        .number = info->number,
        .size_bytes = info->size_bytes,
        .level = entry->level,
        .table = info->table,
        .codec = info->codec,
        .entries = info->entries,
        .keys = info->keys,
        .payload_bytes = info->payload_bytes,
        .content_xxh3 = info->content_xxh3,
        .min_seq = info->min_seq,
        .max_seq = info->max_seq,
        .min_ts = info->min_ts,
        .max_ts = info->max_ts,
        .min_append_ts = info->min_append_ts,
        .max_append_ts = info->max_append_ts,
        .first_seq = info->first_seq,
        .last_seq = info->last_seq,
        .min_key_size = info->min_key_size,
        .max_key_size = info->max_key_size,
    };
    ASSERT(info->min_key_size <= RECORD_KEY_BYTES_MAX &&
           info->max_key_size <= RECORD_KEY_BYTES_MAX);
    memcpy(t.min_key, info->min_key, info->min_key_size);
    memcpy(t.max_key, info->max_key, info->max_key_size);
    return t;
}

static manifest_entry entry_of_table(const manifest_table *t) {
    manifest_entry entry = {
        .info =
            {
                .number = t->number,
                .size_bytes = t->size_bytes,
                .table = t->table,
                .codec = t->codec,
                .entries = t->entries,
                .keys = t->keys,
                .payload_bytes = t->payload_bytes,
                .content_xxh3 = t->content_xxh3,
                .min_seq = t->min_seq,
                .max_seq = t->max_seq,
                .min_ts = t->min_ts,
                .max_ts = t->max_ts,
                .min_append_ts = t->min_append_ts,
                .max_append_ts = t->max_append_ts,
                .first_seq = t->first_seq,
                .last_seq = t->last_seq,
                .min_key_size = t->min_key_size,
                .max_key_size = t->max_key_size,
            },
        .level = t->level,
    };
    memcpy(entry.info.min_key, t->min_key, sizeof entry.info.min_key);
    memcpy(entry.info.max_key, t->max_key, sizeof entry.info.max_key);
    return entry;
}

/* Whether they are the same file, whatever their levels. */
static bool same_file(const manifest_entry *a, const manifest_entry *b) {
    manifest_table left = table_of_entry(a);
    manifest_table right = table_of_entry(b);
    left.level = right.level;
    return memcmp(&left, &right, sizeof left) == 0;
}

/* --- loading --- */

/* A file that the manifest names or named. */
typedef struct loaded_file {
    manifest_entry entry;
    uint64_t offset;     /* of the edit that added it */
    uint64_t removed_by; /* number of the edit that removed it */
    bool listed;
} loaded_file;

/* Every file so far, found by number without regard to how many there are. */
typedef struct loader {
    manifest *m;
    loaded_file *files;
    size_t count;
    size_t capacity;
    size_t listed;
    uint32_t *slots;   /* open addressing: index of a file + 1, or 0 */
    size_t slot_count; /* a power of two, at least twice `count` */
} loader;

static tape_status damaged(const manifest *m, uint64_t offset, tape_error *error,
                           const char *format, ...) PRINTF_LIKE(4, 5);
static tape_status damaged(const manifest *m, uint64_t offset, tape_error *error,
                           const char *format, ...) {
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set_file(error, TAPE_CORRUPT, m->path, offset,
                          "%s: damaged at offset %" PRIu64 ": %s; " RESTORE_HINT, m->path, offset,
                          what);
}

static tape_status newer(const manifest *m, uint64_t offset, tape_error *error, const char *what,
                         uint64_t value) {
    return error_set_file(error, TAPE_NEWER, m->path, offset,
                          "%s: the edit at offset %" PRIu64 " has %s %" PRIu64
                          ", which this version of tape does not know; use a newer one",
                          m->path, offset, what, value);
}

/* Where the file of that number is in `slots`, or the empty slot where it belongs. */
static size_t loader_slot(const loader *l, uint64_t number) {
    size_t mask = l->slot_count - 1;
    size_t at = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & mask;
    while (l->slots[at] != 0 && l->files[l->slots[at] - 1].entry.info.number != number) {
        at = (at + 1) & mask;
    }
    return at;
}

static loaded_file *loader_find(const loader *l, uint64_t number) {
    uint32_t index = l->slot_count == 0 ? 0 : l->slots[loader_slot(l, number)];
    return index == 0 ? NULL : &l->files[index - 1];
}

static void loader_add(loader *l, const loaded_file *file) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity == 0 ? 64 : 2 * l->capacity;
        l->files = mem_realloc(l->files, l->capacity * sizeof *l->files);
        free(l->slots);
        l->slot_count = 2 * l->capacity;
        l->slots = mem_zalloc(l->slot_count * sizeof *l->slots);
        for (size_t i = 0; i < l->count; i++) {
            l->slots[loader_slot(l, l->files[i].entry.info.number)] = (uint32_t)(i + 1);
        }
    }
    l->files[l->count] = *file;
    l->slots[loader_slot(l, file->entry.info.number)] = (uint32_t)++l->count;
    l->listed++;
}

static tape_status apply_add(loader *l, const uint8_t *payload, uint64_t offset,
                             tape_error *error) {
    manifest *m = l->m;
    manifest_table t;
    memcpy(&t, payload, sizeof t);
    if (t.table > TAPE_TABLE_COUNT) {
        return newer(m, offset, error, "a file of table", t.table);
    }
    if (t.codec > SSTABLE_ZSTD) {
        return newer(m, offset, error, "a file of codec", t.codec);
    }
    const char *fault = implausible(&t, m->flushed_seq, m->next_number);
    if (fault != NULL) {
        return damaged(m, offset, error, "the edit adds file %" PRIu64 ", but %s", t.number, fault);
    }
    loaded_file added = {.entry = entry_of_table(&t), .offset = offset, .listed = true};
    loaded_file *old = loader_find(l, t.number);
    if (old == NULL) {
        loader_add(l, &added);
        return TAPE_OK;
    }
    if (old->listed || old->removed_by != m->next_edit || !same_file(&old->entry, &added.entry)) {
        return damaged(m, offset, error, "the edit adds file %" PRIu64 ", but %s", t.number,
                       old->listed ? "it is listed" : "its number was another file's");
    }
    *old = added; /* to another level */
    l->listed++;
    return TAPE_OK;
}

static tape_status apply_remove(loader *l, const uint8_t *payload, uint64_t offset,
                                tape_error *error) {
    uint64_t number = load_u64(payload);
    loaded_file *file = loader_find(l, number);
    if (file == NULL || !file->listed) {
        return damaged(l->m, offset, error,
                       "the edit removes file %" PRIu64 ", which is not listed", number);
    }
    file->listed = false;
    file->removed_by = l->m->next_edit;
    l->listed--;
    return TAPE_OK;
}

static tape_status apply_history(manifest *m, const uint8_t *payload, uint64_t offset,
                                 tape_error *error) {
    history_item item;
    memcpy(&item, payload, sizeof item);
    if (item.table > TAPE_TABLE_COUNT) {
        return newer(m, offset, error, "the history of table", item.table);
    }
    if (!table_has_history(item.table) || item.seq < m->history_seq[item.table]) {
        return damaged(
            m, offset, error, "the history of table %" PRIu64 " starts at seq %" PRIu64 ", but %s",
            item.table, item.seq,
            table_has_history(item.table) ? "it did later before" : "there is no such table");
    }
    m->history_seq[item.table] = item.seq;
    return TAPE_OK;
}

/* One item of an edit; *at moves past it. `adding`: there was an addition before. */
static tape_status apply_item(loader *l, const uint8_t *payload, size_t size, size_t *at,
                              bool *adding, uint64_t offset, tape_error *error) {
    static const size_t sizes[] = {
        [MANIFEST_ADD_TABLE] = sizeof(manifest_table),
        [MANIFEST_REMOVE_TABLE] = sizeof(uint64_t),
        [MANIFEST_HISTORY] = sizeof(history_item),
    };
    manifest_item item;
    if (size - *at < sizeof item) {
        return damaged(l->m, offset, error, "the edit ends within an item");
    }
    memcpy(&item, payload + *at, sizeof item);
    if (item.kind == 0 || item.kind >= COUNT_OF(sizes)) {
        return newer(l->m, offset, error, "an item of kind", item.kind);
    }
    if (item.size_bytes != sizeof item + sizes[item.kind] || item.size_bytes > size - *at) {
        return damaged(l->m, offset, error, "an item of the edit has a wrong size");
    }
    const uint8_t *content = payload + *at + sizeof item;
    *at += item.size_bytes;
    if (item.kind == MANIFEST_HISTORY) {
        return apply_history(l->m, content, offset, error);
    }
    if (item.kind == MANIFEST_REMOVE_TABLE) {
        return *adding ? damaged(l->m, offset, error, "the edit removes a file after it added one")
                       : apply_remove(l, content, offset, error);
    }
    *adding = true;
    return apply_add(l, content, offset, error);
}

static tape_status apply_edit(loader *l, const uint8_t *payload, size_t size, uint64_t offset,
                              tape_error *error) {
    manifest *m = l->m;
    manifest_edit edit;
    if (size < sizeof edit) {
        return damaged(m, offset, error, "the edit is too short");
    }
    memcpy(&edit, payload, sizeof edit);
    if (edit.number != m->next_edit) {
        return damaged(m, offset, error, "edit number expected %" PRIu64 ", actual %" PRIu64,
                       m->next_edit, edit.number);
    }
    if (edit.flushed_seq < m->flushed_seq || edit.next_number < m->next_number) {
        return damaged(m, offset, error,
                       "the flushed seq falls from %" PRIu64 " to %" PRIu64
                       " or the next file's number from %" PRIu64 " to %" PRIu64,
                       m->flushed_seq, edit.flushed_seq, m->next_number, edit.next_number);
    }
    m->flushed_seq = edit.flushed_seq;
    m->next_number = edit.next_number;
    size_t at = sizeof edit;
    bool adding = false;
    for (uint32_t i = 0; i < edit.item_count; i++) {
        tape_status status = apply_item(l, payload, size, &at, &adding, offset, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (at != size) {
        return damaged(m, offset, error, "the edit is longer than its items");
    }
    m->next_edit++;
    return TAPE_OK;
}

static int compare_numbers(const void *left, const void *right) {
    const loaded_file *a = *(const loaded_file *const *)left;
    const loaded_file *b = *(const loaded_file *const *)right;
    return (a->entry.info.number > b->entry.info.number) -
           (a->entry.info.number < b->entry.info.number);
}

/* What is listed after the last edit, by number; and that it is sound (N5). */
static tape_status list_entries(const loader *l, tape_error *error) {
    manifest *m = l->m;
    const loaded_file **files = mem_alloc((l->listed + 1) * sizeof(loaded_file *));
    size_t count = 0;
    bool rising = true;
    for (size_t i = 0; i < l->count; i++) {
        if (l->files[i].listed) {
            files[count] = &l->files[i];
            rising =
                rising && (count == 0 || compare_numbers(&files[count - 1], &files[count]) < 0);
            count++;
        }
    }
    ASSERT(count == l->listed);
    if (!rising) {
        qsort(files, count, sizeof(loaded_file *), compare_numbers);
    }
    m->entries = mem_alloc((count + 1) * sizeof *m->entries);
    m->entry_count = count;
    m->entry_capacity = count + 1;
    for (size_t i = 0; i < count; i++) {
        m->entries[i] = files[i]->entry;
    }
    free(files);
    const manifest_entry *a = NULL;
    const manifest_entry *b = NULL;
    if (manifest_levels_sound(m, &a, &b)) {
        return TAPE_OK;
    }
    if (a->info.number > b->info.number) {
        const manifest_entry *swap = a;
        a = b;
        b = swap;
    }
    uint64_t one = loader_find(l, a->info.number)->offset;
    uint64_t other = loader_find(l, b->info.number)->offset;
    return damaged(m, one > other ? one : other, error,
                   "files %" PRIu64 " and %" PRIu64 " of table %u overlap at level %" PRIu32,
                   a->info.number, b->info.number, a->info.table, a->level);
}

/* The frame of another store is intact under that store's salt. */
static bool head_is_foreign(const uint8_t *data, size_t size) {
    manifest_head head;
    if (size < FRAME_HEADER_BYTES + sizeof head) {
        return false;
    }
    memcpy(&head, data + FRAME_HEADER_BYTES, sizeof head);
    frame_header frame;
    return head.magic == MANIFEST_MAGIC &&
           frame_read(data, size, format_salt(head.store_id), 0, &frame, NULL, NULL) == FRAME_VALID;
}

static tape_status apply_head(manifest *m, const frame_header *frame, const uint8_t *payload,
                              size_t payload_size, size_t file_size, tape_error *error) {
    manifest_head head;
    if (payload_size < sizeof head) {
        return damaged(m, 0, error, "the head is too short");
    }
    memcpy(&head, payload, sizeof head);
    if (head.magic != MANIFEST_MAGIC ||
        memcmp(head.store_id, m->place.store_id, sizeof head.store_id) != 0) {
        return damaged(m, 0, error, "the first frame is not a manifest's head");
    }
    if (head.format_version > MANIFEST_FORMAT_VERSION) {
        return error_set_file(
            error, TAPE_NEWER, m->path, 0,
            "%s: manifest format %u, this version of tape reads up to %u; use a newer one", m->path,
            head.format_version, MANIFEST_FORMAT_VERSION);
    }
    if (head.format_version > 0 && head.format_version < MANIFEST_FORMAT_VERSION) {
        return error_set_file(error, TAPE_TOO_OLD, m->path, 0, TOO_OLD_TEXT, m->path,
                              head.format_version, m->place.dir);
    }
    if (head.format_version == 0 || frame->version != PAYLOAD_VERSION || frame->flags != 0 ||
        frame->append_ts != 0 || payload_size != sizeof head) {
        return damaged(m, 0, error, "the head's version or size is wrong");
    }
    if (head.base_bytes > file_size) {
        return error_set_file(error, TAPE_CORRUPT, m->path, file_size,
                              "%s: the file is cut off: bytes expected %" PRIu64
                              " or more, actual %zu"
                              "; " RESTORE_HINT,
                              m->path, head.base_bytes, file_size);
    }
    m->base_bytes = head.base_bytes;
    m->next_edit = head.first_edit;
    return TAPE_OK;
}

/* Whether a whole frame of ours starts anywhere in [from, size). */
static bool frame_follows(const manifest *m, const uint8_t *data, size_t size, uint64_t from) {
    for (uint64_t at = ALIGN_UP(from, FRAME_ALIGN); at + FRAME_HEADER_BYTES <= size;
         at += FRAME_ALIGN) {
        frame_header header;
        memcpy(&header, data + at, sizeof header);
        /* Looked at before the checksum is computed: most places fail here. */
        if (header.type == FRAME_MANIFEST && header.flags == 0 &&
            frame_read(data + at, size - at, m->salt, at, &header, NULL, NULL) == FRAME_VALID) {
            return true;
        }
    }
    return false;
}

/* The table in manifest.h. OK: the frame is the edit in doubt. */
static tape_status judge_invalid(const manifest *m, const uint8_t *data, size_t size, uint64_t at,
                                 frame_verdict verdict, uint32_t expected, uint32_t actual,
                                 tape_error *error) {
    const char *why = at == 0              ? "it holds the head"
                      : at < m->base_bytes ? "it was durable before the file got its name"
                                           : "a valid frame follows it";
    if (at == 0 && head_is_foreign(data, size)) {
        return error_set_file(error, TAPE_CORRUPT, m->path, 0,
                              "%s: the manifest belongs to another store; " RESTORE_HINT, m->path);
    }
    if (at != 0 && at >= m->base_bytes && !frame_follows(m, data, size, at + 1)) {
        return TAPE_OK;
    }
    if (verdict == FRAME_BAD_CRC) {
        return error_set_file(error, TAPE_CORRUPT, m->path, at,
                              "%s: damaged at offset %" PRIu64
                              ": checksum expected 0x%08x, actual 0x%08x, and %s; " RESTORE_HINT,
                              m->path, at, expected, actual, why);
    }
    return error_set_file(error, TAPE_CORRUPT, m->path, at,
                          "%s: damaged at offset %" PRIu64 ": %s, and %s; " RESTORE_HINT, m->path,
                          at, frame_verdict_text(verdict), why);
}

/* One valid frame. */
static tape_status apply_frame(loader *l, const frame_header *frame, const uint8_t *payload,
                               uint64_t at, size_t file_size, tape_error *error) {
    size_t size = frame->size_bytes - FRAME_HEADER_BYTES;
    if (frame->type != FRAME_MANIFEST) {
        return damaged(l->m, at, error, "a frame that is not a manifest's");
    }
    if (at == 0) {
        return apply_head(l->m, frame, payload, size, file_size, error);
    }
    if (frame->version > PAYLOAD_VERSION) {
        return newer(l->m, at, error, "version", frame->version);
    }
    if (frame->version != PAYLOAD_VERSION || frame->flags != 0 || frame->append_ts != 0) {
        return damaged(l->m, at, error, "the edit's frame has a wrong version, flags or time");
    }
    return apply_edit(l, payload, size, at, error);
}

static tape_status load_frames(loader *l, const uint8_t *data, size_t size, tape_error *error) {
    manifest *m = l->m;
    uint64_t at = 0;
    while (at < size || at == 0) {
        frame_header header;
        uint32_t expected = 0;
        uint32_t actual = 0;
        frame_verdict verdict =
            frame_read(data + at, size - at, m->salt, at, &header, &expected, &actual);
        if (verdict != FRAME_VALID) {
            tape_status status = judge_invalid(m, data, size, at, verdict, expected, actual, error);
            if (status != TAPE_OK) {
                return status;
            }
            m->doubtful = true;
            m->cut_bytes = size - at;
            break;
        }
        tape_status status =
            apply_frame(l, &header, data + at + FRAME_HEADER_BYTES, at, size, error);
        if (status != TAPE_OK) {
            return status;
        }
        at += frame_span(header.size_bytes);
    }
    m->end = at;
    return list_entries(l, error);
}

static tape_status read_whole(os_file *file, uint8_t **data, size_t *size, tape_error *error) {
    uint64_t bytes = 0;
    tape_status status = os_file_size(file, &bytes, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (bytes > FILE_BYTES_MAX) {
        return error_set_file(error, TAPE_CORRUPT, os_file_path(file), bytes,
                              "%s: %" PRIu64
                              " bytes are far more than any manifest has; " RESTORE_HINT,
                              os_file_path(file), bytes);
    }
    *data = mem_alloc(bytes);
    return os_file_read(file, 0, *data, bytes, size, error);
}

static void manifest_init(manifest *m, const sstable_place *place) {
    *m = (manifest){
        .place = *place,
        .path = mem_printf("%s/%s", place->dir, MANIFEST_NAME),
        .salt = format_salt(place->store_id),
        .next_edit = 1,
        .next_number = 1,
        .doubtful = true,
    };
}

tape_status manifest_read(manifest *m, const sstable_place *place, const uint8_t *data, size_t size,
                          tape_error *error) {
    manifest_init(m, place);
    m->present = true;
    m->doubtful = false;
    loader l = {.m = m};
    tape_status status = load_frames(&l, data, size, error);
    free(l.files);
    free(l.slots);
    if (status != TAPE_OK) {
        manifest_deinit(m);
    }
    return status;
}

tape_status manifest_load(manifest *m, const sstable_place *place, tape_error *error) {
    char *path = mem_printf("%s/%s", place->dir, MANIFEST_NAME);
    os_file *file = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    tape_status status = os_file_open(place->disk, path, OS_READ, &file, error);
    if (status == TAPE_NOT_FOUND) {
        manifest_init(m, place);
        status = TAPE_OK;
        goto out;
    }
    if (status == TAPE_OK) {
        status = read_whole(file, &data, &size, error);
    }
    if (status == TAPE_OK) {
        status = manifest_read(m, place, data, size, error);
    }
out:
    free(data);
    os_file_close(&file);
    free(path);
    return status;
}

void manifest_deinit(manifest *m) {
    os_file_close(&m->file);
    free(m->entries);
    free(m->path);
    *m = (manifest){0};
}

/* --- writing --- */

static void append_frame(const manifest *m, buffer *out, uint64_t position, const void *payload,
                         size_t size) {
    uint64_t span = frame_span((uint32_t)(FRAME_HEADER_BYTES + size));
    buffer_reserve(out, span);
    (void)frame_write(out->data + out->size, m->salt, position, FRAME_MANIFEST, PAYLOAD_VERSION, 0,
                      0, payload, size);
    out->size += span;
}

/* The payload of an edit, its items still to come. */
static void edit_begin(buffer *payload, uint64_t number, uint64_t flushed_seq,
                       uint64_t next_number) {
    manifest_edit edit = {.number = number, .flushed_seq = flushed_seq, .next_number = next_number};
    buffer_append(payload, &edit, sizeof edit);
}

static void edit_add_item(buffer *payload, enum manifest_item_kind kind, const void *content,
                          size_t size) {
    manifest_item item = {kind, (uint32_t)(sizeof item + size)};
    buffer_append(payload, &item, sizeof item);
    buffer_append(payload, content, size);
    ((manifest_edit *)payload->data)->item_count++;
}

static void edit_add_files(buffer *payload, const manifest_entry *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        manifest_table table = table_of_entry(&files[i]);
        edit_add_item(payload, MANIFEST_ADD_TABLE, &table, sizeof table);
    }
}

static void edit_add_history(buffer *payload, uint64_t table, uint64_t seq) {
    history_item item = {table, seq};
    edit_add_item(payload, MANIFEST_HISTORY, &item, sizeof item);
}

/* The edit as a frame behind `out`. */
static void edit_end(const manifest *m, buffer *out, uint64_t position, buffer *payload) {
    append_frame(m, out, position, payload->data, payload->size);
    buffer_deinit(payload);
}

/* A failed sync is final: the system may have dropped what it could not write. */
static tape_status sync_failed(tape_error *error) {
    if (error != NULL) {
        error->status = TAPE_FAILED;
    }
    return TAPE_FAILED;
}

static tape_status replace_file(manifest *m, const buffer *content, tape_error *error) {
    char *temporary = mem_printf("%s/%s", m->place.dir, MANIFEST_TEMPORARY_NAME);
    os_file *file = NULL;
    tape_status status = os_remove(m->place.disk, temporary, error);
    if (status == TAPE_OK || status == TAPE_NOT_FOUND) {
        status = os_file_open(m->place.disk, temporary, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file,
                              error);
    }
    if (status == TAPE_OK) {
        status = os_file_write(file, 0, content->data, content->size, error);
    }
    if (status == TAPE_OK && os_file_sync(file, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    os_file_close(&file);
    if (status == TAPE_OK) {
        status = os_rename(m->place.disk, temporary, m->path, error);
    }
    if (status != TAPE_OK) {
        tape_status ignored = os_remove(m->place.disk, temporary, NULL);
        (void)ignored;
    }
    if (status == TAPE_OK && os_dir_sync(m->place.disk, m->place.dir, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    free(temporary);
    return status;
}

/* The whole state as edits from m->next_edit on, behind `content`; returns the number of the edit
 * that comes next. One at least: seqs and the next file's number have to be stated even where no
 * file is listed. */
static uint64_t append_state(const manifest *m, buffer *content) {
    uint64_t number = m->next_edit;
    size_t done = 0;
    do {
        size_t count = m->entry_count - done;
        count = count < EDIT_FILES_MAX ? count : EDIT_FILES_MAX;
        buffer payload = {0};
        edit_begin(&payload, number++, m->flushed_seq, m->next_number);
        for (uint64_t table = 1; done == 0 && table <= TAPE_TABLE_COUNT; table++) {
            if (m->history_seq[table] > 0) {
                edit_add_history(&payload, table, m->history_seq[table]);
            }
        }
        edit_add_files(&payload, count == 0 ? NULL : m->entries + done, count);
        edit_end(m, content, content->size, &payload);
        done += count;
    } while (done < m->entry_count);
    return number;
}

/* Writes the whole state as a new file and puts it in the old one's place. */
static tape_status write_anew(manifest *m, tape_error *error) {
    manifest_head head = {
        .magic = MANIFEST_MAGIC,
        .format_version = MANIFEST_FORMAT_VERSION,
        .first_edit = m->next_edit,
    };
    memcpy(head.store_id, m->place.store_id, sizeof head.store_id);
    buffer content = {0};
    append_frame(m, &content, 0, &head, sizeof head);
    uint64_t next_edit = append_state(m, &content);
    head.base_bytes = content.size;
    (void)frame_write(content.data, m->salt, 0, FRAME_MANIFEST, PAYLOAD_VERSION, 0, 0, &head,
                      sizeof head);
    os_file_close(&m->file); /* edits must not go to the file that is being replaced */
    m->doubtful = true;
    tape_status status = replace_file(m, &content, error);
    if (status == TAPE_OK) {
        m->present = true;
        m->doubtful = false;
        m->end = m->base_bytes = content.size;
        m->next_edit = next_edit;
        m->cut_bytes = 0;
    }
    buffer_deinit(&content);
    return status;
}

tape_status manifest_settle(manifest *m, tape_error *error) {
    uint64_t stated = m->entry_count * (sizeof(manifest_item) + sizeof(manifest_table));
    if (m->doubtful || m->end > 2 * stated + GROWTH_BYTES_MAX) {
        return write_anew(m, error);
    }
    return TAPE_OK;
}

/* --- changes --- */

/* The first entry whose number is not below `number`. */
static size_t lower_bound(const manifest *m, uint64_t number) {
    size_t low = 0;
    size_t high = m->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->entries[middle].info.number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_listed_at(const manifest *m, size_t index, uint64_t number) {
    return index < m->entry_count && m->entries[index].info.number == number;
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int compare_entries(const void *left, const void *right) {
    const manifest_entry *a = left;
    const manifest_entry *b = right;
    return compare_u64(&a->info.number, &b->info.number);
}

/* A change sorted by number, and where it meets the entries. */
typedef struct sorted_change {
    uint64_t *removed; /* indexes of entries, rising; without those that only move */
    size_t removed_count;
    manifest_entry *added; /* numbers rise; without those that only move */
    size_t added_count;
    manifest_entry *moved; /* listed before and after */
    size_t moved_count;
} sorted_change;

static void sorted_change_deinit(sorted_change *c) {
    free(c->removed);
    free(c->added);
    free(c->moved);
    *c = (sorted_change){0};
}

/* Fills c->removed with all that the change removes. */
static void sort_removed(const manifest *m, const manifest_change *change, sorted_change *c) {
    c->removed = mem_alloc((change->removed_count + 1) * sizeof *c->removed);
    for (size_t i = 0; i < change->removed_count; i++) {
        size_t index = lower_bound(m, change->removed[i]);
        ASSERT(is_listed_at(m, index, change->removed[i]));
        c->removed[i] = index;
    }
    qsort(c->removed, change->removed_count, sizeof *c->removed, compare_u64);
    for (size_t i = 1; i < change->removed_count; i++) {
        ASSERT(c->removed[i - 1] != c->removed[i]);
    }
}

/* Fills c->added with all that the change adds. */
static void sort_added(const manifest *m, const manifest_change *change, sorted_change *c) {
    c->added = mem_alloc((change->added_count + 1) * sizeof *c->added);
    for (size_t i = 0; i < change->added_count; i++) {
        c->added[i] = change->added[i];
        manifest_table table = table_of_entry(&c->added[i]);
        ASSERT(table.table <= TAPE_TABLE_COUNT && table.codec <= SSTABLE_ZSTD);
        ASSERT(implausible(&table, change->flushed_seq, m->next_number) == NULL);
    }
    qsort(c->added, change->added_count, sizeof *c->added, compare_entries);
    for (size_t i = 1; i < change->added_count; i++) {
        ASSERT(compare_entries(&c->added[i - 1], &c->added[i]) != 0);
    }
}

/* Whoever gets one of the conditions here wrong would write what cannot be loaded. */
static void sort_change(const manifest *m, const manifest_change *change, sorted_change *c) {
    ASSERT(change->flushed_seq >= m->flushed_seq);
    ASSERT(change->history_table == 0 || table_has_history(change->history_table));
    sort_removed(m, change, c);
    sort_added(m, change, c);
    c->moved = mem_alloc((change->added_count + 1) * sizeof *c->moved);
    size_t next = 0; /* of those removed; both go up by number */
    for (size_t i = 0; i < change->added_count; i++) {
        size_t index = lower_bound(m, c->added[i].info.number);
        if (!is_listed_at(m, index, c->added[i].info.number)) {
            c->added[c->added_count++] = c->added[i];
            continue;
        }
        while (next < change->removed_count && c->removed[next] < index) {
            c->removed[c->removed_count++] = c->removed[next++];
        }
        ASSERT(next < change->removed_count && c->removed[next] == index);
        ASSERT(same_file(&m->entries[index], &c->added[i]));
        c->moved[c->moved_count++] = c->added[i];
        next++;
    }
    while (next < change->removed_count) {
        c->removed[c->removed_count++] = c->removed[next++];
    }
}

static bool raises_history(const manifest *m, const manifest_change *change) {
    return change->history_table != 0 &&
           change->history_seq > m->history_seq[change->history_table];
}

/* What is between the removed entries moves down together, then the added ones come in from behind:
 * nothing moves twice, and nothing before the first change. */
static void apply_change(manifest *m, const manifest_change *change, const sorted_change *c) {
    for (size_t i = 0; i < c->moved_count; i++) {
        m->entries[lower_bound(m, c->moved[i].info.number)] = c->moved[i];
    }
    for (size_t i = 0; i < c->removed_count; i++) {
        size_t from = (size_t)c->removed[i] + 1;
        size_t to = i + 1 < c->removed_count ? (size_t)c->removed[i + 1] : m->entry_count;
        memmove(m->entries + from - i - 1, m->entries + from, (to - from) * sizeof *m->entries);
    }
    m->entry_count -= c->removed_count;
    if (m->entry_count + c->added_count > m->entry_capacity) {
        m->entry_capacity = 2 * (m->entry_count + c->added_count);
        m->entries = mem_realloc(m->entries, m->entry_capacity * sizeof *m->entries);
    }
    size_t old = m->entry_count;
    m->entry_count += c->added_count;
    for (size_t added = c->added_count, at = m->entry_count; added > 0;) {
        bool keep = old > 0 && compare_entries(&m->entries[old - 1], &c->added[added - 1]) > 0;
        m->entries[--at] = keep ? m->entries[--old] : c->added[--added];
    }
    m->flushed_seq = change->flushed_seq;
    if (raises_history(m, change)) {
        m->history_seq[change->history_table] = change->history_seq;
    }
}

static void append_change(const manifest *m, buffer *out, const manifest_change *change) {
    buffer payload = {0};
    edit_begin(&payload, m->next_edit, change->flushed_seq, m->next_number);
    if (raises_history(m, change)) {
        edit_add_history(&payload, change->history_table, change->history_seq);
    }
    for (size_t i = 0; i < change->removed_count; i++) {
        edit_add_item(&payload, MANIFEST_REMOVE_TABLE, &change->removed[i],
                      sizeof change->removed[i]);
    }
    edit_add_files(&payload, change->added, change->added_count);
    edit_end(m, out, m->end, &payload);
}

tape_status manifest_commit(manifest *m, const manifest_change *change, tape_error *error) {
    ASSERT(!m->doubtful); /* N4: settled before */
    if (m->file == NULL) {
        tape_status status = os_file_open(m->place.disk, m->path, OS_WRITE, &m->file, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    sorted_change sorted = {0};
    sort_change(m, change, &sorted);
    buffer frame = {0};
    append_change(m, &frame, change);
    m->doubtful = true;
    tape_status status = os_file_write(m->file, m->end, frame.data, frame.size, error);
    if (status == TAPE_OK && os_file_sync(m->file, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    if (status == TAPE_OK) {
        m->doubtful = false;
        m->end += frame.size;
        m->next_edit++;
        apply_change(m, change, &sorted);
    }
    buffer_deinit(&frame);
    sorted_change_deinit(&sorted);
    return status;
}
