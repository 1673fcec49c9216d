//! JavaScript and TypeScript: bundled, then put into QuickJS.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Language, Project, Trouble, files, io, tools};

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let node = tools::find(project, &["node"]).ok_or_else(|| {
        Trouble::missing(
            "TypeScript and JavaScript plugins are built with Node 20 or later, and there is no `node`",
            "apt-get install nodejs npm, or https://nodejs.org",
        )
    })?;
    let packages = tools::find_npm(project, "componentize-qjs").filter(|folder| folder.join("node_modules/rolldown").is_dir());
    let packages = packages.ok_or_else(|| {
        // Debian has the two in packages of their own.
        let npm = if tools::find(project, &["npm"]).is_some() { "" } else { "apt-get install npm, and then " };
        let install = format!("{npm}(cd {} && npm install)", project.directory.display());
        Trouble::missing("the npm packages `componentize-qjs` and `rolldown` are not installed", install)
    })?;
    let sdk = match project.own_sdk() {
        Some(folder) => folder,
        None => {
            files::write_sdk(Language::Typescript, &work.join("keyway"))?;
            work.join("keyway")
        }
    };
    let (script, contract, out) = (work.join("build.mjs"), work.join("transform.wit"), work.join("plugin.wasm"));
    files::write(&script, files::one("sdk/js/build.mjs"))?;
    files::write(&contract, files::contract().as_bytes())?;
    let mut command = Command::new(node);
    command.current_dir(&project.directory).arg(&script).arg(packages).arg(project.language.source()).arg(sdk.join("keyway.ts"));
    tools::run(command.arg(&contract).arg(&out))?;
    fs::read(&out).map_err(io(&out))
}
