#![doc = include_str!("../README.md")]

// The generated bindings and the attributes call the crate by this name, inside it too.
extern crate self as keyway_sdk;

mod from_message;
#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod heap;
mod host;
mod message;
mod replies;
mod request;
mod settings;
mod verdict;

pub mod log;
pub mod rt;
pub mod testing;

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod plugin;

pub use bindings::described::exports::keyway::transform::about::Description;
pub use bindings::described::keyway::transform::types::{Body, Exchange, Message, Next, Request, Verdict};
pub use from_message::{FromMessage, Json};
pub use keyway_sdk_macros::{on_replies, plugin};
pub use replies::IntoNext;
pub use request::segment;
pub use settings::{setting, setting_json, setting_parsed, settings};
pub use verdict::{IntoVerdict, Reject};
