//! The folder of compiled components.
//!
//! What lies there is run, so only this user may be able to write it. An entry's name is the digest of the component and of all that compiled
//! code depends on; it has its own digest at its end, is renamed into place when it is written, and never changed. A failure to write costs a compilation
//! at the next start and nothing else.

use std::fs::{self, DirBuilder, DirEntry, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use wasmtime::Engine;

/// How long an entry stays that nobody asks for: long enough to go back to last month's version without compiling.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes of all entries; beyond it those go that were asked for longest ago. A thousand plugins of Rust take a quarter of it, or fifty of JavaScript, so
/// that it bounds what months of new versions leave behind.
const ALL_MAX: u64 = 2 << 30;
/// What an entry is called until it is whole.
const UNFINISHED: &str = ".compiled-";
/// How old such a file is when nobody can be writing it any more: its host was killed.
const UNFINISHED_MAX: Duration = Duration::from_secs(60 * 60);
/// Bytes of the digest at an entry's end.
const DIGEST: u64 = 32;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// An open cache folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Distinguishes wasmtime's version and configuration, and this host's version.
    compatibility: u64,
    /// Bytes of all entries.
    pub(super) most: u64,
}

impl Cache {
    /// Makes the folder if it is not there, and drops what nobody has asked for in a month.
    ///
    /// # Errors
    /// It cannot be made, or others may write it or put another one in its place.
    pub(super) fn open(folder: &Path, engine: &Engine) -> anyhow::Result<Cache> {
        let shown = folder.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("failed to make the folder of compiled components `{shown}`"))?;
        let metadata = fs::metadata(folder).with_context(|| format!("failed to read the folder of compiled components `{shown}`"))?;
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me || metadata.mode() & 0o077 != 0 {
            bail!(
                "failed to use the folder of compiled components `{shown}`: what lies there is run, so it must be this user's and no one else's (`chmod 700 {shown}`)"
            );
        }
        if let Some(above) = folder.parent().and_then(|above| fs::metadata(above).ok()) {
            // In a folder with the sticky bit, as `/tmp` has it, only its owner may rename an entry. A group is let be: on many systems each user has one of
            // their own, and what it could put here is another user's, which is seen when it is opened.
            let others_write = above.mode() & 0o002 != 0 && above.mode() & 0o1000 == 0;
            if others_write || (above.uid() != me && above.uid() != 0) {
                bail!(
                    "failed to use the folder of compiled components `{shown}`: what lies there is run, and whoever may write the folder above could put another one in its place (use a folder in one of this user's own, such as `{shown}/compiled`)"
                );
            }
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        let cache = Cache { folder: folder.to_owned(), compatibility: hasher.finish(), most: ALL_MAX };
        cache.drop_unused();
        Ok(cache)
    }

    /// The file of the compiled component, if it is there, ours and whole. What follows the component's code in it, the digest, is no part of any section
    /// of the object file, and so of no consequence to whoever maps it.
    pub(super) fn get(&self, component: &[u8]) -> Option<File> {
        let path = self.path(component);
        let file = File::open(&path).ok()?;
        // Of the file that is open, whatever has become of its name and its folder meanwhile.
        if !is_ours(&file).ok()? {
            tracing::warn!(file = %path.display(), "a compiled component is another user's, or others may write it; it is compiled anew");
            return None;
        }
        if !is_whole(&file).ok()? {
            tracing::warn!(file = %path.display(), "a compiled component is damaged; it is compiled anew");
            return None;
        }
        // Its age is the time since it was last used. Failing to say so costs a compilation in a month.
        drop(file.set_modified(SystemTime::now()));
        Some(file)
    }

    /// Whether there is a file of the compiled component; whether it is sound shows when it is got.
    pub(super) fn has(&self, component: &[u8]) -> bool {
        self.path(component).exists()
    }

    /// Keeps a compiled component, and gives its file; none when it could not be kept.
    pub(super) fn put(&self, component: &[u8], artifact: &[u8]) -> Option<File> {
        let path = self.path(component);
        match write_whole(&self.folder, &path, artifact) {
            Ok(file) => {
                self.make_room(&path);
                Some(file)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a compiled component could not be kept; it is compiled anew at the next start");
                None
            }
        }
    }

    fn path(&self, component: &[u8]) -> PathBuf {
        let digest = Sha256::new().chain_update(self.compatibility.to_le_bytes()).chain_update(component).finalize();
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.cwasm"))
    }

    /// Drops what nobody has asked for in a month, and what killed hosts have left unfinished.
    fn drop_unused(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|modified| modified.elapsed().ok());
            let most = if is_entry(&entry) {
                UNUSED_MAX
            } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                UNFINISHED_MAX
            } else {
                continue;
            };
            if age.is_some_and(|age| age > most) {
                // Another host may have been quicker.
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Drops what was asked for longest ago, but not this newest entry, until all have room.
    fn make_room(&self, newest: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let entries = entries.flatten().filter(is_entry).filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        });
        let mut entries: Vec<_> = entries.collect();
        let mut all: u64 = entries.iter().map(|(_, size, _)| size).sum();
        if all <= self.most {
            return;
        }
        entries.sort();
        for (_, size, path) in entries.iter().filter(|(_, _, path)| path != newest) {
            if all <= self.most {
                break;
            }
            // What a host has mapped stays with it until it lets go.
            drop(fs::remove_file(path));
            all -= size;
        }
    }
}

fn is_entry(entry: &DirEntry) -> bool {
    entry.path().extension().is_some_and(|extension| extension == "cwasm")
}

/// Whether only this user can have written it.
fn is_ours(file: &File) -> std::io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0)
}

/// Whether the digest at its end is that of what is before it. Read in pieces: a component's code can have 90 MB.
fn is_whole(mut file: &File) -> std::io::Result<bool> {
    let Some(mut left) = file.metadata()?.len().checked_sub(DIGEST) else { return Ok(false) };
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    while left > 0 {
        let read = file.take(left).read(&mut piece)?;
        if read == 0 {
            return Ok(false);
        }
        hasher.update(&piece[..read]);
        left -= read as u64;
    }
    let mut digest = Vec::new();
    file.read_to_end(&mut digest)?;
    Ok(hasher.finalize().as_slice() == digest)
}

/// Writes artifact and digest to a file of its own, and renames it into place. Nobody waits for the disk: what a machine that loses power leaves half
/// written is found out by its digest, and compiled anew.
fn write_whole(folder: &Path, path: &Path, artifact: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    file.write_all(artifact)?;
    file.write_all(&Sha256::digest(artifact))?;
    file.persist(path).map_err(|error| error.error)
}
