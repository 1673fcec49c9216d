//! Python: the plugin, the SDK and CPython in one component, started once at build time.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::component::Abilities;
use super::{Language, Project, Trouble, files, io, tools};

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let componentize = tools::find(project, &["componentize-py"]).ok_or_else(|| {
        let install = tools::pip(project, tools::COMPONENTIZE_PY);
        Trouble::missing("Python plugins are built with `componentize-py`, which is not installed", install)
    })?;
    let source = project.directory.join(project.language.source());
    let text = fs::read_to_string(&source).map_err(io(&source))?;
    let contract = work.join("transform.wit");
    files::write(&contract, files::contract().as_bytes())?;
    let mut copied = 0;
    copy(&project.directory, &work.join("app"), &mut copied)?;
    if project.own_sdk().is_none() {
        files::write_sdk(Language::Python, &work.join("app/keyway"))?;
    }
    // The world has to be known before the plugin runs, so it is guessed by the decorator's name. The plugin runs once as the component is made, and then
    // knows better.
    let guess = Abilities { replies: text.contains("on_replies") };
    match componentize_for(guess, &componentize, work) {
        Err(trouble) if trouble.output.as_deref().is_some_and(|said| said.contains(OTHERWISE)) => {
            componentize_for(Abilities { replies: !guess.replies }, &componentize, work)
        }
        made => made,
    }
}

/// What the plugin's first run ends with when it registers a function for replies and the world has none, or the other way round.
const OTHERWISE: &str = "the plugin's world is another one";

fn componentize_for(abilities: Abilities, componentize: &Path, work: &Path) -> Result<Vec<u8>, Trouble> {
    let (classes, wrong) = if abilities.replies { ("About, Replies, Transform", "is None") } else { ("About, Transform", "is not None") };
    let entry = format!(
        "import keyway\nimport plugin\nfrom keyway.component import {classes}\n\n\
         if keyway._registered.transform is None:\n    raise RuntimeError(\"plugin.py has no plugin: put @plugin before its function\")\n\
         if keyway._registered.replies {wrong}:\n    raise RuntimeError({OTHERWISE:?})\n"
    );
    // A folder of its own: everything in a folder of the search path goes into the component.
    files::write(&work.join("app/keyway_entry.py"), entry.as_bytes())?;
    let mut command = Command::new(componentize);
    command.current_dir(work).args(["-d", "transform.wit", "-w", abilities.world()]);
    tools::run(command.args(["componentize", "keyway_entry", "-p", "app", "--stub-wasi", "-o", "plugin.wasm"]))?;
    let out = work.join("plugin.wasm");
    fs::read(&out).map_err(io(&out))
}

/// Files that a plugin's sources may be; more than that, and the project's folder holds something else.
const FILES_MAX: usize = 5_000;

/// Copies the Python files of a project, without its virtual environment and whatever else begins with a dot.
fn copy(from: &Path, to: &Path, copied: &mut usize) -> Result<(), Trouble> {
    for entry in fs::read_dir(from).map_err(io(from))? {
        let path = entry.map_err(io(from))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_environment = path.join("pyvenv.cfg").is_file();
        if path.is_dir() && !name.starts_with('.') && name != "__pycache__" && name != "node_modules" && !is_environment {
            copy(&path, &to.join(&name), copied)?;
        } else if name.ends_with(".py") {
            *copied += 1;
            if *copied > FILES_MAX {
                return Err(
                    Trouble::new(format!("the project holds more than {FILES_MAX} Python files")).hint("build a folder that holds the plugin alone")
                );
            }
            files::write(&to.join(&name), &fs::read(&path).map_err(io(&path))?)?;
        }
    }
    Ok(())
}
