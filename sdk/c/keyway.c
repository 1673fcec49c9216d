/* See keyway.h. */
#include "keyway.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "replying_plugin.h"

typedef replying_plugin_string_t wire_string;

/* ---- memory: one arena for the call; the host's data lies in it, too ---- */

enum { CHUNK = 32 * 1024 };

typedef struct chunk {
    struct chunk *before;
    size_t size, used;
    _Alignas(8) char bytes[];
} chunk;

static chunk *arena;

static void *take(size_t size, size_t align) {
    size_t at = arena ? (arena->used + align - 1) & ~(align - 1) : 0;
    if (!arena || size > arena->size - at || at > arena->size) {
        size_t room = size > CHUNK ? size : CHUNK;
        chunk *more = malloc(sizeof(chunk) + room);
        if (!more) __builtin_trap();
        more->before = arena;
        more->size = room;
        arena = more;
        at = 0;
    }
    arena->used = at + size;
    return arena->bytes + at;
}

/* Ends a call: gives back all but the first chunk. */
static void release(void) {
    while (arena && arena->before) {
        chunk *done = arena;
        arena = arena->before;
        free(done);
    }
    if (arena) arena->used = 0;
}

void *keyway_alloc(size_t size) {
    return memset(take(size, 8), 0, size);
}

/* These take the place of the generated ones, which use malloc and free for every part. */
#define EXPORT(name) __attribute__((export_name(name)))

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t new_size) {
    if (new_size == 0) return (void *)align;
    void *block = take(new_size, align);
    return old_size ? memcpy(block, old, old_size < new_size ? old_size : new_size) : block;
}

EXPORT("cabi_post_keyway:transform/replies@0.1.0#on-replies")
void __wasm_export_exports_keyway_transform_replies_on_replies_post_return(uint8_t *result) { (void)result, release(); }

EXPORT("cabi_post_keyway:transform/about@0.1.0#describe")
void __wasm_export_exports_keyway_transform_about_describe_post_return(uint8_t *result) { (void)result, release(); }

EXPORT("cabi_post_keyway:transform/transform@0.1.0#transform")
void __wasm_export_exports_keyway_transform_transform_transform_post_return(uint8_t *result) { (void)result, release(); }

/* ---- text ---- */

keyway_string keyway_string_of(const char *text) {
    return text ? (keyway_string){ text, strlen(text) } : (keyway_string){ 0 };
}

bool keyway_equal_strings(keyway_string a, keyway_string b) {
    return a.len == b.len && !a.ptr == !b.ptr && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

typedef struct {
    char *ptr;
    size_t len, room;
} buffer;

static void add(buffer *out, const char *from, size_t len) {
    if (len > out->room - out->len) {
        size_t room = (out->len + len) * 2 + 32;
        char *more = take(room, 1);
        if (out->len) memcpy(more, out->ptr, out->len);
        out->ptr = more;
        out->room = room;
    }
    if (len) memcpy(out->ptr + out->len, from, len);
    out->len += len;
}

static void add_char(buffer *out, char c) { add(out, &c, 1); }

static keyway_string text_of(buffer out) { return (keyway_string){ out.ptr ? out.ptr : "", out.len }; }

static const char HEX[] = "0123456789ABCDEF";

static void add_segment(buffer *out, keyway_string value) {
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) add_char(out, (char)c);
        else add(out, (char[]){ '%', HEX[c >> 4], HEX[c & 15] }, 3);
    }
}

static void add_quoted(buffer *out, keyway_string value) {
    add_char(out, '"');
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c == '"' || c == '\\') add(out, (char[]){ '\\', (char)c }, 2);
        else if (c < 0x20) add(out, (char[]){ '\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15] }, 6);
        else add_char(out, (char)c);
    }
    add_char(out, '"');
}

