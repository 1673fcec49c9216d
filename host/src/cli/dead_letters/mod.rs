//! `keyway dead-letters`: what was given up on, and sending it on its way again.

mod filter;
mod list;
mod reader;
mod redrive;
mod show;
mod time;

use clap::{Args, Subcommand};

use super::Exit;

/// Dead letters.
#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters, the oldest first
    List(list::List),
    /// Show one dead letter whole
    Show(show::Show),
    /// Send dead letters through the present plugins, straight to their destinations
    Redrive(redrive::Redrive),
}

impl DeadLetters {
    pub(super) fn execute(self) -> Exit {
        match self.action {
            Action::List(list) => list.execute(),
            Action::Show(show) => show.execute(),
            Action::Redrive(redrive) => redrive.execute(),
        }
    }
}
