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
//! Of a request, `headers` and a body are compared only if they are given: headers by name, others may be there; `body` as JSON, whose numbers are compared digit
//! by digit, or, when it is given as a string, as the very text; `body_base64` as bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
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
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
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
        for request in file.expect.send.iter().flatten() {
            match &request.body_base64 {
                Some(_) if request.body.is_some() => return Err("a request has `body` or `body_base64`, not both".to_owned()),
                Some(text) if STANDARD.decode(text).is_err() => return Err(format!("`body_base64` is not base64: `{}`", excerpt(text))),
                _ => {}
            }
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
    /// What is expected and what was said, as JSON of the same shape in lines to be laid beside one another: of a request, what the case names of it.
    pub fn beside(&self, verdict: &Verdict) -> (String, String) {
        let seen = match verdict {
            Verdict::Skip(words) => raw(&json!({ "skip": words })),
            Verdict::Reject(words) => raw(&json!({ "reject": words })),
            Verdict::Send(requests) => {
                let expected = self.expect.send.as_deref().unwrap_or_default();
                let shown = requests.iter().enumerate().map(|(at, request)| seen_request(request, expected.get(at)));
                raw(&BTreeMap::from([("send", shown.collect::<Vec<_>>())]))
            }
        };
        let words = |words: &Words| match words {
            Words::Any => json!(true),
            Words::These(text) => json!(text),
        };
        let expected = match &self.expect {
            Expect { send: Some(requests), .. } => raw(&BTreeMap::from([("send", requests.iter().map(expected_request).collect::<Vec<_>>())])),
            Expect { skip: Some(said), .. } => raw(&json!({ "skip": words(said) })),
            Expect { reject: Some(said), .. } => raw(&json!({ "reject": words(said) })),
            _ => raw(&Value::Null),
        };
        (in_lines(expected.get()), in_lines(seen.get()))
    }
}

/// The parts of a request, as they came: a [`Value`] would lose digits.
type Shown = BTreeMap<&'static str, Box<RawValue>>;

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|error| unreachable!("texts and maps of texts have a form in JSON: {error}"))
}

/// What is always shown of a request.
fn shown(destination: &str, method: &str, path: &str) -> Shown {
    BTreeMap::from([("destination", raw(&destination)), ("method", raw(&method)), ("path", raw(&path))])
}

fn expected_request(request: &ExpectedRequest) -> Shown {
    let mut shown = shown(&request.destination, &request.method, &request.path);
    if !request.headers.is_empty() {
        shown.insert("headers", raw(&request.headers));
    }
    if let Some(body) = &request.body {
        shown.insert("body", body.clone());
    }
    if let Some(body) = &request.body_base64 {
        shown.insert("body_base64", raw(body));
    }
    shown
}

