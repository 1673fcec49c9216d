//! New customers, to the customer service (`crm`), which gives each an id of its own. The reply's id names where the second request goes. One that is there
//! already (409) is done.

use keyway_sdk::*;
use serde::{Deserialize, Serialize};

/// What the shop publishes under the key `customer:ID`.
#[derive(Deserialize)]
struct Event {
    name: String,
    email: String,
    newsletter: bool,
}

/// What creates a customer.
#[derive(Serialize)]
struct Customer<'e> {
    name: &'e str,
    email: &'e str,
}

/// What the service answers.
#[derive(Deserialize)]
struct Created {
    id: u64,
}

#[derive(Serialize)]
struct Preferences {
    newsletter: bool,
}

#[plugin(keys = "customer:*")]
fn follow(Json(event): Json<Event>) -> Result<Request, Reject> {
    Request::post("crm", "/customers").json(&Customer { name: &event.name, email: &event.email })
}

#[on_replies]
fn created(Json(event): Json<Event>, exchanges: &[Exchange]) -> Result<Next, Reject> {
    match exchanges {
        [creation] if creation.status == 409 => Ok(Next::Done),
        [creation] if creation.is_success() => {
            let path = format!("/customers/{}/preferences", creation.json::<Created>()?.id);
            Ok(Next::send([Request::put("crm", path).json(&Preferences { newsletter: event.newsletter })?]))
        }
        [_, preferences] if preferences.is_success() => Ok(Next::Done),
        [.., last] if last.status == 429 || last.status >= 500 => Ok(Next::Retry(None)),
        [.., last] => Err(Reject::new(format!("the customer service answered {} to {}", last.status, last.request.path))),
        [] => Ok(Next::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_sdk::testing::{exchange, message};

    const EVENT: &str = r#"{"name":"Ada","email":"ada@example.org","newsletter":true}"#;

    fn creation(status: u16, body: &str) -> Exchange {
        exchange(Request::post("crm", "/customers"), status, body)
    }

    fn next(exchanges: &[Exchange]) -> Next {
        Plugin::on_replies(&message("customer:1", EVENT), exchanges)
    }

    #[test]
    fn the_reply_s_id_leads_on() {
        let preferences = Request::put("crm", "/customers/41/preferences").header("content-type", "application/json");
        let preferences = Request { body: Some(Body::Text(r#"{"newsletter":true}"#.to_owned())), ..preferences };
        assert_eq!(next(&[creation(201, r#"{"id":41}"#)]), Next::Send(vec![preferences.clone()]));
        assert_eq!(next(&[creation(201, r#"{"id":41}"#), exchange(preferences, 204, "")]), Next::Done);
    }

    #[test]
    fn who_is_there_already_is_done() {
        assert_eq!(next(&[creation(409, "")]), Next::Done);
    }

    #[test]
    fn trouble_is_tried_again_and_refusal_is_not() {
        assert_eq!(next(&[creation(503, "")]), Next::Retry(None));
        assert_eq!(next(&[creation(422, "")]), Next::Reject("the customer service answered 422 to /customers".to_owned()));
        assert_eq!(next(&[creation(201, "")]), Next::Reject("reply to POST /customers: EOF while parsing a value at line 1 column 0".to_owned()));
    }
}
