use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::testing::{Server, destination, http, post, stamp, status, with_body};
use super::super::{Deliver, Delivery};
use super::*;
use crate::config::{Destination, Proxy};
use crate::policy::{SecretPart, SecretText};

fn from_file(path: &std::path::Path) -> SecretText {
    SecretText { parts: vec![SecretPart::File(path.to_owned())] }
}

fn oauth(issuer: &Server) -> Auth {
    Auth::OAuth2 {
        token_url: format!("{}/token", issuer.url()).parse().unwrap(),
        client_id: "key way".to_owned(),
        client_secret: SecretText::known("s:cret"),
        scopes: vec!["orders".to_owned(), "refunds".to_owned()],
        audience: Some("https://orders".to_owned()),
    }
}

/// An authorization server whose tokens live so long, and a destination that takes the newest only.
async fn issuer(life: f64) -> (Server, Arc<AtomicUsize>) {
    let issued = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&issued);
    let server = Server::start(move |_, _| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { with_body(200, format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":{life}}}"#)) }
    })
    .await;
    (server, issued)
}

#[tokio::test]
async fn each_kind_goes_over_the_wire() {
    let server = Server::start(async |_, _| status(200)).await;
    for (auth, name, expected) in [
        (Auth::None, "authorization", None),
        (Auth::Bearer(SecretText::known("abc")), "authorization", Some("Bearer abc")),
        (Auth::Basic { user: "me".to_owned(), password: SecretText::known("pass:word") }, "authorization", Some("Basic bWU6cGFzczp3b3Jk")),
        (Auth::Header { name: "X-Api-Key".to_owned(), value: SecretText::known("k") }, "x-api-key", Some("k")),
    ] {
        let mut settings = destination(&server.url());
        settings.auth = auth;
        settings.headers.push(("X-Tenant".to_owned(), SecretText::known("t")));
        assert!(matches!(http(settings).deliver(&post("/", ""), stamp("k")).await, Delivery::Done(_)));
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.header(name), seen.header("x-tenant")), (expected, Some("t")));
    }
}

