//! What is watched: the resources, and the Jobs and Pods of runs. Each cache keeps only what is used of an
//! object.

use crate::api::K6;
use crate::build::{RUN_ANNOTATION, RUN_LABEL};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{ReconcileRequest, trigger_self, trigger_with};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};

/// A resource that may not be readable; one that is not never stops the watch of the others.
pub type Guarded = DeserializeGuard<K6>;

type Requests = stream::BoxStream<'static, Result<ReconcileRequest<Guarded>, watcher::Error>>;

/// The caches.
#[derive(Clone)]
pub struct World {
    /// The resources.
    pub k6s: Store<Guarded>,
    /// The Jobs of runs.
    pub jobs: Store<Job>,
    /// The Pods of runs.
    pub pods: Store<Pod>,
}

impl World {
    /// Watches everything; the stream says which resource is to be reconciled.
    pub fn watch(client: &Client) -> (Self, Requests) {
        let (k6s, k6_writer) = store();
        let (jobs, job_writer) = store();
        let (pods, pod_writer) = store();
        let children = watcher::Config::default().labels(RUN_LABEL);
        let k6_events = watcher(Api::<Guarded>::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .modify(|k6| k6.meta_mut().managed_fields = None)
            .reflect(k6_writer)
            .touched_objects();
        let job_events = watcher(Api::<Job>::all(client.clone()), children.clone())
            .default_backoff()
            .modify(slim_job)
            .reflect(job_writer)
            .touched_objects();
        let pod_events = watcher(Api::<Pod>::all(client.clone()), children)
            .default_backoff()
            .modify(slim_pod)
            .reflect(pod_writer)
            .touched_objects();
        let requests = stream::select_all([
            trigger_self(k6_events, ()).boxed(),
            of_children(job_events).boxed(),
            of_children(pod_events).boxed(),
        ]);
        (Self { k6s, jobs, pods }, requests.boxed())
    }

    /// Resolves when every cache has its first view of the cluster.
    pub async fn ready(&self) -> bool {
        let (k6s, jobs, pods) = tokio::join!(
            self.k6s.wait_until_ready(),
            self.jobs.wait_until_ready(),
            self.pods.wait_until_ready()
        );
        k6s.is_ok() && jobs.is_ok() && pods.is_ok()
    }
}

fn of_children<K>(
    events: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<ReconcileRequest<Guarded>, watcher::Error>> + Send
where
    K: Resource + Send + 'static,
{
    trigger_with(events.map_ok(|child| run_of(&child)), |run| run)
}

fn run_of<K: Resource>(child: &K) -> Option<ObjectRef<Guarded>> {
    let name = child.annotations().get(RUN_ANNOTATION)?;
    Some(ObjectRef::new(name).within(child.namespace().as_deref()?))
}

fn slim_job(job: &mut Job) {
    job.metadata.managed_fields = None;
    job.spec = job.spec.take().map(|_| JobSpec::default());
}

fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.spec = pod.spec.take().map(|_| PodSpec::default());
    if let Some(status) = &mut pod.status {
        status.host_ips = None;
        status.pod_ips = None;
        status.qos_class = None;
    }
}
