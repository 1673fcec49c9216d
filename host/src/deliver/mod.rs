//! Deliver: one HTTP request, until its fate is known.
//!
//! Owns a client and a policy per destination: timeout, retry, breaker, rate, concurrency, credential. Promises that destinations share nothing but
//! the room for what waits for them, of which none can take the others' part, that every address is checked before it is dialled, and that a secret appears on the wire and nowhere else.
//! Refuses to know records, keys and plugins.

mod adaptive;
mod batch;
mod breaker;
mod budget;
mod client;
mod common;
mod credential;
mod destination;
mod destinations;
mod dial;
#[cfg(fuzzing)]
pub mod fuzz;
mod gate;
mod headers;
mod http;
mod memory;
mod rate;
mod reply;
mod target;
mod tls;
mod watched;

use std::sync::Arc;

pub use self::breaker::{BreakerState, Trip};
pub use self::destination::{DestinationStatus, Preview};
pub use self::http::{Http, Unusable};
pub use self::rate::Pace;
use crate::outcome::{FailedRequest, Reply, Request};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Answered with a status of class *done* (2xx).
    Done(Reply),
    /// Answered with a status of class *never* (a 4xx that no retry will mend, a 3xx).
    Refused {
        /// The answer.
        reply: Reply,
        /// What is known of the request, for a dead letter.
        request: FailedRequest,
    },
    /// Answered with success, but not with the results that the destination was to give, so that nobody knows what was taken. A repeat might do it twice.
    Unclear {
        /// In words, what was there in place of the results.
        detail: String,
        /// The answer.
        reply: Reply,
        /// What is known of the request, for a dead letter.
        request: FailedRequest,
    },
    /// The attempts were used up, and the destination's policy is to give up.
    Exhausted {
        /// In words, the last cause.
        detail: String,
        /// The last answer, if the last attempt got one.
        reply: Option<Reply>,
        /// What is known of the request, for a dead letter.
        request: FailedRequest,
    },
    /// The request breaks a rule, and was not sent: unknown destination, path that leaves the base URL, forbidden header.
    Denied {
        /// The rule, in words.
        detail: String,
        /// What is known of the request, for a dead letter.
        request: FailedRequest,
    },
    /// The destination takes nothing now; the record is to be held until [`Deliver::recovered`] names it.
    Held(Arc<str>),
}

/// What the host adds to a request.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Value of the `Idempotency-Key` header: stable across retries, restarts and hosts.
    pub idempotency_key: &'a str,
    /// The request's place among the record's requests, from 0.
    pub index: u32,
    /// Records that wait behind this one.
    pub behind: usize,
}

/// What performs requests.
pub trait Deliver: Send + Sync + 'static {
    /// Performs a request with all retries of its destination's policy.
    fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> impl Future<Output = Delivery> + Send;

    /// Waits until a destination that held records takes some again, and says how many may come now. The loop then handles the longest-held
    /// lanes anew. Cancel-safe; called from one place at a time.
    fn recovered(&self) -> impl Future<Output = (Arc<str>, usize)> + Send;

    /// How many held records of this destination may come at this moment; none while it takes nothing. [`Deliver::recovered`] may have
    /// told of room before the loop had heard of a record that was held just then, so the loop asks again now and then.
    fn room(&self, destination: &str) -> usize;
}

/// A shared one, for whoever else needs it too.
impl<D: Deliver> Deliver for Arc<D> {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        D::deliver(self, request, stamp).await
    }

    async fn recovered(&self) -> (Arc<str>, usize) {
        D::recovered(self).await
    }

    fn room(&self, destination: &str) -> usize {
        D::room(self, destination)
    }
}

#[cfg(test)]
pub(crate) mod testing;
