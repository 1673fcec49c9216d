//! Secrets, and how they are kept from being seen.

use std::fmt;
use std::path::PathBuf;

/// A secret's text. Printing it shows that there is one, never what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the moment at which it goes onto the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A configured text that may come from files, which are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretText {
    /// The text's parts in order.
    pub parts: Vec<SecretPart>,
}

/// One part of a [`SecretText`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPart {
    /// Known since the configuration was read: literal text, or the value of an environment variable.
    Known(Secret),
    /// The content of this file, without the line break at its end.
    File(PathBuf),
}

impl SecretText {
    /// A text that is known already.
    pub fn known(text: impl Into<String>) -> SecretText {
        SecretText { parts: vec![SecretPart::Known(Secret::new(text))] }
    }

    /// The text as it is now.
    ///
    /// # Errors
    /// A file that cannot be read; the error names it and nothing of its content.
    pub fn resolve(&self) -> Result<Secret, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                SecretPart::Known(secret) => text.push_str(secret.expose()),
                SecretPart::File(path) => {
                    let content = std::fs::read_to_string(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
                    text.push_str(content.trim_end_matches(['\n', '\r']));
                }
            }
        }
        Ok(Secret(text))
    }
}
