//! What a request costs the host beside what the bare HTTP client costs: CPU time of the thread that sends, a server on another one.
//!
//! `cargo bench -p keyway --bench deliver`. Time by the clock says little on a busy machine, so only CPU time is printed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyway::config::{Auth, Breaker, Concurrency, Destination, HttpVersions, OnExhausted, Retry, Tls};
use keyway::deliver::{Deliver, Delivery, Http, Stamp};
use keyway::observe::Metrics;
use keyway::outcome::{Body, Request};
use tokio::runtime::Builder;

const IN_FLIGHT: usize = 64;
const REQUESTS: usize = 50_000;

/// A record's usual body.
fn body() -> String {
    format!(r#"{{"id":7,"note":"{}"}}"#, "x".repeat(480))
}

fn server() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("someone who asked");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(async move {
                    let answer = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                        let _ = request.into_body().collect().await;
                        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"{}"))))
                    });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
    });
    told.recv().expect("the server's address")
}

/// CPU nanoseconds of this thread so far, as the scheduler counts them.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split_whitespace().next().and_then(|first| first.parse().ok()).expect("nanoseconds")
}

/// Microseconds of CPU a request, with so many in flight.
fn measure<F: Future<Output = ()>>(one: impl Fn(usize) -> F) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let run = async |count: usize| {
            let mut flying: FuturesUnordered<_> = (0..IN_FLIGHT).map(&one).collect();
            let mut begun = IN_FLIGHT;
            while flying.next().await.is_some() {
                if begun < count {
                    flying.push(one(begun));
                    begun += 1;
                }
            }
        };
        run(REQUESTS / 10).await;
        let before = cpu();
        run(REQUESTS).await;
        (cpu() - before) / 1000.0 / REQUESTS as f64
    })
}

fn bare(address: SocketAddr) -> f64 {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IN_FLIGHT).build(HttpConnector::new());
    let text = body();
    measure(|number| {
        let request = http::Request::post(format!("http://{address}/orders/7"))
            .header("content-type", "application/json")
            .header("user-agent", "bare")
            .header("idempotency-key", format!("bridge/events/0/{number}/0"))
            .body(Full::new(Bytes::copy_from_slice(text.as_bytes())))
            .expect("a request");
        let client = client.clone();
        async move {
            let reply = client.request(request).await.expect("a reply");
            reply.into_body().collect().await.expect("a body");
        }
    })
}

fn destination(address: SocketAddr, concurrency: Concurrency, auth: Auth) -> Destination {
    Destination {
        name: "orders".into(),
        url: format!("http://{address}/").parse().expect("a URL"),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        retry: Retry { attempts: 4, backoff_min: Duration::from_millis(100), backoff_max: Duration::from_secs(30), within: Duration::from_secs(300) },
        on_exhausted: OnExhausted::DeadLetter,
        concurrency,
        rate: None,
        breaker: Breaker { failure_ratio: 0.5, minimum: 20, window: Duration::from_secs(10), open_for: Duration::from_secs(5) },
        auth,
        headers: Vec::new(),
        tls: Tls::default(),
        http: HttpVersions::Auto,
        proxy: None,
        batch: None,
        reply_cap: 64 << 10,
    }
}

fn ours(settings: Destination) -> f64 {
    let http = Http::new(&BTreeMap::from([(Arc::clone(&settings.name), settings)]), &Metrics::new()).expect("a destination");
    let text = body();
    measure(|number| {
        let request = Request {
            destination: "orders".to_owned(),
            method: "POST".to_owned(),
            path: "/orders/7".to_owned(),
            headers: Vec::new(),
            body: Some(Body::Text(text.clone())),
            attributes: Vec::new(),
        };
        let http = &http;
        async move {
            let key = format!("bridge/events/0/{number}/0");
            let ended = http.deliver(&request, Stamp { idempotency_key: &key, index: 0, behind: 0 }).await;
            assert!(matches!(ended, Delivery::Done(_)), "{ended:?}");
        }
    })
}

#[expect(clippy::print_stdout, reason = "a bench is for its output")]
fn main() {
    // Listed by `cargo test --benches`, run by `cargo bench` only.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let address = server();
    let bare_client = bare(address);
    println!("CPU of the sending thread, {REQUESTS} requests, {IN_FLIGHT} in flight:");
    println!("  bare client               {bare_client:.1} us a request");
    let signed = Auth::Hmac(keyway::policy::SecretText::known("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    for (name, settings) in [
        ("deliver, fixed limit", destination(address, Concurrency::Fixed(IN_FLIGHT), Auth::None)),
        ("deliver, adaptive limit", destination(address, Concurrency::Adaptive { min: IN_FLIGHT, max: 256 }, Auth::None)),
        ("deliver, signed", destination(address, Concurrency::Fixed(IN_FLIGHT), signed)),
    ] {
        let cost = ours(settings);
        println!("  {name:<25} {cost:.1} us a request, {:.2} of the bare client", cost / bare_client);
    }
}
