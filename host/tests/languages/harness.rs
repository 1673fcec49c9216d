//! Trials that find out, as they run, whether what they need is there: one that is ignored counts as no pass, which `#[test]` cannot say.
//!
//! Speaks as the standard harness does: `--ignored` runs them, an argument is a part of the names to be run, and the last line counts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use keyway::outcome::panic_text;

/// How a trial ended.
pub(crate) enum Outcome {
    /// In this time.
    Passed(Duration),
    /// With what was seen and what was expected.
    Failed(String),
    /// With what is missing.
    Ignored(String),
}

/// A name, and what is to be done.
pub(crate) struct Trial {
    pub(crate) name: String,
    pub(crate) run: Box<dyn FnOnce() -> Outcome + Send>,
}

/// Runs the trials that the arguments ask for, one on each core at a time.
pub(crate) fn run(mut trials: Vec<Trial>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, parts): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|argument| argument.starts_with("--"));
    let asked = options.iter().any(|option| matches!(option.as_str(), "--ignored" | "--include-ignored"));
    let total = trials.len();
    trials.retain(|trial| parts.is_empty() || parts.iter().any(|part| trial.name.contains(part.as_str())));
    let filtered_out = total - trials.len();
    if !asked {
        println!("test result: ok. 0 passed; 0 failed; {} ignored; 0 measured; {filtered_out} filtered out", trials.len());
        return ExitCode::SUCCESS;
    }
    println!("running {} tests", trials.len());
    let (mut passed, mut ignored, mut failed) = (0, 0, Vec::new());
    let queue = Mutex::new(trials.into_iter());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    // At most one result a worker waits to be printed.
    let (done, results) = mpsc::sync_channel(workers);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (done, queue) = (done.clone(), &queue);
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(Trial { name, run }) = next else { break };
                    let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Outcome::Failed(panic_text(&*panic).to_owned()));
                    done.send((name, outcome)).expect("the results to be read until the last worker has ended");
                }
            });
        }
        drop(done);
        for (name, outcome) in results {
            match outcome {
                Outcome::Passed(elapsed) => {
                    passed += 1;
                    println!("test {name} ... ok ({:.1} s)", elapsed.as_secs_f64());
                }
                Outcome::Ignored(why) => {
                    ignored += 1;
                    println!("test {name} ... ignored ({why})");
                }
                Outcome::Failed(why) => {
                    println!("test {name} ... FAILED");
                    failed.push((name, why));
                }
            }
        }
    });
    for (name, why) in &failed {
        println!("\n---- {name} ----\n{why}");
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {filtered_out} filtered out", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
