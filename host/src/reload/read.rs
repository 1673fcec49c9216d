//! Reading a plugin's files: whole, consistent, within their bounds, and from nowhere else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::scan::{Found, Input, Role, Stamp, outside};
use crate::plugin::{COMPONENT_MAX, Refusal, Version};

/// Bytes of a sidecar, a signature, a case. Written by people, or a few lines; arbitrary beyond that.
const MAX_TEXT: u64 = 1 << 20;
/// Bytes of all of a plugin's cases together, which are in memory while it is examined. Arbitrary; many times what people write.
const MAX_CASES: usize = 4 << 20;

/// All that a plugin's files hold.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    /// The component's bytes.
    pub(super) component: Bytes,
    /// The sidecar's text.
    pub(super) sidecar: Option<String>,
    /// The signature's text.
    pub(super) signature: Option<String>,
    /// Names and texts of the cases, sorted by name.
    pub(super) cases: Vec<(String, String)>,
    /// The hash of component and sidecar.
    pub(super) version: Version,
    /// The hash of all of it: with the same signature and the same cases too, the gate decides the same.
    pub(super) digest: Digest,
}

/// Hash of all that the gate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

#[cfg(test)]
impl Digest {
    pub(super) fn numbered(number: u8) -> Digest {
        Digest([number; 32])
    }
}

/// Why nothing came of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The files are not what the look saw: they changed meanwhile, or just now.
    Moved,
    /// The component ends in the middle, as one does that is still being written.
    Incomplete {
        /// What is missing.
        cause: String,
        /// Of the bytes so far.
        version: Version,
    },
    /// They may not be read, or are too large.
    Refused(Refusal),
}

