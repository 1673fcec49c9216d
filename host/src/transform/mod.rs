//! Transform: a record through a plugin's code.
//!
//! Owns the engine, the loading of components, and the call with all its limits. Promises that a call ends within its limits, whatever
//! the guest does, and that no state survives it. Refuses to know what becomes of the verdict.
//!
//! Read in this order: [`Sandbox`] (`sandbox`) is what the host calls; `gate`, `compile` and `component` make code of a file; `call` is one
//! guest call; `slow_lane` is where it goes on when it takes long.

mod bindings;
mod call;
mod closed;
mod compile;
mod component;
mod engine;
#[cfg(fuzzing)]
pub mod fuzz;
mod gate;
mod imports;
mod inert;
mod limiter;
mod sandbox;
mod slow_lane;
mod state;
mod team;

use std::fmt::Debug;
use std::sync::Arc;

pub use compile::worker;
pub use component::Component;
pub use imports::{Level, Line};
pub use sandbox::{Compile, Sandbox, Settings, Trial};

use crate::outcome::{Exchange, Failure, Next, Verdict};
use crate::plugin::Plugin;
use crate::record::Record;

/// What runs plugins.
pub trait Transform: Send + Sync + 'static {
    /// A version's code, loaded.
    type Code: Debug + Send + Sync + 'static;

    /// One record through one plugin.
    ///
    /// # Errors
    /// The plugin's failure: trap, limit, or a payload that is not UTF-8. A fault of the host itself comes as a trap too, for the
    /// record's sake.
    fn transform(&self, plugin: &Plugin<Self::Code>, record: &Record) -> impl Future<Output = Result<Verdict, Failure>> + Send;

    /// The replies of a record, to a plugin that wants to see them.
    ///
    /// # Errors
    /// As [`Transform::transform`].
    fn on_replies(&self, plugin: &Plugin<Self::Code>, record: &Record, exchanges: &[Exchange]) -> impl Future<Output = Result<Next, Failure>> + Send;

    /// Whether so many calls of this plugin wait already that a further record had better wait in its lane, where it costs less.
    fn is_busy(&self, plugin: &Plugin<Self::Code>) -> bool {
        let _ = plugin;
        false
    }

    /// The next plugin, by name, that takes records again after it was busy, and how many. Cancel-safe.
    fn relieved(&self) -> impl Future<Output = (Arc<str>, usize)> + Send {
        std::future::pending()
    }

    /// How many records of this plugin may come. The loop asks now and then, since a plugin can have told of room before the loop had heard of a
    /// record that was held just then.
    fn room(&self, plugin: &str) -> usize {
        let _ = plugin;
        usize::MAX
    }
}

/// A shared one, for whoever else needs it too.
impl<T: Transform> Transform for Arc<T> {
    type Code = T::Code;

    async fn transform(&self, plugin: &Plugin<Self::Code>, record: &Record) -> Result<Verdict, Failure> {
        T::transform(self, plugin, record).await
    }

    async fn on_replies(&self, plugin: &Plugin<Self::Code>, record: &Record, exchanges: &[Exchange]) -> Result<Next, Failure> {
        T::on_replies(self, plugin, record, exchanges).await
    }

    fn is_busy(&self, plugin: &Plugin<Self::Code>) -> bool {
        T::is_busy(self, plugin)
    }

    fn relieved(&self) -> impl Future<Output = (Arc<str>, usize)> + Send {
        T::relieved(self)
    }

    fn room(&self, plugin: &str) -> usize {
        T::room(self, plugin)
    }
}

#[cfg(test)]
mod tests;
