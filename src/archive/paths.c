/* paths.c: names of files and directories, days, and what is left over of interrupted work. */
#include "archive/archive_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define SUFFIX ".parquet"
#define SUPERSEDED_DIR "superseded"

char *archive_table_dir(const archive *a, const archive_file_info *f) {
    return mem_printf("%s%s/table=%s", a->dir,
                      f->kind == ARCHIVE_SUPERSEDED ? "/" SUPERSEDED_DIR : "",
                      record_table(f->table)->name);
}

char *archive_day_dir(const archive *a, const archive_file_info *f) {
    char *table = archive_table_dir(a, f);
    if (f->kind == ARCHIVE_SUPERSEDED) {
        return table;
    }
    char day[16];
    archive_day_text(f->day, day);
    char *dir = mem_printf("%s/date=%s", table, day);
    free(table);
    return dir;
}

char *archive_file_path(const archive *a, const archive_file_info *f) {
    char *dir = archive_day_dir(a, f);
    char *path = mem_printf("%s/%s-%08" PRIu64 SUFFIX, dir, archive_kind_name(f->kind), f->number);
    free(dir);
    return path;
}

char *archive_tmp_path(const archive *a, uint64_t number) {
    return mem_printf("%s/%08" PRIu64 SUFFIX, a->tmp_dir, number);
}

tape_status archive_make_dir(const archive *a, const char *path, tape_error *error) {
    tape_error local;
    tape_status status = os_dir_make(a->disk, path, &local);
    if (status == TAPE_EXISTS) {
        return TAPE_OK;
    }
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}

/* --- days --- */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0 ? 1 : 0);
}

void archive_day_text(int32_t day, char out[16]) {
    char text[40];
    /* The first day that a time can name begins before the first time. */
    int64_t ns = 0;
    if (__builtin_mul_overflow((int64_t)day, ARCHIVE_DAY_NS, &ns)) {
        ns = day < 0 ? INT64_MIN : INT64_MAX;
    }
    (void)record_format_time(ns, text);
    memcpy(out, text, 10);
    out[10] = '\0';
}

int32_t archive_day_of(const archive *a, int64_t ts) {
    int64_t begins = a->options.day_begins_ns;
    int64_t moved = 0;
    if (__builtin_add_overflow(ts, begins, &moved)) {
        moved = INT64_MAX;
    }
    return (int32_t)floor_div(moved, ARCHIVE_DAY_NS);
}

void archive_day_range(const archive *a, int32_t day, int64_t *from, int64_t *to) {
    int64_t begin = 0;
    bool before = __builtin_mul_overflow((int64_t)day, ARCHIVE_DAY_NS, &begin) ||
                  __builtin_sub_overflow(begin, a->options.day_begins_ns, &begin);
    int32_t last = archive_day_of(a, INT64_MAX);
    *from = before ? INT64_MIN : begin;
    *to = INT64_MAX;
    if (day < last) {
        int64_t next = ((int64_t)day + 1) * ARCHIVE_DAY_NS;
        *to = next - a->options.day_begins_ns - 1;
    }
}

tape_status archive_day_from_text(const char *text, int32_t *day, tape_error *error) {
    int64_t ns = 0;
    if (strlen(text) != 10 || text[4] != '-' || !record_parse_time(text, 10, &ns)) {
        return error_set(error, TAPE_INVALID, "a date is written as 2024-08-08, not as \"%.40s\"",
                         text);
    }
    *day = (int32_t)floor_div(ns, ARCHIVE_DAY_NS);
    return TAPE_OK;
}

/* --- leftovers --- */

/* What a name of ours says; false when it is none. */
static bool name_is_ours(const char *name, bool temporary, uint64_t *number) {
    if (!temporary) {
        size_t kind = strcspn(name, "-");
        bool known = false;
        for (uint8_t k = ARCHIVE_ROWS; k <= ARCHIVE_SUPERSEDED; k++) {
            const char *text = archive_kind_name(k);
            known = known || (strlen(text) == kind && memcmp(name, text, kind) == 0);
        }
        if (!known || name[kind] != '-') {
            return false;
        }
        name += kind + 1;
    }
    size_t digits = strspn(name, "0123456789");
    return digits >= 8 && digits <= 18 && strcmp(name + digits, SUFFIX) == 0 &&
           number_parse_u64(name, digits, number);
}

