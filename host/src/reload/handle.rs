//! What the outside holds of a running watcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

use super::status::Status;

/// What wakes the watcher from outside.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Something changed in the directory.
    pub(super) changed: Arc<Notify>,
    /// A person asks for another look ...
    pub(super) asked: Notify,
    /// ... for the so many-th time.
    pub(super) requests: AtomicU64,
}

/// The handle on a running [`Watcher`](super::Watcher).
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) signals: Arc<Signals>,
}

impl Handle {
    /// Looks at the directory now, and examines again what was refused (not what is quarantined). For `SIGHUP` and `POST /api/reload`.
    pub fn rescan(&self) {
        self.ask();
    }

    /// Asks for a look, and returns the request's number (see [`Status::answered`]).
    pub(super) fn ask(&self) -> u64 {
        let request = self.signals.requests.fetch_add(1, Ordering::AcqRel) + 1;
        self.signals.asked.notify_one();
        request
    }

    /// As [`Handle::rescan`], and waits until everything that came of it is decided. Cancel-safe. A file that is still being written, or that was
    /// removed just now, is waited for (up to five seconds); the caller's deadline should allow for that and for compiling.
    pub async fn reload(&self) -> Arc<Status> {
        let request = self.ask();
        let mut status = self.status.clone();
        match status.wait_for(|status| status.answered >= request && status.settled).await {
            Ok(status) => Arc::clone(&status),
            Err(_) => self.status(),
        }
    }

    /// How the plugins stand.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Tells of each new status.
    pub fn changes(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Waits until all that lies in the directory at the start serves or is refused; a host that takes records before that would find keys
    /// unrouted whose plugins are on the way. Waits for a directory that is not there, but once that was seen for half a minute at most: what takes
    /// longer is late ([`Handle::complete`]). Returns at once when the watcher has ended.
    pub async fn ready(&self) {
        // An error means that the watcher ended; there is nothing to wait for then.
        let _ = self.status.clone().wait_for(|status| status.ready).await;
    }

    /// Waits until nothing that lay there at the start is on its way any more, or has been for so long that it counts as new.
    pub async fn complete(&self) {
        let _ = self.status.clone().wait_for(|status| status.ready && status.late.is_empty()).await;
    }
}
