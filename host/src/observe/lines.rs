//! Lines of the log, on their way to standard error.
//!
//! Whoever writes to a pipe that nobody drains stands still, and those who log are the threads that handle records. So a line waits here for a thread
//! that does nothing but write; what has no room is dropped and counted. A library for this (`tracing-appender`) brings nine others and
//! counts lines in place of bytes.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of lines that wait, besides as many that are being written: some seconds of a host that tells everything, for a reader that is away as long.
const WAITING_MAX: usize = 4 << 20;

/// How long the end of the process waits for lines that are still to be written. Nobody may be reading.
const END: Duration = Duration::from_secs(1);

/// Lines of this process that were dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines of this process's log were dropped, since nobody drained its standard error fast enough.
pub(super) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Where lines wait. Each `write` is one of them, as [`mod@tracing_subscriber::fmt`] makes it.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// That something waits.
    filled: Condvar,
    /// That all is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// Whether something was taken that is not written yet.
    writing: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Starts the thread that writes them to `to`.
    ///
    /// # Errors
    /// No thread.
    pub fn start(mut to: impl Write + Send + 'static) -> std::io::Result<Lines> {
        let queue = Arc::new(Queue::default());
        let lines = Lines(Arc::clone(&queue));
        std::thread::Builder::new().name("keyway-log".to_owned()).spawn(move || {
            loop {
                let mut waiting = queue.lock();
                while waiting.text.is_empty() {
                    waiting.writing = false;
                    queue.written.notify_all();
                    waiting = queue.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                let text = std::mem::take(&mut waiting.text);
                waiting.writing = true;
                drop(waiting);
                // When standard error is closed there is nobody to tell.
                let _ = to.write_all(&text).and_then(|()| to.flush());
            }
        })?;
        Ok(lines)
    }

    /// Waits until all that was logged is written, but no longer than a second.
    pub fn flush(&self) {
        let all = self.0.written.wait_timeout_while(self.0.lock(), END, |waiting| waiting.writing || !waiting.text.is_empty());
        drop(all);
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.text.len() + line.len() > WAITING_MAX {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        } else {
            waiting.text.extend_from_slice(line);
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn nobody_waits_for_a_pipe_that_is_not_drained_and_whole_lines_come_when_it_is() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let lines = Lines::start(writer).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        let before = dropped();
        // Far more than may wait, what the thread has taken, and what a pipe holds.
        let all = 4 * WAITING_MAX / line.len();
        for _ in 0..all {
            (&lines).write_all(line.as_bytes()).unwrap();
        }
        let dropped = dropped() - before;
        assert!(dropped as usize > all / 3, "{dropped} of {all}");
        // It gives up, since nobody reads.
        lines.flush();
        let reading = std::thread::spawn(move || {
            let mut text = vec![0; (all - dropped as usize) * 1_000];
            reader.read_exact(&mut text).unwrap();
            text
        });
        let text = reading.join().unwrap();
        assert!(text.chunks(1_000).all(|chunk| chunk == line.as_bytes()));
        lines.flush();
        let waiting = lines.0.lock();
        assert!(waiting.text.is_empty() && !waiting.writing);
    }
}
