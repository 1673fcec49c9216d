//! Returns a text that is not UTF-8. Defence: the host checks what it lifts (`trapped`).

use keyway_sdk::*;

#[plugin(keys = "hostile-not-utf8:*")]
#[expect(unsafe_code, reason = "safe code cannot make such a text")]
fn lie() -> Verdict {
    // SAFETY: there is none; the host must be safe from it.
    Verdict::skip(unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) })
}
