//! A destination's base URL, and the joining of a plugin's path to it.
//!
//! Promises that what comes out has the base URL's scheme, host and port, and a path that begins with the base URL's path, under every
//! way in which servers are known to read a path: percent-decoded once or several times, with backslashes as slashes (IIS), with path
//! parameters cut off (`..;/`, Tomcat), with more bytes than a character needs (`%c0%ae`), with an encoded `?` or `#` as the end of the path, with dot
//! segments removed (RFC 3986, section 5.2.4). What might be read otherwise is refused, not mended.

use bytes::{BufMut, Bytes, BytesMut};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use url::{Position, Url};

/// Longest path with query. RFC 9110, section 4.1, asks recipients to take 8000 bytes; few take more.
const LONGEST: usize = 8000;

/// A base URL, cut into what each request needs.
#[derive(Debug, Clone)]
pub(super) struct Target {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at its end.
    path: Box<str>,
    /// The base URL without credentials, for people.
    text: Box<str>,
}

impl Target {
    /// Takes a base URL apart.
    ///
    /// # Errors
    /// What of it cannot be a base URL.
    pub(super) fn new(url: &Url) -> Result<Target, String> {
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            other => return Err(format!("`url` has the scheme `{other}`; accepted are `http` and `https`")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`url` has a user name or password in it; credentials belong in `auth`".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("`url` has a query or a fragment, to which no path can be joined".to_owned());
        }
        let authority: Authority =
            url[Position::BeforeHost..Position::AfterPort].parse().map_err(|error| format!("`url` has no host that can be called: {error}"))?;
        let path = url.path().trim_end_matches('/');
        Ok(Target { scheme, authority, path: path.into(), text: url[..Position::AfterPort].into() })
    }

    /// The URL of a plugin's path (and query).
    ///
    /// # Errors
    /// The broken rule, in words for the plugin's author.
    pub(super) fn join(&self, path: &str) -> Result<Uri, String> {
        let joined =
            PathAndQuery::from_maybe_shared(self.joined(path)?).map_err(|error| format!("the path `{}` is no path: {error}", shown(path)))?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(joined);
        Uri::from_parts(parts).map_err(|error| format!("the path `{}` makes no URL: {error}", shown(path)))
    }

    /// The URL that a path would have been joined to, for a request that was refused: as the plugin wrote it.
    pub(super) fn describe(&self, path: &str) -> String {
        format!("{}{}/{}", self.text, self.path, shown(path.trim_start_matches('/')))
    }

    /// The base URL, for people.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.text, self.path)
    }

    fn joined(&self, path: &str) -> Result<Bytes, String> {
        if path.len() > LONGEST {
            return Err(format!("the path has {} bytes; at most {LONGEST} are accepted", path.len()));
        }
        if path.starts_with("//") || path.starts_with("/\\") {
            return Err(format!("the path `{}` begins with two slashes, which names a host", shown(path)));
        }
        let relative = path.strip_prefix('/').unwrap_or(path);
        let (path_part, query) = match relative.split_once('?') {
            Some((path_part, query)) => (path_part, Some(query)),
            None => (relative, None),
        };
        check_path(path_part).map_err(|rule| format!("the path `{}` {rule}", shown(path)))?;
        if let Some(query) = query {
            check_query(query).map_err(|rule| format!("the path `{}` {rule}", shown(path)))?;
        }
        let mut joined = BytesMut::with_capacity(self.path.len() + path.len() + 1);
        joined.put_slice(self.path.as_bytes());
        // An empty path means the base URL as it was written, which has a slash at its end only where there is no other.
        if !path_part.is_empty() || path.starts_with('/') || self.path.is_empty() {
            joined.put_u8(b'/');
        }
        encode(path_part, &mut joined);
        if let Some(query) = query {
            joined.put_u8(b'?');
            encode(query, &mut joined);
        }
        Ok(joined.freeze())
    }
}

/// What may stand in a path or a query as it is: RFC 3986 `pchar`, `/`, `?`, and the brackets that many queries use. A `%` is let through because
/// the checks have seen that it begins an escape.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=:@/?%[]";
    let mut index = 0;
    while index < others.len() {
        plain[others[index] as usize] = true;
        index += 1;
    }
    plain
};

