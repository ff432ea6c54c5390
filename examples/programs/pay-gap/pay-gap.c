/*
 * pay-gap: how a number differs between groups, table by table.
 *
 *   pay-gap --input NAME... --value COLUMN --group COLUMN[,COLUMN...] [--compare COLUMN=A:B] [--result NAME] [--gap NAME]
 *
 * Reads each /in/NAME: CSV as RFC 4180 has it, UTF-8, LF, first row the column names, an empty field where a value is
 * missing. Writes
 *   /out/result   source,<group columns>,n,mean,median           a row per input and group, sorted
 *   /out/gap      source,n_a,n_b,mean_a,mean_b,gap_percent       a row per input, with --compare only
 * where gap_percent = 100 * (mean_a - mean_b) / mean_a. Rows whose value is missing or no number don't count. There are
 * no totals over inputs, on purpose: with them, a group that is suppressed for being small could be had by subtraction.
 *
 * Exit: 0 done, 2 wrong arguments, 3 an input that can't be used. Built without stdio, so that it stays small.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { inputs_max = 64, groups_max = 8, columns_max = 4096, field_max = 4096, key_max = 8192, decimals = 4 };

static void say(const char *text) { (void)!write(2, text, strlen(text)); }

static _Noreturn void fail(int code, const char *what, const char *which) {
    say("pay-gap: ");
    say(what);
    say(which);
    say("\n");
    _Exit(code);
}

static void *need(void *memory) {
    if (memory == NULL) fail(3, "out of memory", "");
    return memory;
}

/* ---- reading ---- */

static unsigned char in_buffer[1 << 16];
static size_t in_at, in_length;
static int in_file;
static const char *in_name;

static int refill(void) {
    ssize_t count = read(in_file, in_buffer, sizeof in_buffer);
    if (count < 0) fail(3, "can't read ", in_name);
    in_at = 0;
    in_length = (size_t)count;
    return count > 0;
}

static inline int next(void) {
    if (in_at == in_length && !refill()) return -1;
    return in_buffer[in_at++];
}

static char field[field_max];
static size_t field_length;

static inline void keep(int c) {
    if (field_length == field_max) fail(3, "a field is too long in ", in_name);
    field[field_length++] = (char)c;
}

/* Reads one field, keeping its text if `wanted`; returns what ended it: ',', '\n' or -1 at the end of the file. */
static int read_field(int wanted) {
    field_length = 0;
    int c = next();
    if (c == '"') {
        for (;;) {
            c = next();
            if (c == -1) fail(3, "a quote is never closed in ", in_name);
            if (c == '"') {
                c = next();
                if (c != '"') break;
            }
            if (wanted) keep(c);
        }
        if (c == '\r') c = next();
        if (c != ',' && c != '\n' && c != -1) fail(3, "text after a closing quote in ", in_name);
        return c;
    }
    if (wanted) {
        for (; c != ',' && c != '\n' && c != -1; c = next()) keep(c);
        if (field_length > 0 && field[field_length - 1] == '\r') field_length--;
    } else {
        while (c != ',' && c != '\n' && c != -1) c = next();
    }
    return c;
}

/* ---- numbers ---- */

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Exactly rounded up to 15 digits and 22 decimals, which is every number a survey holds; libc's strtod is ten times slower. */
static int parse_number(const char *text, size_t length, double *number) {
    const char *end = text + length;
    int negative = 0, digits = 0, scale = 0;
    uint64_t mantissa = 0;
    if (text < end && (*text == '-' || *text == '+')) negative = *text++ == '-';
    for (int after_point = 0; text < end; text++) {
        if (*text == '.' && !after_point) {
            after_point = 1;
        } else if (*text >= '0' && *text <= '9') {
            digits++;
            if (mantissa < 100000000000000000u) {
                mantissa = mantissa * 10 + (uint64_t)(*text - '0');
                scale -= after_point;
            } else {
                scale += !after_point;
            }
        } else {
            break;
        }
    }
    if (digits == 0) return 0;
    if (text < end && (*text == 'e' || *text == 'E')) {
        int exponent = 0, down = 0, any = 0;
        text++;
        if (text < end && (*text == '-' || *text == '+')) down = *text++ == '-';
        for (; text < end && *text >= '0' && *text <= '9' && exponent < 1000; text++, any = 1)
            exponent = exponent * 10 + (*text - '0');
        if (!any) return 0;
        scale += down ? -exponent : exponent;
    }
    if (text != end) return 0;
    double value = (double)mantissa;
    for (; scale < -22; scale += 22) value /= 1e22;
    for (; scale > 22; scale -= 22) value *= 1e22;
    value = scale < 0 ? value / powers[-scale] : value * powers[scale];
    *number = negative ? -value : value;
    return value <= 1.7976931348623157e308;
}

