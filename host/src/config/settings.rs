//! The checked configuration: plain data that every stage may take.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::{Position, Url};

use crate::policy::{Grant, SecretText};

/// A whole `keyway.toml`, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `[plugins]`.
    pub plugins: Plugins,
    /// `[destinations.*]`, by name.
    pub destinations: BTreeMap<Arc<str>, Destination>,
    /// `[teams.*]`, by name; `default` is always there.
    pub teams: BTreeMap<Arc<str>, Arc<Grant>>,
    /// `[failures]`.
    pub failures: Failures,
    /// `[lanes]`.
    pub lanes: Lanes,
    /// `[replies]`.
    pub replies: Option<Replies>,
    /// `[admin]`.
    pub admin: Option<Admin>,
}

impl Config {
    /// What is accepted and does not go as far as it says, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let (drain, revoke) = (self.lanes.drain, self.lanes.drain.min(self.kafka.drain_within()));
        let cut = (revoke < drain).then(|| {
            let session = self.kafka.session();
            format!(
                "`lanes.drain` is {drain:?}, but a partition that goes to another host is waited for at most {revoke:?}: the session timeout is {session:?} \
                 (`kafka.properties.\"session.timeout.ms\"`)"
            )
        });
        cut.into_iter().collect()
    }
}

impl Kafka {
    /// The group's session timeout: librdkafka's default, unless the operator says another.
    pub fn session(&self) -> Duration {
        let typed = self.properties.get("session.timeout.ms").and_then(|value| value.resolve().ok()?.expose().parse().ok());
        typed.map_or(Duration::from_secs(45), Duration::from_millis)
    }

    /// How long partitions that go to another host are waited for. A little less than half of the session timeout: a wait that takes longer would risk the
    /// session of a host that also lost its heartbeat.
    pub fn release_within(&self) -> Duration {
        (self.session() / 2).saturating_sub(Duration::from_millis(500))
    }

    /// How long their records in progress may take: less, by the time in which the loop aborts the rest and says what is settled. If that came too
    /// late, the partitions would go without their last commit.
    pub fn drain_within(&self) -> Duration {
        self.release_within().saturating_sub(Duration::from_millis(500))
    }
}

/// Where the records come from.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Topics to consume; at least one.
    pub topics: Vec<String>,
    /// Consumer group; also a part of every `Idempotency-Key`.
    pub group: String,
    /// Topic of the dead letters.
    pub dead_letters: String,
    /// librdkafka properties, as given. Values may be secrets.
    pub properties: BTreeMap<String, SecretText>,
    /// How a payload is framed.
    pub framing: Framing,
    /// What names a record's key for routing.
    pub route_by: RouteBy,
    /// How often settled offsets are committed. What settled since the last commit is sent again after a crash.
    pub commit_every: Duration,
}

/// How a payload is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// The payload is the plugin's payload.
    #[default]
    None,
    /// A zero byte and a four-byte schema id come first (Confluent wire format, JSON Schema) and are taken off.
    ConfluentJson,
}

/// What the route is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RouteBy {
    /// The record's key.
    #[default]
    Key,
    /// The value of this header; the record's key still makes the lane.
    Header(String),
    /// This attribute of a CloudEvent (`type`, `source`, ...), in binary or structured mode (CloudEvents Kafka protocol binding 1.0.2).
    CloudEvent(String),
}

/// Where the plugins come from.
#[derive(Debug, Clone)]
pub struct Plugins {
    /// The watched directory.
    pub directory: PathBuf,
    /// Folder for compiled components; only this host's user may write it.
    pub cache: Option<PathBuf>,
    /// minisign public keys; when there are any, each component needs a signature by one of them.
    pub trusted_keys: Vec<String>,
}

/// A named HTTP service and the policy towards it. State is never shared between destinations.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The name that plugins use.
    pub name: Arc<str>,
    /// Base URL; a request's path is joined to it and may not leave it.
    pub url: Url,
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time for one attempt, from taking a connection to the end of the reply.
    pub timeout: Duration,
    /// When and how often a request is sent again.
    pub retry: Retry,
    /// What becomes of a record whose attempts are used up.
    pub on_exhausted: OnExhausted,
    /// Requests in flight at once.
    pub concurrency: Concurrency,
    /// Requests a second, if bounded.
    pub rate: Option<Rate>,
    /// When to stop calling a destination that fails.
    pub breaker: Breaker,
    /// The credential, added by the host at the last moment.
    pub auth: Auth,
    /// Headers that the operator adds to every request.
    pub headers: Vec<(String, SecretText)>,
    /// Certificates.
    pub tls: Tls,
    /// Which versions of HTTP are spoken.
    pub http: HttpVersions,
    /// Forward proxy; never taken from the environment.
    pub proxy: Option<Proxy>,
    /// Gathering of requests into one body.
    pub batch: Option<Batch>,
    /// Bytes of a reply's body that are kept; the rest is read and dropped.
    pub reply_cap: usize,
}