static void add_integer(buffer *out, long long value) {
    char digits[24];
    size_t at = sizeof digits;
    unsigned long long rest = value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
    do digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) digits[--at] = '-';
    add(out, digits + at, sizeof digits - at);
}

keyway_string keyway_format(const char *format, ...) {
    buffer out = { 0 };
    keyway_string value;
    va_list values;
    va_start(values, format);
    for (const char *at = format; *at; at++) {
        const char *text;
        if (*at != '%') {
            add_char(&out, *at);
            continue;
        }
        switch (*++at) {
        case 's':
            text = va_arg(values, const char *);
            add(&out, text, text ? strlen(text) : 0);
            break;
        case 'v':
            value = va_arg(values, keyway_string);
            add(&out, value.ptr, value.len);
            break;
        case 'u': add_segment(&out, va_arg(values, keyway_string)); break;
        case 'q': add_quoted(&out, va_arg(values, keyway_string)); break;
        case 'j':
            value = keyway_raw(va_arg(values, const keyway_json *));
            if (value.ptr) add(&out, value.ptr, value.len);
            else add(&out, "null", 4);
            break;
        case 'd': add_integer(&out, va_arg(values, long long)); break;
        case '%': add_char(&out, '%'); break;
        default: keyway_fail("keyway_format knows %s %v %u %q %j %d and %%");
        }
    }
    va_end(values);
    return text_of(out);
}

keyway_string keyway_segment_of(keyway_string value) {
    buffer out = { 0 };
    add_segment(&out, value);
    return text_of(out);
}

/* ---- JSON (RFC 8259), kept as it came ---- */

struct keyway_json {
    const char *at;
    size_t len, count;
    keyway_json *first, *next;
    keyway_json *name;
};

/* Deeper than any record that is meant; each level takes some 100 bytes of the stack. */
enum { DEPTH_MAX = 128 };

typedef struct {
    const char *start, *at, *end, *wrong;
} parser;

static void space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
}

static keyway_json *expected(parser *p, const char *what) {
    if (!p->wrong) p->wrong = what;
    return NULL;
}

static bool is_digit(parser *p) { return p->at < p->end && *p->at >= '0' && *p->at <= '9'; }

