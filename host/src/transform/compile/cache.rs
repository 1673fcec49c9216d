//! The folder of compiled components.
//!
//! What lies there is run, so only this user may be able to write it. An entry's name is the digest of the component and of all that compiled
//! code depends on; it is written whole or not at all, and never changed. A failure to write costs a compilation at the next start and
//! nothing else.

use std::fs::{self, DirBuilder, File};
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
}

impl Cache {
    /// Makes the folder if it is not there, and drops what nobody has asked for in a month.
    ///
    /// # Errors
    /// It cannot be made, or others may write it.
    pub(super) fn open(folder: &Path, engine: &Engine) -> anyhow::Result<Cache> {
        let shown = folder.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("failed to make the folder of compiled components `{shown}`"))?;
        let metadata = fs::metadata(folder).with_context(|| format!("failed to read the folder of compiled components `{shown}`"))?;
        let me = rustix::process::geteuid().as_raw();
        // Whoever owns the folder above could put another one in this one's place.
        let above = folder.parent().and_then(|above| fs::metadata(above).ok()).map_or(me, |above| above.uid());
        if metadata.uid() != me || metadata.mode() & 0o077 != 0 || (above != me && above != 0) {
            bail!(
                "failed to use the folder of compiled components `{shown}`: what lies there is run, so it must be this user's and no one else's, in a folder of this user's (`chmod 700 {shown}`)"
            );
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        let cache = Cache { folder: folder.to_owned(), compatibility: hasher.finish() };
        cache.drop_unused();
        Ok(cache)
    }

    /// The file of the compiled component, if it is there and whole. What follows the component's code in it, the digest, is no part of any section of
    /// the object file, and so of no consequence to whoever maps it.
    pub(super) fn get(&self, component: &[u8]) -> Option<PathBuf> {
        let path = self.path(component);
        let file = File::open(&path).ok()?;
        if !is_whole(&file).ok()? {
            tracing::warn!(file = %path.display(), "a compiled component is damaged; it is compiled anew");
            return None;
        }
        // Its age is the time since it was last used. Failing to say so costs a compilation in a month.
        drop(file.set_modified(SystemTime::now()));
        Some(path)
    }

    /// Keeps a compiled component, and says in which file; none when it could not be kept.
    pub(super) fn put(&self, component: &[u8], artifact: &[u8]) -> Option<PathBuf> {
        let path = self.path(component);
        if let Err(error) = write_whole(&self.folder, &path, artifact) {
            tracing::warn!(file = %path.display(), %error, "a compiled component could not be kept; it is compiled anew at the next start");
            return None;
        }
        Some(path)
    }

    fn path(&self, component: &[u8]) -> PathBuf {
        let digest = Sha256::new().chain_update(self.compatibility.to_le_bytes()).chain_update(component).finalize();
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.cwasm"))
    }

    fn drop_unused(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|modified| modified.elapsed().ok());
            let ours = entry.path().extension().is_some_and(|extension| extension == "cwasm");
            if ours && age.is_some_and(|age| age > UNUSED_MAX) {
                // Another host may have been quicker.
                drop(fs::remove_file(entry.path()));
            }
        }
    }
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

/// Writes artifact and digest to a file of its own, and renames it into place when it is on disk.
fn write_whole(folder: &Path, path: &Path, artifact: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".compiled-").tempfile_in(folder)?;
    file.write_all(artifact)?;
    file.write_all(&Sha256::digest(artifact))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
