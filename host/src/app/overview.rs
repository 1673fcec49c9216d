//! What a host shows of itself and takes orders for: the stages' own words put into those of `observe`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::Reach;
use crate::config::Config;
use crate::deliver::{self, Http};
use crate::observe::status::{
    DestinationStatus, DirectoryStatus, HeldStatus, HostStatus, PartitionStatus, PluginStatus, VersionStatus, WindowStatus,
};
use crate::observe::{Answer, Release, Reloaded, Sources, Status};
use crate::outcome::Cause;
use crate::reload::{self, Watching};
use crate::run::{Command, Control, HeldLanes};

/// How long an order to look at the plugins is waited for: a file that is still being written, and the compiling of a large component.
const RELOAD_WITHIN: Duration = Duration::from_secs(60);

/// One host, from outside.
#[derive(Debug)]
pub struct Overview {
    group: String,
    topics: Vec<String>,
    bytes_max: usize,
    since: u64,
    plugins: reload::Handle,
    deliver: Arc<Http>,
    running: OnceLock<Running>,
}

/// What is known once the host takes records.
#[derive(Debug)]
struct Running {
    id: String,
    control: Control,
    reach: Reach,
}

impl Overview {
    pub(super) fn new(config: &Config, plugins: reload::Handle, deliver: Arc<Http>) -> Arc<Overview> {
        Arc::new(Overview {
            group: config.kafka.group.clone(),
            topics: config.kafka.topics.clone(),
            bytes_max: config.lanes.bytes,
            since: millis(SystemTime::now()),
            plugins,
            deliver,
            running: OnceLock::new(),
        })
    }

    /// The host takes records from now on, under this id.
    pub(super) fn runs(&self, id: &str, control: Control, reach: Reach) {
        // A host runs once, so there is nothing to replace.
        let _ = self.running.set(Running { id: id.to_owned(), control, reach });
    }
}

impl Sources for Overview {
    fn status(&self) -> Status {
        let plugins = self.plugins.status();
        let run = self.running.get().map(|running| running.control.status()).unwrap_or_default();
        Status {
            host: HostStatus {
                id: self.running.get().map(|running| running.id.clone()).unwrap_or_default(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                group: self.group.clone(),
                topics: self.topics.clone(),
                since: self.since,
                kafka: self.running.get().and_then(|running| running.reach.trouble()),
                ..HostStatus::default()
            },
            window: WindowStatus {
                bytes: run.load.bytes,
                bytes_max: self.bytes_max,
                records: run.load.records,
                in_progress: run.load.in_progress,
                held_keys: run.load.held,
                parked_records: run.load.parked,
            },
            directory: DirectoryStatus {
                path: plugins.directory.display().to_string(),
                watching: match &plugins.watching {
                    Watching::Starting => "starting".to_owned(),
                    Watching::Events => "events".to_owned(),
                    Watching::Polling { cause } => format!("polling: {cause}"),
                },
                settled: plugins.settled,
                looks: plugins.looks,
                problems: plugins.problems.iter().map(problem).collect(),
            },
            plugins: plugins.plugins.iter().map(plugin).collect(),
            destinations: self.deliver.status().into_iter().map(destination).collect(),
            partitions: run.partitions.into_iter().map(partition).collect(),
            held: held(&run.held),
        }
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        Box::pin(async {
            match tokio::time::timeout(RELOAD_WITHIN, self.plugins.reload()).await {
                Ok(_) => Reloaded::Settled,
                Err(_) => Reloaded::Loading,
            }
        })
    }

    fn release(&self, what: Release) -> Answer<'_, Option<usize>> {
        Box::pin(async {
            let command = match what {
                Release::Key(key) => Command::ReleaseKey(key),
                Release::Cause(cause) => Command::Release(cause),
                Release::Plugin(name) => Command::ReleasePlugin(name),
            };
            self.running.get()?.control.ask(command).await
        })
    }
}

pub(super) fn problem(problem: &reload::Problem) -> String {
    let hint = problem.hint.as_deref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("`{}`: {}{hint}", problem.path.display(), problem.cause)
}

fn plugin(plugin: &reload::PluginStatus) -> PluginStatus {
    let version = |version: &reload::VersionStatus| VersionStatus {
        version: version.version.as_ref().map(ToString::to_string),
        state: version.state.as_str().to_owned(),
        since: version.since,
        about: version.about.clone(),
        remark: version.remark.clone(),
        reason: version.reason.clone(),
        hint: version.hint.clone(),
    };
    PluginStatus {
        name: plugin.name.clone(),
        team: plugin.team.clone(),
        file: plugin.file.display().to_string(),
        serving: plugin.serving.as_ref().map(ToString::to_string),
        keys: plugin.keys.clone(),
        loading: plugin.loading,
        versions: plugin.versions.iter().map(version).collect(),
        ..PluginStatus::default()
    }
}

fn destination(status: deliver::DestinationStatus) -> DestinationStatus {
    DestinationStatus {
        name: status.name.to_string(),
        url: status.url,
        breaker: status.breaker.code().to_owned(),
        in_flight: status.in_flight,
        limit: status.limit,
        waiting: status.waiting,
        held: status.held,
        held_since: status.held_since.map(millis),
        failed_at: status.last_error.as_ref().map(|(at, _)| millis(*at)),
        last_error: status.last_error.map(|(_, error)| error),
        ..DestinationStatus::default()
    }
}

fn partition(status: crate::run::PartitionStatus) -> PartitionStatus {
    PartitionStatus {
        topic: status.topic,
        partition: status.partition,
        watermark: status.watermark,
        seen: status.seen,
        undecided: status.undecided,
        lag: None,
    }
}

/// What is held, by cause and name: the faults of a plugin are one cause to people, in whichever version they were.
fn held(lanes: &[HeldLanes]) -> Vec<HeldStatus> {
    let mut shown: Vec<HeldStatus> = Vec::new();
    for HeldLanes { cause, lanes } in lanes {
        let (cause, name) = match cause {
            Cause::Destination(name) => ("destination", &**name),
            Cause::Plugin { name, .. } => ("plugin", &**name),
            Cause::Busy(name) => ("busy", &**name),
            Cause::Unrouted => ("unrouted", ""),
        };
        match shown.iter_mut().find(|held| held.cause == cause && held.name == name) {
            Some(held) => held.keys += lanes,
            None => shown.push(HeldStatus { cause: cause.to_owned(), name: name.to_owned(), keys: *lanes }),
        }
    }
    shown
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