#[tokio::test]
async fn no_plugin_may_set_what_the_host_sets() {
    let server = Server::start(async |_, _| status(200)).await;
    let hmac = Auth::Hmac(SecretText::known("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    for (auth, name) in [(Auth::Bearer(SecretText::known("abc")), "authorization"), (hmac, "Webhook-Signature"), (Auth::None, "x-tenant")] {
        let mut settings = destination(&server.url());
        settings.auth = auth;
        settings.headers.push(("X-Tenant".to_owned(), SecretText::known("t")));
        let mut request = post("/", "");
        request.headers.push((name.to_owned(), "mine".to_owned()));
        assert!(matches!(http(settings).deliver(&request, stamp("k")).await, Delivery::Denied { .. }), "{name}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn signatures_hold() {
    let server = Server::start(async |_, _| status(200)).await;
    let mut settings = destination(&server.url());
    settings.auth = Auth::Hmac(SecretText::known("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    assert!(matches!(http(settings).deliver(&post("/", r#"{"a":1}"#), stamp("bridge/t/0/1/0")).await, Delivery::Done(_)));
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.header("webhook-id"), Some("bridge/t/0/1/0"));
    let seconds: u64 = seen.header("webhook-timestamp").unwrap().parse().unwrap();
    // Computed anew from what arrived, by the other way of using the library.
    use hmac::{Hmac, KeyInit, Mac};
    let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signed = format!("bridge/t/0/1/0.{seconds}.{{\"a\":1}}");
    let mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap().chain_update(signed).finalize().into_bytes();
    assert_eq!(seen.header("webhook-signature").unwrap(), format!("v1,{}", BASE64_STANDARD.encode(mac)));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "one\n").unwrap();
    let mut settings = destination("http://orders.internal/");
    settings.auth = Auth::Bearer(from_file(&path));
    let credential = Credential::new(&settings).unwrap();
    let shown = async || {
        let mut headers = HeaderMap::new();
        credential.apply(&mut headers, &HeaderValue::from_static("k"), &Bytes::new()).await.unwrap();
        headers[AUTHORIZATION].to_str().unwrap().to_owned()
    };
    assert_eq!(shown().await, "Bearer one");
    fs::write(&path, "second").unwrap();
    assert_eq!(shown().await, "Bearer one", "not looked at yet");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(shown().await, "Bearer second");
    // Gone for a moment, as when it is replaced: the last one serves.
    fs::remove_file(&path).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(shown().await, "Bearer second");
    fs::write(&path, "the third").unwrap();
    assert!(credential.renew(Generation(2)).await, "a refusal looks at once");
    assert_eq!(shown().await, "Bearer the third");
    assert!(!credential.renew(Generation(3)).await);
}

#[tokio::test]
async fn a_refused_file_is_read_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "old").unwrap();
    let server = Server::start(async |_, seen| status(if seen.header("authorization") == Some("Bearer newer") { 200 } else { 401 })).await;
    let mut settings = destination(&server.url());
    settings.auth = Auth::Bearer(from_file(&path));
    let http = http(settings);
    fs::write(&path, "newer").unwrap();
    let Delivery::Done(reply) = http.deliver(&post("/", ""), stamp("k")).await else { panic!() };
    assert_eq!(reply.attempts, 2);
}

#[tokio::test]
async fn one_token_serves_all() {
    let (issuer, issued) = issuer(3600.0).await;
    let server = Server::start(async |_, seen| status(if seen.header("authorization") == Some("Bearer token-1") { 200 } else { 401 })).await;
    let mut settings = destination(&server.url());
    settings.auth = oauth(&issuer);
    let http = http(settings);
    let ended = futures_util::future::join_all((0..50).map(|_| async { http.deliver(&post("/", ""), stamp("k")).await })).await;
    assert!(ended.iter().all(|ended| matches!(ended, Delivery::Done(_))));
    assert_eq!(issued.load(Ordering::SeqCst), 1);
    let asked = issuer.seen().pop().unwrap();
    assert_eq!(asked.header("authorization").unwrap(), format!("Basic {}", BASE64_STANDARD.encode("key+way:s%3Acret")));
    assert_eq!(&asked.body[..], &b"grant_type=client_credentials&scope=orders+refunds&audience=https%3A%2F%2Forders"[..]);
}

/// Tokens of a second, under the load of fifty senders for several of their lives, and a destination that takes each to its end and no longer. Nobody
/// notices: none is held, none is given up.
#[tokio::test]
async fn tokens_expire_under_load() {
    const LIFE: Duration = Duration::from_secs(1);
    const SENDERS: usize = 50;
    let issued: Arc<std::sync::Mutex<Vec<tokio::time::Instant>>> = Arc::default();
    let came = Arc::new(AtomicUsize::new(0));
    // How many requests came while each token was fetched.
    let meanwhile: Arc<std::sync::Mutex<Vec<usize>>> = Arc::default();
    let (tokens, arrivals, during) = (Arc::clone(&issued), Arc::clone(&came), Arc::clone(&meanwhile));
    let issuer = Server::start(move |_, _| {
        let (tokens, arrivals, during) = (Arc::clone(&tokens), Arc::clone(&arrivals), Arc::clone(&during));
        async move {
            let before = arrivals.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(60)).await;
            during.lock().unwrap().push(arrivals.load(Ordering::SeqCst) - before);
            let mut issued = tokens.lock().unwrap();
            issued.push(tokio::time::Instant::now());
            let (number, life) = (issued.len() - 1, LIFE.as_secs_f64());
            with_body(200, format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":{life}}}"#))
        }
    })
    .await;
    let (tokens, arrivals) = (Arc::clone(&issued), Arc::clone(&came));
    let server = Server::start(move |_, seen| {
        arrivals.fetch_add(1, Ordering::SeqCst);
        let number = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer token-")?.parse::<usize>().ok());
        let good = number.and_then(|number| tokens.lock().unwrap().get(number).copied()).is_some_and(|at| at.elapsed() < LIFE);
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            status(if good { 200 } else { 401 })
        }
    })
    .await;
    let mut settings = destination(&server.url());
    settings.auth = oauth(&issuer);
    let http = http(settings);
    let lives = 6;
    let sender = || async {
        let mut sent = 0;
        while issued.lock().unwrap().len() < lives {
            let ended = http.deliver(&post("/", ""), stamp("k")).await;
            assert!(matches!(ended, Delivery::Done(_)), "{ended:?}");
            sent += 1;
        }
        sent
    };
    let all = futures_util::future::join_all((0..SENDERS).map(|_| sender()));
    let sent: usize = tokio::time::timeout(Duration::from_secs(60), all).await.expect("tokens are fetched").into_iter().sum();
    let refused = came.load(Ordering::SeqCst) - sent;
    assert!(refused * 20 < sent, "{refused} of {sent} were refused at first");
    // More than were on their way: the old token serves until the new one is there.
    let meanwhile = meanwhile.lock().unwrap();
    assert!(meanwhile.iter().skip(1).any(|came| *came > SENDERS), "tokens are fetched ahead of the end of the one before: {meanwhile:?}");
    assert!(server.seen().iter().all(|seen| seen.header("authorization").is_some()));
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once() {
    let (issuer, issued) = issuer(3600.0).await;
    let newest = Arc::clone(&issued);
    let revoked = Arc::new(AtomicBool::new(false));
    let is_revoked = Arc::clone(&revoked);
    let server = Server::start(move |_, seen| {
        let least = if is_revoked.load(Ordering::SeqCst) { 2 } else { 1 };
        let good = (least..=newest.load(Ordering::SeqCst)).any(|number| seen.header("authorization") == Some(&format!("Bearer token-{number}")));
        async move { status(if good { 200 } else { 401 }) }
    })
    .await;
    let mut settings = destination(&server.url());
    settings.auth = oauth(&issuer);
    let http = http(settings);
    assert!(matches!(http.deliver(&post("/", ""), stamp("k")).await, Delivery::Done(_)));
    revoked.store(true, Ordering::SeqCst);
    let ended = futures_util::future::join_all((0..50).map(|_| async { http.deliver(&post("/", ""), stamp("k")).await })).await;
    assert!(ended.iter().all(|ended| matches!(ended, Delivery::Done(_))), "{ended:?}");
    assert_eq!(issued.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refused_client_holds_the_destination() {
    let issuer = Server::start(async |_, _| with_body(401, r#"{"error":"invalid_client"}"#)).await;
    let server = Server::start(async |_, _| status(200)).await;
    let mut settings = destination(&server.url());
    settings.auth = oauth(&issuer);
    let http = http(settings);
    assert!(matches!(http.deliver(&post("/", ""), stamp("k")).await, Delivery::Held(_)));
    let state = http.status().pop().unwrap();
    assert_eq!(state.breaker.code(), "open-credential");
    assert!(state.last_error.unwrap().1.contains("invalid_client"));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let server = Server::start(async |_, _| status(401)).await;
    let mut settings = destination(&server.url());
    settings.auth = Auth::Bearer(SecretText::known("hunter2"));
    settings.headers.push(("x-tenant".to_owned(), SecretText::known("hunter3")));
    let through_a_proxy = Destination { proxy: Some(Proxy("http://me:hunter4@127.0.0.1:9".parse().unwrap())), ..settings.clone() };
    for settings in [through_a_proxy, settings] {
        let shown = format!("{settings:?}");
        let http = http(settings);
        let ended = http.deliver(&post("/", ""), stamp("k")).await;
        let shown = format!("{shown} {http:?} {ended:?} {:?}", http.status());
        assert!(shown.contains("127.0.0.1") && !shown.contains("hunter"), "{shown}");
    }
    let sent = server.seen().pop().unwrap();
    assert_eq!(sent.header("authorization"), Some("Bearer hunter2"));
}

#[test]
fn what_cannot_be_sent_is_refused_at_the_start() {
    let mut settings = destination("http://orders.internal/");
    for (auth, word) in [
        (Auth::Bearer(SecretText::known("a\nhunter2")), "header can carry"),
        (Auth::Basic { user: "a:b".to_owned(), password: SecretText::known("hunter2") }, "colon"),
        (Auth::Header { name: "Host".to_owned(), value: SecretText::known("hunter2") }, "host"),
        (Auth::Hmac(SecretText::known("hunter2!")), "base64"),
        (Auth::Bearer(from_file("/nowhere/at/all".as_ref())), "/nowhere/at/all"),
    ] {
        settings.auth = auth;
        let error = Credential::new(&settings).err().unwrap();
        assert!(error.contains(word) && !error.contains("hunter"), "{error}");
    }
}
