//! Guests that attack the host. Each test says which limit ends the attack; that the test ends at all says that the host got its thread back.

use super::guest::{self, DIVIDE, ECHO, FOREVER, Guest, SKIP, logging, requests};
use super::*;
use crate::outcome::Reason;

/// Loads the guest, asks it for a verdict, and expects this reason; then that the sandbox still serves others.
async fn expect(guest: Guest, reason: Reason, words: &str) {
    let failure = ask(&guest.component(), limits(), b"{}").await.unwrap_err();
    assert_eq!(failure.reason, reason, "{}", failure.detail);
    assert!(failure.detail.contains(words), "`{words}` is not in: {}", failure.detail);
    let innocent = ask(&Guest::transform(ECHO).component(), limits(), b"{}").await.unwrap();
    assert!(matches!(innocent, Verdict::Send(_)));
}

async fn expect_refusal(guest: Guest, words: &str) {
    let refusal = load(&guest.component()).await.unwrap_err();
    assert!(refusal.cause.contains(words), "`{words}` is not in: {}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_the_export() {
    expect(guest::loop_in_export(), Reason::Cpu, "used more than its 20ms of CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_the_start_function() {
    expect_refusal(guest::loop_in_start(), "failed when it was loaded (cpu)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_cabi_realloc() {
    expect(guest::loop_in_realloc(), Reason::Cpu, "CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_post_return() {
    expect(guest::loop_in_post_return(), Reason::Cpu, "CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_large_copies() {
    expect(guest::large_copies(8), Reason::Cpu, "CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_call_that_has_cpu_time_left() {
    let limits = Limits { cpu: Duration::from_secs(3600), wall: Duration::from_millis(50), ..limits() };
    let failure = ask(&Guest::transform(&format!("{FOREVER} unreachable")).component(), limits, b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Deadline);
    assert!(failure.detail.contains("50ms"), "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_without_end_and_then_a_trap() {
    expect(guest::memory_without_end(), Reason::Memory, "more than its 4 MiB of memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_live_with_a_denied_growth() {
    let verdict = ask(&guest::memory_to_the_limit().component(), limits(), b"{}").await.unwrap();
    assert_eq!(verdict, Verdict::Skip("ok".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_at_the_start_than_the_limit() {
    expect_refusal(Guest { pages: 65, ..Guest::default() }, "failed when it was loaded (memory)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_count_as_memory() {
    // 49,000 elements are 383 KiB.
    let failure = ask(&guest::table_of(49_000).component(), Limits { memory: 600 << 10, ..limits() }, b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Memory, "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn recursion_without_end() {
    expect(guest::recursion(), Reason::Trapped, "call stack exhausted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed() {
    expect(requests(21), Reason::Output, "returned 21 requests, more than its limit of 20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests() {
    // 60,000 of 56 bytes each are all that 60 pages hold.
    expect(requests(60_000), Reason::Output, "output").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_requests() {
    let mut guest = requests(1_000_000);
    guest.pages = 1000;
    let failure = ask(&guest.component(), Limits { memory: 64 << 20, ..limits() }, b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Output, "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_headers() {
    expect(guest::headers(100_000), Reason::Output, "output").await;
    expect(guest::headers(65), Reason::Output, "returned 65 headers in one request, more than its limit of 64").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_of_64_mebibytes() {
    let guest = Guest { pages: 1024, ..guest::string(0, 64 << 20) };
    let failure = ask(&guest.component(), Limits { memory: 80 << 20, ..limits() }, b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Output, "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_a_little_over_the_limit() {
    expect(guest::string(131_072, 65_537), Reason::Output, "returned 65537 bytes, more than its limit of 65536").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_with_its_frames() {
    expect(guest::trap_in("burst"), Reason::Trapped, "\n    at burst, byte 0x").await;
    expect(guest::trap_in("_ZN5order9transform17h0123456789abcdefE"), Reason::Trapped, "\n    at order::transform, byte 0x").await;
}

/// What a call takes, and its failure.
async fn measured(guest: Guest) -> (Duration, Failure) {
    let loaded = load(&guest.component()).await.unwrap();
    let trial = SANDBOX.trial(&plugin(loaded.code, limits()), &record(1, b"{}")).await;
    (trial.cpu, trial.verdict.unwrap_err())
}

/// What a trap may take that is explained: far more than it does, and far less than the attacks would take.
const EXPLAINED: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_where_debug_information_has_thirty_million_lines() {
    let (cpu, failure) = measured(guest::debug_lines(30 << 20)).await;
    assert!(failure.reason == Reason::Trapped && failure.detail.contains("at burst"), "{}", failure.detail);
    assert!(cpu < EXPLAINED, "{cpu:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_a_function_whose_name_stands_for_a_hundred_mebibytes() {
    let (cpu, failure) = measured(guest::mangled_name(22)).await;
    assert!(failure.reason == Reason::Trapped && failure.detail.contains("at _Z1f1AIiiE"), "{}", failure.detail);
    assert!(cpu < EXPLAINED, "{cpu:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_a_function_with_a_long_name() {
    let (_, failure) = measured(guest::trap_in(&"long".repeat(20_000))).await;
    assert!(failure.detail.contains("at longlong") && failure.detail.len() == 4 << 10, "{} bytes", failure.detail.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_terminal_would_obey() {
    // By hand, since text has no such names: one function's name, that of the third, which is called.
    let name = b"\x1b[31mred";
    let names = [&[1, name.len() as u8 + 3, 1, 2, name.len() as u8][..], name].concat();
    let guest = Guest { sections: vec![("name", names)], ..guest::trap_in("f") };
    let (_, failure) = measured(guest).await;
    assert!(failure.detail.contains("at \u{fffd}[31mred") && !failure.detail.contains('\x1b'), "{:?}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8() {
    expect(guest::not_utf8(), Reason::Trapped, "utf-8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_beyond_the_end_of_memory() {
    expect(guest::list_out_of_bounds(), Reason::Trapped, "out of bounds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handles() {
    expect(guest::handles(), Reason::Memory, "more than 1000 handles").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_modules_than_a_component_may_have() {
    let refusal = load(&guest::modules(61)).await.unwrap_err();
    assert!(refusal.cause.contains("61 core modules"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_instances_than_a_component_may_have() {
    let refusal = load(&guest::instances(61, "")).await.unwrap_err();
    assert!(refusal.cause.contains("61 core module instances"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_nest_too_deep() {
    let refusal = load(&guest::nested(9)).await.unwrap_err();
    assert!(refusal.cause.contains("nest deeper than 8"), "{}", refusal.cause);
    load(&guest::nested(1_000)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_too_large() {
    expect_refusal(guest::large_function(400_000), "larger than 1024 KiB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let line = "x".repeat(2000);
    let loaded = load(&logging(100, &line).component()).await.unwrap();
    let trial = SANDBOX.trial(&plugin(loaded.code, limits()), &record(1, b"{}")).await;
    assert_eq!(trial.verdict, Ok(Verdict::Skip("ok".to_owned())));
    assert_eq!(trial.lines.len(), 16, "16 KiB of lines of 1 KiB");
    assert!(trial.lines.iter().all(|line| line.text.len() == 1024));
    assert_eq!(trial.dropped_lines, 84);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_over_the_caps_are_counted_for_whoever_runs_the_host() {
    let loaded = load(&logging(100, &"x".repeat(2000)).component()).await.unwrap();
    let plugin = Plugin { name: PluginName::new("team", "floods"), ..plugin(loaded.code, limits()) };
    SANDBOX.transform(&plugin, &record(1, b"{}")).await.unwrap();
    let text = METRICS.render();
    assert!(text.contains("\nkeyway_plugin_log_lines_dropped_total{plugin=\"team/floods\"} 84\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_larger_than_the_output_limit() {
    let mut guest = logging(1, "x");
    guest.transform = format!("(call $log (i32.const 2) (i32.const 0) (i32.const 400000)) {SKIP}");
    expect(guest, Reason::Output, "logged at once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_division_by_zero() {
    expect(Guest::transform(DIVIDE), Reason::Trapped, "divide by zero").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_that_is_not_utf8() {
    expect(guest::log_not_utf8(), Reason::Trapped, "utf-8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memories_than_a_component_may_have() {
    let refusal = load(&guest::instances(9, "(memory 1)")).await.unwrap_err();
    assert!(refusal.cause.contains("memories"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tables_than_a_component_may_have() {
    let refusal = load(&guest::instances(21, "(table 1 funcref)")).await.unwrap_err();
    assert!(refusal.cause.contains("tables"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_larger_than_the_pool_has_places() {
    let guest = Guest { fields: "(table 60000 funcref)".to_owned(), ..Guest::default() };
    expect_refusal(guest, "table").await;
}
