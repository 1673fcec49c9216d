//! The slow lane: where a guest call goes on that is not done within a tick.
//!
//! A fast call runs where its record's task runs, and costs nothing extra. A slow one would keep that thread from Kafka and HTTP, so its future
//! is moved here, to a few threads of low priority that nothing else runs on, and goes on in slices of one tick.
//!
//! Owns those threads and the order of slices: the next slice goes to the team that has had the least CPU time here, and within a team to
//! the call that has waited longest. So a team that loops in every call takes its own share and no other's. Measures each slice as
//! CPU time of the thread, so that a busy machine uses up nobody's budget.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

/// By how much the threads' priority is lowered: under contention they get about a tenth of what a normal thread gets (nice 10 against 0 is a
/// weight of 110 against 1024 in Linux's scheduler), and all that is left over otherwise.
const NICE: i32 = 10;

/// CPU time of one call.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    /// CPU time so far, without the slice in progress.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Adds a slice.
    pub(super) fn add(&self, slice: Duration) {
        self.0.fetch_add(nanoseconds(slice), Ordering::Relaxed);
    }
}

/// Whose turn a call takes; handed out by the sandbox, one for each team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TeamId(pub(super) usize);

/// The threads and what waits for them. Dropping it ends the threads; calls that are not done are dropped with it.
#[derive(Debug)]
pub(super) struct SlowLane {
    queue: Arc<Queue>,
}

impl SlowLane {
    /// Starts so many threads, in the current tokio runtime's context if there is one.
    pub(super) fn start(threads: usize) -> wasmtime::Result<SlowLane> {
        let lane = SlowLane { queue: Arc::default() };
        for index in 0..threads {
            let queue = Arc::clone(&lane.queue);
            std::thread::Builder::new()
                .name(format!("keyway-slow-{index}"))
                .spawn(move || work(&queue))
                .map_err(|error| wasmtime::format_err!("failed to start a thread for slow calls: {error}"))?;
        }
        Ok(lane)
    }

    /// Runs a future to its end. Dropping the returned one cancels it: at the end of its slice at the latest it is dropped here. None when the lane
    /// ended first. The number of calls here at once is bounded by the seats that the sandbox hands out.
    pub(super) fn run<T, F>(&self, team: TeamId, future: F, meter: Arc<Meter>) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = Arc::new(Task {
            team,
            meter,
            state: AtomicU8::new(QUEUED),
            cancelled: AtomicBool::new(false),
            queue: Arc::clone(&self.queue),
            future: Mutex::new(Some(Box::pin(async move {
                // Nobody listens any more when the call was cancelled.
                drop(sender.send(future.await));
            }))),
        });
        self.queue.push(Arc::clone(&task));
        let guard = CancelOnDrop(task);
        async move {
            let done = receiver.await.ok();
            drop(guard);
            done
        }
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.closed = true;
        let dropped: Vec<_> = waiting.teams.iter_mut().flat_map(|team| team.ready.drain(..)).collect();
        drop(waiting);
        for task in dropped {
            task.discard();
        }
        self.queue.ready.notify_all();
    }
}

struct CancelOnDrop(Arc<Task>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.wake_by_ref();
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Not in the queue and not running: waits to be woken.
const IDLE: u8 = 0;
/// In the queue.
const QUEUED: u8 = 1;
/// A thread polls it.
const RUNNING: u8 = 2;
/// A thread polls it, and it was woken meanwhile.
const WOKEN: u8 = 3;

struct Task {
    team: TeamId,
    meter: Arc<Meter>,
    state: AtomicU8,
    cancelled: AtomicBool,
    queue: Arc<Queue>,
    future: Mutex<Option<Work>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.compare_exchange(IDLE, QUEUED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.queue.push(Arc::clone(self));
        } else {
            // Fails when the task is queued or marked already, which is as good.
            let _ = self.state.compare_exchange(RUNNING, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

impl Task {
    /// One slice.
    fn slice(self: &Arc<Self>) {
        self.state.store(RUNNING, Ordering::Release);
        if self.cancelled.load(Ordering::Acquire) {
            self.discard();
            return;
        }
        let started = thread_time();
        let waker = Waker::from(Arc::clone(self));
        let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = match future.as_mut() {
            // The call contains its own panics; what is caught here would be a fault of this module's, and must not cost a thread.
            Some(work) => catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&waker)))),
            None => Ok(Poll::Ready(())),
        };
        let slice = thread_time().saturating_sub(started);
        drop(future);
        self.meter.add(slice);
        self.queue.charge(self.team, slice);
        if let Ok(Poll::Pending) = polled {
            if self.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
                self.state.store(QUEUED, Ordering::Release);
                self.queue.push(Arc::clone(self));
            }
        } else {
            self.discard();
        }
    }

    /// Drops the future, and with it the guest. The state stays as it is, so that nobody queues the task again.
    fn discard(&self) {
        let future = self.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Default)]
struct Waiting {
    /// By [`TeamId`].
    teams: Vec<Share>,
    /// The time that the team of the last slice had had: where a team begins that comes back, so that it cannot save up.
    floor: u64,
    closed: bool,
}

#[derive(Default)]
struct Share {
    ready: VecDeque<Arc<Task>>,
    /// CPU time that the team has had here, in nanoseconds.
    used: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Arc<Task>) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            task.discard();
            return;
        }
        let TeamId(team) = task.team;
        if waiting.teams.len() <= team {
            waiting.teams.resize_with(team + 1, Share::default);
        }
        let floor = waiting.floor;
        let share = &mut waiting.teams[team];
        if share.ready.is_empty() {
            share.used = share.used.max(floor);
        }
        share.ready.push_back(task);
        drop(waiting);
        self.ready.notify_one();
    }

    /// The next slice's task; none when the lane has ended.
    fn pop(&self) -> Option<Arc<Task>> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            let next = waiting.teams.iter_mut().filter(|share| !share.ready.is_empty()).min_by_key(|share| share.used);
            if let Some(share) = next {
                let (task, used) = (share.ready.pop_front(), share.used);
                waiting.floor = used;
                return task;
            }
            waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn charge(&self, TeamId(team): TeamId, slice: Duration) {
        if let Some(share) = self.lock().teams.get_mut(team) {
            share.used = share.used.saturating_add(nanoseconds(slice));
        }
    }
}

fn work(queue: &Queue) {
    // Lower priority is a courtesy to the rest of the host; without it everything still works. 0 is the calling thread (setpriority(2)).
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "slow calls run at normal priority");
    }
    wasmtime::Engine::tls_eager_initialize();
    while let Some(task) = queue.pop() {
        task.slice();
    }
}

/// CPU time of the calling thread.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
