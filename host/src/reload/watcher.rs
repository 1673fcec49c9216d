//! The loop of reload: look, hand to the gate, let in, and show.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Outcome, Rehearse, Setup};
use super::handle::{Handle, Signals};
use super::scan::{self, Look, Problem};
use super::slots::Slots;
use super::status::{Status, Watching};
use super::watch::Watches;
use crate::plugin::{Load, Plugin, PluginName, Refusal};

/// From an event to the look. Long enough for the handful of events that one rename makes; a look too many costs little, and decides nothing by itself.
const QUIET: Duration = Duration::from_millis(10);
/// Between two looks at plugins of which the first did not show what it was for, as in a folder that cannot be read.
const IN_VAIN: Duration = Duration::from_millis(50);
/// The first pass is waited for so long, from the first sight of the directory. What is still being compiled then must not keep the others' records.
const START_WITHIN: Duration = Duration::from_secs(30);
/// What lay there at the start and is not ready after so long is as any plugin that is deployed later: its keys are unrouted until it serves.
const LATE_WITHIN: Duration = Duration::from_secs(300);
/// A look takes at most a fifth of the time, however often files are touched.
const REST: u32 = 4;
/// Between looks without any event: some file systems (NFS, SMB, FUSE) have none.
const SLOWLY: Duration = Duration::from_secs(10);
/// Between looks when the system gives no events at all.
const POLL: Duration = Duration::from_secs(2);
/// The status is shown at most so often while things are going on.
const SHOWN: Duration = Duration::from_millis(100);
/// Versions that serve no more are looked after so often.
const REAP: Duration = Duration::from_secs(1);

/// Watches the plugins' directory and keeps what serves in step with it. Made with [`watcher`], which also makes the [`Handle`].
pub struct Watcher<L: Load, R, P> {
    gate: Arc<Gate<L, R>>,
    slots: Slots<L::Code>,
    publish: P,
    jobs: JoinSet<Outcome<L::Code>>,
    /// What is done ahead. Nobody waits for it.
    ahead: JoinSet<()>,
    names: HashMap<Id, PluginName>,
    watches: Option<Watches>,
    looking: Option<JoinHandle<Looked>>,
    signals: Arc<Signals>,
    schedule: Schedule,
    shown: watch::Sender<Arc<Status>>,
    looks: u64,
    /// Requests of people: the last that was taken up, that the look under way is for, and that a look is done for.
    retried: u64,
    answering: u64,
    answered: u64,
    /// Since when a look has seen the directory.
    sighted: Option<Instant>,
    generation: u64,
    problems: Vec<Problem>,
    watching: Watching,
}

impl<L: Load, R, P> std::fmt::Debug for Watcher<L, R, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("looks", &self.looks).finish_non_exhaustive()
    }
}

struct Looked {
    look: Look,
    watches: Watches,
    /// Whether there are new watches; none when the look was at some plugins only.
    renewed: Option<Result<bool, String>>,
}

/// When to look and when to show.
#[derive(Debug)]
struct Schedule {
    /// The look that is due, if one is.
    due: Option<Instant>,
    began: Instant,
    /// Not to look at everything before.
    rested: Instant,
    /// Not to look at some before.
    rested_some: Instant,
    slowly: Instant,
    reap: Instant,
    shown: Instant,
}

