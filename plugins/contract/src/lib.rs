//! Uses every function and every case of the contract. What it is compiled to when a version of the contract is released stays in
//! `tests/fixtures/` for ever, and every later host has to serve it: see `wit/README.md`.

use keyway_sdk::log::{self, Level};
use keyway_sdk::*;

/// By the key: `contract:send` tells all that it sees of the message, in a text and in bytes; `contract:skip`, `contract:reject`, and `contract:log`.
#[plugin(keys = ["contract:*", "contract"], settings_schema = r#"{"type":"object"}"#)]
fn contract(m: &Message) -> Verdict {
    match m.key_text() {
        "contract:skip" => Verdict::skip("skipped"),
        "contract:reject" => Verdict::Reject("rejected".to_owned()),
        "contract:log" => {
            for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
                log::write(level, format_args!("{level:?}"));
            }
            Verdict::skip("logged")
        }
        _ => {
            let Message { topic, partition, offset, timestamp, key, headers, payload, attributes: _ } = m;
            let text = format!("{topic} {partition} {offset} {timestamp:?} {key:?} {headers:?} {payload:?}");
            let mut told = Request::post("text", "/").text(text).header("setting", setting("one").unwrap_or_default());
            told.headers.extend(settings());
            told.attributes.push(("unknown".to_owned(), "ignored".to_owned()));
            Verdict::send([told, Request::put("bytes", "/?q").bytes([0, 0xff]), Request::delete("nothing", "/")])
        }
    }
}

/// By the last status: every case of `next`.
#[on_replies]
fn next(exchanges: &[Exchange]) -> Next {
    let Some(last) = exchanges.last() else { return Next::Done };
    match last.status {
        200 => Next::Done,
        201 => Next::send([Request::get("next", format!("/{}", exchanges.len()))]),
        202 => {
            let Exchange { request, status, headers, body } = last;
            Next::Reject(format!("{} {} {status} {headers:?} {body:?}", request.method, request.path))
        }
        503 => Next::Retry(Some(1500)),
        _ => Next::Retry(None),
    }
}
