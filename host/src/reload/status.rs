//! What reload shows of itself: plain data, for metrics and the admin API.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::scan::Problem;
use crate::plugin::{Refusal, Version};

/// How the plugins stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The watched directory.
    pub directory: PathBuf,
    /// Whether everything that the first look found has been let in or refused. Before that, a key without a plugin may be about to get one.
    pub ready: bool,
    /// Plugins that lay there at the start and were not waited for any longer. A key without a plugin may be one of theirs.
    pub late: Vec<String>,
    /// Whether nothing is being looked at, loaded or waited for.
    pub settled: bool,
    /// Number of changes of what serves, so far.
    pub generation: u64,
    /// Number of looks at the directory, so far.
    pub looks: u64,
    /// Number of the last request for a look by a person that is part of this.
    pub answered: u64,
    /// How changes are noticed.
    pub watching: Watching,
    /// What is wrong in the directory and belongs to no one plugin.
    pub problems: Vec<Problem>,
    /// Every plugin, by name. One whose files are gone stays for a while, as retired.
    pub plugins: Vec<PluginStatus>,
}

/// How changes in the directory are noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watching {
    /// Not yet.
    #[default]
    Starting,
    /// By the system's events, with a slow look besides.
    Events,
    /// By looking often, because events are not to be had.
    Polling {
        /// Why.
        cause: String,
    },
}

/// How one plugin stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginStatus {
    /// `NAME` or `TEAM/NAME`.
    pub name: String,
    /// Its team.
    pub team: String,
    /// Path of the component.
    pub file: PathBuf,
    /// The version that handles records, if one does.
    pub serving: Option<Version>,
    /// The key patterns that it serves.
    pub keys: Vec<String>,
    /// Whether new files of it are being looked at.
    pub loading: bool,
    /// Its versions, the last to change state first.
    pub versions: Vec<VersionStatus>,
}

/// How one version stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionStatus {
    /// Its hash; none when the files could not be read.
    pub version: Option<Version>,
    /// What became of it.
    pub state: State,
    /// Since when, in milliseconds since the epoch.
    pub since: u64,
    /// What it says of itself, for people: `order 1.4.0`.
    pub about: Option<String>,
    /// What its author had better know, though nothing is wrong.
    pub remark: Option<String>,
    /// Why, in words; none where there is nothing to explain.
    pub reason: Option<String>,
    /// The mend, if one is known.
    pub hint: Option<String>,
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// On its way: its files settle, or are in the gate. The reason says what it waits for, if that is known.
    Loading,
    /// It handles records.
    Live,
    /// It did not pass the gate.
    Refused,
    /// It served, and another version does now, or its files are gone.
    Retired,
    /// It served, faulted much more than the version before it, and was taken back.
    RolledBack,
    /// It was rolled back before and is offered again; it stays out.
    Quarantined,
}

impl State {
    /// The word that status, metrics and logs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Loading => "loading",
            State::Live => "live",
            State::Refused => "refused",
            State::Retired => "retired",
            State::RolledBack => "rolled-back",
            State::Quarantined => "quarantined",
        }
    }
}

impl VersionStatus {
    /// One of which nothing is known yet but that it is there, from now on.
    pub(super) fn loading() -> VersionStatus {
        VersionStatus { version: None, state: State::Loading, since: now(), about: None, remark: None, reason: None, hint: None }
    }
}

/// Versions of one plugin that are remembered. Enough to see what happened in a bad hour; arbitrary.
const KEPT: usize = 8;

impl PluginStatus {
    /// Why the newest files of the plugin do not serve, if they do not.
    pub fn trouble(&self) -> Option<&VersionStatus> {
        let decided = self.versions.iter().find(|version| version.state != State::Loading);
        decided.filter(|version| matches!(version.state, State::Refused | State::RolledBack | State::Quarantined))
    }
}

/// Notes a change of state, in front.
pub(super) fn note(versions: &mut Vec<VersionStatus>, version: Option<&Version>, state: State, why: Option<Refusal>) {
    let (about, remark) = match versions.iter().position(|known| known.version.as_ref() == version).map(|at| versions.remove(at)) {
        Some(known) => (known.about, known.remark),
        None => (None, None),
    };
    let (reason, hint) = why.map_or((None, None), |why| (Some(why.cause), why.hint));
    versions.insert(0, VersionStatus { version: version.cloned(), state, since: now(), about, remark, reason, hint });
    versions.truncate(KEPT);
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
