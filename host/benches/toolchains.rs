//! What each toolchain's components cost: to load, to call with a fresh instance for each record, and with one that is kept.
//!
//! `cargo bench -p keyway --bench toolchains`. The toolchains are those of which `make languages` has left a component: the conformance plugin of each
//! language, which writes the record's JSON, an order of 1 KiB, as a request's body, and the same from off-the-shelf tools. `docs/guide/languages.md` has
//! the figures.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

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

const KEPT: Option<Reuse> = Some(Reuse { calls: 1_000, memory: 64 << 20 });

fn main() {
    divan::Divan::from_args().min_time(Duration::from_secs(2)).main();
}

fn plugins() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
}

/// Toolchains of which there is a component.
fn toolchains() -> Vec<&'static str> {
    let ours = ["rust", "c", "go", "typescript", "javascript", "python"];
    let off_the_shelf = ["off-the-shelf/go", "off-the-shelf/js-quickjs", "off-the-shelf/js", "off-the-shelf/python"];
    ours.into_iter().chain(off_the_shelf).filter(|toolchain| component_of(toolchain).is_file()).collect()
}

fn component_of(toolchain: &str) -> PathBuf {
    match toolchain {
        "rust" => plugins().join("built/conformance.wasm"),
        other if other.starts_with("off-the-shelf/") => plugins().join("built").join(other).with_extension("wasm"),
        language => plugins().join(language).join("conformance/conformance.wasm"),
    }
}

fn candidate(file: &Path, reuse: Option<Reuse>) -> Candidate {
    let component = std::fs::read(file).unwrap_or_else(|error| panic!("build the plugins first: `{}`: {error}", file.display()));
    let sidecar = Sidecar { reuse, ..Sidecar::default() };
    let name = PluginName::new("default", "order");
    Candidate { name, version: Version("0".into()), component: Bytes::from(component), sidecar, limits: Limits::default() }
}

fn load(candidate: &Candidate) -> Loaded<Component> {
    RUNTIME.with(|runtime| runtime.block_on(SANDBOX.load(candidate))).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// A plugin of this component.
fn plugin(file: &Path, reuse: Option<Reuse>) -> Plugin<Component> {
    let candidate = candidate(file, reuse);
    let loaded = load(&candidate);
    Plugin::alone(candidate, loaded.code, loaded.sees_replies)
}

/// An order of 1 KiB, one of the cases of the plugin `order`, as what the conformance plugin is to write.
fn record() -> Record {
    let case = include_str!("../../plugins/rust/order/order.cases/created.json");
    let case: serde_json::Value = serde_json::from_str(case).expect("a case");
    let payload = case["message"]["payload"].to_string();
    Record {
        assignment: Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 0 }),
        offset: 1,
        timestamp: Some(1_700_000_000_000),
        key: Some(Bytes::from_static(b"order:1001")),
        headers: vec![("trace".to_owned(), Bytes::from_static(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))],
        payload: Some(Bytes::from(format!(r#"{{"do":"echo","value":{payload}}}"#))),
    }
}

fn call(bencher: Bencher<'_, '_>, toolchain: &str, reuse: Option<Reuse>) {
    let (plugin, record) = (plugin(&component_of(toolchain), reuse), record());
    bencher.counter(divan::counter::ItemsCount::new(1_usize)).bench(|| {
        RUNTIME.with(|runtime| runtime.block_on(SANDBOX.transform(&plugin, &record))).unwrap_or_else(|failure| panic!("{}", failure.detail))
    });
}

/// What each toolchain makes, checked and compiled.
#[divan::bench(args = toolchains(), min_time = 0, sample_count = 3, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, toolchain: &str) {
    let candidate = candidate(&component_of(toolchain), None);
    bencher.counter(divan::counter::BytesCount::new(candidate.component.len())).bench(|| load(&candidate));
}

/// What each toolchain makes, with a fresh instance for each record.
#[divan::bench(args = toolchains())]
fn fresh(bencher: Bencher<'_, '_>, toolchain: &str) {
    call(bencher, toolchain, None);
}

/// Those that can be kept: with the stock adapter, Go traps when its garbage collector reads the clock in the middle of a call's end.
fn keepable() -> Vec<&'static str> {
    toolchains().into_iter().filter(|toolchain| *toolchain != "off-the-shelf/go").collect()
}

/// What each toolchain makes, with an instance kept for a thousand records.
#[divan::bench(args = keepable())]
fn kept(bencher: Bencher<'_, '_>, toolchain: &str) {
    call(bencher, toolchain, KEPT);
}
