//! An HTTP server that counts, and answers at once or after a time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

pub(crate) struct Sink {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
    delay: Option<Delay>,
}

impl Sink {
    /// Answers each request this long after it came. On threads of its own, which end with the program.
    pub(crate) fn start(latency: Duration) -> Sink {
        let count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&count);
        let fails: Arc<AtomicBool> = Arc::default();
        let failing = Arc::clone(&fails);
        let (bound, address) = mpsc::channel();
        let delay = (!latency.is_zero()).then(|| Delay::start(latency));
        let delaying = delay.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                bound.send(listener.local_addr().expect("an address")).expect("someone to wait for it");
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let _ = stream.set_nodelay(true);
                    let (count, fails, delay) = (Arc::clone(&counting), Arc::clone(&failing), delaying.clone());
                    tokio::spawn(async move {
                        let answer = service_fn(|request: Request<Incoming>| {
                            let (count, fails, delay) = (Arc::clone(&count), Arc::clone(&fails), delay.clone());
                            async move {
                                // The body is read to its end, so that the connection can be used again.
                                let _ = request.into_body().collect().await;
                                count.fetch_add(1, Ordering::Relaxed);
                                if let Some(delay) = delay {
                                    delay.wait().await;
                                }
                                let mut response = Response::new(Empty::<Bytes>::new());
                                if fails.load(Ordering::Relaxed) {
                                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                                }
                                Ok::<_, Infallible>(response)
                            }
                        });
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                    });
                }
            });
        });
        Sink { address: address.recv().expect("the server to start"), count, fails, delay }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on it answers 503, or 200 again.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
        if let Some(delay) = &self.delay {
            delay.waited.store(0, Ordering::Relaxed);
        }
    }

    /// How long requests took in the server itself, on average since the reset: the latency, and what a busy machine adds to it.
    pub(crate) fn mean_latency(&self) -> Duration {
        let waited = self.delay.as_ref().map_or(0, |delay| delay.waited.load(Ordering::Relaxed));
        Duration::from_nanos(waited / self.count.load(Ordering::Relaxed).max(1) as u64)
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

    /// Waits until so many requests have come; says how many came in a second, from a tenth of them to all.
    pub(crate) fn rate(&self, requests: usize, deadline: Duration) -> f64 {
        let begun = self.await_count(requests / 10, deadline);
        let took = self.await_count(requests, deadline).duration_since(begun);
        (requests - requests / 10) as f64 / took.as_secs_f64()
    }
}

/// Wakes whoever waits after a fixed time, to a tenth of a millisecond. tokio's timers count whole milliseconds and would add up to one, which is
/// much beside the few that are measured here.
#[derive(Clone)]
struct Delay {
    latency: Duration,
    queue: mpsc::Sender<(Instant, oneshot::Sender<()>)>,
    /// Time that all have waited, in nanoseconds.
    waited: Arc<AtomicU64>,
}

impl Delay {
    fn start(latency: Duration) -> Delay {
        let (queue, waiting) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        // All wait equally long, so who came first is due first.
        std::thread::spawn(move || {
            for (due, wake) in waiting {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // A client that went away meanwhile is not waited for.
                let _ = wake.send(());
            }
        });
        Delay { latency, queue, waited: Arc::default() }
    }

    async fn wait(&self) {
        let (wake, woken) = oneshot::channel();
        let begun = Instant::now();
        // The thread lives as long as there is a queue, so neither can fail.
        let _ = self.queue.send((begun + self.latency, wake));
        let _ = woken.await;
        self.waited.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}
