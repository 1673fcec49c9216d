//! `keyway dead-letters redrive`.
//!
//! Letters go through the present plugins straight to their destinations, so other readers of the source topic see nothing. They keep their
//! source coordinates, and with them their `Idempotency-Key`s. What is done is committed for a group of its own (`GROUP.redrive`) with the
//! same ledger that a host keeps, so a redrive that was broken off goes on where it stopped, and letters that one filter left out are found
//! by the next.

mod batch;
mod dry;
mod settle;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::ctrl_c;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::filter::Filter;
use super::reader::{DeadLetter, Reader};
use crate::app::{self, Rehearsal};
use crate::cli::{ConfigFile, Exit, block_on, print, show_error};
use crate::config::Config;
use crate::deliver::{Deliver, Http};
use crate::observe::Metrics;
use crate::pipeline::{self, Pipeline, Policy};
use crate::record::{Assignment, AssignmentId, Position, Record};
use crate::reload::{self, Setup};
use crate::route::Routes;
use crate::settle::{KafkaSettle, Ledger, Opened, Settle, Ticket};
use crate::transform::Sandbox;
use batch::{Batch, Pace, Waiting};
use dry::{Announce, Nothing};
use settle::{Counts, NoOffsets, Redriven};

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
        if self.dry_run {
            return self.drive(&config, parts.pipeline(Announce, Nothing), &counts).await.map_err(failed);
        }
        let http = Http::new(&config.destinations, &parts.metrics).map_err(|error| error.to_string())?;
        let kafka = KafkaSettle::start(&config.kafka, config.replies.as_ref(), "redrive", NoOffsets).await.map_err(|error| failed(error.cause))?;
        self.drive(&config, parts.pipeline(http, Redriven::new(kafka, counts.clone())), &counts).await.map_err(failed)
    }

    /// Takes every letter that is meant through the pipeline.
    async fn drive<D: Deliver, S: Settle>(&self, config: &Config, pipeline: Pipeline<Arc<Sandbox>, D, S>, counts: &Counts) -> Result<Exit, String> {
        let mut letters = block_in_place(|| Letters::open(config))?;
        let bar = bar(letters.offsets);
        let mut sources = Sources::default();
        let mut totals = Totals::default();
        let mut held_keys = HashSet::new();
        let pace = Pace::new(self.rate);
        let stop = at_interrupt();
        while !letters.ended && !stop.is_cancelled() {
            let mut batch = Batch::default();
            let mut redrives = HashMap::new();
            while batch.len() < BATCH && batch.bytes() < BATCH_BYTES {
                let Some((found, ticket)) = block_in_place(|| letters.next(&bar))? else { break };
                // A ticket that is dropped leaves its letter to another redrive.
                let Some(record) = self.wanted(&found, &held_keys, &mut sources, &mut totals) else { continue };
                redrives.insert(record.position(), found.letter.redrives + 1);
                batch.push(Waiting { at: (found.partition, found.offset), record, progress: batch::progress(&found.letter), ticket });
            }
            counts.replace(redrives);
            for done in batch.handle(&pipeline, &pace, &stop).await {
                totals.count(&done);
                match done.ticket {
                    Some(ticket) => letters.ledger.settle(ticket),
                    // What comes after it must not overtake it.
                    None => drop(held_keys.insert(done.key)),
                }
            }
            if !self.dry_run {
                let marks = letters.ledger.marks();
                block_in_place(|| letters.reader.commit(&marks))?;
            }
        }
        // The marks between may have been passed over, where very many letters are left undecided.
        if !self.dry_run {
            let marks = letters.ledger.release_all();
            block_in_place(|| letters.reader.commit(&marks))?;
        }
        bar.finish_and_clear();
        print(totals.summary(self.dry_run));
        if stop.is_cancelled() {
            print("stopped; the same command goes on from here");
        }
        Ok(if totals.held > 0 || stop.is_cancelled() { Exit::Wrong } else { Exit::Done })
    }

    /// The record of a letter that is to be redriven.
    fn wanted(&self, found: &DeadLetter, held: &HashSet<Option<Bytes>>, sources: &mut Sources, totals: &mut Totals) -> Option<Record> {
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
        if held.contains(&found.key) {
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

/// The letters that no redrive has settled, in the order of their partitions.
struct Letters {
    reader: Reader,
    ledger: Ledger,
    stays: HashMap<i32, Arc<Assignment>>,
    /// Offsets up to the end, for the progress bar.
    offsets: u64,
    ended: bool,
}

impl Letters {
    fn open(config: &Config) -> Result<Letters, String> {
        let mut reader = Reader::open(&config.kafka, &format!("{}.redrive", config.kafka.group))?;
        let (mut ledger, mut stays, mut from) = (Ledger::default(), HashMap::new(), HashMap::new());
        for (id, committed) in (0..).zip(reader.committed()?) {
            let stay = Arc::new(Assignment { id: AssignmentId(id), topic: reader.topic().into(), partition: committed.partition });
            ledger.assign(Arc::clone(&stay), committed.offset, &committed.metadata);
            from.extend(committed.offset.map(|offset| (committed.partition, offset)));
            stays.insert(committed.partition, stay);
        }
        // Not from `--since`: what lies before it is undecided, and the ledger has to see it.
        let offsets = reader.rewind(None, &from)?;
        Ok(Letters { reader, ledger, stays, offsets, ended: false })
    }

    fn next(&mut self, bar: &ProgressBar) -> Result<Option<(DeadLetter, Ticket)>, String> {
        while let Some(found) = self.reader.next()? {
            bar.inc(1);
            let Some(stay) = self.stays.get(&found.partition) else { continue };
            if let Opened::Undecided(ticket) = self.ledger.open(Position { assignment: stay.id, offset: found.offset }, found.key.as_deref()) {
                return Ok(Some((found, ticket)));
            }
        }
        self.ended = true;
        Ok(None)
    }
}

/// Cancelled at the first Ctrl-C; a second one ends the process at once.
fn at_interrupt() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if ctrl_c().await.is_ok() {
            stopping.cancel();
            if ctrl_c().await.is_ok() {
                #[expect(clippy::disallowed_methods, reason = "whoever asks twice no longer wants to wait")]
                std::process::exit(1);
            }
        }
    });
    stop
}

/// The partitions that the letters' records came from, as they were: a record keeps its coordinates, and with them its idempotency keys.
#[derive(Default)]
struct Sources(BTreeMap<(String, i32), Arc<Assignment>>);

impl Sources {
    fn record(&mut self, found: &DeadLetter) -> Option<Record> {
        let (topic, partition, offset) = found.letter.source.clone()?;
        let next = AssignmentId(self.0.len() as u64);
        let assignment = self
            .0
            .entry((topic, partition))
            .or_insert_with_key(|(topic, partition)| Arc::new(Assignment { id: next, topic: topic.as_str().into(), partition: *partition }));
        let headers = found.headers.iter().filter(|(name, _)| !name.starts_with(crate::settle::dead_letter::PREFIX)).cloned().collect();
        Some(Record {
            assignment: Arc::clone(assignment),
            offset,
            timestamp: found.letter.timestamp,
            key: found.key.clone(),
            headers,
            payload: found.payload.clone(),
        })
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
