//! The sandbox: what the rest of the host calls.
//!
//! A call begins where its record's task runs. When it is not done within a tick or two it goes on in the slow lane, and the plugin's next call
//! begins there, until one is done within a tick again; after a call that could not be stopped in time, until as many are as that one took ticks.

use std::borrow::Cow;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use wasmtime::component::Linker;

use super::bindings::{config, log, types};
use super::call::{self, Answer, Call, Done, Question};
use super::compile::Compiler;
use super::component::{Code, Component};
use super::engine::{self, TICK};
use super::imports::{Line, LogRate};
use super::slow_lane::{Meter, SlowLane, thread_time};
use super::state::{Shared, State};
use super::team::Teams;
use super::{Transform, closed, gate, inert};
use crate::observe::Metrics;
use crate::outcome::{Exchange, Failure, Next, Reason, Verdict};
use crate::plugin::{Candidate, Load, Loaded, Plugin, Refusal, Tier};
use crate::policy::Limits;
use crate::record::Record;

/// Instances that kept ones may add to the pool, over all plugins.
const KEPT_SLOTS: usize = 64;

/// What a call takes at most of a thread that it shares with Kafka and HTTP, if the guest looks at the epoch: from one tick to the end of the next.
const FIRST_SLICE: Duration = TICK.saturating_mul(2);

/// How the sandbox is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that nothing but slow calls runs on. One less than there are cores leaves one for Kafka and HTTP.
    pub slow_threads: usize,
    /// Instances at once. Calls beyond it wait, unbegun; what it costs is address space (4 GiB for each of up to eight memories), not memory.
    pub instances: usize,
    /// Where components are compiled.
    pub compile: Compile,
    /// Folder for compiled components; none compiles anew at each start. Only this user may be able to write it: what lies there is run.
    pub cache: Option<PathBuf>,
}

impl Default for Settings {
    /// For the machine at hand, compiling in this process.
    fn default() -> Settings {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        Settings { slow_threads: cores.saturating_sub(1).max(1), instances: 128, compile: Compile::InProcess, cache: None }
    }
}

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compile {
    /// In this process: for tests, and where every author is trusted. A component made for it can take any time and memory.
    InProcess,
    /// In a child process with limits: this program, called with the argument `compile-worker`.
    Worker(PathBuf),
}

