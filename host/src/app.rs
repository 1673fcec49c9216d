//! The wiring: the only file that names every concrete part.

mod overview;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cluster::Failed;
use crate::config::Config;
use crate::consume::Kafka;
use crate::deliver::Http;
use crate::observe::{Admin, Health, Metrics, Sources, StartError};
use crate::outcome::{Failure, Verdict};
use crate::pipeline::{self, Pipeline, Policy};
use crate::plugin::Plugin;
use crate::record::Record;
use crate::reload::{self, Rehearse, Setup, Watcher};
use crate::route::Routes;
use crate::run::{self, Control, Run};
use crate::settle::KafkaSettle;
use crate::transform::{Compile, Component, Sandbox, Settings, Transform};

pub use self::overview::Overview;

/// How long a shutdown waits for the plugins' watcher, which ends at once unless it is in the middle of a look.
const WATCHER_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Why the plugins keep a host from taking records, as long as nothing is wrong with their directory.
const LOADING: &str = "not all that lie in the directory are looked at yet";

/// What is told of the plugins that serve, whenever that changes.
type Publish = Box<dyn FnMut(&[Arc<Plugin<Component>>]) + Send>;

/// Tasks that a thread of the runtime polls before it looks at the network and the timers again. tokio's 61 are for tasks of some microseconds; one
/// that transforms takes fifty and more, so that a busy host would hear of a reply some 5 ms late, and with it every key that waits for one. To look
/// costs about a microsecond.
const EVENT_INTERVAL: u32 = 8;

/// The runtime that a host runs on.
///
/// # Errors
/// No thread, or no way to wait for the network.
pub fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_multi_thread().enable_all().thread_name("keyway").event_interval(EVENT_INTERVAL).build()
}

/// A host that is built and not yet running.
#[derive(Debug)]
pub struct App {
    config: Config,
    metrics: Arc<Metrics>,
    sandbox: Arc<Sandbox>,
    deliver: Arc<Http>,
    routes: Arc<Routes<Component>>,
    watcher: Watcher<Arc<Sandbox>, Rehearsal, Publish>,
    plugins: reload::Handle,
    overview: Arc<Overview>,
}

