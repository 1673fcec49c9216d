//! Who may be sent to one destination, and when: the choke point of its policy.
//!
//! Owns the places of the requests that are inside, the permits of those that are in flight, the breaker, the limit and the retry budget. Promises
//! that a request which cannot go soon is turned away at once (*held*), and that every one turned away is followed by a recovery: the
//! breaker's probe, or room. Refuses to know HTTP.
//!
//! All of it is behind one lock that is held for some arithmetic and never across a wait. Time that a place or a permit was taken comes back
//! when it is dropped, so a cancelled request leaves nothing behind.

mod permit;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

pub(super) use self::permit::{Ended, Permit, Place, Turn};
pub(super) use self::state::Recovery;
use self::state::State;
use super::breaker::{Admission, BreakerState, Trip};
use super::common::Common;
use crate::config;
use crate::observe::Metrics;

/// How long after a call [`Gate::room`] still tells of room. Several times what the loop takes to hear of a hold and to ask.
const CALLED: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub(super) struct Gate {
    name: Arc<str>,
    /// Longest wait for a permit.
    patience: Duration,
    state: Mutex<State>,
    /// Wakes retries that wait for their time when the breaker opens.
    opened: Notify,
    common: Arc<Common>,
    metrics: Arc<Metrics>,
}

/// A gate's state at one moment, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) breaker: BreakerState,
    pub(super) in_flight: usize,
    pub(super) limit: usize,
    pub(super) waiting: usize,
    pub(super) held: usize,
    pub(super) held_since: Option<SystemTime>,
    pub(super) last_error: Option<(SystemTime, String)>,
}

