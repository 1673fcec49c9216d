#include <keyway.h>

const keyway_about keyway_plugin = { .keys = (const char *[]){ "NAME:*", NULL } };

keyway_verdict keyway_transform(const keyway_json *order, const keyway_message *m) {
    int64_t id;
    if (!keyway_integer(keyway_get(order, "id"), &id)) return keyway_reject("an order without an id");
    keyway_string path = keyway_format("/orders/%d", (long long)id);
    return keyway_send(keyway_json_body(keyway_put("orders", path), order));
}
