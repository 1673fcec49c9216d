//! Every language: its conformance plugin, that a verdict depends on the record alone, its examples, a new project of its template up to its first request,
//! and the first example of its README.
//!
//! `make languages` runs it. A language whose tools are not installed is ignored, with what is missing, and so counts as no pass. `KEYWAY_LANGUAGES=all` makes
//! that a failure, and `KEYWAY_LANGUAGES=c,go` asks for these alone; `scripts/setup-languages.sh` installs the tools.

#![expect(clippy::print_stdout, reason = "a harness prints")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use keyway::build::{self, Language, Project, Trouble};
use tokio::time::Instant;

mod conformance;
mod determinism;
mod harness;
mod live;
mod off_the_shelf;
mod projects;

use harness::{Outcome, Trial};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the workspace").to_owned()
}

/// A language under test, and its conformance plugin, built once for all that need it.
struct Subject {
    language: Language,
    built: OnceLock<Result<Vec<u8>, Trouble>>,
}

impl Subject {
    /// The conformance plugin as a component, by which it is seen whether the language's tools are there.
    fn component(&self) -> Result<&[u8], &Trouble> {
        let built = self.built.get_or_init(|| {
            let folder = root().join("plugins").join(self.language.name()).join("conformance");
            let project = Project::open(&folder)?;
            let component = build::build(&project)?;
            // Where the end-to-end tests and the benchmarks find it.
            fs::write(project.component(), &component).expect("the component to be written");
            Ok(component)
        });
        built.as_deref()
    }
}

type Check = fn(&Subject) -> Result<(), String>;

const CHECKS: [(&str, Check); 6] = [
    ("conformance", conformance::check),
    ("determinism", determinism::check),
    ("examples", projects::examples),
    ("live", live::check),
    ("readme", projects::readme),
    ("replies", projects::replies),
];

fn main() -> ExitCode {
    let wanted = env::var("KEYWAY_LANGUAGES").unwrap_or_default();
    // A name that is no language must not pass as an empty run.
    for name in wanted.split(',').filter(|name| !name.is_empty() && *name != "all") {
        assert!(Language::ALL.iter().any(|language| language.name() == name), "KEYWAY_LANGUAGES names `{name}`, which is no language");
    }
    let wanted: Arc<str> = wanted.into();
    let mut trials = Vec::new();
    for language in Language::ALL {
        let subject = Arc::new(Subject { language, built: OnceLock::new() });
        for (name, check) in CHECKS {
            let (subject, wanted) = (Arc::clone(&subject), Arc::clone(&wanted));
            trials.push(Trial { name: format!("{language}::{name}"), run: Box::new(move || run(&subject, check, &wanted)) });
        }
    }
    for name in off_the_shelf::NAMES {
        let wanted = Arc::clone(&wanted);
        trials.push(Trial { name: format!("off-the-shelf::{name}"), run: Box::new(move || off_the_shelf::run(name, &wanted)) });
    }
    harness::run(trials)
}

fn run(subject: &Subject, check: Check, wanted: &str) -> Outcome {
    let is_wanted = wanted == "all" || wanted.split(',').any(|name| name == subject.language.name());
    if !is_wanted && !wanted.is_empty() {
        return Outcome::Ignored("not among KEYWAY_LANGUAGES".to_owned());
    }
    match subject.component() {
        Ok(_) => {}
        Err(trouble) if trouble.is_missing_tool && !is_wanted => return Outcome::Ignored(trouble.to_string()),
        Err(trouble) => {
            let hint = trouble.hint.as_ref().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
            return Outcome::Failed(format!("{trouble}{hint}\n{}", trouble.output.as_deref().unwrap_or_default()));
        }
    }
    // Without the conformance plugin, which whoever came first has built.
    let began = Instant::now();
    check(subject).map_or_else(Outcome::Failed, |()| Outcome::Passed(began.elapsed()))
}