fn seen_request(request: &Request, expected: Option<&ExpectedRequest>) -> Shown {
    let mut shown = shown(&request.destination, &request.method, &request.path);
    // Under the name that the case uses, so that a difference of case alone is none here either.
    let named = |name: &str| request.headers.iter().find(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let headers: BTreeMap<String, String> = match expected {
        Some(expected) => expected.headers.keys().filter_map(|name| Some((name.clone(), named(name)?))).collect(),
        None => request.headers.iter().cloned().collect(),
    };
    if !headers.is_empty() {
        shown.insert("headers", raw(&headers));
    }
    let Some(body) = &request.body else { return shown };
    let (as_base64, as_text) = match expected {
        Some(ExpectedRequest { body: None, body_base64: None, .. }) => return shown,
        Some(expected) => (expected.body_base64.is_some(), expected.body.as_ref().is_some_and(|body| body.get().starts_with('"'))),
        None => (false, false),
    };
    let (name, body) = match std::str::from_utf8(body.as_bytes()) {
        Ok(text) if as_text => ("body", raw(&text)),
        Ok(text) if !as_base64 => ("body", serde_json::from_str(text).unwrap_or_else(|_| raw(&text))),
        _ => ("body_base64", raw(&STANDARD.encode(body.as_bytes()))),
    };
    shown.insert(name, body);
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
    let seen = request.body.as_ref().map(|body| body.as_bytes());
    if let Some(wanted) = &expected.body_base64 {
        let same = seen.is_some_and(|seen| STANDARD.decode(wanted).is_ok_and(|wanted| wanted == seen));
        let seen = seen.map_or("missing".to_owned(), |seen| format!("`{}`", excerpt(&STANDARD.encode(seen))));
        return if same { Ok(()) } else { Err(format!("body in base64 is {seen}, expected is `{}`", excerpt(wanted))) };
    }
    let Some(wanted) = &expected.body else { return Ok(()) };
    let differs = |seen: &str| Err(format!("body is {seen}, expected is `{}`", excerpt(&compact(wanted.get()))));
    match seen.map(|seen| (seen, std::str::from_utf8(seen))) {
        None => differs("missing"),
        // A replacement for what is no text must not be taken for the text that looks like it.
        Some((bytes, Err(error))) => {
            differs(&format!("not UTF-8 (byte {} of {} is the first that is not; `body_base64` compares bytes)", error.valid_up_to(), bytes.len()))
        }
        Some((_, Ok(seen))) if same_body(wanted, seen) => Ok(()),
        Some((_, Ok(seen))) => differs(&format!("`{}`", excerpt(seen))),
    }
}

/// JSON with each member and element in a line of its own, members by name, and every digit.
fn in_lines(json: &str) -> String {
    fn write(json: &str, indent: usize, out: &mut String) {
        let parts: Vec<(String, &RawValue)> = match json.as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(json)
                .map(|members| members.into_iter().map(|(name, value)| (format!("{}: ", Value::String(name)), value)).collect())
                .unwrap_or_default(),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(json)
                .map(|elements| elements.into_iter().map(|element| (String::new(), element)).collect())
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        if parts.is_empty() {
            return out.push_str(&compact(json));
        }
        let last = parts.len() - 1;
        out.push_str(&json[..1]);
        for (at, (name, value)) in parts.into_iter().enumerate() {
            let _ = write!(out, "\n{:1$}{name}", "", indent + 2);
            write(value.get(), indent + 2, out);
            out.push_str(if at == last { "" } else { "," });
        }
        let _ = write!(out, "\n{:indent$}{}", "", &json[json.len() - 1..]);
    }
    let mut out = String::new();
    write(json, 0, &mut out);
    out
}

/// JSON without white space between its parts, so that it is one line.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let part = |c: &char| {
        let is_part = in_string || !c.is_ascii_whitespace();
        in_string ^= *c == '"' && !escaped;
        escaped = in_string && *c == '\\' && !escaped;
        is_part
    };
    json.chars().filter(part).collect()
}

/// As text when it is given as a string, else as JSON.
fn same_body(wanted: &RawValue, seen: &str) -> bool {
    match serde_json::from_str::<String>(wanted.get()) {
        Ok(text) => text == seen,
        Err(_) => serde_json::from_str::<&RawValue>(seen).is_ok_and(|seen| same_json(wanted.get(), seen.get())),
    }
}

/// Whether two texts of JSON mean the same, numbers of any length too, of which [`Value`] keeps some digits only.
fn same_json(one: &str, other: &str) -> bool {
    type Object<'a> = BTreeMap<String, &'a RawValue>;
    type Array<'a> = Vec<&'a RawValue>;
    fn both<'a, T: Deserialize<'a>>(one: &'a str, other: &'a str) -> Option<(T, T)> {
        Some((serde_json::from_str(one).ok()?, serde_json::from_str(other).ok()?))
    }
    match one.as_bytes().first() {
        Some(b'{') => both::<Object<'_>>(one, other).is_some_and(|(one, other)| {
            one.len() == other.len()
                && one.iter().zip(&other).all(|((name, one), (other_name, other))| name == other_name && same_json(one.get(), other.get()))
        }),
        Some(b'[') => both::<Array<'_>>(one, other)
            .is_some_and(|(one, other)| one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| same_json(one.get(), other.get()))),
        Some(b'"') => both::<String>(one, other).is_some_and(|(one, other)| one == other),
        Some(b'-' | b'0'..=b'9') => decimal(one).is_some_and(|one| decimal(other) == Some(one)),
        _ => one == other,
    }
}

