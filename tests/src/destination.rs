//! A real HTTP server that records what it is sent and answers as the test says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::watch;

/// How requests to a path are answered.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    latency: Duration,
    hang: bool,
    headers: Vec<(String, String)>,
    body: Bytes,
    /// The status of each request of a batch, by its number from 0 over all that came, in place of the body.
    results: Option<fn(usize) -> u16>,
    /// How often this answer is still given; then it is as if it had never been set.
    left: Option<usize>,
}

impl Answer {
    /// This status at once, without a body.
    pub fn status(status: u16) -> Answer {
        Answer { status, latency: Duration::ZERO, hang: false, headers: Vec::new(), body: Bytes::new(), results: None, left: None }
    }

    /// No answer until another one is set for the path; the request is recorded when it comes.
    pub fn hang() -> Answer {
        Answer { hang: true, ..Answer::status(200) }
    }

    /// A result for each request of a batch, which is an array: the status that the function gives for its number, from 0 over all that came.
    pub fn results(each: fn(usize) -> u16) -> Answer {
        Answer { results: Some(each), ..Answer::status(200) }
    }

    /// The same, after this time.
    #[must_use]
    pub fn after(self, latency: Duration) -> Answer {
        Answer { latency, ..self }
    }

    /// The same, for this many requests only.
    #[must_use]
    pub fn times(self, times: usize) -> Answer {
        Answer { left: Some(times), ..self }
    }

    /// The same, with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, with a body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Answer {
        Answer { body: body.into(), ..self }
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// The keys of a batch's requests, from the `Keyway-Idempotency-Keys` header.
    pub keys: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// All headers, a line each, by name.
    pub headers: String,
    /// The body, whole.
    pub body: Bytes,
    /// The status that it was or will be answered with; none when it was left hanging.
    pub status: Option<u16>,
    /// The results of a batch's requests; none where it was not answered by them.
    pub results: Vec<u16>,
    /// When it had come whole.
    pub at: Instant,
}

impl Seen {
    /// The requests of a batch, as if each had come by itself.
    ///
    /// # Panics
    /// When it is no JSON array, or has not one key for each of its elements.
    pub fn apart(&self) -> Vec<Seen> {
        let bodies: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&self.body).expect("a JSON array");
        let keys: Vec<&str> = self.keys.as_deref().expect("the keys of a batch").split(", ").collect();
        assert_eq!(keys.len(), bodies.len(), "one key for each: {keys:?}");
        let one = |(at, (key, body)): (usize, (&str, &serde_json::value::RawValue))| Seen {
            idempotency_key: Some(key.to_owned()),
            keys: None,
            // They are about the batch, which may be another one the next time.
            headers: String::new(),
            body: body.get().to_owned().into(),
            status: self.results.get(at).copied(),
            results: Vec::new(),
            ..self.clone()
        };
        keys.into_iter().zip(bodies).enumerate().map(one).collect()
    }
}

/// The server. Stops when it is dropped; what it has recorded may be taken before.
#[derive(Debug)]
pub struct Destination {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    came: Condvar,
    /// By the beginning of the path; the longest that fits is taken.
    answers: Mutex<BTreeMap<String, Answer>>,
    /// Changes whenever an answer is set, which wakes what hangs.
    changed: watch::Sender<u64>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// Requests of batches that were given a result.
    results: AtomicUsize,
}

impl Destination {
    /// Starts a server on a free port of loopback that answers everything with 200 at once.
    pub fn start() -> Destination {
        let (bound, address) = std::sync::mpsc::channel();
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            came: Condvar::new(),
            answers: Mutex::new(BTreeMap::from([(String::new(), Answer::status(200))])),
            changed: watch::channel(0).0,
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            results: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        // One thread of its own: the tests are plain functions, and the server must not share the runtime of what it measures.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                bound.send(listener.local_addr().expect("an address")).expect("someone to wait for the address");
                serve(listener, serving, stopped).await;
            });
        });
        let address = address.recv().expect("the server to start");
        Destination { address, shared, stop, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, paths that begin so are answered so; what hangs there is answered so too.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().expect("not poisoned").insert(path.to_owned(), answer);
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// What came so far, in the order in which it came.
    pub fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.shared.seen.lock().expect("not poisoned")
    }

    /// The most requests that were in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::Relaxed)
    }

    /// Waits until what came so far fulfils a condition.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    #[track_caller]
    pub fn await_seen(&self, what: &str, deadline: Duration, mut condition: impl FnMut(&[Seen]) -> bool) {
        let begun = Instant::now();
        let mut seen = self.seen();
        while !condition(&seen) {
            let left = deadline.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "waited {deadline:?} for {what}; {} requests came", seen.len());
            seen = self.shared.came.wait_timeout(seen, left).expect("not poisoned").0;
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let connection = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = connection else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, Arc::clone(&shared)));
            // A client that goes away in the middle is what some tests are about; there is no one to tell.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Counts a request in flight until it is answered or its client is gone.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn new(shared: &'a Shared) -> InFlight<'a> {
        let now = shared.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most_in_flight.fetch_max(now, Ordering::Relaxed);
        InFlight(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let counted = InFlight::new(&shared);
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(response(&Answer::status(400)));
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut changed = shared.changed.subscribe();
    let body = body.to_bytes();
    let mut answer = take_answer(&shared, &path, &body);
    {
        let mut seen = shared.seen.lock().expect("not poisoned");
        seen.push(Seen {
            method: head.method.to_string(),
            idempotency_key: header("idempotency-key"),
            keys: header("keyway-idempotency-keys"),
            content_type: header("content-type"),
            headers: lines(&head.headers),
            body: body.clone(),
            results: if answer.results.is_some() { serde_json::from_slice(&answer.body).unwrap_or_default() } else { Vec::new() },
            status: (!answer.hang).then_some(answer.status),
            at: Instant::now(),
            path: path.clone(),
        });
        shared.came.notify_all();
    }
    while answer.hang {
        // The sender lives as long as the server, so this only ends by a change.
        let _ = changed.changed().await;
        answer = take_answer(&shared, &path, &body);
    }
    if !answer.latency.is_zero() {
        tokio::time::sleep(answer.latency).await;
    }
    drop(counted);
    Ok(response(&answer))
}

/// A header a line, by name; those of one name in their order.
fn lines(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))).collect();
    lines.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
    lines.concat()
}

/// The answer with the longest beginning of this path, of those that are still to be given.
fn take_answer(shared: &Shared, path: &str, body: &[u8]) -> Answer {
    let mut answers = shared.answers.lock().expect("not poisoned");
    let longest = answers
        .iter_mut()
        .filter(|(beginning, answer)| path.starts_with(beginning.as_str()) && answer.left != Some(0))
        .max_by_key(|(beginning, _)| beginning.len());
    let Some((_, answer)) = longest else { return Answer::status(200) };
    if let Some(left) = &mut answer.left {
        *left -= 1;
    }
    let mut answer = answer.clone();
    if let Some(each) = answer.results {
        let count = serde_json::from_slice::<Vec<serde_json::Value>>(body).map_or(0, |requests| requests.len());
        let first = shared.results.fetch_add(count, Ordering::Relaxed);
        let results: Vec<u16> = (first..first + count).map(each).collect();
        answer.body = serde_json::to_vec(&results).unwrap_or_default().into();
    }
    answer
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(answer.body.clone())).unwrap_or_else(|_| {
        let mut broken = Response::new(Full::default());
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}
