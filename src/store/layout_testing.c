#include "store/layout_testing.h"

#include <stdio.h>
#include <stdlib.h>

/* Places: bit 0 the active memtable, 1 and 2 the waiting ones, then files of level 0, then levels.
 */
#define LEVEL0_FILES_MAX 5u
#define BIT_LEVEL0 3u
#define BIT_LEVEL (BIT_LEVEL0 + LEVEL0_FILES_MAX)

static const uint8_t layout_store_id[16] = {2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5};

/* --- records --- */

/* Text number `k` of those that a field may hold: groups of them share a beginning of any length.
 */
static void random_text(layout *l, size_t keys, char *out, size_t size) {
    static const char letters[] = "0123456789abcdefghijABCDEFGHIJ~ -";
    size_t k = random_below(&l->random, 4) == 0 ? random_below(&l->random, 2)
                                                : random_below(&l->random, keys);
    size_t group = k / 8;
    size_t shared = (group * 7) % (size - 4);
    char text[64];
    memset(text, letters[group % (sizeof letters - 1)], shared);
    (void)snprintf(text + shared, sizeof text - shared, "%zu", k * 3);
    size_t length = strlen(text) < size ? strlen(text) : size;
    memset(out, 0, size);
    memcpy(out, text, length);
}

static void make_record(layout *l, uint64_t seq, uint16_t id, size_t keys) {
    layout_record *r = &l->records[seq - 1];
    uint16_t any = (uint16_t)(1 + random_below(&l->random, TAPE_TABLE_COUNT));
    const tape_table_info *table = record_table(id == 0 ? any : id);
    memset(r, 0, sizeof *r);
    for (size_t i = 16; i < table->size_bytes; i += 8) {
        store_u64(r->payload + i, random_next(&l->random));
    }
    store_u64(r->payload, seq);
    store_u64(r->payload + 8, random_next(&l->random) >> 2);
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        if (field->kind == TAPE_FIELD_ID) {
            random_text(l, keys, (char *)r->payload + field->offset, field->size_bytes);
        }
    }
    r->view = (record_view){.table = table,
                            .payload = r->payload,
                            .size = table->size_bytes,
                            .version = table->version,
                            .flags = (uint16_t)(seq % 3 == 0 ? RECORD_MORE : 0),
                            .seq = seq,
                            .ts = (int64_t)load_u64(r->payload + 8),
                            .append_ts = (int64_t)seq * 10};
    r->key_size = record_key(table, r->payload, r->key);
}

static int compare_records(const void *a, const void *b) {
    const layout_record *x = *(layout_record *const *)a;
    const layout_record *y = *(layout_record *const *)b;
    int order = slice_compare(layout_key(x), layout_key(y));
    return order != 0 ? order : (x->view.seq < y->view.seq) - (x->view.seq > y->view.seq);
}

layout *layout_create(uint64_t seed, uint16_t table, size_t count, size_t keys,
                      const store_options *options) {
    layout *l = mem_zalloc(sizeof *l);
    store_options o = options != NULL ? *options : (store_options){0};
    l->random = seed;
    l->sim = os_sim_create(seed);
    l->next_number = 1;
    o.disk = os_sim_process_start(l->sim);
    o.dir = "/store";
    o.store_id = layout_store_id;
    ASSERT(store_open(&l->store, &o, NULL) == TAPE_OK);
    l->count = count;
    l->records = mem_alloc((count + 1) * sizeof *l->records);
    l->sorted = mem_alloc((count + 1) * sizeof(layout_record *));
    for (size_t i = 0; i < count; i++) {
        make_record(l, i + 1, table, keys);
        l->sorted[i] = &l->records[i];
    }
    qsort(l->sorted, count, sizeof(layout_record *), compare_records);
    return l;
}

void layout_destroy(layout **layout_handle) {
    layout *l = *layout_handle;
    store_close(&l->store);
    os_sim_destroy(&l->sim);
    free(l->records);
    free(l->sorted);
    free(l);
    *layout_handle = NULL;
}

size_t layout_random_bound(layout *l, const tape_table_info *table,
                           uint8_t out[RECORD_KEY_BYTES_MAX]) {
    const layout_record *r;
    do {
        r = &l->records[random_below(&l->random, l->count)];
    } while (r->view.table != table);
    memcpy(out, r->key, r->key_size);
    size_t size = r->key_size;
    switch (random_below(&l->random, 6)) {
    case 0:
        return random_below(&l->random, size + 1);
    case 1:
        out[size - 1]++;
        return size;
    case 2:
        out[size] = 0;
        return size + 1;
    default:
        return size;
    }
}

bool layout_equal(const record_view *got, const record_view *want) {
    return got->table == want->table && got->size == want->size && got->version == want->version &&
           got->flags == want->flags && got->seq == want->seq && got->ts == want->ts &&
           got->append_ts == want->append_ts &&
           memcmp(got->payload, want->payload, want->size) == 0;
}

/* --- places --- */