/// A number of JSON as its sign, its digits without zeros at either end, and the power of ten of the last of them.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (number, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    let end = digits.trim_end_matches('0');
    let zeros = digits.len() - end.len();
    let power = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(i64::try_from(zeros).ok()?)?;
    let digits = end.trim_start_matches('0');
    // Zero has a sign in some languages, and no power of ten.
    if digits.is_empty() {
        Some((false, String::new(), 0))
    } else {
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| (is_negative, digits.to_owned(), power))
    }
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
        let beside = |case: &Case, verdict: &Verdict| {
            let (expected, seen) = case.beside(verdict);
            [expected, seen].map(|text| serde_json::from_str::<Value>(&text).unwrap())
        };
        let mut other = request();
        other.body = Some(Body::Text(r#"{"a":2}"#.into()));
        let [expected, seen] = beside(&case, &Verdict::Send(vec![other, request()]));
        assert_eq!(expected["send"][0]["body"], json!({ "a": 1, "b": [2] }));
        assert_eq!(seen["send"][0]["body"], json!({ "a": 2 }));
        assert_eq!(seen["send"][0]["headers"], json!({ "content-type": "application/json" }), "`x` is not compared and not shown");
        assert_eq!(seen["send"][1]["headers"], json!({ "Content-Type": "application/json", "x": "y" }), "nothing is left out of what is too much");
        assert_eq!(case.beside(&Verdict::Skip("no".into())).1, "{\n  \"skip\": \"no\"\n}");
    }

    /// A case whose one request has this body, as a part of its JSON.
    fn with_body(body: &str) -> Result<Case, String> {
        Case::parse(&format!(
            r#"{{"message": {{}}, "expect": {{"send": [{{"destination": "orders", "method": "POST", "path": "/orders", {body}}}]}}}}"#
        ))
    }

    fn sends(body: Body) -> Verdict {
        Verdict::Send(vec![Request { body: Some(body), ..request() }])
    }

    #[test]
    fn bytes_are_compared_as_bytes() {
        let text = with_body(r#""body": "a\ufffd""#).unwrap();
        text.compare(&sends(Body::Bytes("a\u{fffd}".into()))).unwrap();
        let why = text.compare(&sends(Body::Bytes(vec![b'a', 0xff]))).unwrap_err();
        assert_eq!(
            why,
            r#"request 0: body is not UTF-8 (byte 1 of 2 is the first that is not; `body_base64` compares bytes), expected is `"a\ufffd"`"#
        );

        let bytes = with_body(r#""body_base64": "Yf8=""#).unwrap();
        bytes.compare(&sends(Body::Bytes(vec![b'a', 0xff]))).unwrap();
        let other = sends(Body::Bytes(vec![b'a', 0xfe]));
        assert_eq!(bytes.compare(&other).unwrap_err(), "request 0: body in base64 is `Yf4=`, expected is `Yf8=`");
        let (expected, seen) = bytes.beside(&other);
        assert!(expected.contains(r#""body_base64": "Yf8=""#) && seen.contains(r#""body_base64": "Yf4=""#), "{expected} {seen}");
        assert!(text.beside(&other).1.contains(r#""body_base64": "Yf4=""#), "what is no text is shown as it is");

        assert_eq!(with_body(r#""body_base64": "?""#).unwrap_err(), "`body_base64` is not base64: `?`");
        assert_eq!(with_body(r#""body": 1, "body_base64": "Yf8=""#).unwrap_err(), "a request has `body` or `body_base64`, not both");
    }

    #[test]
    fn json_is_shown_in_one_line_and_in_lines() {
        assert_eq!(compact("{ \"a b\" :\n [ 1 , \"\\\" \\\\\" , true ] }"), "{\"a b\":[1,\"\\\" \\\\\",true]}");
        let text = r#"{ "b" : [ 18446744073709551617, {}, [ ] ], "a" : 1.50 }"#;
        assert_eq!(in_lines(text), "{\n  \"a\": 1.50,\n  \"b\": [\n    18446744073709551617,\n    {},\n    []\n  ]\n}");
    }

    #[test]
    fn json_is_compared_by_what_it_means() {
        for (wanted, same, other) in [
            ("1", ["1.0", "1e0", "10E-1"], "1.0000000000000000000001"),
            ("18446744073709551616", ["18446744073709551616", "1.8446744073709551616e19", "184467440737095516160e-1"], "1.8446744073709552e19"),
            ("-0.30000000000000004", ["-0.30000000000000004", "-30000000000000004e-17", "-3.0000000000000004E-1"], "-0.3"),
            ("0", ["-0", "0.0", "0e9"], "1"),
            (
                r#"{"a": [1, "x"], "b": null}"#,
                [r#"{"b":null,"a":[1,"x"]}"#, r#"{"a":[1.0,"\u0078"],"b":null}"#, r#" {"a":[1,"x"],"b":null}"#],
                r#"{"a":[1,"x"]}"#,
            ),
            ("[true, false]", ["[true,false]", "[ true , false ]", "[true,false] "], "[true]"),
            ("[[]]", ["[[]]", "[ [ ] ]", "[[ ]]"], "[{}]"),
        ] {
            let case = with_body(&format!(r#""body": {wanted}"#)).unwrap();
            for text in same {
                case.compare(&sends(Body::Text(text.into()))).unwrap_or_else(|why| panic!("{wanted} and {text}: {why}"));
            }
            case.compare(&sends(Body::Text(other.into()))).unwrap_err();
            case.compare(&sends(Body::Text("no JSON".into()))).unwrap_err();
        }
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
