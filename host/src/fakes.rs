//! Fakes of the four stages that do I/O, for tests of the loop and of the path of a record under tokio's paused clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::{Framing, Lanes, RouteBy, Unrouted};
use crate::consume::{Assigned, Event, Revoked, Source};
use crate::counted;
use crate::deliver::{Deliver, Delivery, Stamp};
use crate::observe::Metrics;
use crate::outcome::{Exchange, FailedRequest, Failure, Next, Reason, Reply, Request, Verdict};
use crate::pipeline::{self, Pipeline, Policy};
use crate::plugin::{OnFault, Plugin, PluginName, Tally, Version};
use crate::policy::{Grant, Limits};
use crate::record::{Assignment, AssignmentId, Record};
use crate::route::Routes;
use crate::run::{self, Control, Run};
use crate::settle::dead_letter::{self, Letter};
use crate::settle::{DeadLetter, Mark, Settle};
use crate::transform::Transform;

/// A partition's log and what the group has committed, as a broker would keep it.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Key and whether retention has deleted it, by offset.
    pub(crate) records: BTreeMap<i64, String>,
    pub(crate) deleted: Vec<i64>,
    pub(crate) committed: Option<(i64, String)>,
    /// Told when a source that follows the log should look again.
    grown: Arc<Notify>,
}

/// One partition of a fake broker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broker(pub(crate) Arc<Mutex<Log>>);

impl Broker {
    pub(crate) fn produce(&self, offset: i64, key: &str) {
        self.0.lock().unwrap().records.insert(offset, key.to_owned());
    }

    /// Tells the source that follows the log of what was produced.
    pub(crate) fn grown(&self) {
        self.0.lock().unwrap().grown.notify_one();
    }

    pub(crate) fn committed(&self) -> Option<i64> {
        self.0.lock().unwrap().committed.as_ref().map(|(offset, _)| *offset)
    }

    pub(crate) fn commit(&self, marks: Vec<Mark>) {
        if let Some(mark) = marks.into_iter().next() {
            self.0.lock().unwrap().committed = Some((mark.next.0, mark.metadata));
        }
    }

    pub(crate) fn stay(id: u64) -> Arc<Assignment> {
        thread_local! {
            static STAYS: RefCell<HashMap<u64, Arc<Assignment>>> = RefCell::default();
        }
        let begin = || Arc::new(Assignment { id: AssignmentId(id), topic: "events".into(), partition: 0 });
        // One for all its records, as a real source has it.
        STAYS.with_borrow_mut(|stays| Arc::clone(stays.entry(id).or_insert_with(begin)))
    }

    pub(crate) fn assigned(&self, id: u64) -> Event {
        let (committed, metadata) = self.0.lock().unwrap().committed.clone().unzip();
        Event::Assigned(vec![Assigned { assignment: Broker::stay(id), committed, metadata: metadata.unwrap_or_default() }])
    }

    /// The records from the committed offset on.
    pub(crate) fn fetch(&self, id: u64) -> Event {
        let log = self.0.lock().unwrap();
        let from = log.committed.as_ref().map_or(0, |(offset, _)| *offset);
        Event::Records(log.records.range(from..).map(|(&offset, key)| record(id, offset, key)).collect())
    }
}

pub(crate) fn record(id: u64, offset: i64, key: &str) -> Record {
    Record {
        assignment: Broker::stay(id),
        offset,
        timestamp: Some(offset),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: Vec::new(),
        payload: Some(Bytes::from(vec![b'x'; 1000])),
    }
}

/// A source that hears what the test says.
#[derive(Debug)]
pub(crate) struct Script {
    control: mpsc::UnboundedReceiver<Event>,
    records: mpsc::UnboundedReceiver<Event>,
    broker: Broker,
    refetched: VecDeque<Event>,
    /// The stay and the offset from which the log is read, as far as there is room.
    follows: Arc<Mutex<Option<(u64, i64)>>>,
}

/// Records that a source that follows the log reads at once.
const FOLLOWED: usize = 500;

/// The test's end of a [`Script`].
#[derive(Debug, Clone)]
pub(crate) struct Prompter {
    control: mpsc::UnboundedSender<Event>,
    records: mpsc::UnboundedSender<Event>,
    broker: Broker,
    follows: Arc<Mutex<Option<(u64, i64)>>>,
}

