//! The driver. It reads as the list of steps; those with `.await` need the cluster.

use super::announce::{announce, announce_unreadable};
use super::defaults;
use super::execute::execute;
use super::memory::Memory;
use super::now;
use super::observe::observe;
use super::persist::persist;
use super::telemetry::{Endpoints, Health, Metrics, Outcome, Readiness};
use super::world::{Guarded, Requests, Watch, World};
use crate::api::{Kind, LoadTest};
use crate::build::{Defaults, check};
use crate::machine::{Effect, Progress, Record, Refusal, ReplayError, chronicle, effects, replay, wake_at};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::WatchStream;
use tracing::Instrument;

/// The longest that one request may take, watches excepted.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How many runs are looked at at once.
const CONCURRENCY: u16 = 64;

/// How soon an object that was refused for now is tried again.
const REFUSED_RETRY: Duration = Duration::from_secs(2);

/// The settings of the operator.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Image of the runners of a resource that names none.
    #[arg(long, env = "RUNNER_IMAGE", default_value = "grafana/k6:1.1.0")]
    pub runner_image: String,
    /// Image of the starter and stopper of a resource that names none; default: the image of this pod.
    #[arg(long, env = "STARTER_IMAGE")]
    pub starter_image: Option<String>,
    /// Where Prometheus metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_bind_address: SocketAddr,
    /// Where /healthz and /readyz are served.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub health_probe_bind_address: SocketAddr,
    /// Settings that all resources have in common, as YAML with podTemplate, initializer, runner and starter.
    #[arg(long, env = "DEFAULTS_FILE")]
    pub defaults_file: Option<PathBuf>,
    /// Watch this namespace only; default: all.
    #[arg(long, env = "WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Watch these namespaces only, separated by commas. Wins over --watch-namespace.
    #[arg(long, env = "WATCH_NAMESPACES")]
    pub watch_namespaces: Option<String>,
    /// The namespace of this pod.
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,
    /// The name of this pod.
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
}

impl RunArgs {
    /// What is watched: each namespace by itself, or all of them.
    fn namespaces(&self) -> Vec<Option<String>> {
        let lists = [&self.watch_namespaces, &self.watch_namespace];
        let names = lists.into_iter().map(|list| {
            let names = list.as_deref().unwrap_or_default().split(',');
            names
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        });
        let chosen = names
            .into_iter()
            .find(|names| !names.is_empty())
            .unwrap_or_default();
        if chosen.is_empty() {
            vec![None]
        } else {
            chosen.into_iter().map(Some).collect()
        }
    }
}

/// What can go wrong on the way; all of it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The API server took too long.
    #[error("the API server did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The status of the resource is no run's.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The resource can't be read, most likely since a newer operator wrote it.
    #[error("the resource can't be read: {0}")]
    Unreadable(String),
}

/// Waits for an answer, but not for ever.
pub(super) async fn bounded<T, E>(request: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    tokio::time::timeout(REQUEST_TIMEOUT, request)
        .await
        .map_err(|_| Error::Timeout)?
        .map_err(Error::from)
}

/// What every step may use.
pub(super) struct Context {
    pub client: Client,
    pub world: World,
    pub memory: Memory,
    pub defaults: Defaults,
    pub metrics: Metrics,
    pub recorder: Recorder,
    /// The namespace that is watched, or all.
    scope: String,
    worlds: Arc<[World]>,
    queued: Arc<Mutex<BTreeSet<String>>>,
}

/// One look at one run: observe, classify, step, persist, execute.
async fn reconcile_run(context: &Context, cached: &LoadTest) -> Result<Action, Error> {
    let mut resource = context.memory.newest(cached);
    let uid = resource.uid().unwrap_or_default();
    let checked = check::check(&resource.spec).map_err(|error| error.to_string());
    loop {
        let mut history = resource
            .status
            .as_ref()
            .map(|status| status.history.clone())
            .unwrap_or_default();
        let mut run = replay(&history)?;
        let now = now();
        let seen = observe(context, &resource, &run, &checked, now).await;

        let mut steps = Vec::new();
        while let Some(event) = tracing::info_span!("classify").in_scope(|| run.next(&seen, now)) {
            let record = Record { time: now, event };
            let after = tracing::info_span!("step").in_scope(|| run.after(&record));
            let Some(after) = after else {
                let state = run.state.name().as_str();
                tracing::error!(
                    event = record.event.name(),
                    state,
                    "this can't happen: the event is refused"
                );
                break;
            };
            if after == run {
                break;
            }
            chronicle(&mut history, record.clone());
            steps.push((std::mem::replace(&mut run, after.clone()), record, after));
            // The world of a run is not that of the next.
            if steps
                .last()
                .is_some_and(|(before, _, after)| before.attempt != after.attempt)
            {
                break;
            }
        }

        let argv = checked.as_ref().map_or(&[][..], |checked| &checked.arguments);
        let progress = Progress::of(&run.state, &seen, argv);
        let status = run.status(history.clone(), &progress);
        let before = resource.status.as_ref();
        let told = before == Some(&status);
        // An edit of the spec is answered at once: until then tools take the status for an old one.
        let urgent = before.is_none_or(|before| before.observed_generation != status.observed_generation);
        let pause = if told || urgent || !steps.is_empty() {
            Duration::ZERO
        } else {
            context.memory.progress_pause(&uid)
        };
        let later = !pause.is_zero();
        if !seen.deleting && !told && !later {
            resource = persist(context, &resource, &run, history, &progress).await?;
        }

        let mut effects = effects(&run.state, &seen, now);
        // Its end is told before a resource is deleted.
        effects.retain(|effect| steps.is_empty() || *effect != Effect::DeleteResource);
        let script_made = effects.contains(&Effect::CreateScript);
        let refused = execute(context, &resource, run.attempt, checked.as_ref().ok(), effects).await?;
        for (before, record, after) in &steps {
            announce(context, &resource, before, record, after).await;
        }
        context.memory.set_refused(&uid, refused.clone());
        let told_refusal = matches!(refused, Some(Refusal::Foreign(_) | Refusal::Invalid(_)));
        let new_run = steps
            .last()
            .is_some_and(|(before, _, after)| before.attempt != after.attempt);
        if told_refusal && seen.refused != refused || script_made && refused.is_none() || new_run {
            continue;
        }

        let deadline = wake_at(&run.state, &seen).map(|at| until(now, at));
        let retry = refused.map(|_| REFUSED_RETRY);
        let progress = later.then_some(pause);
        let wake = deadline.into_iter().chain(retry).chain(progress).min();
        return Ok(wake.map_or_else(Action::await_change, Action::requeue));
    }
}

