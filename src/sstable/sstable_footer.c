/* sstable_footer.c: what a table file says of itself, and whether that can be true.
 *
 * A footer whose checksum is right may still be a bug's or an attacker's: every figure is compared
 * with the others and with the file's size, so that what is made of them stays within the file. */
#include "sstable/sstable_internal.h"

#include "format/format.h"

#include <inttypes.h>
#include <stdio.h>

/* --- writing --- */

void sstable_footer_seal(sstable_footer *f, const sstable_info *info, const uint8_t store_id[16],
                         uint64_t salt) {
    f->magic = SSTABLE_MAGIC;
    f->format_version = SSTABLE_FORMAT_VERSION;
    f->crc32c = 0;
    memcpy(f->store_id, store_id, sizeof f->store_id);
    f->number = info->number;
    f->size_bytes = info->size_bytes;
    f->table = info->table;
    f->codec = info->codec;
    f->entries = info->entries;
    f->keys = info->keys;
    f->payload_bytes = info->payload_bytes;
    f->content_xxh3 = info->content_xxh3;
    f->min_seq = info->min_seq;
    f->max_seq = info->max_seq;
    f->min_ts = info->min_ts;
    f->max_ts = info->max_ts;
    f->min_append_ts = info->min_append_ts;
    f->max_append_ts = info->max_append_ts;
    f->first_seq = info->first_seq;
    f->last_seq = info->last_seq;
    f->min_key_size = info->min_key_size;
    f->max_key_size = info->max_key_size;
    memcpy(f->min_key, info->min_key, sizeof f->min_key);
    memcpy(f->max_key, info->max_key, sizeof f->max_key);
    uint64_t offset = info->size_bytes - sizeof *f;
    f->crc32c = sstable_checksum(salt, info->number, offset, f, sizeof *f);
}

sstable_info sstable_footer_info(const sstable_footer *f) {
    sstable_info info = {
        .number = f->number,
        .size_bytes = f->size_bytes,
        .table = f->table,
        .codec = f->codec,
        .entries = f->entries,
        .keys = f->keys,
        .payload_bytes = f->payload_bytes,
        .content_xxh3 = f->content_xxh3,
        .min_seq = f->min_seq,
        .max_seq = f->max_seq,
        .min_ts = f->min_ts,
        .max_ts = f->max_ts,
        .min_append_ts = f->min_append_ts,
        .max_append_ts = f->max_append_ts,
        .first_seq = f->first_seq,
        .last_seq = f->last_seq,
        .min_key_size = f->min_key_size,
        .max_key_size = f->max_key_size,
    };
    memcpy(info.min_key, f->min_key, sizeof info.min_key);
    memcpy(info.max_key, f->max_key, sizeof info.max_key);
    return info;
}

/* --- reading --- */

static bool footer_sums(const sstable_footer *footer, uint64_t salt, uint64_t offset,
                        uint32_t *actual) {
    sstable_footer copy = *footer;
    copy.crc32c = 0;
    *actual = sstable_checksum(salt, footer->number, offset, &copy, sizeof copy);
    return *actual == footer->crc32c;
}

/* Whose footer it is, that all of it arrived, and that this version of tape can read it. */
static tape_status footer_identify(const sstable_footer *footer, const char *path, uint64_t offset,
                                   const uint8_t store_id[16], tape_error *error) {
    if (footer->magic != SSTABLE_MAGIC) {
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: not a table file, or its end is missing: magic expected "
                              "0x%016" PRIx64 ", actual 0x%016" PRIx64 "; " SSTABLE_RESTORE_HINT,
                              path, SSTABLE_MAGIC, footer->magic);
    }
    uint32_t actual = 0;
    if (!footer_sums(footer, format_salt(store_id), offset, &actual)) {
        uint32_t foreign = 0;
        if (footer_sums(footer, format_salt(footer->store_id), offset, &foreign)) {
            return error_set_file(error, TAPE_CORRUPT, path, offset,
                                  "%s: the table belongs to another store; " SSTABLE_RESTORE_HINT,
                                  path);
        }
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: the footer at offset %" PRIu64 " is damaged: checksum expected "
                              "0x%08x, actual 0x%08x; " SSTABLE_RESTORE_HINT,
                              path, offset, footer->crc32c, actual);
    }
    if (footer->format_version > SSTABLE_FORMAT_VERSION) {
        return error_set_file(error, TAPE_NEWER, path, offset,
                              "%s: table format %u, this version of tape reads %u; use a newer one",
                              path, footer->format_version, SSTABLE_FORMAT_VERSION);
    }
    if (footer->format_version < SSTABLE_FORMAT_VERSION) {
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: table format %u, made by an earlier version of tape: remove the "
                              "store directory that the file is in, the journal builds it again",
                              path, footer->format_version);
    }
    if (record_table(footer->table) == NULL) {
        return error_set_file(error, TAPE_NEWER, path, offset,
                              "%s: holds records of table %u, which this version of tape does not "
                              "know; use a newer one",
                              path, footer->table);
    }
    return TAPE_OK;
}

