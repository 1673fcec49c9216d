//! `keyway try`: one record through one plugin, with the engine and the limits that it would have in a host. Sends nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use url::Url;

use super::curl::{self, Call};
use super::workbench::{Bench, Loaded};
use super::{Exit, block_on, print, show_error};
use crate::config::Destination;
use crate::deliver::{Http, Stamp};
use crate::observe::Metrics;
use crate::outcome::{Failure, Reason, Request, Verdict};
use crate::policy::check_requests;
use crate::record::Record;
use crate::reload;
use crate::transform::{Level, Trial};

/// The hint for whoever has no message yet, or one that is none.
const A_MESSAGE: &str =
    "a message is JSON such as `{ \"key\": \"order:7\", \"payload\": { \"id\": 7 } }`; `--message -` reads it from standard input";

/// One record through one plugin; sends nothing.
#[derive(Debug, Args)]
pub struct Try {
    #[command(flatten)]
    bench: Bench,
    /// The record, as JSON: `{ "key": …, "payload": …, "headers": {…}, "topic": …, "partition": …, "offset": …, "timestamp": … }`, all of them
    /// optional; `-` reads it from standard input
    #[arg(long, short, value_name = "FILE")]
    message: PathBuf,
}

impl Try {
    pub(super) fn execute(self) -> Exit {
        let record = match read(&self.message).and_then(|json| reload::message(&json)) {
            Ok(record) => record,
            Err(error) => {
                show_error(format!("failed to read the message `{}`: {error}", self.message.display()), Some(A_MESSAGE));
                return Exit::Usage;
            }
        };
        block_on(async move {
            let loaded = match self.bench.load().await {
                Ok(loaded) => loaded,
                Err(exit) => return exit,
            };
            let trial = loaded.sandbox.trial(&loaded.plugin, &record).await;
            print(about(&loaded, &record));
            let exit = match said(&loaded, &record, &trial) {
                Ok(text) => {
                    print(text);
                    Exit::Done
                }
                Err(failure) => {
                    print(format!("failed    {}: {}", failure.reason, failure.detail));
                    Exit::Wrong
                }
            };
            print(log(&trial));
            print(used(&loaded, &trial));
            exit
        })
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text).map(|_| text),
        _ => std::fs::read_to_string(path),
    };
    read.map_err(|error| error.to_string())
}

fn about(loaded: &Loaded, record: &Record) -> String {
    let plugin = &loaded.plugin;
    let key = record.key_text().map_or("no key".to_owned(), |key| format!("key `{}`", key.escape_debug()));
    let by = plugin.keys.iter().find(|pattern| record.key_text().map_or(pattern.to_string() == "*", |key| pattern.matches(key)));
    let by = by.map_or("which none of its patterns matches: a host would not give it this record".to_owned(), |by| format!("by the pattern `{by}`"));
    format!("plugin    {} {}\nrecord    {record}, {key}, {by}", plugin.name, plugin.version)
}

/// What the plugin said, with what a host would say to it.
fn said(loaded: &Loaded, record: &Record, trial: &Trial) -> Result<String, Failure> {
    match trial.verdict.as_ref().map_err(Clone::clone)? {
        Verdict::Skip(why) => Ok(format!("verdict   skip: {}", why.escape_debug())),
        Verdict::Reject(why) => Ok(format!("verdict   reject: {}", why.escape_debug())),
        Verdict::Send(requests) => {
            check_requests(&loaded.plugin.grant, &loaded.plugin.limits, requests)?;
            let mut text = format!("verdict   send, requests: {}", requests.len());
            let destinations = destinations(loaded, requests);
            let http = Http::new(&destinations, &Metrics::new()).map_err(|error| Failure::new(Reason::Denied, error.to_string()))?;
            let group = loaded.config.as_ref().map_or("GROUP", |config| &config.kafka.group);
            for (index, request) in (0..).zip(requests) {
                let key = format!("{group}/{}/{}/{}/{index}", record.topic(), record.partition(), record.offset);
                let stamp = Stamp { idempotency_key: &key, index, behind: 0 };
                let preview = http.preview(request, stamp).map_err(|detail| Failure::new(Reason::Denied, format!("request {index}: {detail}")))?;
                let body = request.body.as_ref().map(crate::outcome::Body::as_bytes);
                let call = Call { method: &preview.method, url: &preview.url, headers: &preview.headers, body };
                let _ = write!(text, "\n\n# {} -> {}\n{}", index, request.destination, curl::command(&call));
            }
            if loaded.config.is_none() && !requests.is_empty() {
                text.push_str("\n\n# without a configuration, the destinations' URLs and the consumer group GROUP are placeholders");
            }
            text.push('\n');
            Ok(text)
        }
    }
}

/// The configured ones, or a placeholder for each that is named (`.invalid` never resolves: RFC 2606).
fn destinations(loaded: &Loaded, requests: &[Request]) -> BTreeMap<Arc<str>, Destination> {
    if let Some(config) = &loaded.config {
        return config.destinations.clone();
    }
    let placeholder = |request: &Request| {
        let name: Arc<str> = request.destination.as_str().into();
        let url = Url::parse(&format!("http://{name}.invalid")).ok()?;
        Some((Arc::clone(&name), Destination::new(name, url)))
    };
    requests.iter().filter_map(placeholder).collect()
}

fn log(trial: &Trial) -> String {
    let mut text = String::from("log      ");
    for line in &trial.lines {
        let level = match line.level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let _ = write!(text, "\n  {level:<5} {}", line.text);
    }
    match (trial.lines.len(), trial.dropped_lines) {
        (0, 0) => text.push_str(" nothing"),
        (_, 0) => {}
        (_, dropped) => {
            let _ = write!(text, "\n  … {dropped} more lines were over the cap");
        }
    }
    text
}

fn used(loaded: &Loaded, trial: &Trial) -> String {
    let limits = &loaded.plugin.limits;
    format!(
        "used      CPU time {:.1?} of {:?}, by the clock {:.1?} of {:?}, peak memory {} KiB of {} KiB",
        trial.cpu,
        limits.cpu,
        trial.elapsed,
        limits.wall,
        trial.memory.div_ceil(1024),
        limits.memory >> 10,
    )
}
