//! Asks for the path that the payload holds, by default one that leaves the base URL. Defence: the joining of paths (`denied`).

use keyway_sdk::*;

#[plugin(keys = "hostile-path:*")]
fn climb(m: &Message) -> Request {
    Request::get("orders", m.payload.as_deref().unwrap_or("/../../admin"))
}
