//! The operator as one future: it acquires its lease, watches, and reconciles what the watches report.

use super::caches::{CachedTest, Caches, Requests, Standing, Watch};
use super::context::Context;
use super::error::Error;
use super::image_volumes::{ImageVolumes, Usage};
use super::leadership::{self, Candidate, Leadership};
use super::memory::Memory;
use super::reconcile::{after_error, reconcile};
use super::telemetry::{Health, Metrics, Readiness};
use super::timeout::bounded;
use crate::api::Kind;
use crate::clock::Clock;
use crate::objects::Defaults;
use futures::future::{BoxFuture, Shared, join_all};
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use kube::{Client, ResourceExt};
use kube_runtime::controller::{Config, applier};
use kube_runtime::events::Reporter;
use kube_runtime::reflector::ObjectRef;
use std::sync::{Arc, PoisonError};
use tokio::sync::Semaphore;
use tracing::Instrument;

/// The number of runs that are looked at at once.
const CONCURRENCY: u16 = 64;

/// The number of ended runs among them.
const ENDED_LOOKS: usize = 4;

/// Resolves when the operator is to end.
type End = Shared<BoxFuture<'static, ()>>;

/// What an operator needs besides a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to watch; None stands for all of them.
    pub scopes: Vec<Option<String>>,
    /// The administrator's settings for all resources.
    pub defaults: Defaults,
    /// How many seconds the Jobs of a Finished run are kept; None: as long as its resource.
    pub keep_jobs: Option<SignedDuration>,
    /// Whether the nodes can mount an image as a volume.
    pub image_volumes: Usage,
    /// The Lease of the leading operator. Without one the operator acts at once, and must be the only one.
    pub lease: Option<leadership::Settings>,
    /// The name of this process in the Events that it publishes.
    pub instance: Option<String>,
    /// The clock for histories and deadlines.
    pub clock: Clock,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The health checks of this process.
    pub health: Health,
}

impl Settings {
    /// The namespaces that are watched, by name.
    pub fn watched(&self) -> Vec<&str> {
        let names = self.scopes.iter().map(|scope| scope.as_deref().unwrap_or("all"));
        names.collect()
    }
}

/// Runs the operator until `end`. It acts whenever it leads. Nothing of it goes on when this future is dropped.
pub async fn operate(client: Client, settings: Settings, end: impl Future<Output = ()> + Send + 'static) {
    let client = bounded(client);
    let end = end.boxed().shared();
    let Settings { metrics, health, .. } = &settings;
    let Some(lease) = settings.lease.clone() else {
        metrics.leads(true);
        return lead(&client, &settings, Leadership::open(), end).await;
    };
    let mut candidate = Candidate::new(client.clone(), lease, settings.clock.clone());
    loop {
        // A candidate that waits to lead is ready.
        health.readiness.set(true);
        tokio::select! {
            biased;
            () = end.clone() => return,
            () = candidate.acquire() => {}
        }
        health.readiness.set(false);
        metrics.leads(true);
        let leadership = candidate.leadership();
        let ended = tokio::select! {
            biased;
            () = candidate.keep() => false,
            () = lead(&client, &settings, leadership, end.clone()) => true,
        };
        metrics.leads(false);
        if ended {
            return candidate.release().await;
        }
    }
}

