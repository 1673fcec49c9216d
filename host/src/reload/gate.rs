//! The gate: what a version must pass before it may serve. Runs beside the path of records, and whatever it refuses leaves no trace there.

mod claims;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::claims::{claims, limits, own_name};
use super::cases::Case;
use super::places::{CompilePlaces, Places};
use super::read::{Digest, Inputs, Unread, read};
use super::scan::Found;
use super::signature::TrustedKeys;
use crate::config::{Config, Plugins, parse_sidecar};
use crate::outcome::{Failure, Verdict};
use crate::plugin::{Candidate, Load, Loaded, Plugin, PluginName, Refusal, Sidecar, Tally, Version};
use crate::policy::{Grant, Pattern, check_requests};
use crate::record::Record;

/// What runs a plugin's cases before it serves; the transform stage does.
pub trait Rehearse<C>: Send + Sync + 'static {
    /// One record through one plugin, under the limits that it will serve under.
    ///
    /// # Errors
    /// The plugin's failure.
    fn rehearse(&self, plugin: &Plugin<C>, record: &Record) -> impl Future<Output = Result<Verdict, Failure>> + Send;
}

/// What reload has to know of the configuration.
#[derive(Debug)]
pub struct Setup {
    /// The plugins' directory.
    pub directory: PathBuf,
    /// What each team may do. A folder without a team here is refused.
    pub teams: BTreeMap<Arc<str>, Arc<Grant>>,
    /// Keys of which one must have signed a component; none asks for no signature.
    pub trusted_keys: TrustedKeys,
}

impl Setup {
    /// The configuration file, as its grants have it.
    fn file(&self) -> String {
        self.teams.values().next().map_or_else(|| "the configuration".to_owned(), |grant| format!("`{}`", grant.file.display()))
    }

    /// What the configuration says.
    ///
    /// # Errors
    /// A trusted key that is none.
    pub fn new(config: &Config) -> Result<Setup, String> {
        Setup::of(&config.plugins, &config.teams)
    }

    /// The same, of the parts that it takes.
    ///
    /// # Errors
    /// As with [`Setup::new`].
    pub fn of(plugins: &Plugins, teams: &BTreeMap<Arc<str>, Arc<Grant>>) -> Result<Setup, String> {
        let keys = &plugins.trusted_keys;
        let trusted_keys = TrustedKeys::parse(keys).map_err(|(at, why)| format!("`{}` in `[plugins] trusted_keys`: {why}", keys[at]))?;
        Ok(Setup { directory: plugins.directory.clone(), teams: teams.clone(), trusted_keys })
    }
}

/// Time for each of the steps that run code, from the moment at which it is a version's turn: a wait for others is nobody's fault. Compiling has a bound
/// of its own below it; of the cases each has as long as any call, and there may be 200.
const DEADLINE: Duration = Duration::from_secs(120);

/// The gate. Files pass it in three steps: they are read and checked, compiled if they have to be, and loaded and rehearsed.
///
/// Each step has places of its own ([`Places`]) and reads the files anew, since a version that waits for its turn is not kept in memory. What it reads
/// must be what the first step read.
pub(super) struct Gate<L, R> {
    setup: Arc<Setup>,
    load: L,
    rehearse: R,
    reads: Places,
    compiles: CompilePlaces,
    loads: Places,
    /// Versions that are being compiled, so that one is not compiled twice at a time: the examination of what was begun ahead waits for that.
    compiling: Mutex<HashMap<Version, Weak<tokio::sync::Mutex<()>>>>,
    /// Told when a version on trial faults.
    alarm: Arc<Notify>,
}

/// What is known of a plugin before its files are read, so that what was decided already is not decided again.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) decided: Option<Digest>,
    pub(super) live: Option<Digest>,
    pub(super) quarantine: Vec<Version>,
}

/// A plugin for the gate.
#[derive(Debug)]
pub(super) struct Work {
    /// To be prepared only; to be told of by [`Slots::prepared`](super::slots::Slots::prepared).
    pub(super) ahead: bool,
    pub(super) name: PluginName,
    pub(super) found: Found,
    pub(super) known: Known,
    /// Cancelled when the files have changed: who still waits for its turn to compile them gives it up.
    pub(super) moved: CancellationToken,
}

