//! Sets the header that the payload holds as `["name", "value"]`, by default one that ends the head of the request. Defence: the rules of requests (`denied`).

use keyway_sdk::*;

#[plugin(keys = "hostile-bad-header:*")]
fn smuggle(header: Option<Json<(String, String)>>) -> Request {
    let Json((name, value)) = header.unwrap_or(Json(("x".to_owned(), "y\r\ncontent-length: 0\r\n\r\nGET /admin HTTP/1.1".to_owned())));
    Request::post("orders", "/").header(name, value)
}
