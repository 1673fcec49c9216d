use std::net::TcpListener;

use clap::Parser;

use super::testing::{Served, well};
use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    running: Running,
}

fn find(arguments: &[&str]) -> Result<Admin, String> {
    let command = Command::try_parse_from([&["keyway"], arguments].concat()).map_err(|error| error.to_string())?;
    command.running.find().map_err(|exit| format!("{exit:?}"))
}

fn from_config(text: &str) -> Result<Admin, Unanswered> {
    let listen = text.parse().unwrap();
    configured(Some(&config::Admin { listen, token: Some(crate::policy::SecretText::known("t")) }), Path::new("keyway.toml"))
}

#[test]
fn a_host_is_found_by_its_configuration_or_its_address() {
    assert_eq!(find(&["--admin", "http://10.0.0.7:8484"]).map(|admin| admin.base.to_string()), Ok("http://10.0.0.7:8484/".to_owned()));
    for (listen, base) in [("127.0.0.1:8484", "127.0.0.1:8484"), ("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("[fe80::1]:3", "[fe80::1]:3")]
    {
        let admin = from_config(listen).unwrap();
        assert_eq!(admin.base.as_str(), format!("http://{base}/"), "{listen}");
        assert_eq!(admin.token.unwrap().expose(), "t");
    }
}

#[test]
fn what_does_not_lead_to_a_host_is_said() {
    assert!(find(&["--admin", "http://a:1", "--config", "x.toml"]).unwrap_err().contains("cannot be used with"));
    for wrong in ["https://a:1", "a:1", "http://a:1/api", "http://user@a:1", "http://a:1/?x", "127.0.0.1:8484"] {
        assert!(find(&["--admin", wrong]).unwrap_err().contains("expected"), "{wrong}");
    }
    assert_eq!(find(&["--config", "/nowhere/keyway.toml"]).unwrap_err(), "Usage");
    assert!(from_config("127.0.0.1:0").unwrap_err().cause.contains("leaves the admin server's port to the system"));
    let silent = configured(None, Path::new("keyway.toml")).unwrap_err();
    assert!(silent.cause.contains("has no `[admin]`") && silent.hint.unwrap().contains("listen = "));
}

#[tokio::test]
async fn who_shows_no_token_or_a_wrong_one_is_told_what_to_do() {
    let served = Served::start(well(), Some("right"));
    let (answer, _) = served.admin(Some("right")).status(Method::GET, "/api/status").await.unwrap();
    assert_eq!(answer["host"]["group"], "bridge");
    for (token, hint) in [(None, "KEYWAY_TOKEN"), (Some("wrong"), "not the host's")] {
        let error = served.admin(token).status(Method::GET, "/api/status").await.unwrap_err();
        assert!(error.cause.contains("a token is needed") && error.hint.as_deref().unwrap().contains(hint), "{error:?}");
    }
    let error = served.admin(Some("right")).ask::<Value>(Method::GET, "/api/else", &[]).await.unwrap_err();
    assert!(error.cause.contains("there are `/`"), "{error:?}");
}

#[tokio::test]
async fn what_is_no_host_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
    });
    let error = Admin::at(address, None).status(Method::GET, "/api/status").await.unwrap_err();
    assert!(error.cause.contains("not understood"), "{error:?}");
    other.join().unwrap();
    // Bound, so that nobody else gets the port, and not listening.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = Admin::at(nobody.local_addr().unwrap(), None).status(Method::GET, "/api/status").await.unwrap_err();
    assert!(error.cause.contains("cannot be reached") && error.hint.as_deref() == Some("does the host run?"), "{error:?}");
}