impl Script {
    #[expect(clippy::disallowed_methods, reason = "a test knows how much it sends")]
    pub(crate) fn new(broker: &Broker) -> (Script, Prompter) {
        let (control, hear_control) = mpsc::unbounded_channel();
        let (records, hear_records) = mpsc::unbounded_channel();
        let follows: Arc<Mutex<Option<(u64, i64)>>> = Arc::default();
        let prompter = Prompter { control, records, broker: broker.clone(), follows: Arc::clone(&follows) };
        (Script { control: hear_control, records: hear_records, broker: broker.clone(), refetched: VecDeque::new(), follows }, prompter)
    }

    /// What the log has got, once there is some of it.
    async fn follow(broker: &Broker, follows: &Mutex<Option<(u64, i64)>>) -> Event {
        loop {
            let grown = {
                let log = broker.0.lock().unwrap();
                if let Some((stay, from)) = follows.lock().unwrap().as_mut() {
                    let records: Vec<Record> = log.records.range(*from..).take(FOLLOWED).map(|(&offset, key)| record(*stay, offset, key)).collect();
                    if let Some(last) = records.last() {
                        *from = last.offset + 1;
                        return Event::Records(records);
                    }
                }
                Arc::clone(&log.grown)
            };
            grown.notified().await;
        }
    }
}

impl Prompter {
    pub(crate) fn say(&self, event: Event) {
        let to = if matches!(event, Event::Records(_)) { &self.records } else { &self.control };
        // The loop may have ended; then nobody is there to hear.
        let _ = to.send(event);
    }

    /// Has the log read from the committed offset on, as far as there is room.
    pub(crate) fn follow(&self, id: u64) {
        *self.follows.lock().unwrap() = Some((id, self.broker.committed().unwrap_or(0)));
        self.broker.grown();
    }

    /// Takes the partition away; the answer is what is to be committed.
    pub(crate) fn revoke(&self, id: u64, lost: bool) -> oneshot::Receiver<Vec<Mark>> {
        let (release, released) = oneshot::channel();
        self.say(Event::Revoked(Revoked { assignments: vec![AssignmentId(id)], lost, release }));
        released
    }
}

impl Source for Script {
    async fn next(&mut self, room: bool) -> Event {
        if let Some(event) = self.refetched.pop_front() {
            return event;
        }
        tokio::select! { biased;
            Some(event) = self.control.recv() => event,
            Some(event) = self.records.recv(), if room => event,
            event = Script::follow(&self.broker, &self.follows), if room => event,
            else => std::future::pending().await,
        }
    }

    fn refetch(&mut self, wanted: Vec<(Arc<Assignment>, Vec<i64>)>) {
        let log = self.broker.0.lock().unwrap();
        for (stay, offsets) in wanted {
            let (gone, found): (Vec<i64>, Vec<i64>) = offsets.into_iter().partition(|offset| log.deleted.contains(offset));
            let records = found.iter().map(|&offset| record(stay.id.0, offset, &log.records[&offset])).collect();
            self.refetched.push_back(Event::Refetched { records, gone: gone.into_iter().map(|offset| (stay.id, offset)).collect() });
        }
    }

    async fn close(self, marks: Vec<Mark>) -> Result<(), String> {
        self.broker.commit(marks);
        Ok(())
    }
}

/// Plugins that are closures over the record's key, all of them busy if so wished.
#[derive(Debug, Default)]
pub(crate) struct Closures {
    pub(crate) busy: AtomicBool,
    /// Told when they are not any more.
    pub(crate) relief: Notify,
}

impl Transform for Closures {
    type Code = fn(&Record) -> Result<Verdict, Failure>;

    async fn transform(&self, plugin: &Plugin<Self::Code>, record: &Record) -> Result<Verdict, Failure> {
        (plugin.code)(record)
    }

    fn is_busy(&self, _: &Plugin<Self::Code>) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    async fn relieved(&self) -> (Arc<str>, usize) {
        self.relief.notified().await;
        ("all".into(), 1)
    }

    fn room(&self, _: &str) -> usize {
        if self.busy.load(Ordering::Relaxed) { 0 } else { usize::MAX }
    }

    async fn on_replies(&self, _: &Plugin<Self::Code>, _: &Record, exchanges: &[Exchange]) -> Result<Next, Failure> {
        // Done with any reply but a 500, of which one more try is wanted.
        Ok(if exchanges.iter().any(|exchange| exchange.reply.status == 500) { Next::Retry(Some(10)) } else { Next::Done })
    }
}

/// One request to the destination that the key names before its colon.
pub(crate) fn send_one(record: &Record) -> Result<Verdict, Failure> {
    let key = record.key_text().unwrap_or_default();
    let destination = key.split(':').next().unwrap_or_default();
    Ok(Verdict::Send(vec![request(destination, &format!("/{}", record.offset))]))
}

