//! Never comes back from describing itself. Defence: the limits at load; the plugin is refused.

use keyway_sdk::*;

#[plugin(keys = endless())]
fn harmless() -> Verdict {
    Verdict::skip("harmless")
}

fn endless() -> &'static str {
    loop {
        std::hint::black_box(());
    }
}