impl Schedule {
    /// Asks for a look at this time.
    fn ask(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// Makes a watcher and its handle. `publish` is given the plugins that serve, all of them, whenever that changes; it is called from the
/// watcher's task, between records as far as any record can tell.
pub fn watcher<L, R, P>(setup: Setup, load: L, rehearse: R, publish: P) -> (Watcher<L, R, P>, Handle)
where
    L: Load,
    R: Rehearse<L::Code>,
    P: FnMut(&[Arc<Plugin<L::Code>>]) + Send,
{
    let gate = Arc::new(Gate::new(setup, load, rehearse));
    let directory = gate.directory().to_owned();
    let signals = Arc::<Signals>::default();
    let (shown, status) = watch::channel(Arc::new(Status { directory, ..Status::default() }));
    let now = Instant::now();
    let schedule = Schedule { due: Some(now), began: now, rested: now, rested_some: now, slowly: now + SLOWLY, reap: now + REAP, shown: now };
    let watcher = Watcher {
        watches: Some(Watches::new(gate.directory(), Arc::clone(&signals.changed))),
        gate,
        slots: Slots::default(),
        publish,
        jobs: JoinSet::new(),
        ahead: JoinSet::new(),
        names: HashMap::new(),
        looking: None,
        signals: Arc::clone(&signals),
        schedule,
        shown,
        looks: 0,
        retried: 0,
        answering: 0,
        answered: 0,
        sighted: None,
        generation: 0,
        problems: Vec::new(),
        watching: Watching::Starting,
    };
    (watcher, Handle { status, signals })
}

impl<L, R, P> Watcher<L, R, P>
where
    L: Load,
    R: Rehearse<L::Code>,
    P: FnMut(&[Arc<Plugin<L::Code>>]) + Send,
{
    /// As on a system that tells of no changes.
    #[cfg(test)]
    pub(super) fn without_events(&mut self) {
        self.watches.iter_mut().for_each(|watches| watches.no_events = true);
    }

    /// Runs until it is told to stop. What serves then goes on serving.
    pub async fn run(mut self, stop: CancellationToken) {
        let (alarm, signals) = (self.gate.alarm(), Arc::clone(&self.signals));
        loop {
            let next = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(joined) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => self.examined(joined),
                Some(joined) = self.ahead.join_next_with_id(), if !self.ahead.is_empty() => self.prepared(joined),
                looked = finished(&mut self.looking) => self.looked(looked),
                () = alarm.notified() => {}
                () = signals.asked.notified() => {
                    // The number first: a request that comes in between is answered by the next round, which its notice begins.
                    self.retried = signals.requests.load(Ordering::Acquire);
                    self.slots.retry_refused(Instant::now());
                    self.schedule.ask(Instant::now());
                }
                // While a look is due anyway, further events change nothing; the first one after it began is kept for the next.
                () = signals.changed.notified(), if self.schedule.due.is_none() => self.schedule.ask(Instant::now() + QUIET),
                () = sleep_until(next) => {}
            }
            self.proceed(Instant::now());
        }
    }

    /// Whatever is due.
    fn proceed(&mut self, now: Instant) {
        while let Some(joined) = self.jobs.try_join_next_with_id() {
            self.examined(joined);
        }
        self.slots.judge(now);
        if let Some(sighted) = self.sighted {
            self.slots.finish_first(now, now >= sighted + START_WITHIN);
            if now >= sighted + LATE_WITHIN {
                self.slots.give_up_late();
            }
        }
        if let Some(serving) = self.slots.take_change() {
            self.generation += 1;
            (self.publish)(&serving);
        }
        if now >= self.schedule.reap {
            self.schedule.reap = now + REAP;
            self.slots.reap();
        }
        if now >= self.schedule.slowly {
            self.schedule.slowly = now + SLOWLY;
            self.schedule.ask(now);
        }
        if self.looking.is_none() {
            if now >= self.schedule.rested && self.schedule.due.is_some_and(|due| now >= due) {
                self.look(None, now);
            } else if now >= self.schedule.rested_some {
                let waiting = self.slots.waiting(now);
                if !waiting.is_empty() {
                    self.look(Some(waiting), now);
                }
            }
        }
        self.show(now);
    }
}

impl<L, R, P> Watcher<L, R, P>
where
    L: Load,
    R: Rehearse<L::Code>,
    P: FnMut(&[Arc<Plugin<L::Code>>]) + Send,
{
    fn next_wake(&self) -> Instant {
        let look = self.schedule.due.filter(|_| self.looking.is_none()).map(|due| due.max(self.schedule.rested));
        // What a slot waits for is a look; while one is under way its end is what is waited for.
        let slots = self.slots.next_wake().filter(|_| self.looking.is_none()).map(|at| at.max(self.schedule.rested_some));
        let shown = (!self.shown.borrow().settled).then_some(self.schedule.shown + SHOWN);
        let first = self.sighted.map(|sighted| sighted + START_WITHIN).filter(|_| !self.slots.is_ready());
        let late = self.sighted.map(|sighted| sighted + LATE_WITHIN).filter(|_| !self.slots.late().is_empty());
        [look, slots, shown, first, late].into_iter().flatten().fold(self.schedule.slowly.min(self.schedule.reap), Instant::min)
    }

    /// Begins a look at these plugins, or at everything.
    fn look(&mut self, some: Option<BTreeSet<PluginName>>, now: Instant) {
        // The watches are with the look that is under way; there is one at a time.
        let Some(mut watches) = self.watches.take() else { return };
        self.schedule.began = now;
        if some.is_none() {
            self.schedule.due = None;
            self.answering = self.retried;
        }
        let gate = Arc::clone(&self.gate);
        self.looking = Some(tokio::task::spawn_blocking(move || match some {
            Some(names) => Looked { look: scan::look_at(gate.directory(), names), watches, renewed: None },
            None => {
                let look = scan::look(gate.directory());
                let renewed = watches.follow(&look.folders);
                Looked { look, watches, renewed: Some(renewed) }
            }
        }));
    }

    fn looked(&mut self, looked: Result<Looked, JoinError>) {
        let now = Instant::now();
        self.looking = None;
        let rested = now + (now - self.schedule.began) * REST;
        self.schedule.rested_some = rested;
        let Looked { look, watches, renewed } = match looked {
            Ok(looked) => looked,
            Err(error) => {
                // The look itself failed. Without its watches, new ones are made with the next.
                tracing::error!("failed to look at the plugins' directory: {error}");
                self.watches = Some(Watches::new(self.gate.directory(), Arc::clone(&self.signals.changed)));
                self.schedule.slowly = now + POLL;
                return;
            }
        };
        self.watches = Some(watches);
        if let Some(renewed) = renewed {
            self.looks += 1;
            self.answered = self.answering;
            (self.schedule.rested, self.schedule.rested_some) = (rested, now);
            self.looked_everywhere(&look, renewed, now);
        }
        for work in self.slots.look(&look, now) {
            let (gate, name) = (Arc::clone(&self.gate), work.name.clone());
            let job = match work.ahead {
                true => self.ahead.spawn(async move { gate.prepare(work).await }),
                false => self.jobs.spawn(async move { gate.examine(work).await }),
            };
            self.names.insert(job.id(), name);
        }
        if look.only.is_some_and(|wanted| !wanted.is_disjoint(&self.slots.waiting(now))) {
            self.schedule.rested_some = rested.max(now + IN_VAIN);
        }
    }

    fn looked_everywhere(&mut self, look: &Look, renewed: Result<bool, String>, now: Instant) {
        self.schedule.slowly = now + SLOWLY;
        let watching = match renewed {
            Ok(renewed) => {
                if renewed {
                    self.schedule.ask(now);
                }
                Watching::Events
            }
            Err(cause) => {
                self.schedule.slowly = now + POLL;
                Watching::Polling { cause }
            }
        };
        if self.watching != watching {
            if let Watching::Polling { cause } = &watching {
                tracing::warn!("the plugins' directory is looked at every {} s, because the system tells of no changes: {cause}", POLL.as_secs());
            }
            self.watching = watching;
        }
        for problem in look.problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!(path = %problem.path.display(), hint = problem.hint, "plugins' directory: {}", problem.cause);
        }
        self.problems.clone_from(&look.problems);
        if !look.blind.everywhere {
            self.sighted.get_or_insert(now);
        }
    }