/* ---- groups ---- */

struct group {
    char *key; /* the group's fields, each ended by a zero byte */
    size_t key_length;
    uint32_t hash;
    double sum, lost; /* Neumaier's sum: what rounding lost is kept beside */
    double *values;
    size_t count, capacity;
};

static struct group *groups;
static size_t group_count, group_capacity;
static uint32_t *slots; /* index of a group plus one; a power of two of them, at most half used */
static size_t slot_count;

static void add(struct group *group, double value) {
    if (group->count == group->capacity) {
        group->capacity = group->capacity ? group->capacity * 2 : 16;
        group->values = need(realloc(group->values, group->capacity * sizeof(double)));
    }
    group->values[group->count++] = value;
    double sum = group->sum + value;
    double larger = __builtin_fabs(group->sum) >= __builtin_fabs(value) ? group->sum : value;
    double smaller = larger == value ? group->sum : value;
    group->lost += (larger - sum) + smaller;
    group->sum = sum;
}

static double mean(const struct group *group) { return (group->sum + group->lost) / (double)group->count; }

static void place(uint32_t index) {
    size_t at = groups[index].hash & (slot_count - 1);
    while (slots[at] != 0) at = (at + 1) & (slot_count - 1);
    slots[at] = index + 1;
}

static struct group *find(const char *key, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    if (slot_count > 0) {
        for (size_t at = hash & (slot_count - 1); slots[at] != 0; at = (at + 1) & (slot_count - 1)) {
            struct group *group = &groups[slots[at] - 1];
            if (group->hash == hash && group->key_length == length && memcmp(group->key, key, length) == 0) return group;
        }
    }
    if (group_count == group_capacity) {
        group_capacity = group_capacity ? group_capacity * 2 : 64;
        groups = need(realloc(groups, group_capacity * sizeof *groups));
        slot_count = group_capacity * 2;
        free(slots);
        slots = need(calloc(slot_count, sizeof *slots));
        for (uint32_t i = 0; i < group_count; i++) place(i);
    }
    struct group *group = &groups[group_count++];
    memset(group, 0, sizeof *group);
    group->key = need(malloc(length + 1));
    memcpy(group->key, key, length);
    group->key_length = length;
    group->hash = hash;
    place((uint32_t)(group_count - 1));
    return group;
}

static void forget(struct group *group) {
    free(group->values);
    free(group->key);
    memset(group, 0, sizeof *group);
}

static int by_key(const void *left, const void *right) {
    const struct group *a = left, *b = right;
    size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = memcmp(a->key, b->key, shorter);
    return order != 0 ? order : (a->key_length > b->key_length) - (a->key_length < b->key_length);
}

/* The value that stands at `rank` in order; moves the values about (Hoare's selection, median of three). */
static double select_rank(double *values, size_t count, size_t rank) {
    size_t low = 0, high = count - 1;
    while (low < high) {
        double a = values[low], b = values[low + (high - low) / 2], c = values[high];
        double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t i = low, j = high;
        for (;;) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i >= j) break;
            double swap = values[i];
            values[i++] = values[j];
            values[j--] = swap;
        }
        if (rank <= j) high = j;
        else low = j + 1;
    }
    return values[rank];
}

static double median(const struct group *group) {
    size_t half = group->count / 2;
    double upper = select_rank(group->values, group->count, half);
    if (group->count % 2 == 1) return upper;
    return (select_rank(group->values, group->count, half - 1) + upper) / 2;
}

/* ---- writing ---- */

struct out {
    int file;
    size_t length;
    char bytes[4096];
};

static struct out result_file, gap_file;

static void flush(struct out *out) {
    for (size_t done = 0; done < out->length;) {
        ssize_t count = write(out->file, out->bytes + done, out->length - done);
        if (count <= 0) fail(3, "can't write the output", "");
        done += (size_t)count;
    }
    out->length = 0;
}

static void put(struct out *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (out->length == sizeof out->bytes) flush(out);
        out->bytes[out->length++] = text[i];
    }
}

static void put_text(struct out *out, const char *text) { put(out, text, strlen(text)); }

static void put_field(struct out *out, const char *text, size_t length) {
    int quote = 0;
    for (size_t i = 0; i < length; i++) quote |= text[i] == ',' || text[i] == '"' || text[i] == '\n' || text[i] == '\r';
    if (!quote) {
        put(out, text, length);
        return;
    }
    put(out, "\"", 1);
    for (size_t i = 0; i < length; i++) put(out, text[i] == '"' ? "\"\"" : text + i, text[i] == '"' ? 2 : 1);
    put(out, "\"", 1);
}

