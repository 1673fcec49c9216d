//! Lanes: one queue per key, one record of it in progress.
//!
//! Owns what waits between Kafka and the pipeline. Promises that records of one lane start in the order in which they came, one at a time; that
//! what is kept in memory stays within the window; and that a lane whose destination or plugin is gone costs offsets, not payloads, once the
//! window is full: such records are *parked*, and fetched again from Kafka when their turn comes. Refuses to know what is done with a
//! record, and does no I/O.
//!
//! A lane is a hash of partition stay and key. Two keys that share a hash share a lane, which orders more than was asked and harms nothing.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::config::{self, Ordering};
use crate::outcome::{Cause, Conversation};
use crate::plugin::Version;
use crate::policy::{IN_PROGRESS_MAX, Turns};
use crate::record::{AssignmentId, Position, Record};
use crate::settle::Ticket;

/// What a record in progress costs beside its bytes, in bytes: its task. Measured, without what the destination's client takes for a request
/// (`run::tests::outage` holds the whole to the budget).
const TASK: usize = 2 << 10;

/// What a parked record costs, in bytes: its places in its lane and in the ledger, and what their growth leaves free. Measured, see [`TASK`].
const PARKED: usize = 112;

/// What parked records may take of the window: the 64 MiB of the default give 150,000 of them a place. More than that are beyond the budget, since a window that they
/// have filled would stop the keys that are well.
const PARKED_SHARE: usize = 4;

/// Records parked as offsets. Each costs 64 bytes and, where every key is another, a lane of about 200: some 250 MB at the most.
const PARKED_MAX: usize = 1_000_000;

/// Parked records of one lane that are fetched at once, so that a released lane does not ask Kafka for each record by itself; and records behind a
/// parked one that are kept at first.
const FETCH_AHEAD: usize = 8;

/// A record with the right to settle it.
#[derive(Debug)]
pub struct Job {
    /// The record.
    pub record: Box<Record>,
    /// Settles it.
    pub ticket: Ticket,
    /// When it came; for the measure of latency.
    pub arrived: Instant,
    /// What was delivered before the record was held.
    pub progress: Option<Box<Progress>>,
    /// Records that waited behind it in its lane when it was started.
    pub behind: usize,
}

/// How far a held record had come, so that what was delivered is not sent again.
#[derive(Debug)]
pub struct Progress {
    /// The version of the plugin that made the requests; another version's are not comparable.
    pub version: Version,
    /// So many of them were delivered.
    pub delivered: u32,
    /// The replies so far, for a plugin that sees them, with the room that they take.
    pub conversation: Option<(Conversation, OwnedSemaphorePermit)>,
}

/// Names a lane while it has records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u64);

/// What waits and what is in progress.
#[derive(Debug)]
pub struct Lanes {
    limits: config::Lanes,
    hasher: RandomState,
    /// Makes a lane of its own for each record that has no order to keep.
    unordered: u64,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes that can start their first record, by what waits behind it.
    ready: Turns<LaneId>,
    /// Lanes per cause, the longest-held first. A lane that was released or dropped since is skipped when its turn comes.
    held: HashMap<Cause, VecDeque<LaneId>>,
    /// Parked records that have been asked for.
    fetching: HashMap<Position, LaneId>,
    /// Lanes whose parked records are to be asked for.
    unfetched: VecDeque<LaneId>,
    in_progress: usize,
    bytes: usize,
    records: usize,
    parked: usize,
    /// Bytes of the records that are being fetched.
    reserved: usize,
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Waiting>,
    state: State,
    /// Whether its first record was held before. While that is in progress again it may well be a probe that takes its destination's timeout.
    is_back: bool,
}

/// A record that waits: in memory, or parked and to be fetched again.
#[derive(Debug)]
struct Waiting {
    record: Option<Box<Record>>,
    ticket: Ticket,
    arrived: Instant,
    progress: Option<Box<Progress>>,
    /// What the record counts against the window while it is in memory.
    weight: usize,
}

#[derive(Debug, PartialEq)]
enum State {
    /// Its first record can start, or is being fetched for it.
    Ready,
    /// A record of this weight is in progress.
    Busy { weight: usize },
    /// It waits for the cause to go.
    Held(Cause),
}