#[tracing::instrument(name = "reconcile", skip_all, fields(k6.kind = kind.as_str(), k6.namespace = %namespace(&*guarded), k6.name = %guarded.name_any()))]
async fn reconcile(kind: Kind, guarded: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    context.dequeue(&ObjectRef::from_obj_with(&*guarded, kind));
    let timer = context.metrics.reconcile_started();
    let result = match &guarded.0 {
        Ok(test) => reconcile_run(&context, test).await,
        Err(invalid) => {
            let reference = guarded.object_ref(&kind);
            announce_unreadable(&context, &reference, &invalid.error).await;
            Err(Error::Unreadable(invalid.error.clone()))
        }
    };
    match &result {
        Ok(action) if *action == Action::await_change() => timer.finish(Outcome::Success),
        Ok(_) => timer.finish(Outcome::RequeueAfter),
        Err(_) => timer.finish(Outcome::Error),
    }
    if result.is_ok() {
        context.memory.succeeded(&guarded.uid().unwrap_or_default());
    }
    result
}

/// Waits longer after each failure in a row: 0.2 s, doubled up to a minute, with up to a quarter of jitter.
fn after_error(guarded: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let uid = guarded.uid().unwrap_or_default();
    let failures = context.memory.failed(&uid);
    // Changed or deleted by someone meanwhile.
    let overtaken = matches!(error, Error::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found());
    let run = format!("{}/{}", namespace(&*guarded), guarded.name_any());
    if overtaken && failures < 3 {
        tracing::debug!(run, "the resource has changed or gone meanwhile; looking again");
    } else {
        tracing::warn!(run, %error, failures, "trying again");
    }
    let base = 200_u64
        .saturating_mul(1 << failures.min(9).saturating_sub(1))
        .min(60_000);
    let salt =
        u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ uid.bytes().map(u64::from).sum::<u64>();
    Action::requeue(Duration::from_millis(base + base * (salt % 256) / 1024))
}

/// Runs the operator until it is told to end.
pub async fn run(args: RunArgs) -> Result<(), Box<dyn std::error::Error>> {
    let endpoints = Endpoints::bind(args.metrics_bind_address, args.health_probe_bind_address).await?;
    let client = Client::try_default().await?;
    let starter_image = match args.starter_image.clone() {
        Some(image) => image,
        None => own_image(&client, &args).await?,
    };
    let defaults = Defaults {
        runner_image: args.runner_image.clone(),
        starter_image,
        common: defaults::read(args.defaults_file.as_deref())?,
    };
    let metrics = Metrics::new("k6");
    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: "k6-operator".to_owned(),
            instance: args.pod_name.clone(),
        },
    );
    let scopes = args.namespaces();
    let watches: Vec<Watch> = scopes
        .iter()
        .map(|namespace| World::watch(&client, namespace.as_deref()))
        .collect();
    let worlds: Arc<[World]> = watches.iter().map(|watch| watch.world.clone()).collect();

    let health = Health::default();
    let (ending, end) = tokio::sync::watch::channel(false);
    let over = move || {
        let mut end = WatchStream::new(end.clone());
        async move { while end.next().await == Some(false) {} }
    };
    let serving = tokio::spawn(endpoints.run(metrics.clone(), health.clone(), over()));
    tokio::spawn(async move {
        terminated().await;
        tracing::info!("told to end");
        ending.send_replace(true);
    });
    let watched: Vec<&str> = scopes
        .iter()
        .map(|scope| scope.as_deref().unwrap_or("all"))
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = watched.join(","),
        "started"
    );

    let mut controllers = Vec::new();
    let mut filling = Vec::new();
    let queued = Arc::default();
    for (scope, watch) in watched.into_iter().zip(watches) {
        let Watch {
            world,
            requests,
            children,
        } = watch;
        filling.push(filled(scope, world.clone(), health.readiness.clone()));
        tokio::spawn(children.take_until(over()).for_each(std::future::ready));
        let context = Arc::new(Context {
            client: client.clone(),
            world,
            scope: scope.to_owned(),
            worlds: worlds.clone(),
            memory: Memory::default(),
            defaults: defaults.clone(),
            metrics: metrics.clone(),
            recorder: recorder.clone(),
            queued: Arc::clone(&queued),
        });
        for (kind, requests) in requests {
            let requests = requests.take_until(over()).boxed();
            controllers.push(controller(kind, context.clone(), requests));
        }
    }
    let ready = async {
        futures::future::join_all(filling).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = futures::future::join_all(controllers) => {}
        () = ready => {}
    }
    serving.await??;
    tracing::info!("ended");
    Ok(())
}

