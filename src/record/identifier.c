/* identifier.c: what may stand in an identifier, and what is wrong with one. */
#include "record_internal.h"

/* The length of the UTF-8 sequence at `text` (1 to 4) and its code point; 0 when it is not one:
 * stray or missing continuation, overlong, a surrogate, beyond U+10FFFF. */
static size_t read_utf8(const uint8_t *text, size_t size, uint32_t *point) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = text[0];
    size_t length = lead < 0x80                   ? 1
                    : lead >= 0xc2 && lead < 0xe0 ? 2
                    : lead >= 0xe0 && lead < 0xf0 ? 3
                    : lead >= 0xf0 && lead < 0xf5 ? 4
                                                  : 0;
    if (length == 0 || length > size) {
        return 0;
    }
    *point = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        *point = *point << 6 | (text[i] & 0x3f);
    }
    if (*point < least[length] || *point > 0x10ffff || (*point >= 0xd800 && *point < 0xe000)) {
        return 0;
    }
    return length;
}

const char *record_id_problem(const char *text, size_t size) {
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t i = 0; i < size;) {
        uint32_t point = 0;
        size_t length = read_utf8(bytes + i, size - i, &point);
        if (length == 0) {
            return "it is not valid UTF-8";
        }
        if (point == 0) {
            return "it holds a NUL";
        }
        if (point < 0x20 || (point >= 0x7f && point < 0xa0)) {
            return "it holds a control character";
        }
        i += length;
    }
    return NULL;
}
