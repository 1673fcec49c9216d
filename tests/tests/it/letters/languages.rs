//! The example plugins of every language, all in one host: records in, requests out, and a dead letter for what is bad.
//!
//! `make languages` builds them, each beside its source. A language whose plugin is not built is passed over by name; with `KEYWAY_LANGUAGES=all` that is a
//! failure.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::traffic::guest;
use e2e::{Broker, Destination, Host, Message};

use super::letters;

/// Python's and Go's components take some seconds to be compiled, on a busy machine many.
const RUN: Duration = Duration::from_secs(240);

/// What a record of a plugin is to become: method, path below the destination's name, and body.
type Expected = (&'static str, &'static str, &'static str);

/// One plugin under test.
struct Example {
    /// Its folder below `plugins/`.
    folder: &'static str,
    good: Vec<(Message, Vec<Expected>)>,
    /// A record that it rejects, and words of the reject.
    bad: (Message, &'static str),
}

fn examples() -> Vec<Example> {
    let tombstone = |key: &str| Message { payload: None, ..Message::new(key, "") };
    vec![
        Example {
            folder: "rust/audit",
            good: vec![(Message::new("audit:1", r#"{"a":1}"#), vec![("PUT", "/audit/entries/TOPIC/0/OFFSET", r#"{"a":1}"#)])],
            // It takes whatever there is, so this is what the host itself refuses.
            bad: (Message::new("audit:2", vec![b'"', 0xff, b'"']), "UTF-8"),
        },
        Example {
            folder: "typescript/slack",
            good: vec![
                (
                    Message::new("alert:checkout", r#"{"service":"checkout","severity":"critical","text":"payments fail"}"#),
                    vec![("POST", "/slack", r#"{"text":"🔥 *checkout*: payments fail"}"#)],
                ),
                (Message::new("alert:checkout", r#"{"service":"checkout","severity":"info","text":"payments work"}"#), vec![]),
            ],
            bad: (Message::new("alert:search", r#"{"service":"search","severity":"panic","text":"?"}"#), "`panic` is none of"),
        },
        Example {
            folder: "javascript/sms",
            good: vec![(
                Message::new("delivery:p-7", r#"{"id":"p-7","state":"delivered","phone":"+4930901820","language":"de"}"#),
                vec![("POST", "/sms/messages", r#"{"to":"+4930901820","text":"Ihr Paket p-7 ist da."}"#)],
            )],
            bad: (Message::new("delivery:p-8", "{ no JSON"), "payload: "),
        },
        Example {
            folder: "python/enrich",
            good: vec![
                (
                    Message::new("signup:12", r#"{"id":12,"email":"ada@engines.example","country":"SE"}"#),
                    vec![(
                        "PUT",
                        "/crm/contacts/12?source=unknown",
                        r#"{"id":12,"email":"ada@engines.example","country":"SE","region":"nordics","company":"engines.example","signed_up_at":TIME}"#,
                    )],
                ),
                (tombstone("signup:12"), vec![("DELETE", "/crm/contacts/12", "")]),
            ],
            bad: (Message::new("signup:13", "[13]"), "a sign-up has an `id`"),
        },
        Example {
            folder: "go/fan-out",
            good: vec![(
                Message::new("customer-changed:c-1", r#"{"id":"c-1","name":"Ada","email":"ada@example.org","country":"AT","newsletter":true}"#),
                vec![
                    ("PUT", "/billing/customers/c-1", r#"{"country":"AT","name":"Ada"}"#),
                    ("PUT", "/search/customers/c-1", r#"{"name":"Ada"}"#),
                    ("POST", "/mail/subscribers", r#"{"email":"ada@example.org"}"#),
                ],
            )],
            bad: (Message::new("customer-changed:c-2", "null"), "payload: null"),
        },
        Example {
            folder: "c/echo",
            good: vec![
                (Message::new("echo:a", r#"{ "n": 1e2 }"#), vec![("PUT", "/echo/TOPIC/0/OFFSET?key=echo%3Aa", r#"{ "n": 1e2 }"#)]),
                (tombstone("echo:a"), vec![("DELETE", "/echo/TOPIC/0/OFFSET?key=echo%3Aa", "")]),
            ],
            bad: (Message::new("echo:b", "{}}"), "payload: "),
        },
    ]
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

/// The plugin's component, where it is built: those in Rust with the other guests.
fn component(folder: &str) -> Option<PathBuf> {
    let (language, name) = folder.split_once('/').expect("LANGUAGE/NAME");
    if language == "rust" {
        return Some(guest(name));
    }
    Some(root().join("plugins").join(folder).join(format!("{name}.wasm"))).filter(|file| file.is_file())
}

/// The languages, and the file that holds a plugin of each.
const SOURCES: [(&str, &str); 6] = [
    ("rust", "src/lib.rs"),
    ("typescript", "plugin.ts"),
    ("javascript", "plugin.js"),
    ("python", "plugin.py"),
    ("go", "plugin.go"),
    ("c", "plugin.c"),
];

/// Keeps those folders' plugins that are built; the others are named.
fn built<'a>(folders: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let required = std::env::var("KEYWAY_LANGUAGES").is_ok_and(|wanted| wanted == "all");
    let mut folders: Vec<&str> = folders.into_iter().collect();
    folders.retain(|folder| {
        let is_built = component(folder).is_some();
        assert!(is_built || !required, "plugins/{folder} is not built: `make languages` builds it");
        if !is_built {
            // Past the runner, which keeps what a test that passes says: `scripts/test.sh` puts it into its summary.
            let _ = writeln!(std::io::stderr(), "passed over: plugins/{folder}, which is not built");
        }
        is_built
    });
    folders
}

#[test]
fn an_error_that_a_plugin_throws_is_told_with_its_place_in_the_source() {
    let folders = SOURCES.map(|(language, _)| format!("{language}/conformance"));
    let built = built(folders.iter().map(String::as_str));
    let sources: Vec<_> = SOURCES.iter().filter(|(language, _)| built.contains(&format!("{language}/conformance").as_str())).collect();
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("thrown", 1), broker.name("thrown"));
    let sidecars = tempfile::tempdir().expect("a folder");
    // All of them claim the same key, which their sidecars tell apart.
    let host = sources.iter().fold(Host::builder(broker, &topic, &group).destination("sink", "http://127.0.0.1:9", ""), |host, (language, _)| {
        let sidecar = sidecars.path().join(language);
        std::fs::write(&sidecar, format!("keys = [\"{language}\"]\n")).expect("a sidecar");
        let file = component(&format!("{language}/conformance")).expect("a component");
        host.plugin(&format!("{language}.toml"), sidecar).plugin(&format!("{language}.wasm"), file)
    });
    broker.produce(&topic, sources.iter().map(|(language, _)| Message::new(*language, r#"{"do":"fail","value":"the sky fell"}"#)));
    let _host = host.start();
    broker.await_settled(&group, &topic, RUN);
    let letters = letters(broker, &group, sources.len());
    assert_eq!(letters.len(), sources.len());
    for (language, source) in sources {
        let letter = letters.iter().find(|letter| letter.key.as_deref() == Some(language.as_bytes())).expect("a letter of the language");
        let detail = letter.header("keyway-detail").unwrap_or_default();
        assert_eq!(letter.header("keyway-reason"), Some("trapped"), "{language}: {detail}");
        // The line that says so of itself in the plugin's source.
        let text = std::fs::read_to_string(root().join("plugins").join(language).join("conformance").join(source)).expect("the plugin's source");
        let line = 1 + text.lines().position(|line| line.contains("it fails here")).expect("the line that fails");
        let told = detail.split_once(&format!("{source}:")).map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        assert!(detail.contains("the sky fell") && told == Some(line.to_string().as_str()), "{language}, line {line}: {detail}");
    }
}

#[test]
fn the_examples_of_every_language_serve_beside_one_another() {
    let mut examples = examples();
    let built = built(examples.iter().map(|example| example.folder));
    examples.retain(|example| built.contains(&example.folder));
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("languages", 1), broker.name("languages"));
    let destination = Destination::start();
    // One server plays all destinations; each has the path of its name.
    let host = ["audit", "slack", "sms", "crm", "billing", "search", "mail", "echo"]
        .iter()
        .fold(Host::builder(broker, &topic, &group), |host, name| host.destination(name, &format!("{}/{name}", destination.url()), ""));
    let host = examples.iter().fold(host, |host, example| {
        let (_, name) = example.folder.split_once('/').expect("LANGUAGE/NAME");
        host.plugin(&format!("{name}.wasm"), component(example.folder).expect("a component"))
    });
    // Offsets are as the records are written: one partition.
    let (mut records, mut expected, mut rejects) = (Vec::new(), BTreeMap::<u64, Vec<(String, String, String)>>::new(), Vec::new());
    for example in examples {
        for (message, requests) in example.good {
            let offset = records.len() as u64;
            let place = |text: &str| text.replace("TOPIC", &topic).replace("OFFSET", &offset.to_string());
            expected.insert(offset, requests.iter().map(|(method, path, body)| ((*method).to_owned(), place(path), (*body).to_owned())).collect());
            records.push(message);
        }
        rejects.push((records.len().to_string(), example.bad.1));
        records.push(example.bad.0);
    }
    broker.produce(&topic, records);
    let mut host = host.start();
    broker.await_settled(&group, &topic, RUN);

    let mut seen = BTreeMap::<u64, Vec<(String, String, String)>>::new();
    for request in destination.seen().iter() {
        // GROUP/TOPIC/PARTITION/OFFSET/INDEX
        let key = request.idempotency_key.clone().expect("an idempotency key");
        let offset = key.rsplit('/').nth(1).and_then(|offset| offset.parse().ok()).expect("an offset in it");
        let body = String::from_utf8_lossy(&request.body).into_owned();
        seen.entry(offset).or_default().push((request.method.clone(), request.path.clone(), body));
    }
    for (offset, requests) in expected {
        let seen = seen.remove(&offset).unwrap_or_default();
        assert_eq!(seen.len(), requests.len(), "record {offset}: {seen:?}");
        for ((method, path, body), (seen_method, seen_path, seen_body)) in requests.iter().zip(&seen) {
            assert_eq!((seen_method, seen_path), (method, path), "record {offset}");
            match body.split_once("TIME") {
                Some((before, after)) => {
                    let time = seen_body.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap_or_else(|| panic!("{seen_body}"));
                    assert!(time.starts_with("\"20") && time.ends_with("+00:00\""), "{time}");
                }
                None => assert_eq!(seen_body, body, "record {offset}"),
            }
        }
    }
    assert!(seen.is_empty(), "nothing else was sent: {seen:?}");
    let letters = letters(broker, &group, rejects.len());
    assert_eq!(letters.len(), rejects.len());
    for (offset, words) in rejects {
        let letter = letters.iter().find(|letter| letter.header("keyway-offset") == Some(&offset)).expect("a letter of the record");
        let detail = letter.header("keyway-detail").unwrap_or_default();
        assert!(detail.contains(words), "record {offset}: `{detail}` lacks `{words}`");
    }
    assert!(host.terminate().success());
}
