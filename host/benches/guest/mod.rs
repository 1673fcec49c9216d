//! What the benchmarks of guest calls have in common: a sandbox, a plugin in it, and the record that it is called with.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use divan::Bencher;
use keyway::observe::Metrics;
use keyway::plugin::{Candidate, Load as _, Loaded, Plugin, PluginName, Reuse, Sidecar, Version};
use keyway::policy::Limits;
use keyway::record::{Assignment, AssignmentId, Record};
use keyway::transform::{Component, Sandbox, Settings, Transform as _};
use tokio::runtime::{Builder, Runtime};

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(&Settings::default(), Metrics::new()).expect("a sandbox"));

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// An instance kept for a thousand records.
pub(crate) const KEPT: Option<Reuse> = Some(Reuse { calls: 1_000, memory: 64 << 20 });

pub(crate) fn candidate(file: &Path, reuse: Option<Reuse>) -> Candidate {
    let component = std::fs::read(file).unwrap_or_else(|error| panic!("build the plugins first: `{}`: {error}", file.display()));
    let sidecar = Sidecar { reuse, ..Sidecar::default() };
    let name = PluginName::new("default", "order");
    Candidate { name, version: Version("0".into()), component: Bytes::from(component), sidecar, limits: Limits::default() }
}

pub(crate) fn load(candidate: &Candidate) -> Loaded<Component> {
    RUNTIME.with(|runtime| runtime.block_on(SANDBOX.load(candidate))).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// A plugin of this component.
pub(crate) fn plugin(file: &Path, reuse: Option<Reuse>) -> Plugin<Component> {
    let candidate = candidate(file, reuse);
    let loaded = load(&candidate);
    Plugin::alone(candidate, loaded.code, loaded.sees_replies)
}

/// An order of 1 KiB as JSON: the payload of one of the cases of the plugin `order`.
pub(crate) fn order() -> String {
    let case: serde_json::Value = serde_json::from_str(include_str!("../../../plugins/rust/order/order.cases/created.json")).expect("a case");
    case["message"]["payload"].to_string()
}

pub(crate) fn record(payload: String) -> Record {
    Record {
        assignment: Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 0 }),
        offset: 1,
        timestamp: Some(1_700_000_000_000),
        key: Some(Bytes::from_static(b"order:1001")),
        headers: vec![("trace".to_owned(), Bytes::from_static(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))],
        payload: Some(Bytes::from(payload)),
    }
}

/// One call, on this thread's runtime.
pub(crate) fn call(plugin: &Plugin<Component>, record: &Record) {
    let verdict = RUNTIME.with(|runtime| runtime.block_on(SANDBOX.transform(plugin, record)));
    drop(verdict.unwrap_or_else(|failure| panic!("{}", failure.detail)));
}

/// Measures calls.
pub(crate) fn bench(bencher: Bencher<'_, '_>, plugin: &Plugin<Component>, record: &Record) {
    bencher.counter(divan::counter::ItemsCount::new(1_usize)).bench(|| call(plugin, record));
}
