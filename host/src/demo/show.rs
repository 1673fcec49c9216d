//! The story of the demo, and its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::generator::{Written, generate};
use super::screen::Screen;
use super::stage::{DEAD_LETTERS, EVENTS, LATECOMER, Stage};
use super::summary::{Ended, Summary};
use crate::observe::{Sources as _, Status};

/// When what happens, from the first record on.
const DROP_IN_AT: Duration = Duration::from_secs(5);
const BREAK_AT: Duration = Duration::from_secs(9);
const FAIL_AT: Duration = Duration::from_secs(13);
const FAIL_FOR: Duration = Duration::from_secs(5);
const END_AT: Duration = Duration::from_secs(26);

/// How long the host may take to be in its group with its plugins loaded: compiling on a busy machine, and some 3 s in which the mock
/// cluster waits for more members.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long anything of the story may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// How long the last records may take to end, and how long the host may take to leave.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks for something to happen.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How the demo is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder with the built example plugins.
    pub plugins: PathBuf,
    /// Whether it goes on after the story until it is interrupted.
    pub keep: bool,
}

/// Plays the demo, and says how it went.
///
/// # Errors
/// The demo could not be set up or the host failed, in words for the operator.
pub async fn run(options: Options) -> Result<Summary, String> {
    let screen = Screen::new();
    let (stage, app) = Stage::set_up(&options.plugins).await?;
    screen.say(&format!("a broker on {}, four destinations, and a host whose files are in {}", stage.broker.address(), stage.folder().display()));
    screen.say(&format!("its console is on http://{}/ for as long as the demo runs", stage.admin));
    let shutdown = CancellationToken::new();
    let mut host = tokio::spawn(app.until(shutdown.clone().cancelled_owned()));
    let written = Arc::<Written>::default();

    let played = tokio::select! {
        played = play(&options, &stage, &screen, &written) => played,
        () = screen.show(&stage, &written) => Ok(Vec::new()),
        ended = &mut host => Err(match ended {
            Ok(Ok(())) => "the host ended before the demo did".to_owned(),
            Ok(Err(failed)) => failed.cause,
            Err(error) => format!("the host's task failed: {error}"),
        }),
    };
    screen.clear();
    let missed = played?;
    let summary = sum_up(&stage, &written, missed)?;
    shutdown.cancel();
    match tokio::time::timeout(END_WITHIN, host).await {
        Ok(Ok(ended)) => ended?,
        Ok(Err(error)) => return Err(format!("the host's task failed: {error}")),
        Err(_) => return Err("the host did not end in time".to_owned()),
    }
    Ok(summary)
}

