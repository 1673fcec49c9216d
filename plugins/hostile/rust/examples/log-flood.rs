//! Logs 1 GB in lines of 1 KiB. Defence: the log's rate, and the CPU limit; the record itself may end as `cpu` or be skipped.

use keyway_sdk::*;

#[plugin(keys = "hostile-log-flood:*")]
fn babble() -> Verdict {
    let line = "a".repeat(1 << 10);
    for _ in 0..1 << 20 {
        log::error!("{line}");
    }
    Verdict::skip("has said it all")
}
