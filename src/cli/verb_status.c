/* tape status: how far everything is, how large, and how the store's files do. */
#include "cli/cli_internal.h"

int verb_status_check(cli *c, cli_args *args) {
    result_format format = RESULT_TABLE;
    if (!args_format(c, args, &format)) {
        return EXIT_USAGE;
    }
    if (format != RESULT_TABLE && format != RESULT_JSON) {
        return cli_usage(c, "--format %s: a status is printed as table or json",
                         args_value(args, "format"));
    }
    return EXIT_DONE;
}

/* --- as JSON --- */

static void print_store_json(FILE *out, const tape_stats *s) {
    (void)fprintf(out, "\"store\":{\"files\":%llu,\"mapped\":%llu,\"levels\":[",
                  (unsigned long long)s->table_files, (unsigned long long)s->mapped_files);
    for (size_t i = 0; i < COUNT_OF(s->level_files); i++) {
        (void)fprintf(out, "%s{\"files\":%llu,\"bytes\":%llu}", i == 0 ? "" : ",",
                      (unsigned long long)s->level_files[i], (unsigned long long)s->level_bytes[i]);
    }
    (void)fprintf(out,
                  "],\"space_amplification\":%.4f,\"write_amplification\":%.4f,"
                  "\"flushed_bytes\":%llu,\"flush_written_bytes\":%llu,",
                  s->space_amplification, s->write_amplification,
                  (unsigned long long)s->flushed_bytes, (unsigned long long)s->flush_written_bytes);
    (void)fprintf(out,
                  "\"compaction\":{\"score\":%.4f,\"count\":%llu,\"moves\":%llu,"
                  "\"read_bytes\":%llu,\"written_bytes\":%llu,\"dropped_records\":%llu,"
                  "\"duration_ns\":%lld},\"stall_ns\":%lld,",
                  s->compaction_score, (unsigned long long)s->compactions,
                  (unsigned long long)s->compact_moves, (unsigned long long)s->compact_read_bytes,
                  (unsigned long long)s->compact_written_bytes,
                  (unsigned long long)s->dropped_records, (long long)s->compact_ns,
                  (long long)s->stall_ns);
    (void)fprintf(out,
                  "\"scrub\":{\"bytes\":%llu,\"findings\":%llu},\"damaged_reads\":%llu,"
                  "\"views\":%llu,\"gets\":%llu,\"filter\":{\"negatives\":%llu,"
                  "\"false_positives\":%llu}},",
                  (unsigned long long)s->scrubbed_bytes, (unsigned long long)s->scrub_findings,
                  (unsigned long long)s->damaged_reads, (unsigned long long)s->views,
                  (unsigned long long)s->gets, (unsigned long long)s->filter_negatives,
                  (unsigned long long)s->filter_false_positives);
}

/* What answers SQL, and the files it reads. */
static void print_sql_json(FILE *out, const tape_stats *s) {
    (void)fprintf(out,
                  "\"archive\":{\"files\":%llu,\"bytes\":%llu,\"takes\":%llu,\"merges\":%llu,"
                  "\"expired_files\":%llu,\"findings\":%llu,\"duration_ns\":%lld},",
                  (unsigned long long)s->archive_files, (unsigned long long)s->archive_bytes,
                  (unsigned long long)s->archive_takes, (unsigned long long)s->archive_merges,
                  (unsigned long long)s->archive_expired_files,
                  (unsigned long long)s->archive_findings, (long long)s->archive_ns);
    (void)fprintf(out,
                  "\"sql\":{\"lag_records\":%llu,\"lag_ns\":%lld,\"queries\":%llu,"
                  "\"from_store\":%llu,\"from_cache\":%llu,\"running\":%llu,\"waiting\":%llu},",
                  (unsigned long long)s->columns_lag, (long long)s->columns_lag_ns,
                  (unsigned long long)s->queries, (unsigned long long)s->queries_from_store,
                  (unsigned long long)s->queries_from_cache, (unsigned long long)s->queries_running,
                  (unsigned long long)s->queries_waiting);
}

