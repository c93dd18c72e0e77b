/* table.c: the catalogue as constant tables, and looking things up in it.
 *
 * The offsets come from the structs of <tape/records.h>, which asserts that they are those the
 * generator computed: a header that does not fit catalog.def does not compile. */
#include "record_internal.h"

/* The names of each enumeration's values, by value. */
#define CATALOG_ENUM(name, NAME, doc) static const char *const name##_values[] = {
#define CATALOG_VALUE(NAME, VALUE, number, text) [number] = (text),
#define CATALOG_ENUM_END(name)                                                                     \
    }                                                                                              \
    ;                                                                                              \
    _Static_assert(COUNT_OF(name##_values) <= UINT8_MAX, "values of an enumeration fit a byte");
#include "catalog.def"

/* The fields of each table. */
#define IS_KEY 1
#define IS_NO_KEY 0
#define FIELD(type, field_name, since, field_kind, elements, key, names, values, text)             \
    {.name = #field_name,                                                                          \
     .doc = (text),                                                                                \
     .kind = (field_kind),                                                                         \
     .offset = (uint32_t)offsetof(tape_##type, field_name),                                        \
     .size_bytes = (uint32_t)(sizeof(((tape_##type *)0)->field_name) / (elements)),                \
     .count = (elements),                                                                          \
     .since_version = (since),                                                                     \
     .is_key = (key),                                                                              \
     .enum_count = (values),                                                                       \
     .enum_names = (names)},
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc)                                    \
    static const tape_field_info name##_fields[] = {
#define CATALOG_U64(type, name, since, KEY, doc)                                                   \
    FIELD(type, name, since, TAPE_FIELD_U64, 1, IS_##KEY, NULL, 0, doc)
#define CATALOG_TIME(type, name, since, doc)                                                       \
    FIELD(type, name, since, TAPE_FIELD_TIME, 1, 0, NULL, 0, doc)
#define CATALOG_F64(type, name, since, doc)                                                        \
    FIELD(type, name, since, TAPE_FIELD_F64, 1, 0, NULL, 0, doc)
#define CATALOG_F64_ARRAY(type, name, since, count, doc)                                           \
    FIELD(type, name, since, TAPE_FIELD_F64, count, 0, NULL, 0, doc)
#define CATALOG_ENUM_FIELD(type, name, since, enumeration, doc)                                    \
    FIELD(type, name, since, TAPE_FIELD_ENUM, 1, 0, enumeration##_values,                          \
          COUNT_OF(enumeration##_values), doc)
#define CATALOG_ID(type, name, since, bytes, KEY, doc)                                             \
    FIELD(type, name, since, TAPE_FIELD_ID, 1, IS_##KEY, NULL, 0, doc)
#define CATALOG_TABLE_END(name)                                                                    \
    }                                                                                              \
    ;
#include "catalog.def"

/* Where in its table's array each field stands; reserved bytes stand nowhere. */
#define INDEX(type, name) type##_##name##_index,
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc) enum {
#define CATALOG_U64(type, name, since, KEY, doc) INDEX(type, name)
#define CATALOG_TIME(type, name, since, doc) INDEX(type, name)
#define CATALOG_F64(type, name, since, doc) INDEX(type, name)
#define CATALOG_F64_ARRAY(type, name, since, count, doc) INDEX(type, name)
#define CATALOG_ENUM_FIELD(type, name, since, enumeration, doc) INDEX(type, name)
#define CATALOG_ID(type, name, since, bytes, KEY, doc) INDEX(type, name)
#define CATALOG_TABLE_END(name)                                                                    \
    name##_field_count                                                                             \
    }                                                                                              \
    ;
#include "catalog.def"

/* The key fields of each table. */
#define INDEX_OF_KEY(index) (index),
#define INDEX_OF_NO_KEY(index)
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc)                                    \
    static const uint32_t name##_key_fields[] = {
#define CATALOG_U64(type, name, since, KEY, doc) INDEX_OF_##KEY(type##_##name##_index)
#define CATALOG_ID(type, name, since, bytes, KEY, doc) INDEX_OF_##KEY(type##_##name##_index)
#define CATALOG_TABLE_END(name)                                                                    \
    }                                                                                              \
    ;                                                                                              \
    _Static_assert(name##_field_count == COUNT_OF(name##_fields), "one index for each field");
#include "catalog.def"

static const tape_table_info tables[TAPE_TABLE_COUNT] = {
#define CATALOG_TABLE(table_id, table_name, NAME, type, table_kind, table_version, text)           \
    [(table_id)-1] = {.id = (table_id),                                                            \
                      .version = (table_version),                                                  \
                      .kind = TAPE_KIND_##table_kind,                                              \
                      .name = #table_name,                                                         \
                      .doc = (text),                                                               \
                      .size_bytes = (uint32_t)sizeof(tape_##type),                                 \
                      .field_count = table_name##_field_count,                                     \
                      .fields = table_name##_fields,                                               \
                      .key_count = COUNT_OF(table_name##_key_fields),                              \
                      .key_fields = table_name##_key_fields},
#include "catalog.def"
};

const tape_table_info *record_table(uint16_t id) {
    return id >= 1 && id <= TAPE_TABLE_COUNT ? &tables[id - 1] : NULL;
}

const tape_table_info *record_table_named(const char *name) {
    for (size_t i = 0; i < TAPE_TABLE_COUNT; i++) {
        if (strcmp(tables[i].name, name) == 0) {
            return &tables[i];
        }
    }
    return NULL;
}

const tape_field_info *record_field_named(const tape_table_info *table, const char *name) {
    for (size_t i = 0; i < table->field_count; i++) {
        if (strcmp(table->fields[i].name, name) == 0) {
            return &table->fields[i];
        }
    }
    return NULL;
}

int record_enum_value(const tape_field_info *field, const char *text, size_t size) {
    for (int value = 0; value < field->enum_count; value++) {
        const char *name = field->enum_names[value];
        if (name != NULL && strlen(name) == size && memcmp(name, text, size) == 0) {
            return value;
        }
    }
    return -1;
}
