//! Who this host is in its consumer group, and that no other host is the same. The reasons are in `docs/decisions/0020-static-membership.md`.

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use sha2::{Digest as _, Sha256};

/// Hosts of one group on one machine. Arbitrary, and far more than a machine can use.
const SLOTS: u32 = 1024;

/// A host's name within its group: stable over restarts of the process, and no other living process has it.
///
/// It is made of the machine's name (for people), and of a digest of the running kernel, the network namespace and a *slot*: the lowest number
/// whose abstract socket was free in that namespace. Two living processes differ in kernel or in namespace, or the kernel gave the
/// slot to one of them only. The kernel frees the slot in the moment in which the process ends, however it ends, so a process
/// that is started again finds it free.
#[derive(Debug)]
pub struct Identity {
    id: String,
    /// Held as long as the identity is; none where the machine offers no such lock.
    slot: Option<UnixListener>,
}

impl Identity {
    /// Takes the lowest free slot of this machine for the group.
    pub fn take(group: &str) -> Identity {
        let machine = machine();
        #[cfg(target_os = "linux")]
        if let (Some(kernel), Some(namespace)) = (kernel(), namespace()) {
            for slot in 0..SLOTS {
                // Hashed, since a group's name may be longer than a socket's may be.
                let socket = format!("keyway-{}", digest(&[group, &slot.to_string()]));
                let bound = SocketAddr::from_abstract_name(socket).and_then(|address| UnixListener::bind_addr(&address));
                if let Ok(listener) = bound {
                    let digest = digest(&[&kernel, &namespace, &slot.to_string()]);
                    return Identity { id: format!("{machine}-{}", &digest[..12]), slot: Some(listener) };
                }
            }
        }
        let random = digest(&[&std::process::id().to_string(), &fastrand::u128(..).to_string()]);
        Identity { id: format!("{machine}-{}", &random[..12]), slot: None }
    }

    /// The host's id: letters, digits, `.`, `_` and `-`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a process that is started again in this place will have the same id; without, the host must not be a static member.
    pub fn is_stable(&self) -> bool {
        self.slot.is_some()
    }
}

/// The first 128 bits of the SHA-256 of these parts, in hex.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The machine's name in the letters that Kafka takes for a member, cut to what is left of its 249.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).take(100).collect();
    if name.is_empty() { "host".into() } else { name }
}

/// The running kernel: a number that it draws when it starts, the same in all its containers.
#[cfg(target_os = "linux")]
fn kernel() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// The network namespace, within which the names of abstract sockets are unique.
#[cfg(target_os = "linux")]
fn namespace() -> Option<String> {
    std::fs::read_link("/proc/self/ns/net").ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_living_hosts_of_a_group_are_the_same_and_a_freed_place_is_taken_again() {
        let group = format!("identity-{}", std::process::id());
        let (first, second) = (Identity::take(&group), Identity::take(&group));
        assert!(first.is_stable() && second.is_stable());
        assert_ne!(first.id(), second.id());
        let id = first.id().to_owned();
        drop(first);
        let again = Identity::take(&group);
        assert_eq!(again.id(), id);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{id}");
    }
}
