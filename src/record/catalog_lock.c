/* catalog_lock.c: the record of what was released, and the check against it (R4).
 *
 * Format: lines of words; # starts a comment line.
 *   value ENUM NUMBER TEXT                              TEXT "-" for the absent value
 *   table ID NAME KIND version VERSION size BYTES
 *   field TABLE NAME TYPE offset N size N count N since VERSION [key]
 * A line of fields or values never changes once it is there; of a table's line, version and size
 * may rise together. */
#include "catalog_model.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX 512

static const char *kind_word(const catalog_table *t) {
    return strcmp(t->kind, "ENTITY") == 0 ? "entity" : "event";
}

static void print_field(const catalog_table *t, const catalog_field *f, char *line) {
    const char *of = f->kind == CATALOG_KIND_ENUM ? f->enumeration : "";
    snprintf(line, LINE_MAX, "field %s %s %s%s%s offset %u size %u count %u since %u%s", t->name,
             f->name, catalog_kind_name(f->kind), *of ? ":" : "", of, f->offset, f->size, f->count,
             f->since, f->key ? " key" : "");
}

static void print_value(const catalog_enum *e, const catalog_value *v, char *line) {
    snprintf(line, LINE_MAX, "value %s %u %s", e->name, v->number, v->text ? v->text : "-");
}

void catalog_lock_print(const catalog_model *model, FILE *out) {
    char line[LINE_MAX];
    fputs("# What was released of the record catalogue. Printed by catalog_gen, which also checks\n"
          "# that catalog.def keeps it: lines are only ever added.\n",
          out);
    for (size_t i = 0; i < model->enum_count; i++) {
        const catalog_enum *e = &model->enums[i];
        for (size_t j = 0; j < e->value_count; j++) {
            print_value(e, &e->values[j], line);
            fprintf(out, "%s\n", line);
        }
    }
    for (size_t i = 0; i < model->table_count; i++) {
        const catalog_table *t = &model->tables[i];
        fprintf(out, "table %u %s %s version %u size %u\n", t->id, t->name, kind_word(t),
                t->version, t->size);
        for (size_t j = 0; j < t->field_count; j++) {
            print_field(t, &t->fields[j], line);
            fprintf(out, "%s\n", line);
        }
    }
}

/* A table as the lock has it, and which of the model's fields it lists. */
typedef struct locked_table {
    bool there;
    unsigned version;
    unsigned size;
    bool fields[CATALOG_FIELDS_MAX];
} locked_table;

static bool complain(FILE *complaints, const char *line, const char *what) {
    fprintf(complaints, "catalog.lock: %s: \"%s\"\n", what, line);
    return false;
}

static bool check_table_line(const catalog_model *model, const char *line, locked_table *locked,
                             FILE *complaints) {
    unsigned id;
    char name[64], kind[16];
    unsigned version, size;
    if (sscanf(line, "table %u %63s %15s version %u size %u", &id, name, kind, &version, &size) !=
        5) {
        return complain(complaints, line, "a line that is not understood");
    }
    if (id < 1 || id > model->table_count) {
        return complain(complaints, line, "a released table is gone");
    }
    const catalog_table *t = &model->tables[id - 1];
    if (strcmp(t->name, name) != 0 || strcmp(kind_word(t), kind) != 0) {
        return complain(complaints, line, "a released table has another name or kind now");
    }
    locked[id - 1].there = true;
    locked[id - 1].version = version;
    locked[id - 1].size = size;
    if (t->version < version || t->size < size) {
        return complain(complaints, line, "a released table has shrunk");
    }
    if ((t->version > version) != (t->size > size)) {
        return complain(complaints, line, "size and version of a released table rise together");
    }
    return true;
}

static bool check_field_line(const catalog_model *model, const char *line, locked_table *locked,
                             FILE *complaints) {
    char now[LINE_MAX];
    for (size_t i = 0; i < model->table_count; i++) {
        const catalog_table *t = &model->tables[i];
        for (size_t j = 0; j < t->field_count; j++) {
            print_field(t, &t->fields[j], now);
            if (strcmp(now, line) == 0) {
                locked[i].fields[j] = true;
                return true;
            }
        }
    }
    return complain(complaints, line, "a released field is gone or changed");
}

static bool check_value_line(const catalog_model *model, const char *line, FILE *complaints) {
    char now[LINE_MAX];
    for (size_t i = 0; i < model->enum_count; i++) {
        for (size_t j = 0; j < model->enums[i].value_count; j++) {
            print_value(&model->enums[i], &model->enums[i].values[j], now);
            if (strcmp(now, line) == 0) {
                return true;
            }
        }
    }
    return complain(complaints, line, "a released value is gone or changed");
}

/* Fields that the lock does not have are proper additions to its table, or belong to a table that
 * the lock does not have at all. */
static bool check_added(const catalog_table *t, const locked_table *locked, FILE *complaints) {
    bool ok = true;
    bool any = false;
    char now[LINE_MAX];
    for (size_t j = 0; j < t->field_count; j++) {
        any |= locked->fields[j];
    }
    if (!locked->there) {
        return !any || complain(complaints, t->name, "the line of a released table is missing");
    }
    for (size_t j = 0; j < t->field_count; j++) {
        const catalog_field *f = &t->fields[j];
        if (locked->fields[j]) {
            continue;
        }
        print_field(t, f, now);
        if (f->since <= locked->version) {
            ok = complain(complaints, now, "an added field needs a higher version");
        }
        if (f->offset < locked->size) {
            ok = complain(complaints, now, "an added field stands before the released end");
        }
        if (f->key) {
            ok = complain(complaints, now, "the key of a released table cannot grow");
        }
    }
    return ok;
}

bool catalog_lock_check(const catalog_model *model, const char *lock, FILE *complaints) {
    locked_table locked[CATALOG_TABLES_MAX] = {0};
    char line[LINE_MAX];
    bool ok = true;
    while (*lock) {
        size_t size = strcspn(lock, "\n");
        if (size >= sizeof line) {
            return complain(complaints, "...", "a line is too long");
        }
        memcpy(line, lock, size);
        line[size] = '\0';
        lock += size + (lock[size] == '\n');
        if (line[0] == '#' || line[0] == '\0') {
            continue;
        }
        if (strncmp(line, "table ", 6) == 0) {
            ok &= check_table_line(model, line, locked, complaints);
        } else if (strncmp(line, "field ", 6) == 0) {
            ok &= check_field_line(model, line, locked, complaints);
        } else if (strncmp(line, "value ", 6) == 0) {
            ok &= check_value_line(model, line, complaints);
        } else {
            ok = complain(complaints, line, "a line that is not understood");
        }
    }
    for (size_t i = 0; i < model->table_count; i++) {
        ok &= check_added(&model->tables[i], &locked[i], complaints);
    }
    return ok;
}
