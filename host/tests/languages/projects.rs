//! Projects as their authors have them: built and tested by the program itself.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyway::build::{self, Language, Project};

use crate::{Subject, root};

/// Runs the program; gives what it prints.
fn keyway(arguments: &[&OsStr]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyway"));
    // Shared by all projects in Rust, whose dependencies are the same.
    command.args(arguments).env("CARGO_TARGET_DIR", root().join("target/languages"));
    let output = command.output().map_err(|error| format!("failed to start `keyway`: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!(
        "`keyway {}` ended with {}\n{said}{}",
        arguments.join(OsStr::new(" ")).display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// What `keyway build` says; the cases pass.
pub(crate) fn build_and_test(folder: &Path) -> Result<String, String> {
    let said = keyway(&["build".as_ref(), folder.as_ref()])?;
    keyway(&["test".as_ref(), folder.as_ref()])?;
    Ok(said)
}

/// A new project's folder.
pub(crate) fn new(language: Language, name: &str, parent: &Path) -> Result<PathBuf, String> {
    keyway(&["new".as_ref(), name.as_ref(), "--lang".as_ref(), language.name().as_ref(), "--within".as_ref(), parent.as_ref()])?;
    Ok(parent.join(name))
}

/// Builds the language's example plugins, each beside its source, and runs their cases.
pub(crate) fn examples(subject: &Subject) -> Result<(), String> {
    let folder = root().join("plugins").join(subject.language.name());
    let mut folders: Vec<PathBuf> = fs::read_dir(&folder).expect("plugins of the language").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders.retain(|folder| folder.join(subject.language.source()).is_file() && !folder.ends_with("conformance"));
    folders.iter().try_for_each(|folder| build_and_test(folder).map(drop))
}

/// The first example of the README does what the template's cases expect, and the others build.
pub(crate) fn readme(subject: &Subject) -> Result<(), String> {
    let language = subject.language;
    let (sdk, fence) = match language {
        Language::Rust => ("rust", "rust"),
        Language::Typescript => ("js", "ts"),
        Language::Javascript => ("js", "js"),
        Language::Python => ("python", "python"),
        Language::Go => ("go", "go"),
        Language::C => ("c", "c"),
    };
    let text = fs::read_to_string(root().join("sdk").join(sdk).join("README.md")).expect("a README");
    let (plugins, _) = text.split_once("## Tests").expect("a part on tests, which holds no plugins");
    let examples: Vec<&str> = plugins.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(fence)?.strip_prefix('\n')).collect();
    let (first, others) = examples.split_first().expect("an example");
    let parent = tempfile::tempdir().expect("a folder");
    let folder = new(language, "order", parent.path())?;
    fs::write(folder.join(language.source()), first).expect("a source");
    build_and_test(&folder)?;
    // Those in Rust are tests of the SDK's documentation already.
    for other in others.iter().filter(|_| language != Language::Rust) {
        // What is no plugin by itself goes with the first.
        let is_whole = ["import ", "#include ", "package ", "from "].iter().any(|word| other.starts_with(word));
        let source = if is_whole { (*other).to_owned() } else { format!("{first}\n{other}") };
        fs::write(folder.join(language.source()), &source).expect("a source");
        let built = Project::open(&folder).and_then(|project| build::build(&project));
        built.map_err(|trouble| format!("{trouble}\n{}\n{source}", trouble.output.as_deref().unwrap_or_default()))?;
    }
    Ok(())
}
