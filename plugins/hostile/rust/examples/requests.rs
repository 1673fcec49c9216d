//! Returns 100,000 requests that hold nothing. Defence: limits of output and of requests (`output`).

use keyway_sdk::*;

#[plugin(keys = "hostile-requests:*")]
fn flood() -> Vec<Request> {
    (0..100_000).map(|_| Request { method: String::new(), ..Request::post("", "") }).collect()
}