typedef struct names {
    char **names;
    size_t count;
    size_t entries; /* of the directory, wanted or not */
    bool dirs;      /* looking for directories that begin with `prefix`, else for files of ours */
    bool temporary; /* in the directory of files being written */
    const char *prefix;
    const uint64_t *live; /* numbers, rising */
    size_t live_count;
} names;

static int compare_numbers(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void visit_name(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    names *n = context;
    uint64_t number = 0;
    bool wanted = n->dirs ? is_dir && strncmp(name, n->prefix, strlen(n->prefix)) == 0
                          : !is_dir && name_is_ours(name, n->temporary, &number) &&
                                bsearch(&number, n->live, n->live_count, sizeof number,
                                        compare_numbers) == NULL;
    n->entries++;
    if (wanted) {
        n->names = mem_realloc(n->names, (n->count + 1) * sizeof *n->names);
        n->names[n->count++] = mem_strdup(name);
    }
}

static void names_clear(names *n) {
    for (size_t i = 0; i < n->count; i++) {
        free(n->names[i]);
    }
    free(n->names);
    n->names = NULL;
    n->count = 0;
}

/* Lists into `n`; a directory that is not there is an empty one. */
static tape_status list(const archive *a, const char *dir, names *n, tape_error *error) {
    tape_error local;
    tape_status status = os_dir_list(a->disk, dir, visit_name, n, &local);
    if (status == TAPE_NOT_FOUND) {
        return TAPE_OK;
    }
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}

static tape_status sweep_dir(const archive *a, const char *dir, const names *like,
                             tape_error *error) {
    names files = *like;
    files.dirs = false;
    tape_status status = list(a, dir, &files, error);
    for (size_t i = 0; status == TAPE_OK && i < files.count; i++) {
        char *path = mem_printf("%s/%s", dir, files.names[i]);
        status = os_remove(a->disk, path, error);
        if (status == TAPE_OK) {
            log_line(LOG_INFO, "%s: removed, left over from interrupted work", path);
        }
        free(path);
    }
    if (status == TAPE_OK && !like->temporary && files.entries == files.count) {
        status = os_dir_remove(a->disk, dir, error);
    }
    names_clear(&files);
    return status;
}

/* The directories `prefix`* of `dir`, and what lies in them. */
static tape_status
sweep_dirs(const archive *a, const char *dir, const char *prefix, const names *like,
           tape_status (*each)(const archive *, const char *, const names *, tape_error *),
           tape_error *error) {
    names dirs = *like;
    dirs.dirs = true;
    dirs.prefix = prefix;
    tape_status status = list(a, dir, &dirs, error);
    for (size_t i = 0; status == TAPE_OK && i < dirs.count; i++) {
        char *path = mem_printf("%s/%s", dir, dirs.names[i]);
        status = each(a, path, like, error);
        free(path);
    }
    names_clear(&dirs);
    return status;
}

static tape_status sweep_table(const archive *a, const char *dir, const names *like,
                               tape_error *error) {
    return sweep_dirs(a, dir, "date=", like, sweep_dir, error);
}

tape_status archive_sweep(archive *a, tape_error *error) {
    size_t count = 0;
    size_t capacity = 64;
    uint64_t *live = mem_alloc(capacity * sizeof *live);
    pthread_mutex_lock(&a->lock);
    for (const archive_version *v = a->oldest; v != NULL; v = v->newer) {
        for (size_t i = 0; i < v->file_count; i++) {
            if (count == capacity) {
                capacity *= 2;
                live = mem_realloc(live, capacity * sizeof *live);
            }
            live[count++] = v->files[i]->info.number;
        }
    }
    pthread_mutex_unlock(&a->lock);
    qsort(live, count, sizeof *live, compare_numbers);
    names like = {.live = live, .live_count = count};
    names temporary = {.temporary = true};
    char *pairs = mem_printf("%s/" SUPERSEDED_DIR, a->dir);
    tape_status status = sweep_dir(a, a->tmp_dir, &temporary, error);
    if (status == TAPE_OK) {
        status = sweep_dirs(a, a->dir, "table=", &like, sweep_table, error);
    }
    if (status == TAPE_OK) {
        status = sweep_dirs(a, pairs, "table=", &like, sweep_dir, error);
    }
    free(pairs);
    free(live);
    return status;
}
