//! `[destinations.NAME]`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::reader::{Field, Section, not_empty};
use super::{Auth, Batch, BatchFormat, Breaker, Concurrency, Destination, HttpVersions, OnExhausted, Proxy, Report, Retry, Tls, expand, values};
use crate::policy::{CONCURRENCY_MAX, SecretText};

/// Connection set-up is two or three round trips; past this the host is down, not slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An API call that takes longer is answered by nobody who still waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Eight attempts with these backoffs span about a minute: a restart or a failover of the destination.
const RETRY: Retry =
    Retry { attempts: 8, backoff_min: Duration::from_millis(100), backoff_max: Duration::from_secs(30), within: Duration::from_secs(300) };
/// Half of the attempts of ten seconds, but not before twenty: a destination that is down, not one that refuses some records.
const BREAKER: Breaker = Breaker { failure_ratio: 0.5, minimum: 20, window: Duration::from_secs(10), open_for: Duration::from_secs(5) };
/// Adaptive concurrency keeps between these.
const ADAPTIVE: (usize, usize) = (1, CONCURRENCY_MAX);
/// More than any error message, less than any page; kept per request in flight.
const REPLY_CAP: usize = 64 << 10;

impl Destination {
    /// A destination of which nothing is said but its base URL.
    pub fn new(name: impl Into<Arc<str>>, url: Url) -> Destination {
        Destination {
            name: name.into(),
            url,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            retry: RETRY,
            on_exhausted: OnExhausted::default(),
            concurrency: Concurrency::Adaptive { min: ADAPTIVE.0, max: ADAPTIVE.1 },
            rate: None,
            breaker: BREAKER,
            auth: Auth::None,
            headers: Vec::new(),
            tls: Tls::default(),
            http: HttpVersions::default(),
            proxy: None,
            batch: None,
            reply_cap: REPLY_CAP,
        }
    }
}

/// Reads one destination.
pub(super) fn read(name: &str, field: &Field<'_>, report: &mut Report) -> Option<Destination> {
    let mut section = field.section(report);
    let url = section.required(report, "url", "\"https://orders.internal/api\"", base_url);
    let timeout = section.optional(report, "timeout", duration).unwrap_or(TIMEOUT);
    let connecting = section.field("connect_timeout").and_then(|field| field.span);
    let connect_timeout = section.optional(report, "connect_timeout", duration).unwrap_or(CONNECT_TIMEOUT.min(timeout));
    if connect_timeout > timeout {
        let cause = format!("`{}.connect_timeout` is {connect_timeout:?}, and the whole attempt ends after {timeout:?} (`timeout`)", field.name);
        report.add(connecting, cause, Some("lower it, or raise `timeout`".into()));
    }
    let retry = retry(&mut section, timeout, report);
    let on_exhausted =
        section.optional(report, "on_exhausted", |field| choice(field, &[("dead-letter", OnExhausted::DeadLetter), ("hold", OnExhausted::Hold)]));
    let concurrency = concurrency(&mut section, report);
    let rate = section.optional(report, "rate", |field| field.read(values::rate));
    let breaker = breaker(&mut section, report);
    let auth = report.secretly(|report| auth(&mut section, report));
    let headers = report.secretly(|report| headers(&mut section, report));
    let tls = tls(&mut section, report);
    let http = section
        .optional(report, "http", |field| choice(field, &[("auto", HttpVersions::Auto), ("1", HttpVersions::Http1), ("2", HttpVersions::Http2)]));
    let proxy = report.secretly(|report| section.optional(report, "proxy", absolute_url)).map(Proxy);
    let batch = batch(&mut section, report);
    let reply_cap = section.optional(report, "reply_cap", size).unwrap_or(REPLY_CAP);
    section.finish(report);
    Some(Destination {
        name: name.into(),
        url: url?,
        connect_timeout,
        timeout,
        retry,
        on_exhausted: on_exhausted.unwrap_or_default(),
        concurrency,
        rate,
        breaker,
        auth,
        headers,
        tls,
        http: http.unwrap_or_default(),
        proxy,
        batch,
        reply_cap,
    })
}

fn base_url(field: &Field<'_>) -> Result<Url, String> {
    let url = absolute_url(field)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user name or password in it would show them in logs; use `auth` instead".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a base URL has neither query nor fragment; a plugin adds the query of each request".into());
    }
    Ok(url)
}

fn absolute_url(field: &Field<'_>) -> Result<Url, String> {
    field.read(parse_url)
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("expected a URL such as `https://orders.internal/api`: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        "http" | "https" => Err("the URL names no host".into()),
        other => Err(format!("expected a URL of `http` or `https`, found `{other}`")),
    }
}

pub(super) fn duration(field: &Field<'_>) -> Result<Duration, String> {
    let duration = field.read(values::duration)?;
    if duration.is_zero() { Err("expected a time above zero".into()) } else { Ok(duration) }
}