/// What the lanes hold, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Bytes of records in memory.
    pub bytes: usize,
    /// Records in memory.
    pub records: usize,
    /// Of these, in progress.
    pub in_progress: usize,
    /// Lanes held.
    pub held: usize,
    /// Records parked as offsets.
    pub parked: usize,
}

impl Lanes {
    /// Empty lanes.
    pub fn new(limits: config::Lanes) -> Lanes {
        Lanes {
            limits,
            hasher: RandomState::new(),
            unordered: 0,
            lanes: HashMap::new(),
            ready: Turns::default(),
            held: HashMap::new(),
            fetching: HashMap::new(),
            unfetched: VecDeque::new(),
            in_progress: 0,
            bytes: 0,
            records: 0,
            parked: 0,
            reserved: 0,
        }
    }

    /// Whether more records may come. While parked ones are wanted, what room there is belongs to them.
    pub fn has_room(&self) -> bool {
        self.unfetched.is_empty() && self.fits(0) && self.parked < PARKED_MAX
    }

    fn fits(&self, weight: usize) -> bool {
        // What can start will, before anything is settled.
        let tasks = (self.in_progress + self.ready.len()).min(IN_PROGRESS_MAX);
        let parked = (self.parked * PARKED).min(self.limits.bytes / PARKED_SHARE);
        self.bytes + tasks * TASK + parked + weight < self.limits.bytes && self.records < self.limits.records
    }

    /// What the lanes hold.
    pub fn load(&self) -> Load {
        let held = self.held.values().map(VecDeque::len).sum();
        Load { bytes: self.bytes, records: self.records, in_progress: self.in_progress, held, parked: self.parked }
    }

    /// Puts a record at the end of its lane.
    pub fn push(&mut self, job: Job) {
        let id = self.lane_of(&job.record);
        let waiting = Waiting::from(job);
        self.bytes += waiting.weight;
        self.records += 1;
        match self.lanes.entry(id) {
            Entry::Occupied(lane) => lane.into_mut().queue.push_back(waiting),
            Entry::Vacant(place) => {
                place.insert(Lane { queue: VecDeque::from([waiting]), state: State::Ready, is_back: false }).make_ready(id, &mut self.ready);
            }
        }
    }

    fn lane_of(&mut self, record: &Record) -> LaneId {
        let stay = record.assignment.id;
        match (self.limits.ordering, &record.key) {
            (Ordering::Key, Some(key)) => self.key_lane(stay, key),
            (Ordering::Partition, _) => LaneId(self.hasher.hash_one(stay)),
            // Producers spread records without a key over the partitions, so nobody can expect an order of them.
            (Ordering::Key, None) | (Ordering::None, _) => {
                self.unordered += 1;
                LaneId(self.hasher.hash_one((stay, self.unordered, "unordered")))
            }
        }
    }

    fn key_lane(&self, stay: AssignmentId, key: &[u8]) -> LaneId {
        LaneId(self.hasher.hash_one((stay, key)))
    }

    /// The next record to start, if there is one and not too many are in progress.
    pub fn start(&mut self) -> Option<(LaneId, Job)> {
        while self.in_progress < IN_PROGRESS_MAX {
            let id = self.ready.pop()?;
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if lane.state != State::Ready {
                continue;
            }
            let Some(first) = lane.queue.pop_front() else {
                self.lanes.remove(&id);
                continue;
            };
            let (weight, behind) = (first.weight, lane.queue.len());
            match first.into_job(behind) {
                Ok(job) => {
                    lane.state = State::Busy { weight };
                    self.in_progress += 1;
                    return Some((id, job));
                }
                Err(parked) => {
                    // The lane becomes ready again when its record has come.
                    lane.queue.push_front(parked);
                    self.unfetched.push_back(id);
                }
            }
        }
        None
    }

    /// The lane's record is settled, or its stay has ended.
    pub fn finish(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let State::Busy { weight } = lane.state else { return };
        self.bytes -= weight;
        self.records -= 1;
        self.in_progress -= 1;
        lane.is_back = false;
        if lane.queue.is_empty() {
            self.lanes.remove(&id);
        } else {
            lane.make_ready(id, &mut self.ready);
        }
    }

