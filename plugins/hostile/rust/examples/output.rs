//! Returns a body of 64 MiB, for which the default memory is too small. Defence: memory limit (`memory`), and the output limit where memory is plenty.

use keyway_sdk::*;

#[plugin(keys = "hostile-output:*")]
fn flood() -> Request {
    Request::post("orders", "/").bytes(vec![b'x'; 64 << 20])
}
