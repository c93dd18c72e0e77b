/* catalog_header.c: prints <tape/records.h>. The text is laid out as clang-format leaves it. */
#include "catalog_gen.h"

#include <string.h>

static const char *const opening =
    "/* tape/records.h: the records of tape, as C structs, and their description at run time.\n"
    " *\n"
    " * Generated from src/record/catalog.def by catalog_gen: change that, not this.\n"
    " *\n"
    " * A record in the journal is one of these structs, byte for byte: little-endian, without\n"
    " * padding, read in place. For all of them:\n"
    " *\n"
    " * - `seq` is given by tape when the record is appended; what the caller put there is\n"
    " *   ignored. `ts` is the event's time in nanoseconds since 1970 (UTC); 0 asks for the time\n"
    " *   of the append.\n"
    " * - A struct of zero bytes holds every field's default. Fill what you have; only key fields\n"
    " *   must be there.\n"
    " * - Identifiers are UTF-8 text without control characters in arrays of fixed size, the rest\n"
    " *   of the array zero. Text as long as the array has no NUL after it: print it with %.*s.\n"
    " *   Empty means absent.\n"
    " * - Prices, volumes and money are IEEE doubles; NaN and infinities are refused.\n"
    " * - Enumerations are one byte. Reserved bytes are zero.\n"
    " *\n"
    " * Layouts only grow: a later version may add fields at the end, and nothing else changes. "
    "*/\n"
    "#ifndef TAPE_RECORDS_H\n"
    "#define TAPE_RECORDS_H\n"
    "\n"
    "#include <stddef.h>\n"
    "#include <stdint.h>\n"
    "\n"
    "#include <tape/error.h>\n"
    "\n"
    "#ifdef __cplusplus\n"
    "extern \"C\" {\n"
    "#define TAPE_LAYOUT(condition) static_assert(condition, \"a record's layout\")\n"
    "#else\n"
    "#define TAPE_LAYOUT(condition) _Static_assert(condition, \"a record's layout\")\n"
    "#endif\n"
    "\n";

static const char *const reflection =
    "/* --- the catalogue at run time "
    "---------------------------------------------------------------\n"
    " * For loops over tables and fields. Everything is constant and lives as long as the program. "
    "*/\n"
    "\n"
    "typedef enum tape_field_kind {\n"
    "    TAPE_FIELD_U64 = 1,  /* uint64_t */\n"
    "    TAPE_FIELD_TIME = 2, /* int64_t, nanoseconds since 1970, UTC */\n"
    "    TAPE_FIELD_F64 = 3,  /* double */\n"
    "    TAPE_FIELD_ENUM = 4, /* uint8_t, one of enum_names */\n"
    "    TAPE_FIELD_ID = 5,   /* char[size_bytes], UTF-8, NUL-padded */\n"
    "} tape_field_kind;\n"
    "\n"
    "typedef struct tape_field_info {\n"
    "    const char *name; /* of the column, \"order_id\" */\n"
    "    const char *doc;  /* what it means, in a few words */\n"
    "    tape_field_kind kind;\n"
    "    uint32_t offset;               /* in the struct, in bytes */\n"
    "    uint32_t size_bytes;           /* of one element */\n"
    "    uint32_t count;                /* elements: 1, or those of an array */\n"
    "    uint16_t since_version;        /* version of the table that introduced it */\n"
    "    uint8_t is_key;                /* 1: part of the key */\n"
    "    uint8_t enum_count;            /* values are 0 .. enum_count - 1; 0 for other kinds */\n"
    "    const char *const *enum_names; /* by value; NULL for the value that means absent */\n"
    "} tape_field_info;\n"
    "\n"
    "typedef enum tape_table_kind {\n"
    "    TAPE_KIND_EVENT = 1,  /* each record stands for itself; the table is its own history */\n"
    "    TAPE_KIND_ENTITY = 2, /* a record is a version of its key; the table shows the newest */\n"
    "} tape_table_kind;\n"
    "\n"
    "typedef struct tape_table_info {\n"
    "    uint16_t id; /* TAPE_TABLE_... */\n"
    "    uint16_t version;\n"
    "    tape_table_kind kind;\n"
    "    const char *name; /* \"orders\" */\n"
    "    const char *doc;\n"
    "    uint32_t size_bytes; /* of the struct */\n"
    "    uint32_t field_count;\n"
    "    const tape_field_info *fields; /* in column order, seq and ts first; reserved bytes left "
    "out "
    "*/\n"
    "    uint32_t key_count;\n"
    "    const uint32_t *key_fields; /* indexes into `fields`, in key order */\n"
    "} tape_table_info;\n"
    "\n"
    "/* The table of an id (1 .. TAPE_TABLE_COUNT) or a name (\"orders\"); NULL when there is "
    "none. */\n"
    "TAPE_API const tape_table_info *tape_table(uint16_t id);\n"
    "TAPE_API const tape_table_info *tape_table_named(const char *name);\n"
    "\n";

