//! An HTTP server that counts and answers at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

pub(crate) struct Sink {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Sink {
    /// On a thread of its own, which ends with the program.
    pub(crate) fn start() -> Sink {
        let count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&count);
        let (bound, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                bound.send(listener.local_addr().expect("an address")).expect("someone to wait for it");
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let _ = stream.set_nodelay(true);
                    let count = Arc::clone(&counting);
                    tokio::spawn(async move {
                        let answer = service_fn(|request: Request<Incoming>| {
                            let count = Arc::clone(&count);
                            async move {
                                // The body is read to its end, so that the connection can be used again.
                                let _ = request.into_body().collect().await;
                                count.fetch_add(1, Ordering::Relaxed);
                                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                            }
                        });
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                    });
                }
            });
        });
        Sink { address: address.recv().expect("the server to start"), count }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    /// Waits until so many requests have come; says when.
    pub(crate) fn await_count(&self, count: usize, deadline: Duration) -> Instant {
        let begun = Instant::now();
        while self.count.load(Ordering::Relaxed) < count {
            assert!(begun.elapsed() < deadline, "{} of {count} requests after {deadline:?}", self.count.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(1));
        }
        Instant::now()
    }
}
