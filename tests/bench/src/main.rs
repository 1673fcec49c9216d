//! The whole bridge, measured: beside a native twin, and against what it promises.
//!
//! | scenario | shows |
//! |---|---|
//! | `twin` | what the sandbox costs: the same host with the three transforms compiled in |
//! | `drain` | that a backlog takes hardly longer than its longest lane |
//! | `hostile` | what ends each plugin that attacks the host, and that other keys keep their latency meanwhile |
//! | `latency` | that a slow destination is kept busy, and how much memory that takes |
//! | `hang` | that a destination which never answers takes nothing from another one |
//! | `outage` | how much memory a host takes while a destination is down and 100,000 records are held for it |
//! | `teams` | that a team whose plugin loops in every call leaves another team its share |
//! | `reload` | that plugins are replaced every second without a record noticing it |
//! | `plugins` | that a thousand plugins cost a start and memory, and no record anything |
//!
//! All use a real broker, real HTTP servers and the real binary, on one machine, so the broker and the servers take their part of its processors.
//! Figures are medians of several runs; quote the ratios, not the times: the machine is whatever it is. Nothing here fails for being slow, only
//! for records that are lost.
//!
//! With `--profile dist` in place of `--release`, and `keyway` built so too, it measures what goes into production.
//!
//! `cargo run --release -p bench -- [twin] [RECORDS] [RUNS] | drain | latency | hostile [NAME...] | hang | outage | teams | reload [PER_MILLISECOND] | plugins [COUNT] | all`;
//! the guests and `keyway` must be built (`make bench` does it).

mod clock;
mod compare;
mod drain;
mod figures;
mod hang;
mod hostile;
mod latency;
mod load;
mod outage;
mod plugins;
mod reload;
mod setting;
mod sink;
mod teams;
mod twin;

use std::path::Path;
use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// As in `keyway`, so that the twin is a twin.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Records and runs of the scenario `twin`, unless the command line says otherwise. On a shared machine a run differs from the next by a fifth.
const TWIN: (usize, usize) = (60_000, 7);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [twin::COMMAND, "--config", config] => match twin::run(Path::new(config)) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                figures::say(&format!("error: {error}"));
                return ExitCode::FAILURE;
            }
        },
        ["drain"] => drain::run(),
        ["latency"] => latency::run(),
        ["hostile", ref names @ ..] => hostile::run(names),
        ["hang"] => hang::run(),
        ["outage"] => outage::run(),
        ["teams"] => teams::run(),
        ["reload"] => reload::run(None),
        ["reload", per_millisecond] => match per_millisecond.parse() {
            Ok(per_millisecond) => reload::run(Some(per_millisecond)),
            Err(_) => return usage(),
        },
        ["plugins"] => plugins::run(None),
        ["plugins", count] => match count.parse() {
            Ok(count) => plugins::run(Some(count)),
            Err(_) => return usage(),
        },
        ["all"] => {
            compare::run(TWIN.0, TWIN.1);
            drain::run();
            latency::run();
            hostile::run(&[]);
            hang::run();
            outage::run();
            teams::run();
            reload::run(None);
            plugins::run(None);
        }
        ["twin", ref numbers @ ..] | ref numbers if numbers.len() <= 2 => {
            let numbers: Result<Vec<usize>, _> = numbers.iter().map(|text| text.parse()).collect();
            match numbers.as_deref() {
                Ok([]) => compare::run(TWIN.0, TWIN.1),
                Ok([records]) => compare::run(*records, TWIN.1),
                Ok([records, runs, ..]) => compare::run(*records, *runs),
                Err(_) => return usage(),
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    figures::say(
        "usage: bench [twin] [RECORDS] [RUNS] | drain | latency | hostile [NAME...] | hang | outage | teams | reload [PER_MILLISECOND] | plugins [COUNT] | all",
    );
    ExitCode::from(2)
}
