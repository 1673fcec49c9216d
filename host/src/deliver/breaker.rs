//! The circuit breaker of one destination: a pure state machine over given times.
//!
//! Closed, it watches the share of failed attempts in a sliding window, and whether there is any reply at all. Open, it lets nothing through until
//! its time is up. Half-open, it lets one request through as a probe, whose end decides (Nygard, "Release It!", 2007, chapter 5).

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// Parts of the window. Ten make the window's end precise to a tenth, at eighty bytes a destination.
const PARTS: usize = 10;

/// Attempts without a reply that open the breaker when nothing else has ended for a whole window. A destination that hangs ends few: each takes its
/// timeout, and adaptive concurrency halves their number each time, so that `minimum` is out of reach. One may be a record that nobody can answer,
/// two may be chance.
const SILENT: u32 = 3;

/// Why a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// Too large a share of the attempts failed.
    Failures,
    /// The destination refused the credential.
    Credential,
}

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets them through.
    Closed,
    /// Lets none through.
    Open(Trip),
    /// Lets one through, to see.
    HalfOpen(Trip),
}

impl BreakerState {
    /// The word that metrics and the admin page use.
    pub fn code(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open(Trip::Failures) => "open",
            BreakerState::Open(Trip::Credential) => "open-credential",
            BreakerState::HalfOpen(_) => "half-open",
        }
    }
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Yes,
    /// Yes, and its end decides.
    Probe,
    No,
}

/// How an attempt ended, as far as the breaker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Success,
    /// With a reply.
    Failure,
    /// Without one; it had begun then.
    Silence(Instant),
    /// It says nothing: cancelled before there was an answer.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: config::Breaker,
    position: Position,
    /// The trip since the breaker was last closed; meaningless while it is closed.
    trip: Trip,
    parts: [Part; PARTS],
    /// Number of the newest part, counted from `start`.
    newest: u64,
    start: Instant,
    /// Since when there has been no reply, and how many attempts ended without one meanwhile.
    silence: Option<(Instant, u32)>,
    /// When there was a reply last.
    heard_at: Option<Instant>,
    /// The latest time before which the destination asked to be left alone.
    asked: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    attempts: u32,
    failures: u32,
}