/// Waits for the caches of one namespace, or of all. The operator is ready with the first: one namespace that is
/// not there, or that it has no rights in, must not make it look broken to the others.
async fn filled(namespaces: &str, world: World, readiness: Readiness) {
    if world.ready().await {
        tracing::info!(namespaces, "caches are synced");
        readiness.set(true);
    }
}

/// Reconciles the resources of one kind until the requests end.
async fn controller(kind: Kind, context: Arc<Context>, requests: Requests) {
    let Some(store) = context.world.tests.get(&kind).cloned() else {
        return;
    };
    let queue = {
        let context = context.clone();
        requests.inspect_ok(move |request| context.enqueue(&request.obj_ref))
    };
    let reconciling = applier(
        move |test, context: Arc<Context>| {
            Box::pin(
                async move {
                    // A Job that a cache has not shown yet must not be taken for one that is gone.
                    context.world.ready().await;
                    reconcile(kind, test, context).await
                }
                .in_current_span(),
            )
        },
        after_error,
        context.clone(),
        store,
        queue,
        Config::default().concurrency(CONCURRENCY),
    );
    reconciling
        .for_each(|result| {
            context.after_each(result.err().as_ref());
            std::future::ready(())
        })
        .await;
}

impl Context {
    fn enqueue(&self, object: &ObjectRef<Guarded>) {
        let depth = {
            let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
            queued.insert(object.to_string());
            queued.len()
        };
        self.metrics.queue_added();
        self.metrics.queue_depth(depth);
    }

    fn dequeue(&self, object: &ObjectRef<Guarded>) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        queued.remove(&object.to_string());
        self.metrics.queue_depth(queued.len());
    }

    fn after_each(
        &self,
        error: Option<&kube::runtime::controller::Error<Error, kube::runtime::watcher::Error>>,
    ) {
        use kube::runtime::controller::Error as Failure;
        match error {
            Some(Failure::QueueError(error)) => {
                tracing::warn!(namespaces = self.scope, %error, "a watch failed and is opened again");
            }
            Some(Failure::RunnerError(error)) => tracing::error!(%error, "the caches are gone"),
            Some(Failure::ObjectNotFound(object)) => {
                let object = kube::runtime::reflector::ObjectRef::clone(object);
                let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
                queued.remove(&object.to_string());
            }
            Some(Failure::ReconcilerFailed(..)) | None => {}
        }
        self.memory
            .keep(&self.world.all().iter().filter_map(|test| test.uid()).collect());
        let tests: Vec<_> = self.worlds.iter().flat_map(World::all).collect();
        let mut counts = std::collections::BTreeMap::new();
        for test in tests.iter().filter_map(|test| test.0.as_ref().ok()) {
            let status = test.status.as_ref();
            let state = status
                .and_then(|status| status.state)
                .map_or("", |state| state.as_str());
            let result = status
                .and_then(|status| status.result)
                .map_or("", |result| result.as_str());
            *counts.entry((state, result)).or_insert(0_usize) += 1;
        }
        self.metrics.set_runs(
            counts
                .into_iter()
                .map(|((state, result), count)| (state, result, count)),
        );
    }
}

fn namespace<K: Resource>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}

/// A little later than the moment, so that it has passed for certain.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    let rest = at.duration_since(now).max(SignedDuration::ZERO);
    Duration::try_from(rest).unwrap_or_default() + Duration::from_millis(10)
}

async fn own_image(client: &Client, args: &RunArgs) -> Result<String, Box<dyn std::error::Error>> {
    let (Some(namespace), Some(name)) = (&args.pod_namespace, &args.pod_name) else {
        return Err("outside a cluster, --starter-image must name the image of this program".into());
    };
    let pod = bounded(Api::<Pod>::namespaced(client.clone(), namespace).get(name)).await?;
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let manager = containers
        .iter()
        .find(|c| c.name == "manager")
        .or_else(|| containers.first());
    manager
        .and_then(|c| c.image.clone())
        .ok_or_else(|| format!("pod {namespace}/{name} has no image").into())
}

async fn terminated() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals can't be awaited");
            std::future::pending::<()>().await;
        }
    }
}
