//! The same small plugin in every language, given the same records: whatever the language, the same requests come out.

use std::fs;
use std::path::PathBuf;

use keyway::build::Language;
use keyway::observe::Metrics;
use keyway::outcome::{Body, Exchange, Failure, Next, Reason, Reply, Request, Verdict};
use keyway::plugin::{Candidate, DEFAULT_TEAM, Description, Load as _, Loaded, Plugin, PluginName, Sidecar, Tier, Version};
use keyway::policy::Limits;
use keyway::record::Record;
use keyway::reload::{Case, message};
use keyway::transform::{Component, Sandbox, Settings, Transform as _, Trial};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Subject, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(borrow)]
    case: &'a RawValue,
    /// Texts that the dead letter of a trap tells, besides the place in the source; without them, the case's own expectation counts.
    trap: Option<Vec<String>>,
    /// Whether the payload is no JSON, of which the reject has to tell.
    #[serde(default)]
    malformed: bool,
    /// The lines that are logged: level and text.
    log: Option<Vec<(String, String)>>,
    /// Languages of which something else is expected, each named, with the reason, here and in its README.
    #[serde(borrow, default)]
    except: Vec<Exception<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception<'a> {
    languages: Vec<String>,
    because: String,
    #[serde(borrow)]
    expect: &'a RawValue,
}

