//! What a request holds at a gate: a place while it is inside, a permit while it is in flight. Both come back when they are dropped, so that a
//! cancelled request leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Gate;
use crate::deliver::adaptive::Sign;
use crate::deliver::breaker::End;

/// Whether a request goes for the first time. Retries are bounded by the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Turn {
    First,
    Retry,
}

/// A request that is inside. Dropping it is leaving.
pub(in crate::deliver) struct Place {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Place {
    pub(super) fn new(gate: Arc<Gate>, bytes: usize) -> Place {
        Place { gate, bytes }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.leave(self.bytes);
        let tell = state.held > 0;
        drop(state);
        if tell {
            self.gate.common.recovery.notify_one();
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Ended {
    /// With success, after this long if that says something.
    Accepted(Option<Duration>),
    /// With a reply that says nothing bad of the destination.
    Answered(Option<Duration>),
    /// With a reply that says that something is broken there.
    Broken(Duration),
    /// With a reply that says that there is too much to do.
    Overloaded,
    /// Without a reply, because the time was up or there was no connection: there may be too much to do.
    Silent,
    /// Without a reply for another reason.
    Lost,
    /// With a refusal of the credential that is about the destination as a whole.
    CredentialRefused,
    /// Before its end.
    Cancelled,
}

impl Ended {
    pub(super) fn end(self, begun: Instant) -> End {
        match self {
            Ended::Accepted(_) | Ended::Answered(_) => End::Success,
            Ended::Broken(_) | Ended::Overloaded => End::Failure,
            Ended::Silent | Ended::Lost => End::Silence(begun),
            Ended::CredentialRefused | Ended::Cancelled => End::Unknown,
        }
    }

    pub(super) fn sign(self) -> Sign {
        match self {
            Ended::Accepted(Some(latency)) | Ended::Answered(Some(latency)) | Ended::Broken(latency) => Sign::Reply(latency),
            Ended::Overloaded | Ended::Silent => Sign::Overload,
            _ => Sign::None,
        }
    }
}

/// The right to send once. Dropping it counts as an attempt without an end.
pub(in crate::deliver) struct Permit {
    gate: Option<Arc<Gate>>,
    probe: bool,
    begun: Instant,
}

impl Permit {
    pub(super) fn new(gate: Arc<Gate>, probe: bool) -> Permit {
        Permit { gate: Some(gate), probe, begun: Instant::now() }
    }

    /// Ends it without a trace.
    pub(super) fn void(mut self) {
        self.gate = None;
    }

    /// Whether the attempt decides if the breaker closes.
    pub(in crate::deliver) fn is_probe(&self) -> bool {
        self.probe
    }

    /// The attempt begins now, unless the breaker has opened since the permit was given.
    pub(in crate::deliver) fn begin(&mut self) -> bool {
        self.begun = Instant::now();
        self.probe || self.gate.as_ref().is_some_and(|gate| gate.is_closed())
    }

    pub(in crate::deliver) fn begun(&self) -> Instant {
        self.begun
    }

    pub(in crate::deliver) fn end(mut self, end: Ended) {
        if let Some(gate) = self.gate.take() {
            gate.ended(&self, end);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.ended(self, Ended::Cancelled);
        }
    }
}
