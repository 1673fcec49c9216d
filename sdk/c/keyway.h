/* The SDK for C: a record's JSON in, requests out.
 *
 * A plugin is one constant and one function:
 *
 *     const keyway_about keyway_plugin = { .keys = (const char *[]){ "order:*", NULL } };
 *
 *     keyway_verdict keyway_transform(const keyway_json *order, const keyway_message *m) {
 *         keyway_string id = keyway_text(keyway_get(order, "id"));
 *         keyway_request *request = keyway_post("orders", keyway_format("/orders/%u", id));
 *         return keyway_send(keyway_json_body(request, order));
 *     }
 *
 * All memory that these functions give belongs to the call: nothing is freed by hand, and nothing outlives the record.
 * Wherever a text is taken, it may be a `const char *` or a `keyway_string`. */
#ifndef KEYWAY_H
#define KEYWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text or bytes. A text is UTF-8 and may hold any character, NUL too. `ptr` is NULL for what is not there. */
typedef struct {
    const char *ptr;
    size_t len;
} keyway_string;

keyway_string keyway_string_of(const char *text);
static inline keyway_string keyway_same(keyway_string text) { return text; }
#define KEYWAY_S(text) (_Generic((text), keyway_string: keyway_same, char *: keyway_string_of, const char *: keyway_string_of)(text))

bool keyway_equal_strings(keyway_string a, keyway_string b);
#define keyway_equal(a, b) keyway_equal_strings(KEYWAY_S(a), KEYWAY_S(b))

/* ---- the plugin ---- */

/* What the plugin says of itself. */
typedef struct {
    /* Patterns of the keys that it handles, then NULL: exact (`order.created`), prefix (`order:*`) or `*`. NULL: its file's name is the key. */
    const char **keys;
    /* For people. */
    const char *name, *version;
    /* A JSON Schema for the plugin's `[settings]`. */
    const char *settings_schema;
} keyway_about;

typedef struct {
    keyway_string name, value;
} keyway_pair;

/* One record. */
typedef struct {
    keyway_string topic;
    uint32_t partition;
    uint64_t offset;
    bool has_timestamp;
    /* Milliseconds since the epoch. */
    uint64_t timestamp;
    /* Not there when the record has none that is UTF-8. */
    keyway_string key;
    const keyway_pair *headers;
    size_t header_count;
    /* As it came; not there for a tombstone. */
    keyway_string payload;
} keyway_message;

/* The last header of this name, as it is. */
keyway_string keyway_message_header(const keyway_message *m, const char *name);

typedef struct keyway_json keyway_json;
typedef struct keyway_request keyway_request;

/* What is to be done. Made by keyway_send, keyway_send_all, keyway_skip and keyway_reject. */
typedef struct {
    int kind;
    keyway_string why;
    keyway_request *const *requests;
    size_t count;
} keyway_verdict;

/* Written by the plugin. */
extern const keyway_about keyway_plugin;
keyway_verdict keyway_transform(const keyway_json *payload, const keyway_message *m);
/* Written by the plugin if it handles records without a payload; without it they are rejected. */
keyway_verdict keyway_tombstone(const keyway_message *m);

/* Perform these requests, in this order. */
keyway_verdict keyway_send(keyway_request *request);
keyway_verdict keyway_send_all(keyway_request *const *requests, size_t count);
/* The record needs nothing. */
#define keyway_skip(reason) ((keyway_verdict){ .kind = 1, .why = KEYWAY_S(reason) })
/* The record is bad and will stay bad: it becomes a dead letter. */
#define keyway_reject(reason) ((keyway_verdict){ .kind = 2, .why = KEYWAY_S(reason) })
/* The plugin itself is at fault: the message is logged with its place in the source, and the call traps. */
#define keyway_fail(message) keyway_fail_at(KEYWAY_S(message), __FILE__, __LINE__, __func__)
_Noreturn void keyway_fail_at(keyway_string message, const char *file, int line, const char *function);

/* ---- requests ---- */

keyway_request *keyway_request_of(keyway_string method, keyway_string destination, keyway_string path);
/* A request with any method, in upper case. Path and query begin with `/` and are joined to the destination's base URL. */
#define keyway_request_new(method, destination, path) keyway_request_of(KEYWAY_S(method), KEYWAY_S(destination), KEYWAY_S(path))
#define keyway_get_request(destination, path) keyway_request_new("GET", destination, path)
#define keyway_post(destination, path) keyway_request_new("POST", destination, path)
#define keyway_put(destination, path) keyway_request_new("PUT", destination, path)
#define keyway_patch(destination, path) keyway_request_new("PATCH", destination, path)
#define keyway_delete(destination, path) keyway_request_new("DELETE", destination, path)

/* The following change the request that they are given, and give it back. */

