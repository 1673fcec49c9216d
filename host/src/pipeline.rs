//! The path of one record: route, transform, deliver, outcome.
//!
//! Read [`Pipeline::handle`]: it is the whole of it. A record comes out delivered, skipped, dead-lettered or held; the first three settle it,
//! and a record is dead-lettered only when Kafka has acknowledged the letter.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use crate::config::{Framing, RouteBy, Unrouted};
use crate::deliver::{Deliver, Delivery, Stamp};
use crate::lanes::{Job, Progress};
use crate::observe::Metrics;
use crate::outcome::{self, Cause, Conversation, Exchange, Failure, Next, Outcome, Reason, Request, Verdict};
use crate::plugin::{OnFault, Plugin};
use crate::policy;
use crate::record::Record;
use crate::route::{self, Routes};
use crate::settle::{DeadLetter, Settle};
use crate::transform::Transform;

/// Rounds of requests that one record may take with a plugin that sees the replies. Arbitrary: create, look up, update and some.
const ROUNDS_MAX: u32 = 10;

/// Longest pause that a plugin may ask for before a round is repeated; it keeps its key waiting.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Bytes of requests and replies that are kept for held records whose plugins see replies. A quarter of the lanes' default budget: some thousands of short
/// conversations. A record for which there is no room begins anew, which is right too, but sends again what was answered before.
const CONVERSATIONS: usize = 16 << 20;

/// Pauses between tries to write a dead letter or a reply while Kafka does not take it.
const KAFKA_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What a record passes through. One for the whole host, shared by the records in progress.
#[derive(Debug)]
pub struct Pipeline<T: Transform, D, S> {
    /// Which plugin handles a key.
    pub routes: Arc<Routes<T::Code>>,
    /// Runs plugins.
    pub transform: T,
    /// Performs requests.
    pub deliver: D,
    /// Takes what is settled.
    pub settle: S,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What the operator decided.
    pub policy: Policy,
    /// Room for what is kept of held records, see [`room`].
    pub room: Arc<Semaphore>,
}

/// The room for a pipeline.
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONVERSATIONS))
}

/// What the operator decided about records in general.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Consumer group, a part of every `Idempotency-Key`.
    pub group: String,
    /// What the route is looked up by.
    pub route_by: RouteBy,
    /// How payloads are framed.
    pub framing: Framing,
    /// What becomes of a record that no plugin claims.
    pub unrouted: Unrouted,
    /// Whether replies go to a topic.
    pub keep_replies: bool,
}

