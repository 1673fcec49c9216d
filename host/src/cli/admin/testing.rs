//! A host of words behind a real admin server.

use std::sync::{Arc, Mutex};

use super::Admin;
use crate::config;
use crate::observe::status::{
    DestinationStatus, DirectoryStatus, HeldStatus, HostStatus, PartitionStatus, PluginStatus, Status, VersionStatus, WindowStatus,
};
use crate::observe::{self, Answer, Health, Metrics, Reloaded, Sources};
use crate::policy::SecretText;

/// What it shows and was asked.
pub(in crate::cli) struct Words {
    pub(in crate::cli) status: Mutex<Status>,
    pub(in crate::cli) released: Mutex<Vec<observe::Release>>,
    pub(in crate::cli) reloads: Mutex<u32>,
}

impl Sources for Words {
    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        *self.reloads.lock().unwrap() += 1;
        Box::pin(async { Reloaded::Settled })
    }

    fn release(&self, what: observe::Release) -> Answer<'_, Option<usize>> {
        let mut released = self.released.lock().unwrap();
        released.push(what);
        let keys = 2_usize.checked_sub(released.len());
        Box::pin(async move { keys })
    }
}

/// A running server.
pub(in crate::cli) struct Served {
    pub(in crate::cli) server: observe::Admin,
    pub(in crate::cli) host: Arc<Words>,
}

impl Served {
    /// A ready host with this status.
    pub(in crate::cli) fn start(status: Status, token: Option<&str>) -> Served {
        let host = Arc::new(Words { status: Mutex::new(status), released: Mutex::default(), reloads: Mutex::default() });
        let settings = config::Admin { listen: "127.0.0.1:0".parse().unwrap(), token: token.map(SecretText::known) };
        let sources = Arc::clone(&host) as Arc<dyn Sources>;
        let server = observe::Admin::start(&settings, Health::waiting_for([]), Metrics::new(), sources).unwrap();
        Served { server, host }
    }

    pub(in crate::cli) fn admin(&self, token: Option<&str>) -> Admin {
        Admin::at(self.server.address(), token)
    }
}

/// A host of which some things are well.
pub(in crate::cli) fn well() -> Status {
    let version = |hash: &str, state: &str, since, about: Option<&str>| VersionStatus {
        version: Some(hash.into()),
        state: state.into(),
        since,
        about: about.map(str::to_owned),
        ..VersionStatus::default()
    };
    let live = version("0123456789abcdef", "live", 1_000_000, Some("order 1.4.0"));
    let retired = version("fedcba9876543210", "retired", 1_000_000, Some("order 1.3.9"));
    Status {
        host: HostStatus {
            id: "keyway-0".into(),
            version: "0.1.0".into(),
            group: "bridge".into(),
            topics: vec!["events".into()],
            since: 400_000,
            ..HostStatus::default()
        },
        window: WindowStatus { bytes: 3 << 19, bytes_max: 64 << 20, records: 120, in_progress: 3, ..WindowStatus::default() },
        directory: DirectoryStatus { path: "plugins".into(), watching: "events".into(), settled: true, looks: 4, ..DirectoryStatus::default() },
        plugins: vec![PluginStatus {
            name: "order".into(),
            team: "default".into(),
            serving: live.version.clone(),
            keys: vec!["order:*".into(), "order".into()],
            versions: vec![live, retired],
            ..PluginStatus::default()
        }],
        destinations: vec![DestinationStatus {
            name: "orders".into(),
            breaker: "closed".into(),
            in_flight: 3,
            limit: 20,
            ..DestinationStatus::default()
        }],
        partitions: vec![PartitionStatus {
            topic: "events".into(),
            partition: 0,
            watermark: Some(1_200),
            seen: Some(1_320),
            undecided: 120,
            lag: Some(180),
        }],
        ..Status::default()
    }
}

/// The same host with a refused version whose reason would like to speak to the terminal, and a destination that is away.
pub(in crate::cli) fn unwell() -> Status {
    let mut status = well();
    let refused = VersionStatus {
        version: Some("aaaaaaaaaaaaaaaa".into()),
        state: "refused".into(),
        since: 2_990_000,
        reason: Some("imports `wasi:sockets/tcp`\x1b[2J".into()),
        hint: Some("build it without sockets".into()),
        ..VersionStatus::default()
    };
    status.plugins[0].versions.insert(0, refused);
    let ledger = DestinationStatus {
        name: "ledger".into(),
        breaker: "open".into(),
        limit: 1,
        held: 7,
        held_since: Some(2_400_000),
        failed_at: Some(2_999_000),
        last_error: Some("503 Service Unavailable".into()),
        ..DestinationStatus::default()
    };
    status.destinations.push(ledger);
    status.window.held_keys = 7;
    status.held = vec![
        HeldStatus { cause: "destination".into(), name: "ledger".into(), keys: 5 },
        HeldStatus { cause: "unrouted".into(), name: String::new(), keys: 2 },
    ];
    status
}
