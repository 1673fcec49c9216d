//! A new plugin's project.

use std::path::{Path, PathBuf};

use super::{Language, Trouble, files};

/// A project to be made.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// The plugin's name.
    pub name: String,
    /// What it is to be written in.
    pub language: Language,
    /// The folder in which a folder of the plugin's name is made.
    pub parent: PathBuf,
}

/// Makes a project from the language's template: a plugin that builds and whose case passes, with the SDK beside it. Gives its folder.
///
/// # Errors
/// The name cannot be a plugin's, the folder exists, or a file cannot be written.
pub fn scaffold(new: &NewProject) -> Result<PathBuf, Trouble> {
    check_name(&new.name)?;
    let folder = new.parent.join(&new.name);
    if folder.exists() {
        return Err(Trouble::new(format!("`{}` is there already", folder.display())).hint("choose another name, or remove it"));
    }
    files::write_sdk(new.language, &folder.join("keyway"))?;
    let template = format!("sdk/{}/template", new.language.sdk());
    for (path, bytes) in files::below(&template) {
        let Some(path) = place(path, new) else { continue };
        let text = String::from_utf8_lossy(bytes).replace("NAME", &new.name);
        files::write(&folder.join(path), text.as_bytes())?;
    }
    Ok(folder)
}

/// Where a file of the template goes; none when it is for the other language of the same SDK.
fn place(path: &str, new: &NewProject) -> Option<PathBuf> {
    let other = match new.language {
        Language::Typescript => &["plugin.js", "jsconfig.json"][..],
        Language::Javascript => &["plugin.ts", "tsconfig.json"],
        _ => &[],
    };
    let path = Path::new(path);
    if other.iter().any(|other| path == Path::new(other)) {
        return None;
    }
    // A `go.mod` or a `Cargo.toml` would make the template a module of its own, and a `.gitignore` would hide files of it.
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".template").unwrap_or(name).replace("NAME", &new.name);
    let folder = path.parent()?.to_str()?.replace("NAME", &new.name);
    Some(Path::new(&folder).join(name))
}

/// A name that is good in a path, as a package's name in every language, and as a key.
fn check_name(name: &str) -> Result<(), Trouble> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good && name.len() <= 64 && name != "keyway" {
        return Ok(());
    }
    Err(Trouble::new(format!("`{name}` cannot be a plugin's name"))
        .hint("a letter, then letters, digits and `-`, all in lower case, 64 at most, and not `keyway`"))
}
