//! A plugin's own cases: a message in, a verdict out.
//!
//! The form of a file in `NAME.cases/`:
//!
//! ```json
//! {
//!   "message": { "key": "order:1", "payload": { "id": 1 } },
//!   "expect": { "send": [ { "destination": "orders", "method": "POST", "path": "/orders", "body": { "id": 1 } } ] }
//! }
//! ```
//!
//! Of a request, `headers` and `body` are compared only if they are given: headers by name, others may be there; a body as JSON, or, when it is
//! given as a string, as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::outcome::{Request, Verdict};
use crate::record::{Assignment, AssignmentId, Record};

/// One case.
#[derive(Debug)]
pub struct Case {
    /// What goes in.
    pub record: Record,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(default = "topic")]
    topic: String,
    #[serde(default)]
    partition: u32,
    #[serde(default)]
    offset: u32,
    timestamp: Option<i64>,
    key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    payload: Option<Box<RawValue>>,
}

fn topic() -> String {
    "events".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    send: Option<Vec<ExpectedRequest>>,
    skip: Option<Words>,
    reject: Option<Words>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRequest {
    destination: String,
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
}

/// `true` for any words, or the words.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
enum Words {
    Any,
    These(String),
}

impl TryFrom<Value> for Words {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Words, &'static str> {
        match value {
            Value::Bool(true) => Ok(Words::Any),
            Value::String(text) => Ok(Words::These(text)),
            _ => Err("expected the words as a string, or `true` for any"),
        }
    }
}

/// Reads a message: the record that a case, or a file for `keyway try`, stands for.
///
/// `payload` is any JSON, handed on byte for byte as it is written, or a string, whose text is handed on; without it the record is a tombstone.
/// `topic` (`events`), `partition`, `offset` (0), `timestamp`, `key` and `headers` may be left out.
///
/// # Errors
/// What is wrong, with line and column.
pub fn message(json: &str) -> Result<Record, String> {
    let message: Message = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let payload = match message.payload.map(|raw| raw.get().to_owned()) {
        None => None,
        Some(raw) if raw == "null" => None,
        Some(raw) if raw.starts_with('"') => Some(serde_json::from_str::<String>(&raw).map_err(|error| error.to_string())?),
        Some(raw) => Some(raw),
    };
    let partition = i32::try_from(message.partition).map_err(|_| "`partition` is larger than Kafka knows".to_owned())?;
    Ok(Record {
        assignment: Arc::new(Assignment { id: AssignmentId(0), topic: message.topic.into(), partition }),
        offset: i64::from(message.offset),
        timestamp: message.timestamp,
        key: message.key.map(Bytes::from),
        headers: message.headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect(),
        payload: payload.map(Bytes::from),
    })
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// What is wrong with the file, with line and column.
    pub fn parse(json: &str) -> Result<Case, String> {
        let file: File<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let expected = [file.expect.send.is_some(), file.expect.skip.is_some(), file.expect.reject.is_some()];
        if expected.iter().filter(|given| **given).count() != 1 {
            return Err("`expect` holds one of `send`, `skip` and `reject`".to_owned());
        }
        let record = message(file.message.get()).map_err(|error| format!("in `message`: {error}"))?;
        Ok(Case { record, expect: file.expect })
    }

    /// Compares a verdict with what is expected.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn compare(&self, verdict: &Verdict) -> Result<(), String> {
        match (verdict, &self.expect) {
            (Verdict::Send(requests), Expect { send: Some(expected), .. }) => compare_requests(requests, expected),
            (Verdict::Skip(seen), Expect { skip: Some(words), .. }) => compare_words("skip", seen, words),
            (Verdict::Reject(seen), Expect { reject: Some(words), .. }) => compare_words("reject", seen, words),
            (Verdict::Send(requests), _) => Err(format!("it sends {}, expected is {}", counted(requests.len()), self.expect.word())),
            (Verdict::Skip(words), _) => Err(format!("it skips (`{words}`), expected is {}", self.expect.word())),
            (Verdict::Reject(words), _) => Err(format!("it rejects (`{words}`), expected is {}", self.expect.word())),
        }
    }
}

