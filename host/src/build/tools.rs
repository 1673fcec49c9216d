//! Finding and calling the tools of the languages.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Project, Trouble};

/// The first of these programs that is in a folder of the project's own, in `KEYWAY_TOOLS`, or in `PATH`.
pub(super) fn find(project: &Project, names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = project
        .directory
        .ancestors()
        .flat_map(|folder| [folder.join(".venv/bin"), folder.join("venv/bin")])
        .chain(shared().map(|tools| tools.join("python/bin")))
        .chain(env::split_paths(&path))
        .collect::<Vec<_>>();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file()))
}

/// The nearest folder whose `node_modules` holds this package.
pub(super) fn find_npm(project: &Project, package: &str) -> Option<PathBuf> {
    project
        .directory
        .ancestors()
        .map(Path::to_owned)
        .chain(shared().map(|tools| tools.join("js")))
        .find(|folder| folder.join("node_modules").join(package).is_dir())
}

/// Tools that projects share: `KEYWAY_TOOLS`, or else where `scripts/setup-languages.sh` puts them.
fn shared() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/keyway"));
    env::var_os("KEYWAY_TOOLS").map(PathBuf::from).or_else(home)
}

/// Where `scripts/wasm-std.sh` puts what it makes.
pub(super) fn cache() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).map(|folder| folder.join("keyway"))
}

/// Runs a tool to its end.
///
/// # Errors
/// It cannot be started, or fails; with what it said.
pub(super) fn run(command: &mut Command) -> Result<(), Trouble> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| Trouble::new(format!("cannot start `{name}`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(Trouble { output: Some(said), ..Trouble::new(format!("`{name}` failed ({})", output.status)) })
}
