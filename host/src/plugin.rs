//! A plugin as the pipeline knows it: a name, a version, and what it may do.
//!
//! Generic over the code behind it, so that tests run the whole pipeline with closures in place of components.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::policy::{Grant, Limits, Pattern};

/// Name of a plugin: `NAME` for the team `default`, `TEAM/NAME` for any other. The form that logs, metrics and dead letters carry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName {
    team: Arc<str>,
    full: Arc<str>,
}

/// The team of plugins that lie at the top of the directory.
pub const DEFAULT_TEAM: &str = "default";

impl PluginName {
    /// The plugin `name` of `team`.
    pub fn new(team: &str, name: &str) -> PluginName {
        let full = if team == DEFAULT_TEAM { name.to_owned() } else { format!("{team}/{name}") };
        PluginName { team: team.into(), full: full.into() }
    }

    /// The team's name.
    pub fn team(&self) -> &str {
        &self.team
    }

    /// `NAME` or `TEAM/NAME`.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The same, to share.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.full)
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.full)
    }
}

/// What identifies a version of a plugin: the first 128 bits of the SHA-256 of the component and its sidecar, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub Arc<str>);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What becomes of a record at which the plugin's code failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFault {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// Its key is held until the plugin's next version.
    Hold,
}

/// One version of a plugin, ready to be called. Records in progress keep the version that they began with alive.
#[derive(Debug)]
pub struct Plugin<C> {
    /// Team and name.
    pub name: PluginName,
    /// Content hash.
    pub version: Version,
    /// Key patterns, as claimed and granted.
    pub keys: Vec<Pattern>,
    /// What becomes of a record at which it fails.
    pub on_fault: OnFault,
    /// What its team may do.
    pub grant: Arc<Grant>,
    /// What one call may use.
    pub limits: Limits,
    /// Whether it wants to see the replies.
    pub sees_replies: bool,
    /// How its calls went, by which a bad version is told from a good one.
    pub tally: Tally,
    /// The code.
    pub code: C,
}

impl<C> Plugin<C> {
    /// A candidate that was loaded outside any directory, to be tried out by itself: it claims every key, and its team may name every destination.
    pub fn alone(candidate: Candidate, code: C, sees_replies: bool) -> Plugin<C> {
        let Candidate { name, version, component: _, sidecar, limits } = candidate;
        let grant = Grant::everything(name.team(), limits);
        Plugin {
            name,
            version,
            keys: vec![Pattern::Any],
            on_fault: sidecar.on_fault,
            grant: Arc::new(grant),
            limits,
            sees_replies,
            tally: Tally::default(),
            code,
        }
    }
}

/// How the calls of one version went so far. Counting is two relaxed additions, so it may be done for every record.
#[derive(Debug, Default)]
pub struct Tally {
    calls: AtomicU64,
    faults: AtomicU64,
    on_trial: AtomicBool,
    alarm: Option<Arc<Notify>>,
}

impl Tally {
    /// One that tells of faults for as long as the version is on trial.
    pub fn with_alarm(alarm: Arc<Notify>) -> Tally {
        Tally { alarm: Some(alarm), ..Tally::default() }
    }

    /// Counts a record that the version handled, and whether its code was at fault ([`Reason::is_fault`](crate::outcome::Reason::is_fault)).
    /// A reject, a skip and what a destination did are no faults.
    pub fn observed(&self, fault: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if fault {
            self.faults.fetch_add(1, Ordering::Relaxed);
            if self.on_trial.load(Ordering::Relaxed)
                && let Some(alarm) = &self.alarm
            {
                alarm.notify_one();
            }
        }
    }

    /// Calls and, of these, faults. The two are read one after the other: under load they may be some calls apart.
    pub fn read(&self) -> (u64, u64) {
        let faults = self.faults.load(Ordering::Relaxed);
        (self.calls.load(Ordering::Relaxed).max(faults), faults)
    }

    /// Begins or ends the trial, in which each fault rings the alarm.
    pub fn set_on_trial(&self, on_trial: bool) {
        self.on_trial.store(on_trial, Ordering::Relaxed);
    }
}

/// Bytes of a component, at most. componentize-py with a whole CPython makes 18 MB.
pub const COMPONENT_MAX: usize = 32 << 20;

/// A component with its sidecar, as found in the directory, before anything of it is trusted.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Team and name, from its path.
    pub name: PluginName,
    /// Content hash of component and sidecar.
    pub version: Version,
    /// The component's bytes, whole: what is checked is what is compiled.
    pub component: Bytes,
    /// What its sidecar says.
    pub sidecar: Sidecar,
    /// What one call may use: the sidecar's wishes within the team's bounds.
    pub limits: Limits,
}

