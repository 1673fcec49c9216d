use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::testing::{Server, destination, http, post, stamp, with_body};
use super::super::{Deliver, Delivery};
use super::*;
use crate::config::{Destination, HttpVersions, Proxy};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/deliver/certificates").join(name)
}

/// A server of one authority, `""` or `"other-"`, which may want a client of the same.
fn acceptor(authority: &str, wants_client: bool) -> TlsAcceptor {
    let file = |name: &str| file(&format!("{authority}{name}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = if wants_client {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&file("ca.pem")).unwrap().remove(0)).unwrap();
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let mut config = builder.with_single_cert(certificates(&file("server.pem")).unwrap(), key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn server(wants_client: bool) -> Server {
    server_of("", wants_client).await
}

async fn server_of(authority: &str, wants_client: bool) -> Server {
    Server::start_behind(Some(acceptor(authority, wants_client)), async |_, seen| with_body(200, format!("{:?}", seen.version))).await
}

fn over_tls(server: &Server, tls: Tls) -> Destination {
    let mut settings = destination(&format!("https://localhost:{}/api", server.address.port()));
    settings.tls = tls;
    settings.retry.attempts = 1;
    settings
}

fn trusting() -> Tls {
    Tls { ca: Some(file("ca.pem")), client_certificate: None, client_key: None }
}

async fn send(settings: Destination) -> Result<String, String> {
    match http(settings).deliver(&post("/a", "{}"), stamp("k")).await {
        Delivery::Done(reply) => Ok(String::from_utf8(reply.body.to_vec()).unwrap()),
        Delivery::Exhausted { detail, .. } => Err(detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_authority_of_ones_own() {
    let server = server(false).await;
    for (versions, expected) in [(HttpVersions::Auto, "HTTP/2.0"), (HttpVersions::Http1, "HTTP/1.1"), (HttpVersions::Http2, "HTTP/2.0")] {
        assert_eq!(send(Destination { http: versions, ..over_tls(&server, trusting()) }).await.unwrap(), expected);
    }
    // The literal of the address is in the certificate too.
    let mut literal = over_tls(&server, trusting());
    literal.url = format!("https://{}", server.address).parse().unwrap();
    assert!(send(literal).await.is_ok());
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_not_called() {
    let server = server(false).await;
    let error = send(over_tls(&server, Tls { ca: Some(file("client.pem")), ..Tls::default() })).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = server(false).await;
    let mut settings = over_tls(&server, trusting());
    settings.url = format!("https://other.localhost:{}", server.address.port()).parse().unwrap();
    // Where the system does not resolve names below `localhost` there is no connection either.
    assert!(send(settings).await.is_err());
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn mutual() {
    let server = server(true).await;
    let both = Tls { client_certificate: Some(file("client.pem")), client_key: Some(file("client.key")), ..trusting() };
    assert_eq!(send(over_tls(&server, both)).await.unwrap(), "HTTP/2.0");
    assert!(send(over_tls(&server, trusting())).await.is_err());
    assert_eq!(server.seen().len(), 1);
}

/// Forwards each connection to the server that is meant at that time.
async fn relay(to: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let to = *to.lock().unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                // Ends when either side goes away.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_and_keys_are_followed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    let install = |authority: &str| {
        for name in ["ca.pem", "client.pem", "client.key"] {
            std::fs::copy(file(&format!("{authority}{name}")), here("new")).unwrap();
            std::fs::rename(here("new"), here(name)).unwrap();
        }
    };
    install("");
    let (old, new) = (server(true).await, server_of("other-", true).await);
    let to = Arc::new(Mutex::new(old.address));
    let mut settings = destination(&format!("https://localhost:{}/api", relay(Arc::clone(&to)).await.port()));
    settings.tls = Tls { ca: Some(here("ca.pem")), client_certificate: Some(here("client.pem")), client_key: Some(here("client.key")) };
    settings.retry.attempts = 1;
    let http = http(settings);
    let send = async || matches!(http.deliver(&post("/a", "{}"), stamp("k")).await, Delivery::Done(_));
    let until_sent = async || {
        let sent = async {
            while !send().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), sent).await.expect("the files to be followed");
    };
    assert!(send().await);
    *to.lock().unwrap() = new.address;
    drop(old);
    assert!(!send().await, "the other authority is not trusted yet, nor is the client by it");
    // One after another, as they come: a certificate with another's key is no reason to give up.
    install("other-");
    until_sent().await;
}

#[test]
fn files_that_cannot_be_used_are_named() {
    for (tls, word) in [
        (Tls { ca: Some("/nowhere".into()), ..Tls::default() }, "/nowhere"),
        (Tls { ca: Some(file("client.key")), ..Tls::default() }, "client.key"),
        (Tls { client_certificate: Some(file("client.pem")), ..trusting() }, "together"),
        (Tls { client_certificate: Some(file("client.pem")), client_key: Some(file("client.pem")), ..trusting() }, "client.pem"),
        (Tls { client_certificate: Some(file("client.pem")), client_key: Some(file("server.key")), ..trusting() }, "server.key"),
    ] {
        let error = client_config(&tls, false).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

/// A forward proxy that takes one `CONNECT` and says what it was asked.
async fn proxy() -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(client.read_u8().await.unwrap());
        }
        let asked = String::from_utf8(asked).unwrap();
        // Only the port is looked at: the name may be one that nobody else can resolve.
        let port: u16 = asked.split_whitespace().nth(1).unwrap().rsplit(':').next().unwrap().parse().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // Ends when either side goes away.
        let _ = copy_bidirectional(&mut client, &mut server).await;
        asked
    });
    (address, task)
}

#[tokio::test]
async fn through_a_proxy_only_if_told() {
    let server = server(false).await;
    let (address, asked) = proxy().await;
    let mut settings = over_tls(&server, trusting());
    settings.proxy = Some(Proxy(format!("http://me:pass%20word@{address}").parse().unwrap()));
    assert_eq!(send(settings).await.unwrap(), "HTTP/2.0");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.address.port())), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic bwu6cgfzcyb3b3jk"), "{asked}");
    let mut settings = over_tls(&server, trusting());
    settings.proxy = Some(Proxy("socks5://127.0.0.1:1".parse().unwrap()));
    let error = super::super::Http::new(&[(Arc::clone(&settings.name), settings)].into(), &crate::observe::Metrics::new()).unwrap_err();
    assert!(error.to_string().contains("socks5"), "{error}");
}
