"""The SDK for Python: a record's JSON in, requests out.

Owns the way from the contract's types to plain objects and back. Promises that a payload which is not JSON becomes a reject with the
parser's own words, and that an exception which the plugin lets through reaches the log with its place in the source before the call traps.

Imports nothing of the host's, so that a plugin's own tests run in any Python; `keyway.component` is the side towards the host.
"""

from __future__ import annotations

import json as _json
import re as _re
from dataclasses import dataclass, field
from typing import Any, Callable, List, Optional, Tuple, Union

__all__ = [
    "plugin", "on_tombstone", "on_replies", "Message", "Request", "Exchange", "request", "get", "post", "put", "patch", "delete",
    "skip", "reject", "done", "retry", "Skip", "Reject", "Done", "Retry", "segment", "log", "settings",
]


@dataclass
class Message:
    """One record."""

    topic: str = "events"
    partition: int = 0
    offset: int = 0
    #: Milliseconds since the epoch; None when the record carries no timestamp.
    timestamp: Optional[int] = None
    #: The key; None when the record has none that is UTF-8.
    key: Optional[str] = None
    headers: List[Tuple[str, bytes]] = field(default_factory=list)
    #: The payload as it came; None for a tombstone.
    payload: Optional[str] = None
    attributes: List[Tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> Optional[str]:
        """The last header of this name, if its value is UTF-8."""
        for header, value in reversed(self.headers):
            if header == name:
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None

    @property
    def is_tombstone(self) -> bool:
        """Whether the record has no payload, which in a compacted topic says that the key is deleted."""
        return self.payload is None


@dataclass
class Request:
    """One HTTP request, built step by step: `post("orders", "/orders").json(order)`."""

    method: str
    destination: str
    path: str
    headers: List[Tuple[str, str]] = field(default_factory=list)
    body: Union[str, bytes, None] = None

    def header(self, name: str, value: str) -> Request:
        """Adds a header. The host refuses `Host`, `Content-Length`, hop-by-hop headers and names that begin with `keyway-`."""
        self.headers.append((name, value))
        return self

    def query(self, name: str, value: Any) -> Request:
        """Adds `name=value` to the query, both percent-encoded."""
        self.path += f"{'&' if '?' in self.path else '?'}{segment(name)}={segment(value)}"
        return self

    def json(self, body: Any) -> Request:
        """Sets the body to this value as JSON, and `content-type` unless there is one."""
        return self._with(_json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")), "application/json")

    def text(self, body: str) -> Request:
        """Sets the body to this text, and `content-type` unless there is one."""
        return self._with(body, "text/plain; charset=utf-8")

    def bytes(self, body: bytes) -> Request:
        """Sets the body to these bytes, and `content-type` unless there is one."""
        return self._with(body, "application/octet-stream")

    def _with(self, body: Union[str, bytes], content_type: str) -> Request:
        if not any(name.lower() == "content-type" for name, _ in self.headers):
            self.header("content-type", content_type)
        self.body = body
        return self


def request(method: str, destination: str, path: str) -> Request:
    """A request with any method. Path and query begin with `/` and are joined to the destination's base URL."""
    return Request(method.upper(), destination, path)


def get(destination: str, path: str) -> Request:
    """`GET`."""
    return Request("GET", destination, path)


def post(destination: str, path: str) -> Request:
    """`POST`."""
    return Request("POST", destination, path)


def put(destination: str, path: str) -> Request:
    """`PUT`."""
    return Request("PUT", destination, path)


def patch(destination: str, path: str) -> Request:
    """`PATCH`."""
    return Request("PATCH", destination, path)


def delete(destination: str, path: str) -> Request:
    """`DELETE`."""
    return Request("DELETE", destination, path)


@dataclass
class Skip:
    """The record needs nothing."""

    why: str


class Reject(Exception):
    """The record is bad and will stay bad: it becomes a dead letter. Return it or raise it."""


@dataclass
class Done:
    """The record is delivered."""


@dataclass
class Retry:
    """The last requests are to be sent again, after this many milliseconds, or by the destination's own backoff."""

    milliseconds: Optional[int] = None


skip, reject, done, retry = Skip, Reject, Done, Retry


@dataclass
class Exchange:
    """One request that was performed, with its reply."""

    request: Request
    status: int
    headers: List[Tuple[str, str]]
    #: Cut off at the host's cap; a str when it is UTF-8.
    body: Union[str, bytes]


def segment(value: Any) -> str:
    """A value as one segment of a path: everything but `A-Z a-z 0-9 - . _ ~` is percent-encoded, so that a slash in it cannot lead elsewhere."""
    return "".join(chr(b) if chr(b) in _UNRESERVED else f"%{b:02X}" for b in str(value).encode("utf-8", "replace"))


_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class _Log:
    """Lines for the plugin's log. The host cuts long lines and drops what exceeds the plugin's rate; logging never fails."""

    #: Called with the level and the line. Off the host it does nothing; a test may put its own in.
    write: Callable[[str, str], None] = staticmethod(lambda level, line: None)

    def trace(self, line: Any) -> None:
        self.write("trace", str(line))

    def debug(self, line: Any) -> None:
        self.write("debug", str(line))

    def info(self, line: Any) -> None:
        self.write("info", str(line))

    def warn(self, line: Any) -> None:
        self.write("warn", str(line))

    def error(self, line: Any) -> None:
        self.write("error", str(line))


class _Settings:
    """The `[settings]` of the plugin's sidecar file: a string as it is, any other value as JSON."""

    #: All of them, sorted by name. Off the host there are none; a test may put its own in.
    all: Callable[[], List[Tuple[str, str]]] = staticmethod(lambda: [])

    def get(self, name: str) -> Optional[str]:
        """The value under this name."""
        return dict(self.all()).get(name)


log = _Log()
settings = _Settings()


class _Plugin:
    """What the decorators have gathered: one plugin for each component."""

    transform: Optional[Callable[..., Any]] = None
    tombstone: Optional[Callable[..., Any]] = None
    replies: Optional[Callable[..., Any]] = None
    keys: List[str] = []
    name = version = ""
    settings_schema: Optional[dict] = None


_registered = _Plugin()


def plugin(keys: Union[str, List[str], None] = None, *, name: str = "", version: str = "", settings_schema: Optional[dict] = None):
    """Makes a function `(payload, message)` the plugin: it returns a request, a list of them, `skip(why)` or `reject(why)`.

    `keys` are patterns: exact (`order.created`), prefix (`order:*`) or `*`. Without any, the name of the plugin's file is the key.
    """
    if callable(keys):
        return plugin()(keys)

    def register(function):
        _registered.transform = function
        _registered.keys = [keys] if isinstance(keys, str) else list(keys or [])
        _registered.name, _registered.version, _registered.settings_schema = name, version, settings_schema
        return function

    return register


def on_tombstone(function):
    """Makes a function `(message)` handle records without a payload. Without it they are rejected."""
    _registered.tombstone = function
    return function


def on_replies(function):
    """Makes a function `(message, exchanges)` see the replies so far; it returns `done()`, further requests, `retry()` or `reject(why)`."""
    _registered.replies = function
    return function


def parse(text: str) -> Any:
    """JSON. What no other language would take (`NaN`, a lone surrogate) is an error here, too."""
    try:
        # The parser goes down with the nesting, and the stack has an end.
        if text.count("[") + text.count("{") > _DEPTH_MAX:
            _refuse_depth(text)
        if "\\u" in text:
            for escape in _ESCAPES.finditer(text):
                if escape[1]:
                    raise ValueError(f"lone surrogate {escape[0]}")
        return _json.loads(text, parse_constant=_constant, parse_float=_float)
    except (ValueError, RecursionError) as error:
        raise Reject(f"payload: {error}") from error


_ESCAPES = _re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", _re.DOTALL)


#: As deep as serde_json goes in a plugin in Rust.
_DEPTH_MAX = 127
_BRACKETS = _re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|([\[{])|[\]}]', _re.DOTALL)


def _refuse_depth(text: str) -> None:
    depth = 0
    for token in _BRACKETS.finditer(text):
        if token[1]:
            depth += 1
        elif token[0][0] != '"':
            depth -= 1
        if depth > _DEPTH_MAX:
            raise ValueError(f"nested more than {_DEPTH_MAX} deep at char {token.start()}")


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"number {text} is out of range")
    return number


def handle(message: Message) -> Union[List[Request], Skip]:
    """One record through the plugin, as the host would do it.

    Raises `Reject` for a bad record, and whatever the plugin lets through.
    """
    if message.payload is not None:
        answer = _registered.transform(parse(message.payload), message)
    elif _registered.tombstone:
        answer = _registered.tombstone(message)
    else:
        raise Reject("the record is a tombstone (it has no payload)")
    return answer if isinstance(answer, Skip) else requests(answer, "the plugin", "a request, a list of requests, skip() or reject()")


def requests(answer: Any, who: str, accepted: str) -> List[Request]:
    """The requests of an answer."""
    if isinstance(answer, Reject):
        raise answer
    found = answer if isinstance(answer, (list, tuple)) else [answer]
    for one in found:
        if not isinstance(one, Request):
            raise TypeError(f"{who} returned {type(one).__name__}; it returns {accepted}")
    return list(found)
