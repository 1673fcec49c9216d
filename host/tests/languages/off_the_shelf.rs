//! Components that the languages' own tools make, without an SDK: they load, and do what they should. `scripts/off-the-shelf` builds them.

use keyway::observe::Metrics;
use keyway::plugin::Tier;
use keyway::transform::{Sandbox, Settings};

use crate::harness::Outcome;
use crate::{conformance, root};

/// `plugins/built/off-the-shelf/NAME.wasm`.
pub(crate) const NAMES: [&str; 4] = ["js", "js-quickjs", "python", "go"];

pub(crate) fn run(name: &str, wanted: &str) -> Outcome {
    let file = root().join("plugins/built/off-the-shelf").join(name).with_extension("wasm");
    let Ok(component) = std::fs::read(&file) else {
        let why = format!("`{}` is not built (`scripts/off-the-shelf`)", file.display());
        return if wanted == "all" { Outcome::Failed(why) } else { Outcome::Ignored(why) };
    };
    let served = tokio::runtime::Runtime::new().expect("a runtime").block_on(serve(name, component));
    served.map_or_else(Outcome::Failed, |()| Outcome::Passed)
}

async fn serve(name: &str, component: Vec<u8>) -> Result<(), String> {
    let sandbox = Sandbox::new(&Settings::default(), Metrics::new()).map_err(|error| format!("{error:#}"))?;
    let loaded = conformance::load_component(&sandbox, component).await?;
    // `componentize-py` has WASI whole or not at all.
    let tier = if name == "python" { Tier::Pure } else { Tier::Inert };
    if loaded.1 != tier {
        return Err(format!("it is {:?}, expected is {tier:?}", loaded.1));
    }
    for (payload, expected) in [(r#"{"do":"echo","value":7}"#, "send"), ("{ no JSON", "reject")] {
        let seen = conformance::verdict(&sandbox, &loaded.0, payload).await;
        if !seen.starts_with(expected) {
            return Err(format!("`{payload}`: {seen}, expected is {expected}"));
        }
    }
    Ok(())
}
