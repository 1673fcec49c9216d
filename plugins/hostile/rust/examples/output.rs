//! Returns a body of 64 MiB, made of less memory than the default limit where it can. Defence: memory or output limit (`memory`, `output`).

use keyway_sdk::*;

#[plugin(keys = "hostile-output:*")]
fn flood() -> Request {
    Request::post("orders", "/").bytes(vec![b'x'; 64 << 20])
}
