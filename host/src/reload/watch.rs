//! Being told of changes. An event means "look again" and nothing more: what happened differs by system, volume and tool.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::scan::{FolderId, is_on_the_way};

/// The watches on the folders that matter.
#[derive(Debug)]
pub(super) struct Watches {
    root: Arc<Path>,
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeMap<PathBuf, FolderId>,
    /// A watched folder was removed, moved or made: what is watched may be another than what lies there. Its number tells nothing, since file
    /// systems give the number of a folder that is gone to the next.
    stale: Arc<AtomicBool>,
    #[cfg(test)]
    pub(super) no_events: bool,
}

impl Watches {
    /// None yet. `changed` is told when something under `root` may have changed.
    pub(super) fn new(root: &Path, changed: Arc<Notify>) -> Watches {
        Watches {
            root: root.into(),
            changed,
            watcher: None,
            folders: BTreeMap::new(),
            stale: Arc::default(),
            #[cfg(test)]
            no_events: false,
        }
    }

    /// Watches exactly these folders. Returns whether that needed new watches, after which it takes another look to see what happened before
    /// they were in place. Blocks.
    ///
    /// # Errors
    /// The system gives no events: the limit on watches is reached, the file system has none.
    pub(super) fn follow(&mut self, folders: &BTreeMap<PathBuf, FolderId>) -> Result<bool, String> {
        if self.watcher.is_some() && self.folders == *folders && !self.stale.load(Ordering::Acquire) {
            return Ok(false);
        }
        // All anew: a watch belongs to an inode, and of a folder that was replaced late events may still be under way, for which the library would
        // take down the new folder's watch.
        self.watcher = None;
        let (root, changed) = (Arc::clone(&self.root), Arc::clone(&self.changed));
        let (watched, stale) = (folders.clone(), Arc::<AtomicBool>::default());
        self.stale = Arc::clone(&stale);
        let told = move |event: notify::Result<Event>| {
            let Ok(event) = event else { return changed.notify_one() };
            if replaces(&event) && event.paths.iter().any(|path| watched.contains_key(path)) {
                stale.store(true, Ordering::Release);
            }
            if matters(&event, &root) {
                changed.notify_one();
            }
        };
        #[cfg(test)]
        if self.no_events {
            return Err("no space left for watches".to_owned());
        }
        let mut watcher = RecommendedWatcher::new(told, notify::Config::default()).map_err(|error| error.to_string())?;
        for folder in folders.keys() {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // Gone since the look; the next one will not find it either.
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.folders.clone_from(folders);
        self.watcher = Some(watcher);
        Ok(true)
    }
}

/// Whether something is at a path now, or is not, that was not so before.
fn replaces(event: &Event) -> bool {
    matches!(event.kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

fn matters(event: &Event, root: &Path) -> bool {
    match event.kind {
        // Reading makes events too, and the host reads: only the end of writing counts.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    let on_the_way = |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_on_the_way);
    // The folder above is watched too, and much may go on in it.
    let concerns = |path: &Path| (path.starts_with(root) && !on_the_way(path)) || root.starts_with(path);
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| concerns(path))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, RenameMode};

    use super::*;

    #[test]
    fn only_what_may_change_the_plugins_wakes_anyone() {
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let create = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (event, expected) in [
            (event(create, "/srv/plugins/a.wasm"), true),
            (event(renamed, "/srv/plugins/..data"), true),
            (event(create, "/srv/plugins"), true),
            (event(create, "/srv/other"), false),
            (event(create, "/srv/plugins/a.wasm.tmp"), false),
            (event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/srv/plugins/a.wasm"), false),
            (event(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/srv/plugins/a.wasm"), false),
            (event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/srv/plugins/a.wasm"), true),
            (Event::new(EventKind::Other).set_flag(Flag::Rescan), true),
        ] {
            assert_eq!(matters(&event, Path::new("/srv/plugins")), expected, "{event:?}");
        }
    }
}
