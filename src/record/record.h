/* record: the catalogue of tables, and everything that loops over its field table. No I/O.
 * The types (tape_table_info, tape_field_info) are public and generated with the structs into
 * <tape/records.h> from catalog.def. */
#ifndef RECORD_H
#define RECORD_H

#include "base/base.h"

#include <tape/records.h>

/* One record as a cursor over the journal sees it. `payload` is the stored struct: `version` and
 * `size` may be older or newer than ours (see record_upgrade). Valid as long as the batch it came
 * in. */
typedef struct record_view {
    const tape_table_info *table;
    const void *payload;
    uint32_t size;
    uint16_t version;
    uint16_t flags; /* RECORD_MORE: the next record belongs to the same append */
    uint64_t seq;
    int64_t ts;
    int64_t append_ts;
} record_view;
#define RECORD_MORE 1u

/* NULL when unknown. Ids are 1..TAPE_TABLE_COUNT. */
const tape_table_info *record_table(uint16_t id);
const tape_table_info *record_table_named(const char *name);
const tape_field_info *record_field_named(const tape_table_info *table, const char *name);

/* Checks a payload of the current version: enumerations in range, numbers finite, identifiers valid
 * UTF-8 without control characters and NUL-padded, key fields not empty, reserved bytes zero. The
 * hot path: a record that is right, its identifiers in ASCII, costs about ten nanoseconds.
 * `payload` is aligned to 8. INVALID names table, field and value. */
tape_status record_validate(const tape_table_info *table, const void *payload,
                            tape_error *error) TAPE_CHECKED;

/* Keys. The encoded key orders bytewise (memcmp, shorter first): one byte table id, then each key
 * field: identifiers without their trailing NULs (all but the last key field NUL-padded to full
 * width), seq as 8 bytes big-endian. */
#define RECORD_KEY_BYTES_MAX 64
size_t record_key(const tape_table_info *table, const void *payload,
                  uint8_t out[RECORD_KEY_BYTES_MAX]);
/* From text, one string per key field ("123" for seq). INVALID: wrong count, too long, empty. */
tape_status record_key_from_text(const tape_table_info *table, const char *const *parts,
                                 size_t count, uint8_t out[RECORD_KEY_BYTES_MAX], size_t *size,
                                 tape_error *error) TAPE_CHECKED;

/* Two 64-bit hashes of an encoded key, the halves of its XXH3-128 (seed 0). */
void record_key_hash(slice key, uint64_t out[2]);
/* Like slice_compare(key, record_key(payload)), without making the latter. `key` may also be a
 * bound of record_key_range: the beginning of a key, or of another table. */
int record_key_compare(const tape_table_info *table, slice key, const void *payload);
/* Like slice_compare(record_key(a), record_key(b)). */
int record_key_compare_payloads(const tape_table_info *table, const void *a, const void *b);

/* The keys of a table from `low` (included) to `high` (not included), as encoded bytes that compare
 * with encoded keys as slices do. */
typedef struct record_key_bounds {
    uint8_t low_bytes[RECORD_KEY_BYTES_MAX], high_bytes[RECORD_KEY_BYTES_MAX];
    size_t low_size, high_size;
} record_key_bounds;
/* Rows whose first `count` key fields are `parts` (0: any). Of the next key field, NULL leaving it
 * open: `from` is the least text, `to` the first beyond, `prefix` what it begins with (identifiers
 * only, not together with from and to). With every part given there is no next field. INVALID: too
 * many parts, a bad one, a prefix of a number. */
tape_status record_key_range(const tape_table_info *table, const char *const *parts, size_t count,
                             const char *from, const char *to, const char *prefix,
                             record_key_bounds *out, tape_error *error) TAPE_CHECKED;

/* Makes `out` (table->size_bytes) a record of the current version out of one of any version: fields
 * that an older one lacks take their default (and are absent: see record_field_present), what a
 * newer one has beyond ours is skipped. */
void record_upgrade(const tape_table_info *table, uint16_t version, const void *payload,
                    size_t size, void *out);
/* Whether a record written at `version` has the field, and it is not an absent value (an empty
 * identifier, an unset enumeration). */
bool record_field_present(const tape_field_info *field, uint16_t version, const void *payload);

/* One JSON object without newline: seq, ts, [table when with_table], the fields in catalogue order.
 * Times RFC 3339 with nine decimals, numbers shortest that read back exactly, absent null. */
void record_to_json(const tape_table_info *table, uint16_t version, const void *payload,
                    bool with_table, buffer *out);
/* Fills `out` (a struct of the current version; missing and null fields take defaults, seq 0, ts 0)
 * from a JSON object; arrays may be shorter than the field. INVALID names the field and the value:
 * unknown and repeated fields, `seq` (tape gives it), values of another kind. `table` may be there
 * if it is this table's name. Does not run record_validate; of what that checks, only that key
 * fields are not empty is still open. */
tape_status record_from_json(const tape_table_info *table, const char *text, size_t size, void *out,
                             tape_error *error) TAPE_CHECKED;

/* Sets every field to its default. */
void record_defaults(const tape_table_info *table, void *out);
/* Sets one field from text, exactly as a CSV cell is read: trimmed of nothing; an empty cell is the
 * default. INVALID names field and value, and leaves `record` as it was. Numbers are whole
 * decimals, finite; arrays like [1,2.5]; times as record_parse_time reads them; `seq` is refused.
 */
tape_status record_field_from_text(const tape_table_info *table, const tape_field_info *field,
                                   const char *text, size_t size, void *record,
                                   tape_error *error) TAPE_CHECKED;
/* Enumeration value of a name, or -1. */
int record_enum_value(const tape_field_info *field, const char *text, size_t size);

/* RFC 3339 UTC, nine decimals; `out` has 40 bytes and gets a NUL; returns length. */
size_t record_format_time(int64_t ns, char out[40]);
/* Reads all of `text`: RFC 3339, "YYYY-MM-DD[ T]HH:MM:SS[.fraction][Z|+hh:mm]" (UTC when it does
 * not say), "YYYY-MM-DD" or integer ns. */
bool record_parse_time(const char *text, size_t size, int64_t *out);

#endif
