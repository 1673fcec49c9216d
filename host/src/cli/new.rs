//! `keyway new`: a plugin's project, ready to be built.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, print, show_error};
use crate::build::{Language, NewProject, scaffold};

/// Make a new plugin's project.
#[derive(Debug, Args)]
pub struct New {
    /// The plugin's name, and the name of the folder that is made
    name: String,
    /// The language: rust, typescript, javascript, python, go or c
    #[arg(long, short, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder to make it in
    #[arg(long, value_name = "DIR", default_value = ".")]
    within: PathBuf,
}

impl New {
    pub(super) fn execute(self) -> Exit {
        let new = NewProject { name: self.name, language: self.lang, parent: self.within };
        let folder = match scaffold(&new) {
            Ok(folder) => folder,
            Err(trouble) => {
                show_error(&trouble, trouble.hint.as_deref());
                return Exit::Wrong;
            }
        };
        let (folder, source, name) = (folder.display(), new.language.source(), &new.name);
        print(format!("made {folder}: the plugin is {source}, its cases are in {name}.cases, the SDK and its README are in keyway"));
        print(format!(
            "next: keyway build {folder}, then keyway test {folder}; {folder}/{name}.wasm, copied into a host's plugins directory, goes live"
        ));
        Exit::Done
    }
}
