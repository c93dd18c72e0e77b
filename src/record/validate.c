/* validate.c: whether a record may be appended.
 *
 * Each table has a check of its own, made by expanding catalog.def: straight-line code without a
 * branch but the last. It accepts only what is certainly right; a record it does not accept goes
 * field by field through the slow way, which decides and says what is wrong.
 *
 * Threads: no state. Failure: INVALID with table, field, value and reason. */
#include "identifier.h"
#include "record_internal.h"

#include <math.h>
#include <stdio.h>

/* A double is finite iff its exponent is not all ones: adding one to the exponent then does not
 * carry into the (masked) sign. The top bit of the result says that `bits` is not finite. */
#define EXPONENT UINT64_C(0x7ff0000000000000)
#define EXPONENT_ONE UINT64_C(0x0010000000000000)

static inline uint64_t not_finite(const double *values, size_t count) {
    uint64_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        wrong |= (load_u64(&values[i]) & EXPONENT) + EXPONENT_ONE;
    }
    return wrong >> 63;
}

static inline uint64_t not_zero(const uint8_t *bytes, size_t size) {
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) {
        any |= bytes[i];
    }
    return any;
}

/* KEY: text that is a key has a first byte. A number as a key is always there. */
#define EMPTY_KEY(r, name) ((r)->name[0] == '\0')
#define EMPTY_NO_KEY(r, name) 0

#define CATALOG_ENUM(name, NAME, doc) enum {
#define CATALOG_VALUE(NAME, VALUE, number, text) NAME##_##VALUE,
#define CATALOG_ENUM_END(name)                                                                     \
    name##_count                                                                                   \
    }                                                                                              \
    ;
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc)                                    \
    static bool name##_plain(const tape_##type *r) {                                               \
        uint64_t wrong = 0;
#define CATALOG_F64(type, name, since, doc) wrong |= not_finite(&r->name, 1);
#define CATALOG_F64_ARRAY(type, name, since, count, doc) wrong |= not_finite(r->name, count);
#define CATALOG_ENUM_FIELD(type, name, since, enumeration, doc)                                    \
    wrong |= r->name >= enumeration##_count;
#define CATALOG_ID(type, name, since, bytes, KEY, doc)                                             \
    wrong |= !identifier_plain(r->name, bytes);                                                    \
    wrong |= EMPTY_##KEY(r, name);
#define CATALOG_RESERVED(type, name, since, bytes) wrong |= not_zero(r->name, bytes);
#define CATALOG_TABLE_END(name)                                                                    \
    return wrong == 0;                                                                             \
    }
#include "catalog.def"

/* Reserved bytes are in no field table: the name of the first run of them that is not zero, or
 * NULL. */
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc)                                    \
    static const char *name##_reserved(const tape_##type *r) {                                     \
        (void)r;
#define CATALOG_RESERVED(type, name, since, bytes)                                                 \
    if (not_zero(r->name, bytes) != 0) {                                                           \
        return #name;                                                                              \
    }
#define CATALOG_TABLE_END(name)                                                                    \
    return NULL;                                                                                   \
    }
#include "catalog.def"

static bool plain(uint16_t id, const void *payload) {
    switch (id) {
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc)                                    \
    case id:                                                                                       \
        return name##_plain(payload);
#include "catalog.def"
    default:
        ASSERT(id >= 1 && id <= TAPE_TABLE_COUNT);
        return false;
    }
}

static const char *reserved_problem(uint16_t id, const void *payload) {
    switch (id) {
#define CATALOG_TABLE(id, name, NAME, type, KIND, version, doc)                                    \
    case id:                                                                                       \
        return name##_reserved(payload);
#include "catalog.def"
    default:
        return NULL;
    }
}

static tape_status check_numbers(const tape_table_info *table, const tape_field_info *field,
                                 const void *payload, tape_error *error) {
    for (uint32_t i = 0; i < field->count; i++) {
        double value;
        char place[16] = "";
        memcpy(&value, record_field_at(field, payload) + i * sizeof value, sizeof value);
        if (isfinite(value)) {
            continue;
        }
        if (field->count > 1) {
            (void)snprintf(place, sizeof place, "[%u]", i);
        }
        return error_set(error, TAPE_INVALID, "%s.%s%s is %s: it must be a finite number",
                         table->name, field->name, place,
                         isnan(value) ? "nan" : (value < 0 ? "-inf" : "inf"));
    }
    return TAPE_OK;
}

static tape_status check_id(const tape_table_info *table, const tape_field_info *field,
                            const void *payload, tape_error *error) {
    char shown[RECORD_SHOWN_BYTES];
    const char *id = (const char *)record_field_at(field, payload);
    size_t length = record_id_length(field, payload);
    if (length == 0 && field->is_key != 0) {
        return record_field_error(table, field, error, "is empty: it is the key");
    }
    const char *problem = record_id_problem(id, length);
    if (problem != NULL) {
        return record_field_error(table, field, error, "is \"%s\": %s",
                                  record_show(id, length, shown), problem);
    }
    if (not_zero((const uint8_t *)id + length, field->size_bytes - length) != 0) {
        return record_field_error(table, field, error,
                                  "is \"%s\": the bytes after its end must be zero",
                                  record_show(id, field->size_bytes, shown));
    }
    return TAPE_OK;
}

static tape_status check_field(const tape_table_info *table, const tape_field_info *field,
                               const void *payload, tape_error *error) {
    uint8_t value;
    switch (field->kind) {
    case TAPE_FIELD_U64:
    case TAPE_FIELD_TIME:
        return TAPE_OK;
    case TAPE_FIELD_F64:
        return check_numbers(table, field, payload, error);
    case TAPE_FIELD_ENUM:
        value = *record_field_at(field, payload);
        if (value >= field->enum_count) {
            return record_field_error(table, field, error, "is %u: its values are 0 to %u", value,
                                      field->enum_count - 1u);
        }
        return TAPE_OK;
    case TAPE_FIELD_ID:
        return check_id(table, field, payload, error);
    }
    return TAPE_OK;
}

tape_status record_validate(const tape_table_info *table, const void *payload, tape_error *error) {
    if (LIKELY(plain(table->id, payload))) {
        return TAPE_OK;
    }
    for (size_t i = 0; i < table->field_count; i++) {
        tape_status status = check_field(table, &table->fields[i], payload, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    const char *reserved = reserved_problem(table->id, payload);
    if (reserved != NULL) {
        return error_set(error, TAPE_INVALID, "%s.%s is not zero: fill the struct from {0}",
                         table->name, reserved);
    }
    return TAPE_OK;
}
