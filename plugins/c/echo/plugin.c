/* Sends every record as it came, digit for digit, to the destination that the setting `to` names (`echo` without it), under its place in Kafka. */
#include <keyway.h>

const keyway_about keyway_plugin = { .name = "echo", .version = "1.0.0", .keys = (const char *[]){ "echo:*", NULL } };

static keyway_request *entry(const char *method, const keyway_message *m) {
    keyway_string to = keyway_setting("to");
    if (!to.ptr) to = keyway_format("echo");
    return keyway_request_new(method, to, keyway_format("/%u/%d/%d", m->topic, (long long)m->partition, (long long)m->offset));
}

keyway_verdict keyway_transform(const keyway_json *payload, const keyway_message *m) {
    keyway_request *request = keyway_json_body(entry("PUT", m), payload);
    return keyway_send(m->key.ptr ? keyway_query(request, "key", m->key) : request);
}

/* A record without a payload says that there is nothing any more. */
keyway_verdict keyway_tombstone(const keyway_message *m) {
    return keyway_send(keyway_query(entry("DELETE", m), "key", m->key));
}
