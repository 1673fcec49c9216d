//! `keyway build`: a plugin's source to a component that a host would take.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;
use wasmparser::{Parser, Payload};

use super::{Exit, block_on, print, show_error};
use crate::app;
use crate::build::{self, Project};
use crate::observe::Metrics;
use crate::plugin::{Candidate, DEFAULT_TEAM, Load as _, Loaded, Plugin, PluginName, Refusal, Sidecar, Tier, Version};
use crate::policy::Limits;
use crate::record::Record;
use crate::reload::{Case, message};

const ENVIRONMENT: &str = "Environment: KEYWAY_WASM_STD=debian makes a compiler for plugins in Rust of Debian's packages where rustup has none, \
                           KEYWAY_CARGO names a cargo that has one, and KEYWAY_TOOLS is the folder with the tools of the other languages \
                           (default ~/.cache/keyway)";

/// Build a plugin with its language's own tools.
#[derive(Debug, Args)]
#[command(after_help = ENVIRONMENT)]
pub struct Build {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Where the component is written [default: DIR/NAME.wasm]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Build {
    pub(super) fn execute(self) -> Exit {
        block_on(async move {
            let started = Instant::now();
            let directory = self.directory;
            // Compilers are waited for: the runtime has nothing else to do.
            let (project, component) = match Project::open(&directory).and_then(|project| Ok((project.clone(), build::build(&project)?))) {
                Ok(built) => built,
                Err(trouble) => {
                    if let Some(output) = &trouble.output {
                        let _ = writeln!(std::io::stderr().lock(), "{output}");
                    }
                    let hint = trouble.hint.as_deref();
                    show_error(
                        &trouble,
                        hint.map(|hint| if trouble.is_missing_tool { format!("install it with: {hint}") } else { hint.to_owned() }).as_deref(),
                    );
                    return if trouble.is_missing_tool { Exit::Failed } else { Exit::Wrong };
                }
            };
            let built_in = started.elapsed();
            let examined = match examine(&project, &component).await {
                Ok(examined) => examined,
                Err(refusal) => {
                    show_error(format!("a host would refuse the component: {}", refusal.cause), refusal.hint.as_deref());
                    return Exit::Wrong;
                }
            };
            // Written last, so that what lies there has passed; renamed into place, since a host may be watching.
            let out = self.output.unwrap_or_else(|| project.component());
            if let Err(error) = put(&out, &component) {
                show_error(format!("failed to write `{}`: {error}", out.display()), None);
                return Exit::Failed;
            }
            print(format!("built {} from {} in {:.1} s: {}", out.display(), project.language, built_in.as_secs_f64(), size(component.len())));
            print(examined);
            Exit::Done
        })
    }
}

fn put(out: &Path, component: &[u8]) -> std::io::Result<()> {
    let partial = out.with_extension("wasm.partial");
    fs::write(&partial, component)?;
    fs::rename(&partial, out)
}

/// Loads the component as a host would, calls it once, and tells of both.
async fn examine(project: &Project, component: &[u8]) -> Result<String, Refusal> {
    let candidate = Candidate {
        name: PluginName::new(DEFAULT_TEAM, &project.name),
        version: Version("built".into()),
        component: component.to_vec().into(),
        sidecar: Sidecar::default(),
        limits: Limits::default(),
    };
    // With the cache of the user's, in which `keyway test` and a host on this machine then find it compiled.
    let sandbox = app::sandbox(None, &Metrics::new()).map_err(|cause| Refusal { cause, hint: None })?;
    let started = Instant::now();
    let loaded = sandbox.load(&candidate).await?;
    let remark = loaded.remark();
    let Loaded { code, description, tier, sees_replies, .. } = loaded;
    let loaded_in = started.elapsed();
    let keys = description.map(|description| description.keys).filter(|keys| !keys.is_empty());
    let keys = keys.map_or_else(|| format!("the key `{}`, its file's name", project.name), |keys| format!("keys {}", list(&keys)));
    let plugin = Plugin::alone(candidate, code, sees_replies);
    let (what, record) = record(project);
    let trial = sandbox.trial(&plugin, &record).await;
    let tier = match tier {
        Tier::Pure => "pure",
        Tier::Inert => "inert",
    };
    let replies = if sees_replies { ", and looks at replies" } else { "" };
    let failed = trial.verdict.err().map_or_else(String::new, |failure| format!("; it failed: {}: {}", failure.reason, failure.detail));
    Ok(format!(
        "  imports     {} ({tier})\n  takes       {keys}{replies}\n  load        {}\n  first call  {} with {what}, {} of memory{failed}",
        list(&imports(component).into_iter().collect::<Vec<_>>()),
        time(loaded_in),
        time(trial.elapsed),
        size(trial.memory),
    ) + &remark.map_or_else(String::new, |remark| format!("\n  but         it {remark}")))
}

/// The record of the project's first case, or an empty object.
fn record(project: &Project) -> (String, Record) {
    let cases = project.directory.join(format!("{}.cases", project.name));
    let mut files: Vec<PathBuf> = fs::read_dir(cases).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let case = files.iter().find_map(|path| Some((path, Case::parse(&fs::read_to_string(path).ok()?).ok()?)));
    match case {
        Some((path, case)) => (format!("the case `{}`", path.file_stem().unwrap_or_default().to_string_lossy()), case.record),
        None => ("the payload `{}`".to_owned(), message(r#"{"payload": {}}"#).unwrap_or_else(|error| unreachable!("a message is read: {error}"))),
    }
}

/// The interfaces that a component imports.
fn imports(component: &[u8]) -> BTreeSet<String> {
    let (mut depth, mut names) = (0, BTreeSet::new());
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                names.extend(section.into_iter().flatten().map(|import| import.name.name.to_owned()))
            }
            _ => {}
        }
    }
    names
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ") }
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{:.1} KiB", bytes as f64 / 1024.0) } else { format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64) }
}

fn time(time: Duration) -> String {
    if time < Duration::from_millis(1) { format!("{} us", time.as_micros()) } else { format!("{:.1} ms", time.as_secs_f64() * 1e3) }
}
