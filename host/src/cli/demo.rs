//! `keyway demo`: a whole bridge in one process, for half a minute.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, block_on, print, show_error};
use crate::demo;

/// Plays the demo.
#[derive(Debug, Args)]
pub struct Demo {
    /// Folder with the built example plugins (`make guests`)
    #[arg(long, value_name = "DIR", default_value = "plugins/built")]
    plugins: PathBuf,
    /// Go on after the story, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn execute(self) -> Exit {
        if !self.plugins.is_dir() {
            let hint = "`make guests` builds them; `--plugins DIR` names the folder";
            show_error(format!("failed to find the example plugins: there is no folder `{}`", self.plugins.display()), Some(hint));
            return Exit::Usage;
        }
        let options = demo::Options { plugins: self.plugins, keep: self.keep };
        block_on(async {
            match demo::run(options).await {
                Ok(summary) => {
                    print(format!("\n{summary}"));
                    if summary.problems().is_empty() { Exit::Done } else { Exit::Wrong }
                }
                Err(error) => {
                    show_error(error, Some("`--log info` shows what the host did"));
                    Exit::Failed
                }
            }
        })
    }
}
