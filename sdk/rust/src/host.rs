//! The two things that a plugin may ask of its host. Off wasm there is no host, so that `cargo test` works: [`testing`](crate::testing) answers.

#[cfg(target_arch = "wasm32")]
mod imports {
    use crate::bindings::described::keyway::transform::{config, log};
    use crate::log::Level;

    pub(crate) fn log(level: Level, line: &str) {
        log::log(level, line);
    }

    pub(crate) fn setting(name: &str) -> Option<String> {
        config::get(name)
    }

    pub(crate) fn settings() -> Vec<(String, String)> {
        config::all()
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use imports::{log, setting, settings};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::recorder::{log, setting, settings};
