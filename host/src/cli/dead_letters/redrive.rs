//! `keyway dead-letters redrive`.
//!
//! Letters go through the present plugins straight to their destinations, so other readers of the source topic see nothing. They keep their
//! source coordinates, and with them their `Idempotency-Key`s. What is done is committed for a group of its own (`GROUP.redrive`) with the
//! same ledger that a host keeps, so a redrive that was broken off goes on where it stopped, and letters that one filter left out are found
//! by the next.

mod alone;
mod batch;
mod dry;
mod letters;
mod settle;
mod stop;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

use super::filter::Filter;
use super::reader::DeadLetter;
use crate::app::{self, Rehearsal};
use crate::cli::{ConfigFile, Exit, block_on, print, show_error, show_note};
use crate::config::Config;
use crate::deliver::{Deliver, Http};
use crate::observe::Metrics;
use crate::pipeline::{self, Pipeline, Policy};
use crate::record::{Position, Record};
use crate::reload::{self, Setup};
use crate::route::Routes;
use crate::settle::{KafkaSettle, Settle};
use crate::transform::Sandbox;
use alone::Alone;
use batch::{Batch, Lane, Pace, Waiting};
use dry::{Announce, Nothing};
use letters::{Letters, Sources};
use settle::{Counts, NoOffsets, Redriven};
use stop::Stop;

/// Redrives dead letters.
#[derive(Debug, Args)]
pub(super) struct Redrive {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    filter: Filter,
    /// Run the plugins and print the requests, but send nothing and remember nothing
    #[arg(long)]
    dry_run: bool,
    /// At most so many letters a second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Pass over letters that were redriven so often already
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    max_redrives: u32,
}

/// Letters that are redriven together: their keys at the same time, one key's in order.
const BATCH: usize = 512;

/// Bytes of records in a batch.
const BATCH_BYTES: usize = 16 << 20;

/// How often what is done is committed. A redrive that is killed repeats at most what it did since, and what was in progress.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// How often the progress bar is drawn while nothing moves.
const DRAW: Duration = Duration::from_millis(200);

impl Redrive {
    pub(super) fn execute(self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        block_on(async {
            match self.redrive(config).await {
                Ok(exit) => exit,
                Err(error) => {
                    show_error(error, None);
                    Exit::Failed
                }
            }
        })
    }

    async fn redrive(self, config: Config) -> Result<Exit, String> {
        let metrics = Metrics::new();
        let failed = |error| format!("failed to {error}");
        let sandbox = Arc::new(app::sandbox(config.plugins.cache.as_deref(), &metrics)?);
        let once = reload::load_once(Setup::new(&config)?, Arc::clone(&sandbox), Rehearsal(Arc::clone(&sandbox))).await;
        for plugin in &once.status.plugins {
            if let Some(version) = plugin.trouble() {
                show_error(format!("plugin `{}` is refused: {}", plugin.name, version.reason.as_deref().unwrap_or("for no known reason")), None);
            }
        }
        let routes = Arc::new(Routes::default());
        routes.serve(&once.plugins);
        let parts = Parts { routes, sandbox, metrics, policy: policy(&config) };
        let counts = Counts::default();
        let http = Http::new(&config.destinations, &parts.metrics).map_err(|error| error.to_string())?;
        if self.dry_run {
            let curious: Vec<String> = once.plugins.iter().filter(|plugin| plugin.sees_replies).map(|plugin| format!("`{}`", plugin.name)).collect();
            if !curious.is_empty() {
                show_note(format!(
                    "no reply is known in a dry run, so an empty 200 is shown to the plugins that look at replies ({}): what they send after a real one may be \
                     something else",
                    curious.join(", ")
                ));
            }
            return self.drive(&config, parts.pipeline(Announce(http), Nothing), &counts, None).await.map_err(failed);
        }
        let alone = block_in_place(|| Alone::take(&config.kafka)).map_err(failed)?;
        let kafka = KafkaSettle::start(&config.kafka, config.replies.as_ref(), "redrive", NoOffsets).await.map_err(|error| failed(error.cause))?;
        let driven = self.drive(&config, parts.pipeline(http, Redriven::new(kafka, counts.clone())), &counts, Some(&alone)).await.map_err(failed);
        block_in_place(|| drop(alone));
        driven
    }

