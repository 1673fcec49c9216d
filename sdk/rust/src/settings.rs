//! The `[settings]` of the plugin's sidecar file.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::{Reject, host};

/// The setting of this name: a string as it is, any other value as JSON; none when there is none.
pub fn setting(name: &str) -> Option<String> {
    host::setting(name)
}

/// The setting of this name as a number, a boolean, or whatever else is read from plain text; none when there is none.
///
/// # Errors
/// It is not of that form. The record becomes a dead letter whose detail names the setting.
pub fn setting_parsed<T: FromStr<Err: Display>>(name: &str) -> Result<Option<T>, Reject> {
    setting(name).map(|text| text.parse().map_err(|error| wrong(name, &error))).transpose()
}

/// The setting of this name, an array or a table, read by serde; none when there is none.
///
/// # Errors
/// It is not of that form. The record becomes a dead letter whose detail names the setting.
pub fn setting_json<T: DeserializeOwned>(name: &str) -> Result<Option<T>, Reject> {
    setting(name).map(|text| serde_json::from_str(&text).map_err(|error| wrong(name, &error))).transpose()
}

/// All settings, sorted by name.
pub fn settings() -> Vec<(String, String)> {
    host::settings()
}

fn wrong(name: &str, error: &dyn Display) -> Reject {
    Reject::new(format!("setting `{name}`: {error}"))
}
