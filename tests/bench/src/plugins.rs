//! What a thousand plugins cost: the start, the memory, and a record's way through the routes.
//!
//! Copies of one of the example components, each under a hash of its own, so that nothing is shared that would not be among a thousand teams. First the host
//! compiles them all into an empty cache, then it starts again. What counts is the time until everything in the directory has been let in;
//! joining the consumer group takes as long with one plugin, and is not in it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::traffic::guest;
use e2e::versions::marked;
use e2e::{Broker, Host, until};

use crate::figures::say;
use crate::load::Load;
use crate::setting::{DEADLINE, PARTITIONS, peak_mib};
use crate::sink::Sink;

/// Unless the command line says otherwise.
const PLUGINS: usize = 1_000;

/// Compiling a thousand components takes minutes on two cores.
const COMPILING: Duration = Duration::from_secs(1_200);

/// Orders: some three seconds on two cores.
const RECORDS: usize = 30_000;

const KEYS: usize = 1_000;

pub(crate) fn run(plugins: Option<usize>) {
    let plugins = plugins.unwrap_or(PLUGINS);
    let broker = Broker::shared();
    let topic = broker.topic("plugins", PARTITIONS);
    let orders = Load::new(&["order"], RECORDS, KEYS);
    orders.produce(broker, &topic);
    let sink = Sink::start(Duration::ZERO);
    let component = fs::read(guest("shipment")).expect("a component");
    let folder = std::env::temp_dir().join(format!("keyway-bench-plugins-{}", std::process::id()));
    let cache = folder.join("cache");
    say(&format!("plugins: {plugins} of {} KiB beside the one that has the records", component.len() >> 10));

    let alone = measure(broker, &topic, &orders, &sink, &cache, 0, &component);
    say(&format!("without them: all let in after {:.2} s, {:.0} records/s, {:.0} MiB peak", alone.0.as_secs_f64(), alone.1, alone.2));
    // While that is filled, the records have gone by before all are let in.
    let (filled, _, peak) = measure(broker, &topic, &orders, &sink, &cache, plugins, &component);
    say(&format!("with them, an empty cache: all let in after {:.2} s, {peak:.0} MiB peak (below 400)", filled.as_secs_f64()));
    let warm = measure(broker, &topic, &orders, &sink, &cache, plugins, &component);
    say(&format!(
        "with them, a warm cache: all let in after {:.2} s (below 3), {:.0} records/s ({:.2} of it without), {:.0} MiB peak (below 400)",
        warm.0.as_secs_f64(),
        warm.1,
        warm.1 / alone.1,
        warm.2
    ));
    fs::remove_dir_all(&folder).expect("the folder to go");
}

/// Time until all plugins are let in, records a second, and memory in MiB.
fn measure(broker: &Broker, topic: &str, orders: &Load, sink: &Sink, cache: &Path, count: usize, component: &[u8]) -> (Duration, f64, f64) {
    // Beside the cache, and written anew for each host, which gets a copy of its own.
    let beside = cache.with_file_name("components");
    fs::create_dir_all(&beside).expect("a folder");
    fs::create_dir_all(cache).expect("a folder");
    let mut host = Host::builder(broker, topic, &broker.name("plugins"))
        .destination("orders", &sink.url(), "")
        .plugin("order.wasm", guest("order"))
        .environment("XDG_CACHE_HOME", &cache.display().to_string());
    for at in 0..count {
        let (file, sidecar) = (beside.join(format!("{at}.wasm")), beside.join(format!("{at}.toml")));
        fs::write(&file, marked(component, &at.to_string())).expect("a component");
        fs::write(&sidecar, format!("keys = [\"key:{at}\", \"prefix:{at}:*\"]")).expect("a sidecar");
        host = host.plugin(&format!("plugin{at}.wasm"), file).plugin(&format!("plugin{at}.toml"), sidecar);
    }
    sink.reset();
    let host = host.launch();
    let launched = Instant::now();
    until("the host to be ready", COMPILING, || {
        let (_, text) = host.get("/readyz")?;
        (!text.contains("plugins:")).then_some(())
    });
    // A host begins without those that take longer than half a minute, and the next one is to find them in the cache.
    until("all plugins to be let in", COMPILING, || {
        let (_, text) = host.get("/api/status")?;
        let status: serde_json::Value = serde_json::from_str(&text).ok()?;
        let plugins = status["plugins"].as_array()?;
        (plugins.len() > count && plugins.iter().all(|plugin| plugin["serving"].is_string())).then_some(())
    });
    let ready = launched.elapsed();
    // An order is one request.
    (ready, sink.rate(orders.requests, DEADLINE), peak_mib(&host))
}
