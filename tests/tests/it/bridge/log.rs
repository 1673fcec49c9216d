//! Nobody waits for the log.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use e2e::traffic::{Traffic, check, host, requests};
use e2e::{Broker, Destination, Host};

/// Longest wait for a whole run. Long, since tests share their machine.
const RUN: Duration = Duration::from_secs(300);

/// Standard error is a pipe that nobody reads for as long as the host lives, and the host tells everything.
#[test]
fn a_log_that_nobody_reads_stops_no_record() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("undrained", 4), broker.name("undrained"));
    broker.produce(&topic, Traffic::new(500, 12).take(10_000));
    let destination = Destination::start();
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("undrained");
    let text = format!("#!/bin/bash\nexec '{}' \"$@\" 2> >(exec tail --pid=$$ -f /dev/null)\n", Host::binary().display());
    fs::write(&program, text).expect("a script");
    fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("a program");
    let mut host = host(broker, &topic, &group, &destination).program(&program, "run").environment("KEYWAY_LOG", "trace").start();
    broker.await_settled(&group, &topic, RUN);
    assert!(host.metric("keyway_log_lines_dropped_total", &[]) > 0.0, "whoever drops lines says so");
    assert!(host.terminate().success());
    assert_eq!(check(&broker.read(&topic), requests, &destination.seen()).records, 10_000);
}
