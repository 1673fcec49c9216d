//! Names the destination that the payload holds, by default one that nobody has granted. Defence: the grants (`denied`).

use keyway_sdk::*;

#[plugin(keys = "hostile-destination:*")]
fn elsewhere(m: &Message) -> Request {
    Request::get(m.payload.as_deref().unwrap_or("http://169.254.169.254"), "/latest/meta-data")
}