static void put_integer(struct out *out, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    put(out, digits + at, sizeof digits - at);
}

/* At most four decimals, none that are zero at the end; empty where there is no number or it is beyond 10^14. */
static void put_number(struct out *out, double value) {
    double size = __builtin_fabs(value);
    if (!(size < 1e14)) return;
    uint64_t scaled = (uint64_t)(size * 10000 + 0.5);
    if (value < 0 && scaled > 0) put(out, "-", 1);
    put_integer(out, scaled / 10000);
    char digits[1 + decimals] = {'.'};
    size_t shown = 0;
    for (uint64_t rest = scaled % 10000, place = 1000, i = 1; i <= decimals; rest %= place, place /= 10, i++) {
        digits[i] = (char)('0' + rest / place);
        if (digits[i] != '0') shown = 1 + i;
        if (place == 1) break;
    }
    put(out, digits, shown);
}

static void open_out(struct out *out, const char *name) {
    char path[256] = "/out/";
    if (strlen(name) > 200) fail(2, "too long a name: ", name);
    strcat(path, name);
    out->file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out->file < 0) fail(3, "no such output is declared: ", name);
}

/* ---- the program ---- */

static const char *inputs[inputs_max];
static const char *group_names[groups_max];
static const char *value_name, *compare_name, *compare_a, *compare_b;
static const char *result_name = "result", *gap_name = "gap";
static size_t input_count, group_names_count;

/* What a column is for: a bit for the value, one for the comparison, one per group column. */
enum { use_value = 1, use_compare = 2, use_group = 4 };
static uint32_t uses[columns_max];
static size_t columns;

static int is(const char *name) { return strlen(name) == field_length && memcmp(name, field, field_length) == 0; }

static void read_header(void) {
    uint32_t seen = 0;
    int end = ',';
    for (columns = 0; end == ','; columns++) {
        if (columns == columns_max) fail(3, "too many columns in ", in_name);
        end = read_field(1);
        if (columns == 0 && field_length >= 3 && memcmp(field, "\xef\xbb\xbf", 3) == 0) {
            field_length -= 3;
            memmove(field, field + 3, field_length);
        }
        uint32_t use = 0;
        if (is(value_name)) use |= use_value;
        if (compare_name != NULL && is(compare_name)) use |= use_compare;
        for (size_t g = 0; g < group_names_count; g++)
            if (is(group_names[g])) use |= (uint32_t)use_group << g;
        if (use & seen) fail(3, "a column stands twice in ", in_name);
        seen |= use;
        uses[columns] = use;
    }
    if (!(seen & use_value)) fail(3, "the value column is missing in ", in_name);
    if (compare_name != NULL && !(seen & use_compare)) fail(3, "the column to compare is missing in ", in_name);
    for (size_t g = 0; g < group_names_count; g++)
        if (!(seen & ((uint32_t)use_group << g))) fail(3, "a group column is missing in ", in_name);
}

static char cells[groups_max][field_max];
static size_t cell_lengths[groups_max];

/* Returns 0 when the file has no more rows. */
static int read_row(struct group *a, struct group *b) {
    double value = 0;
    int counts = 0, side = 0, end = ',';
    size_t column = 0;
    for (; end == ','; column++) {
        if (column == columns) fail(3, "a row has too many fields in ", in_name);
        uint32_t use = uses[column];
        end = read_field(use != 0 || column == 0);
        if (use & use_value) counts = parse_number(field, field_length, &value);
        if (use & use_compare) side = is(compare_a) ? 1 : is(compare_b) ? 2 : 0;
        if (use >= use_group) {
            for (size_t g = 0; g < group_names_count; g++) {
                if (!(use & ((uint32_t)use_group << g))) continue;
                if (memchr(field, 0, field_length) != NULL) fail(3, "a group field holds a zero byte in ", in_name);
                memcpy(cells[g], field, field_length);
                cell_lengths[g] = field_length;
            }
        }
    }
    if (column < columns) {
        if (column == 1 && field_length == 0) return end != -1; /* an empty line, or the end */
        fail(3, "a row has too few fields in ", in_name);
    }
    if (columns == 1 && end == -1 && field_length == 0) return 0;
    if (counts) {
        static char key[key_max];
        size_t length = 0;
        for (size_t g = 0; g < group_names_count; g++) {
            if (length + cell_lengths[g] + 1 > key_max) fail(3, "the group fields of a row are too long in ", in_name);
            memcpy(key + length, cells[g], cell_lengths[g]);
            length += cell_lengths[g];
            key[length++] = 0;
        }
        add(find(key, length), value);
        if (side == 1) add(a, value);
        if (side == 2) add(b, value);
    }
    return end != -1;
}