static void print_status_json(cli *c, const tape_stats *s) {
    FILE *out = c->out;
    (void)fprintf(out,
                  "{\"written\":%llu,\"durable\":%llu,\"committed\":%llu,\"applied\":%llu,"
                  "\"queryable\":%llu,\"archived\":%llu,\"oldest\":%llu,\"rows\":{",
                  (unsigned long long)s->written, (unsigned long long)s->durable,
                  (unsigned long long)s->committed, (unsigned long long)s->applied,
                  (unsigned long long)s->queryable, (unsigned long long)s->archived,
                  (unsigned long long)s->oldest);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        (void)fprintf(out, "%s\"%s\":%llu", id == 1 ? "" : ",", tape_table(id)->name,
                      (unsigned long long)s->rows[id]);
    }
    (void)fprintf(out,
                  "},\"bytes\":{\"journal\":%llu,\"store\":%llu,\"archive\":%llu,\"window\":%llu,"
                  "\"memtable\":%llu,\"columns\":%llu},",
                  (unsigned long long)s->journal_bytes, (unsigned long long)s->store_bytes,
                  (unsigned long long)s->archive_bytes, (unsigned long long)s->window_bytes,
                  (unsigned long long)s->memtable_bytes, (unsigned long long)s->columns_bytes);
    (void)fprintf(out,
                  "\"epoch\":%llu,\"sync\":{\"method\":\"%s\",\"floor_ns\":%lld,\"count\":%llu},"
                  "\"busy\":%llu,",
                  (unsigned long long)s->epoch, s->sync_method, (long long)s->sync_floor_ns,
                  (unsigned long long)s->syncs, (unsigned long long)s->busy);
    print_store_json(out, s);
    print_sql_json(out, s);
    if (c->asked) {
        (void)fprintf(out, "\"owner_pid\":%lld,", (long long)s->owner_pid);
    } else {
        (void)fputs("\"owner_pid\":null,", out);
    }
    (void)fprintf(out,
                  "\"recovery\":{\"records\":%llu,\"from_window\":%llu,\"cut_bytes\":%llu,"
                  "\"duration_ns\":%lld}}\n",
                  (unsigned long long)s->recovered_records,
                  (unsigned long long)s->recovered_from_window, (unsigned long long)s->cut_bytes,
                  (long long)s->recovery_ns);
}

/* --- for people --- */

typedef struct status_number {
    const char *name;
    uint64_t value;
    const char *meaning;
} status_number;

static void print_numbers(FILE *out, const char *title, const status_number *numbers,
                          size_t count) {
    (void)fprintf(out, "%s\n", title);
    for (size_t i = 0; i < count; i++) {
        char text[32];
        (void)fprintf(out, "  %-12s %18s%s%s\n", numbers[i].name,
                      group_digits(numbers[i].value, text), numbers[i].meaning == NULL ? "" : "  ",
                      numbers[i].meaning == NULL ? "" : numbers[i].meaning);
    }
}

static void print_levels(FILE *out, const tape_stats *s) {
    if (s->table_files == 0) {
        return;
    }
    (void)fprintf(out, "table files %15s files %18s bytes\n", "", "");
    for (size_t i = 0; i < COUNT_OF(s->level_files); i++) {
        char files[32];
        char bytes[32];
        if (s->level_files[i] > 0) {
            (void)fprintf(out, "  level %zu %18s %24s\n", i, group_digits(s->level_files[i], files),
                          group_digits(s->level_bytes[i], bytes));
        }
    }
    (void)fprintf(out,
                  "table files take %.2f times what their last levels hold; score %.2f, from 1 "
                  "on there is compaction to do\n",
                  s->space_amplification, s->compaction_score);
}

/* What its owner did with the store since it was opened. */
static void print_upkeep(FILE *out, const tape_stats *s) {
    char a[32];
    char b[32];
    char d[32];
    (void)fputs("since it was opened\n", out);
    if (s->flushed_bytes > 0) {
        (void)fprintf(out, "  %s bytes of records written out, at %.2f bytes of table files each\n",
                      group_digits(s->flushed_bytes, a), s->write_amplification);
    }
    (void)fprintf(out, "  %s compactions, %s files moved, %s bytes written in %.1f s\n",
                  group_digits(s->compactions, a), group_digits(s->compact_moves, b),
                  group_digits(s->compact_written_bytes, d), (double)s->compact_ns / 1e9);
    (void)fprintf(out, "  %s records let go, %.1f s of waiting for memtables, %s views open\n",
                  group_digits(s->dropped_records, a), (double)s->stall_ns / 1e9,
                  group_digits(s->views, b));
    (void)fprintf(out, "  %s bytes scrubbed, %s damages found, %s reads met damage\n",
                  group_digits(s->scrubbed_bytes, a), group_digits(s->scrub_findings, b),
                  group_digits(s->damaged_reads, d));
    (void)fprintf(out,
                  "  %s gets; filters passed over %s files for them, and let %s pass in vain\n",
                  group_digits(s->gets, a), group_digits(s->filter_negatives, b),
                  group_digits(s->filter_false_positives, d));
    (void)fprintf(out, "  %s archivings, %s merges of archive files, in %.1f s; ",
                  group_digits(s->archive_takes, a), group_digits(s->archive_merges, b),
                  (double)s->archive_ns / 1e9);
    (void)fprintf(out, "%s archive files let go, %s damages found in them\n",
                  group_digits(s->archive_expired_files, a), group_digits(s->archive_findings, b));
    (void)fprintf(out, "  %s statements of SQL, %s of them answered by key from the store, ",
                  group_digits(s->queries, a), group_digits(s->queries_from_store, b));
    (void)fprintf(out, "%s by results kept; %s run now, %s wait\n",
                  group_digits(s->queries_from_cache, a), group_digits(s->queries_running, b),
                  group_digits(s->queries_waiting, d));
}

