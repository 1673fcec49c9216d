use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Admin, Answer, Release, Reloaded, Sources, StartError};
use crate::config;
use crate::observe::status::{DestinationStatus, DirectoryStatus, HostStatus, PluginStatus, VersionStatus};
use crate::observe::{Health, Metrics, Status};
use crate::outcome::{Cause, Outcome};
use crate::policy::SecretText;

/// A host of words.
#[derive(Default)]
struct Host {
    released: Mutex<Vec<Release>>,
    reloads: Mutex<u32>,
}

impl Sources for Host {
    fn status(&self) -> Status {
        let refused = VersionStatus {
            version: Some("0123456789abcdef".into()),
            state: "refused".into(),
            reason: Some("imports `wasi:sockets`".into()),
            ..VersionStatus::default()
        };
        let order =
            PluginStatus { name: "order".into(), serving: Some("fedcba9876543210".into()), versions: vec![refused], ..PluginStatus::default() };
        let ledger = DestinationStatus { name: "ledger".into(), breaker: "open".into(), held: 3, ..DestinationStatus::default() };
        let host = HostStatus { kafka: Some("no broker can be reached: refused".into()), ..HostStatus::default() };
        Status { host, plugins: vec![order], destinations: vec![ledger], directory: DirectoryStatus::default(), ..Status::default() }
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        *self.reloads.lock().unwrap() += 1;
        Box::pin(async { Reloaded::Settled })
    }

    fn release(&self, what: Release) -> Answer<'_, Option<usize>> {
        self.released.lock().unwrap().push(what);
        Box::pin(async { Some(2) })
    }
}

struct Running {
    admin: Admin,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    host: Arc<Host>,
}

fn start(token: Option<&str>) -> Running {
    let health = Health::waiting_for([("kafka", "not joined yet"), ("plugins", "not looked at yet")]);
    let metrics = Metrics::new();
    let host = Arc::new(Host::default());
    let settings = config::Admin { listen: "127.0.0.1:0".parse().unwrap(), token: token.map(SecretText::known) };
    let sources = Arc::clone(&host) as Arc<dyn Sources>;
    let admin = Admin::start(&settings, Arc::clone(&health), Arc::clone(&metrics), sources).unwrap();
    Running { admin, health, metrics, host }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Running {
    /// Written by hand, so that no client library adds or mends a header.
    fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        let mut stream = TcpStream::connect(self.admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &["Host: localhost"])
    }
}

#[test]
fn it_is_ready_when_no_part_has_a_reason_left() {
    let running = start(None);
    assert_eq!(running.get("/livez").status, 200);
    let reply = running.get("/readyz");
    assert_eq!(reply.status, 503);
    assert!(reply.body.starts_with("not ready\nkafka: not joined yet\nplugins: not looked at yet\n"), "{}", reply.body);
    running.health.ready("kafka");
    running.health.ready("plugins");
    let reply = running.get("/readyz");
    assert_eq!(reply.status, 200);
    // Held destinations and refused versions are worth a word, and no reason to take the host out of service.
    let words = "ready\n\
                 degraded: Kafka: no broker can be reached: refused\n\
                 degraded: destination `ledger`: breaker open, 3 held\n\
                 degraded: plugin `order`: refused (fedcba98 goes on serving): imports `wasi:sockets`\n";
    assert_eq!(reply.body, words);
    running.health.not_ready("kafka", "the brokers are gone");
    assert_eq!(running.get("/readyz").status, 503);
}

#[test]
fn the_status_is_what_the_command_line_reads() {
    let running = start(None);
    running.metrics.record_done(Some("order"), &Outcome::Delivered, Duration::from_millis(3));
    let reply = running.get("/api/status");
    assert_eq!(reply.status, 200);
    let status: Status = serde_json::from_str(&reply.body).unwrap();
    assert!(!status.host.ready);
    assert_eq!(status.host.reasons.len(), 2);
    assert_eq!((status.plugins[0].name.as_str(), status.plugins[0].delivered), ("order", 1));
    assert_eq!(status.plugins[0].trouble().unwrap().reason.as_deref(), Some("imports `wasi:sockets`"));
}

#[test]
fn metrics_are_in_the_format_that_prometheus_reads() {
    let running = start(None);
    let reply = running.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{}", reply.head);
    assert!(reply.body.ends_with("# EOF\n"), "{}", reply.body);
}

