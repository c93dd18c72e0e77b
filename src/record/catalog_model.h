/* catalog_model: catalog.def as tables in memory, with offsets computed and the invariants R1-R3
 * checked. For the generator and its tests only: plain C and stdio, nothing of tape, so that it
 * also builds for the machine that builds. */
#ifndef CATALOG_MODEL_H
#define CATALOG_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CATALOG_TABLES_MAX 64
#define CATALOG_FIELDS_MAX 64
#define CATALOG_ENUMS_MAX 32
#define CATALOG_VALUES_MAX 64
#define CATALOG_KEY_BYTES_MAX 64 /* of an encoded key: the table id and the key fields */

typedef enum catalog_kind {
    CATALOG_KIND_U64,
    CATALOG_KIND_TIME,
    CATALOG_KIND_F64,
    CATALOG_KIND_ENUM,
    CATALOG_KIND_ID,
    CATALOG_KIND_RESERVED,
} catalog_kind;

typedef struct catalog_value {
    const char *name; /* BUY */
    const char *text; /* "buy"; NULL: absent */
    unsigned number;
} catalog_value;

typedef struct catalog_enum {
    const char *name;  /* side */
    const char *upper; /* SIDE */
    const char *doc;
    catalog_value values[CATALOG_VALUES_MAX];
    size_t value_count;
} catalog_enum;

typedef struct catalog_field {
    const char *type; /* of its table */
    const char *name;
    const char *doc;
    const char *enumeration; /* name, for CATALOG_KIND_ENUM */
    catalog_kind kind;
    unsigned since;
    unsigned size; /* of one element, in bytes */
    unsigned count;
    unsigned offset;
    bool key;
} catalog_field;

typedef struct catalog_table {
    unsigned id;
    const char *name;  /* orders */
    const char *upper; /* ORDERS */
    const char *type;  /* order, of tape_order */
    const char *kind;  /* "ENTITY" or "EVENT" */
    const char *doc;
    unsigned version;
    unsigned size;
    catalog_field fields[CATALOG_FIELDS_MAX];
    size_t field_count; /* reserved ones included */
} catalog_table;

typedef struct catalog_model {
    catalog_enum enums[CATALOG_ENUMS_MAX];
    size_t enum_count;
    catalog_table tables[CATALOG_TABLES_MAX];
    size_t table_count;
} catalog_model;

/* Fills `out` from catalog.def. False, with one line per finding on `complaints`, when catalog.def
 * breaks an invariant. */
bool catalog_model_load(catalog_model *out, FILE *complaints);
/* Checks R1-R3 and that ids, names and numbers are in order; sets offsets and sizes. */
bool catalog_model_check(catalog_model *model, FILE *complaints);

/* "u64", "time", "f64", "enum", "id", "reserved". */
const char *catalog_kind_name(catalog_kind kind);
const catalog_enum *catalog_enum_named(const catalog_model *model, const char *name);

/* --- catalog.lock: what was released -------------------------------------------------------------
 */
void catalog_lock_print(const catalog_model *model, FILE *out);
/* Whether `model` keeps R4 towards a lock: everything in it is still there as it was, and what is
 * added stands at the end with a higher version. One line per finding on `complaints`. */
bool catalog_lock_check(const catalog_model *model, const char *lock, FILE *complaints);

#endif
