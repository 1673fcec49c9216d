//! A new plugin from nothing to its first request, as its author takes it there: made, built, tested, and copied into the directory of a running host.

use std::fs;
use std::time::Duration;

use e2e::{Broker, Destination, Host, Message};
use rdkafka::mocking::MockCluster;

use crate::Subject;
use crate::projects::{build_and_test, new};

/// What compiling the plugin in the host's worker may take on a busy machine.
const LIVE: Duration = Duration::from_secs(120);

/// A new project builds as it is, its cases pass, it takes keys of its own name, and goes live by being copied.
pub(crate) fn check(subject: &Subject) -> Result<(), String> {
    let cluster = MockCluster::new(1).expect("a broker");
    for topic in ["events", "bridge.dead-letters"] {
        cluster.create_topic(topic, 1, 1).expect("a topic");
    }
    let broker = Broker::at(cluster.bootstrap_servers());
    let destination = Destination::start();
    let host = Host::builder(&broker, "events", "bridge").destination("orders", &destination.url(), "").start();

    let parent = tempfile::tempdir().expect("a folder");
    let folder = new(subject.language, "first-one", parent.path())?;
    let said = build_and_test(&folder)?;
    let size = fs::metadata(folder.join("first-one.wasm")).expect("the component").len();
    tells(&said, size).map_err(|lacks| format!("it does not tell {lacks}:\n{said}"))?;
    fs::copy(folder.join("first-one.wasm"), host.plugins().join("first-one.wasm")).expect("the plugin to be copied");
    // The last thing that a start does is to learn where the first record is; a record waits for its plugin, whichever comes first.
    broker.produce("events", [Message::new("first-one:7", r#"{"id":7,"total":9.5}"#)]);
    destination.await_seen(&format!("the request of the new plugin in {}", subject.language), LIVE, |seen| !seen.is_empty());
    let seen = destination.seen();
    let (request, others) = seen.split_first().expect("a request");
    // A language may write the number 9.5 in one way only, but the order of the fields is its own.
    let body: serde_json::Value = serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
    let came = (request.method.as_str(), request.path.as_str(), body == serde_json::json!({ "id": 7, "total": 9.5 }), others.len());
    if came == ("PUT", "/orders/7", true, 0) { Ok(()) } else { Err(format!("the destination saw {:?}", *seen)) }
}

/// Whether `keyway build` tells what its author wants to know of a component of so many bytes; what it lacks.
fn tells(said: &str, bytes: u64) -> Result<(), &'static str> {
    let (first, rest) = said.split_once('\n').unwrap_or_default();
    let line = |name: &str| rest.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let size = if bytes < 1 << 20 { format!("{:.1} KiB", bytes as f64 / 1024.0) } else { format!("{:.1} MiB", bytes as f64 / 1048576.0) };
    let is_time = |text: &str| {
        let number = text.strip_suffix(" ms").or_else(|| text.strip_suffix(" us"));
        number.and_then(|number| number.parse::<f64>().ok()).is_some_and(|time| time > 0.0)
    };
    let call = line("first call").split_once(" with the case `an-order`, ");
    let checks = [
        ("its size", first.starts_with("built ") && first.ends_with(&format!(" s: {size}"))),
        ("its imports", line("imports").contains("`keyway:transform/log@0.1.0`") && line("imports").ends_with(" (pure)")),
        ("its keys", line("takes") == "keys `first-one:*`"),
        ("the time that it takes to load", is_time(line("load"))),
        ("the time of its first call", call.is_some_and(|(time, memory)| is_time(time) && memory.ends_with(" of memory"))),
    ];
    checks.iter().find(|(_, is_told)| !is_told).map_or(Ok(()), |(what, _)| Err(*what))
}
