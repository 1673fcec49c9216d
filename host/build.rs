//! Puts the SDKs, the templates and the contract into the program, so that `keyway new` and `keyway build` need no copy of the repository.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What of `sdk/` goes into a user's project or into a build. The rest is for this repository alone.
const SDK: &[&str] = &["js", "python", "go", "c", "rust"];
const PASSED_OVER: &[&str] = &["target", "node_modules", "__pycache__", "tests", "Cargo.lock"];

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let root = manifest.parent().expect("host/ lies in the workspace").to_owned();
    let mut files = Vec::new();
    for sdk in SDK {
        gather(&root.join("sdk").join(sdk), &mut files)?;
    }
    gather(&root.join("wit/0.1.0"), &mut files)?;
    let wasm_std = root.join("scripts/wasm-std.sh");
    println!("cargo:rerun-if-changed={}", wasm_std.display());
    files.push(wasm_std);
    files.sort();
    let mut code = String::from("pub(super) static FILES: &[(&str, &[u8])] = &[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("gathered below the root").to_str().expect("our own names are UTF-8").replace('\\', "/");
        writeln!(code, "    ({name:?}, include_bytes!({:?})),", file.display().to_string()).expect("writing to a string");
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("files.rs");
    if fs::read_to_string(&out).ok().as_deref() != Some(code.as_str()) {
        fs::write(out, code)?;
    }
    Ok(())
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if PASSED_OVER.contains(&name) {
            continue;
        }
        if path.is_dir() { gather(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
