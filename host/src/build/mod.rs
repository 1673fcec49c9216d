//! Build: a plugin's source to a component, and a new plugin's source from nothing.
//!
//! Owns the SDKs and templates that the program carries, how each language's own tools are found and called, and how a component is made of what they
//! leave. Promises that a plugin's author needs these tools and nothing else, and that what is missing is named with the command that installs it.
//! Refuses to know whether the component is a good plugin: the sandbox's gate says that.
//!
//! Read [`build`] first; `c`, `go`, `js`, `python` and `rust` are the steps of each language.

mod c;
mod component;
mod files;
mod go;
mod js;
mod language;
mod project;
mod python;
mod rust;
mod scaffold;
mod tools;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use language::Language;
pub use project::Project;
pub use scaffold::{NewProject, scaffold};

/// Why nothing was built, in words for the plugin's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Trouble {
    /// What was seen.
    pub cause: String,
    /// The mend; for a missing tool, the command that installs it.
    pub hint: Option<String>,
    /// What the language's own tool said.
    pub output: Option<String>,
    /// Whether a tool is missing, rather than something being wrong with the source.
    pub is_missing_tool: bool,
}

impl Trouble {
    fn new(cause: impl Into<String>) -> Trouble {
        Trouble { cause: cause.into(), hint: None, output: None, is_missing_tool: false }
    }

    fn hint(self, hint: impl Into<String>) -> Trouble {
        Trouble { hint: Some(hint.into()), ..self }
    }

    fn missing(what: impl Into<String>, install: impl Into<String>) -> Trouble {
        Trouble { is_missing_tool: true, ..Trouble::new(what).hint(install) }
    }
}

/// A failure of the file system, with the path.
fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Trouble + '_ {
    move |error| Trouble::new(format!("cannot use `{}`: {error}", path.display()))
}

/// Builds a project with its language's tools.
///
/// # Errors
/// A tool that is missing or fails, or a source that does not make a component.
pub fn build(project: &Project) -> Result<Vec<u8>, Trouble> {
    let work = tempfile::Builder::new()
        .prefix("keyway-build-")
        .tempdir()
        .map_err(|error| Trouble::new(format!("cannot make a folder for temporary files: {error}")))?;
    match project.language {
        Language::Rust => rust::build(project, work.path()),
        Language::Typescript | Language::Javascript => js::build(project, work.path()),
        Language::Python => python::build(project, work.path()),
        Language::Go => go::build(project, work.path()),
        Language::C => c::build(project, work.path()),
    }
}
