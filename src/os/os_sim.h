/* os_sim: a simulated machine whose disk loses, tears and corrupts, for tests that run the real
 * code.
 *
 * A machine has a disk with a volatile cache, shared memory, and processes. Each process sees the
 * disk through its own os_disk; what a process does after it was crashed fails and changes nothing.
 *
 *     os_sim *sim = os_sim_create(seed);
 *     os_disk *disk = os_sim_process_start(sim);
 *     ... run anything that takes an os_disk ...
 *     os_sim_power_loss(sim, NULL);              // the process is dead, unsynced data may be gone
 *     disk = os_sim_process_start(sim);
 *     ... recover, compare with what had been acknowledged ...
 *     os_sim_destroy(&sim);                      // after every handle was closed, dead ones too
 *
 * To stop at every step of a piece of work in turn:
 *
 *     for (uint64_t step = 1, done = 0; !done; step++) {
 *         os_sim *sim = os_sim_create(seed);
 *         os_sim_crash_at(sim, step);
 *         work(os_sim_process_start(sim));       // stops at its first error
 *         done = !os_sim_crash_reached(sim);
 *         os_sim_power_loss(sim, NULL);          // or os_sim_process_crash(disk)
 *         check(os_sim_process_start(sim));
 *         os_sim_destroy(&sim);
 *     }
 *
 * Everything that is left to chance follows from the seed and the order of the calls, so one thread
 * and one seed give one result. Paths start at "/", which exists; a relative path starts there too;
 * ".." is refused. All calls are thread-safe. The model and its invariants are in README.md. */
#ifndef OS_SIM_H
#define OS_SIM_H

#include "os/os.h"

#include <stdio.h>

typedef struct os_sim os_sim;

os_sim *os_sim_create(uint64_t seed);
/* Every handle that came from the machine must be closed before. NULL-safe. */
void os_sim_destroy(os_sim **sim);

/* --- processes --- */
/* A running process: the machine as it sees it. Valid until os_sim_destroy, dead or alive. */
os_disk *os_sim_process_start(os_sim *sim);
/* kill -9: all that was written stays, locks are free, shared memory stays as it is at this moment
 * (what the process's threads store from now on is lost). Its handles only can be closed. */
void os_sim_process_crash(os_disk *process);

typedef enum os_sim_power_mode {
    OS_SIM_POWER_SEEDED,   /* one of the others, with some percentages, by the seed */
    OS_SIM_POWER_RANDOM,   /* every unsynced operation is kept, lost or torn for itself */
    OS_SIM_POWER_PREFIX,   /* kept up to some moment, the one at that moment torn, the rest lost */
    OS_SIM_POWER_LOSE_ALL, /* exactly what was synced survives */
    OS_SIM_POWER_KEEP_ALL, /* everything had just been written out */
} os_sim_power_mode;
typedef struct os_sim_power {
    os_sim_power_mode mode;
    unsigned lose_percent; /* RANDOM: of the unsynced operations */
    unsigned tear_percent; /* RANDOM: of the unsynced writes that are not lost */
} os_sim_power;
/* Power failure and reboot: kills every process, drops shared memory, unsynced writes and directory
 * operations survive as `power` says (NULL: SEEDED), the boot id changes. */
void os_sim_power_loss(os_sim *sim, const os_sim_power *power);

/* --- steps: every call that changes the disk or the set of shared regions --- */
/* How many there have been: create, write, sync, truncate, rename, remove, directory make, remove
 * and sync, shared region create and remove. */
uint64_t os_sim_steps(os_sim *sim);
/* At step number `step` (counted as os_sim_steps counts; 0: never) all processes stop: that call
 * and all later ones fail with IO. The call itself may have been carried out, in part or not at
 * all, by the seed, and is never durable. Follow with os_sim_process_crash or os_sim_power_loss. */
void os_sim_crash_at(os_sim *sim, uint64_t step);
bool os_sim_crash_reached(os_sim *sim);
/* Tells every step before it happens, as a line of text; NULL ends it. The callback must not use
 * the machine. */
void os_sim_trace(os_sim *sim, void (*line)(void *context, uint64_t step, const char *text),
                  void *context);

/* A second machine in the same state (disk with its cache, shared memory, faults, seed), without
 * processes. The two never influence each other again. */
os_sim *os_sim_clone(os_sim *sim);
/* Starts the chances anew, so that clones of one moment meet different fates. */
void os_sim_seed(os_sim *sim, uint64_t seed);

