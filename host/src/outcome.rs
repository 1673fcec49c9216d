//! What a plugin says of a record, and how a record ends.
//!
//! Outcomes are data, not errors: whoever meets one must match every case. An `Err` elsewhere in the host means that the host itself
//! could not do its job.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// A text as one line of a log: what others have chosen of it, such as the names of a plugin's functions, cannot begin another line or move a cursor.
pub fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// What a plugin says of a record (`verdict` of the contract).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Perform these requests in order.
    Send(Vec<Request>),
    /// Nothing to do, and why.
    Skip(String),
    /// The record is bad, and why.
    Reject(String),
}

/// One HTTP request, as a plugin asked for it (`request` of the contract).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Name of the destination.
    pub destination: String,
    /// HTTP method, not yet checked.
    pub method: String,
    /// Path and query, not yet checked.
    pub path: String,
    /// Headers, not yet checked.
    pub headers: Vec<(String, String)>,
    /// The body, if any.
    pub body: Option<Body>,
    /// Wishes that this host may not know.
    pub attributes: Vec<(String, String)>,
}

impl Request {
    /// Bytes of all that it carries, which count against the limit on output.
    pub fn weight(&self) -> usize {
        let pairs: usize = self.headers.iter().chain(&self.attributes).map(|(name, value)| name.len() + value.len()).sum();
        let body = self.body.as_ref().map_or(0, |body| body.as_bytes().len());
        self.destination.len() + self.method.len() + self.path.len() + pairs + body
    }
}

/// A request's body. `Text` is known to be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// UTF-8 text.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl Body {
    /// The bytes that go over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Text(text) => text.as_bytes(),
            Body::Bytes(bytes) => bytes,
        }
    }
}

/// What a destination answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 100 to 599.
    pub status: u16,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body, cut off at the destination's cap.
    pub body: Bytes,
    /// Whether there was more of the body than that.
    pub cut: bool,
    /// How often the request was sent, from 1.
    pub attempts: u32,
}

impl Reply {
    /// Bytes of all that it carries.
    pub fn weight(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// One request of a record with its reply (`exchange` of the contract).
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request as the plugin gave it.
    pub request: Request,
    /// The last reply.
    pub reply: Reply,
}

/// How far a record has come with a plugin that sees replies.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// All exchanges so far.
    pub exchanges: Vec<Exchange>,
    /// The round that is being performed.
    pub round: Vec<Request>,
    /// Exchanges before this round.
    pub before: usize,
    /// Rounds, this one included.
    pub rounds: u32,
}

impl Conversation {
    /// The first round.
    pub fn new(round: Vec<Request>) -> Conversation {
        Conversation { exchanges: Vec::new(), round, before: 0, rounds: 1 }
    }

    /// The next request of the round, if there is one.
    pub fn due(&self) -> Option<&Request> {
        self.round.get(self.exchanges.len() - self.before)
    }

    /// Bytes of all that it carries.
    pub fn weight(&self) -> usize {
        let exchanges: usize = self.exchanges.iter().map(|exchange| exchange.request.weight() + exchange.reply.weight()).sum();
        exchanges + self.round.iter().map(Request::weight).sum::<usize>()
    }
}

/// What a plugin wants after it has seen the replies (`next` of the contract).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The record is delivered.
    Done,
    /// Perform further requests.
    Send(Vec<Request>),
    /// Perform the last round again, after so many milliseconds if given.
    Retry(Option<u64>),
    /// Give the record up, and why.
    Reject(String),
}