/// Everything up to the last record's end. Gives what should have happened and did not.
async fn play(options: &Options, stage: &Stage, screen: &Screen, written: &Arc<Written>) -> Result<Vec<String>, String> {
    until(stage, READY_WITHIN, |status| status.partitions.len() == EVENTS.1 as usize).await.ok_or("the host did not join its group in time")?;
    screen.say("the host has its partitions and three plugins; the shop begins to publish 200 events a second");
    let stop = CancellationToken::new();
    let generator = tokio::spawn(generate(stage.broker.address(), EVENTS.0, Arc::clone(written), stop.clone()));
    let mut missed = Vec::new();
    let interrupted = tokio::select! {
        told = tell(stage, screen, &mut missed) => {
            told?;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
    };
    if options.keep && !interrupted {
        screen.say("the story is over; the demo goes on until Ctrl-C (`--keep`)");
        let _ = tokio::signal::ctrl_c().await;
    }
    stop.cancel();
    generator.await.map_err(|error| format!("the generator's task failed: {error}"))??;
    screen.say("the shop has closed; the last records end");
    let all = |status: &Status| Ended::of(&stage.metrics, status).total() >= written.acknowledged();
    if until(stage, END_WITHIN, all).await.is_none() {
        missed.push(format!("not all records had ended {} s after the last was produced", END_WITHIN.as_secs()));
    }
    Ok(missed)
}

/// The story proper.
async fn tell(stage: &Stage, screen: &Screen, missed: &mut Vec<String>) -> Result<(), String> {
    let begun = Instant::now();

    sleep_until(begun + DROP_IN_AT).await;
    let waiting = stage.overview.status().held.iter().filter(|held| held.cause == "unrouted").map(|held| held.keys).sum::<usize>();
    screen.say(&format!("a fourth plugin, `{LATECOMER}`, is dropped into the directory; {waiting} keys wait for it"));
    let dropped = Instant::now();
    stage.drop_in(LATECOMER)?;
    match until(stage, SEEN_WITHIN, |status| serves(status, LATECOMER)).await {
        Some(_) => screen
            .say(&format!("`{LATECOMER}` is live {} ms after it was dropped in, and what waited for it is handled", dropped.elapsed().as_millis())),
        None => missed.push(format!("`{LATECOMER}` did not go live")),
    }

    sleep_until(begun + BREAK_AT).await;
    let broken = "shipment";
    screen.say(&format!("half of a new version of `{broken}` comes, as if its copy had broken off"));
    stage.break_off(broken)?;
    match until(stage, SEEN_WITHIN, |status| plugin(status, broken).is_some_and(|plugin| plugin.trouble().is_some())).await {
        Some(status) => {
            let why = plugin(&status, broken).and_then(|plugin| plugin.trouble()?.reason.clone()).unwrap_or_default();
            screen.say(&format!("it is refused ({why}), and the version before it goes on serving"));
            if !serves(&status, broken) {
                missed.push(format!("`{broken}` did not go on serving"));
            }
        }
        None => missed.push(format!("the broken version of `{broken}` was not refused")),
    }

    sleep_until(begun + FAIL_AT).await;
    outage(stage, screen, missed).await?;

    sleep_until(begun + END_AT).await;
    Ok(())
}

/// One destination fails for five seconds, and only its keys wait.
async fn outage(stage: &Stage, screen: &Screen, missed: &mut Vec<String>) -> Result<(), String> {
    let payments = stage.destination("payments")?;
    let others = || ["order", "shipment", LATECOMER].iter().map(|name| stage.metrics.plugin(name).delivered).sum::<u64>();
    let waiting = |status: &Status| status.held.iter().filter(|held| held.name == "payments").map(|held| held.keys).sum::<usize>();
    screen.say("the destination `payments` answers 503 to everything from now on");
    payments.fail(true);
    let (failed, before) = (Instant::now(), others());
    if until(stage, FAIL_FOR, |status| waiting(status) > 0).await.is_none() {
        missed.push("no key waited for `payments` while it failed".to_owned());
    }
    sleep_until(failed + FAIL_FOR).await;
    let status = stage.overview.status();
    let meanwhile = others() - before;
    let strangers = status.held.iter().filter(|held| held.name != "payments").map(|held| held.keys).sum::<usize>();
    payments.fail(false);
    let back = Instant::now();
    screen.say(&format!("`payments` is back; {} keys of it wait, {meanwhile} records of the others were delivered meanwhile", waiting(&status)));
    if strangers > 0 {
        missed.push(format!("{strangers} keys that have nothing to do with `payments` waited"));
    }
    // 80 % of the 200 records a second are theirs; half of that is plainly no standstill, on any machine.
    if meanwhile < 80 * FAIL_FOR.as_secs() {
        missed.push(format!("only {meanwhile} records of the others were delivered while `payments` failed"));
    }
    match until(stage, SEEN_WITHIN, |status| waiting(status) == 0).await {
        Some(_) => screen.say(&format!("what waited for `payments` went on within {:.1} s", back.elapsed().as_secs_f64())),
        None => missed.push("keys still wait for `payments` although it is back".to_owned()),
    }
    Ok(())
}

/// Waits until the host is seen in a state, and gives it; none when it was not in time.
async fn until(stage: &Stage, within: Duration, mut seen: impl FnMut(&Status) -> bool) -> Option<Status> {
    let look = async {
        loop {
            let status = stage.overview.status();
            if seen(&status) {
                return status;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, look).await.ok()
}

fn plugin<'a>(status: &'a Status, name: &str) -> Option<&'a crate::observe::status::PluginStatus> {
    status.plugins.iter().find(|plugin| plugin.name == name)
}

fn serves(status: &Status, name: &str) -> bool {
    plugin(status, name).is_some_and(|plugin| plugin.serving.is_some())
}

/// Counts at both ends.
fn sum_up(stage: &Stage, written: &Written, missed: Vec<String>) -> Result<Summary, String> {
    let (metrics, status) = (&stage.metrics, stage.overview.status());
    // Asking the broker blocks the thread.
    let letters = tokio::task::block_in_place(|| stage.broker.count(DEAD_LETTERS, 0))?;
    Ok(Summary {
        produced: written.acknowledged(),
        unacknowledged: written.failed(),
        ended: Ended::of(metrics, &status),
        letters: letters.unsigned_abs(),
        done: status.destinations.iter().map(|destination| metrics.destination(&destination.name).done).sum(),
        accepted: stage.accepted(),
        missed,
    })
}