    /// Takes every letter that is meant through the pipeline. A dry run need not be alone.
    async fn drive<D: Deliver, S: Settle>(
        &self,
        config: &Config,
        pipeline: Pipeline<Arc<Sandbox>, D, S>,
        counts: &Counts,
        alone: Option<&Alone>,
    ) -> Result<Exit, String> {
        let stop = Stop::listen().map_err(|error| format!("listen for signals: {error}"))?;
        let mut letters = block_in_place(|| Letters::open(config))?;
        let bar = bar(letters.offsets);
        let mut sources = Sources::default();
        let mut totals = Totals::default();
        let mut held = HashSet::new();
        let pace = Pace::new(self.rate);
        let mut commit_due = interval(COMMIT_EVERY);
        commit_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !letters.ended && !stop.is_asked() {
            let (batch, redrives) = block_in_place(|| self.gather(&mut letters, &bar, &stop, &held, &mut sources, &mut totals))?;
            if stop.is_asked() {
                // Nothing of it has begun.
                break;
            }
            counts.replace(redrives);
            let mut handled = pin!(batch.handle(&pipeline, &pace, &stop.asked));
            loop {
                tokio::select! { biased;
                    done = handled.next() => {
                        let Some(done) = done else { break };
                        totals.count(&done);
                        match done.ticket {
                            Some(ticket) => letters.settle(ticket),
                            // What comes after it must not overtake it.
                            None => drop(held.insert(done.lane)),
                        }
                    }
                    () = stop.at_once.cancelled() => break,
                    () = lost(alone) => {
                        return Err("go on: Kafka has not heard of this redrive for some time, so that another one may have begun".into());
                    }
                    _ = commit_due.tick(), if !self.dry_run => {
                        if let Err(error) = block_in_place(|| letters.commit()) {
                            tracing::warn!(error, "a commit failed and is tried again");
                        }
                    }
                }
            }
        }
        if !self.dry_run {
            block_in_place(|| letters.commit_for_good())?;
        }
        bar.finish_and_clear();
        print(totals.summary(self.dry_run));
        if stop.is_asked() {
            print("stopped; the same command goes on from here");
        }
        Ok(if totals.held > 0 || stop.is_asked() { Exit::Wrong } else { Exit::Done })
    }

    /// The next letters that are meant, and how often each was redriven, with this time.
    fn gather(
        &self,
        letters: &mut Letters,
        bar: &ProgressBar,
        stop: &Stop,
        held: &HashSet<Lane>,
        sources: &mut Sources,
        totals: &mut Totals,
    ) -> Result<(Batch, HashMap<Position, u32>), String> {
        let (mut batch, mut redrives) = (Batch::default(), HashMap::new());
        while batch.len() < BATCH && batch.bytes() < BATCH_BYTES {
            let Some((found, ticket)) = letters.next(bar, stop)? else { break };
            // A ticket that is dropped leaves its letter to another redrive.
            let Some(record) = self.wanted(&found, held, sources, totals) else { continue };
            redrives.insert(record.position(), found.letter.redrives + 1);
            batch.push(Waiting { at: (found.partition, found.offset), record, progress: batch::progress(&found.letter), ticket });
        }
        Ok((batch, redrives))
    }

    /// The record of a letter that is to be redriven.
    fn wanted(&self, found: &DeadLetter, held: &HashSet<Lane>, sources: &mut Sources, totals: &mut Totals) -> Option<Record> {
        if !self.filter.takes(found) {
            totals.left_out += 1;
            return None;
        }
        if found.letter.redrives >= self.max_redrives {
            totals.guarded += 1;
            return None;
        }
        if found.letter.payload_dropped.is_some() || found.letter.source.is_none() {
            totals.without_record += 1;
            return None;
        }
        if held.contains(&Lane::of(found.key.as_ref(), (found.partition, found.offset))) {
            totals.held += 1;
            return None;
        }
        sources.record(found)
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        group: config.kafka.group.clone(),
        route_by: config.kafka.route_by.clone(),
        framing: config.kafka.framing,
        unrouted: config.failures.unrouted,
        keep_replies: config.replies.is_some(),
    }
}

/// What both kinds of redrive share.
struct Parts {
    routes: Arc<Routes<crate::transform::Component>>,
    sandbox: Arc<Sandbox>,
    metrics: Arc<Metrics>,
    policy: Policy,
}

impl Parts {
    fn pipeline<D, S>(self, deliver: D, settle: S) -> Pipeline<Arc<Sandbox>, D, S> {
        Pipeline { routes: self.routes, transform: self.sandbox, deliver, settle, metrics: self.metrics, policy: self.policy, room: pipeline::room() }
    }
}

/// Completes when another redrive may have begun.
async fn lost(alone: Option<&Alone>) {
    match alone {
        Some(alone) => alone.lost().await,
        None => std::future::pending().await,
    }
}

/// What became of the letters.
#[derive(Debug, Default)]
struct Totals {
    delivered: usize,
    skipped: usize,
    again: BTreeMap<&'static str, usize>,
    held: usize,
    left_out: usize,
    guarded: usize,
    without_record: usize,
}

impl Totals {
    fn count(&mut self, done: &batch::Done) {
        use crate::outcome::Outcome;
        match &done.outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::DeadLettered(reason) => *self.again.entry(reason.code()).or_default() += 1,
            Outcome::Held(cause) => {
                self.held += 1;
                tracing::warn!(letter = format!("{}@{}", done.at.0, done.at.1), ?cause, "held: the letter stays, redrive it when the cause is gone");
            }
        }
    }

    fn summary(&self, dry_run: bool) -> String {
        let again: usize = self.again.values().sum();
        let reasons: Vec<String> = self.again.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let would = if dry_run { "dry run, nothing was sent: " } else { "" };
        format!(
            "{would}{} delivered, {} skipped, {again} dead-lettered again{reasons}, {} held\n\
             passed over: {} by the filter, {} by --max-redrives, {} without a record to redrive",
            self.delivered, self.skipped, self.held, self.left_out, self.guarded, self.without_record
        )
    }
}

/// On a terminal only: indicatif draws nothing elsewhere.
fn bar(offsets: u64) -> ProgressBar {
    let bar = ProgressBar::new(offsets);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} letters, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW);
    bar
}