impl Breaker {
    pub(super) fn new(settings: config::Breaker, now: Instant) -> Breaker {
        Breaker {
            settings,
            position: Position::Closed,
            trip: Trip::Failures,
            parts: [Part::default(); PARTS],
            newest: 0,
            start: now,
            silence: None,
            heard_at: None,
            asked: None,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.position {
            Position::Closed => BreakerState::Closed,
            Position::Open { .. } => BreakerState::Open(self.trip),
            Position::HalfOpen { .. } => BreakerState::HalfOpen(self.trip),
        }
    }

    /// When a probe may go, if the breaker is open.
    pub(super) fn opens_half_at(&self) -> Option<Instant> {
        match self.position {
            Position::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Moves from open to half-open when it is time.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Position::Open { until } = self.position
            && now >= until
        {
            self.position = Position::HalfOpen { probing: false };
        }
    }

    /// Whether a probe could go now.
    pub(super) fn wants_probe(&self) -> bool {
        self.position == Position::HalfOpen { probing: false }
    }

    /// Asks for one request. A probe that is let through must be answered with [`Breaker::probed`].
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        self.tick(now);
        match self.position {
            Position::Closed => Admission::Yes,
            Position::HalfOpen { probing: false } => {
                self.position = Position::HalfOpen { probing: true };
                Admission::Probe
            }
            Position::HalfOpen { probing: true } | Position::Open { .. } => Admission::No,
        }
    }

    /// The destination asked to be left alone until then. It matters once the breaker opens: a single reply of the kind may be about a single
    /// customer, and must not stop the others.
    pub(super) fn asked_to_wait(&mut self, until: Instant) {
        self.asked = Some(self.asked.map_or(until, |asked| asked.max(until)));
    }

    /// The end of an attempt that was no probe. Says whether the breaker opened by it.
    pub(super) fn ended(&mut self, now: Instant, end: End) -> bool {
        if self.position != Position::Closed || end == End::Unknown {
            // Begun before the breaker opened: it says nothing of how things are now.
            return false;
        }
        let part = self.part(now);
        part.attempts += 1;
        part.failures += u32::from(end != End::Success);
        let silent = self.is_silent(now, end);
        if end == End::Success {
            return false;
        }
        let (attempts, failures) = self.parts.iter().fold((0, 0), |(attempts, failures), part| (attempts + part.attempts, failures + part.failures));
        let failed = attempts >= self.settings.minimum && f64::from(failures) >= self.settings.failure_ratio * f64::from(attempts);
        if failed || silent {
            self.trip(now, Trip::Failures);
        }
        failed || silent
    }

    /// Whether there has been no reply for a window, and enough attempts to hear one.
    fn is_silent(&mut self, now: Instant, end: End) -> bool {
        let End::Silence(begun) = end else {
            self.heard_at = Some(now);
            self.silence = None;
            return false;
        };
        // An attempt that began before the last reply is silent since then.
        let (since, attempts) = self.silence.get_or_insert((self.heard_at.map_or(begun, |heard| heard.max(begun)), 0));
        *attempts += 1;
        *attempts >= SILENT.min(self.settings.minimum) && now.saturating_duration_since(*since) >= self.settings.window
    }

    /// The end of a probe.
    pub(super) fn probed(&mut self, now: Instant, end: End) {
        match end {
            End::Success => {
                self.position = Position::Closed;
                self.parts = [Part::default(); PARTS];
                self.silence = None;
                self.heard_at = Some(now);
                self.asked = None;
            }
            End::Failure | End::Silence(_) => self.trip(now, self.trip),
            End::Unknown => {
                if let Position::HalfOpen { probing } = &mut self.position {
                    *probing = false;
                }
            }
        }
    }

    /// Opens, whatever the window says.
    pub(super) fn trip(&mut self, now: Instant, trip: Trip) {
        let until = now + self.settings.open_for;
        self.position = Position::Open { until: self.asked.take().map_or(until, |asked| asked.max(until)) };
        self.trip = trip;
    }

    fn part(&mut self, now: Instant) -> &mut Part {
        let length = (self.settings.window / PARTS as u32).max(Duration::from_millis(1));
        let number = (now.saturating_duration_since(self.start).as_nanos() / length.as_nanos()) as u64;
        for passed in (self.newest + 1..=number).rev().take(PARTS) {
            self.parts[passed as usize % PARTS] = Part::default();
        }
        self.newest = self.newest.max(number);
        &mut self.parts[self.newest as usize % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: config::Breaker =
        config::Breaker { failure_ratio: 0.5, minimum: 10, window: Duration::from_secs(10), open_for: Duration::from_secs(5) };

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn opens_at_the_ratio_and_not_before_the_minimum() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, start);
        for _ in 0..9 {
            assert!(!breaker.ended(start, End::Failure));
        }
        assert!(breaker.ended(start, End::Failure));
        assert_eq!(breaker.state(), BreakerState::Open(Trip::Failures));

        let mut breaker = Breaker::new(SETTINGS, start);
        for _ in 0..20 {
            breaker.ended(start, End::Success);
        }
        for failures in 1..20 {
            assert!(!breaker.ended(start, End::Failure), "after {failures}");
        }
        assert!(breaker.ended(start, End::Failure));
    }

    #[test]
    fn opens_when_nothing_is_heard_for_a_window() {
        let start = Instant::now();
        let silent = |begun: u64| End::Silence(at(start, begun));
        // Three that began together and ended after a window.
        let mut breaker = Breaker::new(SETTINGS, start);
        assert!(!breaker.ended(at(start, 10_000), silent(0)));
        assert!(!breaker.ended(at(start, 10_000), silent(0)));
        assert!(breaker.ended(at(start, 10_000), silent(0)));
        // Many within less than a window say nothing yet: a restart of the destination.
        let mut breaker = Breaker::new(SETTINGS, start);
        for millis in 0..9 {
            assert!(!breaker.ended(at(start, 1_000 * millis), silent(1_000 * millis)));
        }
        assert!(breaker.ended(at(start, 10_000), silent(9_000)));
        // A reply of any kind begins the silence anew, for those too that began before it.
        for reply in [End::Success, End::Failure] {
            let mut breaker = Breaker::new(SETTINGS, start);
            assert!(!breaker.ended(at(start, 10_000), silent(0)));
            assert!(!breaker.ended(at(start, 10_000), silent(0)));
            assert!(!breaker.ended(at(start, 10_001), reply));
            for _ in 0..3 {
                assert!(!breaker.ended(at(start, 20_000), silent(9_000)), "after {reply:?}");
            }
            assert!(breaker.ended(at(start, 20_001), silent(11_000)), "after {reply:?}");
        }
    }

    #[test]
    fn forgets_what_left_the_window() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, start);
        for _ in 0..9 {
            breaker.ended(start, End::Failure);
        }
        assert!(!breaker.ended(at(start, 10_000), End::Failure));
        // A long silence, many windows long.
        for _ in 0..8 {
            assert!(!breaker.ended(at(start, 3_600_000), End::Failure));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn one_probe_decides() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, start);
        breaker.trip(start, Trip::Failures);
        assert_eq!(breaker.admit(at(start, 4_999)), Admission::No);
        assert_eq!(breaker.admit(at(start, 5_000)), Admission::Probe);
        assert_eq!(breaker.admit(at(start, 5_000)), Admission::No);
        // Late ends of earlier attempts change nothing.
        assert!(!breaker.ended(at(start, 5_000), End::Success));
        assert_eq!(breaker.state(), BreakerState::HalfOpen(Trip::Failures));
        breaker.probed(at(start, 6_000), End::Failure);
        assert_eq!(breaker.admit(at(start, 10_999)), Admission::No);
        assert_eq!(breaker.admit(at(start, 11_000)), Admission::Probe);
        breaker.probed(at(start, 11_000), End::Unknown);
        assert_eq!(breaker.admit(at(start, 11_000)), Admission::Probe);
        breaker.probed(at(start, 11_000), End::Success);
        assert_eq!(breaker.admit(at(start, 11_000)), Admission::Yes);
        // The window begins anew.
        assert!(!breaker.ended(at(start, 11_000), End::Failure));
    }

    #[test]
    fn stays_open_as_long_as_it_was_asked_to() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, start);
        breaker.asked_to_wait(at(start, 30_000));
        breaker.asked_to_wait(at(start, 20_000));
        breaker.trip(start, Trip::Failures);
        assert_eq!(breaker.opens_half_at(), Some(at(start, 30_000)));
        assert_eq!(breaker.admit(at(start, 30_000)), Admission::Probe);
        // Asked once, waited once.
        breaker.probed(at(start, 30_000), End::Failure);
        assert_eq!(breaker.opens_half_at(), Some(at(start, 35_000)));
    }
}
