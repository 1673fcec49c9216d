//! All destinations of a host by name, over whatever wire.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::common::Common;
use super::destination::{Destination, Wire};
use super::gate::Recovery;
use super::http::Unusable;
use super::target::shown;
use super::{Deliver, Delivery, Stamp};
use crate::config;
use crate::outcome::{FailedRequest, Request};

/// See the module's documentation.
pub(super) struct Destinations<W = Client> {
    by_name: BTreeMap<Arc<str>, Arc<Destination<W>>>,
    common: Arc<Common>,
    /// When to search for a recovery even if nothing changes.
    again: Mutex<Option<Instant>>,
    /// Where the next search for a recovery begins, so that none is always first.
    next: AtomicUsize,
}

impl<W: Wire> Destinations<W> {
    /// # Errors
    /// All whose settings cannot be used.
    pub(super) fn new(
        settings: &BTreeMap<Arc<str>, config::Destination>,
        build: impl Fn(&config::Destination, Arc<Common>) -> Result<Destination<W>, String>,
    ) -> Result<Destinations<W>, Unusable> {
        let common = Arc::new(Common::new(settings.len()));
        let (mut by_name, mut causes) = (BTreeMap::new(), Vec::new());
        for (name, settings) in settings {
            match build(settings, Arc::clone(&common)) {
                Ok(destination) => drop(by_name.insert(Arc::clone(name), Arc::new(destination))),
                Err(cause) => causes.push(format!("destination `{name}`: {cause}")),
            }
        }
        if causes.is_empty() {
            Ok(Destinations { by_name, common, again: Mutex::new(None), next: AtomicUsize::new(0) })
        } else {
            Err(Unusable { causes })
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Destination<W>> {
        self.by_name.values().map(|destination| &**destination)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Destination<W>>> {
        self.by_name.get(name)
    }

    /// The next destination that calls requests back, or when to look again.
    fn search(&self) -> Result<(Arc<str>, usize), Option<Instant>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.by_name.len();
        let mut again: Option<Instant> = None;
        for (name, destination) in self.by_name.iter().cycle().skip(first % count.max(1)).take(count) {
            match destination.gate().recover() {
                Recovery::Ready(room) => return Ok((Arc::clone(name), room)),
                Recovery::At(at) => again = Some(again.map_or(at, |other| other.min(at))),
                Recovery::Idle => {}
            }
        }
        Err(again)
    }
}

/// Why a request to a destination that is not there is denied.
pub(super) fn unknown(request: &Request) -> String {
    format!("there is no destination `{}`; add `[destinations.{0}]` to the configuration", shown(&request.destination))
}

impl<W: Wire> Deliver for Destinations<W> {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        match self.get(&request.destination) {
            Some(destination) => destination.deliver(request, stamp).await,
            None => Delivery::Denied {
                detail: unknown(request),
                request: FailedRequest {
                    index: stamp.index,
                    destination: request.destination.clone(),
                    method: shown(&request.method),
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
                    let _ = timeout_at(at, self.common.recovery.notified()).await;
                }
                None => self.common.recovery.notified().await,
            }
            match self.search() {
                Ok(recovered) => {
                    // There may be more.
                    self.common.recovery.notify_one();
                    return recovered;
                }
                Err(again) => *self.again.lock().unwrap_or_else(PoisonError::into_inner) = again,
            }
        }
    }

    fn room(&self, destination: &str) -> usize {
        self.get(destination).map_or(0, |destination| destination.gate().room())
    }
}
