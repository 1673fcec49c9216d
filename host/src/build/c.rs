//! C: zig's compiler, which brings its own C library, or clang with wasi-libc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::component::{Abilities, encode};
use super::{Language, Project, Trouble, files, io, tools};

/// Versions of clang that are tried, the newest first. The plain name comes last: of several, it is often the one that lacks what wasm takes.
const CLANGS: &[&str] = &["clang-21", "clang-20", "clang-19", "clang-18", "clang"];

const REPLIES: &str = "keyway_on_replies";

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
    // The linker has the last word, see `explain`.
    let abilities = Abilities { replies: text.contains(REPLIES) };
    // 64 KiB of stack instead of the compiler's default of 1 MiB or more: a fresh instance touches, and pays for, what it has.
    command.current_dir(&project.directory).args(["-mexec-model=reactor", "-std=c11", "-Oz", "-Wall", "-Wl,-s", "-Wl,-z,stack-size=65536"]);
    command.arg("-I").arg(&sdk).arg("-I").arg(sdk.join("generated"));
    if abilities.replies {
        command.arg("-DKEYWAY_REPLIES");
    }
    // By their names alone, which is how a fault tells its place.
    command.args(sources.iter().filter_map(|path| path.file_name()));
    command.arg(sdk.join("keyway.c")).arg(sdk.join("generated/replying_plugin.c")).arg("-o").arg(&out);
    tools::run(&mut command).map_err(|trouble| explain(trouble, abilities))?;
    encode(fs::read(&out).map_err(io(&out))?, abilities)
}

/// Says what the linker means when the plugin's text and its code differ on whether it looks at replies.
fn explain(trouble: Trouble, abilities: Abilities) -> Trouble {
    let said = trouble.output.as_deref().unwrap_or_default();
    let names = |what: &str| said.lines().any(|line| line.contains(what) && line.contains(REPLIES));
    let (cause, hint) = if abilities.replies && names("undefined symbol") {
        let hint =
            "define it as `keyway.h` declares it, or leave its name out, in comments too: by it `keyway build` sees that a plugin looks at replies";
        (format!("the plugin names `{REPLIES}`, but does not define it"), hint)
    } else if !abilities.replies && names("duplicate symbol") {
        (format!("`{REPLIES}` is defined, but no `.c` file of the project names it"), "define it in `plugin.c`, or name it there in a comment")
    } else {
        return trouble;
    };
    Trouble { cause, hint: Some(hint.to_owned()), ..trouble }
}

/// A compiler for wasm32 with a C library.
fn compiler(project: &Project) -> Result<Command, Trouble> {
    if let Some(zig) = tools::find(project, &["zig", "python-zig"]) {
        let mut command = Command::new(zig);
        command.args(["cc", "-target", "wasm32-wasi"]);
        return Ok(command);
    }
    let sysroot = ["/opt/wasi-sysroot", "/usr"].map(PathBuf::from).into_iter().find(|root| root.join("include/wasm32-wasi").is_dir());
    let seen = match (clang(project), sysroot) {
        (Ok(clang), Some(sysroot)) => {
            let mut command = Command::new(clang);
            command.arg("--target=wasm32-wasi").arg(format!("--sysroot={}", sysroot.display()));
            return Ok(command);
        }
        (Ok(_), None) => "wasi-libc is not installed".to_owned(),
        (Err(seen), _) => seen,
    };
    let install = format!("{}, or: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32", tools::pip(project, tools::ZIGLANG));
    Err(Trouble::missing(format!("C plugins are built with zig, or with clang and wasi-libc, and {seen}"), install))
}

/// The first clang that is whole.
///
/// # Errors
/// What was seen instead, to end a sentence.
fn clang(project: &Project) -> Result<PathBuf, String> {
    let mut seen = None;
    for clang in CLANGS.iter().flat_map(|name| tools::every(project, name)) {
        match missing(&clang) {
            None => return Ok(clang),
            Some(what) => _ = seen.get_or_insert(format!("`{}` lacks {what}", clang.display())),
        }
    }
    Err(seen.unwrap_or_else(|| "neither is installed".to_owned()))
}

/// What this clang lacks of what it takes to link for wasm32. It names a file by its whole path only where there is one.
fn missing(clang: &Path) -> Option<&'static str> {
    let has = |question: &str| {
        let answer = tools::said(Command::new(clang).args(["--target=wasm32-wasi", question]));
        answer.is_some_and(|path| Path::new(&path).is_absolute() && Path::new(&path).is_file())
    };
    if !has("--print-prog-name=wasm-ld") {
        return Some("the linker `wasm-ld`");
    }
    (!has("--print-libgcc-file-name")).then_some("the compiler's own library for wasm32")
}

/// The project's own sources: every `.c` file at its top.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let entries = fs::read_dir(folder).map_err(io(folder))?;
    let mut sources = entries.map(|entry| Ok(entry.map_err(io(folder))?.path())).collect::<Result<Vec<_>, Trouble>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where two are whole, the one whose version is in its name is taken, and one that is not whole never.
    #[test]
    fn the_newest_clang_that_is_whole_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project { directory: folder.path().to_owned(), name: "plugin".into(), language: Language::C };
        let tools = folder.path().join(".venv/bin");
        fs::create_dir_all(&tools).unwrap();
        // By another process: what this one writes cannot be run while a process that another test begins still has it open.
        let put = |name: &str, script: &str| {
            let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod +x "$0""#;
            assert!(Command::new("sh").arg("-c").arg(write).arg(tools.join(name)).arg(script).status().unwrap().success());
        };
        let whole = format!("echo {}", folder.path().join("part").display());
        fs::write(folder.path().join("part"), "").unwrap();
        put("clang", &whole);
        put("clang-21", &whole);
        assert_eq!(clang(&project), Ok(tools.join("clang-21")));
        put("clang-21", "echo wasm-ld");
        assert_ne!(clang(&project), Ok(tools.join("clang-21")));
        assert_eq!(missing(&tools.join("clang-21")), Some("the linker `wasm-ld`"));
        assert_eq!(missing(&tools.join("clang")), None);
    }
}
