/* record_internal: what the files of this module share. */
#ifndef RECORD_INTERNAL_H
#define RECORD_INTERNAL_H

#include "record/record.h"

/* Longest text of a value in an error message, with the NUL. */
#define RECORD_SHOWN_BYTES 64

/* `size` bytes as text for an error message: printable, shortened when long. Returns `out`. */
const char *record_show(const char *text, size_t size, char out[RECORD_SHOWN_BYTES]);

#define RECORD_SEQ_REASON "tape gives it when the record is appended; leave it out"
#define RECORD_TIME_REASON                                                                         \
    "it must be a time such as 2024-08-08T23:54:15.342Z, between 1677 and 2262, or an integer of " \
    "nanoseconds since 1970"

/* "TABLE.FIELD ..." as an INVALID error. */
tape_status record_field_error(const tape_table_info *table, const tape_field_info *field,
                               tape_error *error, const char *format, ...) PRINTF_LIKE(4, 5);

/* What is wrong with `size` bytes as an identifier (any length, no padding), or NULL. */
const char *record_id_problem(const char *text, size_t size);

/* Sets an identifier field from text: checks length and content and pads. */
tape_status record_id_from_text(const tape_table_info *table, const tape_field_info *field,
                                const char *text, size_t size, void *record,
                                tape_error *error) TAPE_CHECKED;
/* Sets an enumeration field from a name. */
tape_status record_enum_from_text(const tape_table_info *table, const tape_field_info *field,
                                  const char *text, size_t size, void *record,
                                  tape_error *error) TAPE_CHECKED;

/* Sets a key field from text, which is not empty. */
tape_status record_key_part(const tape_table_info *table, const tape_field_info *field,
                            const char *text, void *record, tape_error *error) TAPE_CHECKED;
/* That `count` is a wrong number of parts of a key; `limit` is "at most " or empty. */
tape_status record_key_count_error(const tape_table_info *table, const char *limit, size_t count,
                                   tape_error *error);

static inline const uint8_t *record_field_at(const tape_field_info *field, const void *record) {
    return (const uint8_t *)record + field->offset;
}

/* Bytes of an identifier before its padding. */
static inline size_t record_id_length(const tape_field_info *field, const void *record) {
    return strnlen((const char *)record_field_at(field, record), field->size_bytes);
}

#endif
