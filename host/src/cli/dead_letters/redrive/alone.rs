//! That no two redrives of a group run at once, wherever they run: both would send the same letters.
//!
//! A redrive is the only member of a group of its own for as long as it runs. It reads nothing there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::cluster::{ClientLog, consumer, describe};
use crate::config;

/// After this a redrive that was killed is forgotten, in milliseconds. Brokers allow no less than 6 s unless they are told to.
const SESSION: &str = "10000";

/// Longest wait to become a member. A broker waits three seconds for further members of a new group.
const JOIN: Duration = Duration::from_secs(30);

/// Longest wait for the group's description.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest poll: how late the end is heard of.
const POLL: Duration = Duration::from_millis(100);

/// The only redrive of its group, until it is dropped.
pub(super) struct Alone {
    end: Arc<AtomicBool>,
    lost: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Alone {
    /// Looks whether another redrive runs, and sees to it that none begins. Blocks for some seconds.
    ///
    /// # Errors
    /// Another redrive runs, or Kafka does not answer; in words for the operator.
    pub(super) fn take(settings: &config::Kafka) -> Result<Alone, String> {
        let group = format!("{}.redrive.lock", settings.group);
        let mut config: ClientConfig = consumer(settings, "keyway-redrive")?;
        for membership in ["group.instance.id", "group.protocol", "statistics.interval.ms", "max.poll.interval.ms", "heartbeat.interval.ms"] {
            config.remove(membership);
        }
        config.set("group.id", &group).set("session.timeout.ms", SESSION).set("partition.assignment.strategy", "range");
        let (joined, joins) = sync_channel(1);
        let lost = CancellationToken::new();
        let context = Membership { log: ClientLog::default(), joined, lost: lost.clone() };
        let consumer: Arc<BaseConsumer<Membership>> = Arc::new(config.create_with_context(context).map_err(|error| describe(&error))?);
        none_of(&members(&consumer, &group)?)?;
        let alone = Alone::join(Arc::clone(&consumer), &settings.dead_letters, lost)?;
        alone.await_joined(&consumer, &joins)?;
        // Of two that looked at the same time each sees the other now, and neither begins. Whoever comes later sees this one before it joins.
        let all = members(&consumer, &group)?;
        drop(consumer);
        // The first is this one, or may as well be.
        none_of(&all[all.len().min(1)..])?;
        Ok(alone)
    }

    /// Keeps the membership alive on a thread of its own, whatever the redrive waits for.
    fn join(consumer: Arc<BaseConsumer<Membership>>, topic: &str, lost: CancellationToken) -> Result<Alone, String> {
        consumer.subscribe(&[topic]).map_err(|error| format!("see to it that no other redrive begins: {error}"))?;
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let thread = std::thread::Builder::new()
            .name("keyway-redrive".into())
            .spawn(move || {
                while !ends.load(Ordering::Acquire) {
                    // Nothing is assigned here, so this is an error that was logged, or nothing.
                    let _ = consumer.poll(POLL);
                }
                // Closing it leaves the group.
                drop(consumer);
            })
            .map_err(|error| format!("start the thread that keeps other redrives away: {error}"))?;
        Ok(Alone { end, lost, thread: Some(thread) })
    }

    fn await_joined(&self, consumer: &BaseConsumer<Membership>, joins: &Receiver<()>) -> Result<(), String> {
        joins.recv_timeout(JOIN).map_err(|_| {
            let cause = consumer.context().log.last_error().unwrap_or_else(|| format!("no answer within {JOIN:?}"));
            format!("see to it that no other redrive begins: {cause}")
        })
    }

    /// Completes when the group has forgotten this redrive, as after a sleep of the machine: another one may have begun.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It ends after a poll, and leaving takes some milliseconds more.
            let _ = thread.join();
        }
    }
}

/// The members of a group: the host of each.
fn members(consumer: &BaseConsumer<Membership>, group: &str) -> Result<Vec<String>, String> {
    let groups = consumer.fetch_group_list(Some(group), ANSWER).map_err(|error| format!("see whether another redrive runs: {error}"))?;
    let members = groups.groups().iter().flat_map(|group| group.members());
    Ok(members.map(|member| member.client_host().trim_start_matches('/').to_owned()).collect())
}

fn none_of(others: &[String]) -> Result<(), String> {
    match others.first() {
        None => Ok(()),
        Some(other) => Err(format!(
            "begin: another redrive of this group runs, at {other}; if it was killed, Kafka forgets it within {} s",
            SESSION.trim_end_matches("000")
        )),
    }
}

/// A member that takes nothing of what it is given.
struct Membership {
    log: ClientLog,
    joined: SyncSender<()>,
    lost: CancellationToken,
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Membership>, code: RDKafkaRespErr, _: &mut TopicPartitionList) {
        let done = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Only the first time is waited for.
            let _ = self.joined.try_send(());
            consumer.assign(&TopicPartitionList::new())
        } else {
            if consumer.assignment_lost() {
                self.lost.cancel();
            }
            consumer.unassign()
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the group that keeps other redrives away was not answered");
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.report(&error, reason);
    }
}