/// Retries: full jitter between nothing and `backoff_min * 2^n`, at most `backoff_max` (AWS Architecture Blog, "Exponential Backoff And Jitter").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, from 1.
    pub attempts: u32,
    /// First backoff.
    pub backoff_min: Duration,
    /// Largest backoff.
    pub backoff_max: Duration,
    /// Time from the first attempt after which no further one begins; also the bound on `Retry-After`.
    pub within: Duration,
}

/// What becomes of a record whose attempts are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExhausted {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// Its key is held until the destination answers again.
    Hold,
}

/// How many requests to a destination may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// This many.
    Fixed(usize),
    /// As many as the destination takes without slowing down, between these.
    Adaptive {
        /// Never fewer.
        min: usize,
        /// Never more.
        max: usize,
    },
}

/// A rate limit (`500/s`, `30/m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// This many ...
    pub requests: u32,
    /// ... in this time.
    pub per: Duration,
}

/// A circuit breaker: closed, open, half-open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Opens when at least this share of the attempts in the window failed, 0 to 1.
    pub failure_ratio: f64,
    /// But not before so many attempts were seen.
    pub minimum: u32,
    /// The window.
    pub window: Duration,
    /// How long it stays open before one probe is let through.
    pub open_for: Duration,
}

/// A credential.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(SecretText),
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: SecretText,
    },
    /// Any one header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretText,
    },
    /// OAuth 2.0 client credentials (RFC 6749, section 4.4).
    OAuth2 {
        /// Where tokens are issued.
        token_url: Url,
        /// Client id.
        client_id: String,
        /// Client secret.
        client_secret: SecretText,
        /// Scopes, space-separated on the wire.
        scopes: Vec<String>,
        /// Audience, if the issuer wants one.
        audience: Option<String>,
    },
    /// Standard Webhooks signatures; the secret is base64, with or without `whsec_`.
    Hmac(SecretText),
}

/// Certificates of a destination.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file of the authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of the client certificate (mTLS).
    pub client_certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
}

/// A forward proxy's URL. A user name and a password may stand in it, so it is never shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(pub Url);

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}://{})", self.0.scheme(), &self.0[Position::BeforeHost..Position::AfterPort])
    }
}

/// Versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersions {
    /// HTTP/2 where TLS negotiates it, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, with prior knowledge on plain connections.
    Http2,
}

/// Gathering of requests of one method and path into one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Most requests in one.
    pub max: usize,
    /// How long the first waits for others.
    pub linger: Duration,
    /// Most bytes in one.
    pub bytes: usize,
    /// Form of the body.
    pub format: BatchFormat,
    /// Whether the reply is an array with one result an item.
    pub per_item: bool,
    /// Whether a header lists the requests' idempotency keys.
    pub keys: bool,
}

/// Form of a batch's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    /// A JSON array.
    JsonArray,
    /// One JSON value a line.
    Ndjson,
}

/// What becomes of records that cannot be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// A key that no plugin claims.
    pub unrouted: Unrouted,
}

/// What becomes of a record whose key no plugin claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unrouted {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It is skipped.
    Skip,
    /// Its key is held until a plugin claims it.
    Hold,
}

/// Order and the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// What is kept in order.
    pub ordering: Ordering,
    /// Bytes of records that wait or are in progress.
    pub bytes: usize,
    /// Records that wait or are in progress.
    pub records: usize,
    /// How long a shutdown waits for records in progress; a revoke too, but never longer than [`Kafka::drain_within`].
    pub drain: Duration,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes { ordering: Ordering::Key, bytes: 64 << 20, records: 200_000, drain: Duration::from_secs(10) }
    }
}

/// What is kept in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// Records of one key.
    #[default]
    Key,
    /// Records of one partition.
    Partition,
    /// Nothing.
    None,
}

/// The reply topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies {
    /// Its name.
    pub topic: String,
}

/// The admin server.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a caller must show (`Authorization: Bearer`); required off loopback.
    pub token: Option<SecretText>,
}