#[test]
fn orders_reach_the_host() {
    let running = start(None);
    assert_eq!(running.ask("POST", "/api/reload", &["Host: localhost"]).status, 200);
    assert_eq!(*running.host.reloads.lock().unwrap(), 1);
    for path in ["/api/release?key=order%3A1", "/api/release?destination=ledger", "/api/release?plugin=payments%2Frefund", "/api/release?unrouted"] {
        let reply = running.ask("POST", path, &["Host: localhost"]);
        assert_eq!((reply.status, reply.body.as_str()), (200, "{\"released\":2}"), "{path}");
    }
    let released = running.host.released.lock().unwrap().clone();
    let expected = [
        Release::Key("order:1".into()),
        Release::Cause(Cause::Destination("ledger".into())),
        Release::Plugin("payments/refund".into()),
        Release::Cause(Cause::Unrouted),
    ];
    assert_eq!(released, expected);
}

#[test]
fn an_order_that_is_unclear_is_not_carried_out() {
    let running = start(None);
    for path in ["/api/release", "/api/release?everything=1", "/api/release?key=a&plugin=b"] {
        let reply = running.ask("POST", path, &["Host: localhost"]);
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body.contains("exactly one of"), "{}", reply.body);
    }
    assert_eq!(running.get("/api/reload").status, 405);
    assert_eq!(running.get("/nowhere").status, 404);
    assert!(running.host.released.lock().unwrap().is_empty());
    assert_eq!(*running.host.reloads.lock().unwrap(), 0);
}

#[test]
fn without_the_token_only_probes_and_the_empty_console_answer() {
    let running = start(Some("s3cret"));
    for (method, path) in [("GET", "/metrics"), ("GET", "/api/status"), ("POST", "/api/reload"), ("POST", "/api/release?key=a")] {
        let reply = running.ask(method, path, &["Host: localhost"]);
        assert_eq!(reply.status, 401, "{path}");
        assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        assert_eq!(running.ask(method, path, &["Host: localhost", "Authorization: Bearer wrong"]).status, 401, "{path}");
        assert_eq!(running.ask(method, path, &["Host: localhost", "Authorization: Bearer s3cret"]).status, 200, "{path}");
    }
    assert_eq!(running.get("/livez").status, 200);
    assert_eq!(running.get("/").status, 200);
    assert_eq!(running.get("/readyz").body, "not ready\n", "reasons are for those who show the token");
}

#[test]
fn pages_from_elsewhere_get_nothing_and_change_nothing() {
    let running = start(None);
    assert_eq!(running.ask("POST", "/api/reload", &["Host: evil.example"]).status, 403);
    assert_eq!(running.ask("POST", "/api/reload", &["Host: localhost", "Origin: http://evil.example"]).status, 403);
    assert_eq!(running.ask("GET", "/livez", &["Host: evil.example"]).status, 403);
    assert_eq!(*running.host.reloads.lock().unwrap(), 0);
}

#[test]
fn the_console_loads_nothing_from_elsewhere() {
    let running = start(None);
    let reply = running.get("/");
    assert!(reply.head.contains("content-security-policy: default-src 'none'"), "{}", reply.head);
    assert!(reply.head.contains("cache-control: no-store"), "{}", reply.head);
    for outside in ["http://", "https://", "src=", "href=", "innerHTML"] {
        assert!(!reply.body.contains(outside), "{outside}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_loop_is_silent_hangs_but_not_before_it_is_ready() {
    let (health, metrics) = (Health::waiting_for([("plugins", "not looked at yet")]), Metrics::new());
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(super::api::hangs(&health, &metrics), None, "it waits for a directory that is not there");
    metrics.window(0, 0, 0, 0);
    health.ready("plugins");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(super::api::hangs(&health, &metrics), None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(super::api::hangs(&health, &metrics), Some(Duration::from_secs(61)));
}

#[test]
fn callers_who_say_nothing_do_not_keep_others_out() {
    let running = start(None);
    let silent: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(running.admin.address()).unwrap()).collect();
    assert_eq!(running.get("/livez").status, 200, "a place comes free when the first of them is cut off");
    drop(silent);
}

#[test]
fn it_starts_nowhere_where_anybody_could_ask() {
    let sources = Arc::new(Host::default());
    let settings = config::Admin { listen: "0.0.0.0:0".parse().unwrap(), token: None };
    let refused = Admin::start(&settings, Health::waiting_for([]), Metrics::new(), sources).unwrap_err();
    assert!(matches!(refused, StartError::Open(_)), "{refused}");
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let running = start(None);
    let settings = config::Admin { listen: running.admin.address(), token: None };
    let refused = Admin::start(&settings, Health::waiting_for([]), Metrics::new(), Arc::new(Host::default())).unwrap_err();
    assert!(matches!(refused, StartError::Listen(..)), "{refused}");
}
