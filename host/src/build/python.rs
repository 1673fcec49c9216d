//! Python: the plugin, the SDK and CPython in one component, started once at build time.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::component::Abilities;
use super::{Language, Project, Trouble, files, io, tools};

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let componentize = tools::find(project, &["componentize-py"]).ok_or_else(|| {
        let venv = project.directory.join(".venv");
        let install = format!("python3 -m venv {0} && {0}/bin/pip install componentize-py==0.25.1", venv.display());
        Trouble::missing("Python plugins are built with `componentize-py`, which is not installed", install)
    })?;
    let source = project.directory.join(project.language.source());
    let text = fs::read_to_string(&source).map_err(io(&source))?;
    // The decorator's name is looked for in the text, since the world has to be known before the plugin runs.
    let abilities = Abilities { replies: text.contains("@on_replies") || text.contains(".on_replies") };
    let classes = if abilities.replies { "About, Replies, Transform" } else { "About, Transform" };
    let contract = work.join("transform.wit");
    files::write(&contract, files::contract().as_bytes())?;
    // A folder of its own: everything in a folder of the search path goes into the component.
    files::write(&work.join("app/keyway_entry.py"), format!("import plugin\nfrom keyway.component import {classes}\n").as_bytes())?;
    let mut copied = 0;
    copy(&project.directory, &work.join("app"), &mut copied)?;
    if project.own_sdk().is_none() {
        files::write_sdk(Language::Python, &work.join("app/keyway"))?;
    }
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
