/* One value of an Arrow array as text.
 *
 * Purpose: the single place that turns values of any type into JSON, CSV or text for a terminal.
 * Invariants: (V1) recursion follows the type tree, which is at most ARROW_DEPTH_MAX deep; (V2)
 * what TEXT_JSON appends is one complete JSON value: NaN and infinities are null.
 * Threads: no state. */
#include "cli/result_internal.h"

#include <math.h>
#include <stdlib.h>

static int64_t int_at(const arrow_node *node, const void *data, size_t at) {
    switch (node->is_signed ? node->bits : -node->bits) {
    case 8:
        return ((const int8_t *)data)[at];
    case -8:
        return ((const uint8_t *)data)[at];
    case 16:
        return ((const int16_t *)data)[at];
    case -16:
        return ((const uint16_t *)data)[at];
    case 32:
        return ((const int32_t *)data)[at];
    case -32:
        return ((const uint32_t *)data)[at];
    default:
        return ((const int64_t *)data)[at];
    }
}

static void append_int(buffer *out, const arrow_node *node, const void *data, size_t at) {
    int64_t value = int_at(node, data, at);
    if (node->bits == 64 && !node->is_signed) {
        text_u64(out, (uint64_t)value);
    } else {
        text_i64(out, value);
    }
}

static float half_to_float(uint16_t half) {
    int exponent = half >> 10 & 31;
    float fraction = (float)(half & 1023);
    float size = exponent == 31  ? (half & 1023) != 0 ? NAN : INFINITY
                 : exponent == 0 ? ldexpf(fraction, -24)
                                 : ldexpf(fraction + 1024, exponent - 25);
    return (half & 0x8000) != 0 ? -size : size;
}

static void append_float(buffer *out, text_style style, const arrow_node *node, const void *data,
                         size_t at) {
    double value = 0;
    if (node->bits == 64) {
        value = ((const double *)data)[at];
    } else if (node->bits == 32) {
        value = (double)((const float *)data)[at];
    } else {
        value = (double)half_to_float(((const uint16_t *)data)[at]);
    }
    if (style == TEXT_JSON && !isfinite(value)) {
        buffer_append_text(out, "null");
    } else if (node->bits == 64) {
        text_f64(out, value);
    } else {
        text_f32(out, (float)value);
    }
}

static void append_decimal(buffer *out, const arrow_node *node, const void *data, size_t at) {
    __int128 value = 0;
    if (node->bits == 128) {
        memcpy(&value, (const uint8_t *)data + 16 * at, sizeof value);
    } else if (node->bits == 64) {
        value = ((const int64_t *)data)[at];
    } else {
        value = ((const int32_t *)data)[at];
    }
    text_decimal(out, value, node->scale);
}

/* Splits a count of units into whole seconds (rounded down) and nanoseconds. */
static int64_t split_seconds(int64_t value, int unit, uint32_t *ns) {
    static const int64_t per_second[] = {1, 1000, 1000000, 1000000000};
    static const uint32_t ns_per_unit[] = {1000000000, 1000000, 1000, 1};
    int64_t seconds = value / per_second[unit];
    int64_t rest = value % per_second[unit];
    if (rest < 0) {
        seconds--;
        rest += per_second[unit];
    }
    *ns = unit == ARROW_SECOND ? 0 : (uint32_t)rest * ns_per_unit[unit];
    return seconds;
}

static void append_interval(buffer *out, const arrow_node *node, const void *data, size_t at) {
    const uint8_t *value = (const uint8_t *)data + at * (size_t)(node->bits / 8);
    int32_t first = (int32_t)load_u32(value);
    if (node->unit == ARROW_YEAR_MONTH) {
        text_interval(out, first, 0, 0);
    } else if (node->unit == ARROW_DAY_TIME) {
        text_interval(out, 0, first, (int32_t)load_u32(value + 4) * INT64_C(1000000));
    } else {
        text_interval(out, first, (int32_t)load_u32(value + 4), (int64_t)load_u64(value + 8));
    }
}

/* Dates, times, timestamps, durations, intervals: quoted by the caller in JSON. */
static void append_temporal(buffer *out, text_style style, const arrow_node *node, const void *data,
                            size_t at) {
    if (node->kind == ARROW_INTERVAL) {
        append_interval(out, node, data, at);
        return;
    }
    int64_t value = node->bits == 64 ? ((const int64_t *)data)[at] : ((const int32_t *)data)[at];
    int64_t most = node->bits == 64 ? INT64_MAX : INT32_MAX;
    bool endless = value == most || value == -most;
    uint32_t ns = 0;
    if (endless && (node->kind == ARROW_DATE || node->kind == ARROW_TIMESTAMP)) {
        buffer_append_text(out, value < 0 ? "-infinity" : "infinity");
    } else if (node->kind == ARROW_DATE) {
        int64_t day = value;
        if (node->unit == ARROW_DATE_MILLI) {
            int64_t seconds = split_seconds(value, ARROW_MILLI, &ns);
            day = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
        }
        text_date(out, day);
    } else if (node->kind == ARROW_TIMESTAMP) {
        int64_t seconds = split_seconds(value, node->unit, &ns);
        text_timestamp(out, style, seconds, ns, node->timezone != NULL);
    } else {
        bool negative = value < 0;
        value += value == INT64_MIN; /* its negative does not exist */
        int64_t seconds = split_seconds(negative ? -value : value, node->unit, &ns);
        buffer_append(out, "-", negative);
        text_time_of_day(out, style, seconds, ns);
    }
}

/* Text on a terminal: what would move the cursor is shown, not sent; ends of lines stay, the table
 * writer knows them. */
