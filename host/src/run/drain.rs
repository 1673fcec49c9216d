//! Partitions that go away: what is still in progress of them, and until when it may take.

use std::collections::HashSet;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::record::AssignmentId;
use crate::settle::Mark;

/// The drains under way; few at a time.
#[derive(Debug, Default)]
pub(super) struct Drains(Vec<Drain>);

/// Stays that end together.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) ids: HashSet<AssignmentId>,
    /// Records in progress.
    pub(super) in_progress: usize,
    /// When the rest is aborted.
    pub(super) deadline: Instant,
    /// Whom to tell what is settled; none at shutdown, when the loop itself is the one who waits.
    pub(super) release: Option<oneshot::Sender<Vec<Mark>>>,
}

impl Drains {
    pub(super) fn begin(&mut self, drain: Drain) {
        self.0.push(drain);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether intake of this stay has stopped.
    pub(super) fn is_draining(&self, id: AssignmentId) -> bool {
        self.0.iter().any(|drain| drain.ids.contains(&id))
    }

    /// A record of this stay is no longer in progress.
    pub(super) fn ended(&mut self, id: AssignmentId) {
        for drain in self.0.iter_mut().filter(|drain| drain.ids.contains(&id)) {
            drain.in_progress -= 1;
        }
    }

    /// Waits for the first deadline; for ever when there is no drain.
    pub(super) async fn overdue(&self) {
        match self.0.iter().map(|drain| drain.deadline).min() {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Of whose stays the rest is to be aborted now.
    pub(super) fn overdue_ids(&self) -> HashSet<AssignmentId> {
        let now = Instant::now();
        self.0.iter().filter(|drain| drain.deadline <= now).flat_map(|drain| drain.ids.iter().copied()).collect()
    }

    /// Takes out the drains of which nothing is in progress any more.
    pub(super) fn take_drained(&mut self) -> impl Iterator<Item = Drain> {
        self.0.extract_if(.., |drain| drain.in_progress == 0)
    }
}
