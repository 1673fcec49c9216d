//! `keyway run`: the life of a host.

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigFile, Exit, block_on, show_error};
use crate::app::App;

/// Runs a host.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigFile,
}

impl Run {
    pub(super) fn execute(self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        block_on(async {
            for remark in config.remarks() {
                tracing::warn!("{remark}");
            }
            let shutdown = match Shutdown::listen() {
                Ok(shutdown) => shutdown,
                Err(error) => {
                    show_error(format!("failed to listen for signals: {error}"), None);
                    return Exit::Failed;
                }
            };
            let app = match App::build(config) {
                Ok(app) => app,
                Err(error) => {
                    show_error(error, None);
                    return Exit::Failed;
                }
            };
            match app.until(shutdown.asked()).await {
                Ok(()) => Exit::Done,
                Err(failed) => {
                    show_error(&failed, failed.hint.as_deref());
                    Exit::Failed
                }
            }
        })
    }
}

/// The signals that end a host.
struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    fn listen() -> std::io::Result<Shutdown> {
        Ok(Shutdown { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Completes at the first signal. A second one ends the process at once: whoever sends it no longer wants to wait, and what is not
    /// settled is handled again.
    async fn asked(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("ended by a second signal; what was in progress is handled again at the next start");
            super::logging::flush();
            #[expect(clippy::disallowed_methods, reason = "whoever asks twice no longer wants to wait")]
            std::process::exit(1);
        });
    }
}
