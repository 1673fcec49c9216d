//! What the shop of the demo publishes.

use serde_json::{Value, json};

/// Keys of each kind; few enough that a key has several records in a demo.
const KEYS: u32 = 200;

/// The record with this number: its key and its payload. About one in a hundred is one that its plugin rejects.
pub(super) fn event(number: u64) -> (String, String) {
    let id = fastrand::u32(0..KEYS);
    let (key, payload) = match number % 20 {
        0..=8 => (format!("order:o-{id}"), order(id)),
        9..=13 => (format!("shipment:s-{id}"), shipment(id)),
        14..=17 => (format!("refund:r-{id}"), refund(id)),
        _ => (format!("audit:emp-{id}"), json!({ "who": format!("emp-{id}"), "what": "login", "number": number })),
    };
    (key, payload.to_string())
}

fn order(id: u32) -> Value {
    let lines = match fastrand::u8(0..40) {
        0 => json!([]),
        _ => json!([{ "sku": "KB-0042", "name": "Keyboard, German layout", "quantity": 1, "cents": 8990 },
                    { "sku": "CB-0007", "name": "Cable \"USB-C\", 2 m", "quantity": 3, "cents": 1295 }]),
    };
    json!({
        "event": one_of(&["created", "created", "changed", "cancelled", "draft"]),
        "id": format!("o-{id}"),
        "at": "2026-11-24T10:15:00Z",
        "customer": { "id": "c-553", "name": "Ada Lovelace" },
        "currency": "EUR",
        "lines": lines,
        "shipping": { "street": "St James’s Square 12", "zip": "SW1Y 4JH", "city": "London", "country": "GB" },
        "note": "Please ring twice; the bell is quiet.",
    })
}

fn shipment(id: u32) -> Value {
    json!({
        "id": format!("s-{id}"),
        "order": format!("o-{id}"),
        "state": one_of(&["packed", "handed-over", "in-transit", "delivered"]),
        "at": "2026-11-24T16:02:11Z",
        "carrier": { "name": "Parcels & Co", "service": "express", "tracking": "PC99120037441DE" },
        "parcels": [{ "barcode": "0034043412345678901", "grams": 1840, "millimetres": [400, 300, 120] }],
        "to": { "name": "Ada Lovelace", "street": "St James’s Square 12", "zip": "SW1Y 4JH", "city": "London", "country": "GB" },
    })
}

fn refund(id: u32) -> Value {
    json!({
        "id": format!("r-{id}"),
        "state": one_of(&["approved", "approved", "approved", "requested"]),
        "order": format!("o-{id}"),
        "currency": "EUR",
        "paid_cents": 15_275,
        "items": [{ "sku": "CB-0007", "name": "Cable \"USB-C\", 2 m", "cents": 2590 }],
        "reason": "One cable too long.",
        "approved_by": "emp-0815",
    })
}

fn one_of(words: &[&'static str]) -> &'static str {
    words[fastrand::usize(0..words.len())]
}
