//! A file as far as it could be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Config, Destination, Plugins, Report};
use crate::policy::Grant;

/// What a file says, and what is wrong with it. The parts are there as far as they are right by themselves.
#[derive(Debug)]
pub struct Examined {
    /// What is wrong; empty when nothing is.
    pub report: Report,
    /// `[plugins]`.
    pub plugins: Option<Plugins>,
    /// `[destinations.*]`, by name.
    pub destinations: BTreeMap<Arc<str>, Destination>,
    /// `[teams.*]`, by name; those too of which only a part is right.
    pub teams: BTreeMap<Arc<str>, Arc<Grant>>,
    pub(super) config: Option<Config>,
}

impl Examined {
    /// Nothing could be read.
    pub(super) fn nothing(report: Report) -> Examined {
        Examined { report, plugins: None, destinations: BTreeMap::new(), teams: BTreeMap::new(), config: None }
    }

    /// The configuration, if all of it is right.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn whole(self) -> Result<Config, Report> {
        match self.config {
            Some(config) if self.report.is_empty() => Ok(config),
            _ => Err(self.report),
        }
    }
}
