//! A redrive that sends nothing: what would happen is printed.

use std::sync::Arc;

use bytes::Bytes;

use crate::cli::print;
use crate::deliver::{Deliver, Delivery, Http, Stamp};
use crate::outcome::{FailedRequest, Reply, Request};
use crate::record::Record;
use crate::settle::{DeadLetter, Mark, Settle};

/// Prints requests that the destinations' rules let through, and takes each for answered with 200. Those that would not be sent fail as they would.
#[derive(Debug)]
pub(super) struct Announce(pub(super) Http);

impl Deliver for Announce {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        if let Err(detail) = self.0.preview(request, stamp) {
            let failed = FailedRequest {
                index: stamp.index,
                destination: request.destination.clone(),
                method: request.method.clone(),
                ..FailedRequest::default()
            };
            return Delivery::Denied { detail, request: failed };
        }
        let bytes = request.body.as_ref().map_or(0, |body| body.as_bytes().len());
        print(format!("would send {} {} to `{}`, {bytes} bytes, as {}", request.method, request.path, request.destination, stamp.idempotency_key));
        Delivery::Done(Reply { status: 200, headers: Vec::new(), body: Bytes::new(), cut: false, attempts: 1 })
    }

    fn room(&self, _destination: &str) -> usize {
        usize::MAX
    }

    async fn recovered(&self) -> (Arc<str>, usize) {
        // Nothing is ever held here.
        std::future::pending().await
    }
}

/// Prints what would be given up on again.
#[derive(Debug)]
pub(super) struct Nothing;

impl Settle for Nothing {
    fn commit(&self, _marks: Vec<Mark>) -> Result<(), String> {
        Ok(())
    }

    async fn dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), String> {
        let detail = letter.failure.detail.lines().next().unwrap_or_default();
        print(format!("would dead-letter {} again: {}: {detail}", letter.record, letter.failure.reason));
        Ok(())
    }

    async fn reply(&self, _record: &Record, _index: u32, _destination: &str, _reply: &Reply) -> Result<(), String> {
        Ok(())
    }
}
