/* The name somebody probably meant. */
#include "cli/cli_internal.h"

/* Edits (insert, delete, replace, swap of neighbours) that make `b` of `a`; both are short. */
static size_t distance(const char *a, const char *b) {
    enum { LENGTH_MAX = 32 };
    size_t rows[3][LENGTH_MAX + 1];
    size_t na = strlen(a);
    size_t nb = strlen(b);
    if (na > LENGTH_MAX || nb > LENGTH_MAX) {
        return LENGTH_MAX;
    }
    for (size_t j = 0; j <= nb; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= na; i++) {
        size_t *now = rows[i % 3];
        const size_t *before = rows[(i + 2) % 3];
        const size_t *older = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                older[j - 2] + 1 < best) {
                best = older[j - 2] + 1;
            }
            now[j] = best;
        }
    }
    return rows[na % 3][nb];
}

const char *cli_nearest(const char *word, const char *const *names, size_t count) {
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 2; /* edits from which on it is another word */
    for (size_t i = 0; i < count; i++) {
        size_t edits = distance(word, names[i]);
        bool starts = word[0] != '\0' && strncmp(word, names[i], strlen(word)) == 0;
        edits = starts && edits > 1 ? 1 : edits;
        if (edits < least) {
            least = edits;
            best = names[i];
        }
    }
    return best;
}
