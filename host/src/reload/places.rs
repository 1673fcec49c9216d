//! Places: who may go on at the gate, and who waits.
//!
//! Each step of an examination has places of its own, so that the short never wait for the long. Of a step's places one team leaves one to the others,
//! and waits for its own two in a queue of its own: a team that hands in a thousand components, each of which takes minutes, is never before another
//! by more than two of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Places of a step that one team can have. Two, so that one large component does not keep the team's next one waiting.
const OF_A_TEAM: usize = 2;
/// Places of a step. More would take the processors from the records.
const ALL: usize = OF_A_TEAM + 1;
/// Bytes of a component that counts as small: those of compiled languages do, those with an interpreter inside do not.
const SMALL: usize = 1 << 20;

/// The places of one step.
#[derive(Debug)]
pub(super) struct Places {
    teams: BTreeMap<Arc<str>, Semaphore>,
    all: Semaphore,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _place: SemaphorePermit<'a>,
    _of_team: Option<SemaphorePermit<'a>>,
}

impl Places {
    /// Places for these teams.
    pub(super) fn new<'t>(teams: impl Iterator<Item = &'t Arc<str>>) -> Places {
        Places { teams: teams.map(|team| (Arc::clone(team), Semaphore::new(OF_A_TEAM))).collect(), all: Semaphore::new(ALL) }
    }

    /// Waits for a place; none for a team that is not in the configuration. Cancel-safe.
    pub(super) async fn take(&self, team: &str) -> Option<Place<'_>> {
        // Nobody closes the semaphores. The team's comes first: who waits for it takes nothing from the others.
        let of_team = self.teams.get(team)?.acquire().await.ok()?;
        Some(Place { _place: self.all.acquire().await.ok()?, _of_team: Some(of_team) })
    }
}

/// The places of the step that may take minutes, with one besides for small components.
#[derive(Debug)]
pub(super) struct CompilePlaces {
    any: Places,
    small: Semaphore,
}

impl CompilePlaces {
    /// Places for these teams.
    pub(super) fn new<'t>(teams: impl Iterator<Item = &'t Arc<str>>) -> CompilePlaces {
        CompilePlaces { any: Places::new(teams), small: Semaphore::new(1) }
    }

    /// As [`Places::take`], for a component of so many bytes.
    pub(super) async fn take(&self, team: &str, bytes: usize) -> Option<Place<'_>> {
        if bytes >= SMALL {
            return self.any.take(team).await;
        }
        tokio::select! { biased;
            small = self.small.acquire() => Some(Place { _place: small.ok()?, _of_team: None }),
            any = self.any.take(team) => any,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn teams() -> Vec<Arc<str>> {
        ["a", "b", "c"].map(Arc::from).to_vec()
    }

    #[test]
    fn a_team_leaves_a_place_to_the_others_and_waits_in_a_queue_of_its_own() {
        let teams = teams();
        let places = Places::new(teams.iter());
        let take = |team: &'static str| Box::pin(places.take(team));
        let of_a: Vec<_> = (0..OF_A_TEAM).map(|_| take("a").now_or_never().flatten().unwrap()).collect();
        let mut waiting: Vec<_> = (0..10).map(|_| take("a")).collect();
        assert!(waiting.iter_mut().all(|place| place.now_or_never().is_none()));
        let of_b = take("b").now_or_never().flatten().expect("one is left for another team");
        let (mut second_of_b, mut of_c) = (take("b"), take("c"));
        assert!(second_of_b.as_mut().now_or_never().is_none() && of_c.as_mut().now_or_never().is_none());
        // The first place that becomes free is not the next of those who had two and want ten more, though they came first.
        drop(of_a);
        assert!(second_of_b.now_or_never().flatten().is_some() && of_c.now_or_never().flatten().is_some());
        drop(of_b);
        assert!(take("nobody").now_or_never().unwrap().is_none());
    }

    #[test]
    fn a_small_component_has_a_place_besides() {
        let teams = teams();
        let places = CompilePlaces::new(teams.iter());
        let large: Vec<_> = ["a", "a", "b"].map(|team| places.take(team, SMALL).now_or_never().flatten().unwrap()).into();
        assert!(places.take("c", SMALL).now_or_never().is_none());
        let small = places.take("a", SMALL - 1).now_or_never().flatten().expect("even of the team that has two");
        assert!(places.take("c", SMALL - 1).now_or_never().is_none());
        drop(large);
        assert!(places.take("c", SMALL - 1).now_or_never().flatten().is_some(), "and the others when that one is taken");
        drop(small);
    }
}