keyway_request *keyway_header_of(keyway_request *request, keyway_string name, keyway_string value);
/* Adds a header. The host refuses `Host`, `Content-Length`, hop-by-hop headers and names that begin with `keyway-`. */
#define keyway_header(request, name, value) keyway_header_of(request, KEYWAY_S(name), KEYWAY_S(value))
keyway_request *keyway_query_of(keyway_request *request, keyway_string name, keyway_string value);
/* Adds `name=value` to the query, both percent-encoded. */
#define keyway_query(request, name, value) keyway_query_of(request, KEYWAY_S(name), KEYWAY_S(value))
keyway_request *keyway_body_of(keyway_request *request, bool is_text, keyway_string body, const char *content_type);
/* Sets the body to this value, digit for digit as it came, and `content-type` unless there is one. */
keyway_request *keyway_json_body(keyway_request *request, const keyway_json *value);
/* Sets the body to this text of JSON, and `content-type` unless there is one. */
#define keyway_json_text(request, body) keyway_body_of(request, true, KEYWAY_S(body), "application/json")
/* Sets the body to this text, and `content-type` unless there is one. */
#define keyway_text_body(request, body) keyway_body_of(request, true, KEYWAY_S(body), "text/plain; charset=utf-8")
/* Sets the body to these bytes, and `content-type` unless there is one. */
#define keyway_bytes_body(request, body) keyway_body_of(request, false, KEYWAY_S(body), "application/octet-stream")

/* Text put together: `%s` takes a `const char *`; `%v` a keyway_string; `%u` a keyway_string, percent-encoded as one segment of a path; `%q` a
 * keyway_string, as a string of JSON; `%j` a keyway_json, as it came; `%d` a long long; `%%` is a percent sign. */
keyway_string keyway_format(const char *format, ...);
keyway_string keyway_segment_of(keyway_string value);
/* A value as one segment of a path: everything but `A-Z a-z 0-9 - . _ ~` is percent-encoded, so that a slash in it cannot lead elsewhere. */
#define keyway_segment(value) keyway_segment_of(KEYWAY_S(value))
/* Room for the call's own use, aligned to 8, zeroed. */
void *keyway_alloc(size_t size);

/* ---- JSON ---- */

/* Every function takes NULL, and gives NULL or nothing for it, so look-ups can be chained. */

/* The member of an object under this name, or NULL. */
const keyway_json *keyway_get(const keyway_json *object, const char *name);
/* The element of an array at this place, or NULL. */
const keyway_json *keyway_at(const keyway_json *array, size_t index);
/* How many members or elements there are. */
size_t keyway_count(const keyway_json *value);
/* The first of them, and the one after. */
const keyway_json *keyway_first(const keyway_json *value);
const keyway_json *keyway_next(const keyway_json *value);
/* A member's own name. */
keyway_string keyway_name(const keyway_json *member);
/* A string's text; not there for any other value. */
keyway_string keyway_text(const keyway_json *value);
/* Whether it is `true`. */
bool keyway_is_true(const keyway_json *value);
bool keyway_is_null(const keyway_json *value);
/* A number; false when it is none that fits. */
bool keyway_integer(const keyway_json *value, int64_t *out);
bool keyway_number(const keyway_json *value, double *out);
/* The value as it came, for numbers with more digits than any type holds. */
keyway_string keyway_raw(const keyway_json *value);
/* Reads a text. On failure NULL, with the reason. */
const keyway_json *keyway_parse(keyway_string text, keyway_string *error);

/* ---- log and settings ---- */

void keyway_log(int level, keyway_string line);
/* Lines for the plugin's log. The host cuts long lines and drops what exceeds the plugin's rate; logging never fails. */
#define keyway_trace(line) keyway_log(0, KEYWAY_S(line))
#define keyway_debug(line) keyway_log(1, KEYWAY_S(line))
#define keyway_info(line) keyway_log(2, KEYWAY_S(line))
#define keyway_warn(line) keyway_log(3, KEYWAY_S(line))
#define keyway_error(line) keyway_log(4, KEYWAY_S(line))

/* The value under this name in the `[settings]` of the plugin's sidecar file: a string as it is, any other value as JSON. */
keyway_string keyway_setting_of(keyway_string name);
#define keyway_setting(name) keyway_setting_of(KEYWAY_S(name))
/* All of them, sorted by name. */
const keyway_pair *keyway_settings(size_t *count);

/* ---- replies ---- */

/* One request that was performed, with its reply. */
typedef struct {
    keyway_string destination, method, path;
    int status;
    const keyway_pair *headers;
    size_t header_count;
    /* Cut off at the host's cap. */
    keyway_string body;
} keyway_exchange;

/* What to do after replies. */
typedef struct {
    int kind;
    keyway_string why;
    keyway_request *const *requests;
    size_t count;
    bool has_delay;
    uint64_t delay;
} keyway_next_step;

/* Written by the plugin if it looks at replies: it sees all so far, whatever their status. */
keyway_next_step keyway_on_replies(const keyway_message *m, const keyway_exchange *exchanges, size_t count);

/* The record is delivered. */
#define keyway_done() ((keyway_next_step){ .kind = 0 })
/* Perform these further requests. */
#define keyway_more(all, how_many) ((keyway_next_step){ .kind = 1, .requests = (all), .count = (how_many) })
/* Send the last requests again, by the destination's own backoff, or after this many milliseconds. */
#define keyway_retry() ((keyway_next_step){ .kind = 2 })
#define keyway_retry_after(milliseconds) ((keyway_next_step){ .kind = 2, .has_delay = true, .delay = (milliseconds) })
/* Give the record up. */
#define keyway_give_up(reason) ((keyway_next_step){ .kind = 3, .why = KEYWAY_S(reason) })

#endif
