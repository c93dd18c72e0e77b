/* For the manifest's tests: files that never were, and changes that are always the same. */
#ifndef MANIFEST_TESTING_H
#define MANIFEST_TESTING_H

#include "os/os_sim.h"
#include "store/manifest.h"

#define MANIFEST_TESTING_DIR "/store" /* of simulated machines */
#define MANIFEST_TESTING_PATH MANIFEST_TESTING_DIR "/" MANIFEST_NAME

extern const uint8_t fixture_store_id[16];

/* A file whose keys are those of slot `slot`: files of different slots share no key, and a lower
 * slot's keys come first. */
manifest_entry slot_file(uint64_t number, uint16_t table, uint32_t level, uint32_t slot,
                         uint64_t min_seq, uint64_t max_seq);
uint32_t slot_of(const manifest_entry *e);
/* As a flush makes it: file `number` holds seqs 10 * number - 9 .. 10 * number. */
manifest_entry flushed_file(uint64_t number);
bool same_file(const manifest_entry *a, const manifest_entry *b);

/* Settles and commits; a failure fails the test. */
void commit_change(manifest *m, const manifest_change *change);

/* The manifest of an empty place, with three edits. Edit 1 is empty. Edit 2 adds orders' files 1, 2
 * and 3 at level 0; edit 3 moves file 1 to level 1, removes file 2, adds file 5 at level 1 and lets
 * the history of orders start at seq 7. */
void write_moving_edit(const sstable_place *place);

/* A process on the machine, and the directory. */
void start_machine(os_sim *sim, sstable_place *place);

#endif