sstable_info layout_write(layout *l, layout_record *const *records, size_t count,
                          sstable_codec codec) {
    sstable_writer *w = NULL;
    sstable_info info;
    ASSERT(sstable_writer_open(&w, &l->store->place, l->next_number++, records[0]->view.table->id,
                               codec, NULL) == TAPE_OK);
    for (size_t i = 0; i < count; i++) {
        ASSERT(sstable_writer_add(w, &records[i]->view, NULL) == TAPE_OK);
    }
    ASSERT(sstable_writer_finish(&w, &info, NULL) == TAPE_OK);
    return info;
}

void layout_publish(layout *l, memtable *active, memtable *const *waiting, size_t waiting_count,
                    const manifest_entry *entries, size_t entry_count, uint64_t applied) {
    manifest m = {.entries = (manifest_entry *)entries, .entry_count = entry_count};
    store *s = l->store;
    memcpy(m.history_seq, l->history_seq, sizeof m.history_seq);
    pthread_mutex_lock(&s->lock);
    version_publish(s, active, waiting, waiting_count, file_set_load(&m));
    atomic_store(&s->applied_seq, applied);
    pthread_mutex_unlock(&s->lock);
}

static memtable *fill_memtable(layout *l, uint32_t place) {
    memtable *m = memtable_create(0);
    for (size_t i = 0; i < l->count; i++) {
        const layout_record *r = &l->records[i];
        uint64_t hash[2];
        record_key_hash(layout_key(r), hash);
        ASSERT((r->places & place) == 0 || memtable_insert(m, layout_key(r), hash, &r->view));
    }
    return m;
}

/* Entries for the records of a table at a place, as one file or as many. */
static size_t fill_files(layout *l, uint16_t table, uint32_t place, uint32_t level,
                         manifest_entry *entries) {
    layout_record **chosen = mem_alloc((l->count + 1) * sizeof(layout_record *));
    size_t count = 0;
    size_t files = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (l->sorted[i]->view.table->id == table && (l->sorted[i]->places & place) != 0) {
            chosen[count++] = l->sorted[i];
        }
    }
    for (size_t i = 0, take; i < count; i += take) {
        take = level == 0 ? count : 1 + random_below(&l->random, 60);
        take = take < count - i ? take : count - i;
        sstable_codec codec = (sstable_codec)random_below(&l->random, 3);
        entries[files++] =
            (manifest_entry){.info = layout_write(l, chosen + i, take, codec), .level = level};
    }
    free(chosen);
    return files;
}

static void publish_places(layout *l, uint64_t last) {
    manifest_entry *entries = mem_alloc((2 * l->count + 1) * sizeof *entries);
    size_t count = 0;
    for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        for (uint32_t i = 0; i < LEVEL0_FILES_MAX; i++) {
            count += fill_files(l, table, 1u << (BIT_LEVEL0 + i), 0, entries + count);
        }
        for (uint32_t level = 1; level < STORE_LEVELS; level++) {
            count += fill_files(l, table, 1u << (BIT_LEVEL + level), level, entries + count);
        }
    }
    memtable *waiting[] = {fill_memtable(l, 4), fill_memtable(l, 2)};
    layout_publish(l, fill_memtable(l, 1), waiting, 2, entries, count, last);
    free(entries);
}

/* Some key's records of one level lie at the next as well, as while a compaction is under way. */
static void copy_a_level(layout *l, uint16_t table) {
    uint32_t level = (uint32_t)random_below(&l->random, STORE_LEVELS - 1);
    size_t end = random_below(&l->random, l->count);
    uint32_t from =
        level > 0 ? 1u << (BIT_LEVEL + level) : ((1u << LEVEL0_FILES_MAX) - 1) << BIT_LEVEL0;
    for (size_t i = 0; i < end; i++) {
        layout_record *r = l->sorted[i];
        if (r->view.table->id == table && (r->places & from) != 0) {
            r->places |= 1u << (BIT_LEVEL + level + 1);
        }
    }
}

void layout_spread(layout *l, uint64_t last) {
    uint64_t cuts[BIT_LEVEL]; /* falling: a record lies at the first place whose cut is below it */
    uint64_t above = last;
    for (size_t i = 0; i < BIT_LEVEL; i++) {
        above -= random_below(&l->random, 1 + above / 4);
        cuts[i] = above;
    }
    uint32_t level = 1;
    for (size_t i = 0; i < l->count; i++) {
        layout_record *r = l->sorted[i];
        bool same = i > 0 && slice_compare(layout_key(r), layout_key(l->sorted[i - 1])) == 0;
        level = same ? level : 1 + (uint32_t)random_below(&l->random, STORE_LEVELS - 1);
        level += level < STORE_LEVELS - 1 && random_below(&l->random, 4) == 0;
        uint32_t place = 0;
        while (place < BIT_LEVEL && r->view.seq <= cuts[place]) {
            place++;
        }
        r->places = r->view.seq > last ? 0 : 1u << (place < BIT_LEVEL ? place : BIT_LEVEL + level);
    }
    for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        if (random_below(&l->random, 2) == 0) {
            copy_a_level(l, table);
        }
    }
    publish_places(l, last);
}
