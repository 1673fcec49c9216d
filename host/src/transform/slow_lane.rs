//! The slow lane: where a guest call goes on that is not done within a tick.
//!
//! A fast call runs where its record's task runs, and costs nothing extra. A slow one would keep that thread from Kafka and HTTP, so its future
//! is moved here, to a few threads of low priority that nothing else runs on, and goes on in slices of one tick.
//!
//! Owns those threads, and the places of the calls that have begun. The next slice goes to the team that has had the least CPU time here, within it to
//! the plugin that has had least, and within that to the call that has waited longest; places go round in the same order. So a team that loops in
//! every call takes its own share and no other team's, and so does a plugin within its team. Measures each slice as CPU time of the thread, so that a
//! busy machine uses up nobody's budget.

mod shares;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

pub(super) use self::shares::ShareId;
use self::shares::{Places, Shares};

/// Calls of one plugin that may have begun, for each thread. Two keep a thread busy while a call's end is on its way back.
const PER_PLUGIN: usize = 2;
/// So many times as many of one team: with three plugins that loop in every call there is still a place for a fourth.
const PLUGINS: usize = 3;

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

/// The threads and what waits for them. Dropping it ends the threads; calls that are not done are dropped with it.
#[derive(Debug)]
pub(super) struct SlowLane {
    queue: Arc<Queue>,
}

impl SlowLane {
    /// Starts so many threads, with room for so many calls that have begun.
    pub(super) fn start(threads: usize, room: usize) -> wasmtime::Result<SlowLane> {
        let plugin = threads * PER_PLUGIN;
        let shares = Shares::new(Places { plugin, team: plugin * PLUGINS, all: room });
        let lane = SlowLane { queue: Arc::new(Queue { waiting: Mutex::new(Waiting { shares, closed: false }), ready: Condvar::new() }) };
        for index in 0..threads {
            let queue = Arc::clone(&lane.queue);
            std::thread::Builder::new()
                .name(format!("keyway-slow-{index}"))
                .spawn(move || work(&queue))
                .map_err(|error| wasmtime::format_err!("failed to start a thread for slow calls: {error}"))?;
        }
        Ok(lane)
    }

    /// Waits for a place for one call: in front of the plugin's others if it has begun elsewhere and its instance waits with it. Cancel-safe.
    /// Never without end, since each call that has a place ends within its wall limit, and places go round among those who wait.
    pub(super) async fn place(&self, share: ShareId, has_begun: bool) -> Place {
        let (sender, granted) = oneshot::channel();
        self.queue.wait(share, sender, has_begun);
        match granted.await {
            Ok(place) => place,
            // The lane has ended, and whatever is run there ends at once.
            Err(_) => Place { share, queue: Arc::clone(&self.queue), is_counted: false },
        }
    }

    /// Counts CPU time that was had elsewhere, and that was not to be had there, as if it had been had here.
    pub(super) fn charge(&self, share: ShareId, used: Duration) {
        self.queue.charge(share, used);
    }

    /// Runs a future to its end. Dropping the returned one cancels it: at the end of its slice at the latest it is dropped here. None when the lane
    /// ended first.
    pub(super) fn run<T, F>(&self, place: &Place, future: F, meter: Arc<Meter>) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = Arc::new(Task {
            share: place.share,
            meter,
            state: AtomicU8::new(QUEUED),
            cancelled: AtomicBool::new(false),
            queue: Arc::clone(&self.queue),
            future: Mutex::new(Some(Box::pin(async move {
                let done = future.await;
                // Nobody listens any more when the call was cancelled.
                let tell: Tell = Box::new(move || drop(sender.send(done)));
                tell
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
        let dropped = waiting.shares.drain();
        drop(waiting);
        for task in dropped {
            task.discard();
        }
        self.queue.ready.notify_all();
    }
}

/// The right to have begun one call, until it is dropped.
pub(super) struct Place {
    share: ShareId,
    queue: Arc<Queue>,
    is_counted: bool,
}

impl Place {
    /// Without handing it on, for whoever does that itself.
    fn give_back(mut self) {
        self.is_counted = false;
        self.queue.lock().shares.ended(self.share);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_counted {
            self.queue.lock().shares.ended(self.share);
            self.queue.begin();
        }
    }
}

struct CancelOnDrop(Arc<Task>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.wake_by_ref();
    }
}

/// Hands on what a call came to. Done when its last slice is on its meter, since whoever gets it looks there.
type Tell = Box<dyn FnOnce() + Send>;

type Work = Pin<Box<dyn Future<Output = Tell> + Send>>;

/// Not in the queue and not running: waits to be woken.
const IDLE: u8 = 0;
/// In the queue.
const QUEUED: u8 = 1;
/// A thread polls it.
const RUNNING: u8 = 2;
/// A thread polls it, and it was woken meanwhile.
const WOKEN: u8 = 3;

struct Task {
    share: ShareId,
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
            None => Ok(Poll::Ready(Box::new(|| ()) as Tell)),
        };
        let slice = thread_time().saturating_sub(started);
        drop(future);
        self.meter.add(slice);
        self.queue.charge(self.share, slice);
        match polled {
            Ok(Poll::Pending) => {
                if self.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    self.state.store(QUEUED, Ordering::Release);
                    self.queue.push(Arc::clone(self));
                }
            }
            Ok(Poll::Ready(tell)) => {
                self.discard();
                tell();
            }
            Err(_) => self.discard(),
        }
    }

    /// Drops the future, and with it the guest. The state stays as it is, so that nobody queues the task again.
    fn discard(&self) {
        let future = self.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
    }
}

struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

struct Waiting {
    shares: Shares<Arc<Task>, oneshot::Sender<Place>>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(self: &Arc<Self>, share: ShareId, who: oneshot::Sender<Place>, first: bool) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.shares.wait(share, who, first);
        }
        drop(waiting);
        self.begin();
    }

    /// Hands out places for as long as there are some. Whoever does not wait any more gives its place back by dropping it, which is done outside the
    /// lock.
    fn begin(self: &Arc<Self>) {
        loop {
            // A statement of its own, so that the lock is let go.
            let next = self.lock().shares.begin();
            let Some((share, who)) = next else { return };
            let place = Place { share, queue: Arc::clone(self), is_counted: true };
            if let Err(unwanted) = who.send(place) {
                unwanted.give_back();
            }
        }
    }

    fn push(&self, task: Arc<Task>) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            task.discard();
            return;
        }
        let share = task.share;
        waiting.shares.push(share, task);
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
            if let Some(task) = waiting.shares.pop() {
                return Some(task);
            }
            waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn charge(&self, share: ShareId, slice: Duration) {
        self.lock().shares.charge(share, nanoseconds(slice));
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
