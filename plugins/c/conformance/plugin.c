/* The plugin of the conformance tests: `do` says what to do with `value`. The same in every language. */
#include <keyway.h>

const keyway_about keyway_plugin = { .name = "conformance", .version = "1.0.0", .keys = (const char *[]){ "conformance:*", NULL } };

/* A text as JSON, `null` when it is not there. */
static keyway_string quoted(keyway_string text) {
    return text.ptr ? keyway_format("%q", text) : keyway_format("null");
}

static keyway_verdict echo(const keyway_json *value, const keyway_message *m) {
    keyway_string timestamp = m->has_timestamp ? keyway_format("%d", (long long)m->timestamp) : keyway_format("null");
    keyway_string body = keyway_format(
        "{\"topic\":%q,\"partition\":%d,\"offset\":%d,\"timestamp\":%v,\"key\":%v,\"header\":%v,\"value\":%j}", m->topic, (long long)m->partition,
        (long long)m->offset, timestamp, quoted(m->key), quoted(keyway_message_header(m, "a")), value);
    return keyway_send(keyway_json_text(keyway_post("sink", "/echo"), body));
}

static keyway_verdict bytes(const keyway_json *value) {
    size_t len = 0;
    char *body = keyway_alloc(keyway_count(value));
    for (const keyway_json *byte = keyway_first(value); byte; byte = keyway_next(byte)) {
        int64_t number;
        if (!keyway_integer(byte, &number)) return keyway_reject("a byte is a number");
        body[len++] = (char)number;
    }
    keyway_string all = { body, len };
    return keyway_send(keyway_bytes_body(keyway_post("sink", "/bytes"), all));
}

static keyway_verdict many(const keyway_json *value) {
    int64_t count;
    if (!keyway_integer(value, &count)) return keyway_reject("a count is a number");
    keyway_request **all = keyway_alloc((size_t)count * sizeof *all);
    for (int64_t i = 0; i < count; i++) all[i] = keyway_get_request("sink", keyway_format("/many/%d", (long long)i));
    return keyway_send_all(all, (size_t)count);
}

static keyway_verdict setting(keyway_string name) {
    size_t count;
    const keyway_pair *all = keyway_settings(&count);
    keyway_string list = keyway_format("");
    for (size_t i = 0; i < count; i++) list = keyway_format("%v%s[%q,%q]", list, i ? "," : "", all[i].name, all[i].value);
    keyway_string one = quoted(keyway_setting(name));
    return keyway_send(keyway_json_text(keyway_post("sink", "/setting"), keyway_format("{\"one\":%v,\"all\":[%v]}", one, list)));
}

keyway_verdict keyway_transform(const keyway_json *order, const keyway_message *m) {
    keyway_string what = keyway_text(keyway_get(order, "do"));
    const keyway_json *value = keyway_get(order, "value");
    keyway_string text = keyway_text(value);
    if (keyway_equal(what, "echo")) return echo(value, m);
    if (keyway_equal(what, "text")) return keyway_send(keyway_text_body(keyway_post("sink", "/text"), text));
    if (keyway_equal(what, "bytes")) return bytes(value);
    if (keyway_equal(what, "many")) return many(value);
    if (keyway_equal(what, "path")) {
        keyway_request *request = keyway_put("sink", keyway_format("/path/%u", text));
        return keyway_send(keyway_header(keyway_query(request, "q", text), "x-a", "b"));
    }
    if (keyway_equal(what, "skip")) return keyway_skip(text);
    if (keyway_equal(what, "reject")) return keyway_reject(text);
    if (keyway_equal(what, "fail")) keyway_fail(text); /* it fails here */
    if (keyway_equal(what, "setting")) return setting(text);
    if (keyway_equal(what, "log")) {
        for (int level = 0; level < 5; level++) keyway_log(level, text);
        return keyway_skip("logged");
    }
    if (keyway_equal(what, "no-form")) return keyway_reject("there is no such value in C");
    return keyway_reject(keyway_format("cannot do %v", what));
}

keyway_verdict keyway_tombstone(const keyway_message *m) {
    return keyway_send(keyway_delete("sink", keyway_format("/tombstone/%u", m->key)));
}

keyway_next_step keyway_on_replies(const keyway_message *m, const keyway_exchange *exchanges, size_t count) {
    const keyway_exchange *last = &exchanges[count - 1];
    keyway_string headers = keyway_format("");
    for (size_t i = 0; i < last->header_count; i++) {
        headers = keyway_format("%v%s%v=%v", headers, i ? "," : "", last->headers[i].name, last->headers[i].value);
    }
    keyway_string seen = keyway_format(
        "%v %v %v %v %d %v %v", m->key, last->method, last->destination, last->path, (long long)last->status, headers, last->body);
    keyway_request **next = keyway_alloc(2 * sizeof *next);
    switch (last->status) {
    case 200: return keyway_done();
    case 201: next[0] = keyway_text_body(keyway_post("sink", keyway_format("/next/%d", (long long)count)), seen); return keyway_more(next, 1);
    case 202:
        next[0] = keyway_bytes_body(keyway_post("sink", "/bytes"), last->body);
        next[1] = keyway_delete("sink", "/second");
        return keyway_more(next, 2);
    case 400: return keyway_give_up(seen);
    case 503: return keyway_retry_after(1500);
    case 504: return keyway_retry();
    }
    keyway_fail(keyway_format("the sky fell at %d", (long long)last->status)); /* the replies fail here */
}
