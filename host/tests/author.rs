//! What a plugin's author is told when something is not right: by `keyway test` of a case that fails, by `keyway build` of tools that are missing or too old.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyway::build::Language;

/// A folder of an author's, with nothing on the machine besides it.
struct Author {
    home: tempfile::TempDir,
}

impl Author {
    fn new() -> Author {
        Author { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn write(&self, below: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Puts a program into `bin`, which is all of `PATH`, or into another folder.
    ///
    /// By another process: what this one writes cannot be run while a process that another test begins still has it open.
    fn tool(&self, path: &str, script: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod +x "$0""#;
        assert!(Command::new("sh").arg("-c").arg(write).arg(path).arg(script).status().unwrap().success());
    }

    /// A new project in a language, called `plugin`.
    fn project(&self, language: Language) -> PathBuf {
        let folder = self.path("plugin");
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        let (code, said) = self.keyway(&["new", "plugin", "--lang", language.name(), "--within", self.home.path().to_str().unwrap()]);
        assert_eq!(code, Some(0), "{said}");
        folder
    }

    /// Runs the program; gives its exit code, and what it says, with this folder as `HOME`.
    fn keyway(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let home = self.home.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyway"));
        command.args(arguments).env_clear().current_dir(home);
        command.env("PATH", self.path("bin")).env("HOME", home).env("KEYWAY_TOOLS", self.path("tools"));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap().replace(home.to_str().unwrap(), "HOME"))
    }

    /// What `keyway build` says of a project that cannot be built for want of a tool.
    fn build(&self, folder: &Path) -> String {
        let (code, said) = self.keyway(&["build", folder.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{said}");
        said
    }
}

#[test]
fn a_case_that_fails_is_shown_beside_what_was_seen() {
    let author = Author::new();
    let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/built/audit.wasm");
    fs::copy(&component, author.path("audit.wasm")).unwrap_or_else(|error| panic!("{}: {error}; `make guests` builds it", component.display()));
    let case = |name: &str, message: &str, expect: &str| {
        author.write(&format!("audit.cases/{name}.json"), format!(r#"{{ "message": {message}, "expect": {expect} }}"#));
    };
    let sends = |body: &str| format!(r#"{{ "send": [ {{ "destination": "audit", "method": "PUT", "path": "/entries/events/0/7", {body} }} ] }}"#);
    let message = r#"{ "key": "audit:1", "offset": 7, "payload": { "id": 18446744073709551617, "tags": ["a", "b"], "who": "ada" } }"#;
    case("good", message, &sends(r#""body": { "id": 18446744073709551617, "tags": ["a", "b"], "who": "ada" }"#));
    let (code, said) = author.keyway(&["test", "audit.wasm"]);
    assert_eq!((code, said.as_str()), (Some(0), "ok      good.json\naudit: 1 passed, 0 failed\n"));

    case("body", message, &sends(r#""body": { "id": 18446744073709551617, "tags": ["a", "c"], "who": "bob" }"#));
    case("digits", message, &sends(r#""body": { "id": 18446744073709551616, "tags": ["a", "b"], "who": "ada" }"#));
    case("verdict", message, r#"{ "skip": true }"#);
    author.write("audit.cases/unreadable.json", "{ \"message\": {},\n");
    let (code, said) = author.keyway(&["test", "audit.wasm"]);
    assert_eq!(code, Some(3));
    insta::assert_snapshot!(said);
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    let author = Author::new();
    let said: Vec<String> = Language::ALL.map(|language| format!("--- {language}\n{}", author.build(&author.project(language)))).into();
    insta::assert_snapshot!(said.concat());
}

/// A hint works as it is typed: npm is told where, and which packages, unless a `package.json` in the project says so.
#[test]
fn missing_packages_are_named_with_the_command_that_installs_them() {
    let author = Author::new();
    author.tool("bin/node", "echo v22.12.0");
    let folder = author.project(Language::Javascript);
    let without_npm = author.build(&folder);
    author.tool("bin/npm", "");
    let with_manifest = author.build(&folder);
    fs::remove_file(folder.join("package.json")).unwrap();
    let without_manifest = author.build(&folder);
    fs::create_dir_all(folder.join(".venv")).unwrap();
    fs::rename(author.path("bin"), folder.join(".venv/bin")).unwrap();
    let beside = author.build(&folder);
    insta::assert_snapshot!([without_npm, with_manifest, without_manifest, beside].concat());
}

#[test]
fn a_tool_that_is_too_old_or_not_whole_is_named_with_what_is_wrong() {
    let author = Author::new();
    // As Debian 12 has them.
    author.tool("bin/node", "echo v18.13.0");
    author.tool("bin/go", "[ \"$1 $2\" = \"env GOVERSION\" ] && echo go1.19.8");
    author.tool("bin/clang", "echo wasm-ld");
    let mut said = Vec::new();
    for language in [Language::Typescript, Language::Go, Language::C] {
        said.push(author.build(&author.project(language)));
    }
    // One that has the linker, and not the library; the plain name comes after it.
    let linker = author.write("linker", "");
    author.tool(
        "bin/clang-19",
        &format!("case $2 in --print-prog-name=wasm-ld) echo {} ;; *) echo /nowhere/libclang_rt.builtins.a ;; esac", linker.display()),
    );
    said.push(author.build(&author.project(Language::C)));
    insta::assert_snapshot!(said.concat());
}

/// One that is new enough is taken, though an older one stands before it.
#[test]
fn an_old_tool_does_not_hide_a_newer_one() {
    let author = Author::new();
    let folder = author.project(Language::Go);
    author.tool("plugin/.venv/bin/go", "echo go1.19.8");
    author.tool("bin/go", "[ \"$1\" = env ] && echo go1.26.6 && exit\necho the newer go was called >&2\nexit 1");
    let (code, said) = author.keyway(&["build", folder.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the newer go was called"), "{said}");
}
