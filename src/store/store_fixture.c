#include "store/store_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const uint8_t fixture_store_id[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};

uint64_t fixture_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

uint64_t model_random(model *m, uint64_t below) {
    return fixture_random(&m->random) % below;
}

/* Keys are spread over the tables whose keys are not seqs. */
static uint16_t table_of_key(uint32_t key) {
    static const uint16_t tables[] = {TAPE_TABLE_ORDERS, TAPE_TABLE_TRADES, TAPE_TABLE_ACCOUNTS,
                                      TAPE_TABLE_POSITIONS};
    return tables[key % COUNT_OF(tables)];
}

static void fill_key(uint32_t key, void *payload) {
    switch (table_of_key(key)) {
    case TAPE_TABLE_ORDERS: {
        tape_order *order = payload;
        (void)snprintf(order->order_id, sizeof order->order_id, "order-%u", key);
        break;
    }
    case TAPE_TABLE_TRADES: {
        tape_trade *trade = payload;
        (void)snprintf(trade->trade_id, sizeof trade->trade_id, "%u", key);
        break;
    }
    case TAPE_TABLE_ACCOUNTS: {
        tape_account *account = payload;
        (void)snprintf(account->user_id, sizeof account->user_id, "user-%u", key);
        break;
    }
    default: {
        tape_position *position = payload;
        (void)snprintf(position->user_id, sizeof position->user_id, "user-%u", key / 8);
        (void)snprintf(position->instrument_id, sizeof position->instrument_id, "I%u", key % 8);
        break;
    }
    }
}

const tape_table_info *model_key(uint32_t key, uint8_t out[RECORD_KEY_BYTES_MAX], size_t *size) {
    uint8_t payload[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8))) = {0};
    const tape_table_info *table = record_table(table_of_key(key));
    fill_key(key, payload);
    *size = record_key(table, payload, out);
    return table;
}

void model_add(model *m) {
    if (m->count == m->capacity) {
        m->capacity = m->capacity == 0 ? 1024 : 2 * m->capacity;
        m->records = mem_realloc(m->records, m->capacity * sizeof *m->records);
    }
    uint64_t seq = ++m->count;
    model_record *r = &m->records[seq - 1];
    memset(r, 0, sizeof *r);
    r->key = (uint32_t)model_random(m, m->keys);
    r->key -= m->orders_only ? r->key % 4 : 0;
    r->table = table_of_key(r->key);
    tape_order order = {.seq = seq, .ts = (int64_t)model_random(m, 1000000)};
    memcpy(r->payload, &order, 16);
    fill_key(r->key, r->payload);
    /* The last field is the same as the seq, whatever it means. */
    double value = (double)seq;
    memcpy(r->payload + record_table(r->table)->size_bytes - sizeof value, &value, sizeof value);
}

const model_record *model_get(const model *m, uint32_t key, uint64_t at) {
    for (uint64_t seq = at < m->count ? at : m->count; seq > 0; seq--) {
        if (m->records[seq - 1].key == key) {
            return &m->records[seq - 1];
        }
    }
    return NULL;
}

record_view model_view(const model *m, uint64_t seq) {
    const model_record *r = &m->records[seq - 1];
    const tape_table_info *table = record_table(r->table);
    return (record_view){.table = table,
                         .payload = r->payload,
                         .size = table->size_bytes,
                         .version = table->version,
                         .flags = (uint16_t)(seq % 5 == 0 ? RECORD_MORE : 0),
                         .seq = seq,
                         .ts = (int64_t)load_u64(r->payload + 8),
                         .append_ts = (int64_t)seq * 3};
}

void model_deinit(model *m) {
    free(m->records);
    *m = (model){0};
}

tape_status model_apply(const model *m, store *s, uint64_t first_seq, uint64_t last_seq,
                        tape_error *error) {
    record_view views[64];
    size_t count = 0;
    tape_status status = TAPE_OK;
    for (uint64_t seq = first_seq; seq <= last_seq && status == TAPE_OK; seq++) {
        views[count++] = model_view(m, seq);
        if (count == COUNT_OF(views) || seq == last_seq) {
            status = store_apply(s, views, count, error);
            count = 0;
        }
    }
    return status;
}

tape_status fixture_get(store *s, const tape_table_info *table, slice key, uint64_t at, void *out,
                        uint16_t *version, tape_error *error) {
    store_moment moment = {at, clock_realtime_ns()};
    return store_get(s, &moment, table, key, out, version, error);
}

bool model_agrees(const model *m, store *s, uint32_t key, uint64_t at) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    size_t size = 0;
    const tape_table_info *table = model_key(key, bytes, &size);
    uint8_t got[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8)));
    tape_error error;
    uint16_t version = 0;
    tape_status status = fixture_get(s, table, (slice){bytes, size}, at, got, &version, &error);
    uint64_t applied = store_applied_seq(s);
    const model_record *want = model_get(m, key, at < applied ? at : applied);
    if (want == NULL ? status == TAPE_NOT_FOUND
                     : status == TAPE_OK && version == table->version &&
                           memcmp(got, want->payload, table->size_bytes) == 0) {
        return true;
    }
    fprintf(stderr, "key %u at %" PRIu64 ": wanted seq %" PRIu64 ", got %s %s seq %" PRIu64 "\n",
            key, at, want == NULL ? 0 : load_u64(want->payload), tape_status_name(status),
            status == TAPE_OK ? "another record," : error.text,
            status == TAPE_OK ? load_u64(got) : 0);
    return false;
}