static int hex4(const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i] | 0x20;
        int digit = at[i] >= '0' && at[i] <= '9' ? at[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Checks a string, and stands behind it. */
static bool string(parser *p) {
    for (p->at++; p->at < p->end && *p->at != '"'; p->at++) {
        if ((unsigned char)*p->at < 0x20) return expected(p, "control character in a string");
        if (*p->at != '\\') continue;
        if (++p->at >= p->end) break;
        if (!memchr("\"\\/bfnrtu", *p->at, 9)) return expected(p, "unknown escape");
        if (*p->at != 'u') continue;
        int unit = p->end - p->at > 4 ? hex4(p->at + 1) : -1;
        if (unit < 0) return expected(p, "bad \\u escape");
        if (unit >= 0xD800 && unit < 0xE000) {
            bool paired = unit < 0xDC00 && p->end - p->at > 10 && p->at[5] == '\\' && p->at[6] == 'u' && hex4(p->at + 7) >> 10 == 0xDC00 >> 10;
            if (!paired) return expected(p, "lone surrogate");
            p->at += 6;
        }
        p->at += 4;
    }
    if (p->at >= p->end) return expected(p, "unterminated string");
    p->at++;
    return true;
}

static keyway_json *value(parser *p, int depth) {
    space(p);
    if (p->at >= p->end) return expected(p, "unexpected end");
    keyway_json *node = keyway_alloc(sizeof *node);
    node->at = p->at;
    char c = *p->at;
    if (c == '"') {
        if (!string(p)) return NULL;
    } else if (c == '{' || c == '[') {
        if (depth >= DEPTH_MAX) return expected(p, "nested too deeply");
        char close = c == '{' ? '}' : ']';
        keyway_json **tail = &node->first;
        p->at++;
        space(p);
        bool more = p->at < p->end && *p->at != close;
        while (more) {
            keyway_json *name = NULL;
            if (close == '}') {
                space(p);
                if (p->at >= p->end || *p->at != '"') return expected(p, "expected a name in quotes");
                if (!(name = value(p, depth + 1))) return NULL;
                space(p);
                if (p->at >= p->end || *p->at != ':') return expected(p, "expected `:`");
                p->at++;
            }
            keyway_json *member = value(p, depth + 1);
            if (!member) return NULL;
            member->name = name;
            *tail = member;
            tail = &member->next;
            node->count++;
            space(p);
            more = p->at < p->end && *p->at == ',';
            if (more) p->at++;
        }
        if (p->at >= p->end) return expected(p, "unexpected end");
        if (*p->at != close) return expected(p, close == '}' ? "expected `,` or `}`" : "expected `,` or `]`");
        p->at++;
    } else if (c == '-' || is_digit(p)) {
        if (c == '-') p->at++;
        if (!is_digit(p)) return expected(p, "expected a digit");
        if (*p->at == '0') p->at++;
        else
            while (is_digit(p)) p->at++;
        if (p->at < p->end && *p->at == '.') {
            p->at++;
            if (!is_digit(p)) return expected(p, "expected a digit");
            while (is_digit(p)) p->at++;
        }
        if (p->at < p->end && (*p->at | 0x20) == 'e') {
            p->at++;
            if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
            if (!is_digit(p)) return expected(p, "expected a digit");
            while (is_digit(p)) p->at++;
        }
    } else {
        static const char *const WORDS[] = { "true", "false", "null" };
        size_t len = 0;
        for (size_t i = 0; i < 3 && !len; i++) {
            size_t n = strlen(WORDS[i]);
            if ((size_t)(p->end - p->at) >= n && memcmp(p->at, WORDS[i], n) == 0) len = n;
        }
        if (!len) return expected(p, "expected a value");
        p->at += len;
    }
    node->len = (size_t)(p->at - node->at);
    return node;
}

const keyway_json *keyway_parse(keyway_string text, keyway_string *error) {
    parser p = { text.ptr, text.ptr, text.ptr + text.len, NULL };
    keyway_json *found = value(&p, 0);
    if (found) {
        space(&p);
        if (p.at == p.end) return found;
        expected(&p, "trailing characters");
    }
    *error = keyway_format("%s at byte %d", p.wrong, (long long)(p.at - p.start));
    return NULL;
}

const keyway_json *keyway_get(const keyway_json *object, const char *name) {
    const keyway_json *found = NULL;
    for (const keyway_json *member = keyway_first(object); member; member = member->next) {
        if (member->name && keyway_equal(keyway_name(member), name)) found = member;
    }
    return found;
}

const keyway_json *keyway_at(const keyway_json *array, size_t index) {
    const keyway_json *element = keyway_first(array);
    while (element && index--) element = element->next;
    return element;
}

size_t keyway_count(const keyway_json *value) { return value ? value->count : 0; }
const keyway_json *keyway_first(const keyway_json *value) { return value ? value->first : NULL; }
const keyway_json *keyway_next(const keyway_json *value) { return value ? value->next : NULL; }
keyway_string keyway_name(const keyway_json *member) { return keyway_text(member ? member->name : NULL); }
keyway_string keyway_raw(const keyway_json *value) { return value ? (keyway_string){ value->at, value->len } : (keyway_string){ 0 }; }
bool keyway_is_true(const keyway_json *value) { return value && value->at[0] == 't'; }
bool keyway_is_null(const keyway_json *value) { return value && value->at[0] == 'n'; }

static void add_utf8(buffer *out, unsigned c) {
    if (c < 0x80) add_char(out, (char)c);
    else if (c < 0x800) add(out, (char[]){ (char)(0xC0 | c >> 6), (char)(0x80 | (c & 63)) }, 2);
    else if (c < 0x10000) add(out, (char[]){ (char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63)) }, 3);
    else add(out, (char[]){ (char)(0xF0 | c >> 18), (char)(0x80 | (c >> 12 & 63)), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63)) }, 4);
}