impl Case {
    /// What is expected and what was said, as JSON of the same shape, to be laid beside one another: of a request, what the case names of it.
    pub fn beside(&self, verdict: &Verdict) -> (Value, Value) {
        let seen = match verdict {
            Verdict::Skip(words) => json!({ "skip": words }),
            Verdict::Reject(words) => json!({ "reject": words }),
            Verdict::Send(requests) => {
                let expected = self.expect.send.as_deref().unwrap_or_default();
                let shown = requests.iter().enumerate().map(|(at, request)| seen_request(request, expected.get(at)));
                json!({ "send": shown.collect::<Vec<_>>() })
            }
        };
        let words = |words: &Words| match words {
            Words::Any => json!(true),
            Words::These(text) => json!(text),
        };
        let expected = match &self.expect {
            Expect { send: Some(requests), .. } => json!({ "send": requests.iter().map(expected_request).collect::<Vec<_>>() }),
            Expect { skip: Some(said), .. } => json!({ "skip": words(said) }),
            Expect { reject: Some(said), .. } => json!({ "reject": words(said) }),
            _ => Value::Null,
        };
        (expected, seen)
    }
}

fn expected_request(request: &ExpectedRequest) -> Value {
    let mut shown = json!({ "destination": request.destination, "method": request.method, "path": request.path });
    if !request.headers.is_empty() {
        shown["headers"] = json!(request.headers);
    }
    if let Some(body) = &request.body {
        shown["body"] = body.clone();
    }
    shown
}

