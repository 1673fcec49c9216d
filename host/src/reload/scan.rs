//! One look at the directory: what lies there, with no memory of earlier looks and without reading a file.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use self::files::{Folder, Kind};
pub(super) use self::files::{is_on_the_way, outside};
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
        if folder.kind(&cases).is_some()
            && let Some(resolved) = folder.folder(&cases)?
        {
            self.watch(&folder.path.join(&cases));
            inputs.extend(files::cases(&resolved, &folder.boundary)?);
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

/// Names go into metrics, headers and paths, so they hold nothing that needs quoting there.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(allowed)
}

const NAME_RULE: &str = "the name is not accepted: 1 to 128 of `a-z A-Z 0-9 . _ -` are";

#[cfg(test)]
mod tests;
