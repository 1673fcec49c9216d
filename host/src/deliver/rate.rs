//! The rate limit of one destination.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::config;

/// Requests that may go at once are what the rate allows in this time, and at least one: below it timers cannot space them anyway.
const BURST: Duration = Duration::from_millis(10);

/// Lets requests through at a steady rate, in the order in which they came (GCRA, by the `governor` crate).
pub struct Pace {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    /// Whose turn it is. Only that one sleeps for the next cell; the others wait for the turn, first come, first served.
    turn: Mutex<()>,
}

/// tokio's clock for governor, so that a paused clock pauses the rate too.
#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Pace {
    /// None when the rate is no rate (no requests, or no time).
    pub fn new(rate: config::Rate) -> Option<Pace> {
        let period = rate.per.checked_div(rate.requests).filter(|period| !period.is_zero())?;
        let burst = NonZeroU32::new((BURST.as_nanos() / period.as_nanos()) as u32).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period)?.allow_burst(burst);
        Some(Pace { limiter: RateLimiter::direct_with_clock(quota, TokioClock(Instant::now())), turn: Mutex::new(()) })
    }

    /// Waits for a place in the rate. Cancel-safe.
    pub async fn ready(&self) {
        let _turn = self.turn.lock().await;
        while let Err(not_yet) = self.limiter.check() {
            sleep(not_yet.earliest_possible().duration_since(self.limiter.clock().now()).into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_steady() {
        for (requests, per, expected) in [(500, 1, 5_000), (30, 60, 5), (5_000, 1, 50_000)] {
            let pace = Pace::new(config::Rate { requests, per: Duration::from_secs(per) }).unwrap();
            let end = Instant::now() + Duration::from_secs(10);
            let mut sent = 0;
            loop {
                pace.ready().await;
                if Instant::now() >= end {
                    break;
                }
                sent += 1;
            }
            let off = f64::from(sent) / f64::from(expected);
            assert!((0.99..=1.01).contains(&off), "{requests} in {per} s: {sent} in 10 s");
        }
        assert!(Pace::new(config::Rate { requests: 0, per: Duration::from_secs(1) }).is_none());
    }
}
