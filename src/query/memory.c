/* Memory: what the process takes, and whether the machine has some left.
 *
 * DuckDB counts the memory of its operators and stays within the limit it is given; what functions
 * make of their arguments it does not count. The watchdog looks at both figures here and stops
 * statements before the machine runs out. Where the figures cannot be had, memory never seems
 * short. */
#include "query/query_internal.h"

#include <stdlib.h>

#define PAGE_BYTES 4096u
#define LEAST_BYTES MIB(512)

/* The text of a file of the system's; caller frees; NULL: there is none. */
static char *read_text(const char *path) {
    char *data;
    size_t size;
    if (os_read_small(os_disk_linux(), path, &data, &size, NULL) != TAPE_OK) {
        return NULL;
    }
    data = mem_realloc(data, size + 1);
    data[size] = '\0';
    return data;
}

uint64_t memory_used(void) {
    char *text = read_text("/proc/self/statm");
    uint64_t pages = 0;
    if (text != NULL) {
        /* size resident shared ...: what is resident and not shared is the process's own. */
        char *at = text;
        (void)strtoull(at, &at, 10);
        uint64_t resident = strtoull(at, &at, 10);
        uint64_t shared = strtoull(at, &at, 10);
        pages = resident > shared ? resident - shared : 0;
    }
    free(text);
    return pages * PAGE_BYTES;
}

static uint64_t machine_left(void) {
    static const char NAME[] = "MemAvailable:";
    char *text = read_text("/proc/meminfo");
    const char *found = text == NULL ? NULL : strstr(text, NAME);
    uint64_t left = found == NULL ? UINT64_MAX : KIB(strtoull(found + strlen(NAME), NULL, 10));
    free(text);
    return left;
}

/* Of the group of processes this one is confined with. */
static uint64_t group_left(void) {
    char *most = read_text("/sys/fs/cgroup/memory.max");
    char *taken = read_text("/sys/fs/cgroup/memory.current");
    uint64_t left = UINT64_MAX;
    if (most != NULL && taken != NULL && most[0] >= '0' && most[0] <= '9') {
        uint64_t all = strtoull(most, NULL, 10);
        uint64_t used = strtoull(taken, NULL, 10);
        left = all > used ? all - used : 0;
    }
    free(most);
    free(taken);
    return left;
}

bool memory_is_short(void) {
    return machine_left() < LEAST_BYTES || group_left() < LEAST_BYTES;
}