/// Watches and reconciles until `end`. The caches are filled anew each time it is called.
async fn lead(client: &Client, settings: &Settings, leadership: Leadership, end: End) {
    let watched = settings.watched();
    let Settings {
        scopes,
        defaults,
        keep_jobs,
        image_volumes,
        lease: _,
        instance,
        clock,
        metrics,
        health,
    } = settings;
    let reporter = Reporter {
        controller: "k6-operator".to_owned(),
        instance: instance.clone(),
    };
    let watches: Vec<Watch> = scopes
        .iter()
        .map(|namespace| Caches::watch(client, namespace.as_deref()))
        .collect();
    let all_caches: Arc<[Caches]> = watches.iter().map(|watch| watch.caches.clone()).collect();
    let mut controllers = Vec::new();
    let mut filling = Vec::new();
    let mut following = Vec::new();
    let queued = Arc::default();
    let image_volumes = Arc::new(ImageVolumes::new(client.clone(), image_volumes.within(scopes)));
    let large_logs = Arc::new(Semaphore::new(1));
    let ended_looks = Arc::new(Semaphore::new(ENDED_LOOKS));
    for (scope, watch) in watched.into_iter().zip(watches) {
        let Watch {
            caches,
            requests,
            children,
        } = watch;
        filling.push(filled(scope, caches.clone(), health.readiness.clone()));
        following.push(children.for_each(std::future::ready));
        let context = Arc::new(Context {
            client: client.clone(),
            caches,
            scope: scope.to_owned(),
            all_caches: all_caches.clone(),
            memory: Memory::default(),
            defaults: defaults.clone(),
            keep_jobs: *keep_jobs,
            image_volumes: Arc::clone(&image_volumes),
            clock: clock.clone(),
            leadership: leadership.clone(),
            metrics: metrics.clone(),
            reporter: reporter.clone(),
            queued: Arc::clone(&queued),
            large_logs: Arc::clone(&large_logs),
            ended_looks: Arc::clone(&ended_looks),
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

/// Waits for the caches of one namespace, or of all. The operator is ready with the first: a namespace that does not
/// exist, or in which it has no rights, must not make it look broken to the others.
async fn filled(namespaces: &str, caches: Caches, readiness: Readiness) {
    if caches.ready().await {
        tracing::info!(namespaces, "caches are synced");
        readiness.set(true);
    }
}

/// Reconciles the resources of one kind until the requests end.
async fn controller(kind: Kind, context: Arc<Context>, requests: Requests) {
    let Some(store) = context.caches.tests.get(&kind).cloned() else {
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
                    // Otherwise a Job that a cache does not show yet would count as deleted.
                    context.caches.ready().await;
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
    fn enqueue(&self, object: &ObjectRef<CachedTest>) {
        let depth = {
            let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
            queued.insert(object.to_string());
            queued.len()
        };
        self.metrics.queue_added();
        self.metrics.queue_depth(depth);
    }

    pub(super) fn dequeue(&self, object: &ObjectRef<CachedTest>) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        queued.remove(&object.to_string());
        self.metrics.queue_depth(queued.len());
    }

    fn after_each(
        &self,
        error: Option<&kube_runtime::controller::Error<Error, kube_runtime::watcher::Error>>,
    ) {
        use kube_runtime::controller::Error as Failure;
        match error {
            Some(Failure::QueueError(error)) => {
                tracing::warn!(namespaces = self.scope, %error, "a watch failed and is opened again");
            }
            Some(Failure::RunnerError(error)) => tracing::error!(%error, "the caches are gone"),
            Some(Failure::ObjectNotFound(object)) => {
                let object = kube_runtime::reflector::ObjectRef::clone(object);
                let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
                queued.remove(&object.to_string());
            }
            Some(Failure::ReconcilerFailed(..)) | None => {}
        }
        self.memory
            .keep(&self.caches.all().iter().filter_map(|test| test.uid()).collect());
        let tests: Vec<_> = self.all_caches.iter().flat_map(Caches::all).collect();
        let mut counts = std::collections::BTreeMap::new();
        let mut retrying = 0;
        for standing in tests.iter().filter_map(|test| test.standing()) {
            let Standing {
                state,
                result,
                retrying: is_retrying,
            } = standing;
            *counts.entry((state, result)).or_insert(0_usize) += 1;
            retrying += usize::from(is_retrying);
        }
        self.metrics.set_retrying(retrying);
        self.metrics.set_runs(
            counts
                .into_iter()
                .map(|((state, result), count)| (state, result, count)),
        );
    }
}
