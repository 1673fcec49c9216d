//! Refunds, to the payment service: an approved one is paid back and then noted in the order's history, in this order. One that waits for approval
//! needs nothing.

use keyway_sdk::*;
use serde::{Deserialize, Serialize};

/// What the shop publishes under the key `refund:ID`; it has more fields, which are not needed here.
#[derive(Deserialize)]
struct Event<'m> {
    id: &'m str,
    state: &'m str,
    order: &'m str,
    currency: &'m str,
    paid_cents: u64,
    #[serde(borrow)]
    items: Vec<Item<'m>>,
    reason: String,
    approved_by: Option<&'m str>,
}

#[derive(Deserialize)]
struct Item<'m> {
    sku: &'m str,
    cents: u64,
}

/// What pays back.
#[derive(Serialize)]
struct Refund<'m> {
    refund: &'m str,
    order: &'m str,
    currency: &'m str,
    cents: u64,
    approved_by: &'m str,
}

/// What is noted.
#[derive(Serialize)]
struct Note<'m> {
    refund: &'m str,
    skus: Vec<&'m str>,
    reason: &'m str,
}

#[plugin(keys = "refund:*")]
fn refund(Json(event): Json<Event<'_>>) -> Result<Verdict, Reject> {
    match event.state {
        "requested" => return Ok(Verdict::skip("not approved yet")),
        "declined" => return Ok(Verdict::skip("declined")),
        "approved" => {}
        other => return Err(Reject::new(format!("a refund's state `{other}` is not known"))),
    }
    let approved_by = event.approved_by.ok_or_else(|| Reject::new("an approved refund that nobody approved"))?;
    let cents = event.items.iter().try_fold(0_u64, |sum, item| sum.checked_add(item.cents)).filter(|sum| *sum <= event.paid_cents);
    let cents = cents.ok_or_else(|| Reject::new(format!("more is to be refunded than the {} cents that were paid", event.paid_cents)))?;

    let refund = Refund { refund: event.id, order: event.order, currency: event.currency, cents, approved_by };
    let note = Note { refund: event.id, skus: event.items.iter().map(|item| item.sku).collect(), reason: &event.reason };
    Ok(Verdict::send([
        Request::post("payments", "/refunds").json(&refund)?,
        Request::post("payments", format!("/orders/{}/notes", segment(event.order))).json(&note)?,
    ]))
}
