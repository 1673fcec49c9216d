//! A plugin's code, loaded: checked, compiled, linked, and ready for its calls.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component as Compiled, Instance as Running, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::bindings::{about, replies, transform};
use super::call::{Exports, Instance};
use super::state::{Shared, State};
use super::team::Member;
use crate::plugin::{Refusal, Reuse};

/// Instances of one plugin that wait for their next call, at most: as many as calls of it that are likely at once on a few cores.
const KEPT_MAX: usize = 4;

/// Calls that are measured by their thread's clock after one that seemed slow. A call of 20 ms that is let pass once in so many is nothing, and neither is
/// what measuring costs: a third of a microsecond each.
const WATCHED: u32 = 1_000;

/// One version's code. Cheap to share; the code lives as long as a call of it.
#[derive(Clone)]
pub struct Component(pub(super) Arc<Code>);

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Component({})", self.0.shared.name)
    }
}

/// What a [`Component`] holds.
pub(super) struct Code {
    pub(super) shared: Arc<Shared>,
    pub(super) member: Arc<Member>,
    pub(super) pre: InstancePre<State>,
    pub(super) about: Option<about::GuestIndices>,
    transform: transform::GuestIndices,
    replies: Option<replies::GuestIndices>,
    reuse: Option<Reuse>,
    kept: Mutex<Vec<Instance>>,
    /// Places in the pool for kept instances of all plugins.
    kept_slots: Arc<Semaphore>,
    /// Quick calls that have to be made in the slow lane before one begins beside Kafka and HTTP again.
    owed: AtomicU32,
    /// Calls beside Kafka and HTTP that are still measured by their thread's clock.
    watched: AtomicU32,
}

impl Code {
    /// Links compiled code against what it may import, once for all of its instances.
    ///
    /// # Errors
    /// What does not fit the contract, as wasmtime says it: the gate has seen the names, so this is about types and functions.
    pub(super) fn link(
        linker: &Linker<State>,
        compiled: &Compiled,
        shared: Arc<Shared>,
        member: Arc<Member>,
        reuse: Option<Reuse>,
        kept_slots: Arc<Semaphore>,
    ) -> Result<Code, Refusal> {
        let misfit = |error: wasmtime::Error| Refusal {
            cause: format!("does not fit the contract: {error:#}"),
            hint: Some("build the plugin with the SDK of this host's version".to_owned()),
        };
        let pre = linker.instantiate_pre(compiled).map_err(misfit)?;
        let transform = transform::GuestIndices::new(&pre).map_err(misfit)?;
        let (about, replies) = (about::GuestIndices::new(&pre).ok(), replies::GuestIndices::new(&pre).ok());
        Ok(Code {
            shared,
            member,
            pre,
            about,
            transform,
            replies,
            reuse,
            kept: Mutex::default(),
            kept_slots,
            owed: AtomicU32::new(0),
            watched: AtomicU32::new(0),
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    pub(super) fn sees_replies(&self) -> bool {
        self.replies.is_some()
    }

    /// Finds what an instance exports, and checks its types.
    pub(super) fn exports(&self, store: &mut Store<State>, instance: &Running) -> wasmtime::Result<Exports> {
        let transform = self.transform.load(&mut *store, instance)?;
        let replies = self.replies.as_ref().map(|replies| replies.load(&mut *store, instance)).transpose()?;
        Ok(Exports { transform, replies, calls: 0 })
    }

    /// An instance that waits for its next call.
    pub(super) fn take_kept(&self) -> Option<Instance> {
        self.reuse?;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps an instance after a call that went well, unless it has had its share of calls or memory, or no place is left for it.
    pub(super) fn keep(&self, store: Store<State>, exports: Exports, slot: Option<OwnedSemaphorePermit>) {
        let Some(reuse) = self.reuse else { return };
        if exports.calls >= reuse.calls || store.data().limiter.used() > reuse.memory {
            return;
        }
        let Some(slot) = slot.or_else(|| Arc::clone(&self.kept_slots).try_acquire_owned().ok()) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(Instance { store, exports, slot });
        }
    }

    /// Whether the next call had better begin in the slow lane.
    pub(super) fn is_slow(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0
    }

    /// A call took so many ticks of a thread that it shared with Kafka and HTTP: as many calls as that go to the slow lane, so that whoever is slow now and then
    /// takes no more of such a thread than a tick a call.
    pub(super) fn was_slow(&self, ticks: u32) {
        self.owed.fetch_max(ticks.max(1), Ordering::Relaxed);
    }

    /// A call in the slow lane was done within a tick.
    pub(super) fn was_quick(&self) {
        // When nothing is owed, there is nothing to take off.
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| owed.checked_sub(1));
    }

    /// Has the next calls measured exactly.
    pub(super) fn watch(&self) {
        self.watched.store(WATCHED, Ordering::Relaxed);
    }

    /// Whether this call is one that is measured exactly.
    pub(super) fn is_watched(&self) -> bool {
        // Looked at first, since most plugins never are, and all calls share the place.
        self.watched.load(Ordering::Relaxed) > 0
            && self.watched.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
