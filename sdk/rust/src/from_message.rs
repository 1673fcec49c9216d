//! What a plugin's function may take.

use serde::Deserialize;

use crate::{Message, Reject};

/// An argument of a plugin's function: `&Message`, [`Json<T>`], or `Option<Json<T>>`, which is none for a tombstone.
#[diagnostic::on_unimplemented(
    message = "a plugin's function cannot take `{Self}`",
    label = "not an argument that can be made of a message",
    note = "it takes `&Message`, `Json<T>` where `T: serde::Deserialize`, or `Option<Json<T>>` where tombstones are expected"
)]
pub trait FromMessage<'m>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// The record cannot be what the function wants, so it becomes a dead letter.
    fn from_message(message: &'m Message) -> Result<Self, Reject>;
}

impl<'m> FromMessage<'m> for &'m Message {
    fn from_message(message: &'m Message) -> Result<Self, Reject> {
        Ok(message)
    }
}

/// The payload, read as JSON into a type of the plugin's own. `T` may borrow from the message (`&'m str` fields).
///
/// A payload that does not fit is rejected with serde's words, a tombstone too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<'m, T: Deserialize<'m>> FromMessage<'m> for Json<T> {
    fn from_message(message: &'m Message) -> Result<Self, Reject> {
        match &message.payload {
            Some(payload) => parse(payload),
            None => Err(Reject::new("the record is a tombstone (it has no payload)")),
        }
    }
}

impl<'m, T: Deserialize<'m>> FromMessage<'m> for Option<Json<T>> {
    fn from_message(message: &'m Message) -> Result<Self, Reject> {
        message.payload.as_deref().map(parse).transpose()
    }
}

fn parse<'m, T: Deserialize<'m>>(payload: &'m str) -> Result<Json<T>, Reject> {
    serde_json::from_str(payload).map(Json).map_err(|error| Reject::new(format!("payload: {error}")))
}
