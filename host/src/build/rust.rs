//! Rust: cargo, whose linker for plugins makes the component.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Project, Trouble, component, io, tools};

/// How a compiler gets its standard library for plugins. A cargo with another compiler can be named, for where rustup's server is out of reach.
const WASM32: &str = "rustup target add wasm32-unknown-unknown (or name a cargo that has it: KEYWAY_CARGO=KEYWAY/scripts/guest-cargo)";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, Trouble> {
    let cargo = env::var_os("KEYWAY_CARGO").map(Into::into).or_else(|| tools::find(project, &["cargo"]));
    let cargo = cargo.ok_or_else(|| Trouble::missing("Rust plugins are built with cargo, which is not installed", "https://rustup.rs"))?;
    let mut command = Command::new(cargo);
    command.current_dir(&project.directory).args([
        "build",
        "--release",
        "--target",
        "wasm32-unknown-unknown",
        "--message-format=json-render-diagnostics",
    ]);
    let output = command.output().map_err(|error| Trouble::new(format!("cannot start cargo: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("can't find crate for `core`") || said.contains("can't find crate for `std`") {
            return Err(Trouble::missing("the compiler has no standard library for wasm32", WASM32));
        }
        return Err(Trouble { output: Some(said), ..Trouble::new("`cargo build` failed") });
    }
    let made = artifact(&output.stdout, &project.directory)
        .ok_or_else(|| Trouble::new("`cargo build` made no `.wasm` file").hint("give Cargo.toml `[lib] crate-type = [\"cdylib\", \"rlib\"]`"))?;
    let bytes = fs::read(Path::new(&made)).map_err(io(Path::new(&made)))?;
    // Without the SDK's linker setting it is a core module, which knows its type all the same.
    if wasmparser::Parser::is_core_wasm(&bytes) { component::complete(&bytes) } else { Ok(bytes) }
}

/// The last `.wasm` that cargo says it made for a package in this folder.
fn artifact(messages: &[u8], folder: &Path) -> Option<String> {
    let manifest = folder.join("Cargo.toml");
    let lines = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let ours = lines.filter(|message| message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest));
    let files: Vec<Value> = ours.filter_map(|message| message["filenames"].as_array().cloned()).flatten().collect();
    files.iter().filter_map(Value::as_str).rfind(|name| name.ends_with(".wasm")).map(str::to_owned)
}