keyway_string keyway_text(const keyway_json *value) {
    if (!value || value->at[0] != '"') return (keyway_string){ 0 };
    const char *at = value->at + 1, *end = value->at + value->len - 1;
    if (!memchr(at, '\\', (size_t)(end - at))) return (keyway_string){ at, (size_t)(end - at) };
    buffer out = { 0 };
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        add(&out, at, (size_t)((escape ? escape : end) - at));
        if (!escape) break;
        at = escape + 2;
        switch (escape[1]) {
        case 'b': add_char(&out, '\b'); break;
        case 'f': add_char(&out, '\f'); break;
        case 'n': add_char(&out, '\n'); break;
        case 'r': add_char(&out, '\r'); break;
        case 't': add_char(&out, '\t'); break;
        case 'u': {
            unsigned unit = (unsigned)hex4(at);
            at += 4;
            if (unit >= 0xD800 && unit < 0xDC00) {
                unit = 0x10000 + ((unit & 0x3FF) << 10) + ((unsigned)hex4(at + 2) & 0x3FF);
                at += 6;
            }
            add_utf8(&out, unit);
            break;
        }
        default: add_char(&out, escape[1]);
        }
    }
    return text_of(out);
}

/* A NUL-terminated copy of a number, for the C library. */
static const char *number(const keyway_json *value) {
    if (!value || !(value->at[0] == '-' || (value->at[0] >= '0' && value->at[0] <= '9'))) return NULL;
    char *copy = keyway_alloc(value->len + 1);
    return memcpy(copy, value->at, value->len);
}

