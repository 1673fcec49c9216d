//! Components that took long to compile and came to nothing.
//!
//! A file that is touched, renamed or put beside under another name is examined again. What would take a minute each time is refused from memory for a
//! while instead; not for ever, since a busy machine refuses what a quiet one compiles.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::plugin::Refusal;

/// What was refused sooner is simply tried again.
const LONG: Duration = Duration::from_secs(5);
/// How long it is remembered. A sixth of one core at most goes to the same component then.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How many are. Arbitrary; each takes minutes to come here.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Dear(Mutex<VecDeque<Refused>>);

#[derive(Debug)]
struct Refused {
    component: [u8; 32],
    at: Instant,
    why: Refusal,
}

impl Dear {
    /// Remembers a refusal if it took long.
    pub(super) fn note(&self, component: &[u8], took: Duration, why: &Refusal) {
        if took < LONG {
            return;
        }
        let refused = Refused { component: Sha256::digest(component).into(), at: Instant::now(), why: why.clone() };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| other.component != refused.component);
        known.push_back(refused);
        if known.len() > MOST {
            known.pop_front();
        }
    }

    /// Why a component was refused a short while ago, if it was.
    pub(super) fn recall(&self, component: &[u8]) -> Option<Refusal> {
        let known = || {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|refused| refused.at.elapsed() < REMEMBERED);
            known
        };
        // Mostly there is nothing that the bytes would have to be hashed for.
        if known().is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(component).into();
        let known = known();
        let refused = known.iter().find(|refused| refused.component == digest)?;
        let (ago, minutes) = (refused.at.elapsed().as_secs(), REMEMBERED.as_secs() / 60);
        let cause = format!("{} (found {ago} s ago; the same bytes are not tried again within {minutes} minutes)", refused.why.cause);
        Some(Refusal { cause, hint: refused.why.hint.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why() -> Refusal {
        Refusal { cause: "takes more than 60 s of CPU time to compile".into(), hint: Some("make it smaller".into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_took_long_and_came_to_nothing_is_remembered_for_a_while() {
        let dear = Dear::default();
        dear.note(b"bomb", Duration::from_secs(60), &why());
        dear.note(b"text", Duration::from_millis(20), &why());
        assert_eq!((dear.recall(b"text"), dear.recall(b"other")), (None, None));
        tokio::time::sleep(Duration::from_secs(9)).await;
        let again = dear.recall(b"bomb").unwrap();
        assert!(again.cause.starts_with("takes more than 60 s of CPU time to compile (found 9 s ago; "), "{again:?}");
        assert_eq!(again.hint, why().hint);
        tokio::time::sleep(REMEMBERED).await;
        assert_eq!(dear.recall(b"bomb"), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let dear = Dear::default();
        (0..=MOST).for_each(|at| dear.note(&at.to_le_bytes(), LONG, &why()));
        assert!(dear.recall(&0_usize.to_le_bytes()).is_none() && dear.recall(&MOST.to_le_bytes()).is_some());
        dear.note(&1_usize.to_le_bytes(), LONG, &why());
        dear.note(b"one more", LONG, &why());
        assert!(dear.recall(&1_usize.to_le_bytes()).is_some(), "the last to be found is the last to be forgotten");
    }
}
