//! A folder with a plugin's source.

use std::path::{Path, PathBuf};

use super::{Language, Trouble};

/// A folder with a plugin's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The folder, absolute.
    pub directory: PathBuf,
    /// The plugin's name, which is the folder's.
    pub name: String,
    /// What it is written in.
    pub language: Language,
}

impl Project {
    /// Looks at a folder.
    ///
    /// # Errors
    /// There is no such folder, no file by which its language can be told, or more than one.
    pub fn open(directory: &Path) -> Result<Project, Trouble> {
        let absolute = directory.canonicalize().map_err(|error| {
            Trouble::new(format!("failed to find the plugin's folder `{}`: {error}", directory.display()))
                .hint("`keyway new NAME --lang LANGUAGE` makes a project")
        })?;
        let found: Vec<Language> = Language::ALL.into_iter().filter(|language| absolute.join(language.source()).is_file()).collect();
        let language = match found.as_slice() {
            [one] => *one,
            [] => {
                let accepted = Language::ALL.map(|language| format!("`{}`", language.source())).join(", ");
                return Err(Trouble::new(format!("`{}` holds no plugin: none of {accepted} is in it", directory.display()))
                    .hint("`keyway new NAME --lang LANGUAGE` makes a project"));
            }
            several => {
                let files: Vec<_> = several.iter().map(|language| format!("`{}`", language.source())).collect();
                return Err(Trouble::new(format!("`{}` holds {}: one of them has to go", directory.display(), files.join(" and "))));
            }
        };
        let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or("plugin").to_owned();
        Ok(Project { directory: absolute, name, language })
    }

    /// Where the component is written: `NAME.wasm`, beside `NAME.cases/`.
    pub fn component(&self) -> PathBuf {
        self.directory.join(format!("{}.wasm", self.name))
    }

    /// The project's own copy of the SDK, if it has one.
    pub(super) fn own_sdk(&self) -> Option<PathBuf> {
        Some(self.directory.join("keyway")).filter(|folder| folder.is_dir())
    }
}
