use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::plugin::{OnFault, Reuse};

const LEAST: &str = "\
[kafka]
brokers = \"localhost:9092\"
topics = [\"events\"]
group = \"bridge\"
dead_letters = \"bridge.dead-letters\"

[plugins]
directory = \"plugins\"
";

fn with(rest: &str) -> String {
    format!("{LEAST}\n{rest}")
}

#[test]
fn the_least_is_enough() {
    let config = parse(LEAST, Path::new("/etc/keyway/keyway.toml")).unwrap();
    assert_eq!(config.plugins.directory, Path::new("/etc/keyway/plugins"));
    assert_eq!(config.lanes, Lanes::default());
    assert_eq!(config.kafka.commit_every, Duration::from_millis(50));
    assert_eq!(config.teams["default"].keys, ["*"]);
}

#[test]
fn everything_can_be_said() {
    let text = with(
        r#"
[kafka.properties]
"security.protocol" = "SASL_SSL"
"fetch.min.bytes" = 1

[destinations.orders]
url = "https://orders.internal/api"
timeout = "5s"
connect_timeout = "1s"
concurrency = { min = 2, max = 64 }
rate = "500/s"
retry = { attempts = 8, backoff = "100ms..30s", within = "5m" }
breaker = { failure_ratio = 0.8, minimum = 5, window = "20s", open_for = "2s" }
on_exhausted = "hold"
auth = { oauth2 = { token_url = "https://id.internal/token", client_id = "bridge", client_secret = "s", scopes = ["a", "b"] } }
http = "2"
proxy = "http://proxy.internal:3128"
reply_cap = "8KiB"
batch = { max = 10, linger = "5ms", bytes = "64KiB", as = "ndjson", results = "per-item" }
[destinations.orders.headers]
X-Source = "keyway"

[destinations.ledger]
url = "http://10.0.0.7:8080"
concurrency = 4
auth = { basic = { user = "bridge", password = "p" } }

[teams.payments]
keys = ["payment:*", "refund:*"]
destinations = ["ledger"]
limits = { cpu = "50ms", wall = "500ms", memory = "32MiB", output = "512KiB", requests = 5, headers = 10 }

[failures]
unrouted = "hold"

[lanes]
ordering = "partition"
bytes = "16MiB"
records = 1000
drain = "3s"

[replies]
topic = "bridge.replies"

[admin]
listen = "0.0.0.0:8484"
token = "t"
"#,
    );
    let config = parse(&text, Path::new("keyway.toml")).unwrap();
    let orders = &config.destinations["orders"];
    assert_eq!(orders.concurrency, Concurrency::Adaptive { min: 2, max: 64 });
    assert_eq!(orders.rate, Some(Rate { requests: 500, per: Duration::from_secs(1) }));
    assert_eq!(orders.on_exhausted, OnExhausted::Hold);
    assert_eq!(orders.batch.unwrap().format, BatchFormat::Ndjson);
    assert!(matches!(&orders.auth, Auth::OAuth2 { scopes, .. } if scopes == &["a", "b"]));
    assert_eq!(config.destinations["ledger"].concurrency, Concurrency::Fixed(4));
    assert_eq!(config.teams["payments"].limits.requests, 5);
    assert_eq!(config.failures.unrouted, Unrouted::Hold);
    assert_eq!(config.kafka.properties["fetch.min.bytes"].resolve().unwrap().expose(), "1");
    assert_eq!(config.lanes, Lanes { ordering: Ordering::Partition, bytes: 16 << 20, records: 1000, drain: Duration::from_secs(3) });
    assert_eq!(config.replies.unwrap().topic, "bridge.replies");
}

#[test]
fn a_secret_is_never_shown() {
    let config = parse(&with("[destinations.a]\nurl = \"http://a\"\nauth = { bearer = \"hunter2\" }"), Path::new("keyway.toml")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// Each text with all that is said of it.
#[test]
fn every_problem_has_its_place_its_cause_and_its_mend() {
    let cases = [
        ("nothing at all", String::new()),
        ("not TOML", "[kafka\nbrokers = 1".into()),
        ("a key mistyped", with("[lanes]\nbyte = \"1MiB\"\n[destination.a]\nurl = \"http://a\"")),
        ("wrong types", with("[lanes]\nbytes = 5\nrecords = \"many\"\ndrain = true\nordering = \"keys\"\n[destinations]\na = 5")),
        (
            "values that are none",
            with(
                "[destinations.a]\nurl = \"ftp://a\"\ntimeout = \"5 parsecs\"\nrate = \"fast\"\nretry = { attempts = 0, backoff = \"1s\" }\nconcurrency = \"some\"",
            ),
        ),
        ("a URL with a password", with("[destinations.a]\nurl = \"https://me:secret@a/\"")),
        (
            "a missing secret",
            with(
                "[destinations.a]\nurl = \"http://a\"\nauth = { bearer = \"${env:KEYWAY_SURELY_MISSING}\" }\n[destinations.b]\nurl = \"http://b\"\nauth = { bearer = \"${file:/surely/missing}\" }",
            ),
        ),
        ("two credentials", with("[destinations.a]\nurl = \"http://a\"\nauth = { bearer = \"x\", hmac = \"eQ==\" }")),
        (
            "properties that are Keyway's own",
            with(
                "[kafka.properties]\nenable.auto.commit = true\ngroup.id = \"x\"\nrequest.required.acks = 1\nbatch.num.messages = 9\nmetadata.broker.list = \"b:1\"",
            ),
        ),
        ("a property under both its names", with("[kafka.properties]\ncompression.codec = \"gzip\"\ncompression.type = \"lz4\"")),
        (
            "a team without its destination",
            with("[destinations.ledger]\nurl = \"http://a\"\n[teams.payments]\nkeys = [\"a*b\"]\ndestinations = [\"legder\"]"),
        ),
        ("dead letters among the topics", LEAST.replace("[\"events\"]", "[\"events\", \"bridge.dead-letters\"]")),
        ("an open admin server without a token", with("[admin]\nlisten = \"0.0.0.0:8484\"")),
        ("an untrusted key", LEAST.replace("directory", "trusted_keys = [\"abc\"]\ndirectory")),
        ("an impossible topic", LEAST.replace("bridge.dead-letters", "dead letters")),
        ("topics that cannot be", LEAST.replace("[\"events\"]", "[\"events\", \"^order.*\", \"events\", \"a b\"]")),
        ("no topic", LEAST.replace("[\"events\"]", "[]")),
        ("replies among the topics", with("[replies]\ntopic = \"events\"")),
        ("replies among the dead letters", with("[replies]\ntopic = \"bridge.dead-letters\"")),
        ("properties that librdkafka does not take", with("[kafka.properties]\nsecurity.protocl = \"SSL\"\n\"security.protocol\" = \"TLS\"")),
        ("times that do not fit", with("[destinations.a]\nurl = \"http://a\"\nconnect_timeout = \"20s\"\nretry = { within = \"5s\" }")),
        (
            "secrets that cannot be sent",
            with(
                "[destinations.a]\nurl = \"http://a\"\nauth = { bearer = \"a\\nb\" }\n[destinations.b]\nurl = \"http://b\"\nauth = { hmac = \"no base64!\" }\n[destinations.c]\nurl = \"http://c\"\nauth = { bearer = \"\" }\nheaders = { X-A = \"a\\u0000\", \"b c\" = \"d\" }",
            ),
        ),
        (
            "a team of nothing",
            with("[teams.payments]\nlimits = { memory = \"1GiB\", cpu = \"2s\" }\n[teams.\"pay/ments\"]\nkeys = []\ndestinations = [\"*\"]"),
        ),
        ("a credential that is none", with("[destinations.a]\nurl = \"http://a\"\nauth = \"token\"")),
        ("half a credential", with("[destinations.a]\nurl = \"http://a\"\nauth = { oauth2 = { client_id = \"x\" } }")),
        (
            // `PATH` is set wherever tests run, and holds neither a time nor a topic.
            "what a variable expands to is not shown",
            with(
                "[destinations.a]\nurl = \"${env:PATH}\"\ntimeout = \"${env:PATH}\"\nconcurrency = \"${env:PATH}\"\n[replies]\ntopic = \"${env:PATH}\"\n[lanes]\nordering = \"${env:PATH}\"\nrecords = \"${env:PATH}\"",
            ),
        ),
        (
            "more in flight than there can be",
            with("[destinations.a]\nurl = \"http://a\"\nconcurrency = 5000\n[destinations.b]\nurl = \"http://b\"\nconcurrency = { max = 2049 }"),
        ),
        ("half a certificate", with("[destinations.a]\nurl = \"http://a\"\ntls = { client_key = \"/surely/missing\" }")),
    ];
    let mut shown = String::new();
    for (name, text) in cases {
        let report = parse(&text, Path::new("keyway.toml")).expect_err(name);
        writeln!(shown, "## {name}\n{report}\n").unwrap();
    }
    assert!(!shown.contains(&std::env::var("PATH").unwrap()));
    insta::assert_snapshot!(shown);
}

#[test]
fn references_are_expanded_in_any_string() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        format!("${{file:{}}}", folder.path().join(name).display())
    };
    let rest = format!(
        "[destinations.a]\nurl = \"http://{}/api\"\ntimeout = \"{}\"\nconcurrency = \"{}\"\n[lanes]\nrecords = \"{}\"\n[teams.t]\nkeys = [\"{}\"]\ndestinations = [\"a\"]",
        file("host", "example.org\n"),
        file("timeout", "7s"),
        file("concurrency", "9"),
        file("records", "11"),
        file("key", "order:*"),
    );
    let config = parse(&with(&rest), Path::new("keyway.toml")).unwrap();
    let a = &config.destinations["a"];
    assert_eq!((a.url.as_str(), a.timeout, a.concurrency), ("http://example.org/api", Duration::from_secs(7), Concurrency::Fixed(9)));
    assert_eq!((config.lanes.records, &config.teams["t"].keys[..]), (11, &["order:*".to_owned()][..]));
}

#[test]
fn properties_need_no_quotes() {
    let config = parse(&with("[kafka.properties]\nsecurity.protocol = \"SSL\"\nsession.timeout.ms = 6000"), Path::new("keyway.toml")).unwrap();
    let property = |name: &str| config.kafka.properties[name].resolve().unwrap().expose().to_owned();
    assert_eq!((property("security.protocol"), property("session.timeout.ms")), ("SSL".to_owned(), "6000".to_owned()));
}

#[test]
fn a_drain_that_a_session_cuts_short_is_remarked() {
    let config = |lines: &str| parse(&with(lines), Path::new("keyway.toml")).unwrap();
    assert_eq!(config("").remarks(), [] as [&str; 0]);
    let cut = config("[lanes]\ndrain = \"5s\"\n[kafka.properties]\nsession.timeout.ms = 6000");
    assert_eq!((cut.kafka.release_within(), cut.kafka.drain_within()), (Duration::from_millis(2500), Duration::from_secs(2)));
    insta::assert_snapshot!(cut.remarks().join("\n"), @r#"`lanes.drain` is 5s, but a partition that goes to another host is waited for at most 2s: the session timeout is 6s (`kafka.properties."session.timeout.ms"`)"#);
    for session in [1000, 6000, 21_000, 45_000] {
        let config = config(&format!("[lanes]\ndrain = \"1m\"\n[kafka.properties]\nsession.timeout.ms = {session}"));
        assert!(config.kafka.drain_within() < config.kafka.release_within() || session == 1000, "{session}");
        assert_eq!(config.remarks().len(), 1);
    }
}

#[test]
fn a_missing_file_is_a_problem_like_any_other() {
    let report = load(Path::new("/surely/missing/keyway.toml")).unwrap_err();
    assert!(report.to_string().starts_with("/surely/missing/keyway.toml: failed to read the configuration"), "{report}");
}

#[test]
fn a_problem_is_shown_with_its_line_and_without_its_secrets() {
    let text = "[kafka]\nbrokers = \"hunter2\ntopics = 5";
    let report = parse(text, Path::new("keyway.toml")).unwrap_err();
    let mut shown = report.to_pretty(false);
    let rest = "[lanes]\nbyte = \"1MiB\"\n[destinations]\na = { url = \"ftp://a\", auth = { bearer = \"hunter2\" } }\nb = { url = \"http://b\", auth = \"hunter2\" }";
    let report = parse(&with(rest), Path::new("keyway.toml")).unwrap_err();
    shown.push_str(&report.to_pretty(false));
    assert!(!shown.contains("hunter2"), "{shown}");
    insta::assert_snapshot!(shown);
    assert!(report.to_pretty(true).contains("\u{1b}["));
}

#[test]
fn a_sidecar_is_read() {
    let text = "keys = [\"order:*\"]\non_fault = \"hold\"\nreuse = { calls = 100, memory = \"8MiB\" }\n[settings]\nb = [1, 2]\na = \"text\"\nc = { d = true }\n[limits]\ncpu = \"20ms\"";
    let sidecar = parse_sidecar(text, Path::new("order.toml")).unwrap();
    assert_eq!(sidecar.keys.as_deref(), Some(&["order:*".to_owned()][..]));
    assert_eq!(sidecar.on_fault, OnFault::Hold);
    assert_eq!(sidecar.reuse, Some(Reuse { calls: 100, memory: 8 << 20 }));
    let settings: Vec<(&str, &str)> = sidecar.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(settings, [("a", "text"), ("b", "[1,2]"), ("c", "{\"d\":true}")]);
    assert_eq!(sidecar.limits.cpu, Some(Duration::from_millis(20)));
    assert_eq!(parse_sidecar("", Path::new("order.toml")).unwrap(), crate::plugin::Sidecar::default());
}

#[test]
fn nothing_is_expanded_in_a_sidecar() {
    let sidecar = parse_sidecar("[settings]\nhome = \"${env:PATH}\"", Path::new("order.toml")).unwrap();
    assert_eq!(sidecar.settings, [("home".to_owned(), "${env:PATH}".to_owned())]);
    let report = parse_sidecar("keys = [\"${env:PATH}*\"]\n[limits]\ncpu = \"${env:PATH}\"", Path::new("order.toml")).unwrap_err();
    assert!(report.to_string().contains("found `${env:PATH}`"), "{report}");
}

#[test]
fn a_sidecars_problems_are_all_reported() {
    let report =
        parse_sidecar("keys = []\non_fault = \"retry\"\nreuse = 0\nkey = \"x\"\n[limits]\ncpu = \"fast\"", Path::new("order.toml")).unwrap_err();
    insta::assert_snapshot!(report);
}
