//! The contract's types as wasmtime sees them, and their conversion to the host's own.
//!
//! One module of bindings per released version of the contract; the rest of the host knows the newest types only, which are those of
//! [`crate::outcome`] and [`crate::plugin`]. What goes into a guest is borrowed, so a record's bytes are copied once: into the guest.

use crate::outcome::{Body, Exchange, Next, Request, Verdict};
use crate::plugin::Description;

/// The package's name and version, as it stands in a component's imports and exports.
pub(super) const PACKAGE: &str = "keyway:transform";
/// The newest version of the contract that this host speaks.
pub(super) const VERSION: &str = "0.1.0";

/// Bindings of `keyway:transform@0.1.0`.
pub(super) mod v0_1 {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "replying-plugin",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use v0_1::exports::keyway::transform::{about, replies, transform};
pub(super) use v0_1::keyway::transform::{config, log, types};

impl From<types::Verdict> for Verdict {
    fn from(verdict: types::Verdict) -> Verdict {
        match verdict {
            types::Verdict::Send(requests) => Verdict::Send(requests.into_iter().map(Request::from).collect()),
            types::Verdict::Skip(why) => Verdict::Skip(why),
            types::Verdict::Reject(why) => Verdict::Reject(why),
        }
    }
}

impl From<types::Next> for Next {
    fn from(next: types::Next) -> Next {
        match next {
            types::Next::Done => Next::Done,
            types::Next::Send(requests) => Next::Send(requests.into_iter().map(Request::from).collect()),
            types::Next::Retry(after) => Next::Retry(after),
            types::Next::Reject(why) => Next::Reject(why),
        }
    }
}

impl From<types::RequestResult> for Request {
    fn from(request: types::RequestResult) -> Request {
        let types::RequestResult { destination, method, path, headers, body, attributes } = request;
        let body = body.map(|body| match body {
            types::BodyResult::Text(text) => Body::Text(text),
            types::BodyResult::Bytes(bytes) => Body::Bytes(bytes),
        });
        Request { destination, method, path, headers, body, attributes }
    }
}

impl From<about::Description> for Description {
    fn from(description: about::Description) -> Description {
        let about::Description { name, version, keys, settings_schema } = description;
        Description { name, version, keys, settings_schema }
    }
}

/// The name-value lists of one exchange, borrowed: the bindings want slices of pairs, so these must live somewhere during the call.
pub(super) struct ExchangeLists<'a> {
    request_headers: Vec<(&'a str, &'a str)>,
    request_attributes: Vec<(&'a str, &'a str)>,
    reply_headers: Vec<(&'a str, &'a str)>,
}

impl<'a> ExchangeLists<'a> {
    pub(super) fn of(exchange: &'a Exchange) -> ExchangeLists<'a> {
        ExchangeLists {
            request_headers: pairs(&exchange.request.headers),
            request_attributes: pairs(&exchange.request.attributes),
            reply_headers: pairs(&exchange.reply.headers),
        }
    }
}

fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
    list.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// One exchange, borrowed, for the guest.
pub(super) fn exchange<'a>(exchange: &'a Exchange, lists: &'a ExchangeLists<'a>) -> types::Exchange<'a> {
    let request = &exchange.request;
    let body = request.body.as_ref().map(|body| match body {
        Body::Text(text) => types::BodyParam::Text(text),
        Body::Bytes(bytes) => types::BodyParam::Bytes(bytes),
    });
    types::Exchange {
        request: types::RequestParam {
            destination: &request.destination,
            method: &request.method,
            path: &request.path,
            headers: &lists.request_headers,
            body,
            attributes: &lists.request_attributes,
        },
        status: exchange.reply.status,
        headers: &lists.reply_headers,
        body: match std::str::from_utf8(&exchange.reply.body) {
            Ok(text) => types::BodyParam::Text(text),
            Err(_) => types::BodyParam::Bytes(&exchange.reply.body),
        },
    }
}
