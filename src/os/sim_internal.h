/* os_sim, private: the state of a simulated machine. Everything is guarded by os_sim.mutex;
 * functions named sim_* expect it to be held. See README.md for the model. */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "os/os_internal.h"
#include "os/os_sim.h"

#define SIM_SECTOR_BYTES 512u

typedef struct sim_inode sim_inode;
typedef struct sim_process sim_process;

/* What becomes of an acknowledged write on its way from the cache to the disk. */
typedef enum sim_fate {
    SIM_FATE_REACHES,
    SIM_FATE_LOST,
    SIM_FATE_TORN,
    SIM_FATE_MISDIRECTED
} sim_fate;

/* A change of a file's content that is in the cache and not yet on disk. */
typedef struct sim_pending {
    uint64_t step;
    bool truncate;   /* else a write */
    uint64_t offset; /* truncate: the size */
    uint8_t *data;
    size_t size;
    sim_fate fate;
    uint64_t tear;     /* TORN: which part reaches the disk */
    sim_inode *target; /* MISDIRECTED */
    uint64_t target_offset;
} sim_pending;

typedef struct sim_map {
    os_handle handle;
    sim_inode *inode;
    uint8_t *data;
    size_t size;
    struct sim_map *next;
} sim_map;

typedef struct sim_lock {
    os_lock lock;
    os_file *file;
    sim_inode *inode;
} sim_lock;

struct sim_inode {
    uint64_t id;
    bool is_dir;
    bool reachable; /* scratch of sim_sweep */
    size_t handles; /* open files and maps */
    char *path;     /* present or last one */
    buffer cache;
    buffer durable;
    sim_pending *pending;
    size_t pending_count, pending_capacity;
    sim_map *maps; /* of live processes */
    sim_lock *lock;
};

typedef struct sim_entry {
    sim_inode *dir;
    char *name;
    sim_inode *inode;
} sim_entry;

typedef struct sim_entries {
    sim_entry *entries;
    size_t count, capacity;
} sim_entries;

/* A directory operation that is not yet on disk: a link when there is only a `to`, an unlink when
 * there is only a `from`, a rename when there are both. */
typedef struct sim_move {
    uint64_t step;
    sim_inode *inode;
    sim_inode *from_dir;
    char *from_name;
    sim_inode *to_dir;
    char *to_name;
    bool lost;
} sim_move;

/* A shared region; the name is NULL once it was removed or replaced and is only mapped. */
typedef struct sim_region {
    char *name;
    size_t head_bytes, ring_bytes;
    int fd;
    uint64_t generation; /* counts the copies made when a process that mapped it crashed */
    size_t mappings;
    struct sim_region *next;
} sim_region;

typedef struct sim_shm {
    os_shm_handle handle;
    sim_region *region;
    uint64_t generation;
    uint8_t *data;
    size_t head_bytes, ring_bytes; /* as mapped */
    struct sim_shm *next;
} sim_shm;

struct sim_process {
    os_disk disk;
    os_sim *sim;
    bool alive;
    int64_t pid;
    sim_process *next;
};

typedef struct sim_file {
    os_file file;
    sim_inode *inode;
} sim_file;

typedef struct sim_fault {
    os_sim_fault fault;
    char *path;
    char *to_path;
    uint64_t seen, hits;
} sim_fault;

struct os_sim {
    pthread_mutex_t mutex;
    uint64_t random;
    uint64_t step, crash_step;
    bool crashed;
    uint64_t boots;
    uint64_t boot_seed;
    uint64_t next_inode;
    int64_t next_pid;
    uint64_t capacity, used;
    uint64_t shm_capacity;
    size_t handles; /* open files, maps, locks, mapped regions */
    sim_inode *root;
    sim_inode **inodes;
    size_t inode_count, inode_capacity;
    sim_entries now;
    sim_entries durable;
    sim_move *moves;
    size_t move_count, move_capacity;
    sim_region *regions;
    sim_shm *shms; /* mapped, of live processes */
    sim_process *processes;
    sim_fault *faults;
    size_t fault_count;
    void (*trace)(void *, uint64_t, const char *);
    void *trace_context;
};

static inline os_sim *sim_lock_of(os_disk *disk) {
    os_sim *sim = ((sim_process *)disk)->sim;
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    return sim;
}
static inline void sim_unlock(os_sim *sim) {
    ASSERT(pthread_mutex_unlock(&sim->mutex) == 0);
}

