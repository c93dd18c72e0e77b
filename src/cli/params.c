/* Values of a statement's parameters, as words.
 *
 * Purpose: a word of the command line has no type; SQL's parameters have one.
 * Invariants: (V1) a value is never changed silently: a number that no type holds is refused, and
 * digits that are no number of JSON, such as 000001, are text. */
#include "cli/params.h"

#include "cli/result_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

bool cli_parse_time(const char *text, int64_t *ns) {
    buffer json = {0};
    tape_tick tick = {0};
    buffer_append_text(&json, "{\"ts\":");
    text_json_string(&json, text, strlen(text));
    buffer_append(&json, "}", 1);
    tape_status status =
        tape_record_from_json(TAPE_TABLE_TICKS, (const char *)json.data, json.size, &tick, NULL);
    buffer_deinit(&json);
    *ns = tick.ts;
    return status == TAPE_OK;
}

static const char *skip_digits(const char *at) {
    while (isdigit((unsigned char)*at) != 0) {
        at++;
    }
    return at;
}

/* Whether all of `text` is a number as JSON has it; `*whole`: without point and exponent. */
static bool is_number(const char *text, bool *whole) {
    const char *at = text + (*text == '-');
    *whole = true;
    if (isdigit((unsigned char)*at) == 0) {
        return false;
    }
    at = *at == '0' ? at + 1 : skip_digits(at);
    if (*at == '.') {
        *whole = false;
        if (isdigit((unsigned char)at[1]) == 0) {
            return false;
        }
        at = skip_digits(at + 1);
    }
    if (*at == 'e' || *at == 'E') {
        *whole = false;
        at += at[1] == '+' || at[1] == '-' ? 2 : 1;
        if (isdigit((unsigned char)*at) == 0) {
            return false;
        }
        at = skip_digits(at);
    }
    return *at == '\0';
}

static bool parse_bool(const char *text, tape_value *out) {
    out->type = TAPE_TYPE_BOOL;
    out->boolean = strcasecmp(text, "true") == 0;
    return out->boolean || strcasecmp(text, "false") == 0;
}

static bool parse_uint(const char *text, tape_value *out) {
    out->type = TAPE_TYPE_UINT64;
    return number_parse_u64(text, strlen(text), &out->uint64);
}

static bool parse_int(const char *text, tape_value *out) {
    uint64_t size = 0;
    bool negative = text[0] == '-';
    if (!number_parse_u64(text + negative, strlen(text + negative), &size) ||
        size > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    out->type = TAPE_TYPE_INT64;
    out->int64 = negative ? (int64_t)(0 - size) : (int64_t)size;
    return true;
}

static bool parse_double(const char *text, tape_value *out) {
    out->type = TAPE_TYPE_DOUBLE;
    return number_parse_f64(text, strlen(text), &out->real);
}

static bool parse_time(const char *text, tape_value *out) {
    out->type = TAPE_TYPE_TIME;
    return cli_parse_time(text, &out->int64);
}

static bool parse_text(const char *text, tape_value *out) {
    out->type = TAPE_TYPE_TEXT;
    out->text = (tape_text){text, strlen(text)};
    return true;
}

static const struct {
    const char *name;
    bool (*parse)(const char *text, tape_value *out);
} types[] = {{"int", parse_int},   {"uint", parse_uint}, {"double", parse_double},
             {"bool", parse_bool}, {"text", parse_text}, {"time", parse_time}};

tape_status param_parse(const char *word, tape_value *out, tape_error *error) {
    *out = (tape_value){0};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        size_t length = strlen(types[i].name);
        if (strncmp(word, types[i].name, length) == 0 && word[length] == ':') {
            return types[i].parse(word + length + 1, out)
                       ? TAPE_OK
                       : error_set(error, TAPE_INVALID, "'%s' is not of type %s", word + length + 1,
                                   types[i].name);
        }
    }
    bool whole = false;
    if (is_number(word, &whole)) {
        bool ok = whole ? parse_int(word, out) || parse_uint(word, out) : parse_double(word, out);
        return ok ? TAPE_OK
                  : error_set(error, TAPE_INVALID,
                              "%s is beyond the range of numbers: write text:%s or double:%s", word,
                              word, word);
    }
    if (strcasecmp(word, "null") == 0) {
        *out = (tape_value){.type = TAPE_TYPE_TEXT, .is_null = true};
        return TAPE_OK;
    }
    bool clock = strchr(word, ':') != NULL; /* not digits alone, nor a day */
    if (!parse_bool(word, out) && !(clock && parse_time(word, out))) {
        (void)parse_text(word, out);
    }
    return TAPE_OK;
}

char *param_word(const char *typed) {
    size_t length = strlen(typed);
    if (length < 2 || typed[0] != '\'' || typed[length - 1] != '\'') {
        return mem_strdup(typed);
    }
    buffer word = {0};
    buffer_append_text(&word, "text:");
    for (size_t i = 1; i < length - 1; i++) {
        buffer_append(&word, typed + i, 1);
        i += typed[i] == '\'' && typed[i + 1] == '\'' && i + 2 < length;
    }
    buffer_append(&word, "", 1);
    return (char *)word.data;
}

void param_print(buffer *out, const tape_value *value) {
    static const char *const names[] = {
        [TAPE_TYPE_BOOL] = "BOOLEAN ",   [TAPE_TYPE_INT64] = "BIGINT ",
        [TAPE_TYPE_UINT64] = "UBIGINT ", [TAPE_TYPE_DOUBLE] = "DOUBLE ",
        [TAPE_TYPE_TEXT] = "VARCHAR ",   [TAPE_TYPE_TIME] = "TIMESTAMP_NS "};
    if (value->is_null) {
        buffer_append_text(out, "NULL");
        return;
    }
    buffer_append_text(out, names[value->type]);
    switch (value->type) {
    case TAPE_TYPE_BOOL:
        buffer_append_text(out, value->boolean ? "true" : "false");
        break;
    case TAPE_TYPE_INT64:
        text_i64(out, value->int64);
        break;
    case TAPE_TYPE_UINT64:
        text_u64(out, value->uint64);
        break;
    case TAPE_TYPE_DOUBLE:
        text_f64(out, value->real);
        break;
    case TAPE_TYPE_TIME: {
        int64_t ns = value->int64 % NS_PER_SECOND;
        int64_t seconds = value->int64 / NS_PER_SECOND - (ns < 0);
        ns += ns < 0 ? NS_PER_SECOND : 0;
        buffer_append(out, "'", 1);
        text_timestamp(out, TEXT_CSV, seconds, (uint32_t)ns, true);
        buffer_append(out, "'", 1);
        break;
    }
    case TAPE_TYPE_TEXT:
        buffer_append(out, "'", 1);
        for (size_t i = 0; i < value->text.size_bytes; i++) {
            buffer_append(out, "''", value->text.data[i] == '\'' ? 2 : 0);
            buffer_append(out, &value->text.data[i], value->text.data[i] == '\'' ? 0 : 1);
        }
        buffer_append(out, "'", 1);
        break;
    }
}
