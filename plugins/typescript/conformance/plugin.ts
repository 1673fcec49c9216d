// The plugin of the conformance tests: `do` says what to do with `value`. The same in every language.
import { del, done, encode, type Exchange, get, log, type Message, plugin, post, put, reject, retry, segment, settings, skip } from "keyway";

interface Order { do: string; value: any }

export default plugin<Order | null>({
  name: "conformance",
  version: "1.0.0",
  keys: ["conformance:*"],
  transform(order: Order | null, m: Message) {
    const { do: what, value } = order ?? { do: "nothing", value: null };
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
        throw new Error(value); // it fails here
      case "setting":
        return post("sink", "/setting").json({ one: settings.get(value) ?? null, all: settings.all() });
      case "log":
        for (const level of ["trace", "debug", "info", "warn", "error"] as const) log[level](value);
        return skip("logged");
      case "no-form":
        return post("sink", "/no-form").json(() => value);
    }
    return reject(`cannot do ${what}`);
  },
  tombstone: (m: Message) => del("sink", `/tombstone/${segment(m.key)}`),
  onReplies(m: Message, exchanges: Exchange[]) {
    const { request, status, headers, body } = exchanges[exchanges.length - 1]!;
    const seen = `${m.key} ${request.method} ${request.destination} ${request.path} ${status} ${headers.map(([name, value]) => `${name}=${value}`)} ${body}`;
    switch (status) {
      case 200:
        return done();
      case 201:
        return post("sink", `/next/${exchanges.length}`).text(seen);
      case 202:
        return [post("sink", "/bytes").bytes(typeof body === "string" ? encode(body) : body), del("sink", "/second")];
      case 400:
        return reject(seen);
      case 503:
        return retry(1500);
      case 504:
        return retry();
    }
    throw new Error(`the sky fell at ${status}`); // the replies fail here
  },
});
