/* Completion of words in the shell. Private to cli/. */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

#include "base/base.h"

#define COMPLETIONS_MAX 512

typedef struct completions {
    char prefix[256];                /* what was typed of the word */
    bool files;                      /* a file's name is wanted: for the caller to offer */
    char insert[256];                /* what to put in the prefix's place; "": nothing to */
    size_t count;                    /* words that may stand there */
    size_t offsets[COMPLETIONS_MAX]; /* of each in `text` */
    buffer text;
} completions;

/* What may stand at the end of `line`; `begins` tells that no statement began before it. `commands`
 * are the shell's own, each with its dot. */
void complete_line(completions *out, const char *line, bool begins, const char *const *commands,
                   size_t command_count);
/* Adds a word that begins as what was typed, whatever its case, unless it is there already. */
void complete_offer(completions *c, const char *word);
/* Settles `insert` from the words: as far as all agree, and a space after the only one. */
void complete_agree(completions *c);
const char *complete_word(const completions *c, size_t i);
void completions_deinit(completions *c);

#endif
