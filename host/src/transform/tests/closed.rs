//! Components that import WASI's network: they run as long as they leave it alone.

use super::guest::{Guest, SKIP};
use super::*;
use crate::outcome::Reason;
use crate::plugin::Tier;

/// As much of WASI's network as shows each way of being imported: a function, a method, a resource of its own and one of an interface that is linked.
const WIT: &str = "
    package test:closed;
    world closed {
        include keyway:transform/plugin@0.1.0;
        import wasi:sockets/tcp-create-socket@0.2.3;
        import wasi:http/types@0.2.10;
    }
    package wasi:io@0.2.3 { interface streams { resource input-stream; } }
    package wasi:io@0.2.10 { interface streams { resource input-stream; } }
    package wasi:sockets@0.2.3 {
        interface network { resource network; enum error-code { unknown, access-denied } }
        interface tcp {
            use network.{network, error-code};
            use wasi:io/streams@0.2.3.{input-stream};
            resource tcp-socket { finish-connect: func() -> result<input-stream, error-code>; }
        }
        interface tcp-create-socket {
            use network.{error-code};
            use tcp.{tcp-socket};
            create-tcp-socket: func(family: u8) -> result<tcp-socket, error-code>;
        }
    }
    package wasi:http@0.2.10 {
        interface types {
            use wasi:io/streams@0.2.10.{input-stream};
            resource fields { constructor(); get: func(name: string) -> list<list<u8>>; }
            resource incoming-body { %stream: func() -> result<input-stream>; }
        }
    }";

const IMPORTS: &str = r#"
    (import "wasi:sockets/tcp-create-socket@0.2.3" "create-tcp-socket" (func $socket (param i32 i32)))
    (import "wasi:sockets/tcp@0.2.3" "[method]tcp-socket.finish-connect" (func $connect (param i32 i32)))
    (import "wasi:http/types@0.2.10" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.10" "[method]incoming-body.stream" (func $body (param i32 i32)))"#;

fn guest(transform: &str) -> Vec<u8> {
    Guest { transform: transform.to_owned(), imports: IMPORTS, world: "closed", wit: Some(WIT), ..Guest::default() }.component()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_leaves_the_network_alone_runs() {
    let loaded = load(&guest(SKIP)).await.unwrap();
    assert_eq!((loaded.tier, loaded.closed.as_slice()), (Tier::Inert, ["wasi:sockets".to_owned(), "wasi:http".to_owned()].as_slice()));
    assert!(loaded.remark().unwrap().starts_with("imports `wasi:sockets`, `wasi:http`, behind which there is nothing"));
    let verdict = SANDBOX.transform(&plugin(loaded.code, limits()), &record(7, b"{}")).await;
    assert_eq!(verdict, Ok(Verdict::Skip("ok".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_network_is_a_fault_that_names_it() {
    for (call, name) in [
        ("(call $socket (i32.const 0) (i32.const 512))", "wasi:sockets/tcp-create-socket@0.2.3#create-tcp-socket"),
        ("(drop (call $fields))", "wasi:http/types@0.2.10#[constructor]fields"),
    ] {
        let failure = ask(&guest(&format!("{call} {SKIP}")), limits(), b"{}").await.unwrap_err();
        assert_eq!(failure.reason, Reason::Trapped);
        let said = format!("called `{name}`: plugins have no network; return requests, and the host sends them\n");
        assert!(failure.detail.starts_with(&said), "{}", failure.detail);
    }
}

/// There is never a resource whose methods could be called.
#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_handle_is_none() {
    for call in ["(call $connect (i32.const 1) (i32.const 512))", "(call $body (i32.const 1) (i32.const 512))"] {
        let failure = ask(&guest(&format!("{call} {SKIP}")), limits(), b"{}").await.unwrap_err();
        assert!(failure.detail.contains("unknown handle index 1"), "{}", failure.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_thousands_of_closed_functions_is_refused() {
    let functions: String = (0..2_001).map(|n| format!("(export \"f{n}\" (func))")).collect();
    let module = Guest::default().component();
    let nothing = load(&module).await.unwrap();
    assert_eq!(nothing.remark(), None, "one without them has nothing to be told");
    let export = r#"(instance $i) (export "keyway:transform/transform@0.1.0" (instance $i))"#;
    let component = wat::parse_str(format!(r#"(component (import "wasi:sockets/tcp@0.2.0" (instance {functions})) {export})"#)).unwrap();
    let refusal = load(&component).await.unwrap_err();
    assert_eq!(refusal.cause, "its imports have more than 2000 functions and types");
}
