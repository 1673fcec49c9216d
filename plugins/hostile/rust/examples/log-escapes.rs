//! Logs what would clear the operator's terminal, rename its window and forge a line. Defence: control characters never reach the log.

use keyway_sdk::*;

#[plugin(keys = "hostile-log-escapes:*")]
fn forge() -> Verdict {
    log::info!("\x1b[2J\x1b]0;owned\x07\u{9b}31m all is well\r\n2026-11-24T00:00:00Z ERROR forged\0\u{202e}live");
    Verdict::skip("has said it all")
}
