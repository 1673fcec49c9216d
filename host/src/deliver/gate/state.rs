//! What a gate knows, behind its lock: who is inside, who waits, who was turned away. All of it is arithmetic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::permit::{Permit, Turn};
use crate::config;
use crate::deliver::adaptive::Limit;
use crate::deliver::breaker::Breaker;
use crate::deliver::budget::Budget;
use crate::deliver::common::Common;
use crate::policy::Turns;

/// How long room is kept for requests that were called back. Far longer than the loop takes to bring them; short enough to be no harm when they
/// never come, because their partition went away.
const PROMISE: Duration = Duration::from_secs(1);

/// What there is to say about requests turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Recovery {
    /// So many may come.
    Ready(usize),
    /// Ask again then, or when notified.
    At(Instant),
    /// Ask again when notified.
    Idle,
}

/// See the module's documentation.
pub(super) struct State {
    pub(super) breaker: Breaker,
    pub(super) limit: Limit,
    pub(super) budget: Budget,
    /// Bounds those inside together with other destinations'. Each costs a task and its body, while turning one away costs its transform once more.
    pub(super) common: Arc<Common>,
    pub(super) places: usize,
    pub(super) bytes: usize,
    pub(super) in_flight: usize,
    pub(super) firsts: Turns<oneshot::Sender<Permit>>,
    pub(super) retries: Turns<oneshot::Sender<Permit>>,
    /// Requests turned away and not yet called back.
    pub(super) held: usize,
    /// The same, but not to be called back before this time; sorted.
    pub(super) later: VecDeque<Instant>,
    /// Requests called back that have not come yet, as far as one can tell, and until when they are waited for.
    pub(super) promised: usize,
    pub(super) promised_until: Instant,
    /// When requests were called back last.
    pub(super) called_at: Option<Instant>,
    pub(super) accepted_at: Option<Instant>,
    pub(super) held_since: Option<SystemTime>,
    pub(super) last_error: Option<(SystemTime, String)>,
}

impl State {
    pub(super) fn new(settings: &config::Destination, common: Arc<Common>, now: Instant) -> State {
        State {
            breaker: Breaker::new(settings.breaker, now),
            limit: Limit::new(settings.concurrency, now),
            budget: Budget::new(),
            common,
            places: 0,
            bytes: 0,
            in_flight: 0,
            firsts: Turns::default(),
            retries: Turns::default(),
            held: 0,
            later: VecDeque::new(),
            promised: 0,
            promised_until: now,
            called_at: None,
            accepted_at: None,
            held_since: None,
            last_error: None,
        }
    }

    /// Those that wait for a permit of this kind.
    pub(super) fn queue(&mut self, turn: Turn) -> &mut Turns<oneshot::Sender<Permit>> {
        match turn {
            Turn::First => &mut self.firsts,
            Turn::Retry => &mut self.retries,
        }
    }

    /// Whether a request with a body of so many bytes may come in. One alone always may.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.places == 0 || self.common.places.left(self.places) > 0 && bytes <= self.common.bytes.left(self.bytes)
    }

    pub(super) fn enter(&mut self, bytes: usize) {
        self.common.places.take(self.places, 1);
        self.common.bytes.take(self.bytes, bytes);
        self.places += 1;
        self.bytes += bytes;
    }

    pub(super) fn leave(&mut self, bytes: usize) {
        self.places -= 1;
        self.bytes -= bytes;
        self.common.places.give(self.places, 1);
        self.common.bytes.give(self.bytes, bytes);
    }

    pub(super) fn room(&self) -> usize {
        let places = if self.common.bytes.left(self.bytes) == 0 { 0 } else { self.common.places.left(self.places) };
        places.max(usize::from(self.places == 0)).saturating_sub(self.promised)
    }

    pub(super) fn issued(&mut self, turn: Turn) {
        self.in_flight += 1;
        match turn {
            Turn::First => self.budget.earn(),
            Turn::Retry => self.budget.spend(),
        }
    }

    pub(super) fn promise(&mut self, count: usize, now: Instant) {
        self.promised += count;
        self.promised_until = now + PROMISE;
    }

    pub(super) fn recover_closed(&mut self, now: Instant) -> Recovery {
        let room = self.room();
        if self.held == 0 {
            self.held_since = if self.later.is_empty() { None } else { self.held_since };
            return self.later.front().map_or(Recovery::Idle, |at| Recovery::At(*at));
        }
        // Called back in batches, because each call costs the loop a look through its held lanes.
        if room < self.held.min((self.places + self.promised + room) / 8) {
            return if self.promised > 0 { Recovery::At(self.promised_until) } else { Recovery::Idle };
        }
        let count = self.held.min(room);
        self.held -= count;
        self.promise(count, now);
        self.called_at = Some(now);
        Recovery::Ready(count)
    }
}
