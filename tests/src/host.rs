//! The real `keyway` binary under a configuration of the test's.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Broker, until};

/// What a start may take: group join, and compiling plugins on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// What an orderly end may take: drain, commit, leaving the group.
const END: Duration = Duration::from_secs(60);

/// What a host is to run with. Tables of the configuration are added as text, as a user would write them.
#[derive(Debug)]
pub struct HostBuilder {
    kafka: String,
    properties: String,
    tables: String,
    plugins: Vec<(String, PathBuf)>,
    environment: Vec<(String, String)>,
    program: Option<(PathBuf, String)>,
}

/// A running host in a folder of its own. It is killed when it is dropped.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
    admin: SocketAddr,
    environment: Vec<(String, String)>,
    program: Option<(PathBuf, String)>,
    child: Option<Child>,
}

impl Host {
    /// A host that consumes this topic in this group. The topic of its dead letters is `GROUP.dead-letters`.
    pub fn builder(broker: &Broker, topic: &str, group: &str) -> HostBuilder {
        let kafka = format!(
            "[kafka]\nbrokers = \"{}\"\ntopics = [\"{topic}\"]\ngroup = \"{group}\"\ndead_letters = \"{group}.dead-letters\"\n",
            broker.address
        );
        HostBuilder { kafka, properties: String::new(), tables: String::new(), plugins: Vec::new(), environment: Vec::new(), program: None }
    }

    /// The path of the binary: `KEYWAY_BIN`, else where this test's own build would put it.
    ///
    /// # Panics
    /// When it is not there: tests never run against nothing.
    pub fn binary() -> PathBuf {
        let binary = std::env::var_os("KEYWAY_BIN").map(PathBuf::from).unwrap_or_else(|| {
            // A test is target/PROFILE/deps/it-HASH, a folder below the binaries; the benchmark is beside them.
            let this = std::env::current_exe().expect("this program's own path");
            let folder = this.parent().expect("a folder");
            if folder.ends_with("deps") { folder.with_file_name("keyway") } else { folder.join("keyway") }
        });
        assert!(binary.is_file(), "`{}` is not built (`cargo build --release -p keyway`, or set `KEYWAY_BIN`)", binary.display());
        binary
    }

    /// The folder with `keyway.toml`, `plugins/` and `keyway.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that is watched for plugins.
    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// The process's id; none while it does not run.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process in its folder, without waiting for anything.
    ///
    /// # Panics
    /// When it runs already.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the host runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("keyway.log")).expect("a log file");
        let (program, command) = self.program.clone().unwrap_or_else(|| (Host::binary(), "run".to_owned()));
        // `setpriv` makes the kernel kill the host when the test is killed; it then becomes the host, so that the process's id stays.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args([&command, "--config", "keyway.toml"])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("`setpriv` to run");
        self.child = Some(child);
    }

    /// Starts the process again with the same folder and configuration, and waits until it is ready.
    #[track_caller]
    pub fn restart(&mut self) {
        self.launch();
        self.await_ready();
    }

    #[track_caller]
    fn await_ready(&mut self) {
        until("the host to be ready", READY, || {
            let ended = self.child.as_mut().expect("a running host").try_wait().expect("the host's status");
            assert!(ended.is_none(), "the host ended with {ended:?} before it was ready");
            self.get("/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// Ends the process with SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to end with SIGTERM, and waits for it.
    ///
    /// # Panics
    /// When it has not ended after a minute.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running host");
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("`kill` to run");
        assert!(sent.success(), "`kill -TERM` to find the host");
        until("the host to end after SIGTERM", END, || child.try_wait().expect("the host's status"))
    }

    /// Waits for a process that ends by itself.
    #[track_caller]
    pub fn await_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running host");
        until("the host to end", END, || child.try_wait().expect("the host's status"))
    }

    /// What it wrote to standard error and output so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("keyway.log")).unwrap_or_default()
    }

    /// `GET` of the admin server: status and body; none when it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.admin).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let status = reply.split(' ').nth(1)?.parse().ok()?;
        let body = reply.split_once("\r\n\r\n")?.1.to_owned();
        Some((status, body))
    }

    /// The sum of a metric's series whose labels contain all of these (`name="value"`).
    ///
    /// # Panics
    /// When `/metrics` does not answer.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.get("/metrics").expect("`/metrics` to answer");
        let series = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The most memory that the process has held, in bytes (`VmHWM`).
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// Starts another command of the binary with the same configuration, and does not wait for its end.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(Host::binary())
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`setpriv` to run");
        Running(child)
    }

    /// Runs another command of the binary with the same configuration, and gives its status, output and errors.
    pub fn command(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        let output = Command::new(Host::binary())
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("`keyway` to run");
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().expect("`kill` to run");
        assert!(sent.success(), "`kill -INT` to find the command");
    }

    /// Waits for its end, and gives its status, output and errors. What it writes must fit into a pipe.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String, String) {
        until("the command to end", END, || self.0.try_wait().expect("the command's status"));
        let output = self.0.wait_with_output().expect("its output");
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let mut tail = String::new();
            for line in &lines[lines.len().saturating_sub(60)..] {
                let _ = writeln!(tail, "{line}");
            }
            let _ = std::io::stderr().write_all(format!("--- the host's last words\n{tail}---\n").as_bytes());
        }
    }
}