pub(crate) fn request(destination: &str, path: &str) -> Request {
    Request { destination: destination.into(), method: "POST".into(), path: path.into(), headers: Vec::new(), body: None, attributes: Vec::new() }
}

/// How a fake destination behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers this after so long.
    Answers(u16, Duration),
    /// Answers this time and again, until the attempts are used up.
    Exhausts(u16),
    /// Answers with success, and nobody knows what that means.
    Unclear,
    /// Is down: whoever comes is held.
    Down,
    /// Never answers.
    Hangs,
}

/// Destinations by name, and all that was sent to them, in the order in which it was answered.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    pub(crate) moods: Mutex<HashMap<String, Mood>>,
    pub(crate) sent: Mutex<Vec<(String, String)>>,
}

impl Destinations {
    pub(crate) fn mood(&self, destination: &str, mood: Mood) {
        self.moods.lock().unwrap().insert(destination.into(), mood);
    }

    fn mood_of(&self, destination: &str) -> Mood {
        self.moods.lock().unwrap().get(destination).copied().unwrap_or(Mood::Answers(200, Duration::from_millis(5)))
    }
}

impl Deliver for Destinations {
    async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        match self.mood_of(&request.destination) {
            Mood::Down => Delivery::Held(request.destination.as_str().into()),
            Mood::Hangs => std::future::pending().await,
            Mood::Exhausts(status) => Delivery::Exhausted {
                detail: "used up".into(),
                reply: Some(answer(status)),
                request: FailedRequest { index: stamp.index, ..FailedRequest::default() },
            },
            Mood::Unclear => Delivery::Unclear {
                detail: "unclear".into(),
                reply: answer(200),
                request: FailedRequest { index: stamp.index, ..FailedRequest::default() },
            },
            Mood::Answers(status, latency) => {
                // A sleep of no time still waits for the timer, which comes only when nothing else can run.
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                counted::passed_over(|| self.sent.lock().unwrap().push((stamp.idempotency_key.to_owned(), request.path.clone())));
                let reply = answer(status);
                match status {
                    200..300 => Delivery::Done(reply),
                    _ => Delivery::Refused { reply, request: FailedRequest { index: stamp.index, ..FailedRequest::default() } },
                }
            }
        }
    }

    async fn recovered(&self) -> (Arc<str>, usize) {
        // Only the level is used: the loop asks for room every second.
        std::future::pending().await
    }

    fn room(&self, destination: &str) -> usize {
        if self.mood_of(destination) == Mood::Down { 0 } else { usize::MAX }
    }
}

fn answer(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: Bytes::new(), cut: false, attempts: 1 }
}

/// Commits to a fake broker, and keeps what was given up.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) broker: Broker,
    pub(crate) dead: Arc<Mutex<Vec<(i64, Reason)>>>,
    /// The same, as whoever reads the topic would see them.
    pub(crate) letters: Arc<Mutex<Vec<Letter>>>,
    /// Place and status of each reply that was kept.
    pub(crate) replies: Arc<Mutex<Vec<(u32, u16)>>>,
    /// So many dead letters are refused before one is taken.
    pub(crate) refuse: Arc<Mutex<u32>>,
    /// So many meet a defect of the host before that.
    pub(crate) panic: Arc<Mutex<u32>>,
    /// So many commits do not get on their way.
    pub(crate) refuse_commits: Arc<Mutex<u32>>,
    /// Bytes of metadata that the broker takes.
    pub(crate) metadata_max: Arc<Mutex<usize>>,
    /// Bytes that it refused last.
    pub(crate) refused_metadata: Arc<Mutex<Option<usize>>>,
}

impl Settle for Books {
    fn commit(&self, marks: Vec<Mark>) -> Result<(), String> {
        take_one(&self.refuse_commits)?;
        let longest = marks.iter().map(|mark| mark.metadata.len()).max().unwrap_or(0);
        if longest > *self.metadata_max.lock().unwrap() {
            *self.refused_metadata.lock().unwrap() = Some(longest);
            return Ok(());
        }
        self.broker.commit(marks);
        Ok(())
    }

    async fn dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), String> {
        take_one(&self.panic).expect("no defect");
        take_one(&self.refuse)?;
        self.dead.lock().unwrap().push((letter.record.offset, letter.failure.reason));
        let headers = dead_letter::headers(&letter, &dead_letter::Writer { group: "bridge".into(), host: "here".into() });
        let read = Letter::read(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        self.letters.lock().unwrap().push(read);
        Ok(())
    }

    async fn reply(&self, _: &Record, index: u32, _: &str, reply: &Reply) -> Result<(), String> {
        self.replies.lock().unwrap().push((index, reply.status));
        Ok(())
    }
}

