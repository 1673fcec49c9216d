//! Never comes back. Defence: CPU limit (`cpu`).

use keyway_sdk::*;

#[plugin(keys = "hostile-loop:*")]
fn endless() -> Verdict {
    loop {
        std::hint::black_box(());
    }
}
