//! Between the consumer's thread and the loop: one bounded queue with two lines.
//!
//! Rebalances and refetched records go in the first line and records in the second, under one lock: whoever takes a record has been
//! offered every assignment that came before it, and a loop without room for records still hears all else.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Event;
use crate::record::Record;

/// Batches that wait for the loop. Eight keep it busy while the thread is in a callback, and no more memory than 8 MiB of records beside one
/// oversized record a batch.
const BATCHES: usize = 8;

/// Events of the first line that wait. A revocation waits for its answer and refetched records come in small batches, so this is never
/// reached unless the loop has stopped.
const EVENTS: usize = 16;

/// A batch is handed over at the latest with so many records: enough that the queue's lock costs nothing, few enough that a
/// queue of tiny records stays small.
pub(super) const BATCH_RECORDS: usize = 512;

/// Or with so many bytes, see [`BATCHES`].
pub(super) const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Lines {
    events: VecDeque<Event>,
    batches: VecDeque<Vec<Record>>,
    /// The loop is gone or has asked for the end: nothing that is put in is wanted.
    closed: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    room: Condvar,
    news: Notify,
}

/// Why something could not be put in.
#[derive(Debug)]
pub(super) enum Refused<T> {
    /// No room; here it is back.
    Full(T),
    /// The loop is gone.
    Closed,
}

impl Queue {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // The lock is never held over code that can panic half-way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event; without `room`, of the first line only. Cancel-safe: nothing is taken out before it is returned.
    pub(super) async fn next(&self, room: bool) -> Event {
        loop {
            {
                let mut lines = self.lines();
                let event = match lines.events.pop_front() {
                    Some(event) => Some(event),
                    None if room => lines.batches.pop_front().map(Event::Records),
                    None => None,
                };
                if let Some(event) = event {
                    drop(lines);
                    self.room.notify_all();
                    return event;
                }
            }
            // A notice that comes before this line is kept by `Notify`, since only one loop listens.
            self.news.notified().await;
        }
    }

    /// Puts in an event of the first line, waiting for room; false when the loop is gone.
    pub(super) fn put_event(&self, event: Event) -> bool {
        let mut lines = self.lines();
        while lines.events.len() >= EVENTS && !lines.closed {
            lines = self.room.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        if lines.closed {
            return false;
        }
        lines.events.push_back(event);
        drop(lines);
        self.news.notify_one();
        true
    }

    /// Puts in a batch of records, waiting at most so long for room.
    pub(super) fn put_batch(&self, batch: Vec<Record>, wait: Duration) -> Result<(), Refused<Vec<Record>>> {
        let lines = self.lines();
        let (mut lines, _) = self
            .room
            .wait_timeout_while(lines, wait, |lines| lines.batches.len() >= BATCHES && !lines.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if lines.closed {
            return Err(Refused::Closed);
        }
        if lines.batches.len() >= BATCHES {
            return Err(Refused::Full(batch));
        }
        lines.batches.push_back(batch);
        drop(lines);
        self.news.notify_one();
        Ok(())
    }

    /// Ends the queue: whoever waits for room goes on, and what lies in it is dropped, with the answers that someone may wait for.
    pub(super) fn close(&self) {
        let mut lines = self.lines();
        lines.closed = true;
        lines.events.clear();
        lines.batches.clear();
        drop(lines);
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Assignment, AssignmentId};

    fn record() -> Record {
        let assignment = Arc::new(Assignment { id: AssignmentId(1), topic: "t".into(), partition: 0 });
        Record { assignment, offset: 0, timestamp: None, key: None, headers: Vec::new(), payload: None }
    }

    #[tokio::test]
    async fn rebalances_pass_records_and_a_full_window() {
        let queue = Queue::default();
        queue.put_batch(vec![record()], Duration::ZERO).expect("room");
        assert!(queue.put_event(Event::Assigned(Vec::new())));
        assert!(matches!(queue.next(false).await, Event::Assigned(_)));
        assert!(futures_util::FutureExt::now_or_never(queue.next(false)).is_none());
        assert!(matches!(queue.next(true).await, Event::Records(records) if records.len() == 1));
    }

    #[tokio::test]
    async fn a_full_queue_gives_the_batch_back_and_a_closed_one_takes_nothing() {
        let queue = Queue::default();
        for _ in 0..BATCHES {
            queue.put_batch(vec![record()], Duration::ZERO).expect("room");
        }
        assert!(matches!(queue.put_batch(vec![record()], Duration::ZERO), Err(Refused::Full(batch)) if batch.len() == 1));
        assert!(matches!(queue.next(true).await, Event::Records(_)));
        queue.put_batch(vec![record()], Duration::ZERO).expect("room again");
        queue.close();
        assert!(matches!(queue.put_batch(vec![record()], Duration::ZERO), Err(Refused::Closed)));
        assert!(!queue.put_event(Event::Assigned(Vec::new())));
        assert!(futures_util::FutureExt::now_or_never(queue.next(true)).is_none());
    }

    #[tokio::test]
    async fn a_loop_that_waits_is_woken_from_another_thread() {
        let queue = Arc::new(Queue::default());
        let other = Arc::clone(&queue);
        let (waits, waiting) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            waiting.recv().expect("the loop to wait");
            other.put_batch(vec![record()], Duration::ZERO)
        });
        waits.send(()).expect("the thread to live");
        assert!(matches!(queue.next(true).await, Event::Records(_)));
        thread.join().expect("the thread to end").expect("room");
    }
}