pub(super) fn size(field: &Field<'_>) -> Result<usize, String> {
    let size = field.read(values::size)?;
    if size == 0 { Err("expected a size above zero".into()) } else { Ok(size) }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(field: &Field<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    field.read(|word| {
        choices.iter().find(|(choice, _)| *choice == word).map(|(_, value)| *value).ok_or_else(|| {
            let accepted: Vec<String> = choices.iter().map(|(choice, _)| format!("`{choice}`")).collect();
            format!("expected {}, found `{word}`", accepted.join(" or "))
        })
    })
}

fn secret(field: &Field<'_>) -> Result<SecretText, String> {
    let secret = expand::secret(field.typed()?)?;
    if secret.resolve()?.expose().is_empty() { Err("expected a secret, found nothing".into()) } else { Ok(secret) }
}

/// A secret that goes into a header.
pub(super) fn header_value(field: &Field<'_>) -> Result<SecretText, String> {
    let secret = secret(field)?;
    match http::HeaderValue::from_str(secret.resolve()?.expose()) {
        Ok(_) => Ok(secret),
        Err(_) => Err("a header cannot carry it: it holds a line break or another control character".into()),
    }
}

/// A secret that signs (Standard Webhooks: base64, with or without `whsec_`).
fn signing_secret(field: &Field<'_>) -> Result<SecretText, String> {
    let secret = secret(field)?;
    let resolved = secret.resolve()?;
    let text = resolved.expose();
    match STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)) {
        Ok(_) => Ok(secret),
        Err(_) => Err("expected base64, with or without `whsec_` before it".into()),
    }
}

fn retry(section: &mut Section<'_>, timeout: Duration, report: &mut Report) -> Retry {
    let mut section = section.section(report, "retry");
    let span = section.span();
    let attempts = section.optional(report, "attempts", |field| u32::try_from(field.count()?).map_err(|_| "too many attempts".to_owned()));
    let backoff = section.optional(report, "backoff", |field| field.read(values::backoff));
    let within = section.optional(report, "within", duration);
    section.finish(report);
    let (backoff_min, backoff_max) = backoff.unwrap_or((RETRY.backoff_min, RETRY.backoff_max));
    let (attempts, within) = (attempts.unwrap_or(RETRY.attempts), within.unwrap_or(RETRY.within));
    if attempts > 1 && within < timeout {
        let cause = format!("`retry`: `within` is {within:?} and `timeout` {timeout:?}, so that an attempt that times out is never repeated");
        report.add(span, cause, Some("raise `within`, lower `timeout`, or say `attempts = 1`".into()));
    }
    Retry { attempts, backoff_min, backoff_max, within }
}

fn concurrency(section: &mut Section<'_>, report: &mut Report) -> Concurrency {
    let adaptive = Concurrency::Adaptive { min: ADAPTIVE.0, max: ADAPTIVE.1 };
    let Some(field) = section.field("concurrency") else { return adaptive };
    if field.is_table() {
        let mut bounds = field.section(report);
        let min = bounds.optional(report, "min", Field::count).unwrap_or(ADAPTIVE.0);
        let max = bounds.optional(report, "max", in_flight).unwrap_or(ADAPTIVE.1);
        bounds.finish(report);
        if min > max {
            report.add(field.span, format!("`{}`: `min` is {min}, above `max`, which is {max}", field.name), None);
        }
        return Concurrency::Adaptive { min: min.min(max), max };
    }
    let expected = "a number, `\"adaptive\"` or `{ min = 1, max = 100 }`";
    let word = |text: &str| match (text, text.parse()) {
        ("adaptive", _) => Ok(adaptive),
        // A number is no string, unless it comes from somewhere else.
        (_, Ok(number)) if number > 0 && field.typed() != Ok(text) => Ok(Concurrency::Fixed(number)),
        _ => Err(format!("expected {expected}, found `{text}`")),
    };
    let read = if field.is_text() { field.read(word) } else { field.count().map(Concurrency::Fixed) };
    let read = read.and_then(|read| match read {
        Concurrency::Fixed(number) => can_fly(number).map(Concurrency::Fixed),
        Concurrency::Adaptive { .. } => Ok(read),
    });
    read.unwrap_or_else(|cause| {
        report.add(field.span, format!("`{}`: {cause}", field.name), None);
        adaptive
    })
}

fn in_flight(field: &Field<'_>) -> Result<usize, String> {
    can_fly(field.count()?)
}

/// More could never be in flight, so a larger number would be ignored.
fn can_fly(number: usize) -> Result<usize, String> {
    if number > CONCURRENCY_MAX { Err(format!("expected at most {CONCURRENCY_MAX} requests in flight, found {number}")) } else { Ok(number) }
}

fn breaker(section: &mut Section<'_>, report: &mut Report) -> Breaker {
    let mut section = section.section(report, "breaker");
    let failure_ratio = section.optional(report, "failure_ratio", Field::ratio).unwrap_or(BREAKER.failure_ratio);
    let minimum = section.optional(report, "minimum", |field| u32::try_from(field.count()?).map_err(|_| "too many".to_owned()));
    let window = section.optional(report, "window", duration).unwrap_or(BREAKER.window);
    let open_for = section.optional(report, "open_for", duration).unwrap_or(BREAKER.open_for);
    section.finish(report);
    Breaker { failure_ratio, minimum: minimum.unwrap_or(BREAKER.minimum), window, open_for }
}

