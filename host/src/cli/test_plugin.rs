//! `keyway test`: a plugin's own cases, with the engine and the limits that it would have in a host, and what differs.

use clap::Args;

use super::workbench::{Bench, Loaded};
use super::{Exit, block_on, difference, print, show_error};
use crate::outcome::Verdict;
use crate::policy::check_requests;
use crate::reload::Case;

/// Run a plugin's cases (`NAME.cases/*.json`).
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    bench: Bench,
}

impl Test {
    pub(super) fn execute(self) -> Exit {
        block_on(async move {
            let loaded = match self.bench.load().await {
                Ok(loaded) => loaded,
                Err(exit) => return exit,
            };
            if loaded.cases.is_empty() {
                let name = loaded.plugin.name.as_str().rsplit('/').next().unwrap_or_default();
                let hint = format!("write `{name}.cases/NAME.json` beside the component: `{{ \"message\": {{…}}, \"expect\": {{…}} }}`");
                show_error(format!("plugin `{}` has no cases", loaded.plugin.name), Some(&hint));
                return Exit::Wrong;
            }
            let mut failed = 0;
            for (name, text) in &loaded.cases {
                match run(&loaded, text).await {
                    Ok(()) => print(format!("ok      {name}")),
                    Err(why) => {
                        failed += 1;
                        print(format!("FAILED  {name}\n{}", indented(&why)));
                    }
                }
            }
            let passed = loaded.cases.len() - failed;
            print(format!("{}: {passed} passed, {failed} failed", loaded.plugin.name));
            if failed == 0 { Exit::Done } else { Exit::Wrong }
        })
    }
}

async fn run(loaded: &Loaded, text: &str) -> Result<(), String> {
    let case = Case::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
    let trial = loaded.sandbox.trial(&loaded.plugin, &case.record).await;
    let log: String = trial.lines.iter().map(|line| format!("\nlog: {}", line.text)).collect();
    let verdict = trial.verdict.map_err(|failure| format!("{}: {}{log}", failure.reason, failure.detail))?;
    if let Verdict::Send(requests) = &verdict {
        check_requests(&loaded.plugin.grant, &loaded.plugin.limits, requests).map_err(|failure| format!("{}: {}", failure.reason, failure.detail))?;
    }
    case.compare(&verdict).map_err(|first| {
        let (expected, seen) = case.beside(&verdict);
        format!("{first}\n(- expected, + seen)\n{}{log}", difference::lines(&expected, &seen))
    })
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
}
