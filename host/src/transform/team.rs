//! A team's share of the sandbox: how many of its calls may be in the slow lane, and whose turn they take there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::slow_lane::TeamId;

/// Calls that began beside Kafka and HTTP and wait for a seat in the slow lane, of one team at once: further ones of that team wait before they begin. It bounds
/// what a team of plugins that are sometimes slow takes from the pool.
const PARKED_MAX: usize = 4;

/// One team.
#[derive(Debug)]
pub(super) struct Team {
    pub(super) id: TeamId,
    /// Seats in the slow lane. A call without one has not begun or is parked, and its wall clock stands still.
    pub(super) seats: Arc<Semaphore>,
    parked: AtomicUsize,
}

impl Team {
    pub(super) fn may_park(&self) -> bool {
        self.parked.load(Ordering::Relaxed) < PARKED_MAX
    }

    /// Counts a parked call for as long as the guard lives.
    pub(super) fn park(&self) -> Parked<'_> {
        self.parked.fetch_add(1, Ordering::Relaxed);
        Parked(self)
    }
}

pub(super) struct Parked<'a>(&'a Team);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every team that has had a plugin; there are as many as the operator made folders.
#[derive(Debug)]
pub(super) struct Teams {
    seats: usize,
    known: Mutex<HashMap<String, Arc<Team>>>,
}

impl Teams {
    /// Each team gets so many seats.
    pub(super) fn new(seats: usize) -> Teams {
        Teams { seats, known: Mutex::default() }
    }

    pub(super) fn get(&self, name: &str) -> Arc<Team> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(team) = known.get(name) {
            return Arc::clone(team);
        }
        let team = Arc::new(Team { id: TeamId(known.len()), seats: Arc::new(Semaphore::new(self.seats)), parked: AtomicUsize::new(0) });
        known.insert(name.to_owned(), Arc::clone(&team));
        team
    }
}
