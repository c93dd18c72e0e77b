/* The verbs of `tape`: names, words, options, and the texts of the help.
 *
 * Purpose: one table drives dispatch, `tape help`, the man page and the shells' completion. */
#include "cli/cli_internal.h"

#include <stdlib.h>

#define OPTION_AT                                                                                  \
    { "at", 0, "SEQ", "the state right after record SEQ; default: now" }
#define OPTION_PROGRESS                                                                            \
    { "progress", 0, NULL, "show progress on stderr even if that is not a terminal" }
#define OPTION_LEVEL                                                                               \
    { "level", 0, "LEVEL", "see what is written, durable or committed; default: written" }
#define OPTIONS_RANGE                                                                              \
    {"from", 0, "TEXT", "of the next key field: from here on"},                                    \
        {"to", 0, "TEXT", "up to here, not including it"}, {                                       \
        "prefix", 0, "TEXT", "what begins so"                                                      \
    }
#define LEVEL_TEXT                                                                                 \
    "LEVEL is how safe a record is: `written` survives a crash of the process, `durable` "         \
    "survives "                                                                                    \
    "power loss, `committed` is durable on every node that has to have it."

const cli_verb cli_verbs[] = {
    {
        .name = "init",
        .synopsis = "DIR",
        .summary = "make a new store",
        .text = "Makes an empty store in DIR, which is absent or empty.",
        .examples = "tape init market\n",
        .words_min = 1,
        .words_max = 1,
        .run = verb_init,
    },
    {
        .name = "load",
        .synopsis = "DIR TABLE FILE... [options]",
        .summary = "append the rows of CSV, JSON or Parquet files",
        .text =
            "Appends the rows of the files, in order. The kind of a file is told by its name: "
            ".csv, "
            ".json, .jsonl, .ndjson, .parquet, each also with .gz or .zst. Columns are found by "
            "name; fields that the file does not have take the catalogue's defaults, and `ts` is "
            "the time of the load.\n"
            "Rows whose key an event table already has are skipped and counted, so a load that was "
            "interrupted can be run again. A bad row stops the load and is named: its number (from "
            "1, a header not counted), column, value and what is wrong with it; rows before it "
            "stay. With --rejects, bad rows go to a file and the load goes on; one called .csv can "
            "be "
            "corrected and loaded.\n" LEVEL_TEXT,
        .examples = "tape load market trades trades.csv.gz\n"
                    "tape load market ticks t.parquet --select \"SELECT ts, sym AS instrument_id, "
                    "px AS last_price FROM input\"\n",
        .store = STORE_OWN,
        .words_min = 3,
        .words_max = -1,
        .options =
            {
                {"select", 0, "SQL", "a SELECT over the relation `input` that makes the rows"},
                {"ack", 0, "LEVEL", "what to wait for; default: durable"},
                {"rejects", 0, "FILE", "write bad rows to FILE, which must not exist, and go on"},
                {"skip", 0, "N", "leave out the first N rows"},
            },
        .check = verb_load_check,
        .run = verb_load,
    },
    {
        .name = "sim",
        .synopsis = "DIR [options]",
        .summary = "run the built-in exchange",
        .text = "Runs an exchange that matches a seeded flow of orders by price and time, and "
                "appends what happens: orders with every change of their status, trades, accounts, "
                "positions, ticks and depth. The same seed on an empty store makes the same "
                "records. All records of one event are one append.\n" LEVEL_TEXT,
        .examples = "tape sim market --orders 100000\n"
                    "tape sim market --rate 1000 --orders 1000000 --seed 7\n",
        .store = STORE_OWN,
        .words_min = 1,
        .words_max = 1,
        .options =
            {
                {"orders", 0, "N", "orders to send; default: 100000"},
                {"seed", 0, "S", "seed of the flow; default: 1"},
                {"instruments", 0, "K", "instruments; default: 4"},
                {"users", 0, "U", "users; default: 100"},
                {"rate", 0, "R", "orders per second; default: as fast as it goes"},
                {"ack", 0, "LEVEL", "what to wait for; default: durable"},
            },
        .check = verb_sim_check,
        .run = verb_sim,
    },
    {
        .name = "get",
        .synopsis = "DIR TABLE KEY... [options]",
        .summary = "print the row of a key",
        .text = "Prints the row as one line of JSON. KEY is one word per key field. Exit status 3 "
                "when there is no such row.",
        .examples = "tape get market trades 3735683259\n"
                    "tape get market positions alice IF2601 --at 5000\n",
        .store = STORE_READ,
        .words_min = 3,
        .words_max = -1,
        .options = {OPTION_AT},
        .check = verb_get_check,
        .run = verb_get,
    },
    {
        .name = "scan",
        .synopsis = "DIR TABLE [KEY...] [options]",
        .summary = "print the rows of a range of keys, in order",
        .text =
            "Prints the newest row of each key, in the order of the keys: text by bytes, numbers "
            "by value. KEY are the first key fields, if any; --from, --to and --prefix bound the "
            "next one. With --versions every version of a key comes, newest first. A scan sees "
            "one state, that of its start, whatever is appended meanwhile, and never holds more "
            "than a few rows.\n"
            "Lines of JSON as `get` prints them, or another format as in `sql`.",
        .examples = "tape scan market positions alice\n"
                    "tape scan market orders --prefix s7- --reverse --limit 10\n"
                    "tape scan market orders s7-o00000097 --versions --format table\n",
        .store = STORE_READ,
        .words_min = 2,
        .words_max = -1,
        .options =
            {
                OPTIONS_RANGE,
                {"reverse", 0, NULL, "the highest key first; with --versions, the oldest"},
                {"versions", 0, NULL, "every version, not the newest alone"},
                OPTION_AT,
                {"limit", 0, "N", "end after N rows"},
                {"format", 0, "FORMAT", "json (default), table, csv, line, arrow or parquet"},
                {"width", 0, "COLUMNS", "of a table; default: the terminal's; 0: no limit"},
            },
        .check = verb_scan_check,
        .run = verb_scan,
    },
    {
        .name = "sql",
        .synopsis = "DIR [SQL] [options]",
        .summary = "ask in SQL",
        .text =
            "Runs one read-only statement in DuckDB's dialect and prints its rows; `-` reads it "
            "from stdin. Without SQL it is a shell with history and completion, or, when stdin is "
            "not a terminal, runs the statements it reads, each ended by `;`, up to the first that "
            "fails. A statement sees one state of all tables, that of its start. Ctrl-C stops the "
            "statement that runs; `.help` in the shell lists its commands.\n"
            "Each --param is the value of the next of $1, $2, ...: NULL, true or false, a number "
            "as in JSON, a time such as 2024-08-08T23:59:00Z, or else text. A type before the "
            "value "
            "settles it: text:600536, int:, uint:, double:, bool:, time:.\n"
            "Formats: `table` on a terminal; `csv` (RFC 4180; an absent value is an empty cell); "
            "`json`, one object per line; `line`, a line per value; `arrow`, an IPC stream; "
            "`parquet`. Times are RFC 3339 in "
            "UTC with nine decimals, numbers the shortest decimal that reads back "
            "exactly.\n" LEVEL_TEXT,
        .examples = "tape sql market \"SELECT instrument_id, count(*) FROM trades GROUP BY ALL\"\n"
                    "tape sql market --format parquet -o day.parquet \"FROM trades\"\n"
                    "tape sql market 'FROM trades WHERE trade_id = $1' --param text:1001\n",
        .store = STORE_READ,
        .words_min = 1,
        .words_max = 2,
        .options =
            {
                OPTION_AT,
                OPTION_LEVEL,
                {"format", 0, "FORMAT", "table, csv, json, line, arrow or parquet"},
                {"output", 'o', "FILE", "write to FILE; its name may tell the format"},
                {"param", 0, "VALUE", "of the next parameter, $1 first; may be repeated", true},
                {"timeout", 0, "SECONDS", "give up after so long"},
                {"width", 0, "COLUMNS", "of a table; default: the terminal's; 0: no limit"},
                OPTION_PROGRESS,
            },
        .check = verb_sql_check,
        .run = verb_sql,
        .start = verb_sql_start,
    },
    {
        .name = "tail",
        .synopsis = "DIR [options]",
        .summary = "print records in order, and follow",
        .text = "Prints records as lines of JSON, from the first to the last there is, or with "
                "--follow for as long as it runs. Reads the journal and needs no owner; with "
                "--follow it waits for one to come and survives its going.\n"
                "TIME is RFC 3339, as 2024-08-08T23:59:00Z, and means the first record, in order, "
                "with `ts` not before it. A plain number is a SEQ.\n" LEVEL_TEXT,
        .examples = "tape tail market --tables trades,orders --from latest --follow\n"
                    "tape tail market --from 2024-08-08T23:59:00Z --limit 10\n",
        .words_min = 1,
        .words_max = 1,
        .options =
            {
                {"tables", 0, "T,..", "only records of these tables"},
                {"instruments", 0, "I,..", "only records of these instruments"},
                {"from", 0, "WHERE", "earliest (default), latest, SEQ or TIME"},
                {"to", 0, "SEQ", "end after record SEQ"},
                OPTION_LEVEL,
                {"limit", 0, "N", "end after N lines"},
                {"follow", 'f', NULL, "wait for more"},
            },
        .check = verb_tail_check,
        .run = verb_tail,
    },
    {
        .name = "status",
        .synopsis = "DIR [options]",
        .summary = "tell how far everything is, and how large",
        .text = "Prints the last sequence number that is written, durable, committed, applied to "
                "the store, visible to SQL and archived, the oldest kept, rows per table, bytes "
                "per part, how far SQL is behind, the store's files by level, the archive's, and "
                "what compaction, archiving and scrubbing did, how statements were answered, how "
                "the device syncs and what the last recovery did.",
        .examples = "tape status market --format json\n",
        .store = STORE_READ,
        .words_min = 1,
        .words_max = 1,
        .options = {{"format", 0, "FORMAT", "table (default) or json"}},
        .check = verb_status_check,
        .run = verb_status,
    },
    {
        .name = "verify",
        .synopsis = "DIR",
        .summary = "read every byte and check it",
        .text = "Reads every byte, checks every checksum, compares journal and store. Prints `ok` "
                "with what was read, or a line per damage with file, offset, expected and actual; "
                "then the exit status is 1.",
        .examples = "tape verify market\n",
        .words_min = 1,
        .words_max = 1,
        .store = STORE_READ,
        .run = verb_verify,
        .start = verb_verify_start,
    },
    {
        .name = "checkpoint",
        .synopsis = "DIR",
        .summary = "bring the store's files up to date now",
        .text = "Makes the store's files hold every record committed so far, as happens in the "
                "background, so that the next open has little to replay.",
        .examples = "tape checkpoint market\n",
        .store = STORE_WRITE,
        .words_min = 1,
        .words_max = 1,
        .run = verb_checkpoint,
    },
    {
        .name = "compact",
        .synopsis = "DIR [TABLE [KEY...]] [options]",
        .summary = "bring the store's files into their final order now",
        .text =
            "Does what the background does over time: makes the store's files hold every record "
            "committed so far, then merges them, of all tables, of one, or of a range of its "
            "keys (as in `scan`), so that a point read looks at one file. Versions and events "
            "that need not be kept go. Appends and reads go on meanwhile; interrupted, what "
            "was done stays.",
        .examples = "tape compact market\n"
                    "tape compact market orders --prefix s7-\n",
        .store = STORE_WRITE,
        .words_min = 1,
        .words_max = -1,
        .options = {OPTIONS_RANGE, OPTION_PROGRESS},
        .check = verb_compact_check,
        .run = verb_compact,
    },
    {
        .name = "archive",
        .synopsis = "DIR [options]",
        .summary = "bring every record into Parquet files now",
        .text =
            "Does what the background does over time: waits until every record written so far is "
            "committed, and writes those that are not archived yet to Parquet files under "
            "DIR/archive, by table and day, which SQL reads from then on instead of memory, and "
            "other engines as they are. With --date the files of that day are put together "
            "afterwards, for good. Appends and queries go on meanwhile; interrupted, what was "
            "done stays.",
        .examples = "tape archive market\n"
                    "tape archive market --date 2024-08-08\n",
        .store = STORE_WRITE,
        .words_min = 1,
        .words_max = 1,
        .options = {{"date", 0, "YYYY-MM-DD", "then put all files of that day together"},
                    OPTION_PROGRESS},
        .check = verb_archive_check,
        .run = verb_archive,
    },
    {
        .name = "bench",
        .synopsis = "[NAME] [options]",
        .summary = "measure this machine, in a few seconds",
        .text = "Measures in a scratch store under TMPDIR that goes away: `append-written`, "
                "`append-durable`, `append-batch`, `get`, `sql`, or all of them.",
        .examples = "tape bench\n"
                    "tape bench append-durable --seconds 10\n",
        .words_min = 0,
        .words_max = 1,
        .options =
            {
                {"seconds", 0, "S", "how long each runs; default: 1"},
                {"format", 0, "FORMAT", "table, csv or json"},
            },
        .check = verb_bench_check,
        .run = verb_bench,
    },
    {
        .name = "help",
        .synopsis = "[VERB]",
        .summary = "explain a verb",
        .text = "Prints the verbs, or what one does.",
        .words_min = 0,
        .words_max = 1,
        .options = {{"print", 0, "WHAT",
                     "the manual page (man), or completion for bash, zsh, fish"}},
        .run = verb_help,
    },
};
const size_t cli_verb_count = COUNT_OF(cli_verbs);

const cli_verb *cli_verb_named(const char *name) {
    for (size_t i = 0; i < cli_verb_count; i++) {
        if (strcmp(cli_verbs[i].name, name) == 0) {
            return &cli_verbs[i];
        }
    }
    return NULL;
}
