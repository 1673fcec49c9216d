//! Shipments of a warehouse, to the carrier's service: a packed one is announced, each later state is reported. When a shipment's record is deleted
//! from the compacted topic, nothing is to be done.

use keyway_sdk::*;
use serde::{Deserialize, Serialize};

/// What the warehouse publishes under the key `shipment:ID`; it has more fields, which are not needed here.
#[derive(Deserialize)]
struct Event<'m> {
    id: &'m str,
    order: &'m str,
    state: &'m str,
    at: &'m str,
    #[serde(borrow)]
    carrier: Carrier<'m>,
    #[serde(borrow)]
    parcels: Vec<Parcel<'m>>,
    to: Address,
}

#[derive(Deserialize)]
struct Carrier<'m> {
    service: &'m str,
    tracking: Option<&'m str>,
}

#[derive(Deserialize, Serialize)]
struct Parcel<'m> {
    barcode: &'m str,
    grams: u32,
    /// Length, width and height.
    millimetres: [u32; 3],
}

#[derive(Deserialize, Serialize)]
struct Address {
    name: String,
    street: String,
    zip: String,
    city: String,
    country: String,
}

/// What announces a shipment.
#[derive(Serialize)]
struct Announcement<'m> {
    shipment: &'m str,
    order: &'m str,
    service: &'m str,
    grams: u64,
    parcels: &'m [Parcel<'m>],
    to: &'m Address,
}

/// What reports a state.
#[derive(Serialize)]
struct Report<'m> {
    state: &'m str,
    at: &'m str,
    tracking: &'m str,
}

#[plugin(keys = "shipment:*")]
fn shipment(event: Option<Json<Event<'_>>>) -> Result<Verdict, Reject> {
    let Some(Json(event)) = event else { return Ok(Verdict::skip("deleted")) };
    let grams = event.parcels.iter().map(|parcel| u64::from(parcel.grams)).sum();
    let request = match event.state {
        "packed" => Request::post("shipping", "/shipments").json(&Announcement {
            shipment: event.id,
            order: event.order,
            service: event.carrier.service,
            grams,
            parcels: &event.parcels,
            to: &event.to,
        })?,
        "handed-over" | "in-transit" | "delivered" | "lost" => {
            let tracking = event.carrier.tracking.ok_or_else(|| Reject::new(format!("a shipment is `{}` without a tracking number", event.state)))?;
            let path = format!("/shipments/{}/state", segment(event.id));
            Request::put("shipping", path).json(&Report { state: event.state, at: event.at, tracking })?
        }
        other => return Err(Reject::new(format!("a shipment's state `{other}` is not known"))),
    };
    Ok(Verdict::send([request]))
}
