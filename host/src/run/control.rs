//! What the outside sees of the loop, and what it may ask of it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::lanes::Load;
use crate::outcome::Cause;

/// Requests that may wait for the loop. It takes one per round, so this is never reached by people.
const COMMANDS_MAX: usize = 16;

/// What the loop looks like, made anew every second.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Whether the group has let this host in. It may own no partition all the same.
    pub joined: bool,
    /// What the lanes hold.
    pub load: Load,
    /// Per partition of this host.
    pub partitions: Vec<PartitionStatus>,
    /// Why lanes are held, and how many.
    pub held: Vec<HeldLanes>,
}

/// One partition of this host.
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The lowest offset not yet settled; none before anything was seen.
    pub watermark: Option<i64>,
    /// One past the highest offset seen.
    pub seen: Option<i64>,
    /// Records seen and not settled.
    pub undecided: usize,
}

/// Lanes that are held for one cause.
#[derive(Debug, Clone)]
pub struct HeldLanes {
    /// The cause.
    pub cause: Cause,
    /// How many.
    pub lanes: usize,
}

/// What a person may ask of the loop.
#[derive(Debug, Clone)]
pub enum Command {
    /// Handle what is held for this cause anew.
    Release(Cause),
    /// Handle what is held for faults of this plugin anew, in whichever version they were.
    ReleasePlugin(Arc<str>),
    /// Handle what is held of this key anew, whatever the cause.
    ReleaseKey(String),
}

/// The outside's end.
#[derive(Debug, Clone)]
pub struct Control {
    commands: mpsc::Sender<(Command, oneshot::Sender<usize>)>,
    status: watch::Receiver<Status>,
}

impl Control {
    /// Asks, and says how many lanes it concerned.
    ///
    /// # Errors
    /// None when the loop has ended.
    pub async fn ask(&self, command: Command) -> Option<usize> {
        let (answer, answered) = oneshot::channel();
        self.commands.send((command, answer)).await.ok()?;
        answered.await.ok()
    }

    /// Waits until the group has let this host in; false when the loop ended before.
    pub async fn joined(&self) -> bool {
        self.status.clone().wait_for(|status| status.joined).await.is_ok()
    }

    /// The loop as it was within the last second.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

/// The loop's end.
pub(super) struct Commands {
    commands: mpsc::Receiver<(Command, oneshot::Sender<usize>)>,
    status: watch::Sender<Status>,
}

pub(super) fn channel() -> (Commands, Control) {
    let (send, receive) = mpsc::channel(COMMANDS_MAX);
    let (publish, watch) = watch::channel(Status::default());
    (Commands { commands: receive, status: publish }, Control { commands: send, status: watch })
}

impl Commands {
    /// The next request; none when nobody can ask any more.
    pub(super) async fn next(&mut self) -> Option<(Command, oneshot::Sender<usize>)> {
        self.commands.recv().await
    }

    pub(super) fn publish(&self, status: Status) {
        self.status.send_replace(status);
    }
}
