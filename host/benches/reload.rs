//! What many plugins cost, and how long a change takes, with the compile worker and its cache as in a running host.
//!
//! `cargo bench -p keyway --bench reload`, after the plugins are built. `KEYWAY_BENCH_PLUGINS=1000` sets their number, `KEYWAY_BENCH_GUEST=FILE` the
//! component of which each is a copy under another hash.

#![expect(clippy::print_stdout, reason = "a benchmark is read where it is run")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyway::observe::Metrics;
use keyway::outcome::{Failure, Verdict};
use keyway::plugin::Plugin;
use keyway::policy::{Grant, Limits};
use keyway::record::Record;
use keyway::reload::{self, Handle, Rehearse, Setup, TrustedKeys};
use keyway::route::Routes;
use keyway::transform::{Compile, Component, Sandbox, Settings, Transform};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

struct Rehearsal(Arc<Sandbox>);

impl Rehearse<Component> for Rehearsal {
    async fn rehearse(&self, plugin: &Plugin<Component>, record: &Record) -> Result<Verdict, Failure> {
        self.0.transform(plugin, record).await
    }
}

/// A host's plugins: watched, and in the table of routes.
struct Host {
    routes: Arc<Routes<Component>>,
    handle: Handle,
    _stop: DropGuard,
}

impl Host {
    fn start(root: &Path, sandbox: &Arc<Sandbox>) -> Host {
        let routes = Arc::<Routes<Component>>::default();
        let table = Arc::clone(&routes);
        let grant = Grant::everything("default", Limits::default());
        let teams = BTreeMap::from([(Arc::from("default"), Arc::new(grant))]);
        let setup = Setup { directory: root.to_owned(), teams, trusted_keys: TrustedKeys::default() };
        let publish = move |plugins: &[Arc<Plugin<Component>>]| assert!(table.serve(plugins).is_empty());
        let (watcher, handle) = reload::watcher(setup, Arc::clone(sandbox), Rehearsal(Arc::clone(sandbox)), publish);
        let stop = CancellationToken::new();
        tokio::spawn(watcher.run(stop.clone()));
        Host { routes, handle, _stop: stop.drop_guard() }
    }

    fn version(&self) -> Option<Arc<str>> {
        self.routes.find(Some("key:0")).map(|plugin| Arc::clone(&plugin.version.0))
    }
}

/// The same code under another hash: with one more custom section, which holds `mark`.
fn marked(guest: &[u8], mark: &str) -> Vec<u8> {
    let name = "mark";
    let length = u8::try_from(1 + name.len() + mark.len()).expect("a short mark");
    let mut bytes = guest.to_vec();
    bytes.extend([0, length, name.len() as u8]);
    bytes.extend(name.bytes().chain(mark.bytes()));
    bytes
}

/// Memory of this process, in MiB.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(f64::NAN);
    pages * 4096.0 / f64::from(1 << 20)
}

#[tokio::main]
async fn main() {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/built/order.wasm");
    let file = std::env::var_os("KEYWAY_BENCH_GUEST").map_or_else(|| PathBuf::from(built), PathBuf::from);
    let guest = fs::read(&file).unwrap_or_else(|error| panic!("build the plugins first: `{}`: {error}", file.display()));
    let count: usize = std::env::var("KEYWAY_BENCH_PLUGINS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000);
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("plugins");
    fs::create_dir(&root).expect("a folder");
    for at in 0..count {
        fs::write(root.join(format!("plugin{at}.wasm")), marked(&guest, &at.to_string())).expect("a component");
        fs::write(root.join(format!("plugin{at}.toml")), format!("keys = [\"key:{at}\", \"prefix:{at}:*\"]")).expect("a sidecar");
    }
    let settings = Settings {
        compile: Compile::Worker(PathBuf::from(env!("CARGO_BIN_EXE_keyway"))),
        cache: Some(folder.path().join("cache")),
        ..Settings::default()
    };
    let sandbox = Arc::new(Sandbox::new(&settings, Metrics::new()).expect("a sandbox"));
    let before = resident();
    println!("{count} plugins of {} KiB; the process without them takes {before:.0} MiB", guest.len() >> 10);

    for cache in ["cold", "warm"] {
        let began = Instant::now();
        let host = Host::start(&root, &sandbox);
        host.handle.ready().await;
        let ready = began.elapsed();
        host.handle.complete().await;
        let serving = host.routes.table().len() / 2;
        println!(
            "start, {cache} cache: ready after {:.2} s, complete after {:.2} s; {serving} serve, {:.0} MiB",
            ready.as_secs_f64(),
            began.elapsed().as_secs_f64(),
            resident()
        );
        if cache == "cold" {
            continue;
        }
        let mut times = Vec::new();
        for change in 0..20 {
            let beside = root.join("plugin0.wasm.tmp");
            fs::write(&beside, marked(&guest, &format!("change {change}"))).expect("a component");
            let old = host.version();
            let mut changes = host.routes.changes();
            let began = Instant::now();
            fs::rename(&beside, root.join("plugin0.wasm")).expect("a rename");
            while host.version() == old {
                let told = tokio::time::timeout(Duration::from_secs(60), changes.changed()).await;
                assert!(matches!(told, Ok(Ok(()))), "{:#?}", host.handle.status().plugins[0]);
            }
            times.push(began.elapsed());
        }
        times.sort_unstable();
        println!("from rename to live, compiling: median {:?}, longest {:?}", times[times.len() / 2], times[times.len() - 1]);
        lookups(&host.routes);
    }
}

fn lookups(routes: &Routes<Component>) {
    const LOOKUPS: u32 = 1_000_000;
    for (what, key) in [("exact", "key:7"), ("prefix", "prefix:7:x"), ("no pattern", "nobody")] {
        let began = Instant::now();
        let found = (0..LOOKUPS).filter(|_| std::hint::black_box(routes.find(std::hint::black_box(Some(key)))).is_some()).count();
        println!("lookup, {what}: {:?} ({found} of {LOOKUPS} found)", began.elapsed() / LOOKUPS);
    }
}