static bool zeros(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* That the parts lie one after the other and fill the file (T5). */
static const char *parts_problem(const sstable_footer *f, uint64_t size) {
    uint64_t end = size - SSTABLE_FOOTER_BYTES;
    const tape_table_info *table = record_table(f->table);
    if (f->size_bytes != size) {
        return "the size of the file";
    }
    if (f->filter_offset > end || f->filter_offset % SSTABLE_BLOCK_ALIGN != 0 ||
        f->filter_offset / SSTABLE_BLOCK_ALIGN > UINT32_MAX) {
        return "the end of the blocks";
    }
    if (f->blocks == 0 || f->blocks > f->filter_offset / SSTABLE_BLOCK_ALIGN ||
        f->blocks > f->entries) {
        return "the number of blocks";
    }
    if (f->filter_bytes > end - f->filter_offset ||
        f->filter_bytes != sstable_filter_bytes(table, f->keys)) {
        return "the size of the filter";
    }
    if (f->tags_offset != f->filter_offset + f->filter_bytes ||
        f->tags_bytes > end - f->tags_offset ||
        f->tags_bytes != sstable_tags_bytes(table, f->entries)) {
        return "the size of the tags";
    }
    if (f->index_offset != f->tags_offset + f->tags_bytes ||
        f->index_bytes != end - f->index_offset || f->index_bytes % SSTABLE_ENTRY_ALIGN != 0 ||
        f->index_bytes < sstable_index_fixed_bytes(f->blocks)) {
        return "the size of the index";
    }
    return NULL;
}

static bool key_fits(const uint8_t bytes[RECORD_KEY_BYTES_MAX], uint32_t size, uint16_t table) {
    return size > 0 && size <= RECORD_KEY_BYTES_MAX && bytes[0] == table &&
           zeros(bytes + size, RECORD_KEY_BYTES_MAX - size);
}

/* The figure that contradicts another one, or NULL. */
static const char *figures_problem(const sstable_footer *f, uint64_t size) {
    if (f->codec > SSTABLE_ZSTD) {
        return "the codec";
    }
    if (f->keys == 0 || f->keys > f->entries || f->entries > UINT32_MAX) {
        return "the number of entries or keys";
    }
    if (f->payload_bytes / f->entries < sstable_payload_min(record_table(f->table)) ||
        f->payload_bytes / f->entries > SSTABLE_PAYLOAD_BYTES_MAX) {
        return "the size of the payloads";
    }
    if (f->min_seq == 0 || f->min_seq > f->max_seq || f->first_seq < f->min_seq ||
        f->first_seq > f->max_seq || f->last_seq < f->min_seq || f->last_seq > f->max_seq) {
        return "the range of seqs";
    }
    if (f->min_ts > f->max_ts || f->min_append_ts < 0 || f->min_append_ts > f->max_append_ts) {
        return "the range of times";
    }
    if (!key_fits(f->min_key, f->min_key_size, f->table) ||
        !key_fits(f->max_key, f->max_key_size, f->table)) {
        return "a key";
    }
    int order = sstable_compare((slice){f->min_key, f->min_key_size}, f->first_seq,
                                (slice){f->max_key, f->max_key_size}, f->last_seq);
    bool one_key =
        f->min_key_size == f->max_key_size && memcmp(f->min_key, f->max_key, f->min_key_size) == 0;
    bool keyed_by_seq = sstable_keyed_by_seq(record_table(f->table));
    if (order > 0 || (order == 0) != (f->entries == 1) || one_key != (f->keys == 1) ||
        (keyed_by_seq && f->keys != f->entries)) {
        return "the range of keys";
    }
    if (f->reserved != 0 || f->reserved2 != 0 || !zeros(f->reserved3, sizeof f->reserved3)) {
        return "what is reserved";
    }
    return parts_problem(f, size);
}

static bool info_equal(const sstable_info *a, const sstable_info *b) {
    return a->number == b->number && a->size_bytes == b->size_bytes && a->table == b->table &&
           a->codec == b->codec && a->entries == b->entries && a->keys == b->keys &&
           a->payload_bytes == b->payload_bytes && a->content_xxh3 == b->content_xxh3 &&
           a->min_seq == b->min_seq && a->max_seq == b->max_seq && a->min_ts == b->min_ts &&
           a->max_ts == b->max_ts && a->min_append_ts == b->min_append_ts &&
           a->max_append_ts == b->max_append_ts && a->first_seq == b->first_seq &&
           a->last_seq == b->last_seq && a->min_key_size == b->min_key_size &&
           a->max_key_size == b->max_key_size &&
           memcmp(a->min_key, b->min_key, a->min_key_size) == 0 &&
           memcmp(a->max_key, b->max_key, a->max_key_size) == 0;
}

tape_status sstable_footer_read(const uint8_t bytes[SSTABLE_FOOTER_BYTES], uint64_t size,
                                const char *path, const uint8_t store_id[16], uint64_t number,
                                const sstable_info *expected, sstable_footer *out,
                                tape_error *error) {
    ASSERT(size >= SSTABLE_FOOTER_BYTES);
    uint64_t offset = size - SSTABLE_FOOTER_BYTES;
    memcpy(out, bytes, sizeof *out);
    tape_status status = footer_identify(out, path, offset, store_id, error);
    if (status != TAPE_OK) {
        return status;
    }
    const char *problem = figures_problem(out, size);
    if (problem != NULL) {
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: the footer at offset %" PRIu64 " is damaged: %s does not fit "
                              "the rest of it or the file; " SSTABLE_RESTORE_HINT,
                              path, offset, problem);
    }
    if (out->number != number) {
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: the file holds table %" PRIu64 ", expected %" PRIu64
                              "; " SSTABLE_RESTORE_HINT,
                              path, out->number, number);
    }
    sstable_info info = sstable_footer_info(out);
    if (expected != NULL && !info_equal(&info, expected)) {
        return error_set_file(
            error, TAPE_CORRUPT, path, offset,
            "%s: not the table that the manifest lists: content expected 0x%016" PRIx64
            ", actual 0x%016" PRIx64 ", entries expected %" PRIu64 ", actual %" PRIu64
            "; " SSTABLE_RESTORE_HINT,
            path, expected->content_xxh3, info.content_xxh3, expected->entries, info.entries);
    }
    return TAPE_OK;
}