/* --- sim_model.c: chance, contents, names --- */
uint64_t sim_random(os_sim *sim);
uint64_t sim_below(os_sim *sim, uint64_t limit); /* 0 for limit 0 */
bool sim_percent(os_sim *sim, unsigned percent);

void sim_resize(buffer *b, uint64_t size); /* with zeros */
void sim_put(buffer *b, uint64_t offset, const void *data, size_t size);

sim_inode *sim_inode_make(os_sim *sim, bool is_dir, const char *path);
/* Frees what no name, no durable name, no unsynced operation and no handle leads to. */
void sim_sweep(os_sim *sim);
/* Changes the cache; the caller adds what is pending. */
void sim_cache_write(os_sim *sim, sim_inode *inode, uint64_t offset, const void *data, size_t size);
void sim_cache_truncate(os_sim *sim, sim_inode *inode, uint64_t size);
sim_pending *sim_pending_add(sim_inode *inode, uint64_t step);
void sim_pending_clear(sim_inode *inode);
/* Writes out all that is pending, as each one's fate says. */
void sim_inode_sync(sim_inode *inode);
/* The same for what touches [offset, offset + size). */
void sim_inode_sync_range(sim_inode *inode, uint64_t offset, uint64_t size);
/* A failed sync: each pending change is on disk or never will be, and all are clean. */
void sim_inode_sync_fail(os_sim *sim, sim_inode *inode);
void sim_pending_write_out(const sim_pending *p, sim_inode *inode);
/* What the cache holds once its clean pages were forgotten. */
void sim_cache_reload(os_sim *sim, sim_inode *inode);

sim_entry *sim_entry_find(sim_entries *list, const sim_inode *dir, const char *name);
void sim_entry_put(sim_entries *list, sim_inode *dir, const char *name, sim_inode *inode);
void sim_entry_remove(sim_entries *list, sim_entry *entry);
bool sim_dir_is_empty(const os_sim *sim, const sim_inode *dir);
void sim_move_add(os_sim *sim, sim_inode *inode, sim_inode *from_dir, const char *from_name,
                  sim_inode *to_dir, const char *to_name, bool lost);
void sim_move_apply(sim_entries *list, const sim_move *move);
void sim_move_free(sim_move *move);
void sim_dir_sync(os_sim *sim, const sim_inode *dir);

/* Where a path leads. `dir` and `name` are NULL for "/"; `inode` is NULL when the last part is
 * absent. */
typedef struct sim_place {
    sim_inode *dir;
    char *name;
    sim_inode *inode;
    char *path; /* in its one form: "/a/b" */
} sim_place;
/* 0 or an errno. Free the place in either case. */
int sim_find(os_sim *sim, const char *path, sim_place *out);
void sim_place_free(sim_place *place);
/* Sets the path of an inode, and of what lies under it. */
void sim_inode_repath(os_sim *sim, sim_inode *inode, const char *path);

/* --- sim_fault.c: steps and faults --- */
/* One call, on its way in. */
typedef struct sim_call {
    os_sim_operation operation;
    const char *path;       /* in its one form */
    const char *other_path; /* of a rename, else NULL */
    uint64_t offset, size;  /* for the trace */
    /* Answers: */
    bool crashing;  /* the machine stops within this call: do what `carry_out` says, then fail */
    bool carry_out; /* false: change nothing */
    bool lost;      /* see OS_SIM_LOST */
    int fails;      /* errno the call has to fail with, or 0 */
    const sim_fault *fault;
} sim_call;
/* Counts the step, looks for faults. IO (final) when the process or the machine has stopped. */
tape_status sim_enter(os_sim *sim, os_disk *disk, sim_call *call, tape_error *error);
tape_status sim_stopped(tape_error *error, const char *path);

/* --- sim_shm.c --- */
/* Separates every region that processes map (with `of`: that this one maps) from their stores. */
void sim_shm_detach(os_sim *sim, const sim_process *of);
/* The same for a process that has died, whose mappings are its own from then on. */
void sim_shm_end_process(os_sim *sim, const sim_process *process);
void sim_shm_drop_all(os_sim *sim);
void sim_shm_clone(const os_sim *from, os_sim *to);
tape_status sim_shm_create(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                           os_shm *out, tape_error *error);
tape_status sim_shm_open(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                         bool writable, os_shm *out, tape_error *error);
void sim_shm_close(os_shm *shm);
tape_status sim_shm_remove(os_disk *disk, const char *name, tape_error *error);
tape_status sim_shm_free_bytes(os_disk *disk, uint64_t *out, tape_error *error);

/* --- sim_disk.c: the table --- */
extern const os_disk_table sim_disk_table;

#endif
