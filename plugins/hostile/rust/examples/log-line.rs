//! Logs one line of 16 MiB. Defence: the cap on what a guest may pass to the host at once (`output`, or the trap of it, `trapped`).

use keyway_sdk::*;

#[plugin(keys = "hostile-log-line:*")]
fn babble() -> Verdict {
    log::info!("{}", "a".repeat(16 << 20));
    Verdict::skip("has said it all")
}
