//! The same small plugin in every language, given the same records: whatever the language, the same requests come out.

use std::fs;
use std::path::PathBuf;

use keyway::build::Language;
use keyway::observe::Metrics;
use keyway::outcome::{Failure, Reason, Verdict};
use keyway::plugin::{Candidate, DEFAULT_TEAM, Description, Load as _, Loaded, Plugin, PluginName, Sidecar, Tier, Version};
use keyway::policy::Limits;
use keyway::record::Record;
use keyway::reload::{Case, message};
use keyway::transform::{Component, Sandbox, Settings, Trial};
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
    /// Levels of the lines that are logged.
    log: Option<Vec<String>>,
}

/// The record of a case's file.
pub(crate) fn record_of(text: &str) -> Result<Record, String> {
    let file: File<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Case::parse(file.case.get()).map(|case| case.record)
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
    if let Some(levels) = &file.log {
        let seen: Vec<String> = trial.lines.iter().map(|line| format!("{:?}", line.level)).collect();
        if seen != *levels {
            return Err(format!("it logs at {seen:?}, expected is {levels:?}"));
        }
    }
    match (&trial.verdict, &file.trap) {
        // What a dead letter says: the plugin's own words, and where in its source.
        (Err(failure), Some(texts)) if failure.reason == Reason::Trapped => {
            let place = format!("{}:", language.source());
            let mut texts = texts.iter().chain([&place]);
            texts.try_for_each(
                |text| if failure.detail.contains(text.as_str()) { Ok(()) } else { Err(format!("`{}` lacks `{text}`", failure.detail)) },
            )
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
        let file: File<'_> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let case = Case::parse(file.case.get()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
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
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