impl<T: Transform, D: Deliver, S: Settle> Pipeline<T, D, S> {
    /// Takes one record all the way. The job's progress says what was delivered before, should it be held.
    pub async fn handle(&self, job: &mut Job) -> Outcome {
        // First, so that a record that finds nobody found nobody among all there are.
        let incomplete = self.routes.is_incomplete();
        let Job { record, behind, progress, .. } = job;
        let record: &Record = record;
        let message = unframe(record, self.policy.framing);
        let key = self.key(record, &message);
        let plugin = self.routes.find(key.as_deref());
        let outcome = match &plugin {
            Some(plugin) => self.handle_by(plugin, record, &message, *behind, progress).await,
            None if incomplete => Outcome::Held(Cause::Unrouted),
            None => match AssertUnwindSafe(self.unrouted(record, key.as_deref())).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(panic) => self.give_up(record, &host_panicked(record, &*panic), None).await,
            },
        };
        self.metrics.record_done(plugin.as_ref().map(|plugin| plugin.name.as_str()), &outcome, job.arrived.elapsed());
        outcome
    }

    /// What a record is routed by. An event's attributes may stand in its payload; a record that is not framed as it should be still has a key and headers.
    fn key<'r>(&self, record: &'r Record, message: &'r Result<Cow<'_, Record>, Failure>) -> Option<Cow<'r, str>> {
        route::key(message.as_deref().unwrap_or(record), &self.policy.route_by)
    }

    /// Whether a record waits for other routes, as they are now.
    pub fn waits_for_routes(&self, record: &Record) -> bool {
        let message = unframe(record, self.policy.framing);
        let found = self.routes.find(self.key(record, &message).as_deref());
        (self.routes.is_incomplete() || self.policy.unrouted == Unrouted::Hold) && found.is_none()
    }

    async fn handle_by(
        &self,
        plugin: &Plugin<T::Code>,
        record: &Record,
        message: &Result<Cow<'_, Record>, Failure>,
        behind: usize,
        progress: &mut Option<Box<Progress>>,
    ) -> Outcome {
        // A panic here is a defect of the host. It must not cost the record, and the host must not stop at the same record for ever.
        let ended = match AssertUnwindSafe(self.carry_out(plugin, record, message, behind, progress)).catch_unwind().await {
            Ok(ended) => ended,
            Err(panic) => Err(host_panicked(record, &*panic)),
        };
        // A record that was not looked at says nothing of the version, and one on trial must not hide its faults behind them.
        if !matches!(ended, Ok(Outcome::Held(Cause::Busy(_)))) {
            plugin.tally.observed(ended.as_ref().is_err_and(|failure| failure.reason.is_fault()));
        }
        match ended {
            Ok(outcome) => outcome,
            Err(mut failure) => {
                // What is left of the progress was not looked at, because the record did not get so far this time. It holds.
                failure.delivered = failure.delivered.max(delivered_by(plugin, progress));
                self.metrics.failure(Some(plugin.name.as_str()), failure.reason);
                if failure.reason.is_fault() && plugin.on_fault == OnFault::Hold {
                    tracing::warn!(%record, plugin = %plugin.name, reason = %failure.reason, "held the record's key until the plugin's next version: {}", outcome::one_line(&failure.detail));
                    return Outcome::Held(Cause::Plugin { name: plugin.name.shared(), version: Arc::clone(&plugin.version.0) });
                }
                self.give_up(record, &failure, Some(plugin)).await
            }
        }
    }

    async fn carry_out(
        &self,
        plugin: &Plugin<T::Code>,
        record: &Record,
        message: &Result<Cow<'_, Record>, Failure>,
        behind: usize,
        progress: &mut Option<Box<Progress>>,
    ) -> Result<Outcome, Failure> {
        if self.transform.is_busy(plugin) {
            return Ok(Outcome::Held(Cause::Busy(plugin.name.shared())));
        }
        let message = message.as_deref().map_err(Failure::clone)?;
        match self.transform.transform(plugin, message).await? {
            Verdict::Skip(why) => {
                tracing::debug!(%record, plugin = %plugin.name, "skipped: {why}");
                Ok(Outcome::Skipped)
            }
            Verdict::Reject(why) => Err(Failure::new(Reason::Rejected, why)),
            Verdict::Send(requests) if plugin.sees_replies => self.converse(plugin, record, behind, message, requests, progress).await,
            Verdict::Send(requests) => self.deliver_in_order(plugin, record, behind, &requests, progress).await,
        }
    }

    /// Performs the requests one after the other; what was delivered before the record was held is not sent again.
    async fn deliver_in_order(
        &self,
        plugin: &Plugin<T::Code>,
        record: &Record,
        behind: usize,
        requests: &[Request],
        progress: &mut Option<Box<Progress>>,
    ) -> Result<Outcome, Failure> {
        policy::check_requests(&plugin.grant, &plugin.limits, requests)?;
        let delivered = delivered_by(plugin, progress);
        *progress = None;
        for (index, request) in (0_u32..).zip(requests).skip(delivered as usize) {
            let failure = match self.send(record, behind, index, request).await {
                Delivery::Done(reply) => {
                    self.keep_reply(record, index, request, &reply).await;
                    continue;
                }
                Delivery::Held(destination) => {
                    *progress = Some(Box::new(Progress { version: plugin.version.clone(), delivered: index, conversation: None }));
                    return Ok(Outcome::Held(Cause::Destination(destination)));
                }
                Delivery::Refused { reply, request: failed } => {
                    self.keep_reply(record, index, request, &reply).await;
                    let detail = format!("`{}` answered {}", failed.destination, reply.status);
                    Failure::at(failed, Reason::Refused, detail)
                }
                Delivery::Unclear { detail, reply, request: failed } => {
                    self.keep_reply(record, index, request, &reply).await;
                    Failure::at(failed, Reason::Refused, detail)
                }
                Delivery::Exhausted { detail, reply, request: failed } => {
                    if let Some(reply) = reply {
                        self.keep_reply(record, index, request, &reply).await;
                    }
                    Failure::at(failed, Reason::Exhausted, detail)
                }
                Delivery::Denied { detail, request } => Failure::at(request, Reason::Denied, detail),
            };
            // One by one, so those before it were.
            return Err(Failure { delivered: index, ..failure });
        }
        Ok(Outcome::Delivered)
    }

    /// Performs rounds of requests for a plugin that looks at the replies, until it says what became of the record.
    ///
    /// What was answered before the record was held is not sent again, as long as there is room to keep the replies. After a crash it begins anew: the keys of the
    /// requests are the same.
    async fn converse(
        &self,
        plugin: &Plugin<T::Code>,
        record: &Record,
        behind: usize,
        message: &Record,
        first: Vec<Request>,
        progress: &mut Option<Box<Progress>>,
    ) -> Result<Outcome, Failure> {
        let before = progress.take().filter(|progress| progress.version == plugin.version).and_then(|progress| progress.conversation);
        let mut talk = before.map_or_else(|| Conversation::new(first), |(talk, _room)| talk);
        while talk.rounds <= ROUNDS_MAX {
            policy::check_requests(&plugin.grant, &plugin.limits, &talk.round)?;
            while let Some(request) = talk.due() {
                let index = talk.exchanges.len() as u32;
                match self.send(record, behind, index, request).await {
                    Delivery::Done(reply) | Delivery::Refused { reply, .. } => {
                        self.keep_reply(record, index, request, &reply).await;
                        let request = request.clone();
                        talk.exchanges.push(Exchange { request, reply });
                    }
                    // It says nothing that a plugin could go by.
                    Delivery::Unclear { detail, reply, request: failed } => {
                        self.keep_reply(record, index, request, &reply).await;
                        return Err(Failure::at(failed, Reason::Refused, detail));
                    }
                    Delivery::Held(destination) => {
                        *progress = self.keep(plugin, talk);
                        return Ok(Outcome::Held(Cause::Destination(destination)));
                    }
                    Delivery::Exhausted { detail, reply, request: failed } => {
                        if let Some(reply) = reply {
                            self.keep_reply(record, index, request, &reply).await;
                        }
                        return Err(Failure::at(failed, Reason::Exhausted, detail));
                    }
                    Delivery::Denied { detail, request } => return Err(Failure::at(request, Reason::Denied, detail)),
                }
            }
            match self.transform.on_replies(plugin, message, &talk.exchanges).await? {
                Next::Done => return Ok(Outcome::Delivered),
                Next::Reject(why) => return Err(Failure::new(Reason::Rejected, why)),
                Next::Send(next) => {
                    talk.before = talk.exchanges.len();
                    talk.round = next;
                }
                Next::Retry(pause) => {
                    talk.exchanges.truncate(talk.before);
                    let pause = pause.map_or_else(|| policy::backoff(talk.rounds, Duration::from_secs(1), PAUSE_MAX), Duration::from_millis);
                    tokio::time::sleep(pause.min(PAUSE_MAX)).await;
                }
            }
            talk.rounds += 1;
        }
        Err(Failure::new(Reason::Output, format!("asked for more than {ROUNDS_MAX} rounds of requests")))
    }

    /// What a held record keeps of its conversation, if there is room.
    fn keep(&self, plugin: &Plugin<T::Code>, talk: Conversation) -> Option<Box<Progress>> {
        let bytes = u32::try_from(talk.weight()).ok().filter(|_| !talk.exchanges.is_empty())?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok()?;
        Some(Box::new(Progress { version: plugin.version.clone(), delivered: 0, conversation: Some((talk, room)) }))
    }

    async fn unrouted(&self, record: &Record, key: Option<&str>) -> Outcome {
        match self.policy.unrouted {
            Unrouted::Skip => Outcome::Skipped,
            Unrouted::Hold => Outcome::Held(Cause::Unrouted),
            Unrouted::DeadLetter => {
                self.metrics.failure(None, Reason::Unrouted);
                let detail = match key {
                    Some(key) => format!("no plugin claims the key `{}`", key.escape_debug()),
                    None => "the record has no key that is UTF-8, and no plugin claims `*`".to_owned(),
                };
                self.give_up(record, &Failure::new(Reason::Unrouted, detail), None).await
            }
        }
    }

    /// Writes the dead letter, for as long as it takes Kafka to acknowledge it: until then the record is not settled.
    async fn give_up(&self, record: &Record, failure: &Failure, plugin: Option<&Plugin<T::Code>>) -> Outcome {
        let plugin = plugin.map(|plugin| (&plugin.name, &plugin.version));
        tracing::debug!(%record, reason = %failure.reason, "gave up: {}", outcome::one_line(&failure.detail));
        until_acknowledged("a dead letter", record, || self.settle.dead_letter(DeadLetter { record, failure, plugin })).await;
        Outcome::DeadLettered(failure.reason)
    }

    async fn keep_reply(&self, record: &Record, index: u32, request: &Request, reply: &crate::outcome::Reply) {
        if self.policy.keep_replies {
            until_acknowledged("a reply", record, || self.settle.reply(record, index, &request.destination, reply)).await;
        }
    }

    /// Performs one request, as the record's one with this index.
    async fn send(&self, record: &Record, behind: usize, index: u32, request: &Request) -> Delivery {
        self.deliver.deliver(request, Stamp { idempotency_key: &self.idempotency_key(record, index), index, behind }).await
    }

    /// Group, topic, partition, offset and the request's place: the same for every try, on every host.
    fn idempotency_key(&self, record: &Record, index: u32) -> String {
        format!("{}/{}/{}/{}/{}", self.policy.group, record.topic(), record.partition(), record.offset, index)
    }
}

