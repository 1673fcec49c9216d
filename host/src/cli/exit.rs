//! Exit codes. They are a contract with scripts and supervisors.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what it was asked.
    Done,
    /// 1: the host could not do its job; what was not settled is not committed.
    Failed,
    /// 2: the arguments or the configuration are wrong. clap ends with it too.
    Usage,
    /// 3: what was examined is not right: a plugin is refused, a case fails, counts do not add up.
    Wrong,
}

/// What `--help` says of them.
pub(super) const HELP: &str =
    "Exit codes: 0 done, 1 the host could not do its job, 2 wrong arguments or configuration, 3 what was examined is not right";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Wrong => 3,
        })
    }
}
