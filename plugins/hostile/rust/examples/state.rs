//! Counts its calls. Defence: a fresh instance for each record, so that it never counts past 1.

use std::sync::atomic::{AtomicU64, Ordering};

use keyway_sdk::*;

#[plugin(keys = "hostile-state:*")]
fn count() -> Verdict {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    Verdict::skip(format!("call {}", CALLS.fetch_add(1, Ordering::Relaxed) + 1))
}