fn encode(text: &str, into: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if PLAIN[byte as usize] {
            into.put_u8(byte);
        } else {
            into.put_slice(&[b'%', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
        }
    }
}

fn check_path(path: &str) -> Result<(), String> {
    check_query(path)?;
    if path.split_once("://").is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err("is a whole URL; a plugin names the destination and gives the path only".to_owned());
    }
    if !path.contains(['.', '%', '\\']) {
        return Ok(());
    }
    // Each pass undoes one more level of encoding, as a chain of proxies might. A level only ever shortens the text, so this ends.
    let mut level = path.as_bytes().to_vec();
    loop {
        if level.contains(&b'\\') {
            return Err("has a backslash in it, which some servers take for a slash".to_owned());
        }
        if level.iter().any(u8::is_ascii_control) {
            return Err("has an encoded control character in it".to_owned());
        }
        if level.split(|byte| *byte == b'/').any(is_dots) {
            return Err("has a segment `.` or `..` in it, which would leave the base URL".to_owned());
        }
        let slashes = count_slashes(&level);
        let decoded = decode(&level);
        // Some decoders take `%c0%ae`, which is no UTF-8, for the dot that it would be if it were.
        if std::str::from_utf8(&decoded).is_err() {
            return Err("has an escape in it that is no UTF-8".to_owned());
        }
        if count_slashes(&decoded) != slashes {
            return Err("has an encoded slash in it, which some servers take for a slash; put such a value into the query or the body".to_owned());
        }
        if decoded.len() == level.len() {
            return Ok(());
        }
        level = decoded;
    }
}

