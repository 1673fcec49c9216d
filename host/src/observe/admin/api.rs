//! The paths of the admin server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::json;

use super::guard::{Guard, Refused};
use super::{Release, Reloaded, Sources};
use crate::observe::{Health, Metrics, Status};
use crate::outcome::Cause;

/// The loop tells its window every second. When it has been silent for so long, it hangs, and only a restart will mend it. Long enough for a
/// machine that was suspended for a moment.
const LOOP_SILENCE_MAX: Duration = Duration::from_secs(60);

/// The console: one file, which fetches nothing but `/api/status`.
const CONSOLE: &str = include_str!("console.html");

/// Scripts and styles of the page itself, and requests to this server; nothing else, and no frame around it.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Shared {
    guard: Guard,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    sources: Arc<dyn Sources>,
}

pub(super) fn router(guard: Guard, health: Arc<Health>, metrics: Arc<Metrics>, sources: Arc<dyn Sources>) -> Router {
    let shared = Arc::new(Shared { guard, health, metrics, sources });
    let guarded = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/api/status", get(status))
        .route("/api/reload", post(reload))
        .route("/api/release", post(release))
        .route_layer(from_fn_with_state(Arc::clone(&shared), needs_token));
    // Probes carry no token, and the console is a page without a word of this host in it.
    let open = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/", get(console));
    guarded
        .merge(open)
        .fallback(not_found)
        .layer(from_fn_with_state(Arc::clone(&shared), meant_for_this_server))
        .layer(middleware::map_response(headers_of_all))
        .with_state(shared)
}

async fn meant_for_this_server(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.guard.check_target(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn needs_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.guard.check_token(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn headers_of_all(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Refused::Misdirected(why) => failure(StatusCode::FORBIDDEN, why),
            Refused::Unauthorized => {
                let mut response = failure(StatusCode::UNAUTHORIZED, "a token is needed: `Authorization: Bearer TOKEN`, as in `[admin] token`");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
        }
    }
}

fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(json!({ "error": error.into() }))).into_response()
}

async fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "there are `/`, `/livez`, `/readyz`, `/metrics`, `/api/status`, `/api/reload` and `/api/release`")
}

async fn livez(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    match hangs(&shared.health, &shared.metrics) {
        None => (StatusCode::OK, "live\n".to_owned()),
        Some(silence) => (StatusCode::SERVICE_UNAVAILABLE, format!("the loop has not turned for {} s\n", silence.as_secs())),
    }
}

/// How long the loop has been silent, if that is so long that it must hang. Before the host is ready, the loop may not run yet.
pub(super) fn hangs(health: &Health, metrics: &Metrics) -> Option<Duration> {
    let silence = metrics.loop_silence();
    (health.reasons().is_empty() && silence > LOOP_SILENCE_MAX).then_some(silence)
}

async fn readyz(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> (StatusCode, String) {
    let reasons = shared.health.reasons();
    let (code, mut text) =
        if reasons.is_empty() { (StatusCode::OK, "ready\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()) };
    // Reasons name destinations and files, which are not for strangers.
    if shared.guard.check_token(&headers).is_ok() {
        reasons.iter().for_each(|reason| text += &format!("{reason}\n"));
        shared.sources.status().degraded().iter().for_each(|line| text += &format!("degraded: {line}\n"));
    }
    (code, text)
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], shared.metrics.render())
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Status> {
    Json(whole_status(&shared))
}

/// The status with what only this side knows: health and counts.
fn whole_status(shared: &Shared) -> Status {
    let mut status = shared.sources.status();
    status.host.reasons = shared.health.reasons();
    status.host.ready = status.host.reasons.is_empty();
    status.host.degraded = status.degraded();
    let millis = |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 1e5).round() / 100.0);
    for plugin in &mut status.plugins {
        let counts = shared.metrics.plugin(&plugin.name);
        (plugin.delivered, plugin.skipped, plugin.dead_lettered) = (counts.delivered, counts.skipped, counts.dead_lettered);
        (plugin.p50_ms, plugin.p99_ms) = (millis(counts.p50), millis(counts.p99));
    }
    for destination in &mut status.destinations {
        let counts = shared.metrics.destination(&destination.name);
        (destination.replies, destination.done, destination.retries) = (counts.replies, counts.done, counts.retries);
        (destination.p50_ms, destination.p99_ms) = (millis(counts.p50), millis(counts.p99));
    }
    for partition in &mut status.partitions {
        partition.lag = shared.metrics.lag_of(&partition.topic, partition.partition);
    }
    status
}

async fn reload(State(shared): State<Arc<Shared>>) -> Json<Status> {
    tracing::info!("looking at the plugins' directory again (asked by the admin API)");
    if shared.sources.reload().await == Reloaded::Loading {
        tracing::warn!("not all plugins are loaded yet; the status goes on telling");
    }
    Json(whole_status(&shared))
}

async fn release(State(shared): State<Arc<Shared>>, Query(parameters): Query<HashMap<String, String>>) -> Response {
    let what = match asked_for(parameters) {
        Ok(what) => what,
        Err(error) => return failure(StatusCode::BAD_REQUEST, error),
    };
    tracing::info!(?what, "releasing what is held (asked by the admin API)");
    match shared.sources.release(what).await {
        Some(released) => Json(json!({ "released": released })).into_response(),
        None => failure(StatusCode::SERVICE_UNAVAILABLE, "the host does not take records at the moment"),
    }
}

fn asked_for(parameters: HashMap<String, String>) -> Result<Release, String> {
    const ACCEPTED: &str = "exactly one of `key=KEY`, `destination=NAME`, `plugin=NAME`, `unrouted` is accepted";
    let mut parameters = parameters.into_iter();
    let (Some((name, value)), None) = (parameters.next(), parameters.next()) else {
        return Err(ACCEPTED.to_owned());
    };
    match name.as_str() {
        "key" => Ok(Release::Key(value)),
        "destination" => Ok(Release::Cause(Cause::Destination(value.into()))),
        "plugin" => Ok(Release::Plugin(value.into())),
        "unrouted" => Ok(Release::Cause(Cause::Unrouted)),
        other => Err(format!("`{}` is not known; {ACCEPTED}", other.escape_debug())),
    }
}

async fn console() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, CONSOLE_POLICY)], Html(CONSOLE))
}
