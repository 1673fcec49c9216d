//! One guest call: an instance, a question, an answer, and what every limit has to say about it.
//!
//! A call is one future that owns its store, so it can be moved to the slow lane in the middle of the guest's code, and dropping it
//! ends the guest wherever it is. After any fault the instance is gone with it.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Store, UpdateDeadline, WasmBacktrace};

use super::bindings::{self, ExchangeLists, replies, transform, types};
use super::component::Code;
use super::imports::{Line, harmless};
use super::slow_lane::{Meter, thread_time};
use super::state::{At, State};
use crate::outcome::{self, Exchange, Failure, Next, Reason, Request, Verdict};
use crate::plugin::Description;
use crate::policy::Limits;
use crate::record::Record;

/// CPU time after which a call counts as slow at a tick. A tick alone says only that time has passed: on a busy machine the thread may have
/// stood still, and a quick call would be moved for nothing.
const SLOW_AFTER: Duration = Duration::from_micros(500);
/// Handles to resources that a guest may hold at once; no known guest of this contract holds more than a few.
const HANDLES_MAX: usize = 1_000;
/// Bytes of a failure's detail; dead letters carry it in a header.
const DETAIL_MAX: usize = 4 << 10;

/// What a plugin is asked.
pub(super) enum Question {
    /// Whether it fits the contract, and what it says of itself.
    Describe,
    /// What a record is to become.
    Transform(Record),
    /// What to do after these replies.
    Replies(Record, Vec<Exchange>),
}

/// What it said.
pub(super) enum Answer {
    Description(Option<Description>),
    Verdict(Verdict),
    Next(Next),
}

/// One call, with all that it needs and owns.
pub(super) struct Call {
    pub(super) code: Arc<Code>,
    pub(super) limits: Limits,
    pub(super) question: Question,
    pub(super) meter: Arc<Meter>,
    pub(super) keep_log: bool,
    /// A place in the pool, for as long as the store lives.
    pub(super) slot: OwnedSemaphorePermit,
}

/// How a call ended.
pub(super) struct Done {
    pub(super) result: Result<Answer, Failure>,
    /// Bytes of memories and tables at their largest.
    pub(super) memory: usize,
    pub(super) lines: Vec<Line>,
    pub(super) dropped_lines: u64,
}

impl Done {
    /// A call of which nothing is left but its failure.
    pub(super) fn failed(failure: Failure) -> Done {
        Done { result: Err(failure), memory: 0, lines: Vec::new(), dropped_lines: 0 }
    }
}

/// A kept instance's store and exports.
pub(super) struct Instance {
    pub(super) store: Store<State>,
    pub(super) exports: Exports,
    /// A place in the pool for as long as it is kept, besides that of the call that it answers.
    pub(super) slot: OwnedSemaphorePermit,
}

/// What an instance exports, as far as it is called.
#[derive(Clone)]
pub(super) struct Exports {
    pub(super) transform: transform::Guest,
    pub(super) replies: Option<replies::Guest>,
    /// Calls that the instance has answered.
    pub(super) calls: u32,
}

/// The guest has used up its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("the CPU time is used up")]
struct CpuUsedUp;

impl Call {
    /// Runs the call to its end.
    pub(super) async fn run(self) -> Done {
        let Call { code, limits, question, meter, keep_log, slot } = self;
        let at = match &question {
            Question::Describe => At::load(),
            Question::Transform(record) | Question::Replies(record, _) => At::record(record),
        };
        let (mut store, exports, kept_slot) = match code.take_kept() {
            Some(Instance { mut store, exports, slot }) => {
                store.data_mut().begin_call(at, keep_log);
                (store, Some(exports), Some(slot))
            }
            None => (Store::new(code.engine(), State::new(Arc::clone(&code.shared), at, limits.memory, keep_log)), None, None),
        };
        arm(&mut store, &limits, meter);
        let asked = ask(&code, &mut store, exports, &question).await;

        let state = store.data_mut();
        state.drain_output();
        state.end_log();
        let memory = state.limiter.used();
        let (lines, dropped_lines) = state.log.take();
        let result = match asked {
            Ok((exports, answer)) => check_output(answer, &limits).inspect(|_| code.keep(store, exports, kept_slot)),
            Err(error) => {
                let failure = failure(&error, store.data(), &limits);
                // Before its place in the pool is given away.
                drop(store);
                Err(failure)
            }
        };
        drop(slot);
        Done { result, memory, lines, dropped_lines }
    }
}

