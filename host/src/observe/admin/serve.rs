//! Connections of the admin server.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// Connections at once. A few people, a few probes, one Prometheus; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;

/// A caller that has not sent its request's head by then holds a place for nothing.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// The life of a connection: the longest order (a reload, with the compiling of plugins) and some.
const CONNECTION_MAX: Duration = Duration::from_secs(90);

/// Pause after a failed accept, which means that the process has no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until it is told to stop. Requests that are being answered then are cut off.
pub(super) async fn until(stop: CancellationToken, listener: TcpListener, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("the admin server cannot take connections: {error}");
            return;
        }
    };
    stop.run_until_cancelled(accept(listener, router)).await;
}

async fn accept(listener: tokio::net::TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed, so there is always a place to wait for.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("the admin server failed to accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(move |request| {
                let mut router = router.clone();
                async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            match tokio::time::timeout(CONNECTION_MAX, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a connection to the admin server ended: {error}"),
                Err(_) => tracing::debug!("a connection to the admin server took too long and was cut off"),
            }
        });
    }
}