static void append_visible(buffer *out, slice bytes) {
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        if (c == '\t') {
            buffer_append(out, "\\t", 2);
        } else if ((c < 0x20 && c != '\n') || c == 0x7f) {
            buffer_printf(out, "\\x%02x", c);
        } else if (c == 0xc2 && i + 1 < bytes.size && bytes.data[i + 1] < 0xa0) {
            buffer_printf(out, "\\u%04x", bytes.data[++i]);
        } else {
            buffer_append(out, &bytes.data[i], 1);
        }
    }
}

static void append_bytes(buffer *out, text_style style, const arrow_node *node, slice bytes) {
    bool text = node->kind == ARROW_UTF8;
    if (text && style == TEXT_JSON) {
        text_json_string(out, bytes.data, bytes.size);
    } else if (text && style == TEXT_TABLE) {
        append_visible(out, bytes);
    } else if (text) {
        buffer_append(out, bytes.data, bytes.size);
    } else if (style == TEXT_TABLE) {
        for (size_t i = 0; i < bytes.size; i++) {
            buffer_printf(out, "\\x%02X", bytes.data[i]);
        }
    } else {
        const char *quote = style == TEXT_JSON ? "\"" : "";
        buffer_append_text(out, quote);
        text_base64(out, bytes.data, bytes.size);
        buffer_append_text(out, quote);
    }
}

static void append_list(buffer *out, const arrow_node *node, const struct ArrowArray *array,
                        int64_t row) {
    int64_t first = 0;
    int64_t count = 0;
    arrow_list_range(node, array, row, &first, &count);
    buffer_append(out, "[", 1);
    for (int64_t i = 0; i < count; i++) {
        buffer_append(out, ",", i > 0);
        text_value(out, TEXT_JSON, &node->children[0], array->children[0], first + i);
    }
    buffer_append(out, "]", 1);
}

static void append_struct(buffer *out, const arrow_node *node, const struct ArrowArray *array,
                          int64_t row) {
    buffer_append(out, "{", 1);
    for (size_t i = 0; i < node->child_count; i++) {
        const arrow_node *child = &node->children[i];
        buffer_append(out, ",", i > 0);
        text_json_string(out, child->name, strlen(child->name));
        buffer_append(out, ":", 1);
        text_value(out, TEXT_JSON, child, array->children[i], row + array->offset);
    }
    buffer_append(out, "}", 1);
}

/* A JSON object; keys that are not text become text. */
static void append_map(buffer *out, const arrow_node *node, const struct ArrowArray *array,
                       int64_t row) {
    int64_t first = 0;
    int64_t count = 0;
    arrow_list_range(node, array, row, &first, &count);
    const arrow_node *pair = &node->children[0];
    const struct ArrowArray *pairs = array->children[0];
    buffer key = {0};
    buffer_append(out, "{", 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = first + i + pairs->offset;
        key.size = 0;
        text_value(&key, TEXT_CSV, &pair->children[0], pairs->children[0], at);
        buffer_append(out, ",", i > 0);
        text_json_string(out, key.data, key.size);
        buffer_append(out, ":", 1);
        text_value(out, TEXT_JSON, &pair->children[1], pairs->children[1], at);
    }
    buffer_append(out, "}", 1);
    buffer_deinit(&key);
}

static void append_null(buffer *out, text_style style) {
    if (style != TEXT_CSV) {
        buffer_append_text(out, style == TEXT_JSON ? "null" : "NULL");
    }
}

static void append_nested(buffer *out, text_style style, const arrow_node *node,
                          const struct ArrowArray *array, int64_t row) {
    switch (node->kind) {
    case ARROW_LIST:
    case ARROW_FIXED_LIST:
        append_list(out, node, array, row);
        break;
    case ARROW_STRUCT:
        append_struct(out, node, array, row);
        break;
    case ARROW_MAP:
        append_map(out, node, array, row);
        break;
    default:
        node = arrow_union_member(node, array, row, &array, &row);
        ASSERT(node != NULL); /* it would be null */
        text_value(out, style, node, array, row);
    }
}

void text_value(buffer *out, text_style style, const arrow_node *node,
                const struct ArrowArray *array, int64_t row) {
    if (arrow_is_null(node, array, row)) {
        append_null(out, style);
        return;
    }
    size_t at = (size_t)(row + array->offset);
    const void *data = arrow_node_buffers(node) > 1 ? array->buffers[1] : NULL;
    if (node->dictionary != NULL) {
        text_value(out, style, node->dictionary, array->dictionary, int_at(node, data, at));
        return;
    }
    switch (node->kind) {
    case ARROW_NULL:
        append_null(out, style);
        break;
    case ARROW_BOOL:
        buffer_append_text(out, (((const uint8_t *)data)[at >> 3] >> (at & 7) & 1) != 0 ? "true"
                                                                                        : "false");
        break;
    case ARROW_INT:
        append_int(out, node, data, at);
        break;
    case ARROW_FLOAT:
        append_float(out, style, node, data, at);
        break;
    case ARROW_DECIMAL:
        append_decimal(out, node, data, at);
        break;
    case ARROW_UTF8:
    case ARROW_BINARY:
    case ARROW_FIXED_BINARY:
        append_bytes(out, style, node, arrow_bytes(node, array, row));
        break;
    case ARROW_DATE:
    case ARROW_TIME:
    case ARROW_TIMESTAMP:
    case ARROW_DURATION:
    case ARROW_INTERVAL:
        buffer_append(out, "\"", style == TEXT_JSON);
        append_temporal(out, style, node, data, at);
        buffer_append(out, "\"", style == TEXT_JSON);
        break;
    default:
        append_nested(out, style, node, array, row);
    }
}
