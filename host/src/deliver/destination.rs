//! One destination: a request through all its attempts.

mod gather;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use http_body_util::Full;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::batch::{self, Gathering};
use super::breaker::BreakerState;
use super::client::{Answer, Client, Fault, Settings};
use super::common::Common;
use super::credential::{Credential, Missing};
use super::gate::{Ended, Gate, Permit, Snapshot, Turn};
use super::memory::{Memory, Past};
use super::rate::Pace;
use super::reply::{self, Class};
use super::target::{Target, shown};
use super::{Delivery, Stamp, headers};
use crate::config;
use crate::config::OnExhausted;
use crate::observe::Metrics;
use crate::outcome::{FailedRequest, Reply, Request};
use crate::policy;

/// One attempt over the wire: the HTTP client, or a test's stand-in for it.
pub(super) trait Wire: Send + Sync + 'static {
    fn send(&self, request: http::Request<Full<Bytes>>) -> impl Future<Output = Result<Answer, Fault>> + Send;
}

impl Wire for Client {
    fn send(&self, request: http::Request<Full<Bytes>>) -> impl Future<Output = Result<Answer, Fault>> + Send {
        Client::send(self, request)
    }
}

/// One destination with its policy and its state.
pub(super) struct Destination<W = Client> {
    name: Arc<str>,
    target: Target,
    wire: W,
    credential: Credential,
    /// Headers that no plugin may set.
    reserved: Vec<HeaderName>,
    gate: Arc<Gate>,
    pace: Option<Pace>,
    memory: Memory,
    batch: Option<config::Batch>,
    gathering: Gathering,
    retry: config::Retry,
    on_exhausted: OnExhausted,
    metrics: Arc<Metrics>,
}

/// A destination as it is at one moment, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its base URL.
    pub url: String,
    /// What the breaker does.
    pub breaker: BreakerState,
    /// Requests on the wire, or waiting for the rate.
    pub in_flight: usize,
    /// Requests that may be in flight at this moment.
    pub limit: usize,
    /// Requests that wait for a permit or for their next attempt.
    pub waiting: usize,
    /// Requests turned away and not yet called back, as far as is known.
    pub held: usize,
    /// Since when there have been any.
    pub held_since: Option<SystemTime>,
    /// The last attempt that failed, and when.
    pub last_error: Option<(SystemTime, String)>,
}

/// A request as it would be sent, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers, without the destination's credential.
    pub headers: Vec<(String, String)>,
}

/// A request that keeps the rules, ready for any number of attempts.
struct Prepared {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    key: HeaderValue,
    index: u32,
    behind: usize,
    /// So many results are to be in the reply: the requests of a batch, where each has its own.
    results: Option<usize>,
}

/// A request's way through its attempts. Kept apart from the request, because a batch may lose some of its items on the way.
struct Course {
    past: Past,
    /// Attempts of this stay.
    tries: u32,
    /// After this no attempt begins, once there was one.
    deadline: Option<Instant>,
    /// How the last attempt ended; none before the first.
    last: Option<Last>,
    /// Not to be sent before.
    next: Option<Instant>,
}

/// How one attempt ended.
enum Last {
    Answered(Answer),
    /// With success, but without the results that were to be in the reply; what is there in their place, in words.
    Unclear(Answer, String),
    Failed(Fault),
    /// There was no credential to send with.
    Bare(Missing),
}

impl Destination<Client> {
    /// # Errors
    /// What of the settings cannot be used.
    pub(super) fn new(settings: &config::Destination, common: Arc<Common>, metrics: Arc<Metrics>) -> Result<Destination, String> {
        Destination::over(Client::new(Settings::of(settings))?, settings, common, metrics)
    }
}

