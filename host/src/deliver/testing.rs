//! What the tests of this stage share: settings, requests, and a server on loopback; and for the tests of the loop, destinations that play a part.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderMap, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::client::{Answer, Fault};
use super::destination::Wire;
use super::destinations::Destinations;
use super::{Deliver, Http, Stamp};
use crate::config::{Auth, Breaker, Concurrency, Destination, HttpVersions, OnExhausted, Retry, Tls};
use crate::observe::Metrics;
use crate::outcome::{Body, Request};

/// A destination with short times and a breaker that does not get in the way.
pub(super) fn destination(url: &str) -> Destination {
    Destination {
        name: "orders".into(),
        url: url.parse().unwrap(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        retry: Retry { attempts: 4, backoff_min: Duration::from_millis(1), backoff_max: Duration::from_millis(20), within: Duration::from_secs(60) },
        on_exhausted: OnExhausted::DeadLetter,
        concurrency: Concurrency::Fixed(64),
        rate: None,
        breaker: Breaker { failure_ratio: 1.0, minimum: 1_000_000, window: Duration::from_secs(10), open_for: Duration::from_secs(5) },
        auth: Auth::None,
        headers: Vec::new(),
        tls: Tls::default(),
        http: HttpVersions::Auto,
        proxy: None,
        batch: None,
        reply_cap: 4096,
    }
}

pub(super) fn http(settings: Destination) -> Http {
    Http::new(&BTreeMap::from([(Arc::clone(&settings.name), settings)]), &Metrics::new()).unwrap()
}

/// Plays a part by the name of its host: one that begins with `hung` never answers, any other accepts after some milliseconds.
struct Actor {
    timeout: Duration,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Wire for Actor {
    async fn send(&self, request: ::http::Request<Full<Bytes>>) -> Result<Answer, Fault> {
        if request.uri().host().is_some_and(|host| host.starts_with("hung")) {
            tokio::time::sleep(self.timeout).await;
            return Err(Fault::Timeout(format!("no whole reply within {:?}", self.timeout)));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.accepted.lock().unwrap().push(request.uri().to_string());
        Ok(Answer { status: ::http::StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new(), cut: false })
    }
}

/// Destinations of these names, of which nothing is said but their URLs, and the URLs of what they have accepted.
pub(crate) fn actors(names: &[&str]) -> (impl Deliver + use<>, Arc<Mutex<Vec<String>>>) {
    let settings = names.iter().map(|name| Destination::new(*name, format!("http://{name}/").parse().unwrap()));
    let settings: BTreeMap<_, _> = settings.map(|settings| (Arc::clone(&settings.name), settings)).collect();
    let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
    let destinations = Destinations::new(&settings, |settings, common| {
        let actor = Actor { timeout: settings.timeout, accepted: Arc::clone(&accepted) };
        super::destination::Destination::over(actor, settings, common, Metrics::new())
    });
    (destinations.ok().unwrap(), accepted)
}

pub(super) fn post(path: &str, body: &str) -> Request {
    Request {
        destination: "orders".to_owned(),
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Some(Body::Text(body.to_owned())),
        attributes: Vec::new(),
    }
}

pub(super) fn stamp(key: &str) -> Stamp<'_> {
    Stamp { idempotency_key: key, index: 0, behind: 0 }
}

/// A request as a server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) version: ::http::Version,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An HTTP server on loopback. Ends when it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Answers each request by this, given the request and its number from 0.
    pub(super) async fn start<F, A>(answer: F) -> Server
    where
        F: Fn(usize, Seen) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Server::start_behind(None, answer).await
    }

    /// The same, behind TLS if there is any.
    pub(super) async fn start_behind<F, A>(tls: Option<TlsAcceptor>, answer: F) -> Server
    where
        F: Fn(usize, Seen) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, answer, tls) = (Arc::clone(&log), answer.clone(), tls.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request: ::http::Request<hyper::body::Incoming>| {
                        let (log, answer) = (Arc::clone(&log), answer.clone());
                        async move {
                            let (parts, body) = request.into_parts();
                            let Ok(body) = body.collect().await else { return Ok(status(400)) };
                            let seen = Seen {
                                method: parts.method.to_string(),
                                path: parts.uri.path_and_query().unwrap().to_string(),
                                headers: parts.headers,
                                body: body.to_bytes(),
                                version: parts.version,
                            };
                            let number = {
                                let mut log = log.lock().unwrap();
                                log.push(seen.clone());
                                log.len() - 1
                            };
                            Ok::<_, Infallible>(answer(number, seen).await)
                        }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is the test's business.
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Server { address, seen, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub(super) fn status(code: u16) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::default()).unwrap()
}

pub(super) fn with_body(code: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::new(body.into())).unwrap()
}

pub(super) fn with_header(code: u16, name: &str, value: &str) -> Response<Full<Bytes>> {
    Response::builder().status(code).header(name, value).body(Full::default()).unwrap()
}
