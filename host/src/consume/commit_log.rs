//! What is said of commits that fail.
//!
//! During a rebalance the group takes no commits, and twenty a second may fail until it is over. The first failure is said at once, those that follow as a
//! number now and then, and that commits succeed again when they do. Knows nothing of what is done about it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::time::Instant;

/// Time between two lines about failures that go on. Arbitrary.
const BETWEEN: Duration = Duration::from_secs(10);

/// Says how commits go.
#[derive(Debug, Default)]
pub(super) struct CommitLog(Mutex<Failures>);

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u64,
    /// When one was said last.
    said: Option<Instant>,
}

impl CommitLog {
    /// A commit has ended, with this error or with none.
    pub(super) fn tell(&self, error: Option<&KafkaError>) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => match failures.failed() {
                Some(1) => tracing::warn!(%error, "a commit failed and is tried again"),
                Some(in_a_row) => tracing::warn!(%error, in_a_row, "commits go on failing and are tried again"),
                None => tracing::debug!(%error, "a commit failed and is tried again"),
            },
            None => {
                if let Some(failed) = failures.succeeded() {
                    tracing::info!(failed, "commits succeed again");
                }
            }
        }
    }
}

impl Failures {
    /// How many there are in a row, if that is to be said now.
    fn failed(&mut self) -> Option<u64> {
        self.in_a_row += 1;
        let due = self.said.is_none_or(|said| said.elapsed() >= BETWEEN);
        due.then(|| {
            self.said = Some(Instant::now());
            self.in_a_row
        })
    }

    /// How many there were, if there were any.
    fn succeeded(&mut self) -> Option<u64> {
        let Failures { in_a_row, .. } = std::mem::take(self);
        (in_a_row > 0).then_some(in_a_row)
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
        assert_eq!(failures.succeeded(), Some(500));
        assert_eq!(failures.succeeded(), None);
        assert_eq!(failures.failed(), Some(1));
    }
}