tape_status sstable_file_open(const sstable_place *place, const char *path, unsigned flags,
                              const sstable_info *expected, os_file **out, uint64_t *size,
                              tape_error *error) {
    tape_status status = os_file_open(place->disk, path, flags, out, error);
    if (status == TAPE_NOT_FOUND) {
        return error_set_file(error, TAPE_CORRUPT, path, TAPE_NO_OFFSET,
                              "%s: the table file is missing; " SSTABLE_RESTORE_HINT, path);
    }
    if (status != TAPE_OK) {
        return status;
    }
    status = os_file_size(*out, size, error);
    if (status == TAPE_OK && expected != NULL && *size != expected->size_bytes) {
        status = error_set_file(error, TAPE_CORRUPT, path, *size,
                                "%s: the file has %" PRIu64 " bytes, expected %" PRIu64
                                "; " SSTABLE_RESTORE_HINT,
                                path, *size, expected->size_bytes);
    }
    if (status == TAPE_OK && *size < SSTABLE_FOOTER_BYTES) {
        status = error_set_file(error, TAPE_CORRUPT, path, 0,
                                "%s: the file has %" PRIu64
                                " bytes, too few for a table; " SSTABLE_RESTORE_HINT,
                                path, *size);
    }
    if (status != TAPE_OK) {
        os_file_close(out);
    }
    return status;
}
