use std::time::Duration;

use super::super::testing::{Server, destination, http, post, stamp, status, with_body, with_header};
use super::*;
use crate::outcome::Body;

#[tokio::test]
async fn a_request_arrives_as_it_was_meant() {
    let server = Server::start(async |_, _| with_body(201, "made")).await;
    let http = http(destination(&format!("{}/api", server.url())));
    let mut request = post("/orders/7?dry=1", r#"{"id":7}"#);
    request.headers.push(("X-Kind".to_owned(), "a".to_owned()));
    request.headers.push(("Idempotency-Key".to_owned(), "the plugin's own".to_owned()));
    let Delivery::Done(reply) = http.deliver(&request, stamp("bridge/events/0/7/0")).await else { panic!() };
    assert_eq!((reply.status, &reply.body[..], reply.attempts), (201, &b"made"[..], 1));
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str(), &seen.body[..]), ("POST", "/api/orders/7?dry=1", &br#"{"id":7}"#[..]));
    assert_eq!(seen.header("host"), Some(server.address.to_string().as_str()));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("content-length"), Some("8"));
    assert_eq!(seen.header("x-kind"), Some("a"));
    assert_eq!(seen.headers.get_all("idempotency-key").iter().collect::<Vec<_>>(), ["bridge/events/0/7/0"]);
    assert_eq!(seen.header("user-agent"), Some(concat!("keyway/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn what_breaks_a_rule_is_not_sent() {
    let server = Server::start(async |_, _| status(200)).await;
    let http = http(destination(&server.url()));
    let mut unknown = post("/", "");
    unknown.destination = "nobody".to_owned();
    let mut header = post("/", "");
    header.headers.push(("Host".to_owned(), "elsewhere".to_owned()));
    let mut method = post("/", "");
    method.method = "CONNECT".to_owned();
    for (request, word) in [(unknown, "[destinations.nobody]"), (header, "host"), (method, "CONNECT"), (post("/../x", ""), "segment")] {
        let Delivery::Denied { detail, request: failed } = http.deliver(&request, stamp("k")).await else { panic!("{request:?}") };
        assert!(detail.contains(word), "{detail}");
        assert_eq!(failed.attempts, 0);
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn redirects_are_an_answer() {
    let server = Server::start(async |_, _| with_header(302, "location", "/elsewhere")).await;
    let http = http(destination(&server.url()));
    let Delivery::Refused { reply, request } = http.deliver(&post("/a", ""), stamp("k")).await else { panic!() };
    assert_eq!((reply.status, reply.attempts, request.last_status), (302, 1, Some(302)));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn refused_for_good_with_what_is_known() {
    let server = Server::start(async |_, _| with_body(422, "no such order")).await;
    let http = http(destination(&server.url()));
    let Delivery::Refused { reply, request } = http.deliver(&post("/a?b", ""), stamp("k")).await else { panic!() };
    assert_eq!(reply.status, 422);
    assert_eq!(request.url, format!("{}/a?b", server.url()));
    assert_eq!((request.method.as_str(), request.destination.as_str(), request.attempts), ("POST", "orders", 1));
    assert_eq!(request.reply_excerpt.as_deref(), Some("no such order"));
}

#[tokio::test]
async fn a_retry_is_the_same_request() {
    let server = Server::start(async |number, _| if number < 2 { with_header(503, "retry-after", "0") } else { status(204) }).await;
    let http = http(destination(&server.url()));
    let Delivery::Done(reply) = http.deliver(&post("/a", "x"), stamp("k")).await else { panic!() };
    assert_eq!((reply.status, reply.attempts), (204, 3));
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for again in &seen[1..] {
        assert_eq!((&again.headers, &again.body, &again.path), (&seen[0].headers, &seen[0].body, &seen[0].path));
    }
}

#[tokio::test]
async fn used_up_attempts_tell_of_the_last() {
    let server = Server::start(async |_, _| with_body(500, vec![b'x'; 5000])).await;
    let http = http(destination(&server.url()));
    let Delivery::Exhausted { detail, request, .. } = http.deliver(&post("/a", ""), stamp("k")).await else { panic!() };
    assert!(detail.contains("500"), "{detail}");
    assert_eq!((request.attempts, request.last_status, request.reply_excerpt.unwrap().len()), (4, Some(500), 1024));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn nobody_there() {
    // Bound and dropped: nothing listens there.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let http = http(destination(&format!("http://{free}")));
    let Delivery::Exhausted { detail, request, .. } = http.deliver(&post("/a", ""), stamp("k")).await else { panic!() };
    assert!(detail.contains(&free.to_string()) && detail.contains("refused"), "{detail}");
    assert_eq!((request.attempts, request.last_status), (4, None));
}

#[tokio::test]
async fn a_reply_that_never_ends_is_a_timeout() {
    let server = Server::start(async |_, _| std::future::pending().await).await;
    let mut settings = destination(&server.url());
    settings.timeout = Duration::from_millis(50);
    settings.retry.attempts = 2;
    let http = http(settings);
    let Delivery::Exhausted { detail, request, .. } = http.deliver(&post("/a", ""), stamp("k")).await else { panic!() };
    assert!(detail.contains("50ms"), "{detail}");
    assert_eq!((request.attempts, server.seen().len()), (2, 2));
}

#[tokio::test]
async fn long_replies_are_cut() {
    for length in [4095, 4096, 4097, 100_000, 1_000_000] {
        let server = Server::start(move |_, _| async move { with_body(200, vec![b'x'; length]) }).await;
        let http = http(destination(&server.url()));
        let Delivery::Done(reply) = http.deliver(&post("/a", ""), stamp("k")).await else { panic!() };
        assert_eq!(reply.body.len(), length.min(4096), "of {length}");
    }
}

#[tokio::test]
async fn bytes_go_as_they_are() {
    let server = Server::start(async |_, seen| with_body(200, seen.body)).await;
    let http = http(destination(&server.url()));
    let mut request = post("/a", "");
    request.body = Some(Body::Bytes(vec![0, 255, 10]));
    let Delivery::Done(reply) = http.deliver(&request, stamp("k")).await else { panic!() };
    assert_eq!(&reply.body[..], [0, 255, 10]);
    assert_eq!(server.seen()[0].header("content-type"), None);
    request.body = None;
    request.method = "GET".to_owned();
    let Delivery::Done(_) = http.deliver(&request, stamp("k")).await else { panic!() };
    assert_eq!(server.seen()[1].header("content-length"), None);
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let server = Server::start(async |_, seen| with_body(200, format!("{:?}", seen.version))).await;
    for (versions, expected) in
        [(config::HttpVersions::Auto, "HTTP/1.1"), (config::HttpVersions::Http1, "HTTP/1.1"), (config::HttpVersions::Http2, "HTTP/2.0")]
    {
        let mut settings = destination(&server.url());
        settings.http = versions;
        let Delivery::Done(reply) = http(settings).deliver(&post("/a", ""), stamp("k")).await else { panic!() };
        assert_eq!(&reply.body[..], expected.as_bytes());
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    for (url, word) in [("http://0.0.0.0/", "no address of a host"), ("http://user@h/", "user name"), ("ftp://h/", "scheme")] {
        let settings = destination(url);
        let error = Http::new(&BTreeMap::from([(Arc::clone(&settings.name), settings)]), &Metrics::new()).unwrap_err().to_string();
        assert!(error.starts_with("destination `orders`: ") && error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn one_that_hangs_holds_up_no_other() {
    let hanging = Server::start(async |_, _| std::future::pending().await).await;
    let healthy = Server::start(async |_, _| status(200)).await;
    let mut slow = destination(&hanging.url());
    slow.name = "slow".into();
    slow.concurrency = config::Concurrency::Fixed(4);
    let fast = destination(&healthy.url());
    let http = Arc::new(Http::new(&[(Arc::clone(&slow.name), slow), (Arc::clone(&fast.name), fast)].into(), &Metrics::new()).unwrap());
    let mut stuck = tokio::task::JoinSet::new();
    for number in 0..100 {
        let http = Arc::clone(&http);
        stuck.spawn(async move {
            let mut request = post("/", "");
            request.destination = "slow".to_owned();
            http.deliver(&request, stamp(&number.to_string())).await
        });
    }
    for number in 0..300 {
        assert!(matches!(http.deliver(&post("/", ""), stamp(&number.to_string())).await, Delivery::Done(_)));
    }
    assert_eq!(healthy.seen().len(), 300);
    assert!(stuck.try_join_next().is_none());
    let state = http.status().into_iter().find(|state| &*state.name == "slow").unwrap();
    assert_eq!((state.in_flight, state.waiting), (4, 96));
}

#[tokio::test]
async fn recovery_is_told_by_name() {
    let server = Server::start(async |number, _| status(if number == 0 { 401 } else { 200 })).await;
    let mut settings = destination(&server.url());
    settings.breaker.open_for = Duration::from_millis(50);
    let http = http(settings);
    let Delivery::Held(name) = http.deliver(&post("/", ""), stamp("k")).await else { panic!() };
    assert_eq!(http.room("orders"), 0);
    let recovered = tokio::time::timeout(Duration::from_secs(20), http.recovered()).await.unwrap();
    assert_eq!(recovered, (name, 1));
    assert!(matches!(http.deliver(&post("/", ""), stamp("k")).await, Delivery::Done(_)));
    assert_eq!(http.room("nobody"), 0);
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_cut_and_marked() {
    let server = Server::start(async |number, _| with_body(200, vec![b'x'; 4096 + number])).await;
    let http = http(destination(&server.url()));
    for cut in [false, true] {
        let Delivery::Done(reply) = http.deliver(&post("/a", ""), stamp("k")).await else { panic!() };
        assert_eq!((reply.body.len(), reply.cut), (4096, cut));
    }
}

#[tokio::test]
async fn the_cap_has_room_for_the_results_of_a_batch() {
    // Ten results of 2 KiB each, under a cap of 4 KiB; the next time they are far more than results ought to be.
    let server = Server::start(async |number, _| {
        let result = format!("{{\"status\":200,\"message\":\"{}\"}}", "x".repeat(if number == 0 { 2 << 10 } else { 5 << 10 }));
        with_body(200, format!("[{}]", vec![result; 10].join(",")))
    })
    .await;
    let batch = crate::config::Batch {
        max: 10,
        linger: Duration::from_secs(5),
        bytes: 1 << 20,
        format: crate::config::BatchFormat::JsonArray,
        per_item: true,
        keys: true,
    };
    let http = http(crate::config::Destination { batch: Some(batch), ..destination(&server.url()) });
    for taken in [true, false] {
        let ended = futures_util::future::join_all((0..10).map(|_| async { http.deliver(&post("/a", "1"), stamp("k")).await })).await;
        for ended in ended {
            match ended {
                Delivery::Done(reply) => assert!(taken && reply.body.len() > 2048 && !reply.cut),
                Delivery::Unclear { detail, .. } => assert!(!taken && detail.contains("cut off after 45056 bytes"), "{detail}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
