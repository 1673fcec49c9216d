//! What could not be done, with its mend.

/// Why something failed, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Failed {
    /// What failed and why; completes "failed to …".
    pub cause: String,
    /// The mend, if one is known.
    pub hint: Option<String>,
}

impl From<String> for Failed {
    fn from(cause: String) -> Failed {
        Failed { cause, hint: None }
    }
}

/// For where there is no room for a mend.
impl From<Failed> for String {
    fn from(failed: Failed) -> String {
        failed.cause
    }
}
