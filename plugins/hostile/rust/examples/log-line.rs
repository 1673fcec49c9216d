//! Logs one line of 32 MiB. Defence: the cap on what a guest may pass, or the cut of long lines.

use keyway_sdk::*;

#[plugin(keys = "hostile-log-line:*")]
fn babble() -> Verdict {
    log::info!("{}", "a".repeat(32 << 20));
    Verdict::skip("has said it all")
}
