/* The memtable beside structures that could take its place: a skip list, a B+tree, and a hash index
 * with sorted runs of keys (bench/candidates). All hold the same records, one thread uses them.
 *
 *   insert   ns per record, and the slowest of them
 *   get      the newest version of a random key, its payload copied
 *   scan     all records in order, only looked at
 *   flush    all records in order, payloads copied
 *   seek     to a random key, and ten records from there
 *
 * Orders with ids as exchanges give them, a million and ten millions, in random order and in the
 * order of time; and a few accounts with very many versions each, read at any moment. The ten
 * millions only with BENCH_LONG=1. */
#include "bench.h"
#include "candidates/candidate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KEYS 1000000u
#define KEYS_MANY 10000000u
#define ROUNDS 5
#define ROUNDS_MANY 3
#define GETS 300000u
#define SEEKS 50000u
#define SEEK_RECORDS 10u
#define ACCOUNTS 4u
#define BATCH 256u
#define EXPECTED_BYTES BENCH_MIB(128)
/* What a record takes at most in any of them. */
#define RECORD_BYTES 320u

static const candidate *const subjects[] = {&candidate_memtable, &candidate_skiplist,
                                            &candidate_btree, &candidate_runs};
#define SUBJECTS BENCH_COUNT_OF(subjects)

typedef enum shape { RANDOM, RISING, VERSIONS } shape;

enum { INSERT, INSERT_P99, INSERT_P999, INSERT_MAX, GET, SCAN, FLUSH, SEEK, BYTES, METRICS };
static const char *const metric_names[METRICS] = {
    "insert", "insert_p99", "insert_p999", "insert_max", "get", "scan", "flush", "seek", "bytes"};
/* NULL: shown on stderr only. */
static const char *const metric_says[METRICS] = {
    [INSERT] = "insert",       [INSERT_P99] = "insert, p99", [GET] = "get",
    [SCAN] = "scan, a record", [FLUSH] = "flush, a record",  [SEEK] = "seek and ten records",
    [BYTES] = "memory",
};

typedef struct load {
    const char *name;
    const char *says;
    shape shape;
    uint64_t count;
    uint32_t *order; /* in which numbers come; NULL: as they are */
    bench_series results[SUBJECTS][METRICS];
} load;

/* A record with all that goes along with it, made before the clock runs. */
typedef struct item {
    union {
        tape_order order;
        tape_account account;
    } record;
    uint8_t key_bytes[RECORD_KEY_BYTES_MAX];
    slice key;
    uint64_t hash[2];
    record_view view;
} item;

static void item_make(const load *l, uint64_t at, item *out) {
    uint64_t n = l->order != NULL ? l->order[at] : at;
    bool order = l->shape != VERSIONS;
    const tape_table_info *table = record_table(order ? TAPE_TABLE_ORDERS : TAPE_TABLE_ACCOUNTS);
    memset(out, 0, sizeof *out);
    if (order) {
        char *id = out->record.order.order_id;
        memcpy(id, "20240808-000000000000", 21);
        for (char *digit = id + 20; n > 0; n /= 10) {
            *digit-- = (char)('0' + n % 10);
        }
        memcpy(out->record.order.instrument_id, "IF2409", 6);
    } else {
        memcpy(out->record.account.user_id, "user-0", 6);
        out->record.account.user_id[5] = (char)('0' + n % ACCOUNTS);
    }
    out->record.order.seq = at + 1;
    out->record.order.ts = INT64_C(1700000000000000000) + (int64_t)at;
    out->key = (slice){out->key_bytes, record_key(table, &out->record, out->key_bytes)};
    record_key_hash(out->key, out->hash);
    out->view = (record_view){.table = table,
                              .payload = &out->record,
                              .size = table->size_bytes,
                              .version = 1,
                              .seq = at + 1,
                              .ts = out->record.order.ts,
                              .append_ts = out->record.order.ts};
}

/* Takes so much memory from the system and gives it back: where memory is the machine's only once
 * it is touched, as in virtual ones, the first subject would pay for all. */
static void warm_memory(uint64_t size_bytes) {
    uint8_t *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BENCH_CHECK(memory != MAP_FAILED);
    (void)madvise(memory, size_bytes, MADV_HUGEPAGE);
    for (uint64_t at = 0; at < size_bytes; at += 4096) {
        memory[at] = 1;
    }
    (void)munmap(memory, size_bytes);
}

