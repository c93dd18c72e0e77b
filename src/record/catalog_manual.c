/* catalog_manual.c: prints docs/RECORDS.md. */
#include "catalog_gen.h"

#include <string.h>

static const char *const opening =
    "# Records\n"
    "\n"
    "Generated from `src/record/catalog.def` by `catalog_gen`: change that, not this.\n"
    "\n"
    "A record in the journal is one of the structs below, byte for byte: little-endian, without\n"
    "padding. The C structs are in `<tape/records.h>`; SQL columns and JSON members have the same\n"
    "names and the same order.\n"
    "\n"
    "| type | bytes | C | SQL | JSON |\n"
    "|---|---|---|---|---|\n"
    "| u64 | 8 | `uint64_t` | `UBIGINT` | integer |\n"
    "| time | 8 | `int64_t`, ns since 1970 | `TIMESTAMP_NS` | `\"2024-08-08T23:54:15.342000000Z\"` "
    "|\n"
    "| f64 | 8 | `double` | `DOUBLE` | shortest decimal that reads back exactly |\n"
    "| f64[N] | 8 N | `double[N]` | `DOUBLE[N]` | array |\n"
    "| an enumeration | 1 | `uint8_t` | `VARCHAR` | string, or null when absent |\n"
    "| id[N] | N | `char[N]` | `VARCHAR` | string, or null when empty |\n"
    "\n"
    "Rules\n"
    "\n"
    "- `seq` is given by tape and starts at 1; `ts` is the event's time, or that of the append "
    "when\n"
    "  the producer gave 0.\n"
    "- The default of every field is zero bytes. Only key fields must be there.\n"
    "- An id is UTF-8 without control characters; the rest of its bytes are zero. It may fill its\n"
    "  field to the last byte, and then has no NUL.\n"
    "- An f64 is finite. Reserved bytes are zero.\n"
    "- An *entity* table shows the newest version of each key, and `<table>_history` shows every\n"
    "  version; an *event* table is its own history.\n"
    "- Layouts only grow: a later version of a table may add fields at the end. Reading an older\n"
    "  record, a field it lacks is its default (null in SQL and JSON); reading a newer one, what "
    "is\n"
    "  beyond is skipped.\n";

static void print_type(const catalog_field *f, char *out, size_t size) {
    switch (f->kind) {
    case CATALOG_KIND_ID:
        snprintf(out, size, "id[%u]", f->size);
        break;
    case CATALOG_KIND_ENUM:
        snprintf(out, size, "[%s](#%s)", f->enumeration, f->enumeration);
        break;
    case CATALOG_KIND_RESERVED:
        snprintf(out, size, "zero");
        break;
    case CATALOG_KIND_F64:
        if (f->count > 1) {
            snprintf(out, size, "f64[%u]", f->count);
            break;
        }
        snprintf(out, size, "f64");
        break;
    case CATALOG_KIND_U64:
    case CATALOG_KIND_TIME:
        snprintf(out, size, "%s", catalog_kind_name(f->kind));
        break;
    }
}

static const char *default_text(const catalog_model *model, const catalog_field *f) {
    if (strcmp(f->name, "seq") == 0) {
        return "the next";
    }
    if (strcmp(f->name, "ts") == 0) {
        return "now";
    }
    if (f->key) {
        return "required";
    }
    switch (f->kind) {
    case CATALOG_KIND_ID:
        return "empty";
    case CATALOG_KIND_ENUM: {
        const catalog_enum *e = catalog_enum_named(model, f->enumeration);
        return e->values[0].text ? e->values[0].text : "absent";
    }
    case CATALOG_KIND_RESERVED:
        return "";
    case CATALOG_KIND_U64:
    case CATALOG_KIND_TIME:
    case CATALOG_KIND_F64:
        break;
    }
    return "0";
}

static void print_table(const catalog_model *model, const catalog_table *t, FILE *out) {
    char type[64];
    const char *separator = "";
    fprintf(out, "\n## %s\n\n%s\n\n", t->name, t->doc);
    fprintf(out, "Table %u, %s, version %u, `tape_%s`, %u bytes. Key: ", t->id,
            strcmp(t->kind, "ENTITY") == 0 ? "entity" : "event", t->version, t->type, t->size);
    for (size_t i = 0; i < t->field_count; i++) {
        if (t->fields[i].key) {
            fprintf(out, "%s`%s`", separator, t->fields[i].name);
            separator = ", ";
        }
    }
    fputs(".\n\n| offset | bytes | field | type | default | since | meaning |\n"
          "|---:|---:|---|---|---|---:|---|\n",
          out);
    for (size_t i = 0; i < t->field_count; i++) {
        const catalog_field *f = &t->fields[i];
        bool reserved = f->kind == CATALOG_KIND_RESERVED;
        print_type(f, type, sizeof type);
        fprintf(out, "| %u | %u | %s%s%s | %s | %s | %u | %s |\n", f->offset, f->size * f->count,
                reserved ? "" : "`", reserved ? "(reserved)" : f->name, reserved ? "" : "`", type,
                default_text(model, f), f->since, f->doc);
    }
}

static void print_enum(const catalog_enum *e, FILE *out) {
    fprintf(out, "\n### %s\n\n%s\n\n| value | name | C |\n|---:|---|---|\n", e->name, e->doc);
    for (size_t i = 0; i < e->value_count; i++) {
        const catalog_value *v = &e->values[i];
        fprintf(out, "| %u | %s | `TAPE_%s_%s` |\n", v->number, v->text ? v->text : "(absent)",
                e->upper, v->name);
    }
}

void catalog_manual_print(const catalog_model *model, FILE *out) {
    fputs(opening, out);
    for (size_t i = 0; i < model->table_count; i++) {
        print_table(model, &model->tables[i], out);
    }
    fputs("\n## Enumerations\n", out);
    for (size_t i = 0; i < model->enum_count; i++) {
        print_enum(&model->enums[i], out);
    }
}
