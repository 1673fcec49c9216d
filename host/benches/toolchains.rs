//! What each toolchain's components cost: to load, to call with a fresh instance for each record, and with one that is kept.
//!
//! `cargo bench -p keyway --bench toolchains`. The toolchains are those of which `make languages` has left a component: the conformance plugin of each
//! language, which writes the record's JSON, an order of 1 KiB, as a request's body, and the same from off-the-shelf tools. `docs/guide/languages.md` has
//! the figures.

use std::path::PathBuf;
use std::time::Duration;

use divan::Bencher;
use keyway::plugin::Reuse;

mod guest;

fn main() {
    divan::Divan::from_args().min_time(Duration::from_secs(2)).main();
}

fn plugins() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
}

/// Toolchains of which there is a component.
fn toolchains() -> Vec<&'static str> {
    let ours = ["rust", "c", "go", "typescript", "javascript", "python"];
    let off_the_shelf = [
        "off-the-shelf/go",
        "off-the-shelf/js-quickjs",
        "off-the-shelf/js",
        "off-the-shelf/js-default",
        "off-the-shelf/python",
        "off-the-shelf/python-default",
    ];
    ours.into_iter().chain(off_the_shelf).filter(|toolchain| component_of(toolchain).is_file()).collect()
}

fn component_of(toolchain: &str) -> PathBuf {
    match toolchain {
        "rust" => plugins().join("built/conformance.wasm"),
        other if other.starts_with("off-the-shelf/") => plugins().join("built").join(other).with_extension("wasm"),
        language => plugins().join(language).join("conformance/conformance.wasm"),
    }
}

fn call(bencher: Bencher<'_, '_>, toolchain: &str, reuse: Option<Reuse>) {
    // As what the conformance plugin is to write.
    let record = guest::record(format!(r#"{{"do":"echo","value":{}}}"#, guest::order()));
    guest::bench(bencher, &guest::plugin(&component_of(toolchain), reuse), &record);
}

/// What each toolchain makes, checked and compiled.
#[divan::bench(args = toolchains(), min_time = 0, sample_count = 3, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, toolchain: &str) {
    let candidate = guest::candidate(&component_of(toolchain), None);
    bencher.counter(divan::counter::BytesCount::new(candidate.component.len())).bench(|| guest::load(&candidate));
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
    call(bencher, toolchain, guest::KEPT);
}