    fn examined(&mut self, joined: Result<(Id, Outcome<L::Code>), JoinError>) {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => {
                let refusal = Refusal { cause: format!("the host failed while it examined the plugin: {error}"), hint: None };
                (error.id(), Outcome::Refused(None, None, refusal))
            }
        };
        if let Some(name) = self.names.remove(&id) {
            self.slots.examined(&name, outcome, Instant::now());
        }
    }

    fn prepared(&mut self, joined: Result<(Id, ()), JoinError>) {
        let id = joined.map_or_else(|error| error.id(), |(id, ())| id);
        if let Some(name) = self.names.remove(&id) {
            self.slots.prepared(&name, Instant::now());
        }
    }

    fn show(&mut self, now: Instant) {
        let before = Arc::clone(&self.shown.borrow());
        let resting = self.jobs.is_empty() && self.looking.is_none() && self.schedule.due.is_none();
        let settled = resting && self.slots.is_settled();
        let turned = before.settled != settled
            || before.answered != self.answered
            || before.ready != self.slots.is_ready()
            || before.late.len() != self.slots.late().len()
            || before.generation != self.generation;
        if !turned && now < self.schedule.shown + SHOWN {
            return;
        }
        self.schedule.shown = now;
        let status = Status {
            directory: before.directory.clone(),
            ready: self.slots.is_ready(),
            late: self.slots.late().iter().map(|name| name.as_str().to_owned()).collect(),
            settled,
            generation: self.generation,
            looks: self.looks,
            answered: self.answered,
            watching: self.watching.clone(),
            problems: self.problems.clone(),
            plugins: self.slots.status(),
        };
        if *before != status {
            self.shown.send_replace(Arc::new(status));
        }
    }
}

/// The end of the look that is under way; never, when none is.
async fn finished(looking: &mut Option<JoinHandle<Looked>>) -> Result<Looked, JoinError> {
    match looking {
        Some(looking) => looking.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
