"""Without the SDK: what `componentize-py` takes, against the contract as it is."""

# `socket` looks for it by name when it is given a host, and nothing can be imported once the component is made.
import encodings.idna  # noqa: F401
import json
import socket

from wit_world import exports
from wit_world.imports import types


class Transform(exports.Transform):
    def transform(self, m: types.Message) -> types.Verdict:
        try:
            order = json.loads(m.payload or "null")
        except ValueError as error:
            return types.Verdict_Reject(f"payload: {error}")
        if isinstance(order, dict) and order.get("do") == "connect":
            # What no plugin can do, tried: and an answer is not to be had by catching it either.
            try:
                socket.create_connection(("127.0.0.1", order["port"]), timeout=1)
            except Exception:
                return types.Verdict_Skip("no connection")
        body = types.Body_Text(json.dumps(order))
        return types.Verdict_Send([types.Request("sink", "POST", "/echo", [("content-type", "application/json")], body, [])])