static item items[BATCH];

/* With `each`, the time of each insert; else returns ns per record. */
static double fill(const load *l, const candidate *subject, void *table, bench_histogram *each) {
    uint64_t timer = bench_timer_ticks();
    int64_t total_ns = 0;
    for (uint64_t at = 0; at < l->count; at += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++) {
            item_make(l, at + i, &items[i]);
        }
        int64_t start_ns = bench_now_ns();
        for (uint64_t i = 0; i < BATCH; i++) {
            uint64_t start = each != NULL ? bench_ticks() : 0;
            subject->insert(table, items[i].key, items[i].hash, &items[i].view);
            if (each != NULL) {
                bench_add(each, bench_elapsed(start, timer));
            }
        }
        total_ns += bench_now_ns() - start_ns;
    }
    return (double)total_ns / (double)l->count;
}

static double get_all(const load *l, const candidate *subject, const void *table, uint64_t seed) {
    uint64_t gets = bench_scaled(GETS, 10000) / BATCH * BATCH;
    int64_t total_ns = 0;
    for (uint64_t done = 0; done < gets; done += BATCH) {
        uint64_t moments[BATCH];
        for (uint64_t i = 0; i < BATCH; i++) {
            item_make(l, bench_random(&seed) % l->count, &items[i]);
            moments[i] = l->shape == VERSIONS ? items[i].view.seq + ACCOUNTS - 1 : UINT64_MAX;
        }
        int64_t start_ns = bench_now_ns();
        for (uint64_t i = 0; i < BATCH; i++) {
            record_view view;
            uint8_t copy[sizeof items[i].record];
            BENCH_CHECK(subject->get(table, items[i].key, items[i].hash, moments[i], &view));
            memcpy(copy, view.payload, view.size);
            BENCH_CHECK(memcmp(copy, &items[i].record, sizeof(uint64_t)) == 0);
        }
        total_ns += bench_now_ns() - start_ns;
    }
    return (double)total_ns / (double)gets;
}

typedef struct walk {
    uint64_t count;
    uint64_t sum;
    bool copy;
    bool check;
    record_view last;
    size_t used;
    uint8_t block[65536];
} walk;

static void walk_on(void *context, const record_view *record) {
    walk *w = context;
    w->count++;
    w->sum += record->seq;
    if (w->check) {
        const record_view *last = &w->last;
        int order = w->count == 1 ? -1
                                  : record_key_compare_payloads(record->table, last->payload,
                                                                record->payload);
        BENCH_CHECK(order < 0 || (order == 0 && last->seq > record->seq));
        w->last = *record;
    }
    if (w->copy) {
        w->used = w->used + record->size > sizeof w->block ? 0 : w->used;
        memcpy(w->block + w->used, record->payload, record->size);
        w->used += record->size;
    }
}

typedef enum walk_kind { LOOK, COPY, CHECK } walk_kind;

static double walk_all(const load *l, const candidate *subject, const void *table, walk_kind kind) {
    static walk w;
    w = (walk){.copy = kind == COPY, .check = kind == CHECK};
    int64_t start_ns = bench_now_ns();
    subject->scan(table, (slice){NULL, 0}, UINT64_MAX, walk_on, &w);
    int64_t spent_ns = bench_now_ns() - start_ns;
    BENCH_CHECK(w.count == l->count && w.sum == l->count * (l->count + 1) / 2);
    return (double)spent_ns / (double)l->count;
}

static double seek_all(const load *l, const candidate *subject, const void *table, uint64_t seed) {
    static walk w;
    w = (walk){0};
    uint64_t seeks = bench_scaled(SEEKS, 1000) / BATCH * BATCH;
    int64_t total_ns = 0;
    for (uint64_t done = 0; done < seeks; done += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++) {
            item_make(l, bench_random(&seed) % l->count, &items[i]);
        }
        int64_t start_ns = bench_now_ns();
        for (uint64_t i = 0; i < BATCH; i++) {
            subject->scan(table, items[i].key, SEEK_RECORDS, walk_on, &w);
        }
        total_ns += bench_now_ns() - start_ns;
    }
    BENCH_CHECK(w.count > 0);
    return (double)total_ns / (double)seeks;
}

