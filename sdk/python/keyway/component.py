"""The side towards the host: the classes that componentize-py looks for, made of what the plugin has registered."""

import json
import sys

import keyway
from wit_world.exports.about import Description
from wit_world.imports import config
from wit_world.imports import log as host_log
from wit_world.imports import types

_LEVELS = {
    "trace": host_log.Level.TRACE,
    "debug": host_log.Level.DEBUG,
    "info": host_log.Level.INFO,
    "warn": host_log.Level.WARN,
    "error": host_log.Level.ERROR,
}


class Transform:
    """The contract's `transform`."""

    def transform(self, m: types.Message) -> types.Verdict:
        return _guard(_transform, types.Verdict_Reject, m)


class About:
    """The contract's `about`."""

    def describe(self) -> Description:
        found = keyway._registered
        schema = None if found.settings_schema is None else json.dumps(found.settings_schema)
        return Description(found.name, found.version, found.keys, schema)


class Replies:
    """The contract's `replies`."""

    def on_replies(self, m: types.Message, exchanges) -> types.Next:
        return _guard(_on_replies, types.Next_Reject, m, exchanges)


def _transform(m):
    answer = keyway.handle(_message(m))
    return types.Verdict_Skip(_text(answer.why)) if isinstance(answer, keyway.Skip) else types.Verdict_Send(_requests(answer))


def _on_replies(m, exchanges):
    answer = keyway._registered.replies(_message(m), [_exchange(e) for e in exchanges])
    if isinstance(answer, keyway.Done):
        return types.Next_Done()
    if isinstance(answer, keyway.Retry):
        return types.Next_Retry(None if answer.milliseconds is None else max(0, round(answer.milliseconds)))
    accepted = "done(), a request, a list of requests, retry() or reject()"
    return types.Next_Send(_requests(keyway.requests(answer, "on_replies", accepted)))


def _guard(call, rejected, *arguments):
    """A raised reject is a verdict. Any other exception is the plugin's own fault: it is logged with its place, and the call traps."""
    keyway.log.write = lambda level, line: host_log.log(_LEVELS[level], _text(line))
    keyway.settings.all = config.all
    try:
        return call(*arguments)
    except keyway.Reject as reject:
        return rejected(_text(str(reject)))
    except BaseException as error:
        # The place first: the host cuts a long line.
        places = _places(error.__traceback__)
        keyway.log.error(f"{places}: {type(error).__name__}: {error}" if places else f"{type(error).__name__}: {error}")
        raise


def _places(trace):
    """The places in the plugin's own files, innermost first. By hand: `traceback` reads the source, and there are no files."""
    places = []
    while trace:
        code = trace.tb_frame.f_code
        if "/keyway/" not in code.co_filename:
            places.insert(0, f"at {_short(code.co_filename)}:{trace.tb_lineno} ({code.co_name})")
        trace = trace.tb_next
    return " ".join(places[:8])


def _short(path):
    """The file's name as it is in the project: componentize-py mounts each folder of the search path as `/N`."""
    for folder in sorted(sys.path, key=len, reverse=True):
        if folder and path.startswith(folder + "/"):
            return path[len(folder) + 1 :]
    return path


def _message(m):
    return keyway.Message(m.topic, m.partition, m.offset, m.timestamp, m.key, m.headers, m.payload, m.attributes)


def _requests(requests):
    return [
        types.Request(r.destination, r.method, _text(r.path), [(name, _text(str(value))) for name, value in r.headers], _body(r.body), [])
        for r in requests
    ]


def _body(body):
    if body is None:
        return None
    return types.Body_Text(_text(body)) if isinstance(body, str) else types.Body_Bytes(bytes(body))


def _exchange(e):
    request = keyway.Request(e.request.method, e.request.destination, e.request.path, e.request.headers, e.request.body and e.request.body.value)
    return keyway.Exchange(request, e.status, e.headers, e.body.value)


def _text(text):
    """What has no form in UTF-8, a lone surrogate, becomes U+FFFD."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
