//! The source that reads Kafka.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::commit_log::CommitLog;
use super::place::{First, Places};
use super::queue::Queue;
use super::rebalance::{Context, Ending};
use super::refetch::Refetch;
use super::stays::Stays;
use super::thread::Reader;
use super::{Event, Source};
use crate::cluster::{ClientLog, Failed, Found, Identity, Reach, consumer, create, describe, find};
use crate::config;
use crate::observe::Metrics;
use crate::record::Assignment;
use crate::settle::{Mark, Offsets, offsets};

/// How long a start waits for a broker before it fails with words.
const REACH: Duration = Duration::from_secs(10);

/// How long a stop may take: the last commit (10 s), leaving (a few), and closing.
const CLOSE: Duration = Duration::from_secs(20);

/// Reads topics as a member of a consumer group.
///
/// The consumer lives on a thread of its own, which polls whatever the loop does: exceeding `max.poll.interval.ms` is not possible.
#[derive(Debug)]
pub struct Kafka {
    queue: Arc<Queue>,
    refetch: Refetch,
    ending: Arc<Ending>,
    closing: Arc<AtomicBool>,
    host: String,
    reach: Reach,
}

/// Commits through the source's consumer, for as long as it lives.
#[derive(Clone)]
pub struct KafkaOffsets {
    consumer: Weak<BaseConsumer<Context>>,
    stays: Arc<Stays>,
}

impl Kafka {
    /// Joins the group. `advertised` is the address under which other hosts reach this one's admin server; it travels in the client id.
    ///
    /// # Errors
    /// No broker answered within ten seconds, a topic is missing, or a property is wrong; in words for the operator, with the mend.
    pub async fn start(settings: &config::Kafka, advertised: Option<&str>, metrics: Arc<Metrics>) -> Result<(Kafka, KafkaOffsets), Failed> {
        let identity = Identity::take(&settings.group);
        let host = identity.id().to_owned();
        let client_id = advertised.map_or_else(|| format!("keyway-{host}"), |address| format!("keyway-{host}@{address}"));
        let mut config = consumer(settings, &client_id)?;
        let member = membership(&mut config, &identity);
        let first = First::take(&mut config);
        // Librdkafka tells of some things in warnings alone.
        if (config.log_level as i32) < RDKafkaLogLevel::Warning as i32 {
            config.set_log_level(RDKafkaLogLevel::Warning);
        }
        let queue = Arc::new(Queue::default());
        let stays = Arc::new(Stays::default());
        let closing = Arc::new(AtomicBool::new(false));
        let ending: Arc<Ending> = Arc::default();
        let log = ClientLog::default();
        let reach = log.reach();
        let context = Context {
            log,
            queue: Arc::clone(&queue),
            stays: Arc::clone(&stays),
            metrics,
            release_within: settings.release_within(),
            consumer: Mutex::new(Weak::new()),
            paused: AtomicBool::new(false),
            closing: Arc::clone(&closing),
            ending: Arc::clone(&ending),
            commit_log: CommitLog::default(),
            places: Places::default(),
            first,
        };
        let consumer = Arc::new(config.create_with_context::<_, BaseConsumer<Context>>(context).map_err(|error| describe(&error))?);
        *consumer.context().consumer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&consumer);
        let handle = KafkaOffsets { consumer: Arc::downgrade(&consumer), stays: Arc::clone(&stays) };
        let reader = Reader { consumer, member: member.map(|_| (settings.group.clone(), client_id)), identity };
        let (topics, brokers) = (settings.topics.clone(), settings.brokers.clone());
        let (subscribed, ready) = oneshot::channel();
        // From here on the consumer is only touched by its thread, which also drops it: that can block, and must not block the runtime.
        std::thread::Builder::new()
            .name("keyway-consume".into())
            .spawn(move || {
                let result = subscribe(&reader.consumer, &brokers, &topics);
                let failed = result.is_err();
                let abandoned = subscribed.send(result).is_err();
                if !failed && !abandoned {
                    reader.run();
                }
            })
            .map_err(|error| format!("start the consumer's thread: {error}"))?;
        ready.await.map_err(|_| "start the consumer: its thread ended".to_owned())??;
        let refetch = Refetch::new(&config, Arc::clone(&queue), stays);
        Ok((Kafka { queue, refetch, ending, closing, host, reach }, handle))
    }

    /// This host's id in its group.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether a broker can be reached, from now on.
    pub fn reach(&self) -> Reach {
        self.reach.clone()
    }
}

/// Settles how the host is known to its group, and gives the id of a static member. The reasons are in
/// `docs/decisions/0020-static-membership.md`.
fn membership(config: &mut ClientConfig, identity: &Identity) -> Option<String> {
    let is_new_protocol = config.get("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"));
    if !is_new_protocol && config.get("partition.assignment.strategy").is_none() {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    match config.get("group.instance.id") {
        // An empty one is the operator's word for a dynamic member.
        Some("") => {
            config.remove("group.instance.id");
        }
        Some(_) => {}
        // The new protocol refuses a member that comes back before its session is over, which is just when it should.
        None if is_new_protocol || !identity.is_stable() => {}
        None => {
            config.set("group.instance.id", format!("keyway-{}", identity.id()));
        }
    }
    config.get("group.instance.id").map(str::to_owned)
}

fn subscribe(consumer: &BaseConsumer<Context>, brokers: &str, topics: &[String]) -> Result<(), Failed> {
    // A topic that begins with `^` is a pattern, which may match nothing yet.
    for topic in topics.iter().filter(|topic| !topic.starts_with('^')) {
        if find(consumer, brokers, topic, REACH)? == Found::Missing {
            let cause = format!("find topic `{topic}` of `kafka.topics` on `{brokers}`: there is no such topic, and a consumer does not create any");
            return Err(Failed { cause, hint: Some(format!("correct `topics` in `[kafka]`, or create it: `{}`", create(brokers, topic))) });
        }
    }
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| format!("subscribe to {topics:?}: {}", describe(&error)).into())
}

impl Source for Kafka {
    async fn next(&mut self, room: bool) -> Event {
        self.queue.next(room).await
    }

    fn refetch(&mut self, wanted: Vec<(Arc<Assignment>, Vec<i64>)>) {
        self.refetch.want(wanted);
    }

    async fn close(self, marks: Vec<Mark>) -> Result<(), String> {
        let (done, finished) = oneshot::channel();
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some((marks, done));
        // In this order: the thread looks at the flag first, and then finds the marks.
        self.closing.store(true, Ordering::Release);
        self.queue.close();
        match timeout(CLOSE, finished).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("leave the consumer group: the consumer's thread has ended already".into()),
            Err(_) => Err(format!("leave the consumer group within {CLOSE:?}")),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.queue.close();
    }
}

impl Offsets for KafkaOffsets {
    fn commit(&self, marks: Vec<Mark>) -> Result<(), String> {
        let marks: Vec<Mark> = marks.into_iter().filter(|mark| self.stays.has(&mark.assignment)).collect();
        if marks.is_empty() {
            return Ok(());
        }
        let consumer = self.consumer.upgrade().ok_or("the consumer is closed")?;
        consumer.commit(&offsets(&marks), CommitMode::Async).map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for KafkaOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaOffsets").finish_non_exhaustive()
    }
}