static void run_one(load *l, size_t s, bench_histogram *h) {
    const candidate *subject = subjects[s];
    bench_series *results = l->results[s];
    bench_histogram_reset(h);
    warm_memory(l->count * RECORD_BYTES);
    void *table = subject->create(EXPECTED_BYTES);
    (void)fill(l, subject, table, h);
    subject->destroy(table);
    warm_memory(l->count * RECORD_BYTES);
    table = subject->create(EXPECTED_BYTES);
    bench_push(&results[INSERT], fill(l, subject, table, NULL));
    bench_push(&results[INSERT_P99], bench_quantile(h, 0.99));
    bench_push(&results[INSERT_P999], bench_quantile(h, 0.999));
    bench_push(&results[INSERT_MAX], bench_quantile(h, 1));
    bench_push(&results[GET], get_all(l, subject, table, 11));
    bench_push(&results[SCAN], walk_all(l, subject, table, LOOK));
    bench_push(&results[FLUSH], walk_all(l, subject, table, COPY));
    (void)walk_all(l, subject, table, CHECK);
    bench_push(&results[SEEK], seek_all(l, subject, table, 13));
    bench_push(&results[BYTES], (double)subject->bytes(table) / (double)l->count);
    subject->destroy(table);
}

/* One row per figure, beside the skip list; what the others take stands with it. */
static void print_rows(const load *l) {
    bench_say("%s, %llu records: memtable, skip list, B+tree, hash + sorted runs", l->name,
              (unsigned long long)l->count);
    for (size_t m = 0; m < METRICS; m++) {
        double medians[SUBJECTS];
        for (size_t s = 0; s < SUBJECTS; s++) {
            medians[s] = bench_median(&l->results[s][m]);
        }
        bench_say("  %-12s %10.0f %10.0f %10.0f %10.0f", metric_names[m], medians[0], medians[1],
                  medians[2], medians[3]);
        if (metric_says[m] == NULL) {
            continue;
        }
        char name[64];
        char metric[128];
        char explains[128];
        (void)snprintf(name, sizeof name, "memtable_%s_%s", l->name, metric_names[m]);
        (void)snprintf(metric, sizeof metric, "memtable, %s: %s", l->says, metric_says[m]);
        (void)snprintf(explains, sizeof explains, "%s: %.0f; %s: %.0f", subjects[2]->name,
                       medians[2], subjects[3]->name, medians[3]);
        bench_row row = {
            .row = name,
            .metric = metric,
            .peer = subjects[1]->name,
            .threads = 1,
            .batch = 1,
            .unit = m == BYTES ? "bytes per record" : "ns",
            .tape = &l->results[0][m],
            .beside = &l->results[1][m],
            .ratio = BENCH_TAPE_BY_PEER,
            .explains = explains,
        };
        bench_print(&row);
    }
}

static void run(const char *name, const char *says, shape of, uint64_t count, int rounds) {
    load *l = bench_alloc(sizeof *l);
    *l = (load){.name = name, .says = says, .shape = of, .count = count / BATCH * BATCH};
    if (of == RANDOM) {
        uint64_t seed = 7;
        l->order = bench_alloc(l->count * sizeof *l->order);
        for (uint64_t i = 0; i < l->count; i++) {
            uint64_t j = bench_random(&seed) % (i + 1);
            l->order[i] = l->order[j];
            l->order[j] = (uint32_t)i;
        }
    }
    bench_histogram *h = bench_histogram_create(bench_ns_per_tick());
    for (int round = 0; round < rounds; round++) {
        for (size_t s = 0; s < SUBJECTS; s++) {
            run_one(l, s, h);
        }
    }
    print_rows(l);
    free(h);
    free(l->order);
    free(l);
}

int main(void) {
    uint64_t keys = bench_scaled(KEYS, 10 * BATCH);
    uint64_t many = bench_scaled(KEYS_MANY, 10 * BATCH);
    run("random_1m", "1 M orders, random", RANDOM, keys, ROUNDS);
    run("rising_1m", "1 M orders, by time", RISING, keys, ROUNDS);
    run("versions_1m", "4 accounts, 1 M versions", VERSIONS, keys, ROUNDS);
    if (bench_long()) {
        run("random_10m", "10 M orders, random", RANDOM, many, ROUNDS_MANY);
        run("rising_10m", "10 M orders, by time", RISING, many, ROUNDS_MANY);
    }
    return 0;
}
