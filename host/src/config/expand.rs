//! `${env:NAME}` and `${file:/path}` in string values.
//!
//! Expanded after the file is parsed, in single values: what a variable holds can never become part of the file's structure, and a missing one is an
//! error with a place. No value is ever part of a message.

use std::path::PathBuf;

use crate::policy::{Secret, SecretPart, SecretText};

/// A text with all references replaced.
///
/// # Errors
/// The reference that cannot be replaced.
pub(super) fn text(typed: &str) -> Result<String, String> {
    secret(typed)?.resolve().map(|secret| secret.expose().to_owned())
}

/// A text whose file references are kept, so that the files can be read again.
///
/// # Errors
/// The reference that cannot be replaced.
pub(super) fn secret(typed: &str) -> Result<SecretText, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = typed;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${` is a plain `${`.
            literal.push_str(&rest[..at]);
            literal.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        let (reference, after) = rest[at + 2..].split_once('}').ok_or_else(|| "a `${` without its `}`; write `$${` for a plain `${`".to_owned())?;
        rest = after;
        match reference.split_once(':') {
            Some(("env", name)) => {
                let value = std::env::var(name).map_err(|_| format!("the environment has no variable `{name}`"))?;
                literal.push_str(&value);
            }
            Some(("file", path)) => {
                let part = SecretPart::File(PathBuf::from(path));
                SecretText { parts: vec![part.clone()] }.resolve().map_err(|error| format!("failed to {error}"))?;
                flush(&mut literal, &mut parts);
                parts.push(part);
            }
            _ => return Err(format!("`${{{reference}}}` is neither `${{env:NAME}}` nor `${{file:/path}}`; write `$${{` for a plain `${{`")),
        }
    }
    literal.push_str(rest);
    flush(&mut literal, &mut parts);
    Ok(SecretText { parts })
}

fn flush(literal: &mut String, parts: &mut Vec<SecretPart>) {
    if !literal.is_empty() || parts.is_empty() {
        parts.push(SecretPart::Known(Secret::new(std::mem::take(literal))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_the_rest_is_left() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(text("a${env:PATH}b").unwrap(), format!("a{path}b"));
        assert_eq!(text("plain").unwrap(), "plain");
        assert_eq!(text("").unwrap(), "");
        assert_eq!(text("$${env:PATH} and $5").unwrap(), "${env:PATH} and $5");
    }

    #[test]
    fn files_are_read_again_at_each_use() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one\n").unwrap();
        let secret = secret(&format!("Token ${{file:{}}}!", file.display())).unwrap();
        assert_eq!(secret.resolve().unwrap().expose(), "Token one!");
        std::fs::write(&file, "two\r\n").unwrap();
        assert_eq!(secret.resolve().unwrap().expose(), "Token two!");
        assert!(!format!("{secret:?}").contains("Token"));
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        for (typed, named) in [
            ("${env:KEYWAY_SURELY_MISSING}", "KEYWAY_SURELY_MISSING"),
            ("${file:/surely/missing}", "/surely/missing"),
            ("${HOME}", "${HOME}"),
            ("${env:X", "without its `}`"),
        ] {
            assert!(text(typed).unwrap_err().contains(named), "{typed}");
        }
    }
}
