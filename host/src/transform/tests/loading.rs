//! What the gate lets in, and what it says of the rest.

use super::guest::Guest;
use super::*;
use crate::plugin::Tier;

async fn refused(bytes: &[u8], cause: &str) -> Refusal {
    let refusal = load(bytes).await.unwrap_err();
    assert!(refusal.cause.contains(cause), "`{cause}` is not in: {}", refusal.cause);
    refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_let_in() {
    let loaded = load(&Guest::default().component()).await.unwrap();
    assert_eq!(loaded.tier, Tier::Pure);
    assert_eq!(loaded.description, None);
    assert!(!loaded.sees_replies);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_component_is_refused() {
    let component = Guest::default().component();
    refused(b"", "the file is empty").await;
    refused(b"#!/bin/sh\n", "not WebAssembly").await;
    refused(&Guest::default().module(), "a core module, not a component").await;
    refused(&component[..component.len() / 2], "ends in the middle").await;
    refused(&component[..6], "ends in the middle").await;
    let compiled = wasmtime::Engine::default().precompile_component(&component).unwrap();
    refused(&compiled, "compiled already").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_imports_are_named_with_the_mend() {
    let component = wat::parse_str(r#"(component (import "wasi:nn/tensor@0.2.0" (instance)) (import "env:other/thing" (instance)))"#).unwrap();
    let refusal = refused(&component, "imports `wasi:nn/tensor@0.2.0`, `env:other/thing`, which a plugin may not have").await;
    assert!(refusal.hint.unwrap().starts_with("build it for the world `keyway:transform/plugin@0.1.0`"));
}

/// Parts in Rust and C are in the components of every language, so these two are no sign of who made them.
#[tokio::test(flavor = "multi_thread")]
async fn the_mend_is_that_of_the_tool() {
    let parts = r#"(core module (@producers (language "Rust" "") (language "C11" "") (processed-by "rustc" "1.88.0")))"#;
    for (import, tool, mend) in [
        ("wasi:nn/tensor@0.2.0", "ComponentizeJS", "nothing but compute: `jco componentize --disable all` makes"),
        ("wasi:http/types@0.3.0", "ComponentizeJS", "build it for WASI 0.2 or for none: `jco componentize --disable all`"),
        ("wasi:sockets/types@0.3.0", "component-init-transform", "for none: `componentize-py componentize --stub-wasi`"),
        ("wasi:nn/tensor@0.2.0", "wit-component", "nothing but compute: `keyway build` makes components without WASI"),
    ] {
        let text = format!(r#"(component (import "{import}" (instance)) {parts} (@producers (processed-by "{tool}" "1")))"#);
        let hint = refused(&wat::parse_str(&text).unwrap(), &format!("import `{import}`")).await.hint.unwrap();
        assert!(hint.contains(mend), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_export_is_named_with_those_that_are_there() {
    let refusal = refused(&wat::parse_str("(component)").unwrap(), "does not export `keyway:transform/transform@0.1.0`").await;
    assert!(refusal.cause.contains("it exports nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_contract_is_named_with_ours() {
    let component = wat::parse_str(r#"(component (instance $i) (export "keyway:transform/transform@0.2.0" (instance $i)))"#).unwrap();
    refused(&component, "built for `keyway:transform/transform@0.2.0`; this host speaks 0.1.0").await;
}

/// A newer interface, imported or only exported: this host would not know what to do with it, and must not pass over it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interface_of_a_newer_version_is_named_with_ours() {
    let transform = r#"(export "keyway:transform/transform@0.1.0" (instance $i))"#;
    for newer in [
        r#"(component (import "keyway:transform/clock@0.1.1" (instance)) (instance $i) {transform})"#,
        r#"(component (instance $i) {transform} (export "keyway:transform/clock@0.1.1" (instance $i)))"#,
        r#"(component (instance $i) (export "keyway:transform/clock@0.1.1" (instance $i)) {transform})"#,
    ] {
        let component = wat::parse_str(newer.replace("{transform}", transform)).unwrap();
        let refusal = refused(&component, "built for `keyway:transform/clock@0.1.1`; this host speaks 0.1.0").await;
        assert!(refusal.hint.unwrap().contains("the SDK of this host's version"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_the_right_name_and_another_type_is_refused() {
    let component = wat::parse_str(r#"(component (instance $i) (export "keyway:transform/transform@0.1.0" (instance $i)))"#).unwrap();
    refused(&component, "does not fit the contract").await;
}
