//! What the commands that speak with a running host share: where its admin server is, what it is shown, and how it is asked.
//!
//! Owns one request at a time, over plain HTTP as the admin server speaks it, each with a deadline. Refuses to know what the answers mean.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::{ConfigFile, Exit, block_on, show_error};
use crate::config;
use crate::observe::Status;
use crate::policy::Secret;

/// The token where there is no configuration that names one. Not an argument, which everybody on the machine could read.
const TOKEN: &str = "KEYWAY_TOKEN";

/// Until a connection stands. A host answers on a thread that does nothing else, so this is for the network.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Until the whole answer is here; above the 90 s that the server gives a connection, so that the server says first what took long.
const ANSWER_WITHIN: Duration = Duration::from_secs(100);

/// Bytes of an answer. A thousand plugins with eight versions each are a few megabytes.
const ANSWER_MAX: usize = 64 << 20;

/// Which host is spoken with.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// The host's configuration file, whose `[admin]` says where it listens and with what token [default: keyway.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the host listens, such as `http://10.0.0.7:8484`, in place of a configuration; its token is taken from KEYWAY_TOKEN
    #[arg(long, value_name = "URL", conflicts_with = "config", value_parser = base)]
    admin: Option<Url>,
}

/// A host's admin server.
#[derive(Debug)]
pub(super) struct Admin {
    base: Url,
    token: Option<Secret>,
}

/// What the server says where it does not do what it was asked.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// Why there is no answer, and what could be done.
#[derive(Debug)]
pub(super) struct Unanswered {
    cause: String,
    hint: Option<String>,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl Running {
    /// Asks the host that is meant; what is wrong goes to standard error.
    pub(super) fn ask(self, question: impl AsyncFnOnce(&Admin) -> Result<Exit, Unanswered>) -> Exit {
        match self.find() {
            Ok(admin) => block_on(async { question(&admin).await.unwrap_or_else(|error| error.show(Exit::Failed)) }),
            Err(exit) => exit,
        }
    }

    fn find(self) -> Result<Admin, Exit> {
        let found = match self.admin {
            Some(base) => Ok(Admin { base, token: std::env::var(TOKEN).ok().map(Secret::new) }),
            None => {
                let config = self.config.unwrap_or_else(|| PathBuf::from("keyway.toml"));
                configured(ConfigFile { config: config.clone() }.load()?.admin.as_ref(), &config)
            }
        };
        found.map_err(|error| error.show(Exit::Usage))
    }
}

/// The server that a configuration names.
fn configured(admin: Option<&config::Admin>, file: &Path) -> Result<Admin, Unanswered> {
    let Some(admin) = admin else {
        return Err(Unanswered {
            cause: format!("`{}` has no `[admin]`, so its host cannot be asked", file.display()),
            hint: Some("add `listen = \"127.0.0.1:8484\"` to `[admin]`, or name another host with `--admin URL`".to_owned()),
        });
    };
    let listen = reachable(admin.listen);
    if listen.port() == 0 {
        return Err(Unanswered {
            cause: format!("`{}` leaves the admin server's port to the system", file.display()),
            hint: Some("the host logs where it listens; name it with `--admin URL`".to_owned()),
        });
    }
    let base = base(&format!("http://{listen}")).map_err(|cause| Unanswered { cause, hint: None })?;
    let token = admin.token.as_ref().map(|token| token.resolve());
    let token = token.transpose().map_err(|error| Unanswered { cause: format!("failed to read `admin.token`: {error}"), hint: None })?;
    Ok(Admin { base, token })
}

/// One who listens everywhere is reached on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The base of the admin server's paths.
fn base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("expected a URL such as `http://127.0.0.1:8484`: {error}"))?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none() && url.path() == "/";
    if url.scheme() != "http" || url.host().is_none() || !bare {
        return Err("expected `http://HOST:PORT` and nothing more: the admin server speaks plain HTTP".to_owned());
    }
    Ok(url)
}

impl Admin {
    #[cfg(test)]
    pub(super) fn at(address: SocketAddr, token: Option<&str>) -> Admin {
        Admin { base: base(&format!("http://{address}")).unwrap(), token: token.map(Secret::new) }
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<T, Unanswered> {
        let mut url = self.base.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let (status, body) = match timeout(ANSWER_WITHIN, self.send(method, &url)).await {
            Ok(answered) => answered?,
            Err(_) => return Err(self.fails(format!("no whole answer within {} s", ANSWER_WITHIN.as_secs()), None)),
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| self.strange(&error));
        }
        let words = serde_json::from_slice::<Refused>(&body).map_or_else(|_| status.to_string(), |refused| refused.error);
        let hint = (status == StatusCode::UNAUTHORIZED).then(|| {
            if self.token.is_some() {
                "the token is not the host's".to_owned()
            } else {
                format!("set {TOKEN}, or name the host's configuration with `--config FILE`")
            }
        });
        Err(self.fails(words, hint))
    }

    /// Asks for a status: as it came, for whoever wants all of it, and as far as this version knows it.
    pub(super) async fn status(&self, method: Method, path: &str) -> Result<(Value, Status), Unanswered> {
        let answer: Value = self.ask(method, path, &[]).await?;
        match Status::deserialize(&answer) {
            Ok(status) => Ok((answer, status)),
            Err(error) => Err(self.strange(&error)),
        }
    }

    async fn send(&self, method: Method, url: &Url) -> Result<(StatusCode, Bytes), Unanswered> {
        let authority = url.authority().to_owned();
        let failed = |error: &dyn fmt::Display| self.fails(error.to_string(), None);
        let unreachable = |error: &dyn fmt::Display| self.fails(format!("it cannot be reached: {error}"), Some("does the host run?".to_owned()));
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let connecting = TcpStream::connect((host, url.port_or_known_default().unwrap_or(80)));
        let stream = match timeout(CONNECT_WITHIN, connecting).await {
            Ok(stream) => stream.map_err(|error| unreachable(&error))?,
            Err(_) => return Err(unreachable(&format!("no connection within {} s", CONNECT_WITHIN.as_secs()))),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let connection = tokio::spawn(connection);
        let target = &url[url::Position::BeforePath..];
        let mut request = Request::builder().method(method).uri(target).header(HOST, authority);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| failed(&error))?.to_bytes();
        connection.abort();
        Ok((status, body))
    }

    fn strange(&self, error: &serde_json::Error) -> Unanswered {
        self.fails(format!("its answer is not understood: {error}"), Some("does a Keyway host of this version listen there?".to_owned()))
    }

    fn fails(&self, cause: String, hint: Option<String>) -> Unanswered {
        Unanswered { cause: format!("failed to ask the host at `{}`: {cause}", self.base.as_str().trim_end_matches('/')), hint }
    }
}

impl Unanswered {
    /// Writes it to standard error.
    fn show(&self, exit: Exit) -> Exit {
        show_error(self, self.hint.as_deref());
        exit
    }
}

/// One line with nothing in it that a terminal would obey: what a plugin or a destination says of itself comes from anywhere.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