/// How many of this version's requests the record's progress says were delivered. Another version's are not comparable.
fn delivered_by<C>(plugin: &Plugin<C>, progress: &Option<Box<Progress>>) -> u32 {
    progress.as_ref().filter(|progress| progress.version == plugin.version).map_or(0, |progress| progress.delivered)
}

/// Tries until Kafka has acknowledged. There is no giving up: whatever else could be done with the record would lose it. A panic, which is a defect of the
/// host, is a failed try: it would leave the record's lane without an end otherwise.
async fn until_acknowledged<F: Future<Output = Result<(), String>>>(what: &str, record: &Record, write: impl Fn() -> F) {
    for attempt in 1_u32.. {
        let written = AssertUnwindSafe(async { write().await }).catch_unwind().await;
        match written.unwrap_or_else(|panic| Err(format!("the host panicked, which is a defect of Keyway: {}", outcome::panic_text(&*panic)))) {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(%record, attempt, "failed to write {what}; the record waits and it is tried again: {error}");
                tokio::time::sleep(policy::backoff(attempt, KAFKA_RETRY.0, KAFKA_RETRY.1)).await;
            }
        }
    }
}

/// The record with its framing taken off.
fn unframe(record: &Record, framing: Framing) -> Result<Cow<'_, Record>, Failure> {
    match (framing, &record.payload) {
        (Framing::None, _) | (Framing::ConfluentJson, None) => Ok(Cow::Borrowed(record)),
        (Framing::ConfluentJson, Some(payload)) if payload.len() >= 5 && payload[0] == 0 => {
            Ok(Cow::Owned(Record { payload: Some(payload.slice(5..)), ..record.clone() }))
        }
        (Framing::ConfluentJson, Some(_)) => {
            let detail = "the payload does not begin with a zero byte and a four-byte schema id, as `framing = \"confluent-json\"` says";
            Err(Failure::new(Reason::Malformed, detail))
        }
    }
}

fn host_panicked(record: &Record, panic: &(dyn std::any::Any + Send)) -> Failure {
    let message = outcome::panic_text(panic);
    tracing::error!(%record, "the host panicked at this record, which is a defect of Keyway: {message}");
    Failure::new(Reason::Trapped, format!("the host panicked at this record, which is a defect of Keyway: {message}"))
}

#[cfg(test)]
mod tests;
