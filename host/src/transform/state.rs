//! What a guest's store carries besides the guest: whose call it is, for which record, and what is left of its limits.

use std::fmt;
use std::sync::Arc;

use super::imports::{CallLog, LogRate};
use super::inert::Inert;
use super::limiter::Limiter;
use crate::plugin::PluginName;
use crate::record::{Assignment, Record};

/// What all calls of one version of a plugin share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: PluginName,
    /// Sorted by name.
    pub(super) settings: Vec<(String, String)>,
    pub(super) log_rate: LogRate,
}

/// The record that a call is about, as far as logs, clock and randomness need it. None while a plugin is loaded.
#[derive(Debug, Clone)]
pub(super) struct At(Option<(Arc<Assignment>, i64, Option<i64>)>);

impl At {
    pub(super) fn record(record: &Record) -> At {
        At(Some((Arc::clone(&record.assignment), record.offset, record.timestamp)))
    }

    pub(super) fn load() -> At {
        At(None)
    }

    /// Milliseconds since the epoch; 0 when the record has no timestamp.
    pub(super) fn timestamp(&self) -> u64 {
        self.0.as_ref().and_then(|(_, _, timestamp)| *timestamp).and_then(|timestamp| u64::try_from(timestamp).ok()).unwrap_or(0)
    }
}

/// `topic/partition@offset`, as [`Record`] prints itself.
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((assignment, offset, _)) => write!(f, "{}/{}@{offset}", assignment.topic, assignment.partition),
            None => f.write_str("load"),
        }
    }
}

/// The data of a store.
pub(super) struct State {
    pub(super) plugin: Arc<Shared>,
    pub(super) at: At,
    pub(super) limiter: Limiter,
    pub(super) log: CallLog,
    /// Made when the guest first asks for it; a pure guest cannot.
    pub(super) inert: Option<Box<Inert>>,
}

impl State {
    pub(super) fn new(plugin: Arc<Shared>, at: At, memory: usize, keep_log: bool) -> State {
        State { plugin, at, limiter: Limiter::new(memory), log: CallLog::new(keep_log), inert: None }
    }

    /// Readies the state of a kept instance for its next call.
    pub(super) fn begin_call(&mut self, at: At, keep_log: bool) {
        self.at = at;
        self.log = CallLog::new(keep_log);
        self.limiter.begin_call();
        if let Some(inert) = &mut self.inert {
            inert.begin_call(&self.at);
        }
    }
}
