//! What `fuzz/` throws bytes at, and what must hold whatever they are. Built for fuzzing only.

use url::Url;

use super::target::Target;

/// A base URL, and a path that a plugin asks for: joined below the base, as another reader of URLs sees it too, or refused.
///
/// # Panics
/// When that is not so.
pub fn path(base: &str, path: &str) {
    let Ok(base) = Url::parse(base) else { return };
    let Ok(target) = Target::new(&base) else { return };
    let _ = target.describe(path);
    let Ok(joined) = target.join(path) else { return };
    let text = joined.to_string();
    assert!(text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control() || byte == b' '), "{text:?}");
    let read = Url::parse(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!((read.scheme(), read.host_str(), read.port()), (base.scheme(), base.host_str(), base.port()), "{text:?}");
    assert!(read.username().is_empty() && read.password().is_none() && read.fragment().is_none(), "{text:?}");
    let below = base.path().trim_end_matches('/');
    assert!(read.path() == below || read.path().strip_prefix(below).is_some_and(|rest| rest.starts_with('/')), "{text:?} leaves {base}");
}
