//! Reload with the real engine and real files: what a fake loader cannot show.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keyway::observe::Metrics;
use keyway::outcome::{Failure, Reason, Verdict};
use keyway::plugin::Plugin;
use keyway::policy::{Grant, Limits};
use keyway::record::{Assignment, AssignmentId, Record};
use keyway::reload::{self, Handle, Rehearse, Setup, State, Status, TrustedKeys};
use keyway::route::Routes;
use keyway::transform::{Component, Sandbox, Settings, Transform};
use tokio_util::sync::{CancellationToken, DropGuard};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// A component that skips each record with these words, or does what `body` says.
fn guest(words: &str, body: Option<&str>) -> Vec<u8> {
    let length = words.len();
    let skip = format!(
        "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 16)) (i32.store (i32.const 72) (i32.const {length}))
         (i32.const 64)"
    );
    let mut module = wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 4096))
            (data (i32.const 16) "{words}")
            (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.get $next)
                (global.set $next (i32.add (global.get $next) (local.get $size))))
            (func (export "keyway:transform/transform@0.1.0#transform")
                (param i32 i32 i32 i64 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {}))"#,
        body.unwrap_or(&skip)
    ))
    .unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/0.1.0")).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// The sandbox as the gate's dry runs call it.
struct Rehearsal(Arc<Sandbox>);

impl Rehearse<Component> for Rehearsal {
    async fn rehearse(&self, plugin: &Plugin<Component>, record: &Record) -> Result<Verdict, Failure> {
        self.0.transform(plugin, record).await
    }
}

struct Host {
    root: PathBuf,
    sandbox: Arc<Sandbox>,
    routes: Arc<Routes<Component>>,
    handle: Handle,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

const DEADLINE: Duration = Duration::from_secs(60);

fn setup(directory: &Path) -> Setup {
    let grant = Grant::everything("default", Limits::default());
    Setup { directory: directory.to_owned(), teams: BTreeMap::from([(Arc::from("default"), Arc::new(grant))]), trusted_keys: TrustedKeys::default() }
}

impl Host {
    async fn with(files: &[(&str, Vec<u8>)]) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        for (name, bytes) in files {
            write(&root.join(name), bytes);
        }
        let sandbox = Arc::new(Sandbox::new(&Settings::default(), Metrics::new()).unwrap());
        let routes = Arc::<Routes<Component>>::default();
        let table = Arc::clone(&routes);
        let publish = move |serving: &[Arc<Plugin<Component>>]| assert!(table.serve(serving).is_empty(), "the gate lets no conflict through");
        let (watcher, handle) = reload::watcher(setup(&root), Arc::clone(&sandbox), Rehearsal(Arc::clone(&sandbox)), publish);
        let stop = CancellationToken::new();
        tokio::spawn(watcher.run(stop.clone()));
        tokio::time::timeout(DEADLINE, handle.ready()).await.unwrap();
        Host { root, sandbox, routes, handle, _folder: folder, _stop: stop.drop_guard() }
    }

    fn deploy(&self, name: &str, bytes: &[u8]) {
        let beside = self.root.join(format!("{name}.tmp"));
        write(&beside, bytes);
        fs::rename(beside, self.root.join(name)).unwrap();
    }

    /// One record, as the pipeline handles it.
    async fn handle(&self, key: &str) -> Option<Result<Verdict, Failure>> {
        handle(&self.routes, &self.sandbox, key).await
    }

    async fn until(&self, what: &str, so: impl FnMut(&Status) -> bool) -> Arc<Status> {
        let mut changes = self.handle.changes();
        let mut so = so;
        match tokio::time::timeout(DEADLINE, changes.wait_for(|status| so(status))).await {
            Ok(Ok(status)) => Arc::clone(&status),
            _ => panic!("not {what} in time: {:#?}", self.handle.status()),
        }
    }

    async fn reaches(&self, name: &str, state: State) -> String {
        let last = |status: &Status| status.plugins.iter().find(|plugin| plugin.name == name).and_then(|plugin| plugin.versions.first().cloned());
        let status = self.until(state.as_str(), |status| last(status).is_some_and(|last| last.state == state)).await;
        last(&status).and_then(|last| last.reason).unwrap_or_default()
    }

    /// Waits for the next change of what serves after `generation`.
    async fn changed(&self, generation: u64) {
        self.until("changed", |status| status.generation > generation).await;
    }
}

