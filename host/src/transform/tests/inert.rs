//! Components that import WASI: they run, and what they see is a function of the record.

use super::guest::{Guest, SKIP};
use super::*;
use crate::outcome::Reason;
use crate::plugin::Tier;

/// As much of WASI 0.2 as these guests import.
const WIT: &str = "
    package test:inert;
    world inert {
        include keyway:transform/plugin@0.1.0;
        import wasi:clocks/wall-clock@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:io/streams@0.2.0;
        import wasi:cli/stderr@0.2.0;
        import wasi:cli/environment@0.2.0;
        import wasi:cli/exit@0.2.0;
        import wasi:filesystem/preopens@0.2.0;
    }
    package wasi:clocks@0.2.0 {
        interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        }
    }
    package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; } }
    package wasi:io@0.2.0 {
        interface error { resource error; }
        interface poll { resource pollable { block: func(); } }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
        }
    }
    package wasi:cli@0.2.0 {
        interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }
        interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; }
        interface exit { exit: func(status: result); }
    }
    package wasi:filesystem@0.2.0 {
        interface types { resource descriptor; }
        interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
    }";

const IMPORTS: &str = r#"
    (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
    (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
    (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
    (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
    (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
    (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))"#;

fn guest(transform: &str) -> Guest {
    Guest { transform: transform.to_owned(), imports: IMPORTS, world: "inert", wit: Some(WIT), ..Guest::default() }
}

/// `skip` of as many numbers at address 1024, each as eight bytes of seven bits, so that they are text.
fn numbers(count: u32) -> String {
    let masked = "(i64.store (local.get $p) (i64.and (i64.load (local.get $p)) (i64.const 0x7f7f7f7f7f7f7f7f)))";
    format!(
        "(local.set $p (i32.const 1024))
        (loop $again {masked} (local.set $p (i32.add (local.get $p) (i32.const 8))) (br_if $again (i32.lt_u (local.get $p) (i32.const {end}))))
        (i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const {length})) (i32.const 64)",
        end = 1024 + count * 8,
        length = count * 8,
    )
}

async fn seen(plugin: &Plugin<Component>, offset: i64) -> Vec<u64> {
    let verdict = SANDBOX.transform(plugin, &record(offset, b"{}")).await.unwrap();
    let Verdict::Skip(text) = verdict else { panic!("{verdict:?}") };
    text.as_bytes().chunks(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect()
}

fn masked(number: u64) -> u64 {
    number & 0x7f7f_7f7f_7f7f_7f7f
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_and_randomness_are_functions_of_the_record() {
    let body = format!(
        "(call $wall (i32.const 1024))
        (i64.store (i32.const 1032) (call $random)) (i64.store (i32.const 1040) (call $random))
        (i64.store (i32.const 1048) (call $monotonic)) (i64.store (i32.const 1056) (call $monotonic))
        (call $block (call $wait (i64.const 3600000000000)))
        (i64.store (i32.const 1064) (call $monotonic)) {}",
        numbers(6)
    );
    let loaded = load(&guest(&body).component()).await.unwrap();
    assert_eq!(loaded.tier, Tier::Inert);
    let plugin = Arc::new(plugin(loaded.code, limits()));
    let first = seen(&plugin, 7).await;
    assert_eq!(first[0], masked(1_700_000_000), "the record's timestamp");
    assert_ne!(first[1], first[2], "randomness goes on");
    assert_eq!((first[3], first[4]), (masked(0), masked(1_000)), "the clock moves on when it is read");
    assert_eq!(first[5], masked(3_600_000_002_000), "a wait of an hour is over at once");
    let again = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { seen(&plugin, 7).await }
    });
    assert_eq!(again.await.unwrap(), first, "on another thread");
    let other = seen(&plugin, 8).await;
    assert_ne!(other[1], first[1], "another record, other randomness");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_behind_wasi() {
    // Each list's length is its second word.
    let body = format!(
        "(call $environment (i32.const 1024)) (call $arguments (i32.const 1032)) (call $directories (i32.const 1040))
        (if (i32.or (i32.load (i32.const 1028)) (i32.or (i32.load (i32.const 1036)) (i32.load (i32.const 1044)))) (then unreachable)) {SKIP}"
    );
    assert_eq!(ask(&guest(&body).component(), limits(), b"{}").await, Ok(Verdict::Skip("ok".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_writes_goes_to_its_log_and_never_fails() {
    // 1,000 times 4096 bytes; a failed write would trap.
    let body = format!(
        "(local.set $p (call $stderr))
        (loop $again
            (call $write (local.get $p) (i32.const 2048) (i32.const 4096) (i32.const 512))
            (if (i32.load8_u (i32.const 512)) (then unreachable))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))
        {SKIP}"
    );
    let mut guest = guest(&body);
    guest.fields = r#"(data (i32.const 2048) "first line\n\1b[2Jsecond line\n")"#.to_owned();
    let limits = Limits { cpu: Duration::from_secs(10), ..limits() };
    let loaded = SANDBOX.load(&candidate(&guest.component(), limits, Sidecar::default())).await.unwrap();
    let trial = SANDBOX.trial(&plugin(loaded.code, limits), &record(1, b"{}")).await;
    assert_eq!(trial.verdict, Ok(Verdict::Skip("ok".to_owned())));
    assert_eq!(trial.lines[0].text, "first line");
    assert_eq!(trial.lines[1].text, "\u{fffd}[2Jsecond line");
    assert!(trial.lines.iter().map(|line| line.text.len()).sum::<usize>() <= 16 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_guest_that_traps_are_in_the_failure() {
    let mut guest = guest("(call $write (call $stderr) (i32.const 2048) (i32.const 14) (i32.const 512)) unreachable");
    guest.fields = r#"(data (i32.const 2048) "panicked: boom")"#.to_owned();
    let failure = ask(&guest.component(), limits(), b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Trapped);
    assert!(failure.detail.starts_with("panicked: boom\n"), "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_is_a_fault() {
    let failure = ask(&guest("(call $exit (i32.const 0)) unreachable").component(), limits(), b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Trapped);
    assert!(failure.detail.contains("exit"), "{}", failure.detail);
}

/// A clock that stands still between two reads would make this loop end never, and one that moves makes it no shorter.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_clock_uses_up_the_cpu_time() {
    let failure = ask(&guest("(loop $again (drop (call $monotonic)) (br $again)) unreachable").component(), limits(), b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Cpu, "{}", failure.detail);
}

/// Each wait is an entry in the host's own table, which the guest never gives back. It is full before the guest holds too many handles.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_ever_ends_when_the_table_is_full() {
    let body = "(loop $again (call $block (call $wait (i64.const 3600000000000))) (br $again)) unreachable";
    let failure = ask(&guest(body).component(), limits(), b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Trapped, "{}", failure.detail);
    assert!(failure.detail.contains("resource table has no free keys"), "{}", failure.detail);
}
