//! What may be read of a folder: names, what they are, and where links lead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Input, Role, Stamp};
use crate::plugin::Refusal;

/// Cases of a plugin, so that a gate stays short. Arbitrary.
const MOST_CASES: usize = 200;

/// A folder of plugins.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// The same with all links resolved; links in it may not lead out of it.
    pub(super) boundary: Arc<Path>,
    pub(super) entries: Vec<(String, Kind)>,
}

/// What an entry of a folder is, as the listing itself tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A link, or something else of which only a closer look tells what it is.
    Other,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder { entries: list(path)?, boundary: fs::canonicalize(path)?.into(), path: path.to_owned() })
    }

    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let at = self.entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).ok()?;
        Some(self.entries[at].1)
    }

    /// A file of the folder, if it is there and may be read. What is not listed need not be asked for, and what is listed as a file need not be
    /// resolved: that makes a look at a thousand plugins cheap.
    pub(super) fn input(&self, name: &str, role: Role) -> Result<Option<Input>, Refusal> {
        let Some(kind) = self.kind(name) else { return Ok(None) };
        if kind == Kind::File {
            let path = self.boundary.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    return Ok(Some(Input { role, path, boundary: Arc::clone(&self.boundary), stamp: Stamp::of(&metadata) }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(refusal(&self.path.join(name), &error)),
            }
        }
        resolve(&self.path.join(name), role, &self.boundary)
    }

    /// A folder that lies in this one, resolved; none if it is gone. It may be a link, and whoever put it here must not learn from a message what
    /// lies where it leads.
    pub(super) fn folder(&self, name: &str) -> Result<Option<PathBuf>, Refusal> {
        let path = self.path.join(name);
        match fs::canonicalize(&path) {
            Ok(resolved) if !resolved.starts_with(&self.boundary) => Err(outside(&path, &resolved)),
            Ok(resolved) => Ok(Some(resolved)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refusal(&path, &error)),
        }
    }
}

/// The cases in a folder. Too many are refused before one of them is looked at.
pub(super) fn cases(folder: &Path, boundary: &Arc<Path>) -> Result<Vec<Input>, Refusal> {
    let entries = match list(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refusal(folder, &error)),
    };
    let names: Vec<String> = entries.into_iter().map(|(name, _)| name).filter(|name| name.ends_with(".json")).collect();
    if names.len() > MOST_CASES {
        let cause = format!("`{}` holds {} cases; at most {MOST_CASES} are accepted", folder.display(), names.len());
        return Err(Refusal { cause, hint: Some("keep those that matter, and run the others where it is built".into()) });
    }
    let inputs = names.into_iter().map(|name| resolve(&folder.join(&name), Role::Case(name), boundary));
    inputs.filter_map(Result::transpose).collect()
}

/// A file with all links followed, if it is there and may be read.
fn resolve(path: &Path, role: Role, boundary: &Arc<Path>) -> Result<Option<Input>, Refusal> {
    let resolved = fs::canonicalize(path).and_then(|resolved| Ok((fs::metadata(&resolved)?, resolved)));
    match resolved {
        Ok((_, resolved)) if !resolved.starts_with(boundary) => Err(outside(path, &resolved)),
        Ok((metadata, _)) if !metadata.is_file() => Err(Refusal { cause: format!("`{}` is not a regular file", path.display()), hint: None }),
        Ok((metadata, path)) => Ok(Some(Input { role, path, boundary: Arc::clone(boundary), stamp: Stamp::of(&metadata) })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refusal(path, &error)),
    }
}

/// The refusal of a link that leads away.
pub(in super::super) fn outside(path: &Path, target: &Path) -> Refusal {
    Refusal {
        cause: format!("`{}` is a link that leads out of its folder, to `{}`", path.display(), target.display()),
        hint: Some("copy the file into the folder; links are followed within it only".into()),
    }
}

fn refusal(path: &Path, error: &io::Error) -> Refusal {
    Refusal { cause: format!("failed to read `{}`: {error}", path.display()), hint: None }
}

/// Entries of one folder, so that a team cannot fill the host's memory with names. Arbitrary; many times what a team has.
pub(super) const MOST_ENTRIES: usize = 20_000;

/// The names in a folder, sorted, without those that editors, copiers and ConfigMap volumes use on the way.
fn list(folder: &Path) -> io::Result<Vec<(String, Kind)>> {
    let mut entries = Vec::new();
    for (count, entry) in fs::read_dir(folder)?.enumerate() {
        if count >= MOST_ENTRIES {
            return Err(io::Error::other(format!("it holds more than {MOST_ENTRIES} entries")));
        }
        let entry = entry?;
        // A name that is not UTF-8 can be no plugin's (see `is_name`).
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || is_on_the_way(&name) {
            continue;
        }
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_file() => Kind::File,
            Ok(kind) if kind.is_dir() => Kind::Folder,
            _ => Kind::Other,
        };
        entries.push((name, kind));
    }
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

/// Whether a name is one that tools give to a file while they write it.
pub(in super::super) fn is_on_the_way(name: &str) -> bool {
    [".tmp", ".part", ".swp", "~"].iter().any(|end| name.ends_with(end))
}