/// Why a record could not be delivered. The code is part of the contract with whoever reads dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No plugin claims the key.
    Unrouted,
    /// The payload is not UTF-8, or not framed as the configuration says.
    Malformed,
    /// The plugin rejected the record.
    Rejected,
    /// The plugin trapped.
    Trapped,
    /// The plugin used more CPU time than its limit.
    Cpu,
    /// The plugin took longer than its wall-clock limit.
    Deadline,
    /// The plugin asked for more memory than its limit.
    Memory,
    /// The plugin returned more than its limit of bytes, requests or headers.
    Output,
    /// The plugin asked for something that its team is not granted, or a request breaks the rules.
    Denied,
    /// The destination refused the request for good (a reply of class *never*).
    Refused,
    /// The attempts were used up.
    Exhausted,
    /// The record is larger than the memory that its plugin may use.
    Oversized,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Reason; 12] = [
        Reason::Unrouted,
        Reason::Malformed,
        Reason::Rejected,
        Reason::Trapped,
        Reason::Cpu,
        Reason::Deadline,
        Reason::Memory,
        Reason::Output,
        Reason::Denied,
        Reason::Refused,
        Reason::Exhausted,
        Reason::Oversized,
    ];

    /// The code that dead letters, metrics and logs carry.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::Unrouted => "unrouted",
            Reason::Malformed => "malformed",
            Reason::Rejected => "rejected",
            Reason::Trapped => "trapped",
            Reason::Cpu => "cpu",
            Reason::Deadline => "deadline",
            Reason::Memory => "memory",
            Reason::Output => "output",
            Reason::Denied => "denied",
            Reason::Refused => "refused",
            Reason::Exhausted => "exhausted",
            Reason::Oversized => "oversized",
        }
    }

    /// Whether the plugin's own code is at fault, so that a new version of it may mend the record (`on_fault`).
    pub const fn is_fault(self) -> bool {
        matches!(self, Reason::Trapped | Reason::Cpu | Reason::Deadline | Reason::Memory | Reason::Output | Reason::Denied)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a record could not be delivered, with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub reason: Reason,
    /// For people: trap text with frames, the plugin's own words, the broken rule. Never a secret.
    pub detail: String,
    /// The request that failed; none when the record never got so far.
    pub request: Option<FailedRequest>,
    /// So many of the record's first requests were delivered, and are not to be sent again. None of them where the plugin sees replies: it wants all of them
    /// anew.
    pub delivered: u32,
}

impl Failure {
    /// A failure before any request was made.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Failure {
        Failure { reason, detail: detail.into(), request: None, delivered: 0 }
    }

    /// A failure at a request.
    pub fn at(request: FailedRequest, reason: Reason, detail: impl Into<String>) -> Failure {
        Failure { request: Some(request), ..Failure::new(reason, detail) }
    }
}

/// The request at which a record failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailedRequest {
    /// Its place among the record's requests, from 0. It says nothing of those before it: all of them may have been checked before one was sent.
    pub index: u32,
    /// Name of the destination.
    pub destination: String,
    /// HTTP method.
    pub method: String,
    /// The URL that was called, without credentials.
    pub url: String,
    /// How often it was sent.
    pub attempts: u32,
    /// Status of the last reply; none when there never was one.
    pub last_status: Option<u16>,
    /// The beginning of the last reply's body, at most 1 KiB, as text.
    pub reply_excerpt: Option<String>,
}

/// Why a key's records wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// This destination takes nothing at the moment: its breaker is open, its credential is refused, or too many wait for it already.
    Destination(Arc<str>),
    /// This version of this plugin faulted, and its `on_fault` is `hold`; released as soon as another version serves.
    Plugin {
        /// The plugin's name.
        name: Arc<str>,
        /// The version that faulted, which need not be the one that serves by the time the record has ended.
        version: Arc<str>,
    },
    /// So many calls of this plugin take long and wait for CPU time that further records of it wait in their lanes; released as they end.
    Busy(Arc<str>),
    /// No plugin claims the key, and `[failures] unrouted` is `hold`; released by the next change of the routes.
    Unrouted,
}

/// How the handling of a record ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every request was answered with success.
    Delivered,
    /// By the plugin's word, or by the operator's (`unrouted = "skip"`), nothing was to be done.
    Skipped,
    /// Given up, and the dead letter is acknowledged by Kafka.
    DeadLettered(Reason),
    /// Not settled: the record waits at the head of its lane until the cause is gone, and is then handled anew.
    Held(Cause),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_guest_s_stays_on_its_line() {
        assert_eq!(
            one_line("unreachable\n    at f\n2026-11-27 ERROR it is on fire\x1b[2J\u{2028}é"),
            "unreachable\\n    at f\\n2026-11-27 ERROR it is on fire\\u{1b}[2J\\u{2028}é"
        );
    }
}
