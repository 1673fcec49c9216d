//! The binary's commands as a person or a script meets them: arguments and files in, exit code and words out. Needs no Kafka.
//!
//! What differs from run to run is replaced: the folder, hashes, times.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::traffic::guest;
use e2e::until;
use tokio::time::Instant;

/// What any command here may take on a busy machine. The longest waits ten seconds for a broker that is not there.
const DEADLINE: Duration = Duration::from_secs(60);

const KAFKA: &str = "[kafka]\nbrokers = \"127.0.0.1:1\"\ntopics = [\"events\"]\ngroup = \"bridge\"\ndead_letters = \"bridge.dead-letters\"\n";

const PLUGINS: &str = "[plugins]\ndirectory = \"plugins\"\ncache = \"cache\"\n";

const ORDERS: &str = "[destinations.orders]\nurl = \"http://orders.internal\"\n";

/// One call of the binary.
struct Case {
    name: &'static str,
    /// Path and content.
    files: Vec<(&'static str, Vec<u8>)>,
    arguments: Vec<&'static str>,
}

fn case(name: &'static str, arguments: &[&'static str], files: Vec<(&'static str, Vec<u8>)>) -> Case {
    Case { name, files, arguments: arguments.to_vec() }
}

/// A `keyway.toml` of these parts.
fn config(parts: &[&str]) -> (&'static str, Vec<u8>) {
    ("keyway.toml", parts.concat().into_bytes())
}

fn order() -> Vec<u8> {
    fs::read(guest("order")).unwrap()
}

/// The message of a case of the example plugin.
fn created() -> Vec<u8> {
    let case = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/rust/order/order.cases/created.json")).unwrap();
    let case: serde_json::Value = serde_json::from_slice(&case).unwrap();
    case["message"].to_string().into_bytes()
}

fn cases() -> Vec<Case> {
    let right = || vec![config(&[KAFKA, PLUGINS, ORDERS]), ("plugins/order.wasm", order())];
    let foreign = r#"(component (import "wasi:keyvalue/store@0.2.0" (instance)))"#;
    vec![
        case("check: no file", &["check"], vec![]),
        case("check: all is right", &["check"], right()),
        case(
            "check: everything is wrong at once",
            &["check"],
            vec![
                config(&[
                    &KAFKA.replace("group = \"bridge\"\n", ""),
                    PLUGINS,
                    "[lanes]\nbyte = \"1MiB\"\nrecords = \"many\"\n",
                    "[destinations.a]\nurl = \"http://a\"\nauth = { bearer = \"${env:KEYWAY_SURELY_MISSING}\" }\n",
                    "[destinations.b]\nurl = \"http://0.0.0.0/\"\n[destinations.c]\nurl = \"http://c/\"\nproxy = \"https://p/\"\n",
                ]),
                ("plugins/order.wasm", order()),
                ("plugins/shipment.wasm", b"no component".to_vec()),
            ],
        ),
        case(
            "check: plugins that cannot serve",
            &["check"],
            vec![
                config(&[KAFKA, PLUGINS, ORDERS]),
                ("plugins/core.wasm", wat::parse_str("(module)").unwrap()),
                ("plugins/foreign.wasm", wat::parse_str(foreign).unwrap()),
                ("plugins/order.wasm", order()),
                ("plugins/truncated.wasm", order()[..2_000].to_vec()),
                ("plugins/twin.wasm", order()),
                ("plugins/nobody/stray.wasm", order()),
            ],
        ),
        case("check: no plugin directory", &["check"], vec![config(&[KAFKA, PLUGINS, ORDERS])]),
        case(
            "check: a drain that the session cuts short",
            &["check"],
            vec![
                config(&[KAFKA, "[kafka.properties]\nsession.timeout.ms = 10000\n", PLUGINS, "[lanes]\ndrain = \"20s\"\n"]),
                ("plugins/order.wasm", order()),
            ],
        ),
        case("route: a key", &["route", "order:7"], right()),
        case("route: a key that nobody claims", &["route", "refund:7"], right()),
        case("route: wrong types", &["route", "order:7"], vec![config(&[KAFKA, PLUGINS, "[failures]\nunrouted = 5\n"])]),
        case("try: a record", &["try", "order", "--message", "message.json"], {
            let mut files = right();
            files.push(("message.json", created()));
            files
        }),
        case("try: a record that is rejected", &["try", "order", "--message", "message.json"], {
            let mut files = right();
            files.push(("message.json", br#"{ "key": "order:o-1", "payload": "no order" }"#.to_vec()));
            files
        }),
        case("try: no message", &["try", "order", "--message", "message.json"], right()),
        case("try: no such plugin", &["try", "ordr", "--message", "message.json"], {
            let mut files = right();
            files.push(("message.json", created()));
            files
        }),
        case("run: no file", &["run", "--config", "other.toml"], vec![]),
        case("run: unknown fields", &["run"], vec![config(&[KAFKA, PLUGINS, "[lane]\nbytes = \"1MiB\"\n"])]),
        case("run: a missing secret", &["run"], vec![config(&[KAFKA, PLUGINS, ORDERS, "auth = { bearer = \"${file:/surely/missing}\" }\n"])]),
        case("run: a destination that cannot be", &["run"], vec![config(&[KAFKA, PLUGINS, "[destinations.a]\nurl = \"http://0.0.0.0/\"\n"])]),
        case("run: an unreachable broker", &["run", "--log", "off"], right()),
        case("an unknown command", &["start"], vec![]),
    ]
}

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("keyway-commands-").tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn keyway(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyway"));
    command.args(arguments).current_dir(folder).env_remove("KEYWAY_LOG").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How it ended, and all that it wrote.
fn ended(mut child: Child) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reads = |pipe: &mut dyn std::io::Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    };
    std::thread::scope(|scope| {
        let (out, err) = (scope.spawn(|| reads(&mut out)), scope.spawn(|| reads(&mut err)));
        (wait(&mut child), out.join().unwrap(), err.join().unwrap())
    })
}

/// Its exit code; none when it had to be killed.
fn wait(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    let ended = || {
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
        }
        child.try_wait().unwrap()
    };
    until("the command to end", 2 * DEADLINE, ended).code()
}

/// Without what differs from run to run.
fn steady(text: &str, folder: &Path) -> String {
    let text = text.replace(&*folder.canonicalize().unwrap().to_string_lossy(), "FOLDER").replace(&*folder.to_string_lossy(), "FOLDER");
    let mut steady = String::new();
    for line in text.lines() {
        let cut = ["used  ", " (after ", " and its last section wants "].iter().filter_map(|from| line.find(from)).min();
        let line = cut.map_or(line, |at| &line[..at]);
        let hash =
            |word: &str| if word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) { "HASH".to_owned() } else { word.to_owned() };
        let words: Vec<String> = line.split(' ').map(hash).collect();
        writeln!(steady, "{}", words.join(" ")).unwrap();
    }
    steady
}