/// Fails, as long as there are failures left.
fn take_one(failures: &Mutex<u32>) -> Result<(), String> {
    let mut left = failures.lock().unwrap();
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err("Kafka is not there".into())
}

pub(crate) type FakePipeline = Pipeline<Closures, Arc<Destinations>, Books>;

/// A pipeline over fakes, with one plugin for every key.
pub(crate) fn pipeline<D: Deliver>(broker: &Broker, deliver: D, code: fn(&Record) -> Result<Verdict, Failure>) -> Pipeline<Closures, D, Books> {
    let pipeline = Pipeline {
        routes: Arc::default(),
        transform: Closures::default(),
        deliver,
        settle: Books {
            broker: broker.clone(),
            dead: Arc::default(),
            letters: Arc::default(),
            replies: Arc::default(),
            refuse: Arc::default(),
            panic: Arc::default(),
            refuse_commits: Arc::default(),
            metadata_max: Arc::new(Mutex::new(4096)),
            refused_metadata: Arc::default(),
        },
        metrics: Metrics::new(),
        policy: Policy {
            group: "bridge".into(),
            route_by: RouteBy::Key,
            framing: Framing::None,
            unrouted: Unrouted::DeadLetter,
            keep_replies: false,
        },
        room: pipeline::room(),
    };
    serve(&pipeline.routes, "1", code, OnFault::DeadLetter, false);
    pipeline
}

pub(crate) type Code = fn(&Record) -> Result<Verdict, Failure>;

/// Makes one version of one plugin serve every key.
pub(crate) fn serve(routes: &Routes<Code>, version: &str, code: Code, on_fault: OnFault, sees_replies: bool) {
    let plugin = Plugin { on_fault, sees_replies, ..plugin(version, code) };
    assert!(routes.serve(&[Arc::new(plugin)]).is_empty());
}

/// One version of a plugin that claims every key and may name every destination.
pub(crate) fn plugin(version: &str, code: Code) -> Plugin<Code> {
    let limits = Limits::default();
    Plugin {
        name: PluginName::new("default", "all"),
        version: Version(version.into()),
        keys: vec!["*".parse().unwrap()],
        on_fault: OnFault::DeadLetter,
        grant: Arc::new(Grant::everything("default", limits)),
        limits,
        sees_replies: false,
        tally: Tally::default(),
        code,
    }
}

/// A host over fakes.
pub(crate) struct Host {
    pub(crate) broker: Broker,
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) pipeline: Arc<FakePipeline>,
    pub(crate) prompter: Prompter,
    pub(crate) control: Control,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<(), String>>,
}

impl Host {
    pub(crate) fn start(broker: &Broker, window: usize, code: fn(&Record) -> Result<Verdict, Failure>) -> Host {
        Host::start_with(broker, window, code, Lanes::default().drain)
    }

    /// The same, with another time for a revoke.
    pub(crate) fn start_with(broker: &Broker, window: usize, code: fn(&Record) -> Result<Verdict, Failure>, revoke: Duration) -> Host {
        Host::start_as(broker, window, pipeline(broker, Arc::default(), code), revoke)
    }

    pub(crate) fn start_as(broker: &Broker, window: usize, pipeline: FakePipeline, revoke: Duration) -> Host {
        let (destinations, pipeline) = (Arc::clone(&pipeline.deliver), Arc::new(pipeline));
        let (script, prompter) = Script::new(broker);
        let lanes = Lanes { bytes: window, ..Lanes::default() };
        let (run, control) = Run::new(script, Arc::clone(&pipeline), run::Settings { lanes, revoke, commit_every: Duration::from_millis(50) });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run.until(async { stopped.await.unwrap_or_default() }));
        Host { broker: broker.clone(), destinations, pipeline, prompter, control, stop: Some(stop), task }
    }

    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut(&Host) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(3600), async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never: {what}; committed {:?}, sent {:?}", self.broker.committed(), self.sent()));
    }

    pub(crate) async fn until_committed(&self, offset: i64) {
        self.until(&format!("{offset} is committed"), |host| host.broker.committed() == Some(offset)).await;
    }

    pub(crate) fn sent(&self) -> Vec<i64> {
        let sent = self.destinations.sent.lock().unwrap();
        sent.iter().map(|(_, path)| path[1..].parse().unwrap()).collect()
    }

    pub(crate) async fn shut_down(mut self) -> Vec<i64> {
        drop(self.stop.take());
        (&mut self.task).await.unwrap().unwrap();
        self.sent()
    }
}