fn check_query(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            0..=0x1f | 0x7f => return Err("has a control character in it".to_owned()),
            b'#' => return Err("has a fragment, which is not sent to servers; write `%23` for the character".to_owned()),
            b'%' => {
                let hex = |offset: usize| bytes.get(index + offset).is_some_and(u8::is_ascii_hexdigit);
                if !hex(1) || !hex(2) {
                    return Err("has a `%` in it that begins no escape; write `%25` for the character".to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn count_slashes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'/').count()
}

/// A dot segment, with or without what some servers cut off: path parameters behind a semicolon, and a query or a fragment where those were encoded.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| matches!(byte, b';' | b'?' | b'#')).next().unwrap_or_default();
    name == b"." || name == b".."
}

/// One level of percent-decoding; what begins no escape stays.
pub(super) fn decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |index: usize| bytes.get(index).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'%'
            && let (Some(high), Some(low)) = (digit(index + 1), digit(index + 2))
        {
            decoded.push((high * 16 + low) as u8);
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    decoded
}

/// A plugin's text in a message: short, and without characters that could forge a log line.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 200;
    let mut shown: String = text.chars().take(SHOWN).map(|each| if each.is_control() { '\u{fffd}' } else { each }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(url: &str) -> Target {
        Target::new(&Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn joins() {
        for (base, path, joined) in [
            ("https://h", "", "https://h/"),
            ("https://h", "/", "https://h/"),
            ("https://h/", "a", "https://h/a"),
            ("https://h:8443/api", "", "https://h:8443/api"),
            ("https://h/api", "/", "https://h/api/"),
            ("https://h/api/", "/orders/7?x=1&y=%2F..%2F", "https://h/api/orders/7?x=1&y=%2F..%2F"),
            ("https://h/api", "?x=1", "https://h/api?x=1"),
            ("http://[::1]:80/a", "b", "http://[::1]/a/b"),
            ("https://h/api", "@evil.example/x", "https://h/api/@evil.example/x"),
            ("https://h", "@evil.example/x", "https://h/@evil.example/x"),
            ("https://h", ":80@evil.example/", "https://h/:80@evil.example/"),
            ("https://h/api", "größe {1}|^", "https://h/api/gr%C3%B6%C3%9Fe%20%7B1%7D%7C%5E"),
            ("https://h/api", "gr%c3%b6%c3%9fe%3f/b%23", "https://h/api/gr%c3%b6%c3%9fe%3f/b%23"),
            ("https://h/api", "a?q=%e9", "https://h/api/a?q=%e9"),
            ("https://h/api", "a?q=ä \"<>", "https://h/api/a?q=%C3%A4%20%22%3C%3E"),
            ("https://h/api", "a.b/..c/...d/.e", "https://h/api/a.b/..c/...d/.e"),
            ("https://h/api", "100%25/a//b", "https://h/api/100%25/a//b"),
        ] {
            assert_eq!(target(base).join(path).unwrap().to_string(), joined, "{base} + {path}");
        }
    }

    #[test]
    fn refuses_what_may_leave() {
        let base = target("https://h/api");
        for path in [
            "..",
            "/..",
            "a/../../b",
            ".",
            "a/./b",
            "%2e%2e/b",
            ".%2E/b",
            "%2e",
            "%252e%252e/b",
            "%25252e./b",
            "..;/b",
            "a/..;x=1/b",
            "%2e%2e;/b",
            "..%3b/b",
            "..%3fx",
            "..%3Fx=1",
            "a/.%2e%23",
            "..%253fx",
            "%c0%ae%c0%ae/x",
            ".%c0%ae/x",
            "%e0%80%ae./x",
            "%25c0%25ae./x",
            "a%c0%afb",
            "a%ff",
            "a%25e9",
            "a%2fb",
            "a%2Fb",
            "a%252fb",
            "..%2f",
            "a\\b",
            "..\\b",
            "%5c..",
            "a%255Cb",
            "//evil.example/x",
            "/\\evil.example",
            "https://evil.example/x",
            "a\nb",
            "a\0b",
            "a%00b",
            "a%0d%0ab",
            "a\u{7f}b",
            "a#b",
            "a%",
            "a%2",
            "a%zz",
            "a?b=%",
            "a?b=\r\nX: y",
            "a?b#c",
        ] {
            assert!(base.join(path).is_err(), "{path} -> {:?}", base.join(path));
        }
        assert!(base.join(&"a".repeat(8001)).is_err());
    }

    #[test]
    fn a_base_url_is_checked() {
        for url in ["ftp://h", "https://user@h", "https://user:word@h", "https://h?x", "https://h#x", "mailto:a@b"] {
            assert!(Target::new(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
    }

    #[test]
    fn messages_forge_no_lines() {
        let error = target("https://h").join("a\nERROR forged").unwrap_err();
        assert!(!error.contains('\n'), "{error}");
    }

    fn spelled() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("..".to_owned()),
            Just(".".to_owned()),
            Just("/".to_owned()),
            Just("//".to_owned()),
            Just("\\".to_owned()),
            Just("%2e".to_owned()),
            Just("%2E".to_owned()),
            Just("%25".to_owned()),
            Just("2e".to_owned()),
            Just("%2f".to_owned()),
            Just("%5c".to_owned()),
            Just(";".to_owned()),
            Just("%3f".to_owned()),
            Just("%23".to_owned()),
            Just("%c0%ae".to_owned()),
            Just("%c0%af".to_owned()),
            Just("%e0%80%ae".to_owned()),
            Just("%c1%9c".to_owned()),
            Just("@evil.example".to_owned()),
            Just("http://evil.example".to_owned()),
            Just(":".to_owned()),
            Just("?".to_owned()),
            Just("#".to_owned()),
            Just("\u{ff0f}".to_owned()),
            Just("\u{2024}".to_owned()),
            "[a-z]{1,3}",
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// UTF-8 as decoders read it that take the bits and do not look whether fewer bytes would have done (RFC 3629, section 10).
    fn lenient(bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut rest = bytes;
        while let [first, tail @ ..] = rest {
            let (length, bits) = match first {
                0xc0..=0xdf => (1, first & 0x1f),
                0xe0..=0xef => (2, first & 0x0f),
                0xf0..=0xf7 => (3, first & 0x07),
                _ => (0, *first),
            };
            let length = length.min(tail.len());
            let code = tail[..length].iter().fold(u32::from(bits), |code, byte| code << 6 | u32::from(byte & 0x3f));
            text.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            rest = &tail[length..];
        }
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// However a server reads the path, it stays below the base.
        #[test]
        fn never_leaves_the_base(path in spelled()) {
            let base = target("https://h.example:8443/api/v1");
            if let Ok(joined) = base.join(&path) {
                let text = joined.to_string();
                // The other common reader of URLs agrees on where this goes.
                let read = Url::parse(&text).unwrap();
                prop_assert_eq!(read.host_str(), Some("h.example"));
                prop_assert_eq!(read.port(), Some(8443));
                prop_assert_eq!(read.username(), "");
                prop_assert!(read.path() == "/api/v1" || read.path().starts_with("/api/v1/"), "{}", text);
                prop_assert!(text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control() || byte == b' '));
                // The worst servers: decode until nothing changes, take what is no UTF-8 for what it would be, and backslashes for slashes, cut parameters,
                // then remove dots. Some of them take an encoded question mark for the end of the path, or an encoded hash.
                let mut worst = joined.path().as_bytes().to_vec();
                loop {
                    let next = decode(&worst);
                    if next == worst { break; }
                    worst = next;
                }
                let worst = lenient(&worst).replace('\\', "/");
                let cut = worst.split(['?', '#']).next().unwrap();
                for path in [worst.as_str(), cut] {
                    let mut kept: Vec<&str> = Vec::new();
                    for segment in path.split('/') {
                        match segment.split(';').next().unwrap() {
                            ".." => { kept.pop(); }
                            "." => {}
                            _ => kept.push(segment),
                        }
                    }
                    prop_assert!(kept.starts_with(&["", "api", "v1"]), "{}", text);
                }
            }
        }
    }
}
