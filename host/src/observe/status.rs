//! The host as it is at one moment: what `/api/status` answers.
//!
//! Plain data with the names that go over the wire. Fields are added, never renamed or taken away; whoever reads it skips what it does not know.
//! Times are milliseconds since the epoch.

use serde::{Deserialize, Serialize};

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Who it is.
    pub host: HostStatus,
    /// What waits and is in progress.
    pub window: WindowStatus,
    /// The plugins' directory.
    pub directory: DirectoryStatus,
    /// Every plugin, by name.
    pub plugins: Vec<PluginStatus>,
    /// Every destination, by name.
    pub destinations: Vec<DestinationStatus>,
    /// The partitions of this host.
    pub partitions: Vec<PartitionStatus>,
    /// Why keys are held, and how many.
    pub held: Vec<HeldStatus>,
}

/// Who a host is, and whether it is well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostStatus {
    /// Identifies it in its group.
    pub id: String,
    /// Keyway's version.
    pub version: String,
    /// The consumer group.
    pub group: String,
    /// The topics that it consumes.
    pub topics: Vec<String>,
    /// Since when it runs.
    pub since: u64,
    /// Whether it takes records. Filled by the admin server.
    pub ready: bool,
    /// Why no broker of Kafka can be reached, if none can.
    pub kafka: Option<String>,
    /// Why it does not. Filled by the admin server.
    pub reasons: Vec<String>,
    /// What is not as it should be, although the host does its job. Filled by the admin server.
    pub degraded: Vec<String>,
}

/// What waits and is in progress.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowStatus {
    /// Bytes of records in memory.
    pub bytes: usize,
    /// Their bound.
    pub bytes_max: usize,
    /// Records in memory.
    pub records: usize,
    /// Of these, in progress.
    pub in_progress: usize,
    /// Keys held.
    pub held_keys: usize,
    /// Records kept as offsets.
    pub parked_records: usize,
}

/// The plugins' directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryStatus {
    /// Where it is.
    pub path: String,
    /// How changes are noticed: `events`, `polling: CAUSE`, `starting`.
    pub watching: String,
    /// Whether nothing is being looked at or loaded.
    pub settled: bool,
    /// Number of looks at it, so far.
    pub looks: u64,
    /// What is wrong in it and belongs to no one plugin.
    pub problems: Vec<String>,
}

/// How one plugin stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginStatus {
    /// `NAME` or `TEAM/NAME`.
    pub name: String,
    /// Its team.
    pub team: String,
    /// Path of the component.
    pub file: String,
    /// The version that handles records, if one does.
    pub serving: Option<String>,
    /// The key patterns that it serves.
    pub keys: Vec<String>,
    /// Whether new files of it are being looked at.
    pub loading: bool,
    /// Its versions, the last to change state first.
    pub versions: Vec<VersionStatus>,
    /// Records delivered.
    pub delivered: u64,
    /// Records skipped.
    pub skipped: u64,
    /// Records given up.
    pub dead_lettered: u64,
    /// Half of its records ended within so many milliseconds; an estimate.
    pub p50_ms: Option<f64>,
    /// 99 of 100 did.
    pub p99_ms: Option<f64>,
}

/// How one version stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionStatus {
    /// Its hash; none when the files could not be read.
    pub version: Option<String>,
    /// `loading`, `live`, `refused`, `retired`, `rolled-back`, `quarantined`.
    pub state: String,
    /// Since when.
    pub since: u64,
    /// What it says of itself.
    pub about: Option<String>,
    /// What its author had better know, though nothing is wrong.
    pub remark: Option<String>,
    /// Why, in words.
    pub reason: Option<String>,
    /// The mend, if one is known.
    pub hint: Option<String>,
}

impl PluginStatus {
    /// Why the newest files do not serve, if they do not.
    pub fn trouble(&self) -> Option<&VersionStatus> {
        let decided = self.versions.iter().find(|version| version.state != "loading");
        decided.filter(|version| matches!(version.state.as_str(), "refused" | "rolled-back" | "quarantined"))
    }
}

/// How one destination stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationStatus {
    /// Its name.
    pub name: String,
    /// Its base URL.
    pub url: String,
    /// `closed`, `open`, `open-credential`, `half-open`.
    pub breaker: String,
    /// Requests on the wire, or waiting for the rate.
    pub in_flight: usize,
    /// Requests that may be in flight at this moment.
    pub limit: usize,
    /// Requests that wait for a permit or for their next attempt.
    pub waiting: usize,
    /// Records that it turned away and that wait for its recovery.
    pub held: usize,
    /// Since when there have been any.
    pub held_since: Option<u64>,
    /// When the last attempt failed that did.
    pub failed_at: Option<u64>,
    /// How it failed.
    pub last_error: Option<String>,
    /// Attempts that have ended.
    pub replies: u64,
    /// Of these, answered with success.
    pub done: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Half of the replies came within so many milliseconds; an estimate.
    pub p50_ms: Option<f64>,
    /// 99 of 100 did.
    pub p99_ms: Option<f64>,
}

impl DestinationStatus {
    /// Whether records for it wait, or would.
    pub fn is_holding(&self) -> bool {
        self.held > 0 || matches!(self.breaker.as_str(), "open" | "open-credential" | "half-open")
    }
}

/// One partition of this host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionStatus {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The lowest offset not yet settled; none before anything was seen.
    pub watermark: Option<i64>,
    /// One past the highest offset seen.
    pub seen: Option<i64>,
    /// Records seen and not settled.
    pub undecided: usize,
    /// Records that the group has not settled; none before Kafka has told.
    pub lag: Option<i64>,
}

/// Keys held for one cause.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldStatus {
    /// `destination`, `plugin`, `busy`, `unrouted`.
    pub cause: String,
    /// Which one; empty for `unrouted`.
    pub name: String,
    /// How many keys.
    pub keys: usize,
}

impl Status {
    /// What is not as it should be, although the host does its job: one line each.
    pub fn degraded(&self) -> Vec<String> {
        let destinations = self.destinations.iter().filter(|destination| destination.is_holding()).map(|destination| {
            let error = destination.last_error.as_deref().map(|error| format!("; last error: {error}")).unwrap_or_default();
            format!("destination `{}`: breaker {}, {} held{error}", destination.name, destination.breaker, destination.held)
        });
        let plugins = self.plugins.iter().filter_map(|plugin| {
            let version = plugin.trouble()?;
            let serving =
                plugin.serving.as_deref().map_or("nothing serves in its place".to_owned(), |hash| format!("{} goes on serving", short(hash)));
            Some(format!("plugin `{}`: {} ({serving}): {}", plugin.name, version.state, version.reason.as_deref().unwrap_or("no reason given")))
        });
        let problems = self.directory.problems.iter().map(|problem| format!("plugins' directory: {problem}"));
        let kafka = self.host.kafka.iter().map(|trouble| format!("Kafka: {trouble}"));
        kafka.chain(destinations).chain(plugins).chain(problems).collect()
    }
}

/// The beginning of a version's hash, for people.
pub fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}
