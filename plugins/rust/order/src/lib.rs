//! Orders of a shop, to the order service: a new order is created there, a changed one replaced, a cancelled one cancelled. Drafts are
//! nobody's business yet.

use keyway_sdk::*;
use serde::{Deserialize, Serialize};

/// What the shop publishes under the key `order:ID`; it has more fields, which are not needed here.
#[derive(Deserialize)]
struct Event<'m> {
    event: &'m str,
    id: &'m str,
    at: &'m str,
    #[serde(borrow)]
    customer: Customer<'m>,
    currency: &'m str,
    #[serde(borrow)]
    lines: Vec<Line<'m>>,
    #[serde(borrow)]
    shipping: Address<'m>,
}

#[derive(Deserialize)]
struct Customer<'m> {
    id: &'m str,
}

/// Names of goods and streets may hold escaped characters, which cannot be borrowed.
#[derive(Deserialize, Serialize)]
struct Line<'m> {
    sku: &'m str,
    name: String,
    quantity: u32,
    cents: u64,
}

#[derive(Deserialize, Serialize)]
struct Address<'m> {
    street: String,
    zip: &'m str,
    city: String,
    country: &'m str,
}

/// What the order service takes.
#[derive(Serialize)]
struct Order<'m> {
    id: &'m str,
    customer: &'m str,
    placed_at: &'m str,
    currency: &'m str,
    total_cents: u64,
    lines: Vec<Line<'m>>,
    ship_to: Address<'m>,
}

#[plugin(keys = "order:*")]
fn order(Json(event): Json<Event<'_>>) -> Result<Verdict, Reject> {
    let path = format!("/orders/{}", segment(event.id));
    let request = match event.event {
        "draft" => return Ok(Verdict::skip("draft")),
        "created" => Request::post("orders", "/orders"),
        "changed" => Request::put("orders", path),
        "cancelled" => return Ok(Verdict::send([Request::post("orders", format!("{path}/cancellation"))])),
        other => return Err(Reject::new(format!("an order event `{other}` is not known"))),
    };
    if event.lines.is_empty() {
        return Err(Reject::new("an order without lines"));
    }
    let total = event.lines.iter().try_fold(0_u64, |sum, line| line.cents.checked_mul(line.quantity.into())?.checked_add(sum));
    let order = Order {
        id: event.id,
        customer: event.customer.id,
        placed_at: event.at,
        currency: event.currency,
        total_cents: total.ok_or_else(|| Reject::new("the order's total is beyond any number"))?,
        lines: event.lines,
        ship_to: event.shipping,
    };
    Ok(Verdict::send([request.json(&order)?]))
}
