use std::sync::Arc;
use std::time::Duration;

use super::{Metrics, STATUSES, status_label};
use crate::outcome::{Cause, Outcome, Reason};

/// A host in the middle of its life.
fn lived() -> Arc<Metrics> {
    let metrics = Metrics::new();
    let millis = Duration::from_millis;
    for elapsed in [3, 4, 40] {
        metrics.record_done(Some("order"), &Outcome::Delivered, millis(elapsed));
        metrics.call("order", Duration::from_micros(11));
        metrics.reply("orders", Some(201), millis(elapsed - 1));
    }
    metrics.record_done(Some("payments/refund"), &Outcome::Skipped, millis(1));
    metrics.failure(Some("payments/refund"), Reason::Trapped);
    metrics.record_done(Some("payments/refund"), &Outcome::DeadLettered(Reason::Trapped), millis(7));
    metrics.record_done(Some("payments/refund"), &Outcome::Held(Cause::Destination("ledger".into())), millis(900));
    metrics.log_lines_dropped("payments/refund", 84);
    metrics.failure(None, Reason::Unrouted);
    metrics.record_done(None, &Outcome::DeadLettered(Reason::Unrouted), millis(2));
    metrics.reply("ledger", Some(503), millis(20));
    metrics.reply("ledger", None, millis(5000));
    metrics.retry("ledger");
    metrics.breaker("ledger", "open");
    metrics.commit(true);
    metrics.commit(false);
    metrics.window(64 << 10, 12, 1, 3);
    metrics.lag("events", 0, 17);
    metrics.lag("events", 1, 0);
    metrics.gone("events", 0, 2);
    metrics.settled_before();
    metrics.inexact_commits(1);
    metrics
}

/// The text without what differs from run to run.
fn steady(text: &str) -> String {
    let own = ["keyway_uptime_seconds ", "keyway_log_lines_dropped_total ", "process_"];
    let changing = |line: &&str| !own.iter().any(|own| line.starts_with(own));
    text.lines().filter(changing).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_names_are_a_contract() {
    insta::assert_snapshot!(steady(&lived().render()).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn the_guide_explains_each_family() {
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/metrics.md"));
    let text = lived().render();
    let mut families = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(guide.contains(&format!("`{name}{suffix}`")), "`{name}{suffix}` is not in docs/guide/metrics.md");
        families += 1;
    }
    assert!(families > 20, "{families} families");
}

#[test]
fn a_new_host_says_nothing_of_what_it_has_not_seen() {
    let text = Metrics::new().render();
    assert!(!text.contains("keyway_records"), "{text}");
    assert!(text.contains("keyway_commits_total{result=\"ok\"} 0\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn quantiles_lie_within_their_buckets() {
    let metrics = Metrics::new();
    assert_eq!(metrics.plugin("order").p50, None);
    for _ in 0..98 {
        metrics.record_done(Some("order"), &Outcome::Delivered, Duration::from_millis(4));
    }
    metrics.record_done(Some("order"), &Outcome::Skipped, Duration::from_millis(700));
    metrics.record_done(Some("order"), &Outcome::DeadLettered(Reason::Refused), Duration::from_secs(1_000));
    let counts = metrics.plugin("order");
    assert_eq!((counts.delivered, counts.skipped, counts.dead_lettered), (98, 1, 1));
    assert!((0.0025..=0.005).contains(&counts.p50.unwrap().as_secs_f64()), "{counts:?}");
    assert!((0.5..=1.0).contains(&counts.p99.unwrap().as_secs_f64()), "{counts:?}");
}

#[test]
fn names_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..2_100 {
        metrics.retry(&format!("destination-{number}"));
    }
    let text = metrics.render();
    let series = text.lines().filter(|line| line.starts_with("keyway_retries_total{")).count();
    assert_eq!(series, 2_049);
    assert!(text.contains("keyway_retries_total{destination=\"(others)\"} 52\n"));
}

#[test]
fn the_lag_of_a_partition_that_left_is_forgotten() {
    let metrics = lived();
    metrics.partition_left("events", 0);
    let text = metrics.render();
    assert!(!text.contains("keyway_lag_records{topic=\"events\",partition=\"0\"}"), "{text}");
    assert!(text.contains("keyway_gone_records_total{topic=\"events\",partition=\"0\"} 2\n"), "{text}");
    assert!(text.contains("keyway_lag_records{topic=\"events\",partition=\"1\"} 0\n"), "{text}");
}

#[test]
fn a_status_has_one_of_few_labels() {
    let label = |status| STATUSES[status_label(status)];
    assert_eq!([Some(200), Some(204), Some(302), Some(404), Some(409)].map(label), ["2xx", "2xx", "3xx", "4xx", "4xx"]);
    assert_eq!([Some(401), Some(403), Some(408), Some(425), Some(429)].map(label), ["401", "403", "408", "425", "429"]);
    assert_eq!([Some(500), Some(599), Some(600), Some(101), None].map(label), ["5xx", "5xx", "other", "other", "none"]);
}

#[test]
fn what_many_threads_count_adds_up() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let metrics = &metrics;
            scope.spawn(move || {
                for record in 0..1_000 {
                    metrics.record_done(Some(&format!("plugin-{}", (record + thread) % 50)), &Outcome::Delivered, Duration::from_millis(1));
                }
            });
        }
    });
    let text = metrics.render();
    let counts = text.lines().filter_map(|line| line.strip_prefix("keyway_records_total{")?.split_once("outcome=\"delivered\"} "));
    assert_eq!(counts.map(|(_, count)| count.parse::<u64>().unwrap()).sum::<u64>(), 4_000);
}

#[tokio::test(start_paused = true)]
async fn the_silence_of_the_loop_is_seen() {
    let metrics = Metrics::new();
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(metrics.loop_silence(), Duration::from_secs(3));
    metrics.window(0, 0, 0, 0);
    assert_eq!(metrics.loop_silence(), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(metrics.loop_silence(), Duration::from_secs(40));
}
