//! The plugin of the conformance tests: `do` says what to do with `value`. The same in every language.

use std::collections::BTreeMap;
use std::time::Duration;

use keyway_sdk::*;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Order {
    r#do: String,
    #[serde(default)]
    value: Value,
}

#[plugin(keys = "conformance:*")]
fn conformance(order: Option<Json<Order>>, m: &Message) -> Result<Verdict, Reject> {
    let Some(Json(Order { r#do: what, value })) = order else {
        return Ok(Verdict::send([Request::delete("sink", format!("/tombstone/{}", segment(m.key_text())))]));
    };
    let text = value.as_str().unwrap_or_default();
    Ok(match what.as_str() {
        "echo" => {
            let Message { topic, partition, offset, timestamp, key, .. } = m;
            let seen = json!({ "topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp, "key": key,
                "header": m.header("a"), "value": value });
            Verdict::send([Request::post("sink", "/echo").json(&seen)?])
        }
        "text" => Verdict::send([Request::post("sink", "/text").text(text)]),
        "bytes" => {
            let bytes: Vec<u8> = serde_json::from_value(value)?;
            Verdict::send([Request::post("sink", "/bytes").bytes(bytes)])
        }
        "many" => Verdict::send((0..value.as_u64().unwrap_or(0)).map(|i| Request::get("sink", format!("/many/{i}")))),
        "path" => Verdict::send([Request::put("sink", format!("/path/{}", segment(text))).query("q", text).header("x-a", "b")]),
        "skip" => Verdict::skip(text),
        "reject" => return Err(Reject::new(text)),
        "fail" => panic!("{text}"), // it fails here
        "setting" => Verdict::send([Request::post("sink", "/setting").json(&json!({ "one": setting(text), "all": settings() }))?]),
        "log" => {
            log::trace!("{text}");
            log::debug!("{text}");
            log::info!("{text}");
            log::warn!("{text}");
            log::error!("{text}");
            Verdict::skip("logged")
        }
        "no-form" => Verdict::send([Request::post("sink", "/no-form").json(&BTreeMap::from([((1, 2), 3)]))?]),
        other => return Err(Reject::new(format!("cannot do {other}"))),
    })
}

#[on_replies]
fn replied(m: &Message, exchanges: &[Exchange]) -> Result<Next, Reject> {
    let Some(Exchange { request, status, headers, body }) = exchanges.last() else { return Ok(Next::Done) };
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let bytes = match body {
        Body::Text(text) => text.as_bytes(),
        Body::Bytes(bytes) => bytes,
    };
    let Request { method, destination, path, .. } = request;
    let seen = format!("{} {method} {destination} {path} {status} {} {}", m.key_text(), headers.join(","), String::from_utf8_lossy(bytes));
    Ok(match status {
        200 => Next::Done,
        201 => Next::send([Request::post("sink", format!("/next/{}", exchanges.len())).text(seen)]),
        202 => Next::send([Request::post("sink", "/bytes").bytes(bytes), Request::delete("sink", "/second")]),
        400 => return Err(Reject::new(seen)),
        503 => Next::retry_after(Duration::from_millis(1500)),
        504 => Next::Retry(None),
        other => panic!("the sky fell at {other}"), // the replies fail here
    })
}
