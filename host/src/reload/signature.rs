//! Signatures: who may bring components in at all.

use minisign_verify::{PublicKey, Signature};

use crate::plugin::Refusal;

/// The keys that the operator trusts. With none, no signature is asked for.
#[derive(Default)]
pub struct TrustedKeys(Vec<PublicKey>);

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} trusted keys", self.0.len())
    }
}

impl TrustedKeys {
    /// Reads public keys: the line of base64, or the content of minisign's `.pub` file.
    ///
    /// # Errors
    /// The place of the first that is no key, from 0, and why.
    pub fn parse(keys: &[String]) -> Result<TrustedKeys, (usize, String)> {
        let key = |text: &str| match text.trim().lines().count() {
            1 => PublicKey::from_base64(text.trim()),
            _ => PublicKey::decode(text),
        };
        let keys = keys.iter().enumerate().map(|(at, text)| key(text).map_err(|error| (at, format!("not a minisign public key: {error}"))));
        keys.collect::<Result<_, _>>().map(TrustedKeys)
    }

    /// Whether one of the keys signed exactly these bytes.
    ///
    /// # Errors
    /// It is asked for, and is missing, is none, or is not by one of the keys.
    pub(super) fn verify(&self, component: &[u8], signature: Option<&str>) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        let refused = |cause: String| Refusal { cause, hint: Some("sign it with a trusted key: `minisign -S -m NAME.wasm`".into()) };
        let text =
            signature.ok_or_else(|| refused("there is no signature (`NAME.wasm.minisig`), and `[plugins] trusted_keys` asks for one".into()))?;
        let signature = Signature::decode(text).map_err(|error| refused(format!("the signature cannot be read: {error}")))?;
        // Both forms of signature are as strong; the older one is what minisign wrote by default until 0.11.
        let signed = self.0.iter().any(|key| key.verify(component, &signature, true).is_ok());
        if signed { Ok(()) } else { Err(refused("the signature is not by a trusted key over these bytes".into())) }
    }
}
