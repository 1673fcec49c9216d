//! Components, a loader and a host for the tests: the directory and its files are real, the code is a line of text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Handle, PluginStatus, Rehearse, Setup, State, Status, TrustedKeys, watcher};
use crate::outcome::{Failure, Reason, Verdict};
use crate::plugin::{Candidate, Description, Load, Loaded, Plugin, Refusal, Tier};
use crate::policy::{Grant, Limits};
use crate::record::Record;

/// A component in its outer form: a header, and a section that holds `text` and enough besides to be copied in pieces.
pub(super) fn component(text: &str) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(b"fake");
    body.extend(text.as_bytes());
    body.resize(600, b'\n');
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    bytes.extend([(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8]);
    bytes.extend(body);
    bytes
}

/// The same with a megabyte behind it.
pub(super) fn large(text: &str) -> Vec<u8> {
    const MEBIBYTE: usize = 1 << 20;
    let mut bytes = component(text);
    // A custom section without a name; the length takes three bytes.
    bytes.extend([0, 0x81, 0x80, 0x40, 0]);
    bytes.resize(bytes.len() + MEBIBYTE, 0);
    bytes
}

/// Loads a component by what its text says: `compile` must be compiled before, which takes until [`FakeLoad::compiler`] has a permit for it; `keys a b` describes these keys, `refuse why` refuses, `panic` panics, `fault` faults when called,
/// `picky` is refused until [`FakeLoad::content`] is set.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeLoad {
    pub(super) content: Arc<AtomicBool>,
    pub(super) compiler: Arc<Compiler>,
}

/// A compiler that waits.
#[derive(Debug)]
pub(super) struct Compiler {
    /// Each compilation takes one, and keeps it.
    pub(super) permits: Semaphore,
    /// Those that have begun, done or not.
    pub(super) begun: watch::Sender<usize>,
    compiled: Mutex<BTreeSet<Bytes>>,
}

impl Default for Compiler {
    fn default() -> Compiler {
        Compiler { permits: Semaphore::new(0), begun: watch::Sender::new(0), compiled: Mutex::default() }
    }
}

impl Load for FakeLoad {
    type Code = String;

    async fn must_compile(&self, component: &Bytes) -> Result<bool, Refusal> {
        let wants = String::from_utf8_lossy(component).contains("fakecompile");
        Ok(wants && !self.compiler.compiled.lock().unwrap().contains(component))
    }

    async fn prepare(&self, component: &Bytes) -> Result<(), Refusal> {
        self.compiler.begun.send_modify(|begun| *begun += 1);
        self.compiler.permits.acquire().await.unwrap().forget();
        self.compiler.compiled.lock().unwrap().insert(component.clone());
        Ok(())
    }

    async fn load(&self, candidate: &Candidate) -> Result<Loaded<String>, Refusal> {
        let refused = |cause: &str| Err(Refusal { cause: cause.to_owned(), hint: None });
        assert!(!self.must_compile(&candidate.component).await?, "loading takes no compiling");
        let bytes = String::from_utf8_lossy(&candidate.component);
        let Some((_, text)) = bytes.split_once("fake") else { return Ok(loaded(&bytes, None)) };
        let text = text.lines().next().unwrap_or_default();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "refuse" => refused(rest),
            "picky" if !self.content.load(Ordering::Relaxed) => refused("not now"),
            "panic" => panic!("as the test wants it"),
            "keys" => Ok(loaded(text, Some(rest.split(' ').map(str::to_owned).collect()))),
            _ => Ok(loaded(text, None)),
        }
    }
}

fn loaded(text: &str, keys: Option<Vec<String>>) -> Loaded<String> {
    let description = keys.map(|keys| Description { name: "fake".into(), version: "1".into(), keys, settings_schema: None });
    Loaded { code: text.to_owned(), description, sees_replies: false, tier: Tier::Pure, closed: Vec::new() }
}

/// Skips every record with the component's text as the reason.
#[derive(Debug, Clone, Copy)]
pub(super) struct FakeCalls;

impl Rehearse<String> for FakeCalls {
    async fn rehearse(&self, plugin: &Plugin<String>, _record: &Record) -> Result<Verdict, Failure> {
        match plugin.code.as_str() {
            "fault" => Err(Failure::new(Reason::Trapped, "unreachable")),
            text => Ok(Verdict::Skip(text.to_owned())),
        }
    }
}

/// A setup with the teams `default` (everything) and `payments` (`payment:*`).
pub(super) fn setup(directory: &Path, trusted_keys: TrustedKeys) -> Setup {
    let grant = |team: &str, key: &str| {
        let grant = Grant { keys: vec![key.into()], ..Grant::everything(team, Limits::default()) };
        (Arc::from(team), Arc::new(grant))
    };
    let teams = BTreeMap::from([grant("default", "*"), grant("payments", "payment:*")]);
    Setup { directory: directory.to_owned(), teams, trusted_keys }
}

/// What serves, at each change: name and code.
type Served = Vec<(String, String)>;

/// A watcher at work on a folder.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) root: PathBuf,
    pub(super) handle: Handle,
    pub(super) load: FakeLoad,
    served: Arc<Mutex<Vec<Served>>>,
    plugins: Arc<Mutex<Vec<Arc<Plugin<String>>>>>,
    _folder: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

/// Longer than anything takes on a busy machine, shorter than the slow look: what is waited for must come by events.
const DEADLINE: Duration = Duration::from_secs(9);