static const char *const closing = "#undef TAPE_LAYOUT\n"
                                   "\n"
                                   "#ifdef __cplusplus\n"
                                   "}\n"
                                   "#endif\n"
                                   "#endif\n";

static void print_constants(const catalog_model *model, FILE *out) {
    unsigned largest = 0;
    fputs("/* Table ids. */\n", out);
    for (size_t i = 0; i < model->table_count; i++) {
        const catalog_table *t = &model->tables[i];
        fprintf(out, "#define TAPE_TABLE_%s %u\n", t->upper, t->id);
        if (t->size > largest) {
            largest = t->size;
        }
    }
    fprintf(out, "#define TAPE_TABLE_%s %zu\n\n", "COUNT", model->table_count);
    fprintf(out, "/* The largest struct, in bytes. */\n#define TAPE_RECORD_BYTES_MAX %u\n\n",
            largest);
}

static void print_enum(const catalog_enum *e, FILE *out) {
    char line[128];
    int width = 0;
    for (size_t i = 0; i < e->value_count; i++) {
        int n = snprintf(line, sizeof line, "TAPE_%s_%s = %u,", e->upper, e->values[i].name,
                         e->values[i].number);
        width = n > width ? n : width;
    }
    fprintf(out, "/* %s */\ntypedef enum tape_%s {\n", e->doc, e->name);
    for (size_t i = 0; i < e->value_count; i++) {
        const catalog_value *v = &e->values[i];
        snprintf(line, sizeof line, "TAPE_%s_%s = %u,", e->upper, v->name, v->number);
        if (v->text) {
            fprintf(out, "    %-*s /* \"%s\" */\n", width, line, v->text);
        } else {
            fprintf(out, "    %-*s /* null */\n", width, line);
        }
    }
    fprintf(out, "} tape_%s;\n\n", e->name);
}

static void print_declaration(const catalog_field *f, char *line, size_t size) {
    switch (f->kind) {
    case CATALOG_KIND_U64:
        snprintf(line, size, "uint64_t %s;", f->name);
        break;
    case CATALOG_KIND_TIME:
        snprintf(line, size, "int64_t %s;", f->name);
        break;
    case CATALOG_KIND_F64:
        if (f->count > 1) {
            snprintf(line, size, "double %s[%u];", f->name, f->count);
        } else {
            snprintf(line, size, "double %s;", f->name);
        }
        break;
    case CATALOG_KIND_ENUM:
        snprintf(line, size, "uint8_t %s;", f->name);
        break;
    case CATALOG_KIND_ID:
        snprintf(line, size, "char %s[%u];", f->name, f->size);
        break;
    case CATALOG_KIND_RESERVED:
        snprintf(line, size, "uint8_t %s[%u];", f->name, f->size);
        break;
    }
}

static void print_comment(const catalog_field *f, FILE *out) {
    if (f->kind == CATALOG_KIND_RESERVED) {
        fputs("/* zero */\n", out);
    } else if (f->kind == CATALOG_KIND_ENUM) {
        fprintf(out, "/* enum tape_%s: %s */\n", f->enumeration, f->doc);
    } else {
        fprintf(out, "/* %s%s */\n", f->key ? "key: " : "", f->doc);
    }
}

static void print_struct(const catalog_table *t, FILE *out) {
    char line[128];
    int width = 0;
    for (size_t i = 0; i < t->field_count; i++) {
        print_declaration(&t->fields[i], line, sizeof line);
        int n = (int)strlen(line);
        width = n > width ? n : width;
    }
    fprintf(out, "/* %s: %s */\ntypedef struct tape_%s {\n", t->name, t->doc, t->type);
    for (size_t i = 0; i < t->field_count; i++) {
        print_declaration(&t->fields[i], line, sizeof line);
        fprintf(out, "    %-*s ", width, line);
        print_comment(&t->fields[i], out);
    }
    fprintf(out, "} tape_%s;\n#define TAPE_%s_VERSION %u\n", t->type, t->upper, t->version);
    for (size_t i = 0; i < t->field_count; i++) {
        fprintf(out, "TAPE_LAYOUT(offsetof(tape_%s, %s) == %u);\n", t->type, t->fields[i].name,
                t->fields[i].offset);
    }
    fprintf(out, "TAPE_LAYOUT(sizeof(tape_%s) == %u);\n\n", t->type, t->size);
}

void catalog_header_print(const catalog_model *model, FILE *out) {
    fputs(opening, out);
    print_constants(model, out);
    for (size_t i = 0; i < model->enum_count; i++) {
        print_enum(&model->enums[i], out);
    }
    for (size_t i = 0; i < model->table_count; i++) {
        print_struct(&model->tables[i], out);
    }
    fputs(reflection, out);
    fputs(closing, out);
}
