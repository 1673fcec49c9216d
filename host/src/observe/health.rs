//! Whether the host takes records, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the host waits for before it is ready. Each part reports for itself; the host is ready when none has a reason left.
#[derive(Debug)]
pub struct Health {
    waits: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    /// Not ready, for these reasons, each of a part.
    pub fn waiting_for<const PARTS: usize>(parts: [(&'static str, &str); PARTS]) -> Arc<Health> {
        Arc::new(Health { waits: Mutex::new(parts.map(|(part, why)| (part, why.to_owned())).into()) })
    }

    /// The part is as it should be.
    pub fn ready(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// The part keeps the host from taking records.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.lock().insert(part, why.into());
    }

    /// Why the host is not ready; nothing when it is.
    pub fn reasons(&self) -> Vec<String> {
        self.lock().iter().map(|(part, why)| format!("{part}: {why}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        // A map of words is whole after a panic too.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
