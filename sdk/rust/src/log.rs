//! Lines for the plugin's log: `log::info!("{} items", items.len())`, likewise `trace!`, `debug!`, `warn!` and `error!`.
//!
//! The host cuts long lines, drops what exceeds the plugin's rate, and counts both; logging never fails.

pub use crate::bindings::described::keyway::transform::log::Level;
pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

/// Writes one line. The macros of this module are the usual way.
pub fn write(level: Level, line: std::fmt::Arguments<'_>) {
    match line.as_str() {
        Some(line) => crate::host::log(level, line),
        None => crate::host::log(level, &line.to_string()),
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __trace { ($($line:tt)+) => { $crate::log::write($crate::log::Level::Trace, ::core::format_args!($($line)+)) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __debug { ($($line:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($line)+)) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __info { ($($line:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($line)+)) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __warn { ($($line:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($line)+)) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __error { ($($line:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($line)+)) } }
