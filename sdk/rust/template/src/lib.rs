use keyway_sdk::*;

#[derive(serde::Deserialize, serde::Serialize)]
struct Order { id: u64, total: f64 }

#[plugin(keys = "NAME:*")]
fn order(Json(order): Json<Order>) -> Result<Request, Reject> {
    Request::put("orders", format!("/orders/{}", order.id)).json(&order)
}
