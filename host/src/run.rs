//! The loop: what settles, what comes, what goes.
//!
//! Owns lanes and ledger, and is the only place that changes them. One `select!`, biased: settled work is taken before new work, so that the
//! memory cannot run away. It promises that a partition that goes away is drained and then fenced: intake stops, what is in progress may
//! finish until a deadline, what is settled is committed, and the rest is aborted and can settle nothing.

mod control;
mod drain;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use control::Commands;
pub use control::{Command, Control, HeldLanes, PartitionStatus, Status};
use drain::{Drain, Drains};

use crate::config;
use crate::consume::{Event, Source};
use crate::deliver::Deliver;
use crate::lanes::{Job, LaneId, Lanes};
use crate::outcome::{Cause, Outcome};
use crate::pipeline::Pipeline;
use crate::record::{AssignmentId, Position, Record};
use crate::settle::{Ledger, Mark, Opened, Settle};
use crate::transform::Transform;

/// How often a full window is searched for records to park. The search looks at every lane.
const PARK_EVERY: Duration = Duration::from_millis(100);

/// How often the status is made anew, for metrics and the admin API.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Settled records that are taken at once before anything else is looked at. Arbitrary; bounds the time for which a rebalance waits.
const SETTLE_AT_ONCE: usize = 1_024;

/// Records that have been started and not had a turn yet. The runtime polls what is started in the order of its queue, so without a bound the next
/// record of the longest lane would stand behind a whole window of others that are transformed first: some 8,000 at the beginning of a
/// backlog. A few for each thread keep all of them busy.
const STARTING_MAX: u32 = 8;

/// Everything that changes while the host runs.
pub struct Run<S, T: Transform, D, K> {
    source: S,
    pipeline: Arc<Pipeline<T, D, K>>,
    settings: Settings,
    ledger: Ledger,
    lanes: Lanes,
    tasks: JoinSet<Finished>,
    /// A permit for each record that may be started before those that were have had a turn.
    starting: Arc<Semaphore>,
    running: HashMap<LaneId, Running>,
    drains: Drains,
    parked_at: Instant,
    commands: Commands,
    /// Whether there was an assignment, be it an empty one.
    joined: bool,
}

/// What the loop is told.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Order, window, and how long a shutdown waits for records in progress.
    pub lanes: config::Lanes,
    /// How long a partition that goes to another host is waited for; shorter than its source waits.
    pub revoke: Duration,
    /// How often settled offsets are committed.
    pub commit_every: Duration,
}

/// A record in progress.
struct Running {
    assignment: AssignmentId,
    task: AbortHandle,
}

/// A record whose handling has ended.
struct Finished {
    lane: LaneId,
    job: Job,
    outcome: Outcome,
}

impl<S: Source, T: Transform, D: Deliver, K: Settle> Run<S, T, D, K> {
    /// Nothing assigned, nothing in progress. The control is for whoever watches and steers it from outside.
    pub fn new(source: S, pipeline: Arc<Pipeline<T, D, K>>, settings: Settings) -> (Run<S, T, D, K>, Control) {
        let (commands, control) = control::channel();
        let run = Run {
            source,
            pipeline,
            settings,
            ledger: Ledger::default(),
            lanes: Lanes::new(settings.lanes),
            tasks: JoinSet::new(),
            starting: Arc::new(Semaphore::new(STARTING_MAX as usize)),
            running: HashMap::new(),
            drains: Drains::default(),
            parked_at: Instant::now(),
            commands,
            joined: false,
        };
        (run, control)
    }

