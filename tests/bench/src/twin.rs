//! The native twin: the same host with the three transforms compiled in and no sandbox around them.
//!
//! Everything but the call is Keyway's own code, so that the difference is what the sandbox costs.

use std::path::Path;
use std::sync::Arc;

use keyway::app;
use keyway::config;
use keyway::deliver::Http;
use keyway::observe::Metrics;
use keyway::outcome::{Body, Exchange, Failure, Next, Reason, Request, Verdict};
use keyway::plugin::{OnFault, Plugin, PluginName, Tally, Version};
use keyway::policy::{Grant, Limits};
use keyway::record::Record;
use keyway::route::Routes;
use keyway::transform::Transform;
use tokio::signal::unix::{SignalKind, signal};

/// A transform of the SDK, as it is before it is compiled to WebAssembly.
type Code = fn(&keyway_sdk::Message) -> keyway_sdk::Verdict;

/// What this program is told to be the twin by; not meant for people.
pub(crate) const COMMAND: &str = "serve-natively";

/// Runs until SIGTERM.
pub(crate) fn run(config: &Path) -> Result<(), String> {
    let config = config::load(config).map_err(|report| report.to_string())?;
    let runtime = app::runtime().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let metrics = Metrics::new();
        let routes = Arc::new(Routes::<Code>::default());
        let plugins: [(&str, Code); 3] =
            [("order", order::Plugin::transform), ("shipment", shipment::Plugin::transform), ("refund", refund::Plugin::transform)];
        assert!(routes.serve(&plugins.map(|(name, code)| Arc::new(plugin(name, code)))).is_empty());
        let deliver = Arc::new(Http::new(&config.destinations, &metrics).map_err(|error| error.to_string())?);
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        app::serve(&config, metrics, routes, Native, deliver, async move {
            terminate.recv().await;
        })
        .await
        .map_err(String::from)
    })
}

fn plugin(name: &str, code: Code) -> Plugin<Code> {
    let limits = Limits::default();
    Plugin {
        name: PluginName::new("default", name),
        version: Version("native".into()),
        keys: vec![format!("{name}:*").parse().expect("a pattern")],
        on_fault: OnFault::DeadLetter,
        grant: Arc::new(Grant::everything("default", limits)),
        limits,
        sees_replies: false,
        tally: Tally::default(),
        code,
    }
}

#[derive(Debug)]
struct Native;

impl Transform for Native {
    type Code = Code;

    async fn transform(&self, plugin: &Plugin<Code>, record: &Record) -> Result<Verdict, Failure> {
        Ok(verdict((plugin.code)(&message(record)?)))
    }

    async fn on_replies(&self, _: &Plugin<Code>, _: &Record, _: &[Exchange]) -> Result<Next, Failure> {
        Ok(Next::Done)
    }
}

fn message(record: &Record) -> Result<keyway_sdk::Message, Failure> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| Failure::new(Reason::Malformed, error.to_string()));
    Ok(keyway_sdk::Message {
        topic: record.topic().to_owned(),
        partition: record.partition() as u32,
        offset: record.offset as u64,
        timestamp: record.timestamp.map(|timestamp| timestamp as u64),
        key: record.key_text().map(str::to_owned),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), value.to_vec())).collect(),
        payload: record.payload.as_deref().map(text).transpose()?,
        attributes: Vec::new(),
    })
}

fn verdict(verdict: keyway_sdk::Verdict) -> Verdict {
    match verdict {
        keyway_sdk::Verdict::Send(requests) => Verdict::Send(requests.into_iter().map(request).collect()),
        keyway_sdk::Verdict::Skip(why) => Verdict::Skip(why),
        keyway_sdk::Verdict::Reject(why) => Verdict::Reject(why),
    }
}

fn request(request: keyway_sdk::Request) -> Request {
    Request {
        destination: request.destination,
        method: request.method,
        path: request.path,
        headers: request.headers,
        body: request.body.map(|body| match body {
            keyway_sdk::Body::Text(text) => Body::Text(text),
            keyway_sdk::Body::Bytes(bytes) => Body::Bytes(bytes),
        }),
        attributes: request.attributes,
    }
}
