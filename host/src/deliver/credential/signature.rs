//! Signatures by the Standard Webhooks specification (standardwebhooks.com), symmetric form `v1`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use crate::policy::Secret;

pub(super) const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
pub(super) const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(super) const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A key, ready to sign.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// Takes a secret in base64, with or without `whsec_` before it.
    pub(super) fn new(secret: &Secret) -> Result<Key, String> {
        let text = secret.expose().trim();
        let bytes = BASE64_STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| "is not base64".to_owned())?;
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        Ok(Key(Hmac::new_from_slice(&bytes).map_err(|error| error.to_string())?))
    }

    /// Adds the three headers. The id is the idempotency key, which is what the receiver recognises a repeat by.
    pub(super) fn sign(&self, headers: &mut HeaderMap, id: &HeaderValue, body: &[u8]) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        headers.insert(WEBHOOK_SIGNATURE, self.signature(id.as_bytes(), seconds, body));
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(WEBHOOK_ID, id.clone());
    }

    fn signature(&self, id: &[u8], seconds: u64, body: &[u8]) -> HeaderValue {
        let mut mac = self.0.clone();
        mac.update(id);
        mac.update(format!(".{seconds}.").as_bytes());
        mac.update(body);
        let text = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        // Base64 is always the text of a header.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("v1,"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signs_as_the_reference_does() {
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"] {
            let key = Key::new(&Secret::new(secret)).unwrap_or_else(|error| panic!("{error}"));
            let signature = key.signature(b"msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
            assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        }
        assert!(Key::new(&Secret::new("not base64!")).is_err());
        assert!(Key::new(&Secret::new("whsec_")).is_err());
    }
}