    /// Where the records come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Runs until `shutdown` completes, then drains, commits and leaves the group.
    ///
    /// # Errors
    /// The source ended, or the last commit failed, in words for the operator. What was not settled is not committed.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), String> {
        let pipeline = Arc::clone(&self.pipeline);
        let mut routes = pipeline.routes.changes();
        let mut commit_due = every(self.settings.commit_every);
        let mut status_due = every(STATUS_EVERY);
        let mut shutdown = std::pin::pin!(shutdown);
        let mut stopping = false;
        loop {
            let more_ready = self.start_ready();
            if stopping && self.drains.is_empty() {
                break;
            }
            let room = !stopping && self.has_room();
            tokio::select! { biased;
                Some(finished) = self.tasks.join_next(), if !self.tasks.is_empty() => self.settle(finished),
                _ = commit_due.tick() => self.commit(),
                () = &mut shutdown, if !stopping => {
                    stopping = true;
                    self.stop();
                }
                () = self.drains.overdue() => self.abort_overdue(),
                (destination, count) = pipeline.deliver.recovered() => {
                    self.lanes.release(&Cause::Destination(destination), count);
                }
                (plugin, count) = pipeline.transform.relieved() => {
                    self.lanes.release(&Cause::Busy(plugin), count);
                }
                Ok(()) = routes.changed() => self.try_new_routes(),
                Some(command) = self.commands.next() => self.obey(command),
                _ = status_due.tick() => {
                    self.release_where_room();
                    self.publish();
                }
                event = self.source.next(room) => self.hear(event)?,
                () = half_begun(&self.starting), if more_ready => {}
            }
        }
        self.publish();
        let marks = self.ledger.release_all();
        self.source.close(marks).await
    }

    /// Starts the records whose turn it is, as far as those before have begun, and asks Kafka again for those that were parked. Says whether more
    /// are ready.
    fn start_ready(&mut self) -> bool {
        let mut more_ready = true;
        while let Ok(starting) = Arc::clone(&self.starting).try_acquire_owned() {
            let Some((lane, mut job)) = self.lanes.start() else {
                more_ready = false;
                break;
            };
            let assignment = job.record.assignment.id;
            let pipeline = Arc::clone(&self.pipeline);
            let task = self.tasks.spawn(async move {
                drop(starting);
                let outcome = pipeline.handle(&mut job).await;
                Finished { lane, job, outcome }
            });
            self.running.insert(lane, Running { assignment, task });
        }
        let wanted = self.lanes.wanted();
        if !wanted.is_empty() {
            let stay = |(id, offsets)| Some((Arc::clone(self.ledger.assignment(id)?), offsets));
            let wanted: Vec<_> = wanted.into_iter().filter_map(stay).collect();
            self.source.refetch(wanted);
        }
        more_ready
    }

    /// Whether new records may come; where the window is full, whether parking makes room.
    fn has_room(&mut self) -> bool {
        if !self.lanes.has_room() && self.parked_at.elapsed() >= PARK_EVERY {
            self.parked_at = Instant::now();
            let parked = self.lanes.park();
            if parked > 0 {
                tracing::debug!(parked, "parked records of held keys");
            }
        }
        self.lanes.has_room()
    }

    /// Takes what has ended: the one that woke the loop, and those that ended since.
    fn settle(&mut self, first: Result<Finished, JoinError>) {
        self.finish(first);
        for _ in 1..SETTLE_AT_ONCE {
            let Some(ended) = self.tasks.try_join_next() else { break };
            self.finish(ended);
        }
        self.release_drained();
    }

    fn finish(&mut self, ended: Result<Finished, JoinError>) {
        let Finished { lane, job, outcome } = match ended {
            Ok(finished) => finished,
            // Aborted: its lane was finished when that was done. A panic is caught where it happens, in the pipeline.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!("a record's task failed, and the record stays undecided: {error}");
                return;
            }
        };
        // An aborted record may have ended in the same moment. Its stay is over, so there is nothing to settle.
        if self.running.remove(&lane).is_none() {
            return;
        }
        let assignment = job.record.assignment.id;
        self.drains.ended(assignment);
        match outcome {
            Outcome::Held(_) if self.drains.is_draining(assignment) => self.lanes.finish(lane),
            Outcome::Held(cause) => {
                // What it waits for may have come while the record was in progress, and may be the last that ever comes.
                let is_over = match &cause {
                    Cause::Unrouted => !self.pipeline.waits_for_routes(&job.record),
                    cause => self.has_another_version(cause),
                };
                self.lanes.hold(lane, job, cause.clone());
                if is_over {
                    self.lanes.release(&cause, usize::MAX);
                }
            }
            Outcome::Delivered | Outcome::Skipped | Outcome::DeadLettered(_) => {
                self.ledger.settle(job.ticket);
                self.lanes.finish(lane);
            }
        }
    }

    fn commit(&mut self) {
        let marks = self.ledger.marks();
        let stays: Vec<AssignmentId> = marks.iter().map(|mark| mark.assignment.id).collect();
        self.pipeline.metrics.inexact_commits(marks.iter().filter(|mark| !mark.exact).count() as u64);
        if !stays.is_empty()
            && let Err(error) = self.pipeline.settle.commit(marks)
        {
            tracing::warn!(error, "a commit did not get on its way and is tried again");
            self.ledger.unmark(&stays);
        }
    }

    fn hear(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Records(records) => records.into_iter().for_each(|record| self.take(record)),
            Event::Assigned(assigned) => {
                self.joined = true;
                for stay in assigned {
                    tracing::info!(topic = %stay.assignment.topic, partition = stay.assignment.partition, committed = stay.committed, "assigned");
                    self.ledger.assign(stay.assignment, stay.committed, &stay.metadata);
                }
            }
            Event::Revoked(revoked) => {
                tracing::info!(partitions = revoked.assignments.len(), lost = revoked.lost, "revoked");
                let ids: HashSet<AssignmentId> = revoked.assignments.into_iter().collect();
                // What is lost is another host's already: there is no time to finish anything.
                let deadline = Instant::now() + if revoked.lost { Duration::ZERO } else { self.settings.revoke };
                self.drain(ids, deadline, Some(revoked.release));
            }
            Event::Refetched { records, gone } => {
                records.into_iter().for_each(|record| self.lanes.fetched(record));
                gone.into_iter().for_each(|(id, offset)| self.count_gone(id, offset));
            }
            Event::Deleted { assignment, offsets } => self.count_deleted(assignment, &offsets),
            Event::CommitFailed { stays, too_large } => {
                if too_large {
                    self.ledger.metadata_refused();
                }
                self.ledger.unmark(&stays);
            }
            Event::Failed(why) => return Err(why),
        }
        Ok(())
    }

    fn take(&mut self, record: Record) {
        if self.drains.is_draining(record.assignment.id) {
            return;
        }
        match self.ledger.open(record.position(), record.key.as_deref()) {
            Opened::Undecided(ticket) => {
                self.lanes.push(Job { record: Box::new(record), ticket, arrived: Instant::now(), progress: None, behind: 0 });
            }
            Opened::Settled => self.pipeline.metrics.settled_before(),
            Opened::Fenced => {}
        }
    }

    /// A record that was parked is no longer in the log. Nothing can be done for it; the operator has to know.
    fn count_gone(&mut self, id: AssignmentId, offset: i64) {
        let Some(ticket) = self.lanes.gone(Position { assignment: id, offset }) else { return };
        if let Some(stay) = self.ledger.assignment(id) {
            tracing::error!(topic = %stay.topic, partition = stay.partition, offset, "a held record was deleted from Kafka before it could be delivered (retention or compaction)");
            self.pipeline.metrics.gone(&stay.topic, stay.partition, 1);
        }
        self.ledger.settle(ticket);
    }

    /// Retention was faster than the host. What was settled there before is no loss.
    fn count_deleted(&self, id: AssignmentId, offsets: &Range<i64>) {
        let Some(stay) = self.ledger.assignment(id) else { return };
        let lost = self.ledger.unsettled(id, offsets);
        if lost > 0 {
            tracing::error!(topic = %stay.topic, partition = stay.partition, ?offsets, lost, "retention deleted records before they were handled");
            self.pipeline.metrics.gone(&stay.topic, stay.partition, lost);
        } else {
            tracing::info!(topic = %stay.topic, partition = stay.partition, ?offsets, "retention deleted what was settled already");
        }
    }

    /// Ends the intake of all partitions.
    fn stop(&mut self) {
        tracing::info!(in_progress = self.running.len(), "stopping: intake has ended, waiting for the records in progress");
        let ids = self.ledger.assignments().map(|stay| stay.id).collect();
        self.drain(ids, Instant::now() + self.settings.lanes.drain, None);
    }

    fn drain(&mut self, ids: HashSet<AssignmentId>, deadline: Instant, release: Option<oneshot::Sender<Vec<Mark>>>) {
        self.lanes.forget(&ids);
        let in_progress = self.running.values().filter(|running| ids.contains(&running.assignment)).count();
        self.drains.begin(Drain { ids, in_progress, deadline, release });
        self.release_drained();
    }

    fn abort_overdue(&mut self) {
        let overdue = self.drains.overdue_ids();
        let late: Vec<LaneId> = self.running.iter().filter(|(_, running)| overdue.contains(&running.assignment)).map(|(lane, _)| *lane).collect();
        if !late.is_empty() {
            tracing::warn!(
                records = late.len(),
                "aborted what did not end in time; it stays unsettled and is handled again by the partition's next owner"
            );
        }
        for lane in late {
            if let Some(running) = self.running.remove(&lane) {
                running.task.abort();
                self.drains.ended(running.assignment);
                self.lanes.finish(lane);
            }
        }
        self.release_drained();
    }

    /// Lets the partitions go of which nothing is in progress any more.
    fn release_drained(&mut self) {
        for drain in self.drains.take_drained() {
            if let Some(release) = drain.release {
                let ids: Vec<AssignmentId> = drain.ids.into_iter().collect();
                // The source has stopped waiting if its own deadline came first; the partition then went without this commit.
                let _ = release.send(self.ledger.release(&ids));
            }
        }
    }

    /// Whether the cause is a version's fault, and that version does not serve any more.
    fn has_another_version(&self, cause: &Cause) -> bool {
        let Cause::Plugin { name, version } = cause else { return false };
        let table = self.pipeline.routes.table();
        !table.iter().any(|(_, plugin)| plugin.name.as_str() == &**name && plugin.version.0 == *version)
    }

    /// The routes have changed: what was held for want of a plugin, or of a better version of one, is handled anew.
    fn try_new_routes(&mut self) {
        let causes: Vec<Cause> = self.lanes.held().map(|(cause, _)| cause.clone()).collect();
        for cause in causes {
            let try_again = match &cause {
                // Relief comes by itself.
                Cause::Destination(_) | Cause::Busy(_) => false,
                Cause::Unrouted => true,
                Cause::Plugin { .. } => self.has_another_version(&cause),
            };
            if try_again {
                self.lanes.release(&cause, usize::MAX);
            }
        }
    }

    /// Catches a destination or a plugin that recovered between the moment at which a record was refused and the one at which the loop heard of it.
    fn release_where_room(&mut self) {
        let held: Vec<Cause> = self.lanes.held().map(|(cause, _)| cause.clone()).collect();
        for cause in held {
            let room = match &cause {
                Cause::Destination(name) => self.pipeline.deliver.room(name),
                Cause::Busy(name) => self.pipeline.transform.room(name),
                Cause::Plugin { .. } | Cause::Unrouted => continue,
            };
            self.lanes.release(&cause, room);
        }
    }

    fn obey(&mut self, (command, answer): (Command, oneshot::Sender<usize>)) {
        let released = match command {
            Command::Release(cause) => self.lanes.release(&cause, usize::MAX),
            Command::ReleasePlugin(wanted) => {
                let held = self.lanes.held().map(|(cause, _)| cause.clone());
                let of_it: Vec<Cause> = held.filter(|cause| matches!(cause, Cause::Plugin { name, .. } if *name == wanted)).collect();
                of_it.iter().map(|cause| self.lanes.release(cause, usize::MAX)).sum()
            }
            Command::ReleaseKey(key) => {
                let stays: Vec<AssignmentId> = self.ledger.assignments().map(|stay| stay.id).collect();
                stays.into_iter().filter(|stay| self.lanes.release_key(*stay, key.as_bytes())).count()
            }
        };
        // Whoever asked may have gone; what was asked is done all the same.
        let _ = answer.send(released);
    }

    fn publish(&mut self) {
        let load = self.lanes.load();
        self.pipeline.metrics.window(load.bytes, load.records, load.held, load.parked);
        let partitions = self.ledger.progress().map(|(stay, watermark, seen, undecided)| PartitionStatus {
            topic: stay.topic.to_string(),
            partition: stay.partition,
            watermark,
            seen,
            undecided,
        });
        let held = self.lanes.held().map(|(cause, lanes)| HeldLanes { cause: cause.clone(), lanes });
        self.commands.publish(Status { joined: self.joined, load, partitions: partitions.collect(), held: held.collect() });
    }
}

/// Waits until half of the records that may be starting have begun, so that the loop turns once for several.
async fn half_begun(starting: &Semaphore) {
    // Nobody closes it; the permits themselves are taken with the next records.
    drop(starting.acquire_many(STARTING_MAX / 2).await);
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests;
