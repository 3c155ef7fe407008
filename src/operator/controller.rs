//! The driver. It reads as the list of steps; those with `.await` need the cluster.

use super::announce::{announce, announce_unreadable};
use super::clock::Clock;
use super::defaults;
use super::execute::execute;
use super::lease::{self, Candidate, Gate};
use super::memory::Memory;
use super::observe::{newest, observe};
use super::persist::persist;
use super::telemetry::{Endpoints, Health, Metrics, Outcome, Readiness};
use super::world::{Guarded, Requests, Watch, World};
use crate::api::{Kind, LoadTest};
use crate::build::{Defaults, check};
use crate::machine::{Effect, Progress, Record, Refusal, ReplayError, chronicle, effects, replay, wake_at};
use futures::future::{BoxFuture, Shared, join_all};
use futures::{FutureExt, StreamExt, TryStreamExt};
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
use tracing::Instrument;

/// The longest that one request may take, watches excepted.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How many runs are looked at at once.
const CONCURRENCY: u16 = 64;

/// How soon an object that was refused for now is tried again.
const REFUSED_RETRY: Duration = Duration::from_secs(2);

/// The name of the Lease by which one of several operators leads.
const LEASE: &str = "k6-operator";

/// Resolves when the operator is to end.
type End = Shared<BoxFuture<'static, ()>>;

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
    /// Act only while holding the Lease k6-operator in the namespace of this pod: for more than one replica.
    #[arg(long, env = "LEADER_ELECT")]
    pub leader_elect: bool,
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

    fn lease(&self) -> Result<Option<lease::Settings>, String> {
        if !self.leader_elect {
            return Ok(None);
        }
        let (Some(namespace), Some(identity)) = (&self.pod_namespace, &self.pod_name) else {
            return Err("--leader-elect needs POD_NAMESPACE and POD_NAME in the environment".to_owned());
        };
        Ok(Some(lease::Settings {
            namespace: namespace.clone(),
            name: LEASE.to_owned(),
            identity: identity.clone(),
        }))
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
    /// This process has not renewed its lease in time, and another may lead by now.
    #[error("this operator does not lead any more")]
    NotLeading,
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
    pub clock: Clock,
    pub gate: Gate,
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
    loop {
        let checked = check::check(&resource.spec).map_err(|error| error.to_string());
        let mut history = resource
            .status
            .as_ref()
            .map(|status| status.history.clone())
            .unwrap_or_default();
        let mut run = replay(&history)?;
        let now = context.clock.now();
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
        let persisted = !seen.deleting && !told && !later;
        if persisted {
            resource = persist(context, &resource, &run, history, &progress).await?;
        }

        let mut effects = effects(&run.state, &seen, now);
        // Its end is told before a resource is deleted.
        effects.retain(|effect| steps.is_empty() || *effect != Effect::DeleteResource);
        // What was written was the newest. What was not may have been overtaken, and nothing is done on it.
        if !persisted && !effects.is_empty() {
            match newest(context, &resource).await? {
                Some(newest) if newest.resource_version() == resource.resource_version() => {}
                Some(newest) => {
                    resource = newest;
                    continue;
                }
                None => return Ok(Action::await_change()),
            }
        }
        let script_made = effects.contains(&Effect::CreateScript);
        let refused = execute(context, &resource, run.attempt, checked.as_ref().ok(), effects).await?;
        for (before, record, after) in &steps {
            announce(context, &resource, before, record, after).await;
        }
        context.memory.set_refused(&uid, refused.clone());
        if matches!(seen.refused, Some(Refusal::Failed(_))) {
            context.memory.succeeded(&uid);
            continue;
        }
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
    // Changed or deleted by someone meanwhile.
    let overtaken = matches!(error, Error::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found());
    let failures = context.memory.failed(&uid, error.to_string());
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

/// What an operator needs besides a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is watched: namespaces, or all.
    pub scopes: Vec<Option<String>>,
    /// The administrator's settings for all resources.
    pub defaults: Defaults,
    /// By which Lease it acts; without one it acts at once, and must be the only operator.
    pub lease: Option<lease::Settings>,
    /// As which process it publishes Events.
    pub instance: Option<String>,
    /// The clock.
    pub clock: Clock,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its health.
    pub health: Health,
}

/// Runs the operator until it is told to end.
pub async fn run(args: RunArgs) -> Result<(), Box<dyn std::error::Error>> {
    let endpoints = Endpoints::bind(args.metrics_bind_address, args.health_probe_bind_address).await?;
    let client = Client::try_default().await?;
    let starter_image = match args.starter_image.clone() {
        Some(image) => image,
        None => own_image(&client, &args).await?,
    };
    let settings = Settings {
        scopes: args.namespaces(),
        defaults: Defaults {
            runner_image: args.runner_image.clone(),
            starter_image,
            common: defaults::read(args.defaults_file.as_deref())?,
        },
        lease: args.lease()?,
        instance: args.pod_name.clone(),
        clock: Clock::system(),
        metrics: Metrics::new("k6"),
        health: Health::default(),
    };
    let end = async {
        terminated().await;
        tracing::info!("told to end");
    };
    let end = end.boxed().shared();
    let (metrics, health) = (settings.metrics.clone(), settings.health.clone());
    let serving = tokio::spawn(endpoints.run(metrics, health, end.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = named(&settings.scopes).join(","),
        "started"
    );
    operate(client, settings, end).await;
    serving.await??;
    tracing::info!("ended");
    Ok(())
}

/// The operator: whenever it may act, it does, until it is told to end. Nothing of it goes on when this is dropped.
pub async fn operate(client: Client, settings: Settings, end: impl Future<Output = ()> + Send + 'static) {
    let end = end.boxed().shared();
    let Settings { metrics, health, .. } = &settings;
    let Some(lease) = settings.lease.clone() else {
        metrics.leads(true);
        return lead(&client, &settings, Gate::open(), end).await;
    };
    let mut candidate = Candidate::new(client.clone(), lease, settings.clock.clone());
    loop {
        // Who stands by is ready to.
        health.readiness.set(true);
        tokio::select! {
            biased;
            () = end.clone() => return,
            () = candidate.acquire() => {}
        }
        health.readiness.set(false);
        metrics.leads(true);
        let gate = candidate.gate();
        let ended = tokio::select! {
            biased;
            () = candidate.keep() => false,
            () = lead(&client, &settings, gate, end.clone()) => true,
        };
        metrics.leads(false);
        if ended {
            return candidate.release().await;
        }
    }
}

fn named(scopes: &[Option<String>]) -> Vec<&str> {
    let names = scopes.iter().map(|scope| scope.as_deref().unwrap_or("all"));
    names.collect()
}

/// Watches and reconciles until the end. What it knows of the cluster it has listed since it began.
async fn lead(client: &Client, settings: &Settings, gate: Gate, end: End) {
    let Settings {
        scopes,
        defaults,
        lease: _,
        instance,
        clock,
        metrics,
        health,
    } = settings;
    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: "k6-operator".to_owned(),
            instance: instance.clone(),
        },
    );
    let watches: Vec<Watch> = scopes
        .iter()
        .map(|namespace| World::watch(client, namespace.as_deref()))
        .collect();
    let worlds: Arc<[World]> = watches.iter().map(|watch| watch.world.clone()).collect();
    let mut controllers = Vec::new();
    let mut filling = Vec::new();
    let mut following = Vec::new();
    let queued = Arc::default();
    for (scope, watch) in named(scopes).into_iter().zip(watches) {
        let Watch {
            world,
            requests,
            children,
        } = watch;
        filling.push(filled(scope, world.clone(), health.readiness.clone()));
        following.push(children.for_each(std::future::ready));
        let context = Arc::new(Context {
            client: client.clone(),
            world,
            scope: scope.to_owned(),
            worlds: worlds.clone(),
            memory: Memory::default(),
            defaults: defaults.clone(),
            clock: clock.clone(),
            gate: gate.clone(),
            metrics: metrics.clone(),
            recorder: recorder.clone(),
            queued: Arc::clone(&queued),
        });
        for (kind, requests) in requests {
            let requests = requests.take_until(end.clone()).boxed();
            controllers.push(controller(kind, context.clone(), requests));
        }
    }
    let aside = async {
        futures::join!(join_all(filling), join_all(following));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        _ = join_all(controllers) => {}
        () = aside => {}
    }
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
