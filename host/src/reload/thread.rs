//! The thread that the watcher runs on.

use std::io;
use std::thread;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::gate::Rehearse;
use super::watcher::Watcher;
use crate::plugin::{Load, Plugin};

/// A watcher at work.
#[derive(Debug)]
pub struct Running {
    ended: oneshot::Receiver<()>,
}

impl Running {
    /// Waits until the watcher has ended, after it was told to.
    pub async fn ended(self) {
        // It sends nothing: what it holds is dropped when it ends, however it does.
        let _ = self.ended.await;
    }
}

impl<L, R, P> Watcher<L, R, P>
where
    L: Load,
    R: Rehearse<L::Code>,
    P: FnMut(&[std::sync::Arc<Plugin<L::Code>>]) + Send + 'static,
{
    /// Runs on a thread and a runtime of its own. Among the records' tasks each of the dozen steps from a file to a version that serves would wait for
    /// its turn, and behind a full window of records that is long.
    ///
    /// # Errors
    /// The system gives no thread, or no way to wait for events.
    pub fn start(self, stop: CancellationToken) -> io::Result<Running> {
        let runtime = runtime::Builder::new_current_thread().enable_all().thread_name("keyway-reload").build()?;
        let (ends, ended) = oneshot::channel();
        thread::Builder::new().name("keyway-reload".to_owned()).spawn(move || {
            runtime.block_on(self.run(stop));
            // A look may hang in a file system that does not answer; nobody needs it any more.
            runtime.shutdown_background();
            drop::<oneshot::Sender<()>>(ends);
        })?;
        Ok(Running { ended })
    }
}