/// Runs plugins. One for each process.
pub struct Sandbox {
    pure: Linker<State>,
    inert: Linker<State>,
    compiler: Compiler,
    slow_lane: SlowLane,
    teams: Teams,
    /// Places in the pool for calls that begin beside Kafka and HTTP, and apart from them for those that begin in the slow lane, so that
    /// parked calls of the first kind can never keep the second from running.
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("teams", &self.teams).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Builds the engine and starts its threads.
    ///
    /// # Errors
    /// No address space for the pool, no thread, or a cache folder that others can write.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> anyhow::Result<Sandbox> {
        let slots = settings.instances.max(2);
        let engine = engine::running(u32::try_from(slots + KEPT_SLOTS)?)?;
        let mut pure = Linker::new(&engine);
        log::add_to_linker::<State, Contract>(&mut pure, |state| state)?;
        config::add_to_linker::<State, Contract>(&mut pure, |state| state)?;
        types::add_to_linker::<State, Contract>(&mut pure, |state| state)?;
        let mut inert = pure.clone();
        inert::add_to_linker(&mut inert)?;
        let compiler = Compiler::new(engine.clone(), settings.compile.clone(), settings.cache.as_deref())?;
        let slow_lane = SlowLane::start(settings.slow_threads.max(1), slots - slots / 2)?;
        let teams = Teams::default();
        let quick = Arc::new(Semaphore::new(slots / 2));
        let slow = Arc::new(Semaphore::new(slots - slots / 2));
        let kept = Arc::new(Semaphore::new(KEPT_SLOTS));
        Ok(Sandbox { pure, inert, compiler, slow_lane, teams, quick, slow, kept, metrics })
    }

    /// One record through one plugin, with all that can be said of the call: for whoever tries a plugin out. Log lines are returned, not logged.
    pub async fn trial(&self, plugin: &Plugin<Component>, record: &Record) -> Trial {
        let meter = Arc::new(Meter::default());
        let started = Instant::now();
        let done = match check_record(record, &plugin.limits) {
            Ok(()) => self.call(&plugin.code.0, plugin.limits, Question::Transform(record.clone()), Arc::clone(&meter), true).await,
            Err(failure) => Done::failed(failure),
        };
        Trial {
            verdict: done.result.and_then(verdict),
            cpu: meter.used(),
            elapsed: started.elapsed(),
            memory: done.memory,
            lines: done.lines,
            dropped_lines: done.dropped_lines,
        }
    }

    /// One call, wherever it has to run, with the host's own panics contained.
    async fn call(&self, code: &Arc<Code>, limits: Limits, question: Question, meter: Arc<Meter>, keep_log: bool) -> Done {
        let call = |slot| {
            let call = Call { code: Arc::clone(code), limits, question, meter: Arc::clone(&meter), keep_log, slot };
            Box::pin(AssertUnwindSafe(call.run()).catch_unwind().map(|ended| ended.unwrap_or_else(|panic| Done::failed(call::panicked(&*panic)))))
        };
        let member = &code.member;
        let (place, future, spent) = if code.is_slow() || !member.may_park() {
            // A call without a place has not begun or is parked, and its wall clock stands still.
            let waits = member.wait();
            let place = self.slow_lane.place(member.share, false).await;
            drop(waits);
            (place, call(acquire(&self.slow).await), Duration::ZERO)
        } else {
            let mut future: Pin<Box<_>> = call(acquire(&self.quick).await);
            // Reading the thread's clock is a system call, which a quick call is spared: the clock of the wall decides whether the next ones are worth it. In a
            // trial they always are.
            let measured = (keep_log || code.is_watched()).then(thread_time);
            let started = Instant::now();
            let first = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
            let spent = started.elapsed();
            if spent > FIRST_SLICE {
                // It looks at the epoch when the guest does, and one `memory.fill` of 60 MiB takes ten ticks; or the thread has stood still meanwhile.
                code.watch();
            }
            let used = measured.map_or(spent.min(FIRST_SLICE), |began| thread_time().saturating_sub(began));
            meter.add(used);
            if used > FIRST_SLICE {
                code.was_slow(u32::try_from(used.as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX));
                self.slow_lane.charge(member.share, used);
            }
            if let Poll::Ready(done) = first {
                return done;
            }
            code.was_slow(1);
            let _parked = member.park();
            (self.slow_lane.place(member.share, true).await, future, spent)
        };
        let ended = timeout(limits.wall.saturating_sub(spent), self.slow_lane.run(&place, future, Arc::clone(&meter))).await;
        drop(place);
        if meter.used() > TICK || ended.is_err() {
            code.was_slow(1);
        } else {
            code.was_quick();
        }
        match ended {
            Ok(Some(done)) => done,
            Ok(None) => Done::failed(Failure::new(Reason::Trapped, "the host is shutting down")),
            Err(_) => Done::failed(call::deadline(limits.wall)),
        }
    }

    async fn ask(&self, plugin: &Plugin<Component>, question: Question) -> Result<Answer, Failure> {
        let meter = Arc::new(Meter::default());
        let done = self.call(&plugin.code.0, plugin.limits, question, Arc::clone(&meter), false).await;
        self.metrics.call(plugin.name.as_str(), meter.used());
        if done.dropped_lines > 0 {
            self.metrics.log_lines_dropped(plugin.name.as_str(), done.dropped_lines);
        }
        done.result
    }
}

/// What a call told of itself.
#[derive(Debug)]
pub struct Trial {
    /// What the plugin said, or how it failed.
    pub verdict: Result<Verdict, Failure>,
    /// CPU time.
    pub cpu: Duration,
    /// Time by the clock, waiting for a place included.
    pub elapsed: Duration,
    /// Bytes of memories and tables at their largest.
    pub memory: usize,
    /// Its log.
    pub lines: Vec<Line>,
    /// Log lines over the caps.
    pub dropped_lines: u64,
}

impl Transform for Sandbox {
    type Code = Component;

    async fn transform(&self, plugin: &Plugin<Component>, record: &Record) -> Result<Verdict, Failure> {
        check_record(record, &plugin.limits)?;
        self.ask(plugin, Question::Transform(record.clone())).await.and_then(verdict)
    }

    async fn on_replies(&self, plugin: &Plugin<Component>, record: &Record, exchanges: &[Exchange]) -> Result<Next, Failure> {
        check_record(record, &plugin.limits)?;
        match self.ask(plugin, Question::Replies(record.clone(), exchanges.to_vec())).await? {
            Answer::Next(next) => Ok(next),
            Answer::Verdict(_) | Answer::Description(_) => Err(Failure::new(Reason::Trapped, "answered another question")),
        }
    }

    fn is_busy(&self, plugin: &Plugin<Component>) -> bool {
        plugin.code.0.member.is_busy()
    }

    async fn relieved(&self) -> (Arc<str>, usize) {
        self.teams.relieved().await
    }

