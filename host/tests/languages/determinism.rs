//! A transform is a function of its record: the same record gives the same bytes, whichever instance it meets, alone and among others on two threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyway::build::{self, Project};
use keyway::observe::Metrics;
use keyway::outcome::{Failure, Verdict};
use keyway::plugin::Plugin;
use keyway::record::Record;
use keyway::reload::Case;
use keyway::transform::{Component, Sandbox, Settings, Transform as _};
use tokio::runtime::{Builder, Runtime};

use crate::conformance::{load_component, record_of};
use crate::{Subject, root};

/// Calls of one record on two threads.
const AMONG: usize = 8;

/// Asks the language's conformance plugin, and its examples, for the same records several times.
pub(crate) fn check(subject: &Subject) -> Result<(), String> {
    let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let sandbox = Arc::new(one.block_on(async { Sandbox::new(&Settings::default(), Metrics::new()) }).map_err(|error| format!("{error:#}"))?);
    let language = root().join("plugins").join(subject.language.name());
    let mut folders: Vec<PathBuf> = fs::read_dir(&language).expect("plugins of the language").map(|entry| entry.expect("an entry").path()).collect();
    folders.retain(|folder| folder.join(subject.language.source()).is_file());
    folders.sort();
    for folder in folders {
        let (component, records) = if folder.ends_with("conformance") {
            (subject.component().map_err(ToString::to_string)?.to_owned(), cases(&root().join("tests/conformance/cases"), record_of))
        } else {
            let project = Project::open(&folder).map_err(|trouble| trouble.to_string())?;
            (build::build(&project).map_err(|trouble| trouble.to_string())?, records_of(&folder))
        };
        assert!(!records.is_empty(), "{} has no cases", folder.display());
        let (plugin, _, _) = one.block_on(load_component(&sandbox, component))?;
        let plugin = Arc::new(plugin);
        for (name, record) in records {
            compare(&one, &two, &sandbox, &plugin, &record).map_err(|why| format!("{}, {name}: {why}", folder.display()))?;
        }
    }
    Ok(())
}

fn compare(one: &Runtime, two: &Runtime, sandbox: &Arc<Sandbox>, plugin: &Arc<Plugin<Component>>, record: &Record) -> Result<(), String> {
    let first = one.block_on(sandbox.transform(plugin, record));
    let again = one.block_on(sandbox.transform(plugin, record));
    let among = two.block_on(async {
        let calls: Vec<_> = (0..AMONG)
            .map(|_| {
                let (sandbox, plugin, record) = (Arc::clone(sandbox), Arc::clone(plugin), record.clone());
                tokio::spawn(async move { sandbox.transform(&plugin, &record).await })
            })
            .collect();
        let mut verdicts = Vec::new();
        for call in calls {
            verdicts.push(call.await.expect("a call that ends"));
        }
        verdicts
    });
    for other in std::iter::once(again).chain(among) {
        if shown(&other) != shown(&first) {
            return Err(format!("first {}\nthen {}", shown(&first), shown(&other)));
        }
    }
    Ok(())
}

/// Every byte of it.
fn shown(verdict: &Result<Verdict, Failure>) -> String {
    format!("{verdict:?}")
}

/// The records of an example's cases.
fn records_of(folder: &Path) -> Vec<(String, Record)> {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    cases(&folder.join(format!("{name}.cases")), |text| Case::parse(text).map(|case| case.record))
}

fn cases(folder: &Path, parse: impl Fn(&str) -> Result<Record, String>) -> Vec<(String, Record)> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut cases: Vec<_> = files
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a case can be read");
            let record = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), record)
        })
        .collect();
    cases.sort_by(|one, other| one.0.cmp(&other.0));
    cases
}
