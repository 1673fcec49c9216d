//! All destinations over HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::destination::{Destination, DestinationStatus, Preview};
use super::destinations::{Destinations, unknown};
use super::{Deliver, Delivery, Stamp};
use crate::config;
use crate::observe::Metrics;
use crate::outcome::Request;

/// Performs requests over HTTP.
pub struct Http(Destinations);

/// Why destinations cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", causes.join("; "))]
pub struct Unusable {
    /// For each of them its name, what was seen, and what is accepted.
    pub causes: Vec<String>,
}

impl Http {
    /// Builds a client for each destination. Connects to nothing.
    ///
    /// # Errors
    /// All destinations whose settings cannot be used: a base URL that no path can be joined to, a file that cannot be read.
    pub fn new(destinations: &BTreeMap<Arc<str>, config::Destination>, metrics: &Arc<Metrics>) -> Result<Http, Unusable> {
        Destinations::new(destinations, |settings, common| Destination::new(settings, common, Arc::clone(metrics))).map(Http)
    }

    /// Every destination as it is now, by name.
    pub fn status(&self) -> Vec<DestinationStatus> {
        self.0.all().map(Destination::status).collect()
    }

    /// The request as it would go over the wire, but for the destination's credential and its own headers. Sends nothing.
    ///
    /// # Errors
    /// The rule that it breaks, as a delivery would say it.
    pub fn preview(&self, request: &Request, stamp: Stamp<'_>) -> Result<Preview, String> {
        match self.0.get(&request.destination) {
            Some(destination) => destination.preview(request, stamp),
            None => Err(unknown(request)),
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}

impl Deliver for Http {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        self.0.deliver(request, stamp).await
    }

    async fn recovered(&self) -> (Arc<str>, usize) {
        self.0.recovered().await
    }

    fn room(&self, destination: &str) -> usize {
        self.0.room(destination)
    }
}

#[cfg(test)]
mod tests;
