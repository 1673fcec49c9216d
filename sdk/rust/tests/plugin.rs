//! A plugin as an author writes it, called natively.

use keyway_sdk::testing::{exchange, message, set_settings, take_log};
use keyway_sdk::*;

#[derive(serde::Deserialize)]
struct Item<'m> {
    id: u64,
    name: &'m str,
}

#[plugin(keys = ["item:*", "thing"], settings_schema = "{}")]
fn item(m: &Message, item: Option<Json<Item<'_>>>) -> Result<Verdict, Reject> {
    let Some(Json(item)) = item else { return Ok(Verdict::send([Request::delete("shop", format!("/items/{}", segment(m.key_text())))])) };
    let least = setting_parsed::<u64>("least")?.unwrap_or(0);
    if item.id < least {
        log::warn!("{} is below {least}", item.id);
        return Ok(Verdict::skip("below the least"));
    }
    Ok(Verdict::send([Request::post("shop", "/items").query("id", item.id).text(item.name), Request::put("log", "/x").bytes([0xff])]))
}

#[on_replies]
fn replies(m: &Message, exchanges: &[Exchange]) -> Result<Next, Reject> {
    #[derive(serde::Deserialize)]
    struct Made {
        id: u64,
    }
    match exchanges {
        [first] if first.status == 409 => Ok(Next::Done),
        [first] if first.is_success() => {
            Ok(Next::send([Request::get("shop", format!("/made/{}", first.json::<Made>()?.id)).header("x-key", m.key_text())]))
        }
        [] => Ok(Next::retry_after(std::time::Duration::from_micros(1_500_999))),
        _ => Ok(Next::Done),
    }
}

