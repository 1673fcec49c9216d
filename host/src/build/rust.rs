//! Rust: cargo, whose linker for plugins makes the component.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Project, Trouble, component, files, io, tools};

const TARGET: &str = "wasm32-unknown-unknown";

/// Finds, or makes, a compiler with a standard library for plugins. It is the one that this repository's own plugins are built with.
const WASM_STD: &str = "scripts/wasm-std.sh";

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let cargo = env::var_os("KEYWAY_CARGO").map(Into::into).or_else(|| tools::find(project, &["cargo"]));
    let cargo =
        cargo.ok_or_else(|| Trouble::missing("Rust plugins are built with cargo, which is not installed", "curl -sSf https://sh.rustup.rs | sh"))?;
    let mut command = Command::new(cargo);
    // Who names a cargo, or a compiler, has one that can do it.
    if env::var_os("KEYWAY_CARGO").is_none()
        && env::var_os("RUSTC").is_none()
        && let Some(rustc) = compiler(project, work)?
    {
        command.env("RUSTDOC", rustc.with_file_name("rustdoc")).env("RUSTC", rustc);
    }
    command.current_dir(&project.directory).args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    let output = command.output().map_err(|error| Trouble::new(format!("cannot start cargo: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("can't find crate for `core`") || said.contains("can't find crate for `std`") {
            return Err(no_library(project));
        }
        return Err(Trouble { output: Some(said), ..Trouble::new("`cargo build` failed") });
    }
    let made = artifact(&output.stdout, &project.directory)
        .ok_or_else(|| Trouble::new("`cargo build` made no `.wasm` file").hint("give Cargo.toml `[lib] crate-type = [\"cdylib\", \"rlib\"]`"))?;
    let bytes = fs::read(Path::new(&made)).map_err(io(Path::new(&made)))?;
    // Without the SDK's linker setting it is a core module, which knows its type all the same.
    if wasmparser::Parser::is_core_wasm(&bytes) { component::complete(&bytes) } else { Ok(bytes) }
}

/// A compiler with a standard library for plugins; none when the one that cargo takes by itself has it.
///
/// `KEYWAY_WASM_STD` says where it is to come from, and then it is fetched; without, only what is there already is looked for.
fn compiler(project: &Project, work: &Path) -> Result<Option<PathBuf>, Trouble> {
    let wanted = env::var("KEYWAY_WASM_STD").unwrap_or_default();
    if wanted.is_empty() && has_library(project) {
        return Ok(None);
    }
    if wanted.is_empty() && !tools::cache().is_some_and(|cache| has_debian(&cache)) {
        return Err(no_library(project));
    }
    let script = work.join("wasm-std.sh");
    files::write(&script, files::one(WASM_STD))?;
    let mut command = Command::new("bash");
    command.arg(&script).current_dir(&project.directory).env("KEYWAY_WASM_STD", if wanted.is_empty() { "debian" } else { &wanted });
    let output = command.output().map_err(|error| Trouble::new(format!("cannot start bash: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !said.is_empty() {
        return Ok(Some(said.into()));
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble { output: Some(said), ..Trouble::new("no compiler with a standard library for wasm32 could be made") })
}

/// Whether the compiler that cargo takes by itself in this folder has the library. Asked there, since a project may choose its own toolchain.
fn has_library(project: &Project) -> bool {
    let mut command = Command::new("rustc");
    let output = command.current_dir(&project.directory).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// Whether a former run has made a compiler of Debian's packages.
fn has_debian(cache: &Path) -> bool {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rust-wasm-")) && path.join("finished").exists())
}

fn no_library(project: &Project) -> Trouble {
    let instead = format!("KEYWAY_WASM_STD=debian keyway build {}", project.directory.display());
    Trouble::missing(
        "the compiler has no standard library for wasm32",
        format!("rustup target add {TARGET}, or, on a Debian that does not reach rustup's server: {instead}"),
    )
}

/// The last `.wasm` that cargo says it made for a package in this folder.
fn artifact(messages: &[u8], folder: &Path) -> Option<String> {
    let manifest = folder.join("Cargo.toml");
    let lines = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let ours = lines.filter(|message| message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest));
    let files: Vec<Value> = ours.filter_map(|message| message["filenames"].as_array().cloned()).flatten().collect();
    files.iter().filter_map(Value::as_str).rfind(|name| name.ends_with(".wasm")).map(str::to_owned)
}
