//! One look at the directory: what lies there, with no memory of earlier looks and without reading a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::plugin::{DEFAULT_TEAM, PluginName, Refusal};

/// What one look saw.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The plugins whose component is there.
    pub(super) plugins: BTreeMap<PluginName, Found>,
    /// The folders in which a change would matter, with their identity: a folder that was replaced is another folder under the same path.
    pub(super) folders: BTreeMap<PathBuf, FolderId>,
    /// What else an operator should know.
    pub(super) problems: Vec<Problem>,
    /// The plugins that were looked for; none when all were.
    pub(super) only: Option<BTreeSet<PluginName>>,
    /// What could not be seen. That something is missing in a place that could not be seen does not mean that it is gone.
    pub(super) blind: Blind,
}

/// Where a look was blind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Blind {
    /// Everywhere: the directory itself could not be read.
    pub(super) everywhere: bool,
    /// In the folders of these teams.
    pub(super) teams: BTreeSet<String>,
}

/// Device and inode.
pub(super) type FolderId = (u64, u64);

/// Something in the directory that is not as it should be and belongs to no one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    pub path: PathBuf,
    /// What was seen.
    pub cause: String,
    /// The mend, if one is known.
    pub hint: Option<String>,
}

/// A plugin as it lies in the directory. Two looks that find equal values have seen the same files, untouched between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The component's path as listed, for people.
    pub(super) file: PathBuf,
    /// The files, component first; or why they may not be read.
    pub(super) inputs: Result<Vec<Input>, Refusal>,
}

/// One file of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    /// What it is to the plugin.
    pub(super) role: Role,
    /// Its path with all links resolved.
    pub(super) path: PathBuf,
    /// The folder that links may not lead out of, resolved.
    pub(super) boundary: Arc<Path>,
    /// What tells one state of it from another without reading it.
    pub(super) stamp: Stamp,
}

/// What a file is to its plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// `NAME.wasm`.
    Component,
    /// `NAME.toml`.
    Sidecar,
    /// `NAME.wasm.minisig`.
    Signature,
    /// A file of `NAME.cases/`, under this name.
    Case(String),
}

/// A file's state. The time of the last change of the inode is part of it, because a tool that copies may set the time of modification back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    /// Bytes.
    pub(super) length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of an open file or a path.
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    #[cfg(test)]
    pub(super) fn numbered(modified: u64) -> Stamp {
        Stamp { device: 0, inode: 0, length: 0, modified: (modified.cast_signed(), 0), changed: (0, 0) }
    }

    fn older_than(&self, age: Duration) -> bool {
        let last = self.modified.max(self.changed);
        let Ok(seconds) = u64::try_from(last.0) else { return false };
        // Any file system may say anything: a time beyond the clock's range, one in the future by another machine's clock.
        let then = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.saturating_add(1)));
        then.is_some_and(|then| SystemTime::now().duration_since(then).is_ok_and(|elapsed| elapsed >= age))
    }
}

impl Found {
    /// Whether no file of it was touched for so long that none can still be in the writing.
    pub(super) fn is_old(&self, age: Duration) -> bool {
        self.inputs.as_ref().is_ok_and(|inputs| inputs.iter().all(|input| input.stamp.older_than(age)))
    }

    /// Whether both are the same files of the same sizes, though perhaps touched.
    pub(super) fn same_but_touched(&self, other: &Found) -> bool {
        let shape = |found: &Found| -> Option<Vec<(PathBuf, u64, u64)>> {
            let inputs = found.inputs.as_ref().ok()?;
            Some(inputs.iter().map(|input| (input.path.clone(), input.stamp.inode, input.stamp.length)).collect())
        };
        shape(self).is_some_and(|mine| shape(other) == Some(mine))
    }
}

impl Look {
    /// Whether a plugin that this look did not find is really gone.
    pub(super) fn saw(&self, name: &PluginName) -> bool {
        self.wants(name) && !self.blind.everywhere && !self.blind.teams.contains(name.team())
    }

    fn problem(&mut self, path: &Path, cause: impl Into<String>, hint: Option<&str>) {
        self.problems.push(Problem { path: path.to_owned(), cause: cause.into(), hint: hint.map(str::to_owned) });
    }

    fn watch(&mut self, folder: &Path) {
        if let Ok(metadata) = fs::metadata(folder) {
            self.folders.insert(folder.to_owned(), (metadata.dev(), metadata.ino()));
        }
    }
}

/// Looks at the directory. `root` is absolute.
pub(super) fn look(root: &Path) -> Look {
    let mut look = Look::default();
    // The directory may be missing, or be replaced by another: both are seen in the nearest folder above that exists.
    if let Some(above) = root.ancestors().skip(1).find(|above| above.is_dir()) {
        look.watch(above);
    }
    look.everything(root);
    look
}

/// Looks at these plugins and at nothing else.
pub(super) fn look_at(root: &Path, names: BTreeSet<PluginName>) -> Look {
    let mut look = Look { only: Some(names), ..Look::default() };
    look.everything(root);
    look
}

const COMPONENT: &str = ".wasm";
const CASES: &str = ".cases";

/// A folder of plugins.
struct Folder {
    path: PathBuf,
    /// The same with all links resolved; links in it may not lead out of it.
    boundary: Arc<Path>,
    entries: Vec<(String, Kind)>,
}

/// What an entry of a folder is, as the listing itself tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    /// A link, or something else of which only a closer look tells what it is.
    Other,
}