static void write_result(void) {
    struct out *out = &result_file;
    qsort(groups, group_count, sizeof *groups, by_key);
    for (size_t i = 0; i < group_count; i++) {
        put_field(out, in_name, strlen(in_name));
        const char *at = groups[i].key;
        for (size_t g = 0; g < group_names_count; g++) {
            put(out, ",", 1);
            put_field(out, at, strlen(at));
            at += strlen(at) + 1;
        }
        put(out, ",", 1);
        put_integer(out, groups[i].count);
        put(out, ",", 1);
        put_number(out, mean(&groups[i]));
        put(out, ",", 1);
        put_number(out, median(&groups[i]));
        put(out, "\n", 1);
    }
}

static void write_gap(const struct group *a, const struct group *b) {
    struct out *out = &gap_file;
    put_field(out, in_name, strlen(in_name));
    put(out, ",", 1);
    put_integer(out, a->count);
    put(out, ",", 1);
    put_integer(out, b->count);
    put(out, ",", 1);
    if (a->count > 0) put_number(out, mean(a));
    put(out, ",", 1);
    if (b->count > 0) put_number(out, mean(b));
    put(out, ",", 1);
    if (a->count > 0 && b->count > 0 && mean(a) != 0) put_number(out, 100 * (mean(a) - mean(b)) / mean(a));
    put(out, "\n", 1);
}

static void read_arguments(int count, char **arguments) {
    for (int i = 1; i < count; i += 2) {
        const char *name = arguments[i];
        char *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (value == NULL) fail(2, "no value after ", name);
        if (strcmp(name, "--input") == 0) {
            if (input_count == inputs_max) fail(2, "too many inputs", "");
            inputs[input_count++] = value;
        } else if (strcmp(name, "--value") == 0) {
            value_name = value;
        } else if (strcmp(name, "--group") == 0) {
            for (char *part = strtok(value, ","); part != NULL; part = strtok(NULL, ",")) {
                if (group_names_count == groups_max) fail(2, "too many group columns", "");
                group_names[group_names_count++] = part;
            }
        } else if (strcmp(name, "--compare") == 0) {
            char *equals = strrchr(value, '=');
            char *colon = equals == NULL ? NULL : strchr(equals, ':');
            if (colon == NULL) fail(2, "--compare wants COLUMN=A:B, got ", value);
            *equals = *colon = 0;
            compare_name = value;
            compare_a = equals + 1;
            compare_b = colon + 1;
        } else if (strcmp(name, "--result") == 0) {
            result_name = value;
        } else if (strcmp(name, "--gap") == 0) {
            gap_name = value;
        } else {
            fail(2, "unknown argument ", name);
        }
    }
    if (input_count == 0) fail(2, "--input is missing", "");
    if (value_name == NULL) fail(2, "--value is missing", "");
    if (group_names_count == 0) fail(2, "--group is missing", "");
}

int main(int count, char **arguments) {
    read_arguments(count, arguments);
    open_out(&result_file, result_name);
    put_text(&result_file, "source");
    for (size_t g = 0; g < group_names_count; g++) {
        put(&result_file, ",", 1);
        put_field(&result_file, group_names[g], strlen(group_names[g]));
    }
    put_text(&result_file, ",n,mean,median\n");
    if (compare_name != NULL) {
        open_out(&gap_file, gap_name);
        put_text(&gap_file, "source,n_a,n_b,mean_a,mean_b,gap_percent\n");
    }
    for (size_t i = 0; i < input_count; i++) {
        char path[256] = "/in/";
        in_name = inputs[i];
        if (strlen(in_name) > 200) fail(2, "too long a name: ", in_name);
        strcat(path, in_name);
        in_file = open(path, O_RDONLY);
        if (in_file < 0) fail(3, "no such input is declared: ", in_name);
        in_at = in_length = 0;
        struct group a = {0}, b = {0};
        read_header();
        while (read_row(&a, &b)) {}
        close(in_file);
        write_result();
        if (compare_name != NULL) write_gap(&a, &b);
        for (size_t g = 0; g < group_count; g++) forget(&groups[g]);
        group_count = 0;
        memset(slots, 0, slot_count * sizeof *slots);
        forget(&a);
        forget(&b);
    }
    flush(&result_file);
    if (compare_name != NULL) flush(&gap_file);
    return 0;
}
