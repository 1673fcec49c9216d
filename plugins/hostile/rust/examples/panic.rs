//! Panics. Defence: the trap ends the instance (`trapped`), and the words are in the log.

use keyway_sdk::*;

#[plugin(keys = "hostile-panic:*")]
fn fall(m: &Message) -> Verdict {
    panic!("no mercy for {}", m.key_text());
}