/// Reads a plugin's files. Blocks.
pub(super) fn read(found: &Found) -> Result<Inputs, Unread> {
    let files = found.inputs.as_ref().map_err(|refusal| Unread::Refused(refusal.clone()))?;
    let (mut component, mut sidecar, mut signature, mut cases) = (None, None, None, Vec::new());
    let mut room = MAX_CASES;
    for file in files {
        let bytes = read_file(file)?;
        match &file.role {
            Role::Component => component = Some(bytes),
            Role::Sidecar => sidecar = Some(text(file, bytes)?),
            Role::Signature => signature = Some(text(file, bytes)?),
            Role::Case(name) => {
                let Some(left) = room.checked_sub(bytes.len()) else {
                    let cause = format!("its cases have more than {} MiB together", MAX_CASES >> 20);
                    return Err(Unread::Refused(Refusal { cause, hint: Some("make them smaller".into()) }));
                };
                room = left;
                cases.push((name.clone(), text(file, bytes)?));
            }
        }
    }
    let Some(component) = component else { return Err(Unread::Moved) };
    let version = version_of(&component, sidecar.as_deref());
    if let Some(cause) = missing(&component) {
        return Err(Unread::Incomplete { cause, version });
    }
    let mut hash = Sha256::new();
    let texts = [("signature", signature.as_deref())].into_iter().chain(cases.iter().map(|(name, text)| (name.as_str(), Some(text.as_str()))));
    for (name, text) in std::iter::once(("version", Some(&*version.0))).chain(texts) {
        // Lengths first, so that no two sets of files run together into the same bytes.
        for part in [name, text.unwrap_or("")] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let digest = Digest(hash.finalize().into());
    Ok(Inputs { component: component.into(), sidecar, signature, cases, version, digest })
}

/// The first 128 bits of the SHA-256 of component and sidecar.
fn version_of(component: &[u8], sidecar: Option<&str>) -> Version {
    let mut hash = Sha256::new();
    hash.update((component.len() as u64).to_le_bytes());
    hash.update(component);
    hash.update(sidecar.unwrap_or(""));
    let hash = hash.finalize();
    Version(hash[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

fn text(file: &Input, bytes: Vec<u8>) -> Result<String, Unread> {
    String::from_utf8(bytes).map_err(|_| Unread::Refused(Refusal { cause: format!("`{}` is not UTF-8", file.path.display()), hint: None }))
}

fn read_file(input: &Input) -> Result<Vec<u8>, Unread> {
    let (cap, mend) = match input.role {
        Role::Component => (COMPONENT_MAX as u64, Some("strip debug information, or leave out what the plugin does not use")),
        _ => (MAX_TEXT, None),
    };
    let path = &input.path;
    let too_large = |length: u64| {
        let cause = format!("`{}` has {length} bytes; at most {cap} are accepted", path.display());
        Unread::Refused(Refusal { cause, hint: mend.map(str::to_owned) })
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Moved,
        // A link now, where a file was.
        _ if error.raw_os_error() == Some(libc::ELOOP) => Unread::Moved,
        _ => Unread::Refused(Refusal { cause: format!("failed to read `{}`: {error}", path.display()), hint: None }),
    };
    if input.stamp.length > cap {
        return Err(too_large(input.stamp.length));
    }
    // The path was a regular file's without links when it was looked at. It may be a pipe's or lead elsewhere by now: whoever can write here must
    // neither block this thread nor see in an error message what only the host may read.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    if !before.is_file() {
        return Err(Unread::Moved);
    }
    within(&file, path, &input.boundary)?;
    let mut bytes = Vec::with_capacity(usize::try_from(before.len().min(cap)).unwrap_or(0));
    file.by_ref().take(cap + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > cap {
        return Err(too_large(bytes.len() as u64));
    }
    // What was written to while it was read is neither the old nor the new.
    let after = file.metadata().map_err(failed)?;
    let whole = Stamp::of(&before) == Stamp::of(&after) && bytes.len() as u64 == after.len();
    if whole { Ok(bytes) } else { Err(Unread::Moved) }
}

/// Whether an open file really lies within the boundary. A folder on its path can be swapped for a link between the look and the opening; the
/// kernel knows what was opened.
fn within(file: &File, path: &Path, boundary: &Path) -> Result<(), Unread> {
    if cfg!(target_os = "linux") {
        use std::os::fd::AsRawFd;
        let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| {
            let cause = format!("failed to tell where `{}` lies: {error}", path.display());
            Unread::Refused(Refusal { cause, hint: Some("mount `/proc` for the host".into()) })
        })?;
        if !opened.starts_with(boundary) {
            return Err(Unread::Refused(outside(path, &opened)));
        }
    }
    Ok(())
}

/// What a component lacks at its end, if it is one and lacks something. What is no WebAssembly at all lacks nothing: to say so in better
/// words is the loader's business.
fn missing(bytes: &[u8]) -> Option<String> {
    const MAGIC: &[u8] = b"\0asm";
    const HEADER: usize = 8;
    if bytes.len() < HEADER {
        let begins_well = MAGIC.starts_with(bytes) || bytes.starts_with(MAGIC);
        return begins_well.then(|| format!("the file ends after {} bytes, within its header", bytes.len()));
    }
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    // Modules and components alike are a header and sections: an id, a length, so many bytes (WebAssembly specification, 5.5.2).
    let mut at = HEADER;
    while at < bytes.len() {
        let Some((length, begin)) = leb128(bytes, at + 1) else {
            return Some(format!("the file ends after {} bytes, within the head of a section", bytes.len()));
        };
        let end = begin.saturating_add(length);
        if end > bytes.len() {
            return Some(format!("the file ends after {} bytes, and its last section wants {} more", bytes.len(), end - bytes.len()));
        }
        at = end;
    }
    None
}

/// An unsigned LEB128 of at most 32 bits, and where it ends; none when the bytes do. One that is longer than it may be counts as read: it is
/// wrong, not cut off.
fn leb128(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, shift) in (0..35).step_by(7).enumerate() {
        let byte = *bytes.get(at + index)?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    Some((0, bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::scan::look;

    fn read_only_plugin(root: &Path) -> Result<Inputs, Unread> {
        read(look(root).plugins.values().next().unwrap())
    }

    fn cause(unread: Unread) -> String {
        match unread {
            Unread::Refused(refusal) => refusal.cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_larger_than_the_gate_takes_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("a.wasm")).unwrap();
        file.set_len(COMPONENT_MAX as u64 + 1).unwrap();
        let cause = cause(read_only_plugin(folder.path()).unwrap_err());
        assert!(cause.ends_with("has 33554433 bytes; at most 33554432 are accepted"), "{cause}");
    }

    #[test]
    fn the_cases_of_a_plugin_have_one_bound_together() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("a.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        std::fs::create_dir(root.join("a.cases")).unwrap();
        std::fs::write(root.join("a.cases/0.json"), vec![b' '; MAX_TEXT as usize]).unwrap();
        for case in 1..4 {
            std::fs::hard_link(root.join("a.cases/0.json"), root.join(format!("a.cases/{case}.json"))).unwrap();
        }
        assert_eq!(read_only_plugin(root).unwrap().cases.len(), 4);
        std::fs::write(root.join("a.cases/4.json"), b" ").unwrap();
        assert_eq!(cause(read_only_plugin(root).unwrap_err()), "its cases have more than 4 MiB together");
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_told_from_a_whole_one() {
        // A component's header, a custom section of three bytes, and one of 200 (a length of two bytes).
        let mut whole = b"\0asm\x0d\0\x01\0\0\x03\x01ab\0\xc8\x01".to_vec();
        whole.extend([1_u8; 200]);
        let boundaries = [8, 13, whole.len()];
        for length in 0..=whole.len() {
            let cut = missing(&whole[..length]);
            // At the end of a section a component may well be whole: only its content can tell, and the loader looks at that.
            assert_eq!(cut.is_none(), boundaries.contains(&length), "{length}: {cut:?}");
        }
        assert_eq!(missing(b"(component)"), None, "not WebAssembly: the loader's business");
        assert_eq!(missing(b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\xff\x01"), None, "a length that is none");
    }

    #[test]
    fn a_version_is_the_component_and_the_sidecar() {
        let of = |component: &[u8], sidecar| version_of(component, sidecar);
        assert_eq!(of(b"ab", None), of(b"ab", None));
        assert_eq!(of(b"ab", None).0.len(), 32);
        assert_ne!(of(b"ab", None), of(b"ac", None));
        assert_ne!(of(b"ab", Some("c")), of(b"abc", None));
        assert_ne!(of(b"ab", Some("c")), of(b"ab", Some("d")));
    }
}
