//! What the scenarios share: the host that is measured, and how much it holds.

use std::time::Duration;

use e2e::traffic::guest;
use e2e::{Broker, Host, HostBuilder};

/// The example plugins; each claims the keys that begin with its name.
pub(crate) const KINDS: [&str; 3] = ["order", "shipment", "refund"];

/// The destinations that they name.
pub(crate) const DESTINATIONS: [&str; 3] = ["orders", "shipping", "payments"];

/// Partitions of a topic. Arbitrary, above the number of workers.
pub(crate) const PARTITIONS: i32 = 8;

/// A run that takes longer than this has stopped.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

/// A host with the three example plugins. Each destination is at the URL that `url` gives for its name, with these further lines of configuration.
pub(crate) fn host(broker: &Broker, topic: &str, group: &str, url: impl Fn(&str) -> String, lines: &str) -> HostBuilder {
    let host = KINDS.iter().fold(Host::builder(broker, topic, group), |host, kind| host.plugin(&format!("{kind}.wasm"), guest(kind)));
    DESTINATIONS.iter().fold(host, |host, name| host.destination(name, &format!("{}/{name}", url(name)), lines))
}

/// The most memory that a running host has held, in MiB.
pub(crate) fn peak_mib(host: &Host) -> f64 {
    host.peak_memory().expect("a running host") as f64 / f64::from(1 << 20)
}
