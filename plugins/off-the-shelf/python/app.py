"""Without the SDK: what `componentize-py` takes, against the contract as it is."""

import json

from wit_world import exports
from wit_world.imports import types


class Transform(exports.Transform):
    def transform(self, m: types.Message) -> types.Verdict:
        try:
            order = json.loads(m.payload or "null")
        except ValueError as error:
            return types.Verdict_Reject(f"payload: {error}")
        body = types.Body_Text(json.dumps(order))
        return types.Verdict_Send([types.Request("sink", "POST", "/echo", [("content-type", "application/json")], body, [])])
