//! Credentials: what the host shows to a destination.
//!
//! Promises that a secret is added at the last moment, is marked so that no log of headers shows it, and stands in no error and no `Debug`.
//! Secrets that come from files follow the files. Refuses to decide what a refusal means.

mod oauth;
mod signature;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use self::oauth::Tokens;
use self::signature::{Key, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use super::watched::{Generation, Watched};
use crate::config::{Auth, Destination};
use crate::policy::Secret;

/// Everything that the operator adds to a destination's requests.
pub(super) struct Credential {
    kind: Kind,
    /// The operator's own headers, which may be secret too.
    headers: Vec<(HeaderName, Watched<HeaderValue>)>,
}

enum Kind {
    None,
    Header(HeaderName, Watched<HeaderValue>),
    Tokens(Tokens),
    Signature(Watched<Key>),
}

/// Why there is no credential to send with, in words without a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Whether it was refused, rather than not to be had at the moment.
    pub(super) refused: bool,
    pub(super) text: String,
}

impl Credential {
    /// # Errors
    /// What of the settings cannot be used, or which file cannot be read.
    pub(super) fn new(settings: &Destination) -> Result<Credential, String> {
        let kind = match &settings.auth {
            Auth::None => Kind::None,
            Auth::Bearer(token) => Kind::Header(AUTHORIZATION, Watched::secret(token, |secret| value(format!("Bearer {}", secret.expose())))?),
            Auth::Basic { user, password } => {
                if user.contains(':') {
                    return Err("`auth.basic` has a user name with a colon in it, which cannot be told from the password (RFC 7617)".to_owned());
                }
                let user = user.clone();
                let basic = move |secret: &Secret| value(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", secret.expose()))));
                Kind::Header(AUTHORIZATION, Watched::secret(password, basic)?)
            }
            Auth::Header { name, value: text } => {
                Kind::Header(header_name(name)?, Watched::secret(text, |secret| value(secret.expose().to_owned()))?)
            }
            Auth::OAuth2 { .. } => Kind::Tokens(Tokens::new(settings)?),
            Auth::Hmac(key) => Kind::Signature(Watched::secret(key, Key::new)?),
        };
        let headers = settings
            .headers
            .iter()
            .map(|(name, text)| Ok((header_name(name)?, Watched::secret(text, |secret| value(secret.expose().to_owned()))?)))
            .collect::<Result<_, String>>()?;
        Ok(Credential { kind, headers })
    }

    /// Names of the headers that no plugin may set.
    pub(super) fn reserved(&self) -> Vec<HeaderName> {
        let own = match &self.kind {
            Kind::None => Vec::new(),
            Kind::Header(name, _) => vec![name.clone()],
            Kind::Tokens(_) => vec![AUTHORIZATION],
            Kind::Signature(_) => vec![WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE],
        };
        own.into_iter().chain(self.headers.iter().map(|(name, _)| name.clone())).collect()
    }

    /// Adds what is to be added to a request with this idempotency key and body.
    ///
    /// # Errors
    /// There is no credential at the moment.
    pub(super) async fn apply(&self, headers: &mut HeaderMap, key: &HeaderValue, body: &Bytes) -> Result<Generation, Missing> {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.get().1);
        }
        match &self.kind {
            Kind::None => Ok(Generation::default()),
            Kind::Header(name, value) => {
                let (generation, value) = value.get();
                headers.insert(name.clone(), value);
                Ok(generation)
            }
            Kind::Tokens(tokens) => {
                let (generation, value) = tokens.get().await?;
                headers.insert(AUTHORIZATION, value);
                Ok(generation)
            }
            Kind::Signature(signing) => {
                let (generation, signing) = signing.get();
                signing.sign(headers, key, body);
                Ok(generation)
            }
        }
    }

    /// Tries to get a newer credential than the one that was refused, and says whether there is one.
    pub(super) async fn renew(&self, refused: Generation) -> bool {
        match &self.kind {
            Kind::None => false,
            Kind::Header(_, value) => value.reread() > refused,
            Kind::Tokens(tokens) => tokens.renew(refused).await,
            Kind::Signature(key) => key.reread() > refused,
        }
    }
}

fn value(text: String) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text.trim()).map_err(|_| "is not text that a header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let header: HeaderName = name.parse().map_err(|_| format!("`{name}` is no name of a header"))?;
    if super::headers::forbidden(header.as_str()).is_some() || header == super::headers::IDEMPOTENCY_KEY {
        return Err(format!("the header `{header}` may not be set: it is the host's"));
    }
    Ok(header)
}

#[cfg(test)]
mod tests;
