//! One look, for the commands that start nothing: at everything (`keyway check`, `route`), or at one plugin (`keyway try`, `test`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Known, Outcome, Rehearse, Setup, Work};
use super::read::{Unread, read};
use super::scan::{self, Problem, Role};
use super::slots::Slots;
use super::status::{Status, Watching};
use crate::plugin::{Load, Plugin, PluginName, Refusal};

/// What lies in the directory.
#[derive(Debug)]
pub struct Once<C> {
    /// The plugins that would serve, by name.
    pub plugins: Vec<Arc<Plugin<C>>>,
    /// How each stands, with why it was refused if it was, and what else is wrong.
    pub status: Status,
}

/// Takes one look, and examines all that it finds as the watcher would at the start.
pub async fn load_once<L: Load, R: Rehearse<L::Code>>(setup: Setup, load: L, rehearse: R) -> Once<L::Code> {
    let gate = Arc::new(Gate::new(setup, load, rehearse));
    let directory = gate.directory().to_owned();
    let mut status = Status { directory: directory.clone(), looks: 1, ready: true, settled: true, watching: Watching::Starting, ..Status::default() };
    let look = match tokio::task::spawn_blocking(move || scan::look(&directory)).await {
        Ok(look) => look,
        Err(error) => {
            status.problems.push(Problem { path: status.directory.clone(), cause: format!("failed to look at it: {error}"), hint: None });
            return Once { plugins: Vec::new(), status };
        }
    };
    let mut slots = Slots::default();
    let mut jobs = JoinSet::new();
    let mut names = HashMap::new();
    for work in slots.take_all(&look, Instant::now()) {
        let (gate, name) = (Arc::clone(&gate), work.name.clone());
        let job = jobs.spawn(async move { gate.examine(work).await });
        names.insert(job.id(), name);
    }
    while let Some(joined) = jobs.join_next_with_id().await {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, final_outcome(outcome)),
            Err(error) => {
                let refusal = Refusal { cause: format!("the host failed while it examined the plugin: {error}"), hint: None };
                (error.id(), Outcome::Refused(None, None, refusal))
            }
        };
        if let Some(name) = names.get(&id) {
            slots.examined(name, outcome, Instant::now());
        }
    }
    slots.finish_first(Instant::now(), false);
    status.problems = look.problems;
    status.plugins = slots.status();
    Once { plugins: slots.serving(), status }
}

/// One plugin of the directory.
#[derive(Debug)]
pub struct One<C> {
    /// As it would serve.
    pub plugin: Arc<Plugin<C>>,
    /// Names and texts of its cases, which were not run.
    pub cases: Vec<(String, String)>,
}

/// Examines one plugin as the watcher would, but does not run its cases: whoever asks wants to see what it does, not whether it may serve.
///
/// # Errors
/// Why it is not let in, or that it is not there.
pub async fn load_one<L: Load, R: Rehearse<L::Code>>(setup: Setup, name: &PluginName, load: L, rehearse: R) -> Result<One<L::Code>, Refusal> {
    let gate = Gate::new(setup, load, rehearse);
    let (directory, wanted) = (gate.directory().to_owned(), name.clone());
    let failed = |cause: String| Refusal { cause, hint: None };
    let looked = tokio::task::spawn_blocking(move || {
        let mut look = scan::look_at(&directory, BTreeSet::from([wanted.clone()]));
        match look.plugins.remove(&wanted) {
            Some(found) => read(&found).map(|inputs| (found, inputs.cases)),
            None => {
                let problem = look.problems.first().map(|problem| format!(": `{}`: {}", problem.path.display(), problem.cause)).unwrap_or_default();
                let cause = format!("there is no component of it in `{}`{problem}", directory.display());
                Err(Unread::Refused(Refusal { cause, hint: Some("name the path of its `.wasm`, or the configuration with `--config`".into()) }))
            }
        }
    });
    let (mut found, cases) = match looked.await.map_err(|error| failed(format!("failed to read its files: {error}")))? {
        Ok(found) => found,
        Err(Unread::Refused(refusal)) => return Err(refusal),
        Err(Unread::Incomplete { cause, .. }) => return Err(failed(cause)),
        Err(Unread::Moved) => return Err(failed("its files changed while they were read".into())),
    };
    if let Ok(inputs) = &mut found.inputs {
        inputs.retain(|input| !matches!(input.role, Role::Case(_)));
    }
    let work = Work { ahead: false, name: name.clone(), found, known: Known::default(), moved: CancellationToken::new() };
    match final_outcome(gate.examine(work).await) {
        Outcome::Passed(passed) => Ok(One { plugin: passed.plugin, cases }),
        Outcome::Refused(_, _, refusal) => Err(refusal),
        outcome => Err(failed(format!("the gate came to no decision: {outcome:?}"))),
    }
}

/// What the watcher would wait for is final here: there is no second look.
fn final_outcome<C>(outcome: Outcome<C>) -> Outcome<C> {
    match outcome {
        Outcome::Moved => Outcome::Refused(None, None, Refusal { cause: "its files changed while they were read".into(), hint: None }),
        Outcome::Incomplete(version, refusal) => Outcome::Refused(Some(version), None, refusal),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::fake::{FakeCalls, FakeLoad, component, setup, write};
    use crate::reload::{State, TrustedKeys};

    #[tokio::test]
    async fn everything_that_is_wrong_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let whole = component("keys order:*");
        for (name, bytes) in [
            ("order.wasm", &whole[..]),
            ("half.wasm", &whole[..300]),
            ("twin.wasm", &component("keys order:*")),
            ("foreign.wasm", &component("refuse it imports `wasi:sockets`")),
            ("payments/refund.wasm", &component("keys payment:*")),
            ("default/x.wasm", &whole),
        ] {
            write(&folder.path().join(name), bytes);
        }
        let once = load_once(setup(folder.path(), TrustedKeys::default()), FakeLoad::default(), FakeCalls).await;
        let serving: Vec<&str> = once.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(serving, ["order", "payments/refund"]);
        let refused = |name: &str| once.status.plugin(name).trouble().and_then(|version| version.reason.clone()).unwrap();
        assert_eq!(refused("half"), "the file ends after 300 bytes, and its last section wants 311 more");
        assert_eq!(refused("twin"), "its key `order:*` is served by the plugin `order` already");
        assert_eq!(refused("foreign"), "it imports `wasi:sockets`");
        assert_eq!(once.status.state("order"), Some(State::Live));
        assert_eq!(once.status.problems.len(), 1);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let once = load_once(setup(&folder.path().join("not"), TrustedKeys::default()), FakeLoad::default(), FakeCalls).await;
        assert!(once.plugins.is_empty());
        assert!(once.status.problems[0].cause.starts_with("failed to read the plugins' directory"));
    }
}
