//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Time between two looks at a condition that nothing announces. Arbitrary: short to a person, long to a processor.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it has not within `deadline`; `what` completes "waited 10s for …".
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} for {what}");
        std::thread::sleep(LOOK);
    }
}
