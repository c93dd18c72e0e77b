/* What the tests of the manifest share: see manifest_testing.h. */
#include "store/manifest_testing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

const uint8_t fixture_store_id[16] = {16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1};

manifest_entry slot_file(uint64_t number, uint16_t table, uint32_t level, uint32_t slot,
                         uint64_t min_seq, uint64_t max_seq) {
    uint64_t entries = max_seq - min_seq + 1;
    manifest_entry e = {
        .info =
            {
                .number = number,
                .size_bytes = 4096 * number,
                .table = table,
                .codec = (uint16_t)(number % 3),
                .entries = entries,
                .keys = 1 + entries / 2,
                .payload_bytes = 100 * entries,
                .content_xxh3 = number * UINT64_C(0x123456789abcdef1),
                .min_seq = min_seq,
                .max_seq = max_seq,
                .min_ts = -5,
                .max_ts = (int64_t)number,
                .min_append_ts = (int64_t)min_seq * 3,
                .max_append_ts = (int64_t)max_seq * 3,
                .first_seq = max_seq,
                .last_seq = min_seq,
                .min_key_size = 6,
                .max_key_size = 7,
            },
        .level = level,
    };
    uint8_t key[] = {(uint8_t)table,
                     (uint8_t)(slot >> 24),
                     (uint8_t)(slot >> 16),
                     (uint8_t)(slot >> 8),
                     (uint8_t)slot,
                     'a',
                     'b'};
    memcpy(e.info.min_key, key, 6);
    key[5] = 'z';
    memcpy(e.info.max_key, key, 7);
    return e;
}

uint32_t slot_of(const manifest_entry *e) {
    const uint8_t *key = e->info.min_key;
    return (uint32_t)key[1] << 24 | (uint32_t)key[2] << 16 | (uint32_t)key[3] << 8 | key[4];
}

bool same_file(const manifest_entry *a, const manifest_entry *b) {
    const sstable_info *x = &a->info;
    const sstable_info *y = &b->info;
    return a->level == b->level && x->number == y->number && x->size_bytes == y->size_bytes &&
           x->table == y->table && x->codec == y->codec && x->entries == y->entries &&
           x->keys == y->keys && x->payload_bytes == y->payload_bytes &&
           x->content_xxh3 == y->content_xxh3 && x->min_seq == y->min_seq &&
           x->max_seq == y->max_seq && x->min_ts == y->min_ts && x->max_ts == y->max_ts &&
           x->min_append_ts == y->min_append_ts && x->max_append_ts == y->max_append_ts &&
           x->first_seq == y->first_seq && x->last_seq == y->last_seq &&
           x->min_key_size == y->min_key_size && x->max_key_size == y->max_key_size &&
           memcmp(x->min_key, y->min_key, sizeof x->min_key) == 0 &&
           memcmp(x->max_key, y->max_key, sizeof x->max_key) == 0;
}

manifest_entry flushed_file(uint64_t number) {
    return slot_file(number, (uint16_t)(1 + number % TAPE_TABLE_COUNT), 0, 3, 10 * number - 9,
                     10 * number);
}

void commit_change(manifest *m, const manifest_change *change) {
    tape_error error;
    if (manifest_settle(m, &error) != TAPE_OK || manifest_commit(m, change, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

void write_moving_edit(const sstable_place *place) {
    manifest m;
    assert_int_equal(manifest_load(&m, place, NULL), TAPE_OK);
    manifest_entry first[] = {slot_file(1, 1, 0, 1, 1, 10), slot_file(2, 1, 0, 2, 11, 20),
                              slot_file(3, 1, 0, 2, 21, 30)};
    m.next_number = 4;
    commit_change(&m, &(manifest_change){.flushed_seq = 30, .added = first, .added_count = 3});
    uint64_t removed[] = {2, 1};
    manifest_entry second[] = {slot_file(5, 1, 1, 2, 12, 20), slot_file(1, 1, 1, 1, 1, 10)};
    m.next_number = 6;
    commit_change(&m, &(manifest_change){.flushed_seq = 31,
                                         .removed = removed,
                                         .removed_count = 2,
                                         .added = second,
                                         .added_count = 2,
                                         .history_table = TAPE_TABLE_ORDERS,
                                         .history_seq = 7});
    manifest_deinit(&m);
}

void start_machine(os_sim *sim, sstable_place *place) {
    os_disk *disk = os_sim_process_start(sim);
    (void)!os_dir_make(disk, MANIFEST_TESTING_DIR, NULL);
    assert_int_equal(os_dir_sync(disk, "/", NULL), TAPE_OK);
    *place = (sstable_place){disk, MANIFEST_TESTING_DIR, fixture_store_id};
}
