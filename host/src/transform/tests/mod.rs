//! The sandbox against real guests, most of them hostile.

mod calls;
mod closed;
mod hostile;
mod inert;
mod loading;
mod turns;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use hostile_guests as guest;

use super::{Component, Sandbox, Settings, Transform};
use crate::observe::Metrics;
use crate::outcome::{Failure, Verdict};
use crate::plugin::{Candidate, Load, Loaded, Plugin, PluginName, Refusal, Sidecar, Version};
use crate::policy::Limits;
use crate::record::{Assignment, AssignmentId, Record};

/// One for all tests, as there is one in a process.
static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::new(&Settings { slow_threads: 2, instances: 32, ..Settings::default() }, Arc::clone(&METRICS)).unwrap());

static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(Metrics::new);

/// Short on CPU, so that a hostile guest ends soon, and long by the clock, so that a busy machine does not decide a test.
fn limits() -> Limits {
    Limits { cpu: Duration::from_millis(20), wall: Duration::from_secs(30), memory: 4 << 20, output: 64 << 10, requests: 20, headers: 64 }
}

fn candidate(component: &[u8], limits: Limits, sidecar: Sidecar) -> Candidate {
    Candidate { name: PluginName::new("team", "plugin"), version: Version("0".into()), component: Bytes::copy_from_slice(component), sidecar, limits }
}

async fn load(component: &[u8]) -> Result<Loaded<Component>, Refusal> {
    SANDBOX.load(&candidate(component, limits(), Sidecar::default())).await
}

fn plugin(code: Component, limits: Limits) -> Plugin<Component> {
    Plugin::alone(candidate(b"", limits, Sidecar::default()), code, false)
}

/// Loads a component and asks it for the verdict of one record.
async fn ask(component: &[u8], limits: Limits, payload: &[u8]) -> Result<Verdict, Failure> {
    let loaded = SANDBOX.load(&candidate(component, limits, Sidecar::default())).await.unwrap();
    SANDBOX.transform(&plugin(loaded.code, limits), &record(7, payload)).await
}

fn record(offset: i64, payload: &[u8]) -> Record {
    Record {
        assignment: Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 3 }),
        offset,
        timestamp: Some(1_700_000_000_123),
        key: Some(Bytes::from_static(b"order:1")),
        headers: vec![("h".to_owned(), Bytes::from_static(b"\xff\x00"))],
        payload: Some(Bytes::copy_from_slice(payload)),
    }
}
