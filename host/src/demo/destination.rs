//! The embedded destinations: real HTTP servers on loopback, which can be told to fail.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What a request takes, as a service near by would.
const LATENCY: Duration = Duration::from_millis(5);

/// A destination that runs.
#[derive(Debug)]
pub(super) struct Destination {
    /// The name that plugins use.
    pub(super) name: &'static str,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends what is in it when it is dropped.
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    failing: AtomicBool,
    accepted: AtomicU64,
}

impl Destination {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) async fn start(name: &'static str) -> Result<Destination, String> {
        let failed = |error| format!("failed to start the destination `{name}`: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::<Shared>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Destination { name, address, shared, _serving: serving })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers everything with 503, or no longer.
    pub(super) fn fail(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    /// How many requests it has answered with success.
    pub(super) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // A failed accept concerns one connection; the client comes again.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(&shared, request));
            // A client that goes away in the middle is no event here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let whole = request.into_body().collect().await.is_ok();
    tokio::time::sleep(LATENCY).await;
    let status = match whole {
        _ if shared.failing.load(Ordering::Relaxed) => StatusCode::SERVICE_UNAVAILABLE,
        true => StatusCode::ACCEPTED,
        false => StatusCode::BAD_REQUEST,
    };
    if status.is_success() {
        shared.accepted.fetch_add(1, Ordering::Relaxed);
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}