/// Puts a store under the limits of its next call.
fn arm(store: &mut Store<State>, limits: &Limits, meter: Arc<Meter>) {
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(hostcall_fuel(limits));
    store.set_max_component_handles(HANDLES_MAX);
    store.set_epoch_deadline(1);
    let budget = limits.cpu;
    let mut first_tick = None;
    store.epoch_deadline_callback(move |_| {
        let used = meter.used();
        if used >= budget {
            return Err(CpuUsedUp.into());
        }
        // In the first slice, from the first tick on, the thread's own clock decides. Reading it is a system call, which a quick call never makes.
        if used.is_zero() {
            let now = thread_time();
            if now - *first_tick.get_or_insert(now) < SLOW_AFTER {
                return Ok(UpdateDeadline::Continue(1));
            }
        }
        Ok(UpdateDeadline::Yield(1))
    });
}

/// What wasmtime counts as copied out of the guest: the output itself, and the host's structs for as many requests and headers as are allowed.
fn hostcall_fuel(limits: &Limits) -> usize {
    let header = size_of::<(String, String)>();
    let request = size_of::<types::RequestResult>() + limits.headers.saturating_mul(header);
    // The exact counts are checked afterwards; twice leaves them the first word.
    limits.requests.saturating_mul(request).saturating_mul(2).saturating_add(limits.output)
}

/// Instantiates unless there is an instance, and asks.
async fn ask(code: &Code, store: &mut Store<State>, exports: Option<Exports>, question: &Question) -> wasmtime::Result<(Exports, Answer)> {
    let mut exports = match (exports, question) {
        (Some(exports), _) => exports,
        (None, Question::Describe) => return describe(code, store).await,
        (None, _) => {
            let instance = code.pre.instantiate_async(&mut *store).await?;
            code.exports(store, &instance)?
        }
    };
    exports.calls += 1;
    let answer = match question {
        Question::Describe => Answer::Description(None),
        Question::Transform(record) => {
            let headers = headers(record);
            Answer::Verdict(exports.transform.call_transform(&mut *store, message(record, &headers)).await?.into())
        }
        Question::Replies(record, exchanges) => {
            let Some(replies) = &exports.replies else { wasmtime::bail!("the plugin does not export `replies`") };
            let headers = headers(record);
            let lists: Vec<_> = exchanges.iter().map(ExchangeLists::of).collect();
            let exchanges: Vec<_> = exchanges.iter().zip(&lists).map(|(exchange, lists)| bindings::exchange(exchange, lists)).collect();
            Answer::Next(replies.call_on_replies(&mut *store, message(record, &headers), &exchanges).await?.into())
        }
    };
    Ok((exports, answer))
}

/// The first call of a version: finds every export, checks its type, and asks for the description.
async fn describe(code: &Code, store: &mut Store<State>) -> wasmtime::Result<(Exports, Answer)> {
    let instance = code.pre.instantiate_async(&mut *store).await?;
    let exports = code.exports(store, &instance)?;
    let description = match &code.about {
        Some(about) => Some(about.load(&mut *store, &instance)?.call_describe(&mut *store).await?.into()),
        None => None,
    };
    Ok((exports, Answer::Description(description)))
}

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

fn headers(record: &Record) -> Headers<'_> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect()
}

/// The record as the contract has it. That the payload is UTF-8 was checked before; offsets and partitions of Kafka are never negative.
fn message<'a>(record: &'a Record, headers: &'a Headers<'a>) -> types::Message<'a> {
    types::Message {
        topic: record.topic(),
        partition: u32::try_from(record.partition()).unwrap_or(0),
        offset: u64::try_from(record.offset).unwrap_or(0),
        timestamp: record.timestamp.and_then(|timestamp| u64::try_from(timestamp).ok()),
        key: record.key_text(),
        headers,
        payload: record.payload.as_deref().map(|payload| std::str::from_utf8(payload).unwrap_or_default()),
        attributes: &[],
    }
}

