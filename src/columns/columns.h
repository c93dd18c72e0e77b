/* columns: the hot rows of every table as column chunks in memory. A cursor over the journal.
 *
 * One writer (columns_apply); any number of readers, without locks: a reader pins nothing but a
 * seq, sees rows with seq <= S, and for an entity table's latest view those not superseded at S.
 * Rows are never moved or freed before columns_close. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "record/record.h"

typedef struct columns columns;

tape_status columns_create(columns **out, uint64_t bytes_max, tape_error *error) TAPE_CHECKED;
void columns_close(columns **c);

/* Adds records in seq order, all after columns_seq. One thread at a time. NO_MEMORY at bytes_max:
 * nothing of this call's remaining records is added, and the columns stay usable as far as they
 * are. */
tape_status columns_apply(columns *c, const record_view *records, size_t count,
                          tape_error *error) TAPE_CHECKED;
/* Every record up to here is visible. */
uint64_t columns_seq(const columns *c);
uint64_t columns_rows(const columns *c, uint16_t table); /* records of the table, every version */
uint64_t columns_bytes(const columns *c);

#endif
