//! A real Kafka for the tests: one KRaft node on loopback, once per process.
//!
//! Taken from `KEYWAY_TEST_BROKERS` if that is set; else Kafka's own jars, fetched by Maven once and kept outside the tree; else a Docker
//! engine if one answers; else a failure that names all three. Never a silent skip.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::until;

/// What Maven fetches; `scripts/setup.sh` reads the version in it too.
const POM: &str = include_str!("../kafka/pom.xml");

/// How long a Docker engine may take to say that it is there.
const DOCKER_ANSWERS_WITHIN: &str = "10s";

/// A JVM's start on two busy cores takes some 10 s; this is what it may take before something is wrong.
const START: Duration = Duration::from_secs(90);

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    /// `host:port`, comma-separated.
    pub address: String,
    /// What ends the broker when this process ends; none for a broker that was there before.
    _guard: Option<Child>,
}

impl Broker {
    /// A broker that was there before, or that somebody else ends.
    pub fn at(address: impl Into<String>) -> Broker {
        Broker { address: address.into(), _guard: None }
    }

    /// The broker of this process, started when first asked for.
    ///
    /// # Panics
    /// When there is no way to get one, with every way that was tried and what it lacks.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| match start() {
            Ok(broker) => broker,
            Err(problem) => panic!("no Kafka to test on: {problem}"),
        })
    }
}

impl Broker {
    /// A broker of the test's own, with settings that cannot be changed while it runs. It costs a start of ten seconds.
    ///
    /// # Panics
    /// When there is no way to get one.
    pub fn own(settings: &[(&str, &str)]) -> Broker {
        match start_new(settings) {
            Ok(broker) => broker,
            Err(problem) => panic!("no Kafka to test on: {problem}"),
        }
    }
}

fn start() -> Result<Broker, String> {
    match std::env::var("KEYWAY_TEST_BROKERS") {
        Ok(address) => Ok(Broker::at(address)),
        Err(_) => start_new(&[]).map_err(|problem| format!("`KEYWAY_TEST_BROKERS` is not set; {problem}")),
    }
}

fn start_new(further: &[(&str, &str)]) -> Result<Broker, String> {
    let jars = match jars() {
        Ok(jars) => jars,
        Err(no_jars) if answers("timeout", &[DOCKER_ANSWERS_WITHIN, "docker", "info"]) => {
            return in_docker(further).map_err(|problem| format!("{no_jars}; and in Docker: {problem}"));
        }
        Err(no_jars) => return Err(format!("{no_jars}; and no Docker engine answers `docker info`")),
    };
    from_jars(&jars, further)
}

/// Kafka's version; a part of the cache's path, so that a new one is fetched anew.
fn version() -> &'static str {
    let version = POM.split_once("<kafka>").and_then(|(_, rest)| rest.split_once("</kafka>")).map(|(version, _)| version);
    version.expect("a version in `tests/kafka/pom.xml`")
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The folder with Kafka's jars, fetched if it is not there yet.
fn jars() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .ok_or("neither `XDG_CACHE_HOME` nor `HOME` says where to keep Kafka's jars")?;
    let jars = cache.join("keyway").join(format!("kafka-{}", version()));
    if !answers("java", &["-version"]) {
        return Err("`java` does not run (`apt-get install openjdk-17-jre-headless`)".into());
    }
    if jars.is_dir() {
        return Ok(jars);
    }
    if !answers("mvn", &["-version"]) {
        return Err("`mvn` does not run (`apt-get install maven`)".into());
    }
    // Fetched next to its place and then renamed, so that what is there is whole, also when two processes fetch at once.
    let partial = cache.join("keyway").join(format!("kafka-{}.{}.partial", version(), std::process::id()));
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
    let fetched = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("run `mvn`: {error}"))?;
    if !fetched.status.success() {
        let _ = fs::remove_dir_all(&partial);
        return Err(format!("`mvn` could not fetch Kafka {}: {}", version(), String::from_utf8_lossy(&fetched.stdout).trim()));
    }
    match fs::rename(&partial, &jars) {
        Ok(()) => Ok(jars),
        Err(_) if jars.is_dir() => {
            let _ = fs::remove_dir_all(&partial);
            Ok(jars)
        }
        Err(error) => Err(format!("move Kafka's jars to `{}`: {error}", jars.display())),
    }
}

/// A port that was free a moment ago. Kafka must be told its ports before it starts, so they cannot be left to the system.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("bind a free port: {error}"))?;
    Ok(listener.local_addr().map_err(|error| format!("bind a free port: {error}"))?.port())
}