bool keyway_integer(const keyway_json *value, int64_t *out) {
    const char *digits = number(value);
    if (!digits) return false;
    bool negative = *digits == '-';
    uint64_t sum = 0, most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    for (digits += negative; *digits; digits++) {
        if (*digits < '0' || *digits > '9') return false;
        uint64_t digit = (uint64_t)(*digits - '0');
        if (sum > (most - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    *out = (int64_t)(negative ? 0 - sum : sum);
    return true;
}

bool keyway_number(const keyway_json *value, double *out) {
    const char *digits = number(value);
    if (digits) *out = strtod(digits, NULL);
    return digits != NULL;
}

/* ---- requests ---- */

struct keyway_request {
    keyway_string method, destination, path;
    keyway_pair *headers;
    size_t header_count, header_room;
    bool has_body, is_text;
    keyway_string body;
};

keyway_request *keyway_request_of(keyway_string method, keyway_string destination, keyway_string path) {
    keyway_request *request = keyway_alloc(sizeof *request);
    request->method = method;
    request->destination = destination;
    request->path = path;
    return request;
}

keyway_request *keyway_header_of(keyway_request *request, keyway_string name, keyway_string value) {
    if (request->header_count == request->header_room) {
        request->header_room = request->header_room * 2 + 4;
        keyway_pair *more = keyway_alloc(request->header_room * sizeof *more);
        if (request->header_count) memcpy(more, request->headers, request->header_count * sizeof *more);
        request->headers = more;
    }
    request->headers[request->header_count++] = (keyway_pair){ name, value };
    return request;
}

keyway_request *keyway_query_of(keyway_request *request, keyway_string name, keyway_string value) {
    const char *join = request->path.len && memchr(request->path.ptr, '?', request->path.len) ? "&" : "?";
    request->path = keyway_format("%v%s%u=%u", request->path, join, name, value);
    return request;
}

keyway_request *keyway_body_of(keyway_request *request, bool is_text, keyway_string body, const char *content_type) {
    static const char TYPE[] = "content-type";
    request->has_body = true;
    request->is_text = is_text;
    request->body = body;
    for (size_t i = 0; i < request->header_count; i++) {
        keyway_string name = request->headers[i].name;
        bool same = name.len == sizeof TYPE - 1;
        for (size_t j = 0; same && j < name.len; j++) same = (name.ptr[j] >= 'A' && name.ptr[j] <= 'Z' ? name.ptr[j] | 0x20 : name.ptr[j]) == TYPE[j];
        if (same) return request;
    }
    return keyway_header(request, TYPE, content_type);
}

keyway_request *keyway_json_body(keyway_request *request, const keyway_json *value) {
    return keyway_json_text(request, keyway_format("%j", value));
}

keyway_verdict keyway_send(keyway_request *request) {
    keyway_request **list = keyway_alloc(sizeof *list);
    *list = request;
    return keyway_send_all(list, 1);
}

keyway_verdict keyway_send_all(keyway_request *const *requests, size_t count) {
    return (keyway_verdict){ .kind = 0, .requests = requests, .count = count };
}

/* ---- the host ---- */

void keyway_log(int level, keyway_string line) {
    keyway_transform_log_log((uint8_t)level, &(wire_string){ (uint8_t *)line.ptr, line.len });
}

_Noreturn void keyway_fail_at(keyway_string message, const char *file, int line, const char *function) {
    /* The place first: the host cuts a long line. */
    keyway_error(keyway_format("at %s:%d (%s): %v", file, (long long)line, function, message));
    __builtin_trap();
}

keyway_string keyway_setting_of(keyway_string name) {
    wire_string asked = { (uint8_t *)name.ptr, name.len }, found;
    return keyway_transform_config_get(&asked, &found) ? (keyway_string){ (char *)found.ptr, found.len } : (keyway_string){ 0 };
}

/* The pairs of the contract have the shape of ours. */
_Static_assert(sizeof(keyway_pair) == sizeof(replying_plugin_tuple2_string_string_t), "a pair is two texts");

const keyway_pair *keyway_settings(size_t *count) {
    replying_plugin_list_tuple2_string_string_t all;
    keyway_transform_config_all(&all);
    *count = all.len;
    return (const keyway_pair *)all.ptr;
}

keyway_string keyway_message_header(const keyway_message *m, const char *name) {
    for (size_t i = m->header_count; i-- > 0;) {
        if (keyway_equal(m->headers[i].name, name)) return m->headers[i].value;
    }
    return (keyway_string){ 0 };
}

static keyway_string ours(wire_string text) { return (keyway_string){ text.ptr ? (char *)text.ptr : "", text.len }; }
static wire_string theirs(keyway_string text) { return (wire_string){ (uint8_t *)text.ptr, text.len }; }

static keyway_message message(const keyway_transform_types_message_t *m) {
    return (keyway_message){
        .topic = ours(m->topic),
        .partition = m->partition,
        .offset = m->offset,
        .has_timestamp = m->timestamp.is_some,
        .timestamp = m->timestamp.is_some ? m->timestamp.val : 0,
        .key = m->key.is_some ? ours(m->key.val) : (keyway_string){ 0 },
        .headers = (const keyway_pair *)m->headers.ptr,
        .header_count = m->headers.len,
        .payload = m->payload.is_some ? ours(m->payload.val) : (keyway_string){ 0 },
    };
}

static keyway_transform_types_list_request_t wire(keyway_request *const *requests, size_t count) {
    keyway_transform_types_request_t *out = keyway_alloc(count * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        const keyway_request *r = requests[i];
        out[i].destination = theirs(r->destination);
        out[i].method = theirs(r->method);
        out[i].path = theirs(r->path);
        out[i].headers.ptr = (replying_plugin_tuple2_string_string_t *)r->headers;
        out[i].headers.len = r->header_count;
        out[i].body.is_some = r->has_body;
        out[i].body.val.tag = r->is_text ? KEYWAY_TRANSFORM_TYPES_BODY_TEXT : KEYWAY_TRANSFORM_TYPES_BODY_BYTES;
        out[i].body.val.val.text = theirs(r->body);
    }
    return (keyway_transform_types_list_request_t){ out, count };
}

__attribute__((weak)) keyway_verdict keyway_tombstone(const keyway_message *m) {
    (void)m;
    return keyway_reject("the record is a tombstone (it has no payload)");
}

#ifndef KEYWAY_REPLIES
/* Never called: `keyway build` leaves the export out. Not weak, so that a plugin which does look at replies, without `keyway build` having seen it, is not
 * linked. Where it has seen it, there is none: a plugin that only speaks of the function is not linked either. */
keyway_next_step keyway_on_replies(const keyway_message *m, const keyway_exchange *exchanges, size_t count) {
    (void)m, (void)exchanges, (void)count;
    return keyway_done();
}
#endif

static keyway_verdict answer(const keyway_message *m) {
    if (!m->payload.ptr) return keyway_tombstone(m);
    keyway_string error;
    const keyway_json *payload = keyway_parse(m->payload, &error);
    return payload ? keyway_transform(payload, m) : keyway_reject(keyway_format("payload: %v", error));
}

void exports_keyway_transform_transform_transform(keyway_transform_types_message_t *m, keyway_transform_types_verdict_t *ret) {
    keyway_message record = message(m);
    keyway_verdict verdict = answer(&record);
    ret->tag = (uint8_t)verdict.kind;
    if (verdict.kind == KEYWAY_TRANSFORM_TYPES_VERDICT_SEND) ret->val.send = wire(verdict.requests, verdict.count);
    else ret->val.skip = theirs(verdict.why);
}

void exports_keyway_transform_about_describe(exports_keyway_transform_about_description_t *ret) {
    size_t count = 0;
    while (keyway_plugin.keys && keyway_plugin.keys[count]) count++;
    wire_string *keys = keyway_alloc(count * sizeof *keys);
    for (size_t i = 0; i < count; i++) keys[i] = theirs(keyway_string_of(keyway_plugin.keys[i]));
    ret->name = theirs(keyway_string_of(keyway_plugin.name));
    ret->version = theirs(keyway_string_of(keyway_plugin.version));
    ret->keys.ptr = keys;
    ret->keys.len = count;
    ret->settings_schema.is_some = keyway_plugin.settings_schema != NULL;
    ret->settings_schema.val = theirs(keyway_string_of(keyway_plugin.settings_schema));
}

void exports_keyway_transform_replies_on_replies(
    keyway_transform_types_message_t *m, exports_keyway_transform_replies_list_exchange_t *list, keyway_transform_types_next_t *ret) {
    keyway_message record = message(m);
    keyway_exchange *exchanges = keyway_alloc(list->len * sizeof *exchanges);
    for (size_t i = 0; i < list->len; i++) {
        const keyway_transform_types_exchange_t *e = &list->ptr[i];
        exchanges[i] = (keyway_exchange){
            .destination = ours(e->request.destination),
            .method = ours(e->request.method),
            .path = ours(e->request.path),
            .status = e->status,
            .headers = (const keyway_pair *)e->headers.ptr,
            .header_count = e->headers.len,
            .body = ours(e->body.val.text),
        };
    }
    keyway_next_step next = keyway_on_replies(&record, exchanges, list->len);
    ret->tag = (uint8_t)next.kind;
    switch (next.kind) {
    case KEYWAY_TRANSFORM_TYPES_NEXT_SEND: ret->val.send = wire(next.requests, next.count); break;
    case KEYWAY_TRANSFORM_TYPES_NEXT_RETRY:
        ret->val.retry.is_some = next.has_delay;
        ret->val.retry.val = next.delay;
        break;
    case KEYWAY_TRANSFORM_TYPES_NEXT_REJECT: ret->val.reject = theirs(next.why); break;
    }
}
