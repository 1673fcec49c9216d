//! A request as a `curl` command line that can be pasted into a shell.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A request as it would go over the wire, but for what the destination adds: its credential and its own headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) body: Option<&'a [u8]>,
}

/// The command line, over several lines.
pub(super) fn command(call: &Call<'_>) -> String {
    let Call { method, url, headers, body } = call;
    let mut line = format!("curl -X {} {}", quoted(method), quoted(url));
    for (name, value) in *headers {
        // curl drops a header that ends at its colon; a semicolon in its place sends it with nothing in it.
        let header = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        let _ = write!(line, " \\\n  -H {}", quoted(&header));
    }
    match body.map(std::str::from_utf8) {
        None => line,
        // `--data-raw` takes a leading `@` as it is and sends line breaks, but a shell can hold no zero byte.
        Some(Ok(text)) if !text.contains('\0') => {
            let _ = write!(line, " \\\n  --data-raw {}", quoted(text));
            line
        }
        Some(_) => {
            let encoded = STANDARD.encode(body.unwrap_or_default());
            format!("printf %s {encoded} | base64 -d | {line} \\\n  --data-binary @-")
        }
    }
}

/// Quoted for a POSIX shell, where it has to be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn call<'a>(headers: &'a [(String, String)], body: Option<&'a [u8]>) -> Call<'a> {
        Call { method: "POST", url: "http://orders.internal/orders?a=b&c='d'", headers, body }
    }

    #[test]
    fn it_can_be_pasted() {
        let headers = [("content-type".to_owned(), "application/json".to_owned()), ("x-empty".to_owned(), String::new())];
        insta::assert_snapshot!(command(&call(&headers, Some(br#"{"it":"it's"}"#))), @r#"
        curl -X POST 'http://orders.internal/orders?a=b&c='\''d'\''' \
          -H 'content-type: application/json' \
          -H 'x-empty;' \
          --data-raw '{"it":"it'\''s"}'
        "#);
        insta::assert_snapshot!(command(&call(&[], Some(&[0, 0xff]))), @r"
        printf %s AP8= | base64 -d | curl -X POST 'http://orders.internal/orders?a=b&c='\''d'\''' \
          --data-binary @-
        ");
        insta::assert_snapshot!(command(&Call { method: "GET", url: "http://a/", headers: &[], body: None }), @"curl -X GET http://a/");
    }

    /// What a shell makes of the line is what was meant: a function named `curl` shows its arguments.
    #[test]
    fn a_shell_reads_it_as_it_was_meant() {
        for text in ["plain", "it's $HOME `x` \"q\" \\ \n line", "{\"a\":\"ä€😀\"}", "@file", "'", ""] {
            let headers = [("x".to_owned(), text.replace('\n', " "))];
            let line = command(&call(&headers, Some(text.as_bytes())));
            let script = format!("curl() {{ printf '%s\\0' \"$@\"; }}\n{line}");
            let shown = Command::new("sh").arg("-c").arg(script).stderr(Stdio::null()).output().unwrap().stdout;
            let header = if text.is_empty() { "x;".to_owned() } else { format!("x: {}", text.replace('\n', " ")) };
            let expected = ["-X", "POST", "http://orders.internal/orders?a=b&c='d'", "-H", &header, "--data-raw", text];
            let seen: Vec<&[u8]> = shown.split(|byte| *byte == 0).collect();
            assert_eq!(seen[..seen.len() - 1], expected.map(str::as_bytes), "{line}");
        }
    }
}
