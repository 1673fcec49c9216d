//! New customers, to the customer service (`crm`), which gives each an id of its own. The reply's id names where the second request goes.
//!
//! The host may stop between the two, and then begins anew. So a customer that is there already (409) is no end: its id is asked for, and the second request
//! follows all the same.

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

/// What the service answers to a creation, and to a question for a customer.
#[derive(Deserialize)]
struct Known {
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
fn answered(Json(event): Json<Event>, exchanges: &[Exchange]) -> Result<Next, Reject> {
    let Some(last) = exchanges.last() else { return Ok(Next::Done) };
    match (last.request.method.as_str(), last.status) {
        ("POST", 409) => Ok(Next::send([Request::get("crm", format!("/customers/by-email/{}", segment(&event.email)))])),
        ("PUT", 200..=299) => Ok(Next::Done),
        (_, 200..=299) => {
            let path = format!("/customers/{}/preferences", last.json::<Known>()?.id);
            Ok(Next::send([Request::put("crm", path).json(&Preferences { newsletter: event.newsletter })?]))
        }
        (_, 429 | 500..) => Ok(Next::Retry(None)),
        (_, status) => Err(Reject::new(format!("the customer service answered {status} to {}", last.request.path))),
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

    fn preferences() -> Request {
        let preferences = Request::put("crm", "/customers/41/preferences").header("content-type", "application/json");
        Request { body: Some(Body::Text(r#"{"newsletter":true}"#.to_owned())), ..preferences }
    }

    #[test]
    fn the_reply_s_id_leads_on() {
        assert_eq!(next(&[creation(201, r#"{"id":41}"#)]), Next::Send(vec![preferences()]));
        assert_eq!(next(&[creation(201, r#"{"id":41}"#), exchange(preferences(), 204, "")]), Next::Done);
    }

    /// As after a crash between the two requests: the first one is repeated, and the second is still to come.
    #[test]
    fn who_is_there_already_gets_the_second_request_all_the_same() {
        let who = Request::get("crm", "/customers/by-email/ada%40example.org");
        assert_eq!(next(&[creation(409, "")]), Next::Send(vec![who.clone()]));
        let found = exchange(who.clone(), 200, r#"{"id":41}"#);
        assert_eq!(next(&[creation(409, ""), found.clone()]), Next::Send(vec![preferences()]));
        assert_eq!(next(&[creation(409, ""), found, exchange(preferences(), 204, "")]), Next::Done);
        let lost = next(&[creation(409, ""), exchange(who, 404, "")]);
        assert_eq!(lost, Next::Reject("the customer service answered 404 to /customers/by-email/ada%40example.org".to_owned()));
    }

    #[test]
    fn trouble_is_tried_again_and_refusal_is_not() {
        assert_eq!(next(&[creation(503, "")]), Next::Retry(None));
        assert_eq!(next(&[creation(422, "")]), Next::Reject("the customer service answered 422 to /customers".to_owned()));
        assert_eq!(next(&[creation(201, "")]), Next::Reject("reply to POST /customers: EOF while parsing a value at line 1 column 0".to_owned()));
    }
}