impl App {
    /// Builds what needs no network: the sandbox, the clients of the destinations, the rules of the plugins' directory.
    ///
    /// # Errors
    /// What cannot be built, in words for the operator.
    pub fn build(config: Config) -> Result<App, String> {
        let metrics = Metrics::new();
        let sandbox = Arc::new(sandbox(config.plugins.cache.as_deref(), &metrics)?);
        let deliver = Arc::new(Http::new(&config.destinations, &metrics).map_err(|error| error.to_string())?);
        let setup = Setup::new(&config)?;
        let routes = Arc::<Routes<Component>>::default();
        let table = Arc::clone(&routes);
        let publish: Publish = Box::new(move |plugins| {
            for (plugin, conflict) in table.serve(plugins) {
                tracing::error!(plugin = %plugin.name, "does not serve `{}`, which `{}` has already", conflict.pattern, conflict.holder.name);
            }
        });
        let (watcher, plugins) = reload::watcher(setup, Arc::clone(&sandbox), Rehearsal(Arc::clone(&sandbox)), publish);
        let overview = Overview::new(&config, plugins.clone(), Arc::clone(&deliver));
        Ok(App { config, metrics, sandbox, deliver, routes, watcher, plugins, overview })
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// How it stands, from now to its end.
    pub fn overview(&self) -> Arc<Overview> {
        Arc::clone(&self.overview)
    }

    /// Runs until `shutdown` completes; then drains, commits, and leaves the group.
    ///
    /// # Errors
    /// The host could not do its job, in words for the operator, with the mend if one is known. What was not settled is not committed.
    pub async fn until(self, shutdown: impl Future<Output = ()>) -> Result<(), Failed> {
        let App { config, metrics, sandbox, deliver, routes, watcher, plugins, overview } = self;
        let health = Health::waiting_for([("kafka", "not in the consumer group yet"), ("plugins", LOADING)]);
        let sources = Arc::clone(&overview) as Arc<dyn Sources>;
        // From the beginning, so that it says why the host is not ready.
        let admin = config.admin.as_ref().map(|admin| Admin::start(admin, Arc::clone(&health), Arc::clone(&metrics), sources));
        let admin = admin.transpose().map_err(no_admin)?;
        let stop = CancellationToken::new();
        // Until all that lies in the directory is known, a key that nobody has may be about to get its plugin.
        routes.begin_incomplete();
        let watcher = watcher.start(stop.clone()).map_err(|error| format!("failed to start the plugins' watcher: {error}"))?;
        let completing = tokio::spawn(complete(plugins.clone(), Arc::clone(&routes)));
        let rescan = tokio::spawn(rescan_at_hangup(plugins.clone()));

        let watch = |source: &Kafka, control: Control| {
            overview.runs(source.host(), control.clone(), source.reach());
            let health = Arc::clone(&health);
            tokio::spawn(async move {
                if control.joined().await {
                    health.ready("kafka");
                }
            });
        };
        let mut shutdown = std::pin::pin!(shutdown);
        let ran = tokio::select! {
            // Records that come before the plugins would find nobody to handle them.
            () = ready(&plugins, &health) => {
                health.ready("plugins");
                let shutdown = async {
                    shutdown.as_mut().await;
                    health.not_ready("kafka", "the host is stopping");
                };
                serve_watched(&config, metrics, routes, sandbox, deliver, watch, shutdown).await
            }
            () = shutdown.as_mut() => Ok(()),
        };
        rescan.abort();
        completing.abort();
        stop.cancel();
        end(watcher).await;
        drop(admin);
        ran
    }
}

/// Consumes and handles records with these routes until `shutdown` completes. Generic over the sandbox, so that a benchmark can run the same
/// host without one.
///
/// # Errors
/// See [`App::until`].
pub async fn serve<T: Transform>(
    config: &Config,
    metrics: Arc<Metrics>,
    routes: Arc<Routes<T::Code>>,
    transform: T,
    deliver: Arc<Http>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failed> {
    serve_watched(config, metrics, routes, transform, deliver, |_, _| (), shutdown).await
}

/// The same; `watch` is given the source, and what watches and steers the host from outside.
async fn serve_watched<T: Transform>(
    config: &Config,
    metrics: Arc<Metrics>,
    routes: Arc<Routes<T::Code>>,
    transform: T,
    deliver: Arc<Http>,
    watch: impl FnOnce(&Kafka, Control),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failed> {
    let mut shutdown = std::pin::pin!(shutdown);
    let starting = async {
        let (source, offsets) = Kafka::start(&config.kafka, None, Arc::clone(&metrics)).await?;
        let settle = KafkaSettle::start(&config.kafka, config.replies.as_ref(), source.host(), offsets).await?;
        Ok::<_, Failed>((source, settle))
    };
    let (source, settle) = tokio::select! { biased;
        // Nothing was taken in yet, so there is nothing to drain or to commit.
        () = shutdown.as_mut() => return Ok(()),
        started = starting => started.map_err(|failed| Failed { cause: format!("failed to {}", failed.cause), ..failed })?,
    };
    // The source lets partitions go after its own time in any case; a drain that took longer would be for nothing.
    let revoke = config.lanes.drain.min(config.kafka.drain_within());
    let settings = run::Settings { lanes: config.lanes, revoke, commit_every: config.kafka.commit_every };
    let policy = Policy {
        group: config.kafka.group.clone(),
        route_by: config.kafka.route_by.clone(),
        framing: config.kafka.framing,
        unrouted: config.failures.unrouted,
        keep_replies: config.replies.is_some(),
    };
    let pipeline = Pipeline { routes, transform, deliver, settle, metrics, policy, room: pipeline::room() };
    let (run, control) = Run::new(source, Arc::new(pipeline), settings);
    watch(run.source(), control);
    tracing::info!(group = config.kafka.group, topics = ?config.kafka.topics, "running");
    // On a worker of the runtime, where the records' tasks are: whoever waits here has a thread of its own, and each record would cost
    // two wake-ups of another thread.
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = tokio::spawn(run.until(async { stopped.await.unwrap_or_default() }));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = shutdown.as_mut() => {
            drop(stop);
            running.await
        }
    };
    Ok(ended.unwrap_or_else(|error| Err(format!("the loop failed, which is a defect of Keyway: {error}")))?)
}

fn no_admin(error: StartError) -> Failed {
    let hint = match error {
        StartError::Listen(..) => {
            Some("another host may listen there already: choose another `listen` in `[admin]`, or port 0 for any that is free".into())
        }
        StartError::Open(_) | StartError::Thread(_) => None,
    };
    Failed { cause: format!("failed to {error}"), hint }
}

/// Waits for the plugins, and says why they keep the host waiting.
async fn ready(plugins: &reload::Handle, health: &Health) {
    let mut changes = plugins.changes();
    loop {
        {
            let status = changes.borrow_and_update();
            if status.ready {
                return;
            }
            let missing = status.problems.iter().find(|problem| problem.path == status.directory).map(overview::problem);
            health.not_ready("plugins", missing.unwrap_or_else(|| LOADING.to_owned()));
        }
        // The watcher ended; there is nothing to wait for then.
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A sandbox that compiles in a child process of the same program.
///
/// # Errors
/// In words for the operator.
pub fn sandbox(cache: Option<&Path>, metrics: &Arc<Metrics>) -> Result<Sandbox, String> {
    let program = std::env::current_exe().map_err(|error| format!("failed to find this program's own file: {error}"))?;
    let cache = cache.map_or_else(default_cache, Path::to_owned);
    let settings = Settings { compile: Compile::Worker(program), cache: Some(cache), ..Settings::default() };
    Sandbox::new(&settings, Arc::clone(metrics)).map_err(|error| format!("failed to start the sandbox: {error:#}"))
}

/// Where compiled components are kept unless it is configured: in the user's own cache folder.
fn default_cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("keyway").join("compiled")
}

/// Runs a plugin's cases in the sandbox in which it will serve.
#[derive(Debug)]
pub struct Rehearsal(pub Arc<Sandbox>);

impl Rehearse<Component> for Rehearsal {
    async fn rehearse(&self, plugin: &Plugin<Component>, record: &Record) -> Result<Verdict, Failure> {
        self.0.transform(plugin, record).await
    }
}

/// SIGHUP asks for another look at the plugins.
async fn rescan_at_hangup(plugins: reload::Handle) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangup) => {
            while hangup.recv().await.is_some() {
                tracing::info!("looking at the plugins' directory again (SIGHUP)");
                plugins.rescan();
            }
        }
        Err(error) => tracing::warn!("SIGHUP will not reload plugins: {error}"),
    }
}

/// Tells the routes when all that lay in the directory at the start is decided on.
async fn complete(plugins: reload::Handle, routes: Arc<Routes<Component>>) {
    plugins.ready().await;
    let late = plugins.status().late.clone();
    if !late.is_empty() {
        tracing::warn!(plugins = ?late, "not ready in time: the host starts without them, and records that no other plugin claims by more than `*` wait");
    }
    plugins.complete().await;
    routes.complete();
}

async fn end(watcher: reload::Running) {
    if tokio::time::timeout(WATCHER_ENDS_WITHIN, watcher.ended()).await.is_err() {
        tracing::warn!("the plugins' watcher did not end in time");
    }
}
