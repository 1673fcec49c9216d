//! The gate: what a version must pass before it may serve. Runs beside the path of records, and whatever it refuses leaves no trace there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::cases::Case;
use super::read::{Digest, Inputs, Unread, read};
use super::scan::Found;
use super::signature::TrustedKeys;
use crate::config::{Config, parse_sidecar};
use crate::outcome::{Failure, Verdict};
use crate::plugin::{Candidate, LimitsWish, Load, Loaded, Plugin, PluginName, Refusal, Sidecar, Tally, Version};
use crate::policy::{Grant, Limits, Pattern, check_requests};
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
    /// What the configuration says.
    ///
    /// # Errors
    /// A trusted key that is none.
    pub fn new(config: &Config) -> Result<Setup, String> {
        let keys = &config.plugins.trusted_keys;
        let trusted_keys = TrustedKeys::parse(keys).map_err(|(at, why)| format!("`{}` in `[plugins] trusted_keys`: {why}", keys[at]))?;
        Ok(Setup { directory: config.plugins.directory.clone(), teams: config.teams.clone(), trusted_keys })
    }
}

/// Plugins that are compiled or instantiated at once. One that takes seconds must not keep a small one waiting; more than two would take the
/// processor from the records.
const LOADS: usize = 2;
/// Time for all of one version's gate. A large component compiles in some seconds on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

