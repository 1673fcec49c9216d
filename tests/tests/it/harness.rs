//! The harness itself: what it says of the broker and of requests must be true before anything else is believed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use e2e::traffic::check;
use e2e::{Answer, Broker, Destination, Message};

#[test]
fn what_is_written_is_read_back() {
    let broker = Broker::shared();
    let topic = broker.topic("echo", 2);
    let mut messages: Vec<Message> = (0..500).map(|n| Message::new(format!("key-{}", n % 7), format!("{{\"n\":{n}}}"))).collect();
    messages[3].payload = None;
    messages[4].key = None;
    messages[5].headers = vec![("a".into(), b"1".to_vec()), ("a".into(), vec![0xff, 0])];
    broker.produce(&topic, messages.clone());
    let read = broker.read(&topic);
    assert_eq!(read.len(), 500);
    assert_eq!(broker.ends(&topic).iter().sum::<i64>(), 500);
    assert_eq!(read.iter().filter(|message| message.payload.is_none()).count(), 1);
    assert_eq!(read.iter().filter(|message| message.key.is_none()).count(), 1);
    let with_headers = read.iter().find(|message| !message.headers.is_empty()).expect("the record with headers");
    assert_eq!(with_headers.headers, messages[5].headers);
    assert_eq!(broker.committed("nobody", &topic), [None, None]);
}

#[test]
fn retention_can_be_played() {
    let broker = Broker::shared();
    let topic = broker.topic("short", 1);
    broker.produce(&topic, (0..10).map(|n| Message::new("k", format!("{n}"))));
    broker.delete_before(&topic, 0, 4);
    assert_eq!(broker.read(&topic).iter().map(|message| message.offset).collect::<Vec<_>>(), (4..10).collect::<Vec<_>>());
}

#[test]
fn requests_are_recorded_and_answered_as_told() {
    let destination = Destination::start();
    destination.answer("/broken", Answer::status(503).header("retry-after", "7").times(1));
    destination.answer("/slow", Answer::hang());
    assert!(call(&destination, "/fine").starts_with("HTTP/1.1 200"));
    let broken = call(&destination, "/broken/1");
    assert!(broken.starts_with("HTTP/1.1 503") && broken.contains("retry-after: 7"), "{broken}");
    assert!(call(&destination, "/broken/2").starts_with("HTTP/1.1 200"));
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| call(&destination, "/slow"));
        destination.await_seen("the hanging request", Duration::from_secs(10), |seen| seen.iter().any(|seen| seen.path == "/slow"));
        destination.answer("/slow", Answer::status(201).body("done"));
        let reply = hanging.join().expect("an answer");
        assert!(reply.starts_with("HTTP/1.1 201") && reply.ends_with("done"), "{reply}");
    });
    let seen = destination.seen();
    assert_eq!(seen.iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(), ["/fine", "/broken/1", "/broken/2", "/slow"]);
    assert_eq!(seen[0].idempotency_key.as_deref(), Some("k-1"));
    assert_eq!(&seen[0].body[..], b"{}");
    assert_eq!(seen[3].status, None);
}

#[test]
fn a_repeat_that_differs_in_anything_is_found() {
    let destination = Destination::start();
    let mut record = Message::new("k", "{}");
    (record.partition, record.offset) = (Some(0), 1);
    let send = |path: &str, key: &str, header: &str, body: &str| {
        let address = destination.url().trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\nX-A: {header}\r\nConnection: close\r\n\r\n{body}"
        )
        .expect("to write");
        stream.read_to_string(&mut String::new()).expect("a reply");
    };
    let key = "g/t/0/1/0";
    send("/a", key, "1", "{}");
    send("/a", key, "1", "{}");
    let same = destination.seen().clone();
    assert_eq!(check(std::slice::from_ref(&record), |_| 1, &same).repeats, 1);
    for (path, other_key, header, body) in [("/b", key, "1", "{}"), ("/a", "h/t/0/1/0", "1", "{}"), ("/a", key, "2", "{}"), ("/a", key, "1", "[]")] {
        send(path, other_key, header, body);
        let mut seen = same.clone();
        seen.extend(destination.seen().last().cloned());
        let checked = std::panic::catch_unwind(|| check(std::slice::from_ref(&record), |_| 1, &seen));
        assert!(checked.is_err(), "{path}, {other_key}, {header}, {body}");
    }
}

fn call(destination: &Destination, path: &str) -> String {
    let address = destination.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {address}\r\nIdempotency-Key: k-1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}")
        .expect("to write");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    reply
}