impl Host {
    /// Starts on a folder that `fill` has filled; it is given the plugins' directory, which is not there yet.
    pub(super) fn start(fill: impl FnOnce(&Path)) -> Host {
        Host::start_with(TrustedKeys::default(), true, fill)
    }

    /// As [`Host::start`] with trusted keys, and with or without a system that tells of changes.
    pub(super) fn start_with(keys: TrustedKeys, events: bool, fill: impl FnOnce(&Path)) -> Host {
        Host::begin(keys, events, false, fill)
    }

    /// As [`Host::start`], as the host itself does it.
    pub(super) fn on_a_thread(fill: impl FnOnce(&Path)) -> Host {
        Host::begin(TrustedKeys::default(), true, true, fill)
    }

    fn begin(keys: TrustedKeys, events: bool, own_thread: bool, fill: impl FnOnce(&Path)) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("plugins");
        fill(&root);
        let (load, stop) = (FakeLoad::default(), CancellationToken::new());
        let (served, plugins) = (Arc::<Mutex<Vec<Served>>>::default(), Arc::<Mutex<Vec<Arc<Plugin<String>>>>>::default());
        let (to_served, to_plugins) = (Arc::clone(&served), Arc::clone(&plugins));
        let publish = move |serving: &[Arc<Plugin<String>>]| {
            to_served.lock().unwrap().push(serving.iter().map(|plugin| (plugin.name.to_string(), plugin.code.clone())).collect());
            *to_plugins.lock().unwrap() = serving.to_vec();
        };
        let (mut watcher, handle) = watcher(setup(&root, keys), load.clone(), FakeCalls, publish);
        if !events {
            watcher.without_events();
        }
        if own_thread {
            watcher.start(stop.clone()).unwrap();
        } else {
            tokio::spawn(watcher.run(stop.clone()));
        }
        Host { root, handle, load, served, plugins, _folder: folder, _stop: stop.drop_guard() }
    }

    /// As [`Host::start`] with these files in the directory, when it is ready.
    pub(super) async fn with(files: &[(&str, &[u8])]) -> Host {
        let host = Host::start(|root| {
            for (name, bytes) in files {
                write(&root.join(name), bytes);
            }
        });
        host.until("ready", |status| status.ready).await;
        host
    }

    /// Waits until the status is so.
    pub(super) async fn until(&self, what: &str, so: impl FnMut(&Status) -> bool) -> Arc<Status> {
        let mut changes = self.handle.changes();
        let mut so = so;
        let waited = timeout(DEADLINE, changes.wait_for(|status| so(status))).await.map(|found| found.map(|status| Arc::clone(&status)));
        match waited {
            Ok(Ok(status)) => status,
            other => panic!("not {what} in time ({other:?}): {:#?}", self.handle.status()),
        }
    }

    /// Waits until so many compilations have begun.
    pub(super) async fn compiling(&self, count: usize) {
        let mut begun = self.load.compiler.begun.subscribe();
        let waited = timeout(DEADLINE, begun.wait_for(|begun| *begun == count)).await.is_ok();
        assert!(waited, "{} of {count} have begun: {:#?}", *self.load.compiler.begun.borrow(), self.handle.status());
    }

    /// Waits until this code serves under this name.
    pub(super) async fn serves(&self, name: &str, code: &str) {
        self.until(&format!("{name} served by {code}"), |_| self.code(name).as_deref() == Some(code)).await;
    }

    /// Waits until the last that happened to a plugin is this, and returns the reason.
    pub(super) async fn reaches(&self, name: &str, state: State) -> String {
        let status = self.until(&format!("{name} {}", state.as_str()), |status| status.state(name) == Some(state)).await;
        status.plugin(name).versions[0].reason.clone().unwrap_or_default()
    }

    /// Waits for a look at everything that began after now.
    pub(super) async fn looked(&self) {
        let request = self.handle.ask();
        self.until("looked", |status| status.answered >= request).await;
    }

    /// The code that serves under this name.
    pub(super) fn code(&self, name: &str) -> Option<String> {
        self.plugin(name).map(|plugin| plugin.code.clone())
    }

    /// The plugin that serves under this name.
    pub(super) fn plugin(&self, name: &str) -> Option<Arc<Plugin<String>>> {
        self.plugins.lock().unwrap().iter().find(|plugin| plugin.name.as_str() == name).cloned()
    }

    /// All that ever served under this name, one entry for each change of the routes.
    pub(super) fn history(&self, name: &str) -> Vec<Option<String>> {
        let of = |served: &Served| served.iter().find(|(other, _)| other == name).map(|(_, code)| code.clone());
        self.served.lock().unwrap().iter().map(of).collect()
    }

    /// Writes a file and renames it into place.
    pub(super) fn deploy(&self, name: &str, bytes: &[u8]) {
        let (path, beside) = (self.root.join(name), self.root.join(format!("{name}.tmp")));
        write(&beside, bytes);
        fs::rename(&beside, &path).unwrap();
    }
}

/// Writes a file, and the folders above it.
pub(super) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

impl Status {
    /// The plugin of this name.
    pub(super) fn plugin(&self, name: &str) -> &PluginStatus {
        self.plugins.iter().find(|plugin| plugin.name == name).unwrap()
    }

    /// The last that happened to it.
    pub(super) fn state(&self, name: &str) -> Option<State> {
        let plugin = self.plugins.iter().find(|plugin| plugin.name == name)?;
        plugin.versions.first().map(|version| version.state)
    }
}
