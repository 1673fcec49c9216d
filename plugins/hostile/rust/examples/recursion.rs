//! Calls itself a hundred million times. Defence: the stack's end traps (`trapped`).

use keyway_sdk::*;

#[plugin(keys = "hostile-recursion:*")]
fn recursion() -> Verdict {
    Verdict::skip(deeper(100_000_000).to_string())
}

fn deeper(left: u32) -> u64 {
    let here = std::hint::black_box([u64::from(left); 4]);
    if left == 0 { here[0] } else { deeper(left - 1).wrapping_add(here[1]) }
}
