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

/// What comes of a project.
enum Becomes {
    /// A plugin that does not look at replies.
    Plain,
    /// One that does.
    Replying,
    /// Nothing, with these words.
    Refused(&'static str),
}

/// That a component has `replies` if, and only if, its plugin looks at them: what the source only says of it does not count. Else a record would be
/// delivered whatever the reply, or its plugin would never be asked.
pub(crate) fn replies(subject: &Subject) -> Result<(), String> {
    use Becomes::{Plain, Refused, Replying};
    const HANDLER: &str = "func(m *keyway.Message, exchanges []keyway.Exchange) (keyway.Next, error) { return keyway.Next{}, nil }";
    const C: &str = "#include <keyway.h>\nkeyway_next_step keyway_on_replies(const keyway_message *m, const keyway_exchange *e, size_t n) { return keyway_done(); }\n";
    let language = subject.language;
    let parent = tempfile::tempdir().expect("a folder");
    let folder = new(language, "order", parent.path())?;
    let template = fs::read_to_string(folder.join(language.source())).expect("the template's source");
    let after = |more: &str| format!("{template}\n{more}\n");
    // What is done to the project: its source, and a further file of it.
    let projects: Vec<(String, Option<(&str, String)>, Becomes)> = match language {
        Language::Rust => vec![
            (after("// #[on_replies] would see the replies."), None, Plain),
            (after("#[on_replies]\nfn replied(_exchanges: &[Exchange]) -> Next {\n    Next::Done\n}"), None, Replying),
        ],
        Language::Typescript | Language::Javascript => vec![
            (after("// onReplies(m, exchanges) would see the replies."), None, Plain),
            (
                template.replace("  transform(", "  [\"on\" + \"Replies\"]: () => done(),\n  transform(").replace("{ plugin,", "{ done, plugin,"),
                None,
                Replying,
            ),
            ("export const order = 1;\n".to_owned(), None, Refused("has to export the plugin: `export default plugin({ … })`")),
        ],
        Language::Python => vec![
            (after("# @on_replies would see the replies."), None, Plain),
            (
                after("import other"),
                Some(("other.py", "import keyway\n\n\n@keyway.on_replies\ndef replied(m, exchanges):\n    return keyway.done()\n".to_owned())),
                Replying,
            ),
            ("import keyway\n".to_owned(), None, Refused("plugin.py has no plugin: put @plugin before its function")),
        ],
        Language::Go => vec![
            (after("// keyway.OnReplies(replied) would see the replies, as \"keyway.OnReplies\" does."), None, Plain),
            (
                template.clone(),
                Some((
                    "other.go",
                    format!("package main\n\nimport k \"keyway\"\n\nfunc init() {{ k.OnReplies({}) }}\n", HANDLER.replace("keyway.", "k.")),
                )),
                Replying,
            ),
            (
                template.replace("func main() {}", &format!("func main() {{ keyway.OnReplies({HANDLER}) }}")),
                None,
                Refused("keyway.OnReplies is called, but not in `init`"),
            ),
            (template.replace("func init()", "func start()"), None, Refused("there is no plugin: call keyway.Plugin in `init`")),
        ],
        Language::C => vec![
            (template.clone(), None, Plain),
            (after("/* keyway_on_replies would see the replies. */"), None, Refused("the plugin names `keyway_on_replies`, but does not define it")),
            (
                format!("#include \"other.h\"\n{template}"),
                Some(("other.h", C.to_owned())),
                Refused("`keyway_on_replies` is defined, but no `.c` file of the project names it"),
            ),
            (format!("/* keyway_on_replies */\n#include \"other.h\"\n{template}"), Some(("other.h", C.to_owned())), Replying),
        ],
    };
    for (source, other, becomes) in projects {
        fs::write(folder.join(language.source()), &source).expect("a source");
        if let Some((name, text)) = &other {
            fs::write(folder.join(name), text).expect("a source");
        }
        let built = keyway(&["build".as_ref(), folder.as_ref()]);
        if let Some((name, _)) = other {
            fs::remove_file(folder.join(name)).expect("the further file");
        }
        let right = match (&built, &becomes) {
            (Ok(said), Plain) => !said.contains("looks at replies"),
            (Ok(said), Replying) => said.contains(", and looks at replies\n"),
            (Err(said), Refused(words)) => said.contains(words),
            _ => false,
        };
        if !right {
            let expected = match becomes {
                Plain => "a plugin that does not look at replies",
                Replying => "one that does",
                Refused(words) => words,
            };
            let (Ok(said) | Err(said)) = built;
            return Err(format!("expected is {expected}, of\n{source}\nseen is\n{said}"));
        }
    }
    Ok(())
}
