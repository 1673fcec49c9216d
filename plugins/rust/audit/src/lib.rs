//! Whatever is published under `audit:…` goes to the audit service as it is, with where it stood in Kafka. The destination is the setting
//! `destination`, or `audit`.

use keyway_sdk::*;

#[plugin(keys = "audit:*")]
fn audit(m: &Message) -> Verdict {
    let Some(payload) = &m.payload else { return Verdict::skip("deleted") };
    let destination = setting("destination").unwrap_or_else(|| "audit".to_owned());
    let path = format!("/entries/{}/{}/{}", segment(&m.topic), m.partition, m.offset);
    Verdict::send([Request::put(destination, path).header("content-type", "application/json").text(payload)])
}