pub(super) struct Gate<L, R> {
    setup: Setup,
    load: L,
    rehearse: R,
    loads: Semaphore,
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

impl<L: Load, R: Rehearse<L::Code>> Gate<L, R> {
    pub(super) fn new(setup: Setup, load: L, rehearse: R) -> Gate<L, R> {
        let mut setup = setup;
        // What is compared with the kernel's answers has to be absolute; a directory that cannot be made so is reported by the first look.
        setup.directory = std::path::absolute(&setup.directory).unwrap_or(setup.directory);
        Gate { setup, load, rehearse, loads: Semaphore::new(LOADS), alarm: Arc::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.setup.directory
    }

    pub(super) fn alarm(&self) -> Arc<Notify> {
        Arc::clone(&self.alarm)
    }

    /// From files to a plugin, or to the reason why not.
    pub(super) async fn examine(&self, name: &PluginName, found: Found, known: Known) -> Outcome<L::Code> {
        // The permit comes before the bytes: a thousand components are not all in memory at once.
        let Ok(_permit) = self.loads.acquire().await else { return Outcome::Moved };
        let Some(grant) = self.setup.teams.get(name.team()) else {
            let cause = format!("the team `{}` is not in the configuration", name.team());
            let hint = Some(format!("add `[teams.{}]` with the `keys` and `destinations` that it may use", name.team()));
            return Outcome::Refused(None, None, Refusal { cause, hint });
        };
        let file = found.file.clone();
        let inputs = match tokio::task::spawn_blocking(move || read(&found)).await {
            Ok(Ok(inputs)) => inputs,
            Ok(Err(Unread::Moved)) => return Outcome::Moved,
            Ok(Err(Unread::Incomplete { cause, version })) => {
                let hint = "write it beside and rename it: `cp new.wasm NAME.wasm.tmp && mv NAME.wasm.tmp NAME.wasm`";
                return Outcome::Incomplete(version, Refusal { cause, hint: Some(hint.into()) });
            }
            Ok(Err(Unread::Refused(refusal))) => return Outcome::Refused(None, None, refusal),
            Err(error) => return Outcome::Refused(None, None, Refusal { cause: format!("failed to read its files: {error}"), hint: None }),
        };
        let (version, digest) = (inputs.version.clone(), inputs.digest);
        if known.live == Some(digest) || known.decided == Some(digest) {
            return Outcome::Same(digest);
        }
        if known.quarantine.contains(&version) {
            return Outcome::Quarantined(version, digest);
        }
        tracing::debug!(plugin = %name, %version, "loading");
        let gate = self.pass(name, &file, Arc::clone(grant), inputs);
        let passed = tokio::time::timeout(DEADLINE, gate).await.unwrap_or_else(|_| {
            let cause = format!("it was not ready within {} s", DEADLINE.as_secs());
            Err(Refusal { cause, hint: None })
        });
        match passed {
            Ok(passed) => Outcome::Passed(Box::new(passed)),
            Err(refusal) => Outcome::Refused(Some(version), Some(digest), refusal),
        }
    }

    async fn pass(&self, name: &PluginName, file: &Path, grant: Arc<Grant>, inputs: Inputs) -> Result<Passed<L::Code>, Refusal> {
        self.setup.trusted_keys.verify(&inputs.component, inputs.signature.as_deref())?;
        let sidecar = match &inputs.sidecar {
            Some(text) => parse_sidecar(text, &file.with_extension("toml")).map_err(|report| Refusal {
                cause: format!("its sidecar is not accepted: {}", report.summary()),
                hint: report.problems().iter().find_map(|problem| problem.hint.clone()),
            })?,
            None => Sidecar::default(),
        };
        let limits = limits(&sidecar.limits, &grant)?;
        // What the sidecar alone can settle is settled before anything is compiled.
        let from_sidecar = sidecar.keys.as_deref().map(|keys| claims(keys, &grant)).transpose()?;
        let on_fault = sidecar.on_fault;
        let candidate = Candidate { name: name.clone(), version: inputs.version.clone(), component: inputs.component, sidecar, limits };
        let loaded = self.load.load(&candidate).await?;
        let remark = loaded.remark();
        let Loaded { code, description, sees_replies, .. } = loaded;
        let keys = match (from_sidecar, &description) {
            (Some(keys), _) => keys,
            (None, Some(description)) if !description.keys.is_empty() => claims(&description.keys, &grant)?,
            (None, _) => claims(&[own_name(name).to_owned()], &grant)?,
        };
        let tally = Tally::with_alarm(Arc::clone(&self.alarm));
        let plugin = Plugin { name: name.clone(), version: inputs.version, keys, on_fault, grant, limits, sees_replies, tally, code };
        for (name, text) in &inputs.cases {
            // One at a time: a megabyte of JSON can become twenty when it is parsed.
            let case = Case::parse(text).map_err(|why| Refusal { cause: format!("its case `{name}` cannot be read: {why}"), hint: None })?;
            self.rehearse(&plugin, &case).await.map_err(|why| Refusal {
                cause: format!("its own case `{name}` fails: {why}"),
                hint: Some("mend the plugin, or the case if it expects the wrong thing".into()),
            })?;
        }
        let about = description.map(|said| format!("{} {}", said.name, said.version));
        Ok(Passed { plugin: Arc::new(plugin), digest: inputs.digest, about, remark })
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

/// `NAME` without its team.
fn own_name(name: &PluginName) -> &str {
    name.as_str().rsplit('/').next().unwrap_or(name.as_str())
}

/// The patterns that are claimed, if the team's grant covers them all.
fn claims(keys: &[String], grant: &Grant) -> Result<Vec<Pattern>, Refusal> {
    let refused = |cause: String, hint: Option<String>| Refusal { cause, hint };
    let mut claims = Vec::with_capacity(keys.len());
    for key in keys {
        let claim: Pattern = key.parse().map_err(|why| refused(format!("`{key}` is not a key pattern: {why}"), None))?;
        if !grant.may_claim(&claim) {
            let team = &grant.team;
            let line: Vec<String> = grant.keys.iter().chain([key]).map(|key| format!("{key:?}")).collect();
            let (line, file) = (line.join(", "), grant.file.display());
            let hint = format!("add `keys = [{line}]` to `[teams.{team}]` in `{file}`, or claim other keys in the sidecar");
            return Err(refused(format!("it claims the key `{key}`, which the team `{team}` is not granted"), Some(hint)));
        }
        if !claims.contains(&claim) {
            claims.push(claim);
        }
    }
    Ok(claims)
}

/// The limits that a sidecar wishes for, if the team's allow them; what it does not name is the team's.
fn limits(wish: &LimitsWish, grant: &Grant) -> Result<Limits, Refusal> {
    fn within<T: PartialOrd + Copy + std::fmt::Debug>(name: &str, wish: Option<T>, most: T, grant: &Grant) -> Result<T, Refusal> {
        let (team, file) = (&grant.team, grant.file.display());
        match wish {
            Some(wish) if wish > most => Err(Refusal {
                cause: format!("its limit `{name}` is {wish:?}, and the team `{team}` may have {most:?} at most"),
                hint: Some(format!("raise `limits.{name}` of `[teams.{team}]` in `{file}`, or lower it in the sidecar")),
            }),
            wish => Ok(wish.unwrap_or(most)),
        }
    }
    let most = &grant.limits;
    Ok(Limits {
        cpu: within("cpu", wish.cpu, most.cpu, grant)?,
        wall: within("wall", wish.wall, most.wall, grant)?,
        memory: within("memory", wish.memory, most.memory, grant)?,
        output: within("output", wish.output, most.output, grant)?,
        requests: within("requests", wish.requests, most.requests, grant)?,
        headers: within("headers", wish.headers, most.headers, grant)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(keys: &[&str]) -> Grant {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        Grant { keys, file: Path::new("/etc/bridge.toml").into(), ..Grant::everything("payments", Limits::default()) }
    }

    #[test]
    fn a_claim_beyond_the_grant_is_refused_with_the_line_to_add() {
        let refusal = claims(&["refund:*".into(), "order:1".into()], &grant(&["payment:*", "refund:*"])).unwrap_err();
        assert_eq!(refusal.cause, "it claims the key `order:1`, which the team `payments` is not granted");
        assert_eq!(
            refusal.hint.as_deref(),
            Some(r#"add `keys = ["payment:*", "refund:*", "order:1"]` to `[teams.payments]` in `/etc/bridge.toml`, or claim other keys in the sidecar"#)
        );
        assert_eq!(claims(&["payment:eu:*".into(), "payment:eu:*".into()], &grant(&["payment:*"])).unwrap().len(), 1);
        assert!(claims(&["a*b".into()], &grant(&["*"])).unwrap_err().cause.starts_with("`a*b` is not a key pattern"));
    }

    #[test]
    fn limits_are_the_teams_unless_the_sidecar_wants_less() {
        let grant = grant(&["*"]);
        let wish = LimitsWish { requests: Some(3), ..LimitsWish::default() };
        assert_eq!(limits(&wish, &grant).unwrap(), Limits { requests: 3, ..grant.limits });
        let refusal = limits(&LimitsWish { cpu: Some(Duration::from_secs(9)), ..LimitsWish::default() }, &grant).unwrap_err();
        assert_eq!(refusal.cause, "its limit `cpu` is 9s, and the team `payments` may have 100ms at most");
    }

    #[test]
    fn a_plugin_is_named_without_its_team() {
        assert_eq!(own_name(&PluginName::new("payments", "refund")), "refund");
        assert_eq!(own_name(&PluginName::new("default", "order")), "order");
    }
}