#[test]
fn typed_input_becomes_requests() {
    let expected = Verdict::Send(vec![
        Request {
            destination: "shop".into(),
            method: "POST".into(),
            path: "/items?id=7".into(),
            headers: vec![("content-type".into(), "text/plain; charset=utf-8".into())],
            body: Some(Body::Text("naïve".into())),
            attributes: vec![],
        },
        Request {
            destination: "log".into(),
            method: "PUT".into(),
            path: "/x".into(),
            headers: vec![("content-type".into(), "application/octet-stream".into())],
            body: Some(Body::Bytes(vec![0xff])),
            attributes: vec![],
        },
    ]);
    assert_eq!(Plugin::transform(&message("item:7", r#"{"id":7,"name":"naïve"}"#)), expected);
}

#[test]
fn a_bad_payload_is_rejected_in_serde_s_words() {
    let Verdict::Reject(why) = Plugin::transform(&message("item:7", r#"{"id":"seven","name":"x"}"#)) else { panic!("not rejected") };
    assert_eq!(why, r#"payload: invalid type: string "seven", expected u64 at line 1 column 13"#);
    let Verdict::Reject(why) = Plugin::transform(&message("item:7", "")) else { panic!("not rejected") };
    assert_eq!(why, "payload: EOF while parsing a value at line 1 column 0");
}

#[test]
fn a_tombstone_is_none_or_a_reject() {
    let tombstone = Message { payload: None, ..message("item:a/b", "") };
    assert!(tombstone.is_tombstone());
    assert_eq!(Plugin::transform(&tombstone), Verdict::Send(vec![Request::delete("shop", "/items/item%3Aa%2Fb")]));
    let rejected = Json::<u8>::from_message(&tombstone).map(|_| ()).unwrap_err();
    assert_eq!(rejected.reason(), "the record is a tombstone (it has no payload)");
}

#[test]
fn settings_and_the_log_are_the_test_s_own() {
    let message = message("item:7", r#"{"id":7,"name":"x"}"#);
    set_settings([("least", "8"), ("list", "[1,2]")]);
    assert_eq!(Plugin::transform(&message), Verdict::Skip("below the least".into()));
    assert_eq!(take_log(), [(log::Level::Warn, "7 is below 8".to_owned())]);
    assert_eq!(setting_json::<Vec<u8>>("list").unwrap(), Some(vec![1, 2]));
    assert_eq!(settings().len(), 2);

    set_settings([("least", "eight")]);
    assert_eq!(Plugin::transform(&message), Verdict::Reject("setting `least`: invalid digit found in string".into()));
}

#[test]
fn replies_lead_to_what_is_next() {
    let m = message("item:7", "{}");
    let request = Request::post("shop", "/items");
    assert_eq!(Plugin::on_replies(&m, &[exchange(request.clone(), 409, "")]), Next::Done);
    let next = Plugin::on_replies(&m, &[exchange(request.clone(), 201, r#"{"id":3}"#)]);
    assert_eq!(next, Next::Send(vec![Request::get("shop", "/made/3").header("x-key", "item:7")]));
    let next = Plugin::on_replies(&m, &[exchange(request, 201, "{")]);
    assert_eq!(next, Next::Reject("reply to POST /items: EOF while parsing an object at line 1 column 1".into()));
    assert_eq!(Plugin::on_replies(&m, &[]), Next::Retry(Some(1500)));
}

#[test]
fn it_describes_itself() {
    let description = Plugin::describe();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("keyway-sdk", env!("CARGO_PKG_VERSION")));
    assert_eq!(description.keys, ["item:*", "thing"]);
    assert_eq!(description.settings_schema.as_deref(), Some("{}"));
}

#[test]
fn a_content_type_of_one_s_own_stays() {
    let request = Request::new("report", "shop", "/").header("Content-Type", "application/vnd.x+json").json(&[1]).unwrap();
    assert_eq!((request.method.as_str(), request.headers.len()), ("REPORT", 1));
}

#[test]
fn headers_are_found() {
    let mut m = message("k", "");
    m.headers = vec![("a".into(), b"1".to_vec()), ("a".into(), b"2".to_vec()), ("b".into(), vec![0xff])];
    assert_eq!((m.header("a"), m.header("b"), m.header("c")), (Some("2"), None, None));
}

/// An error's causes are a part of the reject.
#[test]
fn every_error_becomes_a_reject() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bad house number")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    fn fail() -> Result<Request, Reject> {
        Err(Outer("x".parse::<u8>().unwrap_err()))?
    }
    assert_eq!(fail().into_verdict(), Verdict::Reject("bad house number: invalid digit found in string".into()));
}

/// Commas between angle brackets part no arguments, and `->` closes no bracket.
#[test]
fn arguments_are_counted_past_generics() {
    mod map {
        use keyway_sdk::*;
        use std::collections::BTreeMap;

        type Take<T> = T;

        #[plugin]
        fn map(Json(map): Json<BTreeMap<String, Take<fn_pointer::Number<u32, u32>>>>, _m: &Message) -> Request {
            Request::get("x", format!("/{}", map.len()))
        }

        mod fn_pointer {
            pub(super) type Number<T, U> = <fn(T, U) -> T as First>::Out;
            pub(super) trait First {
                type Out;
            }
            impl<T, U> First for fn(T, U) -> T {
                type Out = T;
            }
        }
    }
    assert_eq!(map::Plugin::transform(&message("k", r#"{"a":1,"b":2}"#)), Verdict::Send(vec![Request::get("x", "/2")]));
}

/// The crate carries the contract that it was generated from. Off the repository, where the original is not, there is nothing to compare.
#[test]
fn the_contract_in_the_crate_is_the_repository_s() {
    let here = env!("CARGO_MANIFEST_DIR");
    let copy = std::fs::read_to_string(format!("{here}/wit/deps/keyway-transform-0.1.0/transform.wit")).unwrap();
    let Ok(original) = std::fs::read_to_string(format!("{here}/../../wit/0.1.0/transform.wit")) else { return };
    assert_eq!(copy, original, "run scripts/generated --write rust");
}
