/* catalog_gen: prints what is generated from catalog.def, or checks that it is up to date.
 *
 *   catalog_gen --write ROOT    writes the three files below ROOT
 *   catalog_gen --check ROOT    exit 1, naming each file that differs from what would be written
 *
 * Both refuse a catalog.def that breaks an invariant, or that changes what catalog.lock says was
 * released; then nothing is written. ROOT is the folder of the whole project. */
#include "catalog_gen.h"

#include <stdlib.h>
#include <string.h>

#define LOCK_PATH "src/record/catalog.lock"
#define PATH_BYTES_MAX 4096

typedef struct generated {
    const char *path;
    void (*print)(const catalog_model *model, FILE *out);
} generated;

static const generated files[] = {
    {"include/tape/records.h", catalog_header_print},
    {"docs/RECORDS.md", catalog_manual_print},
    {LOCK_PATH, catalog_lock_print},
};

/* The file's text, which the caller frees; NULL when it cannot be read. */
static char *read_text(const char *root, const char *name) {
    char path[PATH_BYTES_MAX];
    char *text = NULL;
    size_t size = 0;
    int c;
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *in = fopen(path, "r");
    if (!in) {
        return NULL;
    }
    FILE *out = open_memstream(&text, &size);
    while (out && (c = fgetc(in)) != EOF) {
        fputc(c, out);
    }
    if (out) {
        fclose(out);
    }
    fclose(in);
    return text;
}

static bool write_text(const char *root, const char *name, const char *text) {
    char path[PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return false;
    }
    bool ok = fputs(text, out) >= 0;
    ok = fclose(out) == 0 && ok;
    if (!ok) {
        perror(path);
    }
    return ok;
}

static char *print_text(const catalog_model *model, const generated *file) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        abort();
    }
    file->print(model, out);
    fclose(out);
    return text;
}

static bool check_released(const catalog_model *model, const char *root) {
    char *lock = read_text(root, LOCK_PATH);
    if (!lock) {
        fprintf(stderr, "catalog_gen: there is no " LOCK_PATH "; nothing counts as released\n");
        return true;
    }
    bool ok = catalog_lock_check(model, lock, stderr);
    free(lock);
    return ok;
}

int main(int argc, char **argv) {
    static catalog_model model;
    bool write = argc == 3 && strcmp(argv[1], "--write") == 0;
    if (!write && !(argc == 3 && strcmp(argv[1], "--check") == 0)) {
        fputs("usage: catalog_gen --write|--check ROOT\n", stderr);
        return 2;
    }
    bool ok = catalog_model_load(&model, stderr) && check_released(&model, argv[2]);
    for (size_t i = 0; ok && i < sizeof files / sizeof files[0]; i++) {
        char *text = print_text(&model, &files[i]);
        if (write) {
            ok = write_text(argv[2], files[i].path, text);
        } else {
            char *there = read_text(argv[2], files[i].path);
            if (!there || strcmp(there, text) != 0) {
                fprintf(stderr, "%s is not what catalog.def says: run catalog_gen --write\n",
                        files[i].path);
                ok = false;
            }
            free(there);
        }
        free(text);
    }
    return ok ? 0 : 1;
}