/// Runs in a shell that ends the broker and removes its data when the pipe to its standard input closes, which is when this process ends in
/// whatever way.
const WATCH: &str = r#"
trap '' INT TERM HUP
data=$1; shift
"$@" >"$data/kafka.log" 2>&1 </dev/null &
echo started
cat >/dev/null
kill -9 $!
wait
rm -rf "$data"
"#;

fn from_jars(jars: &Path, further: &[(&str, &str)]) -> Result<Broker, String> {
    let data = tempfile::Builder::new().prefix("keyway-kafka-").tempdir().map_err(|error| format!("make a temporary folder: {error}"))?.keep();
    let (port, controller) = (free_port()?, free_port()?);
    let further: String = further.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let settings = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}/log\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n\
         num.partitions=1\n\
         {further}",
        data.display()
    );
    let file = data.join("server.properties");
    fs::write(&file, settings).map_err(|error| format!("write `{}`: {error}", file.display()))?;
    let class_path = format!("{}/*", jars.display());
    let format = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp", &class_path, "kafka.tools.StorageTool", "format", "-t", "a2V5d2F5LXRlc3QtMDAwMQ", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("run `java`: {error}"))?;
    if !format.status.success() {
        return Err(format!("Kafka could not format its storage: {}", String::from_utf8_lossy(&format.stderr).trim()));
    }
    let mut guard = Command::new("sh")
        .args(["-c", WATCH, "sh"])
        .arg(&data)
        .args(["java", "-Xms256m", "-Xmx1g", "-XX:+UseSerialGC", "-cp", &class_path, "kafka.Kafka"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("run `sh`: {error}"))?;
    await_started(&mut guard)?;
    let address = format!("127.0.0.1:{port}");
    await_answer(&address);
    Ok(Broker { address, _guard: Some(guard) })
}

/// The same node from the project's image, for machines without a JDK.
fn in_docker(further: &[(&str, &str)]) -> Result<Broker, String> {
    let port = free_port()?;
    let name = format!("keyway-test-{}-{port}", std::process::id());
    let settings = [
        "KAFKA_PROCESS_ROLES=broker,controller".to_owned(),
        "KAFKA_NODE_ID=1".to_owned(),
        "KAFKA_CONTROLLER_QUORUM_VOTERS=1@127.0.0.1:9093".to_owned(),
        "KAFKA_LISTENERS=PLAINTEXT://:9092,CONTROLLER://127.0.0.1:9093".to_owned(),
        format!("KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:{port}"),
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER".to_owned(),
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1".to_owned(),
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1".to_owned(),
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1".to_owned(),
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0".to_owned(),
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE=false".to_owned(),
    ];
    let mut run = Command::new("docker");
    run.args(["run", "--detach", "--rm", "--name", &name, "--publish", &format!("127.0.0.1:{port}:9092")]);
    // The image's way of naming any setting.
    let further = further.iter().map(|(name, value)| format!("KAFKA_{}={value}", name.to_uppercase().replace('.', "_")));
    for setting in settings.into_iter().chain(further) {
        run.args(["--env", &setting]);
    }
    let started = run.arg(format!("apache/kafka:{}", version())).stdin(Stdio::null()).output().map_err(|error| format!("run `docker`: {error}"))?;
    if !started.status.success() {
        return Err(String::from_utf8_lossy(&started.stderr).trim().to_owned());
    }
    let mut guard = Command::new("sh")
        .args(["-c", "trap '' INT TERM HUP; echo started; cat >/dev/null; docker rm --force \"$1\" >/dev/null 2>&1", "sh", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("run `sh`: {error}"))?;
    await_started(&mut guard)?;
    let address = format!("127.0.0.1:{port}");
    await_answer(&address);
    Ok(Broker { address, _guard: Some(guard) })
}

/// Waits for the shell's word that it watches, so that there is no moment in which the broker runs unwatched.
fn await_started(guard: &mut Child) -> Result<(), String> {
    let output = guard.stdout.take().ok_or("the watching shell has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|error| format!("read from the watching shell: {error}"))?;
    if line.trim() == "started" { Ok(()) } else { Err("the watching shell ended at once".into()) }
}

fn await_answer(address: &str) {
    until(&format!("the broker to listen on {address}"), START, || TcpStream::connect(address).ok());
    until(&format!("the broker on {address} to answer"), START, || crate::kafka::answers(address).then_some(()));
}
