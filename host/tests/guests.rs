//! The guests of `plugins/`, written in Rust with the SDK, in the real sandbox. `make guests` builds them.
//!
//! A guest without a test fails here: the example plugins are tested by their cases, the hostile guests by the tables below.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use keyway::observe::Metrics;
use keyway::outcome::{Body, Exchange, Next, Reason, Reply, Verdict};
use keyway::plugin::{Candidate, Load, Loaded, Plugin, PluginName, Sidecar, Tier, Version};
use keyway::policy::{Grant, Limits, check_requests};
use keyway::record::Record;
use keyway::reload::{Case, message};
use keyway::transform::{Component, Sandbox, Settings, Transform, Trial};
use wasmparser::{Operator, Parser, Payload};

/// One for all tests, as there is one in a process.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(&Settings { instances: 32, ..Settings::default() }, Metrics::new()).unwrap());

/// As by default, but long by the clock, so that a busy machine does not decide a test.
fn limits() -> Limits {
    Limits { wall: Duration::from_secs(60), ..Limits::default() }
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

fn component(name: &str) -> Bytes {
    let path = plugins().join("built").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `make guests` builds it", path.display())).into()
}

/// The names of the entries that end in `suffix`, without it.
fn names(folder: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(suffix).map(str::to_owned))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// The examples in Rust. The plugin of the conformance tests is none: it is there for `host/tests/languages`, which has its cases.
fn examples() -> Vec<String> {
    let mut names = names(&plugins().join("rust"), "");
    names.retain(|name| name != "conformance");
    assert!(names.len() >= 5, "{names:?}");
    names
}

fn candidate(name: &str) -> Candidate {
    Candidate {
        name: PluginName::new("default", name),
        version: Version("0".into()),
        component: component(name),
        sidecar: Sidecar::default(),
        limits: limits(),
    }
}

async fn load(name: &str) -> Loaded<Component> {
    SANDBOX.load(&candidate(name)).await.unwrap_or_else(|refusal| panic!("{name} is refused: {refusal:?}"))
}

async fn plugin(name: &str) -> Plugin<Component> {
    let candidate = candidate(name);
    let loaded = SANDBOX.load(&candidate).await.unwrap();
    let grant = Grant { destinations: vec!["orders".to_owned()], ..Grant::everything("default", limits()) };
    Plugin { grant: Arc::new(grant), ..Plugin::alone(candidate, loaded.code, loaded.sees_replies) }
}

async fn trial(name: &str, record: &Record) -> Trial {
    SANDBOX.trial(&plugin(name).await, record).await
}

fn cases(name: &str) -> Vec<(String, Case)> {
    let folder = plugins().join("rust").join(name).join(format!("{name}.cases"));
    let cases = names(&folder, ".json").into_iter().map(|case| {
        let text = std::fs::read_to_string(folder.join(&case).with_extension("json")).unwrap();
        let parsed = Case::parse(&text).unwrap_or_else(|error| panic!("{name}, {case}: {error}"));
        (case, parsed)
    });
    let cases: Vec<_> = cases.collect();
    assert!(!cases.is_empty(), "{name} has no cases");
    cases
}

fn payload(key: &str, payload: &str) -> Record {
    Record { payload: Some(Bytes::copy_from_slice(payload.as_bytes())), ..message(&format!(r#"{{"key": "{key}"}}"#)).unwrap() }
}

/// Every example says of its cases what they expect, within the memory that it began with: the host makes no system call for its sake.
#[tokio::test]
async fn the_examples_meet_their_cases_and_never_grow() {
    for name in examples() {
        let plugin = plugin(&name).await;
        for (case, parsed) in cases(&name) {
            let trial = SANDBOX.trial(&plugin, &parsed.record).await;
            let verdict = trial.verdict.unwrap_or_else(|failure| panic!("{name}, {case}: {failure:?}"));
            parsed.compare(&verdict).unwrap_or_else(|difference| panic!("{name}, {case}: {difference}"));
            assert!(trial.memory < (256 << 10) + (16 << 10), "{name}, {case}: {} bytes of memories and tables", trial.memory);
        }
    }
}

/// The same record, alone and among others on two threads: the same bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_depends_on_the_record_alone() {
    for name in examples() {
        let plugin = Arc::new(plugin(&name).await);
        for (case, parsed) in cases(&name) {
            let alone = SANDBOX.transform(&plugin, &parsed.record).await.unwrap();
            let among = (0..8).map(|_| {
                let (plugin, record) = (Arc::clone(&plugin), parsed.record.clone());
                tokio::spawn(async move { SANDBOX.transform(&plugin, &record).await.unwrap() })
            });
            for verdict in among.collect::<Vec<_>>() {
                assert_eq!(verdict.await.unwrap(), alone, "{name}, {case}");
            }
        }
    }
}

#[tokio::test]
async fn the_examples_describe_themselves() {
    for name in examples() {
        let loaded = load(&name).await;
        let description = loaded.description.unwrap();
        let key = if name == "follow" { "customer:*".to_owned() } else { format!("{name}:*") };
        assert_eq!((description.name, description.version.as_str(), description.keys), (name.clone(), "0.1.0", vec![key]));
        assert_eq!(loaded.tier, Tier::Pure);
        assert_eq!(loaded.sees_replies, name == "follow");
    }
}

/// What is in a component, as far as it costs the host.
struct Shape {
    imports: BTreeSet<String>,
    pages: Vec<u64>,
    stack: Option<i32>,
}

fn shape(component: &[u8]) -> Shape {
    let (mut depth, mut shape) = (0, Shape { imports: BTreeSet::new(), pages: Vec::new(), stack: None });
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                shape.imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::MemorySection(section) => shape.pages.extend(section.into_iter().map(|memory| memory.unwrap().initial)),
            // The first global of a module that lld made is the stack pointer, and the stack comes first in memory.
            Payload::GlobalSection(section) if shape.stack.is_none() => {
                let first = section.into_iter().next().unwrap().unwrap();
                if let Operator::I32Const { value } = first.init_expr.get_operators_reader().read().unwrap() {
                    shape.stack = Some(value);
                }
            }
            _ => {}
        }
    }
    shape
}

/// DESIGN's terms for a fresh instance at some 10 us: the contract and nothing else, 64 KiB of stack, 256 KiB of memory, and not much to compile.
#[test]
fn guests_are_small_and_pure() {
    let contract = ["log", "config", "types"].map(|name| format!("keyway:transform/{name}@0.1.0"));
    let hostile = names(&plugins().join("built/hostile"), ".wasm").into_iter().map(|name| format!("hostile/{name}"));
    for name in examples().into_iter().chain(hostile) {
        let component = component(&name);
        let shape = shape(&component);
        assert!(shape.imports.iter().all(|import| contract.contains(import)), "{name} imports {:?}", shape.imports);
        assert_eq!(shape.pages, [4], "{name}: memories in pages");
        assert_eq!(shape.stack, Some(64 << 10), "{name}: stack");
        assert!(component.len() < 200_000, "{name} has {} bytes", component.len());
    }
}

/// Input that is large, or deep, or both, is answered in words; the small stack and the small memory are no traps for it.
#[tokio::test]
async fn large_and_deep_records_are_answered() {
    let case = std::fs::read_to_string(plugins().join("rust/order/order.cases/created.json")).unwrap();
    let order: serde_json::Value = serde_json::from_str(&case).unwrap();
    let order_plugin = plugin("order").await;
    let with_note = |note: &str| serde_json::to_string(&order["message"]["payload"]).unwrap().replacen('{', &format!(r#"{{"note2":{note},"#), 1);

    let large = SANDBOX.trial(&order_plugin, &payload("order:1", &with_note(&format!("\"{}\"", "x".repeat(1 << 20))))).await;
    assert!(matches!(large.verdict, Ok(Verdict::Send(_))), "{:?}", large.verdict);

    let deep = SANDBOX.trial(&order_plugin, &payload("order:1", &with_note(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))))).await;
    assert!(matches!(deep.verdict, Ok(Verdict::Send(_))), "{:?}", deep.verdict);

    let cut = SANDBOX.trial(&order_plugin, &payload("order:1", &"{\"lines\":[".repeat(100_000))).await;
    assert!(matches!(cut.verdict, Ok(Verdict::Reject(_))), "{:?}", cut.verdict);

    let many =
        with_note("0").replacen("\"lines\":[", &format!("\"lines\":[{}", r#"{"sku":"s","name":"n","quantity":1,"cents":1},"#.repeat(5_000)), 1);
    let many = SANDBOX.trial(&order_plugin, &payload("order:1", &many)).await;
    assert!(matches!(many.verdict, Ok(Verdict::Send(_))), "{:?}", many.verdict);
}

#[tokio::test]
async fn a_reply_leads_to_the_next_request() {
    let plugin = plugin("follow").await;
    let record = payload("customer:1", r#"{"name":"Ada","email":"ada@example.org","newsletter":true}"#);
    let Verdict::Send(requests) = SANDBOX.transform(&plugin, &record).await.unwrap() else { panic!("nothing sent") };
    let answered = |status, body: &'static str| {
        [Exchange { request: requests[0].clone(), reply: Reply { status, headers: Vec::new(), body: body.into(), cut: false, attempts: 1 } }]
    };

    let Next::Send(who) = SANDBOX.on_replies(&plugin, &record, &answered(409, "")).await.unwrap() else { panic!("nothing sent") };
    assert_eq!((who[0].method.as_str(), who[0].path.as_str()), ("GET", "/customers/by-email/ada%40example.org"));
    let Next::Send(further) = SANDBOX.on_replies(&plugin, &record, &answered(201, r#"{"id":41}"#)).await.unwrap() else { panic!("nothing sent") };
    assert_eq!((further[0].method.as_str(), further[0].path.as_str()), ("PUT", "/customers/41/preferences"));
    assert_eq!(further[0].body, Some(Body::Text(r#"{"newsletter":true}"#.to_owned())));
}

/// The words and the place of a panic reach the log, because the trap has only frames.
#[tokio::test]
async fn a_panic_s_words_reach_the_log() {
    let trial = trial("hostile/panic", &payload("hostile-panic:1", "{}")).await;
    assert_eq!(trial.verdict.unwrap_err().reason, Reason::Trapped);
    assert!(trial.lines[0].text.ends_with("panic.rs:7:5: no mercy for hostile-panic:1"), "{:?}", trial.lines);
}

/// How each hostile guest ends when its record reaches it.
enum Ends {
    /// The call fails.
    Failed(&'static [Reason]),
    /// The call succeeds, and its requests fail the check that follows.
    Checked(Reason),
    /// The call succeeds, and what it asks for is for delivery to refuse.
    Delivery,
    /// It is skipped with these words.
    Skipped(&'static str),
}

const HOSTILE: [(&str, Ends); 17] = [
    ("bad-header", Ends::Delivery),
    ("copy", Ends::Failed(&[Reason::Cpu])),
    ("destination", Ends::Checked(Reason::Denied)),
    ("headers", Ends::Failed(&[Reason::Output])),
    ("log-escapes", Ends::Skipped("has said it all")),
    ("log-flood", Ends::Failed(&[Reason::Cpu])),
    // The line is more than a guest may pass to the host at once.
    ("log-line", Ends::Failed(&[Reason::Output, Reason::Trapped])),
    ("loop", Ends::Failed(&[Reason::Cpu])),
    ("memory", Ends::Failed(&[Reason::Memory])),
    ("not-utf8", Ends::Failed(&[Reason::Trapped])),
    ("output", Ends::Failed(&[Reason::Memory])),
    ("output-32m", Ends::Failed(&[Reason::Output])),
    ("panic", Ends::Failed(&[Reason::Trapped])),
    ("path", Ends::Delivery),
    ("recursion", Ends::Failed(&[Reason::Trapped])),
    ("requests", Ends::Failed(&[Reason::Output])),
    ("state", Ends::Skipped("call 1")),
];

#[tokio::test]
async fn each_hostile_guest_meets_its_defence() {
    let mut tested: Vec<&str> = HOSTILE.iter().map(|(name, _)| *name).chain(["about-loop"]).collect();
    tested.sort_unstable();
    assert_eq!(names(&plugins().join("built/hostile"), ".wasm"), tested, "a hostile guest without a test");

    for (name, ends) in HOSTILE {
        let record = Record { payload: None, ..payload(&format!("hostile-{name}:1"), "") };
        let plugin = plugin(&format!("hostile/{name}")).await;
        // Twice, because the second instance lies in the place of the first.
        for _ in 0..2 {
            let verdict = SANDBOX.transform(&plugin, &record).await;
            match (&ends, &verdict) {
                (Ends::Failed(reasons), Err(failure)) if reasons.contains(&failure.reason) => {}
                (Ends::Checked(reason), Ok(Verdict::Send(requests))) => {
                    assert_eq!(check_requests(&plugin.grant, &plugin.limits, requests).unwrap_err().reason, *reason, "{name}");
                }
                (Ends::Delivery, Ok(Verdict::Send(requests))) => check_requests(&plugin.grant, &plugin.limits, requests).unwrap(),
                (Ends::Skipped(words), Ok(Verdict::Skip(why))) => assert_eq!(why, words, "{name}"),
                _ => panic!("{name} ended in {:.300}", format!("{verdict:?}")),
            }
        }
    }
}

#[tokio::test]
async fn a_guest_that_never_describes_itself_is_refused() {
    let candidate = Candidate {
        name: PluginName::new("default", "about-loop"),
        version: Version("0".into()),
        component: component("hostile/about-loop"),
        sidecar: Sidecar::default(),
        limits: limits(),
    };
    let refusal = SANDBOX.load(&candidate).await.unwrap_err();
    assert!(refusal.cause.contains("cpu"), "{refusal:?}");
}

/// Control characters never reach the operator's terminal, and one line stays one line.
#[tokio::test]
async fn what_is_logged_is_text() {
    let trial = trial("hostile/log-escapes", &payload("hostile-log-escapes:1", "")).await;
    assert_eq!(trial.lines.len(), 1, "{:?}", trial.lines);
    assert!(!trial.lines[0].text.chars().any(char::is_control), "{:?}", trial.lines);
}
