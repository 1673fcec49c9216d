//! One destination: a request through all its attempts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Uri};
use http_body_util::Full;
use tokio::time::{Instant, sleep};

use super::client::{Answer, Client, Fault, Settings};
use super::reply::{self, Class};
use super::target::{Target, shown};
use super::{Delivery, Stamp, headers};
use crate::config;
use crate::config::OnExhausted;
use crate::observe::Metrics;
use crate::outcome::{FailedRequest, Request};

/// One destination with its policy and its state.
pub(super) struct Destination {
    name: Arc<str>,
    target: Target,
    client: Client,
    retry: config::Retry,
    on_exhausted: OnExhausted,
    metrics: Arc<Metrics>,
}

/// A request that keeps the rules, ready for any number of attempts.
struct Prepared {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    index: u32,
}

/// What is known of the last attempt.
enum Last {
    Answered(Answer),
    Failed(Fault),
}

impl Destination {
    /// # Errors
    /// What of the settings cannot be used.
    pub(super) fn new(settings: &config::Destination, metrics: Arc<Metrics>) -> Result<Destination, String> {
        Ok(Destination {
            name: Arc::clone(&settings.name),
            target: Target::new(&settings.url)?,
            client: Client::new(&Settings::of(settings))?,
            retry: settings.retry,
            on_exhausted: settings.on_exhausted,
            metrics,
        })
    }

    /// Performs a request with all its attempts.
    pub(super) async fn deliver(&self, request: &Request, stamp: Stamp<'_>) -> Delivery {
        match self.prepare(request, stamp) {
            Ok(prepared) => self.perform(prepared).await,
            Err(detail) => Delivery::Denied {
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
        let mut headers = headers::headers(request, &[])?;
        let key = HeaderValue::from_str(stamp.idempotency_key).map_err(|_| "the record's topic makes no `Idempotency-Key`".to_owned())?;
        headers.insert(headers::IDEMPOTENCY_KEY, key);
        let body = request.body.as_ref().map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.as_bytes()));
        Ok(Prepared { method, uri, headers, body, index: stamp.index })
    }

    async fn perform(&self, prepared: Prepared) -> Delivery {
        let deadline = Instant::now() + self.retry.within;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let last = self.attempt(&prepared).await;
            let wait = match &last {
                Last::Answered(answer) => {
                    let status = answer.status.as_u16();
                    match reply::class(status) {
                        Class::Done => {
                            return Delivery::Done(reply::reply(answer.status, &answer.headers, answer.body.clone(), attempts));
                        }
                        Class::Never | Class::Credential => {
                            return Delivery::Refused {
                                reply: reply::reply(answer.status, &answer.headers, answer.body.clone(), attempts),
                                request: self.failed(&prepared, attempts, &last),
                            };
                        }
                        Class::Again => reply::retry_after(&answer.headers, SystemTime::now()),
                    }
                }
                Last::Failed(_) => None,
            };
            let Some(wait) = self.next_attempt(attempts, deadline, wait) else {
                return match self.on_exhausted {
                    OnExhausted::Hold => Delivery::Held(Arc::clone(&self.name)),
                    OnExhausted::DeadLetter => Delivery::Exhausted { detail: last.text(), request: self.failed(&prepared, attempts, &last) },
                };
            };
            self.metrics.retry(&self.name);
            sleep(wait).await;
        }
    }

    /// How long to wait for the next attempt, if there is to be one.
    fn next_attempt(&self, attempts: u32, deadline: Instant, asked: Option<Duration>) -> Option<Duration> {
        if attempts >= self.retry.attempts {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let backoff = backoff(&self.retry, attempts);
        match asked {
            // Honoured in full, as far as there is time at all: then the last attempt comes when the time is up.
            Some(asked) => Some(asked.max(backoff).min(left)).filter(|_| !left.is_zero()),
            None => Some(backoff).filter(|backoff| *backoff <= left),
        }
    }

    async fn attempt(&self, prepared: &Prepared) -> Last {
        let mut request = http::Request::new(Full::new(prepared.body.clone()));
        *request.method_mut() = prepared.method.clone();
        *request.uri_mut() = prepared.uri.clone();
        *request.headers_mut() = prepared.headers.clone();
        let begun = Instant::now();
        let last = match self.client.send(request).await {
            Ok(answer) => Last::Answered(answer),
            Err(fault) => Last::Failed(fault),
        };
        self.metrics.reply(&self.name, last.status(), begun.elapsed());
        last
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
                Last::Answered(answer) => reply::excerpt(&answer.body),
                Last::Failed(_) => None,
            },
        }
    }
}

impl Last {
    fn status(&self) -> Option<u16> {
        match self {
            Last::Answered(answer) => Some(answer.status.as_u16()),
            Last::Failed(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Last::Answered(answer) => format!("the last reply was {}", answer.status),
            Last::Failed(fault) => fault.text().to_owned(),
        }
    }
}

/// Full jitter: anything between nothing and the exponential backoff, which spreads retries best (AWS Architecture Blog, "Exponential Backoff And
/// Jitter", 2015).
fn backoff(retry: &config::Retry, attempts: u32) -> Duration {
    let most = retry.backoff_min.saturating_mul(1 << (attempts - 1).min(20)).min(retry.backoff_max);
    most.mul_f64(fastrand::f64())
}
