//! What is watched: the resources of both kinds, and the Jobs and Pods of runs, in one namespace or in all.
//! Each cache keeps only what is used of an object.

mod cached;
mod resource;
mod slim;
#[cfg(test)]
mod tests;
mod unpacked;

pub use resource::{CachedTest, Standing};
pub(super) use slim::{slim_job, slim_pod, slim_test};
pub(super) use unpacked::{Unpacked, UnpackedOf};

use super::error::Error;
use crate::api::Kind;
use crate::objects::{KIND_ANNOTATION, RUN_ANNOTATION, RUN_LABEL};
use cached::{Cached, Child, each};
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Resource, ResourceExt};
use kube_runtime::controller::{ReconcileRequest, trigger_self, trigger_with};
use kube_runtime::reflector::{ObjectRef, Store, reflector, store, store::Writer};
use kube_runtime::{WatchStreamExt, watcher};
use resource::Guarded;
use slim::{is_of_a_job, is_of_a_run, kept};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a watch lasts, in seconds. kube gives one up that has said nothing 5 s after it was to end, so no
/// silently dead connection hides the cluster for longer than 65 s.
const WATCH_SECONDS: u32 = 60;

/// How many objects a list brings at once: a page is in memory as the API server has it, before it is slimmed.
pub(super) const PAGE: u32 = 50;

/// Says which resources are to be reconciled.
pub type Requests = stream::BoxStream<'static, Result<ReconcileRequest<CachedTest>, watcher::Error>>;

/// The caches of one namespace, or of all.
#[derive(Clone)]
pub struct Caches {
    /// The resources of each kind.
    pub tests: BTreeMap<Kind, Store<CachedTest>>,
    jobs: Store<Cached<Job>>,
    pods: Store<Cached<Pod>>,
}

/// The caches, and what keeps them up to date.
pub struct Watch {
    /// The caches.
    pub caches: Caches,
    /// What is to be reconciled of each kind.
    pub requests: Vec<(Kind, Requests)>,
    /// Feeds the caches of Jobs and Pods; must be polled, and never ends.
    pub children: stream::BoxStream<'static, ()>,
}

impl Caches {
    /// Watches a namespace, or all.
    pub fn watch(client: &Client, namespace: Option<&str>) -> Watch {
        let (jobs, job_writer) = store();
        let (pods, pod_writer) = store();
        let lasting = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        let config = lasting.clone().labels(RUN_LABEL);
        let job_events = watcher(api::<Job>(client, namespace), config.clone())
            .default_backoff()
            .try_filter_map(|event| {
                future::ok(kept(event, is_of_a_run, slim_job).map(|event| each(event, Cached::of)))
            });
        let job_events = reflector(job_writer, job_events).touched_objects();
        let pod_events = watcher(api::<Pod>(client, namespace), config)
            .default_backoff()
            .try_filter_map(|event| {
                future::ok(kept(event, is_of_a_job, slim_pod).map(|event| each(event, Cached::of)))
            });
        let pod_events = reflector(pod_writer, pod_events).touched_objects();

        let mut tests = BTreeMap::new();
        let mut requests = Vec::new();
        let mut of_kind = BTreeMap::new();
        for kind in Kind::ALL {
            let writer = Writer::<CachedTest>::new(kind);
            tests.insert(kind, writer.as_reader());
            let api: Api<Guarded> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
                None => Api::all_with(client.clone(), &kind),
            };
            let events = watcher(api, lasting.clone())
                .default_backoff()
                .modify(|test| slim_test(test.meta_mut()))
                .map_ok(|event| each(event, CachedTest::of))
                .reflect(writer)
                .touched_objects();
            let (sender, receiver): (_, UnboundedReceiver<_>) = mpsc::unbounded();
            of_kind.insert(kind, sender);
            let all: Requests = stream::select(trigger_self(events, kind), receiver).boxed();
            requests.push((kind, all));
        }
        let children = stream::select(of_children(job_events), of_children(pod_events));
        let children = children.map(move |request| dispatch(&of_kind, request)).boxed();
        Watch {
            caches: Self { tests, jobs, pods },
            requests,
            children,
        }
    }

    /// Resolves when every cache has its first view of the cluster.
    pub async fn ready(&self) -> bool {
        let tests = futures::future::join_all(self.tests.values().map(Store::wait_until_ready));
        let (tests, jobs, pods) =
            tokio::join!(tests, self.jobs.wait_until_ready(), self.pods.wait_until_ready());
        tests.iter().all(Result::is_ok) && jobs.is_ok() && pods.is_ok()
    }

    /// The Job of a name.
    pub fn job(&self, namespace: &str, name: &str) -> Result<Option<Arc<Job>>, Error> {
        let found = self.jobs.get(&ObjectRef::new(name).within(namespace));
        Ok(found.map(|cached| cached.object()).transpose()?)
    }

    /// The Jobs of all runs of the resource with this uid.
    pub fn jobs_of(&self, uid: &str, unpacked: &mut UnpackedOf<Job>) -> Result<Vec<Arc<Job>>, Error> {
        objects_of(&self.jobs, uid, unpacked)
    }

    /// The pods of all runs of the resource with this uid.
    pub fn pods_of(&self, uid: &str, unpacked: &mut UnpackedOf<Pod>) -> Result<Vec<Arc<Pod>>, Error> {
        objects_of(&self.pods, uid, unpacked)
    }

    /// All resources of both kinds.
    pub fn all(&self) -> Vec<Arc<CachedTest>> {
        self.tests.values().flat_map(Store::state).collect()
    }
}

fn objects_of<K: Child + Clone + 'static>(
    store: &Store<Cached<K>>,
    uid: &str,
    unpacked: &mut UnpackedOf<K>,
) -> Result<Vec<Arc<K>>, Error> {
    Ok(unpacked.objects(store.state_filter(|cached| cached.is_of(uid)))?)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

type Request = Result<ReconcileRequest<CachedTest>, watcher::Error>;

/// A change of a child goes to the queue of its owner's kind; a failure of a watch is told once.
fn dispatch(of_kind: &BTreeMap<Kind, UnboundedSender<Request>>, request: Request) {
    let kind = request
        .as_ref()
        .map_or(Kind::default(), |request| request.obj_ref.dyntype);
    if let Some(queue) = of_kind.get(&kind) {
        // Fails only when the queue is gone, at the end of the program.
        let _ = queue.unbounded_send(request);
    }
}

fn of_children<K>(
    events: impl Stream<Item = Result<Cached<K>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Request> + Send
where
    K: Child + Send + Sync + 'static,
{
    let run = |child: Cached<K>| child.object().ok().and_then(|child| run_of(child.as_ref()));
    trigger_with(events.map_ok(run), |run| run)
}

fn run_of<K: Resource>(child: &K) -> Option<ObjectRef<CachedTest>> {
    let name = child.annotations().get(RUN_ANNOTATION)?;
    let kind = child
        .annotations()
        .get(KIND_ANNOTATION)
        .and_then(|kind| Kind::parse(kind))?;
    Some(ObjectRef::new_with(name, kind).within(child.namespace().as_deref()?))
}
