//! Returns one request with 100,000 headers. Defence: limits of output and of headers (`output`).

use keyway_sdk::*;

#[plugin(keys = "hostile-headers:*")]
fn flood() -> Request {
    Request { headers: vec![(String::new(), String::new()); 100_000], ..Request::post("orders", "/") }
}
