//! The files that the program carries: the SDKs, the templates and the contract.

use std::fs;
use std::path::Path;

use super::{Language, Trouble, io};

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Files of an SDK that a project or a build does not need.
const NOT_NEEDED: &[&str] = &["template/", "adapter/", "build.mjs", "python/generated/"];

/// The files below a folder of the repository, by their path below it.
pub(super) fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> + '_ {
    FILES.iter().filter_map(move |(name, bytes)| Some((name.strip_prefix(folder)?.strip_prefix('/')?, *bytes)))
}

/// One file, by its path in the repository. Empty when there is none, which a test rules out.
pub(super) fn one(path: &str) -> &'static [u8] {
    FILES.iter().find(|(name, _)| *name == path).map_or(&[], |(_, bytes)| *bytes)
}

/// The contract as text.
pub(super) fn contract() -> &'static str {
    std::str::from_utf8(one("wit/0.1.0/transform.wit")).unwrap_or_default()
}

/// Writes a language's SDK into a folder.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write_sdk(language: Language, folder: &Path) -> Result<(), Trouble> {
    let sdk = format!("sdk/{}", language.sdk());
    let needed =
        below(&sdk).filter(|(name, _)| !NOT_NEEDED.iter().any(|not| name.starts_with(not) || format!("{}/{name}", language.sdk()).starts_with(not)));
    // Python's package lies in a folder of its own name, which is what is written here; its README goes with it.
    let place = |name: &'static str| if language == Language::Python { name.strip_prefix("keyway/").unwrap_or(name) } else { name };
    needed.into_iter().try_for_each(|(name, bytes)| write(&folder.join(place(name)), bytes))
}

/// Writes a file, and the folders that it lies in.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    fs::write(path, bytes).map_err(io(path))
}
