/* catalog_model.c: reads catalog.def into memory and checks what can be checked without a past.
 * Failure: every finding is a line on `complaints`; the loader goes on to find the others. */
#include "catalog_model.h"

#include <string.h>

enum item_op { ITEM_ENUM, ITEM_VALUE, ITEM_TABLE, ITEM_FIELD };

/* catalog.def as one flat list; what belongs together follows each other. */
typedef struct item {
    enum item_op op;
    catalog_enum enumeration;
    catalog_value value;
    catalog_table table;
    catalog_field field;
} item;

#define KEY true
#define NO_KEY false
/* clang-format off */
#define FIELD(of, field_name, field_since, KIND, bytes, elements, is_key, enum_name, text)         \
    {.op = ITEM_FIELD, .field = {.type = #of, .name = #field_name, .since = field_since,           \
        .kind = CATALOG_KIND_##KIND, .size = bytes, .count = elements, .key = is_key,              \
        .enumeration = enum_name, .doc = text}},
#define CATALOG_ENUM(enum_name, NAME, text)                                                        \
    {.op = ITEM_ENUM, .enumeration = {.name = #enum_name, .upper = #NAME, .doc = text}},
#define CATALOG_VALUE(NAME, VALUE, value_number, value_text)                                       \
    {.op = ITEM_VALUE, .value = {.name = #VALUE, .number = value_number, .text = value_text}},
#define CATALOG_TABLE(table_id, table_name, NAME, of, KIND, table_version, text)                   \
    {.op = ITEM_TABLE, .table = {.id = table_id, .name = #table_name, .upper = #NAME,              \
        .type = #of, .kind = #KIND, .version = table_version, .doc = text}},
#define CATALOG_U64(of, name, since, is_key, doc)                                                  \
    FIELD(of, name, since, U64, 8, 1, is_key, NULL, doc)
#define CATALOG_TIME(of, name, since, doc) FIELD(of, name, since, TIME, 8, 1, false, NULL, doc)
#define CATALOG_F64(of, name, since, doc) FIELD(of, name, since, F64, 8, 1, false, NULL, doc)
#define CATALOG_F64_ARRAY(of, name, since, count, doc)                                             \
    FIELD(of, name, since, F64, 8, count, false, NULL, doc)
#define CATALOG_ENUM_FIELD(of, name, since, enumeration, doc)                                      \
    FIELD(of, name, since, ENUM, 1, 1, false, #enumeration, doc)
#define CATALOG_ID(of, name, since, bytes, is_key, doc)                                            \
    FIELD(of, name, since, ID, bytes, 1, is_key, NULL, doc)
#define CATALOG_RESERVED(of, name, since, bytes)                                                   \
    FIELD(of, name, since, RESERVED, bytes, 1, false, NULL, "")
/* clang-format on */

static const item items[] = {
#include "catalog.def"
};

static bool complain(FILE *complaints, const char *where, const char *what) {
    fprintf(complaints, "catalog.def: %s: %s\n", where, what);
    return false;
}

const char *catalog_kind_name(catalog_kind kind) {
    static const char *const names[] = {"u64", "time", "f64", "enum", "id", "reserved"};
    return names[kind];
}

const catalog_enum *catalog_enum_named(const catalog_model *model, const char *name) {
    for (size_t i = 0; i < model->enum_count; i++) {
        if (strcmp(model->enums[i].name, name) == 0) {
            return &model->enums[i];
        }
    }
    return NULL;
}

static bool check_enum(const catalog_enum *e, FILE *complaints) {
    bool ok = true;
    for (size_t i = 0; i < e->value_count; i++) {
        if (e->values[i].number != i) {
            ok = complain(complaints, e->name, "values are not numbered 0, 1, 2...");
        }
        if (!e->values[i].text && i > 0) {
            ok = complain(complaints, e->name, "only value 0 can be the absent one");
        }
    }
    return ok;
}

static bool check_field(const catalog_model *model, const catalog_table *t, size_t index,
                        FILE *complaints) {
    const catalog_field *f = &t->fields[index];
    bool ok = true;
    if (strcmp(f->type, t->type) != 0) {
        ok = complain(complaints, f->name, "does not repeat its table's type");
    }
    if (f->since < 1 || f->since > t->version) {
        ok = complain(complaints, f->name, "`since` is not between 1 and the table's version");
    }
    if (index > 0 && f->since < t->fields[index - 1].since) {
        ok = complain(complaints, f->name, "stands behind a field of a higher version");
    }
    if (f->kind != CATALOG_KIND_ENUM && f->kind != CATALOG_KIND_RESERVED && f->offset % 8 != 0) {
        ok = complain(complaints, f->name, "does not stand at a multiple of 8: reserve bytes (R2)");
    }
    if (f->kind == CATALOG_KIND_ID && f->size % 8 != 0) {
        ok = complain(complaints, f->name, "its size is not a multiple of 8 (R2)");
    }
    if (f->kind == CATALOG_KIND_ENUM && !catalog_enum_named(model, f->enumeration)) {
        ok = complain(complaints, f->name, "its enumeration is not there");
    }
    if (f->count < 1 || f->size < 1) {
        ok = complain(complaints, f->name, "has no bytes");
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(t->fields[i].name, f->name) == 0) {
            ok = complain(complaints, f->name, "stands twice in its table");
        }
    }
    return ok;
}

static bool check_table(const catalog_model *model, catalog_table *t, size_t index,
                        FILE *complaints) {
    bool ok = true;
    size_t keys = 0;
    size_t key_bytes = 1;
    t->size = 0;
    if (t->id != index + 1) {
        ok = complain(complaints, t->name, "ids do not count 1, 2, 3...");
    }
    if (t->field_count < 2 || strcmp(t->fields[0].name, "seq") != 0 ||
        t->fields[0].kind != CATALOG_KIND_U64 || strcmp(t->fields[1].name, "ts") != 0 ||
        t->fields[1].kind != CATALOG_KIND_TIME) {
        ok = complain(complaints, t->name, "does not start with seq and ts (R1)");
    }
    for (size_t i = 0; i < t->field_count; i++) {
        t->fields[i].offset = t->size;
        t->size += t->fields[i].size * t->fields[i].count;
        keys += t->fields[i].key;
        key_bytes += t->fields[i].key ? t->fields[i].size : 0;
        ok &= check_field(model, t, i, complaints);
    }
    if (keys == 0) {
        ok = complain(complaints, t->name, "has no key");
    }
    if (key_bytes > CATALOG_KEY_BYTES_MAX) {
        ok = complain(complaints, t->name, "its key is too long");
    }
    if (t->size % 8 != 0) {
        ok = complain(complaints, t->name, "its size is not a multiple of 8: reserve bytes (R2)");
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(model->tables[i].name, t->name) == 0) {
            ok = complain(complaints, t->name, "two tables have the name");
        }
    }
    return ok;
}

bool catalog_model_check(catalog_model *model, FILE *complaints) {
    bool ok = true;
    for (size_t i = 0; i < model->enum_count; i++) {
        ok &= check_enum(&model->enums[i], complaints);
    }
    for (size_t i = 0; i < model->table_count; i++) {
        ok &= check_table(model, &model->tables[i], i, complaints);
    }
    return ok;
}

bool catalog_model_load(catalog_model *out, FILE *complaints) {
    *out = (catalog_model){0};
    catalog_enum *e = NULL;
    catalog_table *t = NULL;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        const item *it = &items[i];
        switch (it->op) {
        case ITEM_ENUM:
            if (out->enum_count == CATALOG_ENUMS_MAX) {
                return complain(complaints, it->enumeration.name, "too many enumerations");
            }
            e = &out->enums[out->enum_count++];
            *e = it->enumeration;
            break;
        case ITEM_VALUE:
            if (!e || e->value_count == CATALOG_VALUES_MAX) {
                return complain(complaints, it->value.name, "no enumeration, or too many values");
            }
            e->values[e->value_count++] = it->value;
            break;
        case ITEM_TABLE:
            if (out->table_count == CATALOG_TABLES_MAX) {
                return complain(complaints, it->table.name, "too many tables");
            }
            t = &out->tables[out->table_count++];
            *t = it->table;
            break;
        case ITEM_FIELD:
            if (!t || t->field_count == CATALOG_FIELDS_MAX) {
                return complain(complaints, it->field.name, "no table, or too many fields");
            }
            t->fields[t->field_count++] = it->field;
            break;
        }
    }
    return catalog_model_check(out, complaints);
}
