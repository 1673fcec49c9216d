//! Components that the languages' own tools make, without an SDK: they load, and do what they should. `scripts/off-the-shelf` builds them.

use std::io::ErrorKind;
use std::net::TcpListener;

use keyway::observe::Metrics;
use keyway::plugin::Tier;
use keyway::transform::{Sandbox, Settings};

use tokio::time::Instant;

use crate::harness::Outcome;
use crate::{conformance, root};

/// `plugins/built/off-the-shelf/NAME.wasm`. Those with `default` are made by a tool to which nothing was said.
pub(crate) const NAMES: [&str; 6] = ["js-default", "js", "js-quickjs", "python-default", "python", "go"];

pub(crate) fn run(name: &str, wanted: &str) -> Outcome {
    let file = root().join("plugins/built/off-the-shelf").join(name).with_extension("wasm");
    let Ok(component) = std::fs::read(&file) else {
        let why = format!("`{}` is not built (`scripts/off-the-shelf`)", file.display());
        return if wanted == "all" { Outcome::Failed(why) } else { Outcome::Ignored(why) };
    };
    let began = Instant::now();
    let served = tokio::runtime::Runtime::new().expect("a runtime").block_on(serve(name, component));
    served.map_or_else(Outcome::Failed, |()| Outcome::Passed(began.elapsed()))
}

async fn serve(name: &str, component: Vec<u8>) -> Result<(), String> {
    let sandbox = Sandbox::new(&Settings::default(), Metrics::new()).map_err(|error| format!("{error:#}"))?;
    let loaded = conformance::load_component(&sandbox, component).await?;
    // `componentize-py` has WASI whole or not at all.
    let tier = if name == "python" { Tier::Pure } else { Tier::Inert };
    if loaded.1 != tier {
        return Err(format!("it is {:?}, expected is {tier:?}", loaded.1));
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener that does not wait");
    let connect = format!(r#"{{"do":"connect","port":{}}}"#, listener.local_addr().expect("its address").port());
    let network = match name {
        "js-default" => Some("trapped: called `wasi:http/"),
        "python-default" => Some("trapped: called `wasi:sockets/"),
        _ => None,
    };
    let cases = [(r#"{"do":"echo","value":7}"#, "send"), ("{ no JSON", "reject")];
    // The same again after a fault, which is of its record alone.
    for (payload, expected) in cases.into_iter().chain(network.map(|fault| (connect.as_str(), fault))).chain(cases) {
        let seen = conformance::verdict(&sandbox, &loaded.0, payload).await;
        if !seen.starts_with(expected) {
            return Err(format!("`{payload}`: {seen}, expected is {expected}"));
        }
        if expected.contains("called") && !seen.contains("plugins have no network; return requests, and the host sends them") {
            return Err(format!("`{payload}`: {seen}, which does not say what to do instead"));
        }
    }
    // A connection is there as soon as it is asked for, whether it is accepted or not.
    match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => Err(format!("somebody connected: {other:?}")),
    }
}