impl Gate {
    pub(super) fn new(settings: &config::Destination, common: Arc<Common>, metrics: Arc<Metrics>) -> Arc<Gate> {
        let now = Instant::now();
        Arc::new(Gate {
            name: Arc::clone(&settings.name),
            patience: settings.retry.within,
            state: Mutex::new(State::new(settings, Arc::clone(&common), now)),
            opened: Notify::new(),
            common,
            metrics,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change that matters more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a request with a body of this size; none means that the request is held.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let now = Instant::now();
        let mut state = self.lock();
        state.breaker.tick(now);
        let open = match state.breaker.state() {
            BreakerState::Closed => state.takes(bytes),
            BreakerState::HalfOpen(_) => state.breaker.wants_probe(),
            BreakerState::Open(_) => false,
        };
        if !open {
            self.hold(state);
            return None;
        }
        state.enter(bytes);
        state.promised = state.promised.saturating_sub(1);
        Some(Place::new(Arc::clone(self), bytes))
    }

    /// Waits for a permit to send a request of a record with so many behind it; none means that the request is held. Cancel-safe.
    pub(super) async fn permit(self: &Arc<Self>, turn: Turn, behind: usize) -> Option<Permit> {
        let now = Instant::now();
        let waiting = {
            let mut state = self.lock();
            match state.breaker.admit(now) {
                Admission::No => {
                    self.hold(state);
                    return None;
                }
                Admission::Probe => {
                    state.in_flight += 1;
                    let half_open = state.breaker.state();
                    drop(state);
                    self.metrics.breaker(&self.name, half_open.code());
                    return Some(self.issue(true));
                }
                Admission::Yes if state.in_flight < state.limit.get() && state.firsts.is_empty() && state.retries.is_empty() => {
                    state.issued(turn);
                    return Some(self.issue(false));
                }
                Admission::Yes => {
                    let (sender, receiver) = oneshot::channel();
                    state.queue(turn).push(behind, sender);
                    self.dispatch(&mut state);
                    receiver
                }
            }
        };
        match timeout_at(now + self.patience, waiting).await {
            Ok(Ok(permit)) => Some(permit),
            // The breaker opened, or the time was up.
            Ok(Err(_)) | Err(_) => {
                self.hold(self.lock());
                None
            }
        }
    }

    /// Turns a request away.
    pub(super) fn turn_away(&self) {
        self.hold(self.lock());
    }

    /// Turns a request away that is not to come back for a while: its attempts are used up, and it waits for better times.
    pub(super) fn turn_away_for(&self, wait: Duration) {
        let mut state = self.lock();
        let at = Instant::now() + wait;
        let place = state.later.partition_point(|other| *other <= at);
        state.later.insert(place, at);
        self.held(state);
    }

    fn hold(&self, mut state: MutexGuard<'_, State>) {
        state.held += 1;
        self.held(state);
    }

    fn held(&self, mut state: MutexGuard<'_, State>) {
        state.held_since.get_or_insert_with(SystemTime::now);
        drop(state);
        self.common.recovery.notify_one();
    }

    /// Whether requests go through as usual.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().breaker.state() == BreakerState::Closed
    }

    /// Waits until the breaker opens, unless it is open already.
    pub(super) async fn opened(&self) {
        let opened = self.opened.notified();
        let mut opened = std::pin::pin!(opened);
        opened.as_mut().enable();
        if self.is_closed() {
            opened.await;
        }
    }

    /// Whether a request was accepted by the destination since then.
    pub(super) fn accepted_since(&self, begun: Instant) -> bool {
        self.lock().accepted_at.is_some_and(|accepted| accepted >= begun)
    }

    /// The destination asked to be left alone for so long.
    pub(super) fn asked_to_wait(&self, wait: Duration) {
        self.lock().breaker.asked_to_wait(Instant::now() + wait);
    }

    /// Keeps the last error, for people.
    pub(super) fn failed(&self, error: String) {
        self.lock().last_error = Some((SystemTime::now(), error));
    }

    /// Calls back requests that were turned away, as far as it is time and there is room.
    pub(super) fn recover(&self) -> Recovery {
        let now = Instant::now();
        let mut state = self.lock();
        state.breaker.tick(now);
        while state.later.front().is_some_and(|at| *at <= now) {
            state.later.pop_front();
            state.held += 1;
        }
        if state.promised_until <= now {
            state.promised = 0;
        }
        match state.breaker.state() {
            BreakerState::Open(_) => match state.breaker.opens_half_at() {
                Some(at) if state.held > 0 => Recovery::At(at),
                Some(at) => state.later.front().map_or(Recovery::Idle, |later| Recovery::At(at.max(*later))),
                None => Recovery::Idle,
            },
            BreakerState::HalfOpen(_) if state.held == 0 => state.later.front().map_or(Recovery::Idle, |at| Recovery::At(*at)),
            BreakerState::HalfOpen(_) if state.promised > 0 => Recovery::At(state.promised_until),
            BreakerState::HalfOpen(_) if state.breaker.wants_probe() => {
                // It stays counted as held: if the probe fails it is, and one call too many does no harm.
                state.promise(1, now);
                Recovery::Ready(1)
            }
            BreakerState::HalfOpen(_) => Recovery::Idle,
            BreakerState::Closed => state.recover_closed(now),
        }
    }

    /// How many of those that were turned away may come now. Those that were called back a moment ago count, because the call may have come
    /// before its receiver knew of them.
    pub(super) fn room(&self) -> usize {
        let now = Instant::now();
        let mut state = self.lock();
        state.breaker.tick(now);
        match state.breaker.state() {
            BreakerState::Open(_) => 0,
            BreakerState::HalfOpen(_) => usize::from(state.breaker.wants_probe()),
            BreakerState::Closed if state.held > 0 || state.called_at.is_some_and(|at| now.saturating_duration_since(at) < CALLED) => state.room(),
            BreakerState::Closed => 0,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut state = self.lock();
        state.breaker.tick(Instant::now());
        Snapshot {
            breaker: state.breaker.state(),
            in_flight: state.in_flight,
            limit: state.limit.get(),
            waiting: state.places.saturating_sub(state.in_flight),
            held: state.held + state.later.len(),
            held_since: state.held_since,
            last_error: state.last_error.clone(),
        }
    }

    fn issue(self: &Arc<Self>, probe: bool) -> Permit {
        Permit::new(Arc::clone(self), probe)
    }

    /// Gives permits to those that wait, as far as the limit allows.
    fn dispatch(self: &Arc<Self>, state: &mut State) {
        while state.breaker.state() == BreakerState::Closed {
            let turn = match (state.firsts.is_empty(), state.retries.is_empty()) {
                (true, true) => return,
                (false, false) if state.budget.allows() => Turn::Retry,
                (false, _) => Turn::First,
                (true, false) => Turn::Retry,
            };
            if state.in_flight >= state.limit.get() {
                state.limit.saturated();
                return;
            }
            let Some(waiting) = state.queue(turn).pop() else { return };
            match waiting.send(self.issue(false)) {
                Ok(()) => state.issued(turn),
                // It gave up waiting. Its permit must not come back through drop, which would take the lock that is held here.
                Err(permit) => permit.void(),
            }
        }
    }

    /// The end of an attempt.
    fn ended(self: &Arc<Self>, permit: &Permit, end: Ended) {
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.breaker.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.limit.ended(now, end.sign());
        if matches!(end, Ended::Accepted(_)) {
            state.accepted_at = Some(now);
        }
        match (end, permit.is_probe()) {
            (Ended::CredentialRefused, true) => state.breaker.trip(now, Trip::Credential),
            (Ended::CredentialRefused, false) if before == BreakerState::Closed => state.breaker.trip(now, Trip::Credential),
            (Ended::CredentialRefused, false) => {}
            (_, true) => state.breaker.probed(now, end.end(permit.begun())),
            (_, false) => {
                state.breaker.ended(now, end.end(permit.begun()));
            }
        }
        let after = state.breaker.state();
        match after {
            BreakerState::Open(_) if before == BreakerState::Closed => {
                // Whoever waits learns of it by the loss of the other end.
                state.firsts.clear();
                state.retries.clear();
                state.held_since.get_or_insert_with(SystemTime::now);
            }
            BreakerState::Closed if before != BreakerState::Closed => {
                state.limit.restart(now);
                state.held_since = None;
            }
            _ => {}
        }
        self.dispatch(&mut state);
        let tell = state.held > 0 || !state.later.is_empty() || before != after;
        let last_error = if before == after { None } else { state.last_error.clone() };
        drop(state);
        if tell {
            self.common.recovery.notify_one();
        }
        if before != after {
            self.changed(before, after, last_error.map(|(_, error)| error).unwrap_or_default());
        }
    }

    fn changed(&self, before: BreakerState, after: BreakerState, last_error: String) {
        let destination = &*self.name;
        self.metrics.breaker(destination, after.code());
        match (before, after) {
            (BreakerState::Open(Trip::Credential) | BreakerState::HalfOpen(Trip::Credential), BreakerState::Open(Trip::Credential)) => {
                tracing::debug!(destination, "the credential is still refused");
            }
            (_, BreakerState::Open(Trip::Credential)) => {
                tracing::error!(destination, last_error, "the destination refuses the credential: its records are held until a probe is accepted");
            }
            (BreakerState::Closed, BreakerState::Open(Trip::Failures)) => {
                tracing::warn!(destination, last_error, "too many attempts failed: the destination's records are held until a probe is accepted");
            }
            (_, BreakerState::Closed) => tracing::info!(destination, "a probe was accepted: the destination is called again"),
            (_, BreakerState::Open(_) | BreakerState::HalfOpen(_)) => tracing::debug!(destination, last_error, "a probe failed"),
        }
        if before == BreakerState::Closed {
            self.opened.notify_waiters();
        }
    }
}