/// What came of a look at a plugin's files.
#[derive(Debug)]
pub(super) enum Outcome<C> {
    /// They hold what serves or what was decided on already.
    Same(Digest),
    /// They are changing.
    Moved,
    /// The component ends in the middle.
    Incomplete(Version, Refusal),
    /// A version that was rolled back is offered again.
    Quarantined(Version, Digest),
    /// Not let in.
    Refused(Option<Version>, Option<Digest>, Refusal),
    /// Passed.
    Passed(Box<Passed<C>>),
}

/// A version that passed.
#[derive(Debug)]
pub(super) struct Passed<C> {
    pub(super) plugin: Arc<Plugin<C>>,
    pub(super) digest: Digest,
    pub(super) about: Option<String>,
    /// What its author had better know.
    pub(super) remark: Option<String>,
}

/// What was read of a plugin, found to be in order as far as that can be told without its code.
struct Checked {
    candidate: Candidate,
    /// What its sidecar claims, if it does.
    claims: Option<Vec<Pattern>>,
    grant: Arc<Grant>,
    cases: Vec<(String, String)>,
    digest: Digest,
}

/// What the first step found.
struct First {
    version: Version,
    digest: Digest,
    /// Of the component.
    bytes: usize,
    must_compile: bool,
}

/// A plugin's files on their way through the gate.
#[derive(Clone)]
struct Files {
    name: PluginName,
    grant: Arc<Grant>,
    found: Arc<Found>,
    known: Arc<Known>,
    moved: CancellationToken,
}

impl Files {
    /// Waits, but not for the sake of files that are not there any more.
    async fn unless_moved<T, C>(&self, turn: impl Future<Output = T>) -> Result<T, Outcome<C>> {
        tokio::select! { biased;
            () = self.moved.cancelled() => Err(Outcome::Moved),
            turn = turn => Ok(turn),
        }
    }
}