fn auth(section: &mut Section<'_>, report: &mut Report) -> Auth {
    let mut section = section.section(report, "auth");
    let bearer = section.optional(report, "bearer", header_value).map(Auth::Bearer);
    let hmac = section.optional(report, "hmac", signing_secret).map(Auth::Hmac);
    let basic = section.field("basic").and_then(|field| {
        let mut section = field.section(report);
        let user = section.required(report, "user", "\"bridge\"", Field::text);
        let password = section.required(report, "password", "\"${env:PASSWORD}\"", secret);
        section.finish(report);
        Some(Auth::Basic { user: user?, password: password? })
    });
    let header = section.field("header").and_then(|field| {
        let mut section = field.section(report);
        let name = section.required(report, "name", "\"X-Api-Key\"", header_name);
        let value = section.required(report, "value", "\"${env:API_KEY}\"", header_value);
        section.finish(report);
        Some(Auth::Header { name: name?, value: value? })
    });
    let oauth2 = section.field("oauth2").and_then(|field| oauth2(&field, report));
    let span = section.span();
    section.finish(report);
    let mut given: Vec<Auth> = [bearer, hmac, basic, header, oauth2].into_iter().flatten().collect();
    if given.len() > 1 {
        report.add(span, "more than one credential in `auth`; a destination takes one of `bearer`, `basic`, `header`, `oauth2` or `hmac`", None);
    }
    given.pop().unwrap_or_default()
}

fn oauth2(field: &Field<'_>, report: &mut Report) -> Option<Auth> {
    let mut section = field.section(report);
    let token_url = section.required(report, "token_url", "\"https://id.internal/oauth2/token\"", absolute_url);
    let client_id = section.required(report, "client_id", "\"bridge\"", Field::text);
    let client_secret = section.required(report, "client_secret", "\"${env:CLIENT_SECRET}\"", secret);
    let scopes = section.field("scopes").map(|field| field.texts(report, not_empty).into_iter().map(|(scope, _)| scope).collect());
    let audience = section.optional(report, "audience", Field::text);
    section.finish(report);
    Some(Auth::OAuth2 { token_url: token_url?, client_id: client_id?, client_secret: client_secret?, scopes: scopes.unwrap_or_default(), audience })
}

fn header_name(field: &Field<'_>) -> Result<String, String> {
    field.read(|name| {
        http::HeaderName::from_bytes(name.as_bytes()).map(|name| name.as_str().to_owned()).map_err(|_| format!("`{name}` is no header name"))
    })
}

fn headers(section: &mut Section<'_>, report: &mut Report) -> Vec<(String, SecretText)> {
    let mut headers = Vec::new();
    for (name, field) in section.section(report, "headers").entries() {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            report.add(field.span.clone(), format!("`{}`: `{name}` is no header name", field.name), None);
            continue;
        }
        match header_value(&field) {
            Ok(value) => headers.push((name, value)),
            Err(cause) => report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None),
        }
    }
    headers
}

fn tls(section: &mut Section<'_>, report: &mut Report) -> Tls {
    let mut section = section.section(report, "tls");
    let folder = report.folder();
    let file = |field: &Field<'_>| {
        let path = folder.join(field.text()?);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(path),
            Ok(_) => Err(format!("`{}` is not a file", path.display())),
            Err(error) => Err(format!("failed to find `{}`: {error}", path.display())),
        }
    };
    let ca = section.optional(report, "ca", file);
    let client_certificate = section.optional(report, "client_certificate", file);
    let client_key = section.optional(report, "client_key", file);
    if client_certificate.is_some() != client_key.is_some() {
        report.add(section.span(), "`client_certificate` and `client_key` come together", None);
    }
    section.finish(report);
    Tls { ca, client_certificate, client_key }
}

fn batch(section: &mut Section<'_>, report: &mut Report) -> Option<Batch> {
    let mut section = section.section(report, "batch");
    let max = section.optional(report, "max", Field::count).unwrap_or(100);
    let linger = section.optional(report, "linger", duration).unwrap_or(Duration::from_millis(20));
    let bytes = section.optional(report, "bytes", size).unwrap_or(1 << 20);
    let format = section.optional(report, "as", |field| choice(field, &[("json-array", BatchFormat::JsonArray), ("ndjson", BatchFormat::Ndjson)]));
    let per_item = section.optional(report, "results", |field| choice(field, &[("per-item", true), ("whole", false)]));
    let keys = section.optional(report, "keys", |field| choice(field, &[("header", true), ("none", false)])).unwrap_or(true);
    let there = section.is_there();
    section.finish(report);
    there.then_some(Batch { max, linger, bytes, format: format.unwrap_or(BatchFormat::JsonArray), per_item: per_item.unwrap_or(false), keys })
}