/* What SQL reads: how far it is behind, and the files besides the columns in memory. */
static void print_sql(FILE *out, const tape_stats *s) {
    char a[32];
    char b[32];
    if (s->archive_files > 0) {
        (void)fprintf(out, "archive: %s Parquet file%s of %s bytes\n",
                      group_digits(s->archive_files, a), s->archive_files == 1 ? "" : "s",
                      group_digits(s->archive_bytes, b));
    }
    if (s->columns_lag > 0) {
        (void)fprintf(out, "SQL is %s records behind, by about %.1f ms\n",
                      group_digits(s->columns_lag, a), (double)s->columns_lag_ns / 1e6);
    } else {
        (void)fputs("SQL sees every record\n", out);
    }
}

static void print_status_table(cli *c, const char *dir, const tape_stats *s) {
    const status_number levels[] = {
        {"written", s->written, "survives a crash of the process"},
        {"durable", s->durable, "survives power loss"},
        {"committed", s->committed, "durable on every node that has to have it"},
        {"applied", s->applied, "seen by get"},
        {"queryable", s->queryable, "seen by SQL"},
        {"archived", s->archived, "in Parquet files"},
        {"oldest", s->oldest, "the first record the journal keeps"},
    };
    const status_number bytes[] = {
        {"journal", s->journal_bytes, "on disk"},     {"store", s->store_bytes, "on disk"},
        {"archive", s->archive_bytes, "on disk"},     {"window", s->window_bytes, "in memory"},
        {"memtable", s->memtable_bytes, "in memory"}, {"columns", s->columns_bytes, "in memory"},
    };
    status_number rows[TAPE_TABLE_COUNT];
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        rows[id - 1] = (status_number){tape_table(id)->name, s->rows[id], NULL};
    }
    (void)fprintf(c->out, "%s, epoch %llu, ", dir, (unsigned long long)s->epoch);
    if (c->asked) {
        (void)fprintf(c->out, "owned by process %lld\n", (long long)s->owner_pid);
    } else {
        (void)fputs("nobody owns it\n", c->out);
    }
    print_numbers(c->out, "last record that is", levels, COUNT_OF(levels));
    print_numbers(c->out, "records", rows, COUNT_OF(rows));
    print_numbers(c->out, "bytes", bytes, COUNT_OF(bytes));
    print_levels(c->out, s);
    print_sql(c->out, s);
    if (c->asked) {
        print_upkeep(c->out, s);
    }
    (void)fprintf(c->out, "syncs with %s, which takes %.1f us at least; %llu since it was opened\n",
                  s->sync_method, (double)s->sync_floor_ns / 1e3, (unsigned long long)s->syncs);
    (void)fprintf(c->out,
                  "the last open took %.1f ms: %llu records replayed, %llu of them from shared "
                  "memory, %llu bytes of a torn tail cut\n",
                  (double)s->recovery_ns / 1e6, (unsigned long long)s->recovered_records,
                  (unsigned long long)s->recovered_from_window, (unsigned long long)s->cut_bytes);
}

int verb_status(cli *c, const cli_args *args) {
    result_format format = RESULT_TABLE;
    tape_stats stats = {.size_bytes = sizeof stats};
    tape_error error;
    if (!args_format(c, args, &format)) {
        return EXIT_USAGE;
    }
    /* A store opened for this alone has nothing better to do than to catch up. */
    if (tape_stats_read(c->db, !c->asked, &stats, &error) != TAPE_OK) {
        return cli_fail(c, &error);
    }
    if (format == RESULT_JSON) {
        print_status_json(c, &stats);
    } else {
        print_status_table(c, args->words[0], &stats);
    }
    return EXIT_DONE;
}