impl<L: Load, R: Rehearse<L::Code>> Gate<L, R> {
    pub(super) fn new(setup: Setup, load: L, rehearse: R) -> Gate<L, R> {
        let mut setup = setup;
        // What is compared with the kernel's answers has to be absolute; a directory that cannot be made so is reported by the first look.
        setup.directory = std::path::absolute(&setup.directory).unwrap_or(setup.directory);
        let (reads, loads) = (Places::new(setup.teams.keys()), Places::new(setup.teams.keys()));
        let compiles = CompilePlaces::new(setup.teams.keys());
        Gate { setup: Arc::new(setup), load, rehearse, reads, compiles, loads, compiling: Mutex::default(), alarm: Arc::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.setup.directory
    }

    pub(super) fn alarm(&self) -> Arc<Notify> {
        Arc::clone(&self.alarm)
    }

    /// From files to a plugin, or to the reason why not.
    pub(super) async fn examine(&self, work: Work) -> Outcome<L::Code> {
        let files = match self.files(work) {
            Ok(files) => files,
            Err(refusal) => return Outcome::Refused(None, None, refusal),
        };
        match self.make_ready(&files).await {
            Ok(first) => self.finish(&files, first).await,
            Err(outcome) => outcome,
        }
    }

    /// Does what takes long of an examination that is likely to come: what is compiled stays compiled, and nothing else comes of it. It needs no files
    /// that have settled, so that the time until they have is not lost.
    pub(super) async fn prepare(&self, work: Work) {
        // What is wrong with it will be said when it is examined.
        if let Ok(files) = self.files(work) {
            drop(self.make_ready(&files).await);
        }
    }

    fn files(&self, Work { name, found, known, moved, .. }: Work) -> Result<Files, Refusal> {
        let team = name.team();
        let grant = self.setup.teams.get(team).map(Arc::clone).ok_or_else(|| Refusal {
            cause: format!("the team `{team}` is not in the configuration"),
            hint: Some(format!("add to {} a table `[teams.{team}]` with the `keys` and `destinations` that it may use", self.setup.file())),
        })?;
        Ok(Files { name, grant, found: Arc::new(found), known: Arc::new(known), moved })
    }

    /// The first two steps, after which loading takes no time to speak of.
    async fn make_ready(&self, files: &Files) -> Result<First, Outcome<L::Code>> {
        let first = self.check(files).await?;
        if !first.must_compile {
            return Ok(first);
        }
        let alone = self.alone(&first.version);
        let _alone = match alone.try_lock() {
            Ok(alone) => alone,
            Err(_) => {
                let alone = files.unless_moved(alone.lock()).await?;
                let again = self.check(files).await?;
                if !again.must_compile {
                    return Ok(again);
                }
                alone
            }
        };
        let place = files.unless_moved(self.compiles.take(files.name.team(), first.bytes)).await?;
        let Some(_place) = place else { return Err(Outcome::Moved) };
        let Checked { candidate, .. } = self.read_same(files, first.digest).await?;
        tracing::debug!(plugin = %files.name, version = %first.version, "compiling");
        let prepared = tokio::time::timeout(DEADLINE, self.load.prepare(&candidate.component)).await;
        prepared
            .unwrap_or_else(|_| Err(too_long("compiled")))
            .map_err(|refusal| Outcome::Refused(Some(first.version.clone()), Some(first.digest), refusal))?;
        Ok(first)
    }

    /// The first step.
    async fn check(&self, files: &Files) -> Result<First, Outcome<L::Code>> {
        // The place comes before the bytes: a thousand components are not all in memory at once.
        let Some(_place) = self.reads.take(files.name.team()).await else { return Err(Outcome::Moved) };
        let Checked { candidate, digest, .. } = self.read(files).await?;
        let Candidate { version, component, .. } = candidate;
        match self.load.must_compile(&component).await {
            Ok(must_compile) => Ok(First { version, digest, bytes: component.len(), must_compile }),
            Err(refusal) => Err(Outcome::Refused(Some(version), Some(digest), refusal)),
        }
    }

    /// The last step.
    async fn finish(&self, files: &Files, First { version, digest, .. }: First) -> Outcome<L::Code> {
        let Some(_place) = self.loads.take(files.name.team()).await else { return Outcome::Moved };
        let checked = match self.read_same(files, digest).await {
            Ok(checked) => checked,
            Err(outcome) => return outcome,
        };
        let passed = tokio::time::timeout(DEADLINE, self.pass(checked)).await;
        match passed.unwrap_or_else(|_| Err(too_long("loaded, and its cases run,"))) {
            Ok(passed) => Outcome::Passed(Box::new(passed)),
            Err(refusal) => Outcome::Refused(Some(version), Some(digest), refusal),
        }
    }

    /// Who holds it is the only one to compile this version.
    fn alone(&self, version: &Version) -> Arc<tokio::sync::Mutex<()>> {
        let mut compiling = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        compiling.retain(|_, alone| alone.strong_count() > 0);
        compiling.get(version).and_then(Weak::upgrade).unwrap_or_else(|| {
            let alone = Arc::default();
            compiling.insert(version.clone(), Arc::downgrade(&alone));
            alone
        })
    }

    async fn read(&self, files: &Files) -> Result<Checked, Outcome<L::Code>> {
        let (setup, files) = (Arc::clone(&self.setup), files.clone());
        let read = tokio::task::spawn_blocking(move || check(&setup, &files)).await;
        read.unwrap_or_else(|error| {
            let cause = format!("failed to read its files: {error}");
            Err(Outcome::Refused(None, None, Refusal { cause, hint: None }))
        })
    }

    async fn read_same(&self, files: &Files, digest: Digest) -> Result<Checked, Outcome<L::Code>> {
        self.read(files).await.and_then(|checked| if checked.digest == digest { Ok(checked) } else { Err(Outcome::Moved) })
    }

    async fn pass(&self, checked: Checked) -> Result<Passed<L::Code>, Refusal> {
        let Checked { candidate, claims: from_sidecar, grant, cases, digest } = checked;
        let loaded = self.load.load(&candidate).await?;
        let remark = loaded.remark();
        let Loaded { code, description, sees_replies, .. } = loaded;
        let Candidate { name, version, component, sidecar, limits } = candidate;
        drop(component);
        let keys = match (from_sidecar, &description) {
            (Some(keys), _) => keys,
            (None, Some(description)) if !description.keys.is_empty() => claims(&description.keys, &grant)?,
            (None, _) => claims(&[own_name(&name).to_owned()], &grant)?,
        };
        let tally = Tally::with_alarm(Arc::clone(&self.alarm));
        let plugin = Plugin { name, version, keys, on_fault: sidecar.on_fault, grant, limits, sees_replies, tally, code };
        for (name, text) in &cases {
            // One at a time: a megabyte of JSON can become twenty when it is parsed.
            let case = Case::parse(text).map_err(|why| Refusal { cause: format!("its case `{name}` cannot be read: {why}"), hint: None })?;
            self.rehearse(&plugin, &case).await.map_err(|why| Refusal {
                cause: format!("its own case `{name}` fails: {why}"),
                hint: Some("mend the plugin, or the case if it expects the wrong thing".into()),
            })?;
        }
        let about = description.map(|said| format!("{} {}", said.name, said.version));
        Ok(Passed { plugin: Arc::new(plugin), digest, about, remark })
    }

    async fn rehearse(&self, plugin: &Plugin<L::Code>, case: &Case) -> Result<(), String> {
        let words = |failure: Failure| format!("{}: {}", failure.reason, failure.detail);
        let verdict = self.rehearse.rehearse(plugin, &case.record).await.map_err(words)?;
        if let Verdict::Send(requests) = &verdict {
            check_requests(&plugin.grant, &plugin.limits, requests).map_err(words)?;
        }
        case.compare(&verdict)
    }
}

fn too_long(what: &str) -> Refusal {
    Refusal { cause: format!("it was not {what} within {} s", DEADLINE.as_secs()), hint: None }
}

/// Reads a plugin's files and settles what can be settled without its code. Blocks.
fn check<C>(setup: &Setup, files: &Files) -> Result<Checked, Outcome<C>> {
    let inputs = read(&files.found).map_err(|unread| match unread {
        Unread::Moved => Outcome::Moved,
        Unread::Incomplete { cause, version } => {
            let hint = "write it beside and rename it: `cp new.wasm NAME.wasm.tmp && mv NAME.wasm.tmp NAME.wasm`";
            Outcome::Incomplete(version, Refusal { cause, hint: Some(hint.into()) })
        }
        Unread::Refused(refusal) => Outcome::Refused(None, None, refusal),
    })?;
    let (version, digest) = (inputs.version.clone(), inputs.digest);
    if files.known.live == Some(digest) || files.known.decided == Some(digest) {
        return Err(Outcome::Same(digest));
    }
    if files.known.quarantine.contains(&version) {
        return Err(Outcome::Quarantined(version, digest));
    }
    vet(setup, files, inputs).map_err(|refusal| Outcome::Refused(Some(version), Some(digest), refusal))
}

fn vet(setup: &Setup, files: &Files, inputs: Inputs) -> Result<Checked, Refusal> {
    setup.trusted_keys.verify(&inputs.component, inputs.signature.as_deref())?;
    let sidecar = match &inputs.sidecar {
        Some(text) => parse_sidecar(text, &files.found.file.with_extension("toml")).map_err(|report| Refusal {
            cause: format!("its sidecar is not accepted: {}", report.summary()),
            hint: report.problems().iter().find_map(|problem| problem.hint.clone()),
        })?,
        None => Sidecar::default(),
    };
    let grant = Arc::clone(&files.grant);
    let limits = limits(&sidecar.limits, &grant)?;
    let claims = sidecar.keys.as_deref().map(|keys| claims(keys, &grant)).transpose()?;
    let Inputs { component, version, digest, cases, .. } = inputs;
    let candidate = Candidate { name: files.name.clone(), version, component, sidecar, limits };
    Ok(Checked { candidate, claims, grant, cases, digest })
}