impl Folder {
    fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder { entries: list(path)?, boundary: fs::canonicalize(path)?.into(), path: path.to_owned() })
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        let at = self.entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).ok()?;
        Some(self.entries[at].1)
    }

    /// A file of the folder, if it is there and may be read. What is not listed need not be asked for, and what is listed as a file need not be
    /// resolved: that makes a look at a thousand plugins cheap.
    fn input(&self, name: &str, role: Role) -> Result<Option<Input>, Refusal> {
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
}

impl Look {
    fn wants(&self, name: &PluginName) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    fn wants_team(&self, team: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name.team() == team))
    }

    fn everything(&mut self, root: &Path) {
        self.watch(root);
        let folder = match Folder::open(root) {
            Ok(folder) => folder,
            Err(error) => {
                let hint = Some("create it, or set `[plugins] directory`");
                self.problem(root, format!("failed to read the plugins' directory: {error}"), hint);
                self.blind.everywhere = true;
                return;
            }
        };
        for (name, kind) in &folder.entries {
            let path = root.join(name);
            let is_folder = match kind {
                Kind::File => false,
                Kind::Folder => true,
                Kind::Other => match fs::metadata(&path) {
                    Ok(metadata) => metadata.is_dir(),
                    Err(error) => {
                        self.unreadable_entry(&path, &error);
                        continue;
                    }
                },
            };
            match is_folder {
                true if name.ends_with(CASES) => {}
                true => self.team(&path, name, &folder.boundary),
                false => self.plugin(&folder, DEFAULT_TEAM, name),
            }
        }
    }

    fn team(&mut self, path: &Path, team: &str, root: &Arc<Path>) {
        if !self.wants_team(team) {
            return;
        }
        if team == DEFAULT_TEAM {
            let hint = Some("move its files up: what lies at the top belongs to the team `default`");
            return self.problem(path, "a folder `default` is not read", hint);
        }
        if !is_name(team) {
            return self.problem(path, NAME_RULE, None);
        }
        match Folder::open(path) {
            Ok(folder) if folder.boundary.starts_with(root) => {
                self.watch(path);
                for (name, _) in &folder.entries {
                    self.plugin(&folder, team, name);
                }
            }
            Ok(folder) => {
                let cause = format!("the link leads out of the plugins' directory, to `{}`", folder.boundary.display());
                self.problem(path, cause, Some("put the folder itself here, or mount it here"));
            }
            Err(error) => {
                self.problem(path, format!("failed to read the folder: {error}"), None);
                self.blind.teams.insert(team.to_owned());
            }
        }
    }

    /// A plugin, if the entry is a component.
    fn plugin(&mut self, folder: &Folder, team: &str, entry: &str) {
        let Some(name) = entry.strip_suffix(COMPONENT) else { return };
        let file = folder.path.join(entry);
        if !is_name(name) {
            return self.problem(&file, NAME_RULE, None);
        }
        let plugin = PluginName::new(team, name);
        if !self.wants(&plugin) {
            return;
        }
        let inputs = match folder.input(entry, Role::Component) {
            Ok(Some(component)) => self.rest(folder, name, component),
            // Gone between the listing and now, or a link whose end is not there (yet): the next look will tell.
            Ok(None) => return,
            Err(refusal) => Err(refusal),
        };
        self.plugins.insert(plugin, Found { file, inputs });
    }

    fn rest(&mut self, folder: &Folder, name: &str, component: Input) -> Result<Vec<Input>, Refusal> {
        let mut inputs = vec![component];
        for (end, role) in [(".toml", Role::Sidecar), (".wasm.minisig", Role::Signature)] {
            inputs.extend(folder.input(&format!("{name}{end}"), role)?);
        }
        let cases = format!("{name}{CASES}");
        if folder.kind(&cases).is_some() {
            let path = folder.path.join(cases);
            self.watch(&path);
            inputs.extend(case_files(&path, &folder.boundary)?);
        }
        Ok(inputs)
    }

    fn unreadable_entry(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            return self.problem(path, format!("failed to read: {error}"), None);
        }
        if fs::symlink_metadata(path).is_ok() {
            self.problem(path, "the link leads to nothing", None);
        }
    }
}

fn case_files(folder: &Path, boundary: &Arc<Path>) -> Result<Vec<Input>, Refusal> {
    let entries = match list(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refusal(folder, &error)),
    };
    let files = entries.into_iter().filter(|(name, _)| name.ends_with(".json"));
    let inputs = files.map(|(name, _)| resolve(&folder.join(&name), Role::Case(name), boundary));
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
pub(super) fn outside(path: &Path, target: &Path) -> Refusal {
    Refusal {
        cause: format!("`{}` is a link that leads out of its folder, to `{}`", path.display(), target.display()),
        hint: Some("copy the file into the folder; links are followed within it only".into()),
    }
}

fn refusal(path: &Path, error: &io::Error) -> Refusal {
    Refusal { cause: format!("failed to read `{}`: {error}", path.display()), hint: None }
}

/// Entries of one folder, so that a team cannot fill the host's memory with names. Arbitrary; many times what a team has.
const MOST_ENTRIES: usize = 20_000;

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
pub(super) fn is_on_the_way(name: &str) -> bool {
    [".tmp", ".part", ".swp", "~"].iter().any(|end| name.ends_with(end))
}

/// Names go into metrics, headers and paths, so they hold nothing that needs quoting there.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(allowed)
}

const NAME_RULE: &str = "the name is not accepted: 1 to 128 of `a-z A-Z 0-9 . _ -` are";

#[cfg(test)]
mod tests;