/// Counts what came back, exactly.
fn check_output(answer: Answer, limits: &Limits) -> Result<Answer, Failure> {
    let requests: &[Request] = match &answer {
        Answer::Verdict(Verdict::Send(requests)) | Answer::Next(Next::Send(requests)) => requests,
        _ => &[],
    };
    let over = |what: &str, count: usize, limit: usize| {
        Err(Failure::new(Reason::Output, format!("returned {count} {what}, more than its limit of {limit}")))
    };
    if requests.len() > limits.requests {
        return over("requests", requests.len(), limits.requests);
    }
    if let Some(headers) = requests.iter().map(|request| request.headers.len()).find(|headers| *headers > limits.headers) {
        return over("headers in one request", headers, limits.headers);
    }
    let bytes = requests.iter().map(Request::weight).sum::<usize>() + text(&answer);
    if bytes > limits.output {
        return over("bytes", bytes, limits.output);
    }
    Ok(answer)
}

fn text(answer: &Answer) -> usize {
    match answer {
        Answer::Verdict(Verdict::Skip(why) | Verdict::Reject(why)) | Answer::Next(Next::Reject(why)) => why.len(),
        Answer::Description(Some(description)) => {
            description.name.len()
                + description.version.len()
                + description.keys.iter().map(String::len).sum::<usize>()
                + description.settings_schema.as_ref().map_or(0, String::len)
        }
        _ => 0,
    }
}

/// What a guest's error means: the limit that fired, if one did, else the trap.
fn failure(error: &wasmtime::Error, state: &State, limits: &Limits) -> Failure {
    // wasmtime has no types for these two; `hostile` in the tests holds their texts so.
    let says = |text: &str| error.chain().any(|cause| cause.to_string().contains(text));
    let (reason, what) = if error.is::<CpuUsedUp>() {
        (Reason::Cpu, format!("used more than its {:?} of CPU time", limits.cpu))
    } else if state.limiter.denied() {
        (Reason::Memory, format!("wanted more than its {} of memory: {}", mebibytes(limits.memory as u64), error.root_cause()))
    } else if says("store handle limit exceeded") {
        (Reason::Memory, format!("holds more than {HANDLES_MAX} handles to resources"))
    } else if says("fuel allocated for hostcalls has been exhausted") {
        (Reason::Output, format!("returned, or logged at once, more than its {} of output", mebibytes(limits.output as u64)))
    } else {
        (Reason::Trapped, error.root_cause().to_string())
    };
    let mut detail = String::new();
    if let Some(last) = state.log.last_error() {
        // What a language's panic handler wrote says more than the trap that follows it.
        detail.push_str(last);
        detail.push('\n');
    }
    detail.push_str(&what);
    detail.truncate(detail.floor_char_boundary(DETAIL_MAX));
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        // It ends where there is no more room.
        let _ = write_frames(&mut Bounded(&mut detail), backtrace);
    }
    Failure::new(reason, detail)
}

/// The functions that were being called, the innermost first. Their names are the guest's to choose, up to 100 KB each, and a Rust name can stand for far
/// more text than it has bytes: so what is written is bounded while it is written. Names of C++ stay as they are.
fn write_frames(to: &mut Bounded<'_>, backtrace: &WasmBacktrace) -> fmt::Result {
    for frame in backtrace.frames() {
        to.write_str("\n    at ")?;
        match frame.func_name() {
            // Without the hash at its end.
            Some(name) => write!(to, "{:#}", rustc_demangle::demangle(name))?,
            None => write!(to, "function {}", frame.func_index())?,
        }
        if let Some(module) = frame.module().name() {
            write!(to, " of {module}")?;
        }
        if let Some(offset) = frame.module_offset() {
            write!(to, ", byte {offset:#x}")?;
        }
    }
    Ok(())
}

/// A text that takes no more than a failure's detail may have, and nothing that a terminal obeys.
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c == '\n' { c } else { harmless(c) };
            if self.0.len() + c.len_utf8() > DETAIL_MAX {
                return Err(fmt::Error);
            }
            self.0.push(c);
        }
        Ok(())
    }
}

/// A call that did not end in time.
pub(super) fn deadline(limit: Duration) -> Failure {
    Failure::new(Reason::Deadline, format!("took longer than its {limit:?}"))
}

/// A panic of the host's own code during a call.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = outcome::panic_text(panic);
    tracing::error!(panic = text, "the host panicked in a guest call; the call is given up");
    Failure::new(Reason::Trapped, format!("the host panicked in the call: {text}"))
}

/// A limit in bytes, for people.
pub(super) fn mebibytes(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}