impl<'a> File<'a> {
    fn read(text: &'a str) -> Result<File<'a>, String> {
        let file: File<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for exception in &file.except {
            exception.languages.iter().try_for_each(|name| name.parse::<Language>().map(drop))?;
            if exception.because.is_empty() {
                return Err("an exception has a reason".to_owned());
            }
        }
        Ok(file)
    }

    /// The case as it is for a language.
    fn case(&self, language: Language) -> Result<Case, String> {
        #[derive(Deserialize)]
        struct Parts<'a> {
            #[serde(borrow)]
            message: &'a RawValue,
        }
        let Some(exception) = self.except.iter().find(|exception| exception.languages.iter().any(|name| name == language.name())) else {
            return Case::parse(self.case.get());
        };
        let Parts { message } = serde_json::from_str(self.case.get()).map_err(|error| error.to_string())?;
        Case::parse(&format!(r#"{{"message": {message}, "expect": {}}}"#, exception.expect))
    }
}

/// The record of a case's file.
pub(crate) fn record_of(text: &str) -> Result<Record, String> {
    Case::parse(File::read(text)?.case.get()).map(|case| case.record)
}

/// Where the language's conformance plugin fails, as its dead letter tells it: the line of its source that says so.
fn place(language: Language, remark: &str) -> String {
    let source = root().join("plugins").join(language.name()).join("conformance").join(language.source());
    let text = fs::read_to_string(&source).expect("the plugin's source");
    let lines: Vec<usize> = text.lines().enumerate().filter(|(_, line)| line.contains(remark)).map(|(at, _)| at + 1).collect();
    let [line] = lines[..] else { panic!("`{remark}` stands at {lines:?} of {}", source.display()) };
    format!("{}:{line}", language.source())
}

/// Whether a text tells of a place, and not of another one whose number only begins alike.
fn tells(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(at, _)| !text[at + place.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// The conformance plugin of a language, loaded.
async fn load(subject: &Subject, sandbox: &Sandbox) -> Result<Plugin<Component>, String> {
    let language = subject.language;
    let component = subject.component().map_err(ToString::to_string)?.to_owned();
    let (plugin, tier, description) = load_component(sandbox, component).await?;
    assert_eq!(tier, Tier::Pure, "{language}");
    let description = description.expect("every SDK describes its plugin");
    assert_eq!(
        (&*description.name, &*description.version, description.keys),
        ("conformance", "1.0.0", vec!["conformance:*".to_owned()]),
        "{language}"
    );
    assert!(plugin.sees_replies, "{language}");
    Ok(plugin)
}

/// A component as a plugin, with its tier, and what it says of itself.
pub(crate) async fn load_component(sandbox: &Sandbox, component: Vec<u8>) -> Result<(Plugin<Component>, Tier, Option<Description>), String> {
    let settings = vec![("currency".to_owned(), "EUR".to_owned()), ("limit".to_owned(), "3".to_owned())];
    // Time is not what is compared here: a loaded machine must not fail the test.
    let limits = Limits { cpu: std::time::Duration::from_secs(10), wall: std::time::Duration::from_secs(60), ..Limits::default() };
    let name = PluginName::new(DEFAULT_TEAM, "conformance");
    let sidecar = Sidecar { settings, ..Sidecar::default() };
    let candidate = Candidate { name, version: Version("1".into()), component: component.into(), sidecar, limits };
    let Loaded { code, description, sees_replies, tier, .. } = sandbox.load(&candidate).await.map_err(|refusal| refusal.to_string())?;
    Ok((Plugin::alone(candidate, code, sees_replies), tier, description))
}

/// What a plugin says of a payload, in words.
pub(crate) async fn verdict(sandbox: &Sandbox, plugin: &Plugin<Component>, payload: &str) -> String {
    let record = Record { payload: Some(payload.to_owned().into()), ..message("{}").expect("a message") };
    match sandbox.trial(plugin, &record).await.verdict {
        Ok(Verdict::Send(requests)) => format!("send {}", requests.len()),
        Ok(Verdict::Skip(words)) => format!("skip `{words}`"),
        Ok(Verdict::Reject(words)) => format!("reject `{words}`"),
        Err(failure) => format!("{}: {}", failure.reason, failure.detail),
    }
}

/// What is wrong with a trial of a case.
fn judge(file: &File<'_>, case: &Case, trial: &Trial, language: Language) -> Result<(), String> {
    if let Some(lines) = &file.log {
        let seen: Vec<_> = trial.lines.iter().map(|line| (format!("{:?}", line.level), line.text.clone())).collect();
        if seen != *lines {
            return Err(format!("it logs {seen:?}, expected is {lines:?}"));
        }
    }
    match (&trial.verdict, &file.trap) {
        // What a dead letter says: the plugin's own words, and where in its source.
        (Err(failure), Some(texts)) if failure.reason == Reason::Trapped => {
            let place = place(language, "it fails here");
            let lacks = |what: &str| Err(format!("`{}` lacks `{what}`", failure.detail));
            if !tells(&failure.detail, &place) {
                return lacks(&place);
            }
            texts.iter().find(|text| !failure.detail.contains(text.as_str())).map_or(Ok(()), |text| lacks(text))
        }
        (_, Some(_)) => Err(format!("it does not trap: {:?}", trial.verdict)),
        (Ok(Verdict::Reject(words)), None) if file.malformed && !words.starts_with("payload: ") => {
            Err(format!("`{words}` does not say that it is about the payload"))
        }
        (Ok(verdict), None) => case.compare(verdict),
        (Err(failure), None) => Err(format!("{}: {}", failure.reason, failure.detail)),
    }
}

/// What a verdict on a long payload is told by.
fn beginning(verdict: &Result<Verdict, Failure>) -> String {
    format!("{verdict:?}").chars().take(600).collect()
}

/// Runs the cases of `tests/conformance/cases` on the language's plugin.
pub(crate) fn check(subject: &Subject) -> Result<(), String> {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(conformance(subject))
}

async fn conformance(subject: &Subject) -> Result<(), String> {
    let sandbox = Sandbox::new(&Settings::default(), Metrics::new()).map_err(|error| format!("{error:#}"))?;
    let plugin = load(subject, &sandbox).await?;
    let mut wrong = Vec::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("tests/conformance/cases")).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in &files {
        let text = fs::read_to_string(path).expect("a case can be read");
        let file = File::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let case = file.case(subject.language).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Err(why) = judge(&file, &case, &sandbox.trial(&plugin, &case.record).await, subject.language) {
            wrong.push(format!("{}: {why}", path.file_name().unwrap_or_default().to_string_lossy()));
        }
    }
    // A payload of a megabyte, through and out again; the second one in the form that takes a parser longest.
    for part in ["0123456789\u{e9}", "01234567890123456789 \"\u{1f600}\u{e9}\n"] {
        let text = part.repeat(1_000_000 / part.len());
        let value = serde_json::to_string(&text).expect("a string").replace('\u{1f600}', "\\ud83d\\ude00");
        let record = message(&format!(r#"{{"payload": {{"do": "text", "value": {value}}}}}"#)).expect("a message");
        match sandbox.trial(&plugin, &record).await.verdict {
            Ok(Verdict::Send(requests)) if requests[0].body.as_ref().is_some_and(|body| body.as_bytes() == text.as_bytes()) => {}
            other => wrong.push(format!("a megabyte of `{part}`: {}", beginning(&other))),
        }
    }
    // Nested as deep as every language takes it, and out again.
    let value = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let record = message(&format!(r#"{{"payload": {{"do": "echo", "value": {value}}}}}"#)).expect("a message");
    match sandbox.trial(&plugin, &record).await.verdict {
        Ok(Verdict::Send(requests)) if String::from_utf8_lossy(requests[0].body.as_ref().expect("a body").as_bytes()).contains(&value) => {}
        other => wrong.push(format!("nested 120 deep: {}", beginning(&other))),
    }
    // Nested deeper than any parser goes: a reject, and no overflow of the guest's stack.
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = format!("{{\"do\":\"skip\",\"value\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
        let record = Record { payload: Some(text.into()), ..message("{}").expect("a message") };
        match sandbox.trial(&plugin, &record).await.verdict {
            Ok(Verdict::Reject(words)) if words.starts_with("payload: ") => {}
            other => wrong.push(format!("nested 100,000 deep: {}", beginning(&other))),
        }
    }
    // A language keeps all digits or refuses the number: none may write another one.
    let record = message(r#"{ "payload": { "do": "echo", "value": [1e999] } }"#).expect("a message");
    match sandbox.trial(&plugin, &record).await.verdict {
        Ok(Verdict::Reject(words)) if words.starts_with("payload: ") => {}
        Ok(Verdict::Send(requests)) if String::from_utf8_lossy(requests[0].body.as_ref().expect("a body").as_bytes()).contains("1e999") => {}
        other => wrong.push(format!("a number out of range: {}", beginning(&other))),
    }
    // A value that has no form in JSON: whatever a language makes of it, no request goes out without its body.
    let record = message(r#"{ "payload": { "do": "no-form", "value": 1 } }"#).expect("a message");
    match sandbox.trial(&plugin, &record).await.verdict {
        Ok(Verdict::Reject(_)) => {}
        Err(failure) if failure.reason == Reason::Trapped => {}
        other => wrong.push(format!("no form in JSON: {}", beginning(&other))),
    }
    wrong.extend(replies(&sandbox, &plugin, subject.language).await);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What a plugin sees of replies, and each thing that it may say of them.
async fn replies(sandbox: &Sandbox, plugin: &Plugin<Component>, language: Language) -> Vec<String> {
    let record = message(r#"{ "key": "conformance:ü", "payload": { "do": "skip", "value": "" } }"#).expect("a message");
    let request = |method: &str, path: &str, headers: &[(&str, &str)], body: Option<Body>| Request {
        destination: "sink".to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body,
        attributes: Vec::new(),
    };
    let exchange = |status: u16, body: &[u8]| {
        let headers = [("x-a", "ä"), ("x-b", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let sent = request("POST", "/first?q", &[("x", "y")], Some(Body::Bytes(vec![0, 0xff])));
        Exchange { request: sent, reply: Reply { status, headers, body: body.to_vec().into(), cut: false, attempts: 1 } }
    };
    let seen = |status: u16| format!("conformance:ü POST sink /first?q {status} x-a=ä,x-b=2 a reply: ö");
    let reply = "a reply: ö".as_bytes();
    let bytes = |body: &[u8]| {
        let body = Some(Body::Bytes(body.to_vec()));
        Next::Send(vec![request("POST", "/bytes", &[("content-type", "application/octet-stream")], body), request("DELETE", "/second", &[], None)])
    };
    let text = Some(Body::Text(seen(201)));
    let mut wrong = Vec::new();
    for (what, exchanges, expected) in [
        ("done", vec![exchange(200, reply)], Next::Done),
        (
            "a further request after three",
            vec![exchange(404, b""), exchange(500, b""), exchange(201, reply)],
            Next::Send(vec![request("POST", "/next/3", &[("content-type", "text/plain; charset=utf-8")], text)]),
        ),
        ("two further requests", vec![exchange(202, reply)], bytes(reply)),
        ("a reply that is no text", vec![exchange(202, &[0xff, 0, 0x80])], bytes(&[0xff, 0, 0x80])),
        ("an empty reply", vec![exchange(202, b"")], bytes(b"")),
        ("a reject", vec![exchange(400, reply)], Next::Reject(seen(400))),
        ("a retry after some time", vec![exchange(503, reply)], Next::Retry(Some(1500))),
        ("a retry", vec![exchange(504, reply)], Next::Retry(None)),
    ] {
        match sandbox.on_replies(plugin, &record, &exchanges).await {
            Ok(next) if next == expected => {}
            other => wrong.push(format!("replies, {what}: {other:?}, expected is {expected:?}")),
        }
    }
    let place = place(language, "the replies fail here");
    match sandbox.on_replies(plugin, &record, &[exchange(499, reply)]).await {
        Err(failure) if failure.reason == Reason::Trapped && tells(&failure.detail, &place) && failure.detail.contains("the sky fell at 499") => {}
        other => wrong.push(format!("replies, a fault at {place}: {other:?}")),
    }
    // Only Go has requests whose bodies failed, and which are not sent by what would look at them.
    if language == Language::Go {
        match sandbox.on_replies(plugin, &record, &[exchange(299, reply)]).await {
            Ok(Next::Reject(why)) if why.starts_with("body of POST /no-form: ") => {}
            other => wrong.push(format!("replies, no form in JSON: {other:?}")),
        }
    }
    wrong
}