    fn room(&self, plugin: &str) -> usize {
        self.teams.find(plugin).map_or(usize::MAX, |member| member.room())
    }
}

impl Load for Sandbox {
    type Code = Component;

    async fn must_compile(&self, component: &Bytes) -> Result<bool, Refusal> {
        let missing = self.compiler.is_missing(component).await?;
        if missing {
            check(component, gate::check).await?;
        }
        Ok(missing)
    }

    async fn prepare(&self, component: &Bytes) -> Result<(), Refusal> {
        check(component, gate::check).await?;
        self.compiler.compile(component).await.map(drop)
    }

    async fn load(&self, candidate: &Candidate) -> Result<Loaded<Component>, Refusal> {
        let found = self.compiler.find(&candidate.component).await?;
        // What lies in the cache was let in by this version of the host.
        let outside = check(&candidate.component, if found.is_some() { gate::look } else { gate::check }).await?;
        let image = match found {
            Some(image) => image,
            None => self.compiler.compile(&candidate.component).await?,
        };
        let shared = Arc::new(Shared { name: candidate.name.clone(), settings: candidate.sidecar.settings.clone(), log_rate: LogRate::new() });
        let linker = match outside.tier {
            Tier::Pure => Cow::Borrowed(&self.pure),
            Tier::Inert if outside.closed.is_empty() => Cow::Borrowed(&self.inert),
            Tier::Inert => {
                let mut linker = self.inert.clone();
                closed::link(&mut linker, self.inert.engine(), &image.code)?;
                Cow::Owned(linker)
            }
        };
        let member = self.teams.member(&candidate.name);
        let reuse = candidate.sidecar.reuse.map(|reuse| reuse.within(candidate.limits.memory));
        let code = Arc::new(Code::link(&linker, &image.code, shared, member, reuse, Arc::clone(&self.kept))?);
        let first = self.call(&code, candidate.limits, Question::Describe, Arc::default(), false).await;
        image.let_go();
        match first.result {
            Ok(Answer::Description(description)) => {
                let sees_replies = code.sees_replies();
                Ok(Loaded { code: Component(code), description, sees_replies, tier: outside.tier, closed: outside.closed })
            }
            Ok(_) => Err(Refusal { cause: "answered another question when it was loaded".to_owned(), hint: None }),
            Err(failure) => Err(Refusal {
                cause: format!("failed when it was loaded ({}): {}", failure.reason, failure.detail),
                hint: Some("it is instantiated, and its `describe` called if it has one, under the limits of any other call".to_owned()),
            }),
        }
    }
}

/// Looks at a component's bytes beside the path of records: validation takes time in the size of the file, up to some 100 ms.
async fn check(component: &Bytes, how: fn(&[u8]) -> Result<gate::Outside, Refusal>) -> Result<gate::Outside, Refusal> {
    let bytes = component.clone();
    let checked = tokio::task::spawn_blocking(move || how(&bytes)).await;
    checked.unwrap_or_else(|error| Err(Refusal { cause: format!("the check of the file panicked: {error}"), hint: None }))
}

/// The imports of the contract find their state in the store itself.
struct Contract;

impl wasmtime::component::HasData for Contract {
    type Data<'a> = &'a mut State;
}

/// Waits for a place. Bounded by the calls ahead, each of which ends within its wall limit.
async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(semaphore).acquire_owned().await {
        Ok(permit) => permit,
        // Nobody closes these semaphores.
        Err(_) => std::future::pending().await,
    }
}

fn verdict(answer: Answer) -> Result<Verdict, Failure> {
    match answer {
        Answer::Verdict(verdict) => Ok(verdict),
        Answer::Next(_) | Answer::Description(_) => Err(Failure::new(Reason::Trapped, "answered another question")),
    }
}

/// A payload that is not UTF-8 never reaches a plugin.
fn check_record(record: &Record, limits: &Limits) -> Result<(), Failure> {
    // It could only run out of memory, and that would be counted as the plugin's fault.
    if record.weight() > limits.memory {
        return Err(Failure::new(
            Reason::Oversized,
            format!(
                "the record has {} bytes with its key and headers, and the plugin's memory is {} (`limits.memory`)",
                record.weight(),
                limits.memory
            ),
        ));
    }
    match record.payload.as_deref().map(std::str::from_utf8) {
        Some(Err(error)) => {
            let at = error.valid_up_to();
            Err(Failure::new(
                Reason::Malformed,
                format!("the payload is not UTF-8: byte {at} of {} is the first that is not", record.payload.as_ref().map_or(0, Bytes::len)),
            ))
        }
        _ => Ok(()),
    }
}