fn seen_request(request: &Request, expected: Option<&ExpectedRequest>) -> Value {
    let mut shown = json!({ "destination": request.destination, "method": request.method, "path": request.path });
    // Under the name that the case uses, so that a difference of case alone is none here either.
    let named = |name: &str| request.headers.iter().find(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let headers: BTreeMap<String, String> = match expected {
        Some(expected) => expected.headers.keys().filter_map(|name| Some((name.clone(), named(name)?))).collect(),
        None => request.headers.iter().cloned().collect(),
    };
    if !headers.is_empty() {
        shown["headers"] = json!(headers);
    }
    let text = request.body.as_ref().map(|body| String::from_utf8_lossy(body.as_bytes()));
    let wanted = expected.map(|expected| expected.body.as_ref());
    shown["body"] = match (text, wanted) {
        (_, Some(None)) | (None, _) => return shown,
        (Some(text), Some(Some(Value::String(_)))) => json!(text),
        (Some(text), _) => serde_json::from_str(&text).unwrap_or_else(|_| json!(text)),
    };
    shown
}

impl Expect {
    fn word(&self) -> String {
        match self {
            Expect { send: Some(requests), .. } => counted(requests.len()),
            Expect { skip: Some(_), .. } => "a skip".to_owned(),
            _ => "a reject".to_owned(),
        }
    }
}

fn counted(requests: usize) -> String {
    if requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") }
}

fn compare_words(what: &str, seen: &str, words: &Words) -> Result<(), String> {
    match words {
        Words::These(expected) if expected != seen => Err(format!("{what} says `{seen}`, expected is `{expected}`")),
        _ => Ok(()),
    }
}

fn compare_requests(requests: &[Request], expected: &[ExpectedRequest]) -> Result<(), String> {
    if requests.len() != expected.len() {
        return Err(format!("it sends {}, expected is {}", counted(requests.len()), counted(expected.len())));
    }
    let pairs = requests.iter().zip(expected).enumerate();
    pairs.into_iter().try_for_each(|(at, (request, expected))| compare_request(request, expected).map_err(|why| format!("request {at}: {why}")))
}

fn compare_request(request: &Request, expected: &ExpectedRequest) -> Result<(), String> {
    for (what, seen, wanted) in [
        ("destination", &request.destination, &expected.destination),
        ("method", &request.method, &expected.method),
        ("path", &request.path, &expected.path),
    ] {
        if seen != wanted {
            return Err(format!("{what} is `{seen}`, expected is `{wanted}`"));
        }
    }
    for (name, wanted) in &expected.headers {
        let seen = request.headers.iter().find(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        if seen != Some(wanted) {
            return Err(format!("header `{name}` is {}, expected is `{wanted}`", seen.map_or("missing".to_owned(), |seen| format!("`{seen}`"))));
        }
    }
    let Some(wanted) = &expected.body else { return Ok(()) };
    let seen = request.body.as_ref().map(|body| String::from_utf8_lossy(body.as_bytes()));
    let same = match (wanted, &seen) {
        (Value::String(text), Some(seen)) => text == seen,
        (wanted, Some(seen)) => serde_json::from_str::<Value>(seen).is_ok_and(|seen| seen == *wanted),
        (_, None) => false,
    };
    let seen = seen.as_deref().map_or("missing".to_owned(), |seen| format!("`{}`", excerpt(seen)));
    if same { Ok(()) } else { Err(format!("body is {seen}, expected is `{}`", excerpt(&wanted.to_string()))) }
}

/// The beginning of a text, as much as a line of a log can take.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Body;

    const CASE: &str = r#"{
        "message": { "key": "order:1", "headers": { "a": "b" }, "payload": { "id" : 1.0 } },
        "expect": { "send": [ { "destination": "orders", "method": "POST", "path": "/orders", "headers": { "content-type": "application/json" },
                                "body": { "a": 1, "b": [2] } } ] }
    }"#;

    fn request() -> Request {
        Request {
            destination: "orders".into(),
            method: "POST".into(),
            path: "/orders".into(),
            headers: vec![("Content-Type".into(), "application/json".into()), ("x".into(), "y".into())],
            body: Some(Body::Text(r#"{"b":[2],"a":1}"#.into())),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_message_is_handed_on_as_it_is_written() {
        let case = Case::parse(CASE).unwrap();
        assert_eq!(case.record.payload.as_deref(), Some(&br#"{ "id" : 1.0 }"#[..]));
        assert_eq!((case.record.key_text(), case.record.topic(), case.record.offset), (Some("order:1"), "events", 0));
        assert_eq!(case.record.headers, [("a".to_owned(), Bytes::from("b"))]);
        assert_eq!(message(r#"{"payload": "not \"json\""}"#).unwrap().payload.as_deref(), Some(&br#"not "json""#[..]));
        assert_eq!(message(r#"{"payload": null}"#).unwrap().payload, None);
        assert_eq!(message("{}").unwrap().payload, None);
    }

    #[test]
    fn what_is_given_is_compared_and_nothing_else() {
        let case = Case::parse(CASE).unwrap();
        case.compare(&Verdict::Send(vec![request()])).unwrap();
        let differs = |change: &dyn Fn(&mut Request)| {
            let mut request = request();
            change(&mut request);
            case.compare(&Verdict::Send(vec![request])).unwrap_err()
        };
        assert_eq!(differs(&|request| request.path = "/x".into()), "request 0: path is `/x`, expected is `/orders`");
        assert_eq!(differs(&|request| request.headers.clear()), "request 0: header `content-type` is missing, expected is `application/json`");
        assert_eq!(differs(&|request| request.body = None), r#"request 0: body is missing, expected is `{"a":1,"b":[2]}`"#);
        assert_eq!(differs(&|request| request.body = Some(Body::Text("{}".into()))), r#"request 0: body is `{}`, expected is `{"a":1,"b":[2]}`"#);
        assert_eq!(case.compare(&Verdict::Send(Vec::new())).unwrap_err(), "it sends 0 requests, expected is 1 request");
        assert_eq!(case.compare(&Verdict::Skip("no".into())).unwrap_err(), "it skips (`no`), expected is 1 request");
    }

    #[test]
    fn what_is_expected_and_what_was_said_have_one_shape() {
        let case = Case::parse(CASE).unwrap();
        let (expected, seen) = case.beside(&Verdict::Send(vec![request()]));
        assert_eq!(expected, seen);
        let mut other = request();
        other.body = Some(Body::Text(r#"{"a":2}"#.into()));
        let (expected, seen) = case.beside(&Verdict::Send(vec![other, request()]));
        assert_eq!(expected["send"][0]["body"], json!({ "a": 1, "b": [2] }));
        assert_eq!(seen["send"][0]["body"], json!({ "a": 2 }));
        assert_eq!(seen["send"][0]["headers"], json!({ "content-type": "application/json" }), "`x` is not compared and not shown");
        assert_eq!(seen["send"][1]["headers"], json!({ "Content-Type": "application/json", "x": "y" }), "nothing is left out of what is too much");
        assert_eq!(case.beside(&Verdict::Skip("no".into())).1, json!({ "skip": "no" }));
    }

    #[test]
    fn words_are_compared_unless_any_will_do() {
        let case = |expect: &str| Case::parse(&format!(r#"{{"message": {{}}, "expect": {expect}}}"#));
        case(r#"{"skip": true}"#).unwrap().compare(&Verdict::Skip("whatever".into())).unwrap();
        let rejected = case(r#"{"reject": "no id"}"#).unwrap();
        rejected.compare(&Verdict::Reject("no id".into())).unwrap();
        assert_eq!(rejected.compare(&Verdict::Reject("bad".into())).unwrap_err(), "reject says `bad`, expected is `no id`");
        for wrong in ["{}", r#"{"skip": false}"#, r#"{"skip": true, "reject": true}"#, r#"{"drop": true}"#] {
            assert!(case(wrong).is_err(), "{wrong}");
        }
    }
}