#[test]
fn every_command_ends_with_its_code_and_its_words() {
    let cases = cases();
    let shown: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|case| {
                scope.spawn(|| {
                    let folder = folder(&case.files);
                    let (code, out, err) = ended(keyway(folder.path(), &case.arguments));
                    let code = code.map_or("killed: it took too long".to_owned(), |code| code.to_string());
                    let (out, err) = (steady(&out, folder.path()), steady(&err, folder.path()));
                    format!("## {}\n$ keyway {}\nexit {code}\n--- stdout\n{out}--- stderr\n{err}", case.name, case.arguments.join(" "))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn an_admin_port_that_is_taken_ends_the_host_with_a_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = format!("[admin]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let folder = folder(&[config(&[KAFKA, PLUGINS, &admin]), ("plugins/order.wasm", order())]);
    let (code, out, err) = ended(keyway(folder.path(), &["run", "--log", "off"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let err = err.replace(&taken.local_addr().unwrap().to_string(), "ADDRESS");
    insta::assert_snapshot!(err, @r"
    error: failed to listen on `ADDRESS`: Address already in use (os error 98)
      hint: another host may listen there already: choose another `listen` in `[admin]`, or port 0 for any that is free
    ");
}

/// Sends SIGTERM, and gives the exit code and how long the end took.
fn terminate(mut child: Child) -> (Option<i32>, Duration) {
    let began = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    (wait(&mut child), began.elapsed())
}

#[test]
fn a_host_without_its_plugin_directory_says_so_and_waits_for_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = folder(&[config(&[KAFKA, PLUGINS, &format!("[admin]\nlisten = \"{port}\"\n")])]);
    let child = keyway(folder.path(), &["run"]);
    let reasons = until("the reason in /readyz", DEADLINE, || {
        let mut stream = std::net::TcpStream::connect(port).ok()?;
        std::io::Write::write_all(&mut stream, format!("GET /readyz HTTP/1.0\r\nHost: {port}\r\n\r\n").as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some(reply.split_once("\r\n\r\n")?.1.to_owned()).filter(|body| body.contains("plugins: `"))
    });
    assert!(reasons.starts_with("not ready\n") && reasons.contains("failed to read the plugins' directory"), "{reasons}");
    assert_eq!(terminate(child).0, Some(0));
}

#[test]
fn a_host_that_waits_for_a_broker_ends_as_soon_as_it_is_asked_to() {
    let folder = folder(&[config(&[KAFKA, PLUGINS]), ("plugins/order.wasm", order())]);
    let mut child = keyway(folder.path(), &["run"]);
    // What it logs of the broker is the sign that it waits for it.
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("127.0.0.1:1") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the host ended before it looked for a broker");
    }
    let rest = std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let (code, took) = terminate(child);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    rest.join().unwrap().unwrap();
}
