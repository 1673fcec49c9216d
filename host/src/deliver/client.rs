//! One destination's connections, and one attempt over them.
//!
//! The client is hyper-util's own, because the connector must be ours (the dial guard) and because every layer above it costs CPU on each
//! request. It follows no redirects, reads no proxy variables and repeats nothing, except a request of which no byte was written to
//! a pooled connection that had gone stale.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use url::{Position, Url};

use super::dial::{Bounded, Guard, Way};
use super::watched::Watched;
use super::{reply, tls};
use crate::config::{Batch, Concurrency, Destination, HttpVersions, Proxy, Tls};
use crate::outcome::Reply;

/// How long an idle connection is kept. Below the 60 s and more after which common servers and balancers close theirs, so that few requests
/// meet a connection that is being closed.
const IDLE: Duration = Duration::from_secs(50);

/// What an HTTP client needs to know of a destination, or of the server that issues its tokens.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) url: Url,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) tls: Tls,
    /// Whether the system's authorities are trusted beside `tls.ca`.
    pub(super) trust_system: bool,
    pub(super) http: HttpVersions,
    pub(super) proxy: Option<Proxy>,
    pub(super) idle_connections: usize,
    pub(super) reply_cap: usize,
}

impl Settings {
    pub(super) fn of(destination: &Destination) -> Settings {
        let most = match destination.concurrency {
            Concurrency::Fixed(most) => most,
            Concurrency::Adaptive { max, .. } => max,
        };
        Settings {
            url: destination.url.clone(),
            connect_timeout: destination.connect_timeout,
            timeout: destination.timeout,
            tls: destination.tls.clone(),
            trust_system: false,
            http: destination.http,
            proxy: destination.proxy.clone(),
            idle_connections: most,
            reply_cap: destination.reply_cap + destination.batch.as_ref().map_or(0, results_cap),
        }
    }
}

/// What the results of a batch add to the cap on a reply: 4 KiB an item, which is an object with a message and no page. At most as much as the default batch
/// itself, because each request in flight may hold it.
fn results_cap(batch: &Batch) -> usize {
    if batch.per_item { batch.max.saturating_mul(4 << 10).min(1 << 20) } else { 0 }
}

type Pool = legacy::Client<Bounded<HttpsConnector<Way>>, Full<Bytes>>;

/// A client whose connections belong to one destination.
pub(super) struct Client {
    /// Made anew, with connections of its own, when a certificate or the key changes. What is under way ends on the one before.
    pool: Watched<Pool>,
    timeout: Duration,
    reply_cap: usize,
}

/// A reply that came whole, its body cut off at the cap.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) cut: bool,
}

impl Answer {
    pub(super) fn into_reply(self, attempts: u32) -> Reply {
        reply::reply(self.status, &self.headers, self.body, self.cut, attempts)
    }
}

/// Why no reply came, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There was no connection: the request cannot have arrived.
    NoConnection(String),
    /// The time was up; the request may have arrived.
    Timeout(String),
    /// The connection broke; the request may have arrived.
    Broken(String),
}

impl Fault {
    pub(super) fn text(&self) -> &str {
        match self {
            Fault::NoConnection(text) | Fault::Timeout(text) | Fault::Broken(text) => text,
        }
    }
}

impl Client {
    /// # Errors
    /// What of the settings cannot be used.
    pub(super) fn new(settings: Settings) -> Result<Client, String> {
        let (timeout, reply_cap) = (settings.timeout, settings.reply_cap);
        let files = if settings.url.scheme() == "https" { tls::files(&settings.tls) } else { Vec::new() };
        Ok(Client { pool: Watched::new("certificate or key", files, move || pool(&settings))?, timeout, reply_cap })
    }

    /// One attempt, to the end of the reply.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let attempt = async {
            let response = self.pool.get().1.request(request).await.map_err(|error| {
                let text = chain(&error);
                if error.is_connect() { Fault::NoConnection(text) } else { Fault::Broken(text) }
            })?;
            let (status, headers, body) = reply::split(response);
            let (body, cut) =
                reply::read(body, self.reply_cap).await.map_err(|error| Fault::Broken(format!("the reply broke off: {}", chain(&error))))?;
            Ok(Answer { status, headers, body, cut })
        };
        match timeout(self.timeout, attempt).await {
            Ok(answered) => answered,
            Err(_) => Err(Fault::Timeout(format!("no whole reply within {:?}", self.timeout))),
        }
    }
}

fn pool(settings: &Settings) -> Result<Pool, String> {
    let guard = Guard::new(settings.connect_timeout);
    let way = match &settings.proxy {
        None => {
            Guard::check_literal(settings.url.host_str().unwrap_or_default())?;
            Way::Direct(guard)
        }
        Some(Proxy(url)) => Way::Proxied(tunnel(url, guard)?),
    };
    // Reading the system's authorities takes milliseconds, so a plain URL goes without.
    let config = if settings.url.scheme() == "https" {
        tls::client_config(&settings.tls, settings.trust_system)?
    } else {
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    // A destination is called in the scheme of its base URL and no other.
    let builder = if settings.url.scheme() == "https" { builder.https_only() } else { builder.https_or_http() };
    let connector = match settings.http {
        HttpVersions::Auto => builder.enable_all_versions().wrap_connector(way),
        HttpVersions::Http1 => builder.enable_http1().wrap_connector(way),
        HttpVersions::Http2 => builder.enable_http2().wrap_connector(way),
    };
    let client = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(settings.idle_connections)
        .http2_only(settings.http == HttpVersions::Http2)
        // A connection that is gone without a word is noticed by this, not by the requests on it.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(Bounded { connector, timeout: settings.connect_timeout });
    Ok(client)
}

fn tunnel(proxy: &Url, guard: Guard) -> Result<Tunnel<Guard>, String> {
    if proxy.scheme() != "http" {
        return Err(format!("`proxy` has the scheme `{}`; accepted is `http`", proxy.scheme()));
    }
    Guard::check_literal(proxy.host_str().unwrap_or_default()).map_err(|error| error.replace("`url`", "`proxy`"))?;
    let plain = format!("http://{}", &proxy[Position::BeforeHost..Position::AfterPort]);
    let tunnel = Tunnel::new(plain.parse().map_err(|error| format!("`proxy` cannot be called: {error}"))?, guard);
    if proxy.username().is_empty() {
        return Ok(tunnel);
    }
    let plain = |text: &str| String::from_utf8_lossy(&super::target::decode(text.as_bytes())).into_owned();
    let pair = format!("{}:{}", plain(proxy.username()), plain(proxy.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)))
        .map_err(|_| "`proxy` has a user name that cannot be sent")?;
    value.set_sensitive(true);
    Ok(tunnel.with_auth(value))
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}