/* --- faults --- */
typedef enum os_sim_operation {
    OS_SIM_READ, /* also mapping */
    OS_SIM_WRITE,
    OS_SIM_SYNC,
    OS_SIM_TRUNCATE,
    OS_SIM_OPEN,   /* of a file that exists */
    OS_SIM_CREATE, /* opening one that does not */
    OS_SIM_RENAME,
    OS_SIM_REMOVE,
    OS_SIM_DIR_MAKE,
    OS_SIM_DIR_REMOVE,
    OS_SIM_DIR_SYNC,
    OS_SIM_DIR_LIST,
    OS_SIM_STAT,
    OS_SIM_SHM_CREATE, /* the path is the region's name */
    OS_SIM_SHM_OPEN,
    OS_SIM_SHM_REMOVE,
    OS_SIM_OPERATIONS,
} os_sim_operation;

typedef enum os_sim_effect {
    OS_SIM_EIO,         /* any operation fails with IO */
    OS_SIM_NO_SPACE,    /* whatever needs space fails with NO_SPACE */
    OS_SIM_LOST,        /* acknowledged and never done: a write never reaches the disk, a sync syncs
                           nothing, the entry of a create, rename, remove, ... is never durable */
    OS_SIM_TORN,        /* WRITE: acknowledged, only a part ever reaches the disk */
    OS_SIM_MISDIRECTED, /* WRITE: acknowledged, reaches the disk at another place */
} os_sim_effect;

typedef struct os_sim_fault {
    os_sim_operation operation;
    os_sim_effect effect;
    const char *path; /* as fnmatch(3), '*' matching '/' too, against the file's present path; a
                         rename has two paths and either may match; NULL: any */
    uint64_t skip;    /* matching calls that pass before the first that is hit */
    uint64_t count;   /* calls that are hit; 0: all from then on */
    /* MISDIRECTED: where it lands; to_path NULL: in the same file. Only bytes the file has on disk
     * are overwritten; a place beyond makes the write a lost one. */
    const char *to_path;
    uint64_t to_offset;
} os_sim_fault;

/* The fault's number. Of several faults that match a call, the one added first hits. */
size_t os_sim_fault_add(os_sim *sim, const os_sim_fault *fault);
/* How often fault `number` has hit. */
uint64_t os_sim_fault_hits(os_sim *sim, size_t number);
void os_sim_fault_clear(os_sim *sim); /* removes all */

/* Bytes all files together may have: NO_SPACE beyond. Default 16 GiB. */
void os_sim_set_capacity(os_sim *sim, uint64_t bytes);
/* The same for shared memory. Default 1 GiB. */
void os_sim_set_shm_capacity(os_sim *sim, uint64_t bytes);

/* Forgets clean cached pages, so that reads show what the disk really has: lost, torn and
 * misdirected writes come to light. A power loss does the same. */
void os_sim_drop_caches(os_sim *sim);
/* Bit rot: changes what is on disk and in the cache. NOT_FOUND when there is no such byte. */
tape_status os_sim_flip_bit(os_sim *sim, const char *path, uint64_t offset,
                            unsigned bit) TAPE_CHECKED;

/* --- looking in, reaching in: none of these counts as a step or meets a fault --- */
typedef enum os_sim_side {
    OS_SIM_CACHED,  /* what a process reads now */
    OS_SIM_DURABLE, /* what is on disk: under the path as it is now, whether or not that is durable
                     */
} os_sim_side;
tape_status os_sim_file_size(os_sim *sim, const char *path, os_sim_side side,
                             uint64_t *size) TAPE_CHECKED;
/* *data NUL-terminated, caller frees. */
tape_status os_sim_read_raw(os_sim *sim, const char *path, os_sim_side side, uint8_t **data,
                            size_t *size) TAPE_CHECKED;
/* Writes durably past everything; makes the file, durably, when absent (its directory must be
 * there). */
tape_status os_sim_write_raw(os_sim *sim, const char *path, uint64_t offset, const void *data,
                             size_t size) TAPE_CHECKED;
/* Cuts or extends with zeros, durably. */
tape_status os_sim_resize_raw(os_sim *sim, const char *path, uint64_t size) TAPE_CHECKED;
/* Operations that a power loss could undo: writes and truncations of `path` (NULL: of all files and
 * all directory operations). */
size_t os_sim_unsynced(os_sim *sim, const char *path);
/* One number over all names, contents and unsynced operations: equal states, equal numbers. */
uint64_t os_sim_digest(os_sim *sim);
/* Lists every file with its sizes, checksums and unsynced operations, and every fault. */
void os_sim_dump(os_sim *sim, FILE *to);

#endif
