//! The operator's wish to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Ctrl-C or SIGTERM: the first ends a redrive when what is in progress is done, the second at once. Either way what is done is committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// No further letter is to begin.
    pub(super) asked: CancellationToken,
    /// What is in progress is not waited for either.
    pub(super) at_once: CancellationToken,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// The process cannot listen for signals.
    pub(super) fn listen() -> std::io::Result<Stop> {
        let stop = Stop::default();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stops = stop.clone();
        tokio::spawn(async move {
            for wish in [&stops.asked, &stops.at_once] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                wish.cancel();
            }
        });
        Ok(stop)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }
}
