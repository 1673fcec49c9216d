//! Looking at replies: what a function under `#[on_replies]` reads and returns.

use std::time::Duration;

use serde::Deserialize;

use crate::{Body, Exchange, Next, Reject, Request};

impl Exchange {
    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The reply's body as JSON. The host cuts bodies off at its cap, and half a JSON is none.
    ///
    /// # Errors
    /// The body does not fit.
    pub fn json<'e, T: Deserialize<'e>>(&'e self) -> Result<T, Reject> {
        let read = match &self.body {
            Body::Text(text) => serde_json::from_str(text),
            Body::Bytes(bytes) => serde_json::from_slice(bytes),
        };
        read.map_err(|error| Reject::new(format!("reply to {} {}: {error}", self.request.method, self.request.path)))
    }
}

impl Next {
    /// Performs these further requests; the function is called again with all exchanges so far.
    pub fn send(requests: impl IntoIterator<Item = Request>) -> Next {
        Next::Send(requests.into_iter().collect())
    }

    /// Performs the last round again after this time, which is rounded down to milliseconds.
    pub fn retry_after(wait: Duration) -> Next {
        Next::Retry(Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What a function under `#[on_replies]` returns: a [`Next`], one further [`Request`], several in a `Vec` or an array, or a `Result` of any of these.
#[diagnostic::on_unimplemented(
    message = "a function under `#[on_replies]` cannot return `{Self}`",
    note = "it returns `Next`, `Request`, `Vec<Request>`, `[Request; N]`, or a `Result` of one of them and `Reject`"
)]
pub trait IntoNext {
    /// What to do next.
    fn into_next(self) -> Next;
}

impl IntoNext for Next {
    fn into_next(self) -> Next {
        self
    }
}

impl IntoNext for Request {
    fn into_next(self) -> Next {
        Next::Send(vec![self])
    }
}

impl IntoNext for Vec<Request> {
    fn into_next(self) -> Next {
        Next::Send(self)
    }
}

impl<const N: usize> IntoNext for [Request; N] {
    fn into_next(self) -> Next {
        Next::send(self)
    }
}

impl<V: IntoNext, E: Into<Reject>> IntoNext for Result<V, E> {
    fn into_next(self) -> Next {
        match self {
            Ok(next) => next.into_next(),
            Err(error) => Next::Reject(error.into().into()),
        }
    }
}