async fn handle(routes: &Routes<Component>, sandbox: &Sandbox, key: &str) -> Option<Result<Verdict, Failure>> {
    let plugin = routes.find(Some(key))?;
    let record = Record {
        assignment: Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 0 }),
        offset: 1,
        timestamp: Some(1),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: Vec::new(),
        payload: Some(Bytes::from_static(b"{}")),
    };
    let verdict = sandbox.transform(&plugin, &record).await;
    plugin.tally.observed(verdict.as_ref().is_err_and(|failure| failure.reason.is_fault()));
    Some(verdict)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn skip(words: &str) -> Option<Result<Verdict, Failure>> {
    Some(Ok(Verdict::Skip(words.to_owned())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_goes_live_and_what_is_no_component_does_not() {
    let host = Host::with(&[("order.wasm", guest("v1", None)), ("order.toml", b"keys = [\"order:*\"]".to_vec())]).await;
    assert_eq!(host.handle("order:1").await, skip("v1"));
    assert_eq!(host.handle("refund:1").await, None);
    host.deploy("order.wasm", &guest("v2", None));
    host.changed(1).await;
    assert_eq!(host.handle("order:1").await, skip("v2"));
    for (what, bytes) in [
        ("a core module", wat::parse_str("(module)").unwrap()),
        ("text", b"not WebAssembly at all".to_vec()),
        ("a component that imports what no plugin may", wat::parse_str(r#"(component (import "wasi:sockets/tcp@0.2.0" (instance)))"#).unwrap()),
        ("a component without the contract", wat::parse_str("(component)").unwrap()),
    ] {
        host.deploy("order.wasm", &bytes);
        let reason = host.reaches("order", State::Refused).await;
        assert!(!reason.is_empty(), "{what} is refused with a reason");
        assert_eq!(host.handle("order:1").await, skip("v2"), "{what} leaves the old version serving");
        host.deploy("order.wasm", &guest("v2", None));
        host.reaches("order", State::Live).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_are_rehearsed_in_the_sandbox() {
    let case = br#"{ "message": { "key": "order" }, "expect": { "skip": "v1" } }"#.to_vec();
    let host = Host::with(&[("order.wasm", guest("v1", None)), ("order.cases/one.json", case)]).await;
    assert_eq!(host.handle("order").await, skip("v1"));
    host.deploy("order.wasm", &guest("v1", Some("(unreachable)")));
    let reason = host.reaches("order", State::Refused).await;
    assert!(reason.starts_with("its own case `one.json` fails: trapped: "), "{reason}");
    assert_eq!(host.handle("order").await, skip("v1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_is_taken_back() {
    let host = Host::with(&[("order.wasm", guest("v1", None))]).await;
    for _ in 0..100 {
        assert_eq!(host.handle("order").await, skip("v1"));
    }
    host.deploy("order.wasm", &guest("v2", Some("(unreachable)")));
    host.changed(1).await;
    // Records come until the version is taken back; the first six are enough.
    let mut trapped = 0;
    while host.handle.status().generation < 3 {
        match host.handle("order").await {
            Some(Err(failure)) if failure.reason == Reason::Trapped => trapped += 1,
            other => assert_eq!(other, skip("v1")),
        }
    }
    assert!(trapped >= 6, "{trapped}");
    assert_eq!(host.handle("order").await, skip("v1"));
    assert!(host.reaches("order", State::RolledBack).await.contains("records faulted"));
}

/// Swaps while records come: each is handled by exactly one version that was deployed, and none finds no plugin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_record_sees_a_swap() {
    const SWAPS: u64 = 20;
    let versions = [guest("v1", None), guest("v2", None)];
    let host = Host::with(&[("order.wasm", versions[0].clone()), ("order.toml", b"keys = [\"order:*\"]".to_vec())]).await;
    let (done, handled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let records: Vec<_> = (0..4)
        .map(|lane| {
            let (routes, sandbox, done, handled) = (Arc::clone(&host.routes), Arc::clone(&host.sandbox), Arc::clone(&done), Arc::clone(&handled));
            tokio::spawn(async move {
                let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
                while !done.load(Ordering::Relaxed) {
                    match handle(&routes, &sandbox, &format!("order:{lane}")).await {
                        Some(Ok(Verdict::Skip(words))) => {
                            if order.last() != Some(&words) {
                                order.push(words.clone());
                            }
                            seen.insert(words);
                        }
                        other => panic!("a record got {other:?}"),
                    }
                    handled.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                (seen, order.len() as u64)
            })
        })
        .collect();
    for swap in 0..SWAPS {
        host.deploy("order.wasm", &versions[usize::from(swap % 2 == 0)]);
        host.changed(swap + 1).await;
    }
    done.store(true, Ordering::Relaxed);
    for lane in records {
        let (seen, turns) = lane.await.unwrap();
        assert!(seen.iter().all(|words| ["v1", "v2"].contains(&words.as_str())), "{seen:?}");
        assert!(turns <= SWAPS + 1, "a lane went back to a version that was replaced: {turns} turns in {SWAPS} swaps");
    }
    assert!(handled.load(Ordering::Relaxed) > SWAPS);
}
