//! All destinations behind one [`Deliver`].

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use super::destination::Destination;
use super::{Deliver, Delivery, Stamp};
use crate::config;
use crate::observe::Metrics;
use crate::outcome::{FailedRequest, Request};

/// Performs requests over HTTP.
pub struct Http {
    destinations: BTreeMap<Arc<str>, Arc<Destination>>,
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
        let destinations = destinations
            .iter()
            .map(|(name, settings)| match Destination::new(settings, Arc::clone(metrics)) {
                Ok(destination) => Ok((Arc::clone(name), Arc::new(destination))),
                Err(cause) => Err(Unusable { destination: Arc::clone(name), cause }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Http { destinations })
    }
}

impl Deliver for Http {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        match self.destinations.get(request.destination.as_str()) {
            Some(destination) => destination.deliver(request, stamp).await,
            None => Delivery::Denied {
                detail: format!(
                    "there is no destination `{}`; add `[destinations.{0}]` to the configuration",
                    super::target::shown(&request.destination)
                ),
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
        pending().await
    }
}
