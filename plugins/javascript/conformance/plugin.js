// The plugin of the conformance tests: `do` says what to do with `value`. The same in every language.
import { del, get, log, plugin, post, put, reject, segment, settings, skip } from "keyway";

export default plugin({
  name: "conformance",
  version: "1.0.0",
  keys: ["conformance:*"],
  transform(order, m) {
    const { do: what, value } = order ?? {};
    switch (what) {
      case "echo": {
        const { topic, partition, offset, timestamp = null, key = null } = m;
        return post("sink", "/echo").json({ topic, partition, offset, timestamp, key, header: m.header("a") ?? null, value });
      }
      case "text":
        return post("sink", "/text").text(value);
      case "bytes":
        return post("sink", "/bytes").bytes(Uint8Array.from(value));
      case "many":
        return Array.from({ length: value }, (_, i) => get("sink", `/many/${i}`));
      case "path":
        return put("sink", `/path/${segment(value)}`).query("q", value).header("x-a", "b");
      case "skip":
        return skip(value);
      case "reject":
        return reject(value);
      case "fail":
        throw new Error(value);
      case "setting":
        return post("sink", "/setting").json({ one: settings.get(value) ?? null, all: settings.all() });
      case "log":
        for (const level of ["trace", "debug", "info", "warn", "error"]) log[level](value);
        return skip("logged");
    }
    return reject(`cannot do ${what}`);
  },
  tombstone: (m) => del("sink", `/tombstone/${segment(m.key)}`),
});
