//! What is remembered of requests that were turned away after they had been tried.
//!
//! A held record comes back as a new request. If its attempts began anew each time, a record that makes its destination fail would open the breaker for
//! ever, each time that it closed for others. So the attempts are kept, by the request's idempotency key, until it ends.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Requests that are remembered. More than are ever tried and then held at once; when it is full, an arbitrary one is forgotten, and has its attempts
/// again.
const MOST: usize = 4096;

/// What is known of a request from before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// Attempts made.
    pub(super) attempts: u32,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    past: Mutex<HashMap<u64, Past>>,
    /// How many there are, so that the usual case of none costs no lock.
    count: AtomicUsize,
    hasher: RandomState,
}

impl Memory {
    /// Takes out what is known of a request.
    pub(super) fn take(&self, key: &[u8]) -> Past {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Past::default();
        }
        let hash = self.hasher.hash_one(key);
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let known = past.remove(&hash).unwrap_or_default();
        self.count.store(past.len(), Ordering::Relaxed);
        known
    }

    /// Whether anything is known of a request.
    pub(super) fn knows(&self, key: &[u8]) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.past.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&self.hasher.hash_one(key))
    }

    /// Keeps what is known of a request, if it is anything.
    pub(super) fn keep(&self, key: &[u8], known: Past) {
        if known == Past::default() {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() >= MOST
            && let Some(arbitrary) = past.keys().next().copied()
        {
            past.remove(&arbitrary);
        }
        past.insert(hash, known);
        self.count.store(past.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_once_and_not_without_end() {
        let memory = Memory::default();
        memory.keep(b"a", Past { attempts: 3 });
        assert_eq!(memory.take(b"b"), Past::default());
        assert!(memory.knows(b"a") && !memory.knows(b"b"));
        assert_eq!(memory.take(b"a"), Past { attempts: 3 });
        assert!(!memory.knows(b"a"));
        assert_eq!(memory.take(b"a"), Past::default());
        for number in 0..2 * MOST {
            memory.keep(&number.to_le_bytes(), Past { attempts: 1 });
        }
        assert_eq!(memory.past.lock().unwrap().len(), MOST);
    }
}
