//! Returns a body of 32 MiB, which fits into the default memory. Defence: output limit (`output`).

use keyway_sdk::*;

#[plugin(keys = "hostile-output-32m:*")]
fn flood() -> Request {
    Request::post("orders", "/").bytes(vec![b'x'; 32 << 20])
}
