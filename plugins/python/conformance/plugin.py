"""The plugin of the conformance tests: `do` says what to do with `value`. The same in every language."""

from keyway import delete, done, get, log, on_replies, on_tombstone, plugin, post, put, reject, retry, segment, settings, skip


@plugin(name="conformance", version="1.0.0", keys=["conformance:*"])
def transform(order, m):
    if not isinstance(order, dict):
        return reject("the payload is no object")
    what, value = order.get("do"), order.get("value")
    if what == "echo":
        seen = {"topic": m.topic, "partition": m.partition, "offset": m.offset, "timestamp": m.timestamp, "key": m.key}
        return post("sink", "/echo").json({**seen, "header": m.header("a"), "value": value})
    if what == "text":
        return post("sink", "/text").text(value)
    if what == "bytes":
        return post("sink", "/bytes").bytes(bytes(value))
    if what == "many":
        return [get("sink", f"/many/{i}") for i in range(value)]
    if what == "path":
        return put("sink", f"/path/{segment(value)}").query("q", value).header("x-a", "b")
    if what == "skip":
        return skip(value)
    if what == "reject":
        return reject(value)
    if what == "fail":
        raise RuntimeError(value)  # it fails here
    if what == "setting":
        return post("sink", "/setting").json({"one": settings.get(value), "all": settings.all()})
    if what == "log":
        for write in (log.trace, log.debug, log.info, log.warn, log.error):
            write(value)
        return skip("logged")
    if what == "no-form":
        return post("sink", "/no-form").json(float("inf"))
    return reject(f"cannot do {what}")


@on_tombstone
def deleted(m):
    return delete("sink", f"/tombstone/{segment(m.key)}")


@on_replies
def replied(m, exchanges):
    last = exchanges[-1]
    request, body = last.request, last.body
    headers = ",".join(f"{name}={value}" for name, value in last.headers)
    seen = f"{m.key} {request.method} {request.destination} {request.path} {last.status} {headers} {body}"
    if last.status == 200:
        return done()
    if last.status == 201:
        return post("sink", f"/next/{len(exchanges)}").text(seen)
    if last.status == 202:
        return [post("sink", "/bytes").bytes(body.encode() if isinstance(body, str) else body), delete("sink", "/second")]
    if last.status == 400:
        return reject(seen)
    if last.status == 503:
        return retry(1500)
    if last.status == 504:
        return retry()
    raise RuntimeError(f"the sky fell at {last.status}")  # the replies fail here