/// A plugin's sidecar file `NAME.toml`, checked. Without the file, the default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sidecar {
    /// Key patterns; none leaves it to `about`, and then to the plugin's name.
    pub keys: Option<Vec<String>>,
    /// `[settings]`, sorted by name: strings as they are, any other value as JSON.
    pub settings: Vec<(String, String)>,
    /// `[limits]`, as far as given.
    pub limits: LimitsWish,
    /// What becomes of a record at which the plugin fails.
    pub on_fault: OnFault,
    /// Calls for which an instance is kept; none for a fresh one per record.
    pub reuse: Option<Reuse>,
}

/// Limits as far as someone gave them; what is not given falls back to a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsWish {
    /// See [`Limits::cpu`].
    pub cpu: Option<std::time::Duration>,
    /// See [`Limits::wall`].
    pub wall: Option<std::time::Duration>,
    /// See [`Limits::memory`].
    pub memory: Option<usize>,
    /// See [`Limits::output`].
    pub output: Option<usize>,
    /// See [`Limits::requests`].
    pub requests: Option<usize>,
    /// See [`Limits::headers`].
    pub headers: Option<usize>,
}

impl LimitsWish {
    /// These limits, with what is wished for in place of what was there.
    pub fn over(&self, limits: Limits) -> Limits {
        Limits {
            cpu: self.cpu.unwrap_or(limits.cpu),
            wall: self.wall.unwrap_or(limits.wall),
            memory: self.memory.unwrap_or(limits.memory),
            output: self.output.unwrap_or(limits.output),
            requests: self.requests.unwrap_or(limits.requests),
            headers: self.headers.unwrap_or(limits.headers),
        }
    }
}

/// Keeping an instance for several calls, at the price of purity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Calls after which the instance is retired.
    pub calls: u32,
    /// Bytes of memory after which it is retired.
    pub memory: usize,
}

impl Reuse {
    /// The same under this limit of memory: an instance is retired at three quarters of it at the latest. One that creeps towards its limit would otherwise end
    /// there, in the middle of a record.
    pub fn within(self, limit: usize) -> Reuse {
        Reuse { memory: self.memory.min(limit / 4 * 3), ..self }
    }
}

/// A component that passed the gate.
#[derive(Debug)]
pub struct Loaded<C> {
    /// Ready to be called.
    pub code: C,
    /// What `about` said, if the plugin exports it.
    pub description: Option<Description>,
    /// Whether the plugin exports `replies`.
    pub sees_replies: bool,
    /// Whether it imports the contract only.
    pub tier: Tier,
    /// Packages that it imports and that are closed: it is no worse for them as long as it calls none of their functions.
    pub closed: Vec<String>,
}

impl<C> Loaded<C> {
    /// What the plugin's author had better know, though it is no reason to refuse the plugin.
    pub fn remark(&self) -> Option<String> {
        if self.closed.is_empty() {
            return None;
        }
        let names: Vec<String> = self.closed.iter().map(|name| format!("`{name}`")).collect();
        Some(format!("imports {}, behind which there is nothing: a record for which it is called ends in a fault", names.join(", ")))
    }
}

/// What a plugin says of itself (`description` of the contract).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name for people.
    pub name: String,
    /// Version for people.
    pub version: String,
    /// Key patterns.
    pub keys: Vec<String>,
    /// JSON Schema of its settings.
    pub settings_schema: Option<String>,
}

/// What a component imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The contract's interfaces only.
    Pure,
    /// WASI 0.2 too, with nothing behind it.
    Inert,
}

/// Why a component was not let in, in words for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Refusal {
    /// What was seen, and what is accepted.
    pub cause: String,
    /// The mend, if one is known.
    pub hint: Option<String>,
}

/// What turns a candidate into code. Implemented by the sandbox; a trait so that reload is tested without one.
pub trait Load: Send + Sync + 'static {
    /// A version's code, loaded.
    type Code: fmt::Debug + Send + Sync + 'static;

    /// Checks a component as far as it goes quickly, and says whether [`prepare`](Load::prepare) has something to do: whether loading it would take
    /// more than some milliseconds.
    ///
    /// # Errors
    /// Why it would be refused.
    fn must_compile(&self, component: &Bytes) -> impl Future<Output = Result<bool, Refusal>> + Send;

    /// Compiles a component and keeps the code, so that loading it is quick from now on. May take minutes.
    ///
    /// # Errors
    /// Why it would be refused.
    fn prepare(&self, component: &Bytes) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Validates, compiles and instantiates a candidate once, and asks it to describe itself.
    ///
    /// # Errors
    /// Why it is refused. Nothing of a refused candidate stays behind.
    fn load(&self, candidate: &Candidate) -> impl Future<Output = Result<Loaded<Self::Code>, Refusal>> + Send;
}

/// A shared one, for whoever else needs it too.
impl<L: Load> Load for Arc<L> {
    type Code = L::Code;

    async fn must_compile(&self, component: &Bytes) -> Result<bool, Refusal> {
        L::must_compile(self, component).await
    }

    async fn prepare(&self, component: &Bytes) -> Result<(), Refusal> {
        L::prepare(self, component).await
    }

    async fn load(&self, candidate: &Candidate) -> Result<Loaded<Self::Code>, Refusal> {
        L::load(self, candidate).await
    }
}