impl<W: Wire> Destination<W> {
    /// # Errors
    /// What of the settings cannot be used.
    pub(super) fn over(wire: W, settings: &config::Destination, common: Arc<Common>, metrics: Arc<Metrics>) -> Result<Destination<W>, String> {
        let pace = match settings.rate {
            Some(rate) => Some(Pace::new(rate).ok_or("`rate` lets no request through")?),
            None => None,
        };
        let credential = Credential::new(settings)?;
        Ok(Destination {
            name: Arc::clone(&settings.name),
            target: Target::new(&settings.url)?,
            wire,
            reserved: credential.reserved(),
            credential,
            gate: Gate::new(settings, common, Arc::clone(&metrics)),
            pace,
            memory: Memory::default(),
            batch: settings.batch,
            gathering: Gathering::default(),
            retry: settings.retry,
            on_exhausted: settings.on_exhausted,
            metrics,
        })
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn status(&self) -> DestinationStatus {
        let Snapshot { breaker, in_flight, limit, waiting, held, held_since, last_error } = self.gate.snapshot();
        DestinationStatus { name: Arc::clone(&self.name), url: self.target.text(), breaker, in_flight, limit, waiting, held, held_since, last_error }
    }

    /// Performs a request with all its attempts.
    pub(super) async fn deliver(self: &Arc<Self>, request: &Request, stamp: Stamp<'_>) -> Delivery {
        match (self.prepare(request, stamp), self.batch) {
            // A batch is made of bodies.
            (Ok(prepared), Some(batch)) if request.body.is_some() => self.gather(batch, prepared).await,
            (Ok(prepared), _) => self.perform(&prepared).await,
            (Err(detail), _) => Delivery::Denied {
                detail,
                request: FailedRequest {
                    index: stamp.index,
                    destination: request.destination.clone(),
                    method: shown(&request.method),
                    url: self.target.describe(&request.path),
                    ..FailedRequest::default()
                },
            },
        }
    }

    fn prepare(&self, request: &Request, stamp: Stamp<'_>) -> Result<Prepared, String> {
        let method = headers::method(&request.method)?;
        let uri = self.target.join(&request.path)?;
        let mut headers = headers::headers(request, &self.reserved)?;
        let key = HeaderValue::from_str(stamp.idempotency_key).map_err(|_| "the record's topic makes no `Idempotency-Key`".to_owned())?;
        headers.insert(headers::IDEMPOTENCY_KEY, key.clone());
        let body = match (&request.body, self.batch) {
            (None, _) => Bytes::new(),
            (Some(body), None) => Bytes::copy_from_slice(body.as_bytes()),
            (Some(body), Some(batch)) => batch::body(batch.format, body.as_bytes())?,
        };
        Ok(Prepared { method, uri, headers, body, key, index: stamp.index, behind: stamp.behind, results: None })
    }

    /// The request as it would be sent, or the rule that it breaks.
    pub(super) fn preview(&self, request: &Request, stamp: Stamp<'_>) -> Result<Preview, String> {
        let Prepared { method, uri, headers, .. } = self.prepare(request, stamp)?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        Ok(Preview { method: method.as_str().to_owned(), url: uri.to_string(), headers })
    }

    async fn perform(&self, prepared: &Prepared) -> Delivery {
        match self.gate.enter(prepared.body.len()) {
            Some(_place) => self.carry(prepared, &mut self.course(prepared)).await,
            None => self.held(),
        }
    }

    /// The beginning of a request's way, with what is known of it from before.
    fn course(&self, prepared: &Prepared) -> Course {
        Course { past: self.memory.take(prepared.key.as_bytes()), tries: 0, deadline: None, last: None, next: None }
    }

    /// All attempts of a request that is inside the gate. Cancelled and called anew with the same course, it goes on where it was, but for the attempt that was
    /// on its way.
    async fn carry(&self, prepared: &Prepared, course: &mut Course) -> Delivery {
        loop {
            if let Some(next) = course.next {
                tokio::select! {
                    () = sleep_until(next) => {}
                    // The next step finds the breaker open, and turns the request away.
                    () = self.gate.opened() => {}
                }
                course.next = None;
            }
            let permit = match course.deadline {
                None => self.permit(Turn::First, prepared.behind).await,
                // One that is free is taken even if the time is just up, because that is when the last attempt is made after a long `Retry-After`.
                Some(deadline) => match timeout_at(deadline, self.permit(Turn::Retry, prepared.behind)).await {
                    Ok(permit) => permit.inspect(|_| self.metrics.retry(&self.name)),
                    Err(_) => return self.exhausted(prepared, course),
                },
            };
            let Some(permit) = permit else { return self.held_after(prepared, course.past) };
            let deadline = *course.deadline.get_or_insert_with(|| permit.begun() + self.retry.within);
            let (last, wish) = self.attempt(prepared, permit, &mut course.past).await;
            course.tries += 1;
            let asked = match wish {
                Wish::End => return self.answered(prepared, course.past.attempts, last),
                Wish::Hold => return self.turned_away(prepared, course.past),
                Wish::Again(asked) => asked,
            };
            course.last = Some(last);
            let Some(wait) = self.next_attempt(course.past.attempts, course.tries, deadline, asked) else { return self.exhausted(prepared, course) };
            if !self.gate.is_closed() {
                return self.turned_away(prepared, course.past);
            }
            course.next = Some(Instant::now() + wait);
        }
    }

    /// Waits for everything that a request has to wait for.
    async fn permit(&self, turn: Turn, behind: usize) -> Option<Permit> {
        let mut permit = self.gate.permit(turn, behind).await?;
        if let Some(pace) = &self.pace {
            pace.ready().await;
        }
        if permit.begin() {
            return Some(permit);
        }
        drop(permit);
        self.gate.turn_away();
        None
    }

    /// Sends once, and says what the end means for the request and for the destination.
    async fn attempt(&self, prepared: &Prepared, permit: Permit, past: &mut Past) -> (Last, Wish) {
        let begun = permit.begun();
        let (last, sent, elapsed) = self.send(prepared).await;
        past.attempts += sent;
        let last = self.with_results(prepared, last);
        let (wish, ended) = match &last {
            // Not again: it may have been taken. But something is broken there, and others should not go the same way.
            Last::Unclear(..) => (Wish::End, Ended::Broken(elapsed)),
            Last::Answered(answer) => {
                let status = answer.status.as_u16();
                match reply::class(status) {
                    Class::Done => (Wish::End, Ended::Accepted(Some(elapsed))),
                    Class::Never => (Wish::End, Ended::Answered(Some(elapsed))),
                    // While others are accepted it is about this request, not about the credential.
                    Class::Credential if self.gate.accepted_since(begun) => (Wish::Again(None), Ended::Answered(None)),
                    Class::Credential => (Wish::Hold, Ended::CredentialRefused),
                    Class::Again => {
                        let asked = reply::retry_after(&answer.headers, SystemTime::now()).map(|asked| asked.min(self.retry.within));
                        if let Some(asked) = asked {
                            self.gate.asked_to_wait(asked);
                        }
                        (Wish::Again(asked), if reply::is_overload(status) { Ended::Overloaded } else { Ended::Broken(elapsed) })
                    }
                }
            }
            Last::Bare(missing) if missing.refused => (Wish::Hold, Ended::CredentialRefused),
            // The issuer of tokens is not the destination, and records are not given up because of it.
            Last::Bare(_) | Last::Failed(Fault::Broken(_)) => (Wish::Again(None), Ended::Lost),
            Last::Failed(_) => (Wish::Again(None), Ended::Silent),
        };
        let wish = match wish {
            // A probe that fails says how the destination stands, and nothing of the request.
            Wish::Again(_) if permit.is_probe() && !matches!(ended, Ended::Answered(_)) => Wish::Hold,
            wish => wish,
        };
        if matches!(wish, Wish::Hold) {
            // An outage uses up no attempts, however long it is. The held lanes take turns at being the probe, so a record that makes its destination
            // fail does not keep it closed to the others; and while it is open to them, its attempts count.
            past.attempts -= sent;
        }
        if !matches!(ended, Ended::Accepted(_) | Ended::Answered(Some(_))) {
            self.gate.failed(last.text());
        }
        permit.end(ended);
        (last, wish)
    }

    /// Looks for the results in the reply to a batch, where they are to be.
    fn with_results(&self, prepared: &Prepared, last: Last) -> Last {
        let Some(count) = prepared.results else { return last };
        match last {
            Last::Answered(answer) if answer.status.is_success() => match batch::results(&answer.body, answer.cut, count) {
                Ok(_) => Last::Answered(answer),
                Err(what) => {
                    tracing::warn!(
                        destination = &*self.name,
                        status = answer.status.as_u16(),
                        requests = count,
                        "the reply to a batch has not one result for each request, as `results = \"per-item\"` says; its records are given up, since nobody knows which were taken: {what}"
                    );
                    Last::Unclear(answer, what)
                }
            },
            last => last,
        }
    }

    /// Sends with the credential; once more if that is refused and there is a newer one. Says how often it was sent, and how long the last
    /// time took.
    async fn send(&self, prepared: &Prepared) -> (Last, u32, Duration) {
        let mut sent = 0;
        loop {
            let mut headers = prepared.headers.clone();
            let generation = match self.credential.apply(&mut headers, &prepared.key, &prepared.body).await {
                Ok(generation) => generation,
                Err(missing) => return (Last::Bare(missing), sent, Duration::ZERO),
            };
            let mut request = http::Request::new(Full::new(prepared.body.clone()));
            *request.method_mut() = prepared.method.clone();
            *request.uri_mut() = prepared.uri.clone();
            *request.headers_mut() = headers;
            sent += 1;
            let begun = Instant::now();
            let last = match self.wire.send(request).await {
                Ok(answer) => Last::Answered(answer),
                Err(fault) => Last::Failed(fault),
            };
            let elapsed = begun.elapsed();
            self.metrics.reply(&self.name, last.status(), elapsed);
            let refused = last.status().is_some_and(|status| reply::class(status) == Class::Credential);
            if !(refused && sent == 1 && self.credential.renew(generation).await) {
                return (last, sent, elapsed);
            }
        }
    }

    fn backoff(&self, tries: u32) -> Duration {
        policy::backoff(tries, self.retry.backoff_min, self.retry.backoff_max)
    }

    /// How long to wait for the next attempt, if there is to be one.
    fn next_attempt(&self, attempts: u32, tries: u32, deadline: Instant, asked: Option<Duration>) -> Option<Duration> {
        if attempts >= self.retry.attempts {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let backoff = self.backoff(tries);
        match asked {
            // Honoured in full, as far as there is time at all: then the last attempt comes when the time is up.
            Some(asked) => Some(asked.max(backoff).min(left)).filter(|_| !left.is_zero()),
            None => Some(backoff).filter(|backoff| *backoff <= left),
        }
    }

    fn answered(&self, prepared: &Prepared, attempts: u32, last: Last) -> Delivery {
        let last = match last {
            Last::Answered(answer) if answer.status.is_success() => return Delivery::Done(answer.into_reply(attempts)),
            last => last,
        };
        let (detail, request) = (last.text(), self.failed(prepared, attempts, &last));
        match last {
            Last::Answered(answer) => Delivery::Refused { reply: answer.into_reply(attempts), request },
            Last::Unclear(answer, _) => {
                let detail = format!("`{}` {detail}; what of it was taken is not known", self.name);
                Delivery::Unclear { detail, reply: answer.into_reply(attempts), request }
            }
            Last::Failed(_) | Last::Bare(_) => Delivery::Exhausted { detail, reply: None, request },
        }
    }

    fn exhausted(&self, prepared: &Prepared, course: &mut Course) -> Delivery {
        let attempts = course.past.attempts;
        let last = course.last.take().unwrap_or_else(|| Last::Failed(Fault::Timeout("the time was up (`retry.within`)".to_owned())));
        if last.status().is_some_and(|status| reply::class(status) == Class::Credential) {
            // Refused time and again while others were accepted.
            return self.answered(prepared, attempts, last);
        }
        if self.on_exhausted == OnExhausted::Hold || matches!(last, Last::Bare(_)) {
            // Its attempts begin anew, after a pause that grows no longer than those between them.
            self.gate.turn_away_for(self.retry.backoff_max);
            return self.held();
        }
        let (detail, request) = (last.text(), self.failed(prepared, attempts, &last));
        Delivery::Exhausted { detail, reply: last.into_reply(attempts), request }
    }

    fn turned_away(&self, prepared: &Prepared, past: Past) -> Delivery {
        self.gate.turn_away();
        self.held_after(prepared, past)
    }

    fn held_after(&self, prepared: &Prepared, past: Past) -> Delivery {
        self.memory.keep(prepared.key.as_bytes(), past);
        self.held()
    }

    fn held(&self) -> Delivery {
        Delivery::Held(Arc::clone(&self.name))
    }

    fn failed(&self, prepared: &Prepared, attempts: u32, last: &Last) -> FailedRequest {
        FailedRequest {
            index: prepared.index,
            destination: self.name.as_ref().to_owned(),
            method: prepared.method.as_str().to_owned(),
            url: prepared.uri.to_string(),
            attempts,
            last_status: last.status(),
            reply_excerpt: match last {
                Last::Answered(answer) | Last::Unclear(answer, _) => reply::excerpt(&answer.body),
                Last::Failed(_) | Last::Bare(_) => None,
            },
        }
    }
}

/// What is to become of a request after an attempt.
enum Wish {
    /// The reply is its end.
    End,
    /// It is to be sent again, not before this time if the destination asked for one.
    Again(Option<Duration>),
    /// It is to wait until the destination has recovered.
    Hold,
}

impl Last {
    fn status(&self) -> Option<u16> {
        match self {
            Last::Answered(answer) | Last::Unclear(answer, _) => Some(answer.status.as_u16()),
            Last::Failed(_) | Last::Bare(_) => None,
        }
    }

    fn into_reply(self, attempts: u32) -> Option<Reply> {
        match self {
            Last::Answered(answer) | Last::Unclear(answer, _) => Some(answer.into_reply(attempts)),
            Last::Failed(_) | Last::Bare(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Last::Answered(answer) => format!("the last reply was {}", answer.status),
            Last::Unclear(answer, what) => {
                format!("answered a batch with {} and not with one result for each request (`results = \"per-item\"`): {what}", answer.status)
            }
            Last::Failed(fault) => fault.text().to_owned(),
            Last::Bare(missing) => missing.text.clone(),
        }
    }
}

#[cfg(test)]
mod chaos;

#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests;
