//! Compiled fixtures of every released version of the contract, in today's host. They are what users have built, so they are never built again
//! (`wit/README.md`).

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use keyway::observe::Metrics;
use keyway::outcome::{Body, Exchange, Next, Reply, Request, Verdict};
use keyway::plugin::{Candidate, Load, Loaded, Plugin, PluginName, Refusal, Sidecar, Tier, Version};
use keyway::policy::Limits;
use keyway::record::Record;
use keyway::reload::message;
use keyway::transform::{Component, Sandbox, Settings, Transform};
use sha2::{Digest as _, Sha256};

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(&Settings { instances: 16, ..Settings::default() }, Metrics::new()).unwrap());

/// Long by the clock, so that a busy machine does not decide a test.
fn limits() -> Limits {
    Limits { wall: Duration::from_secs(60), ..Limits::default() }
}

fn fixture(version: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/contract-{version}.wasm"))).unwrap()
}

fn candidate(component: Vec<u8>) -> Candidate {
    let settings = [("list", "[1,2]"), ("one", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Candidate {
        name: PluginName::new("default", "contract"),
        version: Version("0".into()),
        component: component.into(),
        sidecar: Sidecar { settings, ..Sidecar::default() },
        limits: limits(),
    }
}

async fn load(component: Vec<u8>) -> Result<Loaded<Component>, Refusal> {
    SANDBOX.load(&candidate(component)).await
}

async fn plugin(version: &str) -> Plugin<Component> {
    let candidate = candidate(fixture(version));
    let loaded = SANDBOX.load(&candidate).await.unwrap();
    Plugin::alone(candidate, loaded.code, loaded.sees_replies)
}

fn record(key: &str) -> Record {
    let record = message(&format!(r#"{{ "topic": "t", "partition": 2, "offset": 3, "timestamp": 4, "key": "{key}", "payload": "é" }}"#)).unwrap();
    Record { headers: vec![("h".to_owned(), Bytes::from_static(b"\xff"))], ..record }
}

fn request(method: &str, destination: &str, path: &str) -> Request {
    Request { destination: destination.into(), method: method.into(), path: path.into(), headers: Vec::new(), body: None, attributes: Vec::new() }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn the_fixture_of_0_1_0_describes_itself() {
    let loaded = load(fixture("0.1.0")).await.unwrap();
    assert_eq!((loaded.tier, loaded.sees_replies), (Tier::Pure, true));
    let description = loaded.description.unwrap();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("contract", "0.1.0"));
    assert_eq!(description.keys, ["contract:*", "contract"]);
    assert_eq!(description.settings_schema.as_deref(), Some(r#"{"type":"object"}"#));
}

#[tokio::test]
async fn the_fixture_of_0_1_0_sees_the_message_and_is_heard() {
    let plugin = plugin("0.1.0").await;
    let said = SANDBOX.transform(&plugin, &record("contract:send")).await.unwrap();
    let seen = r#"t 2 3 Some(4) Some("contract:send") [("h", [255])] Some("é")"#;
    let told = Request {
        headers: vec![header("content-type", "text/plain; charset=utf-8"), header("setting", "1"), header("list", "[1,2]"), header("one", "1")],
        body: Some(Body::Text(seen.to_owned())),
        attributes: vec![header("unknown", "ignored")],
        ..request("POST", "text", "/")
    };
    let bytes = Request {
        headers: vec![header("content-type", "application/octet-stream")],
        body: Some(Body::Bytes(vec![0, 0xff])),
        ..request("PUT", "bytes", "/?q")
    };
    assert_eq!(said, Verdict::Send(vec![told, bytes, request("DELETE", "nothing", "/")]));

    let tombstone = Record { payload: None, timestamp: None, key: None, headers: Vec::new(), ..record("") };
    let Verdict::Send(requests) = SANDBOX.transform(&plugin, &tombstone).await.unwrap() else { panic!("nothing sent") };
    assert_eq!(requests[0].body, Some(Body::Text("t 2 3 None None [] None".to_owned())));

    assert_eq!(SANDBOX.transform(&plugin, &record("contract:skip")).await.unwrap(), Verdict::Skip("skipped".into()));
    assert_eq!(SANDBOX.transform(&plugin, &record("contract:reject")).await.unwrap(), Verdict::Reject("rejected".into()));
    let lines = SANDBOX.trial(&plugin, &record("contract:log")).await.lines;
    let levels = ["Trace", "Debug", "Info", "Warn", "Error"];
    assert_eq!(lines.iter().map(|line| line.text.rsplit(':').next().unwrap()).collect::<Vec<_>>(), levels.map(|level| level));
    assert_eq!(lines.iter().map(|line| format!("{:?}", line.level)).collect::<Vec<_>>(), levels);
}

#[tokio::test]
async fn the_fixture_of_0_1_0_decides_on_replies() {
    let plugin = plugin("0.1.0").await;
    for (status, expected) in [
        (200, Next::Done),
        (201, Next::Send(vec![request("GET", "next", "/1")])),
        (202, Next::Reject(r#"POST /x 202 [("a", "b")] Body::Text("ok")"#.to_owned())),
        (503, Next::Retry(Some(1500))),
        (504, Next::Retry(None)),
    ] {
        let reply = Reply { status, headers: vec![header("a", "b")], body: "ok".into(), cut: false, attempts: 1 };
        let exchanges = [Exchange { request: request("POST", "text", "/x"), reply }];
        assert_eq!(SANDBOX.on_replies(&plugin, &record("contract"), &exchanges).await.unwrap(), expected, "{status}");
    }
}

/// A component of a contract that this host does not know is told apart from a broken one, with both versions in the words.
#[tokio::test]
async fn a_newer_contract_is_refused_in_plain_words() {
    for newer in ["@0.1.1", "@0.2.0", "@1.1.0"] {
        let mut component = fixture("0.1.0");
        let version = b"@0.1.0";
        let places: Vec<usize> = (0..component.len() - version.len()).filter(|&at| component[at..].starts_with(version)).collect();
        for at in places {
            component[at..at + version.len()].copy_from_slice(newer.as_bytes());
        }
        let refusal = load(component).await.unwrap_err();
        assert!(refusal.cause.contains(newer) && refusal.cause.contains("this host speaks 0.1.0"), "{refusal:?}");
        assert!(refusal.hint.is_some());
    }
}

/// A released version is frozen: components that were built from it are out there. Whoever changes the file has to undo that, and make a new version.
#[test]
fn the_contract_of_0_1_0_is_what_was_frozen() {
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1.0/transform.wit")).unwrap();
    let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "976b28822f0fc88e44e2da1948131a1df6ed83585e8e03196717d5f0604cfeb8");
}
