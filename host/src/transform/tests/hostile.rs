//! Guests that attack the host. Each test says which limit ends the attack; that the test ends at all says that the host got its thread back.

use super::guest::{ECHO, Guest, SKIP};
use super::*;
use crate::outcome::Reason;

const FOREVER: &str = "(loop $again (br $again))";

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
    expect(Guest::transform(&format!("{FOREVER} unreachable")), Reason::Cpu, "used more than its 20ms of CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_the_start_function() {
    let guest = Guest { fields: format!("(func $start {FOREVER}) (start $start)"), ..Guest::default() };
    expect_refusal(guest, "failed when it was loaded (cpu)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_cabi_realloc() {
    let guest = Guest { realloc: format!("{FOREVER} unreachable"), ..Guest::default() };
    expect(guest, Reason::Cpu, "CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_post_return() {
    let guest = Guest { post: FOREVER.to_owned(), ..Guest::default() };
    expect(guest, Reason::Cpu, "CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_large_copies() {
    // Each copy runs to its end between two looks at the epoch; the memory limit bounds it.
    let body = "(loop $again (memory.copy (i32.const 0) (i32.const 1) (i32.const 524287)) (br $again)) unreachable";
    expect(Guest::transform(body), Reason::Cpu, "CPU time").await;
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
    let body = "(block $full (loop $again (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $again))) unreachable";
    expect(Guest::transform(body), Reason::Memory, "more than its 4 MiB of memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_live_with_a_denied_growth() {
    let body = format!("(block $full (loop $again (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $again))) {SKIP}");
    let verdict = ask(&Guest::transform(&body).component(), limits(), b"{}").await.unwrap();
    assert_eq!(verdict, Verdict::Skip("ok".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_at_the_start_than_the_limit() {
    expect_refusal(Guest { pages: 65, ..Guest::default() }, "failed when it was loaded (memory)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_count_as_memory() {
    // 49,000 elements are 383 KiB.
    let guest = Guest {
        transform: "(drop (table.grow $t (ref.null func) (i32.const 49000))) unreachable".to_owned(),
        fields: "(table $t 1 funcref)".to_owned(),
        ..Guest::default()
    };
    let failure = ask(&guest.component(), Limits { memory: 600 << 10, ..limits() }, b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Memory, "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn recursion_without_end() {
    let guest = Guest {
        transform: "(call $deeper (i32.const 0)) unreachable".to_owned(),
        fields: "(func $deeper (param i32) (call $deeper (i32.add (local.get 0) (i32.const 1))))".to_owned(),
        ..Guest::default()
    };
    expect(guest, Reason::Trapped, "call stack exhausted").await;
}

/// `send` of a list of so many requests, all of them the zeros at address 1024 on.
fn requests(count: u32) -> Guest {
    Guest {
        transform: format!(
            "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 8192)) (i32.store (i32.const 72) (i32.const {count})) (i32.const 64)"
        ),
        pages: 60,
        ..Guest::default()
    }
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
    let patch = |count: u32| {
        let headers = format!("(i32.store (i32.const 152) (i32.const 8192)) (i32.store (i32.const 156) (i32.const {count})) (i32.const 64)");
        let body = ECHO.trim_end().strip_suffix("(i32.const 64)").unwrap();
        Guest { transform: format!("{body} {headers}"), pages: 60, ..Guest::default() }
    };
    expect(patch(100_000), Reason::Output, "output").await;
    expect(patch(65), Reason::Output, "returned 65 headers in one request, more than its limit of 64").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_of_64_mebibytes() {
    let body = "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 0)) (i32.store (i32.const 72) (i32.const 67108864)) (i32.const 64)";
    let guest = Guest { transform: body.to_owned(), pages: 1024, ..Guest::default() };
    let failure = ask(&guest.component(), Limits { memory: 80 << 20, ..limits() }, b"{}").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Output, "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_a_little_over_the_limit() {
    let body = "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 131072)) (i32.store (i32.const 72) (i32.const 65537)) (i32.const 64)";
    expect(Guest::transform(body), Reason::Output, "returned 65537 bytes, more than its limit of 65536").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_with_its_frames() {
    let guest = Guest { transform: "(call $burst) unreachable".to_owned(), fields: "(func $burst unreachable)".to_owned(), ..Guest::default() };
    expect(guest, Reason::Trapped, "burst").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8() {
    let body = "(i32.store8 (i32.const 32) (i32.const 255)) (i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 32)) (i32.store (i32.const 72) (i32.const 1)) (i32.const 64)";
    expect(Guest::transform(body), Reason::Trapped, "utf-8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_beyond_the_end_of_memory() {
    let body = "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const -16)) (i32.store (i32.const 72) (i32.const 1000)) (i32.const 64)";
    expect(Guest::transform(body), Reason::Trapped, "out of bounds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handles() {
    let guest = Guest {
        transform: "(loop $again (drop (call $new (i32.const 1))) (br $again)) unreachable".to_owned(),
        imports: r#"(import "[export]test:flood/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#,
        fields: r#"(func (export "test:flood/things#make") (result i32) (call $new (i32.const 1)))"#.to_owned(),
        world: "flood",
        wit: Some(
            "package test:flood;
            interface things { resource thing; make: func() -> thing; }
            world flood { include keyway:transform/plugin@0.1.0; export things; }",
        ),
        ..Guest::default()
    };
    expect(guest, Reason::Memory, "more than 1000 handles").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_modules_than_a_component_may_have() {
    let modules = "(core module $m) (core instance (instantiate $m))".to_owned() + &"(core module)".repeat(60);
    let component = wat::parse_str(format!("(component {modules})")).unwrap();
    let refusal = load(&component).await.unwrap_err();
    assert!(refusal.cause.contains("61 core modules"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_instances_than_a_component_may_have() {
    let instances = "(core instance (instantiate $m))".repeat(61);
    let component = wat::parse_str(format!(
        r#"(component (core module $m) {instances} (instance $i) (export "keyway:transform/transform@0.1.0" (instance $i)))"#
    ))
    .unwrap();
    let refusal = load(&component).await.unwrap_err();
    assert!(refusal.cause.contains("61 core module instances"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_nest_too_deep() {
    let component = wat::parse_str(format!("{}{}", "(component ".repeat(9), ")".repeat(9))).unwrap();
    let refusal = load(&component).await.unwrap_err();
    assert!(refusal.cause.contains("nest deeper than 8"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_too_large() {
    let guest = Guest { fields: format!("(func {})", "(drop (i32.const 0))".repeat(400_000)), ..Guest::default() };
    expect_refusal(guest, "larger than 1024 KiB").await;
}

/// Logs `text` (at address 1024) so many times at level info.
fn logging(times: u32, text: &str) -> Guest {
    Guest {
        transform: format!(
            "(loop $again (call $log (i32.const 2) (i32.const 1024) (i32.const {})) (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const {times})))) {SKIP}",
            text.len()
        ),
        imports: r#"(import "keyway:transform/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#,
        fields: format!("(data (i32.const 1024) {text:?})"),
        ..Guest::default()
    }
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
async fn a_log_line_larger_than_the_output_limit() {
    let mut guest = logging(1, "x");
    guest.transform = format!("(call $log (i32.const 2) (i32.const 0) (i32.const 400000)) {SKIP}");
    expect(guest, Reason::Output, "logged at once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_division_by_zero() {
    expect(Guest::transform("(drop (i32.div_u (i32.const 1) (local.get $i))) unreachable"), Reason::Trapped, "divide by zero").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_that_is_not_utf8() {
    let mut guest = logging(1, "x");
    guest.fields = r#"(data (i32.const 1024) "\ff\fe")"#.to_owned();
    guest.transform = format!("(call $log (i32.const 2) (i32.const 1024) (i32.const 2)) {SKIP}");
    expect(guest, Reason::Trapped, "utf-8").await;
}

/// A component with so many core modules, each an instance with these fields.
fn instances(count: usize, fields: &str) -> Vec<u8> {
    let instances = format!("(core instance (instantiate (module {fields})))").repeat(count);
    let module = format!("(core module $m {fields})");
    let instances = instances.replace(&format!("(module {fields})"), "$m");
    let text = format!(r#"(component {module} {instances} (instance $i) (export "keyway:transform/transform@0.1.0" (instance $i)))"#);
    wat::parse_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memories_than_a_component_may_have() {
    let refusal = load(&instances(9, "(memory 1)")).await.unwrap_err();
    assert!(refusal.cause.contains("memories"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tables_than_a_component_may_have() {
    let refusal = load(&instances(21, "(table 1 funcref)")).await.unwrap_err();
    assert!(refusal.cause.contains("tables"), "{}", refusal.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_larger_than_the_pool_has_places() {
    let guest = Guest { fields: "(table 60000 funcref)".to_owned(), ..Guest::default() };
    expect_refusal(guest, "table").await;
}
