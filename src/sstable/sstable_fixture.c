#include "sstable/sstable_fixture.h"

#include "format/format.h"

#include <stdio.h>
#include <stdlib.h>

const uint8_t fixture_store_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
const sstable_codec fixture_codecs[3] = {SSTABLE_PLAIN, SSTABLE_LZ4, SSTABLE_ZSTD};

uint64_t fixture_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void fixture_add(fixture *f, uint16_t table, const void *record, uint32_t size, uint16_t version) {
    const tape_table_info *info = record_table(table);
    uint64_t seq = load_u64(record);
    uint8_t *payload = mem_zalloc(size);
    memcpy(payload, record, size < info->size_bytes ? size : info->size_bytes);
    if (f->count == f->capacity) {
        f->capacity = f->capacity == 0 ? 64 : 2 * f->capacity;
        f->entries = mem_realloc(f->entries, f->capacity * sizeof *f->entries);
    }
    fixture_entry *e = &f->entries[f->count++];
    *e = (fixture_entry){.view = {.table = info,
                                  .payload = payload,
                                  .size = size,
                                  .version = version,
                                  .flags = (uint16_t)(seq % 3 == 0 ? RECORD_MORE : 0),
                                  .seq = seq,
                                  .ts = (int64_t)load_u64(payload + 8),
                                  .append_ts = (int64_t)seq * 100 + 5}};
    e->key_size = record_key(info, payload, e->key_bytes);
}

void fixture_fill(fixture *f, uint64_t seed, uint16_t table, size_t count, uint64_t keys,
                  uint64_t first_seq) {
    uint64_t seq = first_seq;
    for (size_t i = 0; i < count; i++, seq += 1 + fixture_random(&seed) % 3 / 2) {
        unsigned key = (unsigned)(fixture_random(&seed) % keys);
        int64_t ts = (int64_t)(fixture_random(&seed) % 1000000);
        if (table == TAPE_TABLE_ORDERS) {
            tape_order order = {.seq = seq, .ts = ts, .side = 1, .price = (double)key, .volume = 2};
            (void)snprintf(order.order_id, sizeof order.order_id, "2024080%u-%06u", 7 + key % 2,
                           key);
            fixture_add(f, table, &order, sizeof order, 1);
        } else if (table == TAPE_TABLE_POSITIONS) {
            tape_position position = {.seq = seq, .ts = ts, .long_volume = (double)seq};
            (void)snprintf(position.user_id, sizeof position.user_id, "user-%u", key / 4);
            (void)snprintf(position.instrument_id, sizeof position.instrument_id, "I%u", key % 4);
            fixture_add(f, table, &position, sizeof position, 1);
        } else if (table == TAPE_TABLE_ACCOUNTS) {
            tape_account account = {.seq = seq, .ts = ts, .balance = (double)seq};
            (void)snprintf(account.user_id, sizeof account.user_id, "u%u", key);
            fixture_add(f, table, &account, sizeof account, 1);
        } else {
            ASSERT(table == TAPE_TABLE_TICKS);
            tape_tick tick = {.seq = seq, .ts = ts, .last_price = (double)key};
            (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "I%u", key);
            fixture_add(f, table, &tick, sizeof tick, 1);
        }
    }
    fixture_sort(f);
}

static int entry_order(const void *a, const void *b) {
    const fixture_entry *x = a;
    const fixture_entry *y = b;
    return sstable_compare(fixture_key(x), x->view.seq, fixture_key(y), y->view.seq);
}

void fixture_sort(fixture *f) {
    qsort(f->entries, f->count, sizeof *f->entries, entry_order);
}

void fixture_deinit(fixture *f) {
    for (size_t i = 0; i < f->count; i++) {
        free((void *)(uintptr_t)f->entries[i].view.payload);
    }
    free(f->entries);
    *f = (fixture){0};
}

const fixture_entry *fixture_get(const fixture *f, slice key, uint64_t at) {
    const fixture_entry *newest = NULL;
    for (size_t i = 0; i < f->count; i++) {
        const fixture_entry *e = &f->entries[i];
        if (e->view.seq <= at && slice_compare(fixture_key(e), key) == 0 &&
            (newest == NULL || e->view.seq > newest->view.seq)) {
            newest = e;
        }
    }
    return newest;
}

bool fixture_equal(const record_view *got, const fixture_entry *want) {
    const record_view *w = &want->view;
    return got->table == w->table && got->size == w->size && got->version == w->version &&
           got->flags == w->flags && got->seq == w->seq && got->ts == w->ts &&
           got->append_ts == w->append_ts && (uintptr_t)got->payload % 8 == 0 &&
           memcmp(got->payload, w->payload, w->size) == 0;
}

sstable_info fixture_write(const fixture *f, const sstable_place *place, uint64_t number,
                           sstable_codec codec) {
    sstable_writer *w = NULL;
    sstable_info info;
    uint16_t table = f->entries[0].view.table->id;
    ASSERT(sstable_writer_open(&w, place, number, table, codec, NULL) == TAPE_OK);
    for (size_t i = 0; i < f->count; i++) {
        ASSERT(sstable_writer_add(w, &f->entries[i].view, NULL) == TAPE_OK);
    }
    ASSERT(sstable_writer_finish(&w, &info, NULL) == TAPE_OK && w == NULL);
    return info;
}

static void reseal_part(const uint8_t *data, uint64_t room, uint64_t number, uint64_t offset,
                        uint64_t size, uint32_t *sum) {
    if (offset <= room && size <= room - offset) {
        *sum = sstable_checksum(format_salt(fixture_store_id), number, offset, data + offset, size);
    }
}

void fixture_reseal(uint8_t *data, uint64_t size, uint64_t number,
                    const sstable_index_place *places, uint64_t blocks) {
    uint64_t salt = format_salt(fixture_store_id);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t at = sstable_block_offset(&places[i]);
        uint64_t end = sstable_block_offset(&places[i + 1]);
        store_u32(data + at, sstable_checksum(salt, number, at, data + at + 4, end - at - 4));
    }
    sstable_footer footer;
    uint64_t room = size - sizeof footer;
    memcpy(&footer, data + room, sizeof footer);
    reseal_part(data, room, number, footer.filter_offset, footer.filter_bytes,
                &footer.filter_crc32c);
    reseal_part(data, room, number, footer.tags_offset, footer.tags_bytes, &footer.tags_crc32c);
    reseal_part(data, room, number, footer.index_offset, footer.index_bytes, &footer.index_crc32c);
    footer.crc32c = 0;
    footer.crc32c = sstable_checksum(salt, footer.number, room, &footer, sizeof footer);
    memcpy(data + room, &footer, sizeof footer);
}

char *fixture_dir_make(void) {
    const char *parent = getenv("TMPDIR");
    char *dir = mem_printf("%s/tape-test-XXXXXX", parent != NULL ? parent : "/tmp");
    ASSERT(mkdtemp(dir) != NULL);
    return dir;
}

static void remove_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    ASSERT(!is_dir);
    char *path = mem_printf("%s/%s", (const char *)context, name);
    ASSERT(os_remove(os_disk_linux(), path, NULL) == TAPE_OK);
    free(path);
}

void fixture_dir_remove(char **dir) {
    ASSERT(os_dir_list(os_disk_linux(), *dir, remove_visit, *dir, NULL) == TAPE_OK);
    ASSERT(os_dir_remove(os_disk_linux(), *dir, NULL) == TAPE_OK);
    free(*dir);
    *dir = NULL;
}
