//! C: zig's compiler, which brings its own C library, or clang with wasi-libc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::component::{Abilities, encode};
use super::{Language, Project, Trouble, files, io, tools};

/// Versions of clang that are tried, the newest first.
const CLANGS: &[&str] = &["clang", "clang-21", "clang-20", "clang-19", "clang-18"];

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let mut command = compiler(project)?;
    let sdk = match project.own_sdk() {
        Some(folder) => folder,
        None => {
            files::write_sdk(Language::C, &work.join("keyway"))?;
            work.join("keyway")
        }
    };
    let out = work.join("plugin.wasm");
    let sources = sources(&project.directory)?;
    let text = sources.iter().map(|path| fs::read_to_string(path).map_err(io(path))).collect::<Result<String, _>>()?;
    let abilities = Abilities { replies: text.contains("keyway_on_replies") };
    // 64 KiB of stack instead of the compiler's default of 1 MiB or more: a fresh instance touches, and pays for, what it has.
    command.current_dir(&project.directory).args(["-mexec-model=reactor", "-std=c11", "-Oz", "-Wall", "-Wl,-s", "-Wl,-z,stack-size=65536"]);
    command.arg("-I").arg(&sdk).arg("-I").arg(sdk.join("generated"));
    if abilities.replies {
        command.arg("-DKEYWAY_REPLIES");
    }
    command.args(&sources).arg(sdk.join("keyway.c")).arg(sdk.join("generated/replying_plugin.c")).arg("-o").arg(&out);
    tools::run(&mut command)?;
    encode(fs::read(&out).map_err(io(&out))?, abilities)
}

/// A compiler for wasm32 with a C library.
fn compiler(project: &Project) -> Result<Command, Trouble> {
    if let Some(zig) = tools::find(project, &["zig", "python-zig"]) {
        let mut command = Command::new(zig);
        command.args(["cc", "-target", "wasm32-wasi"]);
        return Ok(command);
    }
    let sysroot = ["/opt/wasi-sysroot", "/usr"].map(PathBuf::from).into_iter().find(|root| root.join("include/wasm32-wasi").is_dir());
    if let (Some(clang), Some(sysroot)) = (tools::find(project, CLANGS), sysroot) {
        let mut command = Command::new(clang);
        command.arg("--target=wasm32-wasi").arg(format!("--sysroot={}", sysroot.display()));
        return Ok(command);
    }
    let venv = project.directory.join(".venv");
    let install = format!(
        "python3 -m venv {0} && {0}/bin/pip install ziglang==0.16.0, or: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32",
        venv.display()
    );
    Err(Trouble::missing("C plugins are built with zig, or with clang and wasi-libc, and neither is installed", install))
}

/// The project's own sources: every `.c` file at its top.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let entries = fs::read_dir(folder).map_err(io(folder))?;
    let mut sources = entries.map(|entry| Ok(entry.map_err(io(folder))?.path())).collect::<Result<Vec<_>, Trouble>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    Ok(sources)
}
