//! The dial guard: the only place where a connection to a destination is opened.
//!
//! Promises that each address is checked right before it is dialled, literals included, and that the connection's other end is the
//! address that was checked: name and address cannot come apart between check and use (DNS rebinding). A pooled connection has been through
//! the guard of its own destination, because each destination has a client of its own.
//!
//! The host of a destination is written by the operator, never by a plugin. So names may resolve to private networks, as cluster-internal
//! names do; but a name that resolves to this machine, to link-local or metadata addresses, or to reserved ones is not dialled: no one
//! names those by a name of a network service, and whoever controls the name's DNS must not reach them through this host. An address that
//! the operator wrote as a literal is dialled, unless it is no host's address.

mod address;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// What kind of host the operator wrote into a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// An address.
    Literal(IpAddr),
    /// `localhost`, or a name below it, which are this machine by definition (RFC 6761, section 6.3).
    Local,
    /// Any other name.
    Name,
}

impl Host {
    fn of(host: &str) -> Host {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = name.parse() {
            return Host::Literal(address);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let local = b"localhost";
        let bytes = name.as_bytes();
        let is_local = bytes.len() >= local.len()
            && bytes[bytes.len() - local.len()..].eq_ignore_ascii_case(local)
            && (bytes.len() == local.len() || bytes[bytes.len() - local.len() - 1] == b'.');
        if is_local { Host::Local } else { Host::Name }
    }
}

/// Opens connections, after checking where they go.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    resolver: Resolver,
    /// For one connection, all addresses of the name together.
    timeout: Duration,
}

/// What turns names into addresses.
#[derive(Debug, Clone)]
enum Resolver {
    /// The system's.
    System,
    /// Answers given by a test, and a record of what was dialled.
    #[cfg(test)]
    Scripted(std::sync::Arc<tests::Script>),
}

impl Guard {
    pub(super) fn new(timeout: Duration) -> Guard {
        Guard { resolver: Resolver::System, timeout }
    }

    /// Checks what can be checked before anything is resolved, so that a literal that can never be dialled fails at the start.
    ///
    /// # Errors
    /// Why the host can never be dialled.
    pub(super) fn check_literal(host: &str) -> Result<(), String> {
        match Host::of(host) {
            literal @ Host::Literal(address) => address::check(literal, address).map_err(|class| format!("`url` names {class}")),
            Host::Local | Host::Name => Ok(()),
        }
    }

    async fn connect(self, uri: Uri) -> io::Result<Stream> {
        let host = uri.host().ok_or_else(|| io::Error::other("the URL has no host"))?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let kind = Host::of(host);
        let addresses = match kind {
            Host::Literal(address) => vec![SocketAddr::new(address, port)],
            Host::Local | Host::Name => self.resolve(host, port).await?,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("`{host}` resolves to no address"));
        let count = addresses.len().max(1) as u32;
        for address in addresses {
            // A resolver may answer with any port; ours is the URL's.
            let address = SocketAddr::new(address.ip().to_canonical(), port);
            if let Err(class) = address::check(kind, address.ip()) {
                last = io::Error::new(io::ErrorKind::PermissionDenied, format!("`{host}` resolves to {class}, which is not dialled"));
                continue;
            }
            match tokio::time::timeout(self.timeout / count, self.dial(address)).await {
                Ok(Ok(stream)) => {
                    let peer = stream.peer_addr()?;
                    if peer.ip().to_canonical() != address.ip() {
                        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("dialled {address}, and reached {peer}")));
                    }
                    // Requests are written whole; waiting to fill a packet only delays their last part.
                    stream.set_nodelay(true)?;
                    return Ok(Stream(TokioIo::new(stream)));
                }
                Ok(Err(error)) => last = io::Error::new(error.kind(), format!("connect to {address}: {error}")),
                Err(_) => {
                    last = io::Error::new(io::ErrorKind::TimedOut, format!("connect to {address}: no answer within {:?}", self.timeout / count))
                }
            }
        }
        Err(last)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.resolver {
            Resolver::System => {
                let found = tokio::net::lookup_host((host, port))
                    .await
                    .map_err(|error| io::Error::new(error.kind(), format!("resolve `{host}`: {error}")))?;
                Ok(found.collect())
            }
            #[cfg(test)]
            Resolver::Scripted(script) => Ok(script.resolve(host, port)),
        }
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        #[cfg(test)]
        if let Resolver::Scripted(script) = &self.resolver {
            return script.dial(address).await;
        }
        TcpStream::connect(address).await
    }
}

type Dialling<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

impl Service<Uri> for Guard {
    type Response = Stream;
    type Error = io::Error;
    type Future = Dialling<Stream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection that the guard has let through.
pub(super) struct Stream(TokioIo<TcpStream>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: hyper::rt::ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }
}

/// The way to a destination: straight, or through the forward proxy that the operator configured.
///
/// Behind a proxy it is the proxy that resolves and dials, so only the proxy's own address is checked here.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Direct(Guard),
    Proxied(Tunnel<Guard>),
}

impl Service<Uri> for Way {
    type Response = Stream;
    type Error = io::Error;
    type Future = Dialling<Stream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Way::Direct(guard) => guard.call(uri),
            Way::Proxied(tunnel) => {
                let tunnelling = tunnel.call(uri);
                Box::pin(async move { tunnelling.await.map_err(|error| io::Error::other(format!("proxy: {}", super::client::chain(&error)))) })
            }
        }
    }
}

/// Bounds the time of a connector, TLS included.
#[derive(Clone)]
pub(super) struct Bounded<C> {
    pub(super) connector: C,
    pub(super) timeout: Duration,
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = Box<dyn std::error::Error + Send + Sync>>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.connector.call(uri);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout:?}")).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
