//! The real program as its own compile worker.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use keyway::observe::Metrics;
use keyway::plugin::{Candidate, Load, PluginName, Sidecar, Version};
use keyway::policy::Limits;
use keyway::transform::{Compile, Sandbox, Settings, worker};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keyway");

fn guest(body: &str) -> Vec<u8> {
    let mut module = wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
            (func (export "keyway:transform/transform@0.1.0#transform")
                (param i32 i32 i32 i64 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {body}))"#
    ))
    .unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/0.1.0")).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn candidate(component: Vec<u8>) -> Candidate {
    Candidate {
        name: PluginName::new("default", "plugin"),
        version: Version("0".into()),
        component: Bytes::from(component),
        sidecar: Sidecar::default(),
        limits: Limits::default(),
    }
}

fn sandbox(program: &Path, cache: &Path) -> Sandbox {
    let settings = Settings { compile: Compile::Worker(program.to_owned()), cache: Some(cache.to_owned()), instances: 8, ..Settings::default() };
    Sandbox::new(&settings, Metrics::new()).unwrap()
}

#[tokio::test]
async fn what_the_worker_compiles_runs_here_and_is_found_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let component = guest("(i32.const 0)");
    sandbox(Path::new(PROGRAM), &cache).load(&candidate(component.clone())).await.unwrap();
    // A worker that is not there: the second start needs none.
    sandbox(Path::new("/nonexistent"), &cache).load(&candidate(component)).await.unwrap();
    let refusal = sandbox(Path::new("/nonexistent"), &cache).load(&candidate(guest("(i32.const 4)"))).await.unwrap_err();
    assert!(refusal.cause.contains("the compiler's process failed"), "{}", refusal.cause);
}

#[test]
fn the_worker_says_what_it_cannot_compile() {
    let mut child = Command::new(PROGRAM).arg(worker::COMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\0asm\x0d\0\x01\0\xff").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("offset"), "{text}");
}
