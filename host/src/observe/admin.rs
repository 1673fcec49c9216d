//! The admin server: health, metrics, status and a few orders, over plain HTTP.
//!
//! It has a thread and a runtime of its own, so that it answers while every worker of the host is busy with guests. Nothing that it
//! serves waits for the path of a record. Connections are few, short, and bounded in time: each carries one request.

mod api;
mod guard;
mod serve;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::{Health, Metrics, Status};
use crate::config;
use crate::outcome::Cause;

/// What the admin server shows and asks for. Implemented by the wiring, since only it knows the stages.
pub trait Sources: Send + Sync + 'static {
    /// The host as it is. Must not wait: it is called for each look at the console.
    fn status(&self) -> Status;

    /// Looks at the plugins' directory again, and says how it went once everything found is let in or refused.
    fn reload(&self) -> Answer<'_, Reloaded>;

    /// Handles what is held anew, and says how many keys it concerned; none when the host is ending.
    fn release(&self, what: Release) -> Answer<'_, Option<usize>>;
}

/// Something to wait for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How another look at the plugins went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// All that was found is let in or refused.
    Settled,
    /// Something is still being loaded; the status will tell.
    Loading,
}

/// What is to be handled anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// Records of this key, whatever they are held for.
    Key(String),
    /// All that is held for this cause.
    Cause(Cause),
    /// All that is held for faults of this plugin, in whichever version.
    Plugin(Arc<str>),
}

/// A running admin server. Ends when it is dropped.
pub struct Admin {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Why the admin server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("listen on `{0}`: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Anybody on the network could ask.
    #[error("listen on `{0}` without a token: the address is not loopback (`[admin] token` is needed)")]
    Open(SocketAddr),
    /// No thread or runtime is to be had.
    #[error("start the admin server's thread: {0}")]
    Thread(std::io::Error),
}

impl Admin {
    /// Binds the address, so that a taken port is known at once, and serves from then on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: &config::Admin, health: Arc<Health>, metrics: Arc<Metrics>, sources: Arc<dyn Sources>) -> Result<Admin, StartError> {
        let listen = settings.listen;
        if !listen.ip().is_loopback() && settings.token.is_none() {
            return Err(StartError::Open(listen));
        }
        let bind = |error| StartError::Listen(listen, error);
        let listener = TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let router = api::router(guard::Guard::new(address, settings.token.clone()), health, metrics, sources);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = move || runtime.block_on(serve::until(stopped, listener, router));
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve).map_err(StartError::Thread)?;
        tracing::info!(%address, "the admin server listens");
        Ok(Admin { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin server's thread had panicked");
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admin").field(&self.address).finish()
    }
}

#[cfg(test)]
mod tests;
