//! Batches of one destination: each goes the way of a single request, and its end is told to every request in it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::batch::{self, Gathering, Group, Item};
use super::super::memory::Past;
use super::super::reply::{self, Class};
use super::super::{Delivery, headers};
use super::{Course, Destination, Prepared, Wire};
use crate::config::{self, OnExhausted};
use crate::outcome::{FailedRequest, Reply};

/// Requests that go together, until they are parted.
struct Batch {
    items: Vec<Item>,
    /// Batches that some of them were in and that were taken, without them.
    tries: u32,
    /// How far it has come; none at its beginning.
    course: Option<Course>,
}

impl Batch {
    fn new(items: Vec<Item>) -> Batch {
        Batch { items, tries: 0, course: None }
    }
}

impl<W: Wire> Destination<W> {
    /// Performs a request as a part of a batch.
    pub(super) async fn gather(self: &Arc<Self>, settings: config::Batch, prepared: Prepared) -> Delivery {
        let Some(_place) = self.gate.enter(prepared.body.len()) else { return self.held() };
        let (waiting, ended) = oneshot::channel();
        let Prepared { method, uri, mut headers, body, key, index, behind: _, results: _ } = prepared;
        headers.remove(headers::IDEMPOTENCY_KEY);
        // What was tried in a batch that was then held goes alone from here on, with the attempts that it has left.
        let was_tried = self.memory.knows(key.as_bytes());
        let item = Item { body, key, index, attempts: 0, waiting };
        let group = if was_tried {
            Some(Gathering::alone(&method, &uri, headers, item))
        } else {
            self.gathering.add(&settings, &method, &uri, headers, item)
        };
        if let Some(group) = group {
            // The group outlives the request that began it: others wait for it too.
            let destination = Arc::clone(self);
            tokio::spawn(async move { destination.perform_group(settings, &group).await });
        }
        ended.await.unwrap_or_else(|_| {
            // Its task is gone, with the runtime.
            self.gate.turn_away();
            self.held()
        })
    }

    async fn perform_group(&self, settings: config::Batch, group: &Arc<Group>) {
        let mut batches = VecDeque::from([Batch::new(self.gathering.gathered(&settings, group).await)]);
        while let Some(Batch { mut items, tries, course }) = batches.pop_front() {
            items.retain(|item| !item.waiting.is_closed());
            if items.is_empty() {
                continue;
            }
            let key = batch::key(&items);
            let mut headers = group.headers(settings.format);
            headers.insert(headers::IDEMPOTENCY_KEY, key.clone());
            if settings.keys
                && let Some(keys) = batch::keys(&items)
            {
                headers.insert(headers::IDEMPOTENCY_KEYS, keys);
            }
            let body = batch::join(settings.format, &items);
            let prepared = Prepared {
                method: group.method.clone(),
                uri: group.uri.clone(),
                headers,
                body,
                key,
                index: 0,
                behind: 0,
                results: settings.per_item.then_some(items.len()),
            };
            let mut course = course.unwrap_or_else(|| self.course(&prepared));
            let ended = tokio::select! { biased;
                () = batch::left(&mut items) => {
                    // The records of whoever has left are another host's now, and whatever of them is sent from here would come after what that one sends. The
                    // others go on without them, even if their attempt was on its way: a repeat can be told by its key, and an overtaken record cannot.
                    batches.push_front(Batch { items, tries, course: Some(course) });
                    continue;
                }
                ended = self.carry(&prepared, &mut course) => ended,
            };
            match ended {
                Delivery::Done(reply) => {
                    let next = Instant::now() + self.backoff(tries + 1);
                    let items = self.taken(&settings, items, &reply, &prepared, course.deadline.is_none_or(|deadline| next <= deadline));
                    let course = Course { past: Past::default(), last: None, next: Some(next), ..course };
                    batches.push_back(Batch { items, tries: tries + 1, course: Some(course) });
                }
                Delivery::Refused { reply, .. } if items.len() > 1 && batch::is_about_content(reply.status) => {
                    let second = items.split_off(items.len() / 2);
                    batches.push_front(Batch::new(second));
                    batches.push_front(Batch::new(items));
                }
                Delivery::Held(_) => self.held_items(items, &prepared),
                ended => {
                    for item in items {
                        item.end(ended.clone());
                    }
                }
            }
        }
    }

    /// Tells the items of a batch that was taken, and gives back those to be sent again, if there is time for it.
    fn taken(&self, settings: &config::Batch, items: Vec<Item>, reply: &Reply, prepared: &Prepared, is_time: bool) -> Vec<Item> {
        // They were looked for when the reply came; without them it would not be taken for done.
        let Some(Ok(results)) = settings.per_item.then(|| batch::results(&reply.body, reply.cut, items.len())) else {
            for item in items {
                item.end(Delivery::Done(reply.clone()));
            }
            return Vec::new();
        };
        let mut again = Vec::new();
        for (mut item, result) in items.into_iter().zip(results) {
            let mut result = batch::item_reply(reply, result);
            item.attempts += result.attempts;
            result.attempts = item.attempts;
            let failed = || FailedRequest {
                index: item.index,
                destination: self.name.as_ref().to_owned(),
                method: prepared.method.as_str().to_owned(),
                url: prepared.uri.to_string(),
                attempts: item.attempts,
                last_status: Some(result.status),
                reply_excerpt: reply::excerpt(&result.body),
            };
            match reply::class(result.status) {
                Class::Done => item.end(Delivery::Done(result)),
                Class::Never | Class::Credential => {
                    let request = failed();
                    item.end(Delivery::Refused { reply: result, request });
                }
                Class::Again if is_time && item.attempts < self.retry.attempts => again.push(item),
                Class::Again if self.on_exhausted == OnExhausted::Hold => {
                    self.gate.turn_away_for(self.retry.backoff_max);
                    item.end(self.held());
                }
                Class::Again => {
                    let (detail, request) = (format!("the last result was {}", result.status), failed());
                    item.end(Delivery::Exhausted { detail, reply: Some(result), request });
                }
            }
        }
        again
    }

    fn held_items(&self, items: Vec<Item>, prepared: &Prepared) {
        // They may be gathered otherwise the next time, so each takes along what was tried with the batch.
        let Past { attempts } = self.memory.take(prepared.key.as_bytes());
        for item in &items {
            self.memory.keep(item.key.as_bytes(), Past { attempts: item.attempts + attempts });
        }
        // The batch was counted as one held request; each of its items is one.
        for _ in 1..items.len() {
            if self.gate.is_closed() {
                self.gate.turn_away_for(self.retry.backoff_max);
            } else {
                self.gate.turn_away();
            }
        }
        for item in items {
            item.end(self.held());
        }
    }
}

impl Item {
    /// Tells the end to whoever waits; if nobody does any more, nobody needs it.
    fn end(self, mut ended: Delivery) {
        if let Delivery::Refused { request, .. }
        | Delivery::Unclear { request, .. }
        | Delivery::Exhausted { request, .. }
        | Delivery::Denied { request, .. } = &mut ended
        {
            request.index = self.index;
        }
        let _ = self.waiting.send(ended);
    }
}
