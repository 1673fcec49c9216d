//! All destinations behind one [`Deliver`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::destination::{Destination, DestinationStatus, Preview};
use super::gate::Recovery;
use super::{Deliver, Delivery, Stamp};
use crate::config;
use crate::observe::Metrics;
use crate::outcome::{FailedRequest, Request};

/// Performs requests over HTTP.
pub struct Http {
    destinations: BTreeMap<Arc<str>, Arc<Destination>>,
    recovery: Arc<Notify>,
    /// When to search for a recovery even if nothing changes.
    again: Mutex<Option<Instant>>,
    /// Where the next search for a recovery begins, so that none is always first.
    next: AtomicUsize,
}

/// Why the destinations cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("destination `{destination}`: {cause}")]
pub struct Unusable {
    /// Name of the destination.
    pub destination: Arc<str>,
    /// What was seen, and what is accepted.
    pub cause: String,
}

impl Http {
    /// Builds a client for each destination. Connects to nothing.
    ///
    /// # Errors
    /// The first destination whose settings cannot be used: a base URL that no path can be joined to, a file that cannot be read.
    pub fn new(destinations: &BTreeMap<Arc<str>, config::Destination>, metrics: &Arc<Metrics>) -> Result<Http, Unusable> {
        let recovery = Arc::new(Notify::new());
        let destinations = destinations
            .iter()
            .map(|(name, settings)| match Destination::new(settings, Arc::clone(&recovery), Arc::clone(metrics)) {
                Ok(destination) => Ok((Arc::clone(name), Arc::new(destination))),
                Err(cause) => Err(Unusable { destination: Arc::clone(name), cause }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Http { destinations, recovery, again: Mutex::new(None), next: AtomicUsize::new(0) })
    }

    /// Every destination as it is now, by name.
    pub fn status(&self) -> Vec<DestinationStatus> {
        self.destinations.values().map(|destination| destination.status()).collect()
    }

    /// The request as it would go over the wire, but for the destination's credential and its own headers. Sends nothing.
    ///
    /// # Errors
    /// The rule that it breaks, as a delivery would say it.
    pub fn preview(&self, request: &Request, stamp: Stamp<'_>) -> Result<Preview, String> {
        match self.destinations.get(request.destination.as_str()) {
            Some(destination) => destination.preview(request, stamp),
            None => Err(unknown(request)),
        }
    }

    /// The next destination that calls requests back, or when to look again.
    fn search(&self) -> Result<(Arc<str>, usize), Option<Instant>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.destinations.len();
        let mut again: Option<Instant> = None;
        for (name, destination) in self.destinations.iter().cycle().skip(first % count.max(1)).take(count) {
            match destination.gate().recover() {
                Recovery::Ready(room) => return Ok((Arc::clone(name), room)),
                Recovery::At(at) => again = Some(again.map_or(at, |other| other.min(at))),
                Recovery::Idle => {}
            }
        }
        Err(again)
    }
}

fn unknown(request: &Request) -> String {
    format!("there is no destination `{}`; add `[destinations.{0}]` to the configuration", super::target::shown(&request.destination))
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}

impl Deliver for Http {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        match self.destinations.get(request.destination.as_str()) {
            Some(destination) => destination.deliver(request, stamp).await,
            None => Delivery::Denied {
                detail: unknown(request),
                request: FailedRequest {
                    index: stamp.index,
                    destination: request.destination.clone(),
                    method: super::target::shown(&request.method),
                    ..FailedRequest::default()
                },
            },
        }
    }

    async fn recovered(&self) -> (Arc<str>, usize) {
        loop {
            // Searched only when something has changed or when it is time: the loop asks anew for each of its turns.
            let again = *self.again.lock().unwrap_or_else(PoisonError::into_inner);
            match again {
                Some(at) => {
                    // Whichever comes first; the search decides what it means.
                    let _ = timeout_at(at, self.recovery.notified()).await;
                }
                None => self.recovery.notified().await,
            }
            match self.search() {
                Ok(recovered) => {
                    // There may be more.
                    self.recovery.notify_one();
                    return recovered;
                }
                Err(again) => *self.again.lock().unwrap_or_else(PoisonError::into_inner) = again,
            }
        }
    }

    fn room(&self, destination: &str) -> usize {
        self.destinations.get(destination).map_or(0, |destination| destination.gate().room())
    }
}

#[cfg(test)]
mod tests;