    /// The lane's record goes back to its head, and the lane waits until the cause is released.
    pub fn hold(&mut self, id: LaneId, job: Job, cause: Cause) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !matches!(lane.state, State::Busy { .. }) {
            return;
        }
        self.in_progress -= 1;
        lane.queue.push_front(Waiting::from(job));
        lane.state = State::Held(cause.clone());
        lane.is_back = true;
        self.held.entry(cause).or_default().push_back(id);
    }

    /// Lets up to so many lanes that were held for this cause go on, the longest-held first; says how many did.
    pub fn release(&mut self, cause: &Cause, count: usize) -> usize {
        let Some(queue) = self.held.get_mut(cause) else { return 0 };
        let mut released = 0;
        while released < count
            && let Some(id) = queue.pop_front()
        {
            if let Some(lane) = self.lanes.get_mut(&id)
                && lane.state == State::Held(cause.clone())
            {
                lane.make_ready(id, &mut self.ready);
                released += 1;
            }
        }
        if queue.is_empty() {
            self.held.remove(cause);
        }
        released
    }

    /// Lets the lane of this key go on, whatever it is held for; says whether it was held. Only with an order by key.
    pub fn release_key(&mut self, stay: AssignmentId, key: &[u8]) -> bool {
        let id = self.key_lane(stay, key);
        match self.lanes.get_mut(&id) {
            Some(lane) if matches!(lane.state, State::Held(_)) => {
                lane.make_ready(id, &mut self.ready);
                self.held.retain(|_, lanes| {
                    lanes.retain(|lane| *lane != id);
                    !lanes.is_empty()
                });
                true
            }
            _ => false,
        }
    }

    /// The causes for which lanes are held, and how many.
    pub fn held(&self) -> impl Iterator<Item = (&Cause, usize)> {
        self.held.iter().map(|(cause, lanes)| (cause, lanes.len()))
    }

    /// Makes room: turns records that cannot start soon into offsets. Says how many. First those of held lanes and the far end of those that wait for
    /// parked records themselves, or whose first record was held and is in progress again; where that is not enough, all that waits behind such a
    /// record.
    pub fn park(&mut self) -> usize {
        let gently = self.park_behind(FETCH_AHEAD);
        gently + if self.fits(0) { 0 } else { self.park_behind(0) }
    }

    /// Parks, but leaves this many records at the head of a lane that may move.
    fn park_behind(&mut self, keep: usize) -> usize {
        let mut parked = 0;
        for lane in self.lanes.values_mut() {
            let keep = match lane.state {
                State::Held(_) => 0,
                State::Ready if lane.queue.front().is_some_and(|first| first.record.is_none()) => keep,
                State::Busy { .. } if lane.is_back => keep,
                State::Busy { .. } | State::Ready => continue,
            };
            for waiting in lane.queue.iter_mut().skip(keep) {
                if self.parked + parked >= PARKED_MAX {
                    break;
                }
                if waiting.record.take().is_some() {
                    self.bytes -= waiting.weight;
                    self.records -= 1;
                    parked += 1;
                }
            }
        }
        self.parked += parked;
        parked
    }

    /// The parked records that are wanted now and fit into the window, by stay, sorted and without repeats. Each is to be answered by
    /// [`Lanes::fetched`] or [`Lanes::gone`].
    pub fn wanted(&mut self) -> Vec<(AssignmentId, Vec<i64>)> {
        let mut wanted: HashMap<AssignmentId, Vec<i64>> = HashMap::new();
        let mut reserved = 0;
        while let Some(id) = self.unfetched.pop_front() {
            let Some(lane) = self.lanes.get(&id) else { continue };
            for waiting in lane.queue.iter().take(FETCH_AHEAD) {
                if waiting.record.is_some() || self.fetching.contains_key(&waiting.position()) {
                    continue;
                }
                // One is always let in when nothing else is under way, however large it is: else nothing would ever move again.
                let is_idle = self.in_progress == 0 && self.fetching.is_empty();
                if !is_idle && !self.fits(reserved + self.reserved + waiting.weight) {
                    self.unfetched.push_front(id);
                    self.reserved += reserved;
                    return sorted(wanted);
                }
                reserved += waiting.weight;
                self.fetching.insert(waiting.position(), id);
                wanted.entry(waiting.position().assignment).or_default().push(waiting.position().offset);
            }
        }
        self.reserved += reserved;
        sorted(wanted)
    }

    /// A parked record has come. One that nobody waits for any more is dropped.
    pub fn fetched(&mut self, record: Record) {
        let position = record.position();
        let Some((lane, index, id)) = self.parked_at(position) else { return };
        let waiting = &mut lane.queue[index];
        let weight = waiting.weight;
        waiting.record = Some(Box::new(record));
        self.parked -= 1;
        self.bytes += weight;
        self.records += 1;
        self.wake(id, index);
    }

    /// A parked record is no longer in Kafka. Gives back its ticket: nothing can be done for it but to count it.
    pub fn gone(&mut self, position: Position) -> Option<Ticket> {
        let (lane, index, id) = self.parked_at(position)?;
        let waiting = lane.queue.remove(index)?;
        self.parked -= 1;
        self.wake(id, index);
        Some(waiting.ticket)
    }

    /// Ends the fetching of a record, and finds where it is parked.
    fn parked_at(&mut self, position: Position) -> Option<(&mut Lane, usize, LaneId)> {
        let id = self.fetching.remove(&position)?;
        let lane = self.lanes.get_mut(&id)?;
        // One further back where the lane's first record was held again meanwhile.
        let index = lane.queue.iter().take(FETCH_AHEAD + 1).position(|waiting| waiting.position() == position)?;
        self.reserved -= lane.queue[index].weight;
        Some((lane, index, id))
    }

    /// A lane whose first record has come, or has gone, can start.
    fn wake(&mut self, id: LaneId, index: usize) {
        if index == 0
            && let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.state == State::Ready)
        {
            lane.make_ready(id, &mut self.ready);
        }
    }

    /// Drops what waits of these stays; their next owner reads it again. Records in progress are left to finish. The tickets are dropped,
    /// so nothing of them is settled.
    pub fn forget(&mut self, ids: &HashSet<AssignmentId>) {
        let (mut bytes, mut records, mut parked, mut reserved) = (0, 0, 0, 0);
        self.lanes.retain(|_, lane| {
            lane.queue.retain(|waiting| {
                let forget = ids.contains(&waiting.position().assignment);
                if forget && waiting.record.is_some() {
                    bytes += waiting.weight;
                    records += 1;
                } else if forget {
                    parked += 1;
                    reserved += if self.fetching.contains_key(&waiting.position()) { waiting.weight } else { 0 };
                }
                !forget
            });
            !lane.queue.is_empty() || matches!(lane.state, State::Busy { .. })
        });
        self.bytes -= bytes;
        self.records -= records;
        self.parked -= parked;
        self.reserved -= reserved;
        self.fetching.retain(|position, _| !ids.contains(&position.assignment));
        let lanes = &self.lanes;
        self.held.retain(|_, queue| {
            queue.retain(|id| lanes.contains_key(id));
            !queue.is_empty()
        });
    }
}

impl Lane {
    /// Lets its first record wait for its turn. There is none when the last one has gone from Kafka.
    fn make_ready(&mut self, id: LaneId, ready: &mut Turns<LaneId>) {
        self.state = State::Ready;
        ready.push(self.queue.len().saturating_sub(1), id);
    }
}

impl Waiting {
    fn position(&self) -> Position {
        self.ticket.position()
    }

    /// What is to be done, if the record is in memory.
    fn into_job(self, behind: usize) -> Result<Job, Waiting> {
        match self.record {
            Some(record) => Ok(Job { record, ticket: self.ticket, arrived: self.arrived, progress: self.progress, behind }),
            None => Err(self),
        }
    }
}

impl From<Job> for Waiting {
    fn from(job: Job) -> Waiting {
        let Job { record, ticket, arrived, progress, behind: _ } = job;
        Waiting { weight: record.weight(), record: Some(record), ticket, arrived, progress }
    }
}

fn sorted(wanted: HashMap<AssignmentId, Vec<i64>>) -> Vec<(AssignmentId, Vec<i64>)> {
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    for (_, offsets) in &mut wanted {
        offsets.sort_unstable();
    }
    wanted
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
