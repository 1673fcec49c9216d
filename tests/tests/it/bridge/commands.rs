//! The commands that speak with a running host, and the signal that makes it look at its plugins.

use std::fs;
use std::process::Command;
use std::time::Duration;

use e2e::traffic::guest;
use e2e::{Broker, Destination, Host, Message, until};

/// Longest wait for anything. Long, since tests share their machine.
const WAIT: Duration = Duration::from_secs(120);

#[test]
fn a_person_deploys_looks_and_releases() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("commands", 2), broker.name("commands"));
    let destination = Destination::start();
    let mut host = Host::builder(broker, &topic, &group)
        .destination("orders", &destination.url(), "")
        .table("[failures]\nunrouted = \"hold\"")
        .plugin("order.wasm", guest("order"))
        .start();

    let (status, shown, errors) = host.command(&["status"]);
    assert!(status.success(), "{shown}{errors}");
    assert!(shown.contains(&format!("group `{group}`")) && shown.contains("live") && shown.contains("order 0.1.0"), "{shown}");

    // What is no component is refused, and a deployment that waits for the word stops there.
    fs::write(host.plugins().join("shipment.wasm"), "no component").expect("a file");
    let (status, shown, errors) = host.command(&["reload"]);
    assert_eq!(status.code(), Some(3), "{shown}{errors}");
    assert!(shown.contains("plugin `order`:") && shown.contains("plugin `shipment`: nothing serves;"), "{shown}");
    let (status, json, _) = host.command(&["status", "--json"]);
    assert_eq!(status.code(), Some(3));
    assert!(json.contains("\"state\": \"refused\""), "{json}");

    // Records that nobody claims are held, and released by a command: nothing claims them still, so they are held again.
    broker.produce(&topic, (0..3).map(|n| Message::new(format!("nobody:{n}"), "{}")));
    until("three keys to be held", WAIT, || (host.metric("keyway_held_keys", &[]) as u64 == 3).then_some(()));
    let (status, shown, errors) = host.command(&["release", "--key", "nobody:1"]);
    assert!(status.success() && shown == "1 key is handled anew\n", "{shown}{errors}");
    until("three keys to be held", WAIT, || (host.metric("keyway_held_keys", &[]) as u64 == 3).then_some(()));
    let (_, shown, _) = host.command(&["status"]);
    assert!(shown.contains("HELD FOR") && shown.contains("unrouted"), "{shown}");

    // SIGHUP looks at once.
    let looks = |host: &Host| {
        let (_, json, _) = host.command(&["status", "--json"]);
        json.lines().find_map(|line| line.trim().strip_prefix("\"looks\":")?.trim().trim_end_matches(',').parse::<u64>().ok()).expect("looks")
    };
    let before = looks(&host);
    let process = host.process().expect("a running host").to_string();
    assert!(Command::new("kill").args(["-HUP", &process]).status().expect("`kill` to run").success());
    until("a look at the plugins", WAIT, || (host.log().contains("(SIGHUP)") && looks(&host) > before).then_some(()));

    assert!(host.terminate().success());
    let (status, _, errors) = host.command(&["status"]);
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("cannot be reached") && errors.contains("does the host run?"), "{errors}");
}
