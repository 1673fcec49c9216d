//! Tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4).

use std::fmt::Write;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::super::client::{Client, Fault, Settings};
use super::super::reply;
use super::{Generation, Missing, value};
use crate::config::{Auth, Destination, HttpVersions, Tls};
use crate::policy::SecretText;

/// Part of a token's life after which a new one is fetched, while the old one still serves.
const REFRESH_AT: f64 = 0.8;

/// Life of a token whose issuer does not say it. RFC 6749 leaves it open; short is safe.
const UNSAID: Duration = Duration::from_secs(300);

/// Pause after a failure, in which all who want a token are told of it.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes of a reply of the issuer that are read. Tokens are some KiB at most.
const REPLY_CAP: usize = 64 << 10;

/// The tokens of one destination.
pub(super) struct Tokens(Arc<Issuer>);

struct Issuer {
    client: Client,
    url: Uri,
    client_id: String,
    client_secret: SecretText,
    form: String,
    state: SyncMutex<State>,
    /// Held by the one who fetches.
    fetching: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    generation: Generation,
    failed: Option<(Instant, Missing)>,
}

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    refresh_at: Instant,
    expires_at: Instant,
}

/// What an issuer answers (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Issued {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<f64>,
}

/// What it answers when it does not (section 5.2).
#[derive(Deserialize)]
struct NotIssued {
    error: String,
}

impl Tokens {
    /// # Errors
    /// What of the settings cannot be used.
    pub(super) fn new(settings: &Destination) -> Result<Tokens, String> {
        let Auth::OAuth2 { token_url, client_id, client_secret, scopes, audience } = &settings.auth else {
            return Err("`auth` is not `oauth2`".to_owned());
        };
        // The issuer is often a public service, and the destination behind an authority of its own: both are trusted.
        let tls = Tls { ca: settings.tls.ca.clone(), client_certificate: None, client_key: None };
        let client = Client::new(Settings {
            url: token_url.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            tls,
            trust_system: true,
            http: HttpVersions::Auto,
            proxy: settings.proxy.clone(),
            idle_connections: 1,
            reply_cap: REPLY_CAP,
        })
        .map_err(|error| error.replace("`url`", "`auth.oauth2.token_url`"))?;
        let mut form = "grant_type=client_credentials".to_owned();
        let mut add = |name: &str, value: &str| {
            let _ = write!(form, "&{name}={}", encoded(value));
        };
        if !scopes.is_empty() {
            add("scope", &scopes.join(" "));
        }
        if let Some(audience) = audience {
            add("audience", audience);
        }
        client_secret.resolve()?;
        let url = token_url.as_str().parse().map_err(|error| format!("`auth.oauth2.token_url` cannot be called: {error}"))?;
        Ok(Tokens(Arc::new(Issuer {
            client,
            url,
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            form,
            state: SyncMutex::default(),
            fetching: Arc::default(),
        })))
    }

    /// A token that is valid now.
    pub(super) async fn get(&self) -> Result<(Generation, HeaderValue), Missing> {
        let issuer = &self.0;
        let now = Instant::now();
        let known = {
            let state = issuer.lock();
            state.token.clone().filter(|token| now < token.expires_at).map(|token| (state.generation, token))
        };
        let Some((generation, token)) = known else { return issuer.obtain(None).await };
        // Ahead of its end one request has a new one fetched, and nobody waits.
        if now >= token.refresh_at
            && let Ok(turn) = Arc::clone(&issuer.fetching).try_lock_owned()
            && issuer.lock().failed.as_ref().is_none_or(|(at, _)| at.elapsed() >= PAUSE)
        {
            let issuer = Arc::clone(issuer);
            tokio::spawn(async move {
                // A failure is kept, and told of when the old token is at its end.
                let _ = issuer.fetch(turn).await;
            });
        }
        Ok((generation, token.value))
    }

    /// Replaces a token that was refused, unless it is replaced already.
    pub(super) async fn renew(&self, refused: Generation) -> bool {
        self.0.obtain(Some(refused)).await.is_ok()
    }
}

impl Issuer {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a token other than the refused one. However many wait, one fetches.
    async fn obtain(&self, refused: Option<Generation>) -> Result<(Generation, HeaderValue), Missing> {
        let turn = Arc::clone(&self.fetching).lock_owned().await;
        {
            let state = self.lock();
            if let Some(token) = state.token.as_ref().filter(|token| Instant::now() < token.expires_at)
                && refused.is_none_or(|refused| state.generation > refused)
            {
                return Ok((state.generation, token.value.clone()));
            }
            if let Some((_, missing)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
                return Err(missing.clone());
            }
        }
        self.fetch(turn).await
    }

    async fn fetch(&self, _turn: OwnedMutexGuard<()>) -> Result<(Generation, HeaderValue), Missing> {
        let fetched = self.ask().await;
        let mut state = self.lock();
        match fetched {
            Ok((value, life)) => {
                let now = Instant::now();
                state.generation.0 += 1;
                state.failed = None;
                state.token = Some(Token { value: value.clone(), refresh_at: now + life.mul_f64(REFRESH_AT), expires_at: now + life });
                Ok((state.generation, value))
            }
            Err(missing) => {
                state.failed = Some((Instant::now(), missing.clone()));
                Err(missing)
            }
        }
    }

    async fn ask(&self) -> Result<(HeaderValue, Duration), Missing> {
        let not_now = |text: String| Missing { refused: false, text };
        let secret = self.client_secret.resolve().map_err(|error| not_now(format!("no token: {error}")))?;
        // Section 2.3.1: both are encoded as in a form first.
        let pair = BASE64_STANDARD.encode(format!("{}:{}", encoded(&self.client_id), encoded(secret.expose())));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value(format!("Basic {pair}")).map_err(not_now)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut request = Request::new(Full::new(Bytes::from(self.form.clone())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        let answer = self.client.send(request).await.map_err(|fault: Fault| not_now(format!("no token from {}: {}", self.url, fault.text())))?;
        if !answer.status.is_success() {
            let error = serde_json::from_slice::<NotIssued>(&answer.body).map(|body| format!(", `{}`", super::super::target::shown(&body.error)));
            return Err(Missing {
                // 400 and 401 are how an issuer refuses a client (section 5.2).
                refused: !matches!(reply::class(answer.status.as_u16()), reply::Class::Again),
                text: format!("no token from {}: the reply was {}{}", self.url, answer.status, error.unwrap_or_default()),
            });
        }
        // The parser's words might quote the token.
        let issued: Issued = serde_json::from_slice(&answer.body).map_err(|_| not_now(format!("no token from {}: the reply is none", self.url)))?;
        if issued.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(not_now(format!("no token from {}: its type is not `Bearer`", self.url)));
        }
        let life = issued
            .expires_in
            .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
            .map_or(UNSAID, |seconds| Duration::from_secs_f64(seconds.min(1e9)));
        let token = value(format!("Bearer {}", issued.access_token)).map_err(|error| not_now(format!("no token from {}: it {error}", self.url)))?;
        Ok((token, life))
    }
}

/// As forms encode it (`application/x-www-form-urlencoded`).
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