impl HostBuilder {
    /// A line of `[kafka]`.
    #[must_use]
    pub fn kafka(mut self, line: &str) -> HostBuilder {
        let _ = writeln!(self.kafka, "{line}");
        self
    }

    /// A librdkafka property.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> HostBuilder {
        let _ = writeln!(self.properties, "\"{name}\" = \"{value}\"");
        self
    }

    /// A destination with these further lines.
    #[must_use]
    pub fn destination(self, name: &str, url: &str, lines: &str) -> HostBuilder {
        self.table(&format!("[destinations.{name}]\nurl = \"{url}\"\n{lines}"))
    }

    /// Any further table of the configuration, whole.
    #[must_use]
    pub fn table(mut self, text: &str) -> HostBuilder {
        let _ = writeln!(self.tables, "{text}\n");
        self
    }

    /// A plugin: this file under this path in the plugin directory.
    #[must_use]
    pub fn plugin(mut self, path: &str, file: impl Into<PathBuf>) -> HostBuilder {
        self.plugins.push((path.to_owned(), file.into()));
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> HostBuilder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another program in place of `keyway`, started as `PROGRAM COMMAND --config keyway.toml`.
    #[must_use]
    pub fn program(self, program: impl Into<PathBuf>, command: &str) -> HostBuilder {
        HostBuilder { program: Some((program.into(), command.to_owned())), ..self }
    }

    /// Writes the folder and starts the host, without waiting for anything.
    pub fn launch(self) -> Host {
        let folder = tempfile::Builder::new().prefix("keyway-host-").tempdir().expect("a temporary folder");
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).expect("a plugin directory");
        for (path, file) in &self.plugins {
            let to = plugins.join(path);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a team's folder");
            fs::copy(file, &to).unwrap_or_else(|error| panic!("copy `{}`: {error}", file.display()));
        }
        // The configuration names the port, so it cannot be left to the system; it was free a moment ago.
        let admin = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let properties = if self.properties.is_empty() { String::new() } else { format!("[kafka.properties]\n{}", self.properties) };
        let text = format!("{}{properties}\n[plugins]\ndirectory = \"plugins\"\n\n{}[admin]\nlisten = \"{admin}\"\n", self.kafka, self.tables);
        fs::write(folder.path().join("keyway.toml"), text).expect("a configuration");
        let mut host = Host { folder, admin, environment: self.environment, program: self.program, child: None };
        host.launch();
        host
    }

    /// Writes the folder, starts the host and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Host {
        let mut host = self.launch();
        host.await_ready();
        host
    }
}
