//! The same small plugin in every language, given the same records: whatever the language, the same requests come out.
//!
//! A language whose tools are not installed is skipped, by name. `KEYWAY_LANGUAGES=all` makes that a failure, and `KEYWAY_LANGUAGES=c,go` asks for these alone
//! (`scripts/setup-languages.sh` installs the tools).

#![expect(clippy::print_stdout, reason = "a language that is skipped is named where the test's result is read")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyway::build::{self, Language, Project};
use keyway::observe::Metrics;
use keyway::outcome::{Reason, Verdict};
use keyway::plugin::{Candidate, DEFAULT_TEAM, Load as _, Plugin, PluginName, Sidecar, Tally, Tier, Version};
use keyway::policy::{Grant, Limits};
use keyway::reload::{Case, message};
use keyway::transform::{Component, Sandbox, Settings, Trial};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(borrow)]
    case: &'a RawValue,
    /// Texts that a trap tells; without them, the case's own expectation counts.
    trap: Option<Vec<String>>,
    /// Levels of the lines that are logged.
    log: Option<Vec<String>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the workspace").to_owned()
}

/// The conformance plugin of a language, loaded; none when its tools are missing.
async fn load(language: Language, sandbox: &Sandbox) -> Result<Option<Plugin<Component>>, String> {
    let folder = root().join("plugins").join(language.name()).join("conformance");
    let project = Project::open(&folder).map_err(|trouble| trouble.to_string())?;
    let component = match build::build(&project) {
        Ok(component) => component,
        Err(trouble) if trouble.is_missing_tool && env::var_os("KEYWAY_LANGUAGES").is_none() => {
            println!("skipped {language}: {trouble}");
            return Ok(None);
        }
        Err(trouble) => return Err(format!("{trouble}\n{}", trouble.output.as_deref().unwrap_or_default())),
    };
    let settings = vec![("currency".to_owned(), "EUR".to_owned()), ("limit".to_owned(), "3".to_owned())];
    // Time is not what is compared here: a loaded machine must not fail the test.
    let limits = Limits { cpu: std::time::Duration::from_secs(10), wall: std::time::Duration::from_secs(60), ..Limits::default() };
    let name = PluginName::new(DEFAULT_TEAM, "conformance");
    let sidecar = Sidecar { settings, ..Sidecar::default() };
    let candidate = Candidate { name: name.clone(), version: Version("1".into()), component: component.into(), sidecar, limits };
    let loaded = sandbox.load(&candidate).await.map_err(|refusal| refusal.to_string())?;
    assert_eq!(loaded.tier, Tier::Pure, "{language}");
    let description = loaded.description.expect("every SDK describes its plugin");
    assert_eq!(
        (&*description.name, &*description.version, description.keys),
        ("conformance", "1.0.0", vec!["conformance:*".to_owned()]),
        "{language}"
    );
    let grant = Grant { team: DEFAULT_TEAM.into(), keys: vec!["*".into()], destinations: vec!["*".into()], limits };
    Ok(Some(Plugin {
        name,
        version: Version("1".into()),
        keys: Vec::new(),
        on_fault: Default::default(),
        grant: Arc::new(grant),
        limits,
        sees_replies: loaded.sees_replies,
        tally: Tally::default(),
        code: loaded.code,
    }))
}

/// What is wrong with a trial of a case.
fn judge(file: &File<'_>, case: &Case, trial: &Trial) -> Result<(), String> {
    if let Some(levels) = &file.log {
        let seen: Vec<String> = trial.lines.iter().map(|line| format!("{:?}", line.level)).collect();
        if seen != *levels {
            return Err(format!("it logs at {seen:?}, expected is {levels:?}"));
        }
    }
    match (&trial.verdict, &file.trap) {
        (Err(failure), Some(texts)) if failure.reason == Reason::Trapped => {
            let log: String = trial.lines.iter().map(|line| line.text.as_str()).collect();
            texts.iter().try_for_each(|text| if log.contains(text) { Ok(()) } else { Err(format!("the log `{log}` lacks `{text}`")) })
        }
        (_, Some(_)) => Err(format!("it does not trap: {:?}", trial.verdict)),
        (Ok(verdict), None) => case.compare(verdict),
        (Err(failure), None) => Err(format!("{}: {}", failure.reason, failure.detail)),
    }
}

async fn conformance(language: Language) -> Result<(), String> {
    let wanted = env::var("KEYWAY_LANGUAGES").unwrap_or_default();
    if !wanted.is_empty() && wanted != "all" && !wanted.split(',').any(|name| name == language.name()) {
        println!("skipped {language}: not among KEYWAY_LANGUAGES");
        return Ok(());
    }
    let sandbox = Sandbox::new(&Settings::default(), Metrics::new()).map_err(|error| format!("{error:#}"))?;
    let Some(plugin) = load(language, &sandbox).await? else { return Ok(()) };
    let mut wrong = Vec::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("tests/conformance/cases")).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in &files {
        let text = fs::read_to_string(path).expect("a case can be read");
        let file: File<'_> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let case = Case::parse(file.case.get()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Err(why) = judge(&file, &case, &sandbox.trial(&plugin, &case.record).await) {
            wrong.push(format!("{}: {why}", path.file_name().unwrap_or_default().to_string_lossy()));
        }
    }
    // A payload of a megabyte, through and out again.
    let text = "0123456789é".repeat(83_000);
    let record = message(&format!(r#"{{"payload": {{"do": "text", "value": "{text}"}}}}"#)).expect("a message");
    match sandbox.trial(&plugin, &record).await.verdict {
        Ok(Verdict::Send(requests)) if requests[0].body.as_ref().is_some_and(|body| body.as_bytes() == text.as_bytes()) => {}
        other => wrong.push(format!("a megabyte: {}", format!("{other:?}").chars().take(300).collect::<String>())),
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{language}:\n{}", wrong.join("\n"))) }
}

macro_rules! conforms {
    ($($test:ident: $language:ident),+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        #[ignore = "takes the tools of all languages and some minutes; `make languages` runs it"]
        async fn $test() {
            if let Err(why) = conformance(Language::$language).await {
                panic!("{why}");
            }
        })+
    };
}

conforms!(typescript: Typescript, javascript: Javascript, python: Python, go: Go, c: C);
