//! For a plugin's own tests, which run natively by `cargo native`: messages to call it with, settings for it to see, and the log that it wrote.
//!
//! ```
//! use keyway_sdk::{testing, *};
//!
//! #[plugin(keys = "ping:*")]
//! fn ping(m: &Message) -> Result<Request, Reject> {
//!     let shop = setting("shop").ok_or_else(|| Reject::new("no shop is set"))?;
//!     log::info!("ping from {shop}");
//!     Ok(Request::post("pings", format!("/{shop}/{}", segment(m.key_text()))))
//! }
//!
//! testing::set_settings([("shop", "north")]);
//! let message = testing::message("ping:1", "{}");
//! assert_eq!(Plugin::transform(&message), Verdict::Send(vec![Request::post("pings", "/north/ping%3A1")]));
//! assert_eq!(testing::take_log(), [(log::Level::Info, "ping from north".to_owned())]);
//! ```
//!
//! Settings and log belong to the test's thread, so tests do not see each other's. Limits are the host's alone: `keyway try` shows those.

use crate::log::Level;
use crate::{Body, Exchange, Message, Request};

/// The record of offset 0 in partition 0 of the topic `test`, with this key and payload and without headers, at the epoch.
pub fn message(key: &str, payload: &str) -> Message {
    Message {
        topic: "test".to_owned(),
        partition: 0,
        offset: 0,
        timestamp: Some(0),
        key: Some(key.to_owned()),
        headers: Vec::new(),
        payload: Some(payload.to_owned()),
        attributes: Vec::new(),
    }
}

/// A request that was answered with this status and body.
pub fn exchange(request: Request, status: u16, body: &str) -> Exchange {
    Exchange { request, status, headers: Vec::new(), body: Body::Text(body.to_owned()) }
}

/// Replaces this thread's settings. Values are as the plugin will see them: strings as they are, any other value as JSON.
pub fn set_settings<N: Into<String>, V: Into<String>>(settings: impl IntoIterator<Item = (N, V)>) {
    recorder::replace_settings(settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect());
}

/// The lines that were logged on this thread since the last call.
pub fn take_log() -> Vec<(Level, String)> {
    recorder::take_log()
}

pub(crate) mod recorder {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use crate::log::Level;

    thread_local! {
        static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
        static SETTINGS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn log(level: Level, line: &str) {
        LOG.with_borrow_mut(|log| log.push((level, line.to_owned())));
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn setting(name: &str) -> Option<String> {
        SETTINGS.with_borrow(|settings| settings.get(name).cloned())
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn settings() -> Vec<(String, String)> {
        SETTINGS.with_borrow(|settings| settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    pub(super) fn replace_settings(new: BTreeMap<String, String>) {
        SETTINGS.set(new);
    }

    pub(super) fn take_log() -> Vec<(Level, String)> {
        LOG.take()
    }
}
