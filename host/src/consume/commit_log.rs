//! What is said of commits that fail.
//!
//! During a rebalance the group takes no commits, and twenty a second may fail until it is over. The first failure is said at once, and those that follow as a
//! number now and then. That commits succeed is never heard of; failures that come after a pause are new ones. Knows nothing of what is done about it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines about failures that go on, and without failures until they have ended. Arbitrary.
const BETWEEN: Duration = Duration::from_secs(10);

/// Says how commits go.
#[derive(Debug, Default)]
pub(super) struct CommitLog(Mutex<Failures>);

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u64,
    last: Option<Instant>,
    /// When one was said last.
    said: Option<Instant>,
}

impl CommitLog {
    /// A commit has failed, with these words.
    pub(super) fn failed(&self, why: &str) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).failed() {
            Some(1) => tracing::warn!(why, "a commit failed and is tried again"),
            Some(in_a_row) => tracing::warn!(why, in_a_row, "commits go on failing and are tried again"),
            None => tracing::debug!(why, "a commit failed and is tried again"),
        }
    }
}

impl Failures {
    /// How many there are in a row, if that is to be said now.
    fn failed(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() >= BETWEEN) {
            *self = Failures::default();
        }
        self.in_a_row += 1;
        self.last = Some(Instant::now());
        let due = self.said.is_none_or(|said| said.elapsed() >= BETWEEN);
        due.then(|| {
            self.said = Some(Instant::now());
            self.in_a_row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_failures_the_first_is_said_and_then_their_number_now_and_then() {
        let mut failures = Failures::default();
        let mut said = Vec::new();
        for _ in 0..500 {
            said.extend(failures.failed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(said, [1, 201, 401]);
        tokio::time::sleep(BETWEEN).await;
        assert_eq!(failures.failed(), Some(1));
    }
}
