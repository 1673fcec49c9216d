//! What a plugin's function may return.

use std::error::Error;

use crate::{Request, Verdict};

/// Why a record is bad. It becomes a dead letter with this text as its detail.
///
/// Every error becomes one by `?`, with its causes; a text of your own by [`Reject::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject(String);

impl Reject {
    /// A record is bad for this reason.
    pub fn new(reason: impl Into<String>) -> Reject {
        Reject(reason.into())
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl From<Reject> for String {
    fn from(reject: Reject) -> String {
        reject.0
    }
}

// As with anyhow, `Reject` itself is no `Error`, so that this can be for all errors.
impl<E: Error> From<E> for Reject {
    fn from(error: E) -> Reject {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        Reject(reason)
    }
}

impl Verdict {
    /// Performs these requests in order, each after the one before it has succeeded.
    pub fn send(requests: impl IntoIterator<Item = Request>) -> Verdict {
        Verdict::Send(requests.into_iter().collect())
    }

    /// The record needs nothing; the reason is for logs and metrics, so keep it the same for the same cause.
    pub fn skip(reason: impl Into<String>) -> Verdict {
        Verdict::Skip(reason.into())
    }
}

/// What a plugin's function returns: a [`Verdict`], one [`Request`], several in a `Vec` or an array, or a `Result` of any of these.
#[diagnostic::on_unimplemented(
    message = "a plugin's function cannot return `{Self}`",
    note = "it returns `Verdict`, `Request`, `Vec<Request>`, `[Request; N]`, or a `Result` of one of them and `Reject`"
)]
pub trait IntoVerdict {
    /// The verdict.
    fn into_verdict(self) -> Verdict;
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Verdict {
        self
    }
}

impl IntoVerdict for Request {
    fn into_verdict(self) -> Verdict {
        Verdict::Send(vec![self])
    }
}

impl IntoVerdict for Vec<Request> {
    fn into_verdict(self) -> Verdict {
        Verdict::Send(self)
    }
}

impl<const N: usize> IntoVerdict for [Request; N] {
    fn into_verdict(self) -> Verdict {
        Verdict::send(self)
    }
}

impl<V: IntoVerdict, E: Into<Reject>> IntoVerdict for Result<V, E> {
    fn into_verdict(self) -> Verdict {
        match self {
            Ok(verdict) => verdict.into_verdict(),
            Err(error) => Verdict::Reject(error.into().0),
        }
    }
}
