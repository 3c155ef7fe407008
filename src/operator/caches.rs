//! What is watched: the resources of both kinds, and the Jobs and Pods of runs, in one namespace or in all.
//! Each cache keeps only what is used of an object.

use crate::api::{GROUP, Kind, LoadTest};
use crate::objects::{
    ATTEMPT_LABEL, COMPONENT_LABEL, GENERATION_ANNOTATION, KIND_ANNOTATION, RUN_ANNOTATION, RUN_LABEL,
    RUNNER_LABEL, VOLUME,
};
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, ContainerStatus, EnvVar, PersistentVolumeClaimVolumeSource, Pod,
    PodSpec, PodStatus, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};
use kube_runtime::controller::{ReconcileRequest, trigger_self, trigger_with};
use kube_runtime::reflector::{ObjectRef, Store, store, store::Writer};
use kube_runtime::{WatchStreamExt, watcher};
use std::collections::BTreeMap;

/// How long a watch lasts, in seconds. kube gives one up that has said nothing 5 s after it was to end, so no
/// silently dead connection hides the cluster for longer than 65 s.
const WATCH_SECONDS: u32 = 60;

/// How many objects a list brings at once: a page is in memory as the API server has it, before it is slimmed.
pub(super) const PAGE: u32 = 50;

/// The annotation in which `kubectl apply` keeps a copy of the whole resource.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The longest command, in bytes, that is kept of a container, and the most mounts: more than any of ours has.
const LONGEST_COMMAND: usize = 64 * 1024;
const MOST_MOUNTS: usize = 256;

/// A resource that may not be readable; one that is not never stops the watch of the others.
pub type Guarded = DeserializeGuard<LoadTest>;

/// Says which resources are to be reconciled.
pub type Requests = stream::BoxStream<'static, Result<ReconcileRequest<Guarded>, watcher::Error>>;

/// The caches of one namespace, or of all.
#[derive(Clone)]
pub struct Caches {
    /// The resources of each kind.
    pub tests: BTreeMap<Kind, Store<Guarded>>,
    /// The Jobs of runs.
    pub jobs: Store<Job>,
    /// The Pods of runs.
    pub pods: Store<Pod>,
}

/// A caches, and what keeps it up to date.
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
            .try_filter_map(|event| future::ok(kept(event, is_of_a_run, slim_job)))
            .reflect(job_writer)
            .touched_objects();
        let pod_events = watcher(api::<Pod>(client, namespace), config)
            .default_backoff()
            .try_filter_map(|event| future::ok(kept(event, is_of_a_job, slim_pod)))
            .reflect(pod_writer)
            .touched_objects();

        let mut tests = BTreeMap::new();
        let mut requests = Vec::new();
        let mut of_kind = BTreeMap::new();
        for kind in Kind::ALL {
            let writer = Writer::<Guarded>::new(kind);
            tests.insert(kind, writer.as_reader());
            let api: Api<Guarded> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
                None => Api::all_with(client.clone(), &kind),
            };
            let events = watcher(api, lasting.clone())
                .default_backoff()
                .modify(|test| slim_test(test.meta_mut()))
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

    /// All resources of both kinds.
    pub fn all(&self) -> Vec<std::sync::Arc<Guarded>> {
        self.tests.values().flat_map(Store::state).collect()
    }
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

type Request = Result<ReconcileRequest<Guarded>, watcher::Error>;

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
    events: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Request> + Send
where
    K: Resource + Send + 'static,
{
    trigger_with(events.map_ok(|child| run_of(&child)), |run| run)
}

fn run_of<K: Resource>(child: &K) -> Option<ObjectRef<Guarded>> {
    let name = child.annotations().get(RUN_ANNOTATION)?;
    let kind = child
        .annotations()
        .get(KIND_ANNOTATION)
        .and_then(|kind| Kind::parse(kind))?;
    Some(ObjectRef::new_with(name, kind).within(child.namespace().as_deref()?))
}

/// What is kept of an event: nothing of an object that is no run's, which costs no memory so, whoever labels it.
fn kept<K>(
    event: watcher::Event<K>,
    is_ours: impl Fn(&K) -> bool,
    slim: impl Fn(&mut K),
) -> Option<watcher::Event<K>> {
    let slimmed = |mut object: K| {
        slim(&mut object);
        object
    };
    Some(match event {
        watcher::Event::Apply(object) if is_ours(&object) => watcher::Event::Apply(slimmed(object)),
        // It may have been ours until now.
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
            watcher::Event::Delete(slimmed(object))
        }
        watcher::Event::InitApply(object) if is_ours(&object) => watcher::Event::InitApply(slimmed(object)),
        watcher::Event::InitApply(_) => return None,
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

/// Whether one of our resources owns the Job, the one that its label names.
fn is_of_a_run(job: &Job) -> bool {
    let run = job.labels().get(RUN_LABEL);
    let mut owners = job.owner_references().iter().filter(|owner| is_test(owner));
    owners.any(|owner| Some(&owner.uid) == run)
}

fn is_of_a_job(pod: &Pod) -> bool {
    pod.owner_references().iter().any(is_job)
}

fn is_test(owner: &OwnerReference) -> bool {
    owner.api_version.split('/').next() == Some(GROUP)
}

fn is_job(owner: &OwnerReference) -> bool {
    owner.kind == "Job"
}

/// What is used of the metadata of a Job or pod. An object may have 256 KiB of annotations, labels without limit, and
/// owners too.
fn slim_metadata(metadata: &mut ObjectMeta, is_owner: fn(&OwnerReference) -> bool) {
    const LABELS: [&str; 4] = [RUN_LABEL, ATTEMPT_LABEL, COMPONENT_LABEL, RUNNER_LABEL];
    const ANNOTATIONS: [&str; 3] = [RUN_ANNOTATION, KIND_ANNOTATION, GENERATION_ANNOTATION];
    let ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        deletion_timestamp,
        labels,
        annotations,
        owner_references,
        deletion_grace_period_seconds: _,
        finalizers: _,
        generate_name: _,
        generation: _,
        managed_fields: _,
        self_link: _,
    } = std::mem::take(metadata);
    let used = |names: &[&str], map: Option<BTreeMap<String, String>>| {
        map.map(|map| {
            let kept = map.into_iter().filter(|(key, _)| names.contains(&key.as_str()));
            kept.collect()
        })
    };
    // A controller is one object; pod and Job have no other owner that counts.
    let owners = owner_references.into_iter().flatten().filter(is_owner).take(2);
    *metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        deletion_timestamp,
        labels: used(&LABELS, labels),
        annotations: used(&ANNOTATIONS, annotations),
        owner_references: Some(exactly(owners)),
        ..ObjectMeta::default()
    };
}

/// A resource without what only other tools use.
pub(super) fn slim_test(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// What is used of a Job: whose it is, and how it ended.
pub(super) fn slim_job(job: &mut Job) {
    slim_metadata(&mut job.metadata, is_test);
    job.spec = None;
    if let Some(status) = &mut job.status {
        status.uncounted_terminated_pods = None;
        status.conditions = status.conditions.take().map(|all| exactly(all.into_iter()));
    }
}

/// What says why k6 failed: where its log goes, and which file it could not find. The segments of all runners, which
/// each of them is told, are most of a pod and no part of it.
fn explaining(container: Container) -> Container {
    let said = |words: Option<Vec<String>>| {
        let kept = |word: &String| !word.starts_with("--execution-segment");
        let words: Option<Vec<String>> = words.map(|words| words.into_iter().filter(kept).collect());
        words.filter(|words| words.iter().map(String::len).sum::<usize>() <= LONGEST_COMMAND)
    };
    let of_k6 = |variable: &EnvVar| variable.name.starts_with("K6_LOG");
    let placed = |mount: VolumeMount| VolumeMount {
        name: mount.name,
        mount_path: mount.mount_path,
        ..VolumeMount::default()
    };
    let mounts = container.volume_mounts.into_iter().flatten().take(MOST_MOUNTS);
    Container {
        name: container.name,
        image: container.image,
        command: said(container.command),
        args: said(container.args),
        env: container.env.map(|all| all.into_iter().filter(of_k6).collect()),
        volume_mounts: Some(mounts.map(placed).collect()),
        ..Container::default()
    }
}

/// What a message names of a volume.
fn named_volume(volume: Volume) -> Volume {
    Volume {
        name: volume.name,
        config_map: volume.config_map.map(|map| ConfigMapVolumeSource {
            name: map.name,
            ..ConfigMapVolumeSource::default()
        }),
        persistent_volume_claim: volume.persistent_volume_claim.map(|claim| {
            PersistentVolumeClaimVolumeSource {
                claim_name: claim.claim_name,
                read_only: None,
            }
        }),
        ..Volume::default()
    }
}

/// What is used of a pod: whose it is, what explains a failure, and its status.
pub(super) fn slim_pod(pod: &mut Pod) {
    slim_metadata(&mut pod.metadata, is_job);
    // Sidecars are told apart from init containers by their restart policy.
    let named = |container: Container| Container {
        name: container.name,
        restart_policy: container.restart_policy,
        ..Container::default()
    };
    // A runner that passed has nothing to explain. Its Job, and its exit code, say all.
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let component = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(COMPONENT_LABEL));
    let passed = phase == Some("Succeeded") && component.is_some_and(|component| component == "runner");
    pod.spec = pod.spec.take().map(|spec| {
        let containers = spec.containers.into_iter().filter(|_| !passed);
        let init_containers = spec.init_containers.into_iter().flatten().filter(|_| !passed);
        let volumes = spec.volumes.into_iter().flatten();
        let script = volumes.filter(|volume| !passed && volume.name == VOLUME).take(1);
        PodSpec {
            init_containers: Some(exactly(init_containers.map(named))),
            containers: exactly(containers.map(explaining)),
            restart_policy: spec.restart_policy,
            volumes: Some(exactly(script.map(named_volume))),
            ..PodSpec::default()
        }
    });
    let ended = |container: ContainerStatus| ContainerStatus {
        name: container.name,
        image: container.image,
        ready: container.ready,
        restart_count: container.restart_count,
        started: container.started,
        state: container.state,
        last_state: container.last_state,
        ..ContainerStatus::default()
    };
    pod.status = pod.status.take().map(|status| {
        let conditions = status.conditions.into_iter().flatten().filter(|_| !passed);
        let init = status
            .init_container_statuses
            .into_iter()
            .flatten()
            .filter(|_| !passed);
        PodStatus {
            phase: status.phase,
            reason: status.reason,
            message: status.message,
            conditions: Some(exactly(conditions)),
            pod_ip: status.pod_ip,
            container_statuses: status
                .container_statuses
                .map(|all| exactly(all.into_iter().map(ended))),
            init_container_statuses: Some(exactly(init.map(ended))),
            ..PodStatus::default()
        }
    });
}

/// A list without room for more: a status of a container takes 752 bytes, and a list of one has room for four.
fn exactly<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.shrink_to_fit();
    items
}

#[cfg(test)]
mod tests {
    use super::{Kind, is_of_a_job, is_of_a_run, kept, slim_job, slim_pod, slim_test};
    use crate::api::{LoadTest, Spec};
    use crate::machine::Aggregation;
    use crate::objects::{Common, Defaults, Owner, ValidatedRun, runner, validate};
    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::Pod;
    use kube_runtime::watcher::Event;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[test]
    fn cached_pod_keeps_what_explains_a_failure_and_not_the_segments_of_all_runners() {
        let pod = json!({"metadata": {"name": "a", "managedFields": []}, "spec": {
            "nodeName": "node", "restartPolicy": "Never",
            "initContainers": [{"name": "side", "image": "x", "restartPolicy": "Always"}],
            "containers": [{
                "name": "k6", "image": "k6", "resources": {"limits": {"cpu": "1"}},
                "command": ["k6", "run", "--execution-segment-sequence=0,1/2,1", "--log-output=none", "/test/a.js"],
                "env": [{"name": "K6_LOG_OUTPUT", "value": "none"}, {"name": "TOKEN", "value": "abc"}],
                "volumeMounts": [{"name": "k6-test-volume", "mountPath": "/test", "readOnly": true}]
            }],
            "volumes": [{"name": "k6-test-volume", "persistentVolumeClaim": {"claimName": "scripts", "readOnly": true}}]
        }});
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        slim_pod(&mut pod);
        let kept: Value = serde_json::to_value(pod.spec).unwrap();
        assert_eq!(
            kept,
            json!({
                "restartPolicy": "Never", "initContainers": [{"name": "side", "restartPolicy": "Always"}],
                "containers": [{
                    "name": "k6", "image": "k6", "command": ["k6", "run", "--log-output=none", "/test/a.js"],
                    "env": [{"name": "K6_LOG_OUTPUT", "value": "none"}],
                    "volumeMounts": [{"name": "k6-test-volume", "mountPath": "/test"}]
                }],
                "volumes": [{"name": "k6-test-volume", "persistentVolumeClaim": {"claimName": "scripts"}}]
            })
        );
    }

    /// The Job of one of 2,000 runners, with what the API server and the Job controller add.
    fn job() -> Job {
        let owner = Owner {
            kind: Kind::K6,
            name: "checkout-nightly".to_owned(),
            namespace: "load-tests".to_owned(),
            uid: "90208d26-7f0c-4c3e-9f51-6c1a5d2e8b17".to_owned(),
            generation: 1,
            attempt: 1,
        };
        let spec = json!({"parallelism": 2000, "script": "checkout", "arguments": "--tag team=shop"});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let defaults = Defaults {
            runner_image: "grafana/k6:1.1.0".to_owned(),
            starter_image: "registry.example.com/k6-operator:0.1.0".to_owned(),
            common: Common::default(),
        };
        let aggregation = Aggregation {
            output: "opentelemetry".to_owned(),
            k6_version: "1.1.0".to_owned(),
            setup_seconds: Some(60),
            teardown_seconds: Some(60),
            system_tags: None,
            script_metrics: Default::default(),
        };
        let plan = json!({"parallelism": 2000, "aggregation": aggregation});
        let run = ValidatedRun {
            owner,
            spec: validate(&spec, &defaults).unwrap(),
            plan: Some(serde_json::from_value(plan).unwrap()),
        };
        let mut job = runner(&run, (1000, 2000), Some("10.96.0.9:4318"));
        let added = json!({
            "metadata": {
                "uid": "1f4bd0a3-58b0-4f0c-8a1e-2f7c9d3b6e55", "resourceVersion": "1234567",
                "creationTimestamp": "2026-11-27T08:00:00Z", "generation": 1,
                "managedFields": [{"manager": "k6-operator", "fieldsV1": {"f:spec": "x".repeat(2000)}}]
            },
            "status": {
                "conditions": [{
                    "type": "Complete", "status": "True", "reason": "CompletionsReached",
                    "message": "Reached expected number of succeeded pods",
                    "lastProbeTime": "2026-11-27T09:00:00Z", "lastTransitionTime": "2026-11-27T09:00:00Z"
                }],
                "startTime": "2026-11-27T08:00:00Z", "completionTime": "2026-11-27T09:00:00Z", "succeeded": 1,
                "ready": 0, "terminating": 0, "uncountedTerminatedPods": {"succeeded": [], "failed": []}
            }
        });
        let added: Job = serde_json::from_value(added).unwrap();
        job.metadata.uid = added.metadata.uid;
        job.metadata.resource_version = added.metadata.resource_version;
        job.metadata.creation_timestamp = added.metadata.creation_timestamp;
        job.metadata.managed_fields = added.metadata.managed_fields;
        job.status = added.status;
        job
    }

    /// Its pod, which has ended.
    fn pod() -> Pod {
        let job = job();
        let template = job.spec.unwrap().template;
        let container = |name: &str| {
            json!({
                "name": name, "image": "docker.io/grafana/k6:1.1.0", "imageID": format!("sha256:{}", "0".repeat(64)),
                "containerID": format!("containerd://{}", "0".repeat(64)), "ready": false, "restartCount": 0,
                "started": false, "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
                "volumeMounts": [{"name": "k6-test-volume", "mountPath": "/test", "readOnly": true}],
                "state": {"terminated": {
                    "exitCode": 0, "reason": "Completed", "startedAt": "2026-11-27T08:00:00Z",
                    "finishedAt": "2026-11-27T09:00:00Z", "containerID": format!("containerd://{}", "0".repeat(64))
                }}
            })
        };
        let condition = |name: &str| {
            json!({
                "type": name, "status": "False", "reason": "PodCompleted", "observedGeneration": 1,
                "lastProbeTime": null, "lastTransitionTime": "2026-11-27T09:00:00Z"
            })
        };
        let conditions = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ];
        let pod = json!({
            "metadata": {
                "name": "checkout-nightly-1000-x7k2p", "generateName": "checkout-nightly-1000-",
                "uid": "7b0c2a44-90ab-4a37-b7c7-3e5f1a9d8c21", "resourceVersion": "1234568",
                "creationTimestamp": "2026-11-27T08:00:00Z",
                "labels": template.metadata.as_ref().unwrap().labels,
                "annotations": template.metadata.as_ref().unwrap().annotations,
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": "x".repeat(2000)}}],
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": "checkout-nightly-1000", "controller": true,
                    "uid": "1f4bd0a3-58b0-4f0c-8a1e-2f7c9d3b6e55", "blockOwnerDeletion": true
                }]
            },
            "status": {
                "phase": "Succeeded", "conditions": conditions.map(condition), "hostIP": "10.0.0.1",
                "podIP": "10.88.0.7", "podIPs": [{"ip": "10.88.0.7"}], "qosClass": "Burstable",
                "startTime": "2026-11-27T08:00:00Z",
                "initContainerStatuses": [container("copy")], "containerStatuses": [container("k6")]
            }
        });
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        pod.spec = template.spec;
        pod
    }

    fn bytes(object: &impl serde::Serialize) -> usize {
        serde_json::to_vec(object).unwrap().len()
    }

    /// docs/operating.md has these numbers.
    #[test]
    fn ended_runner_takes_a_few_kilobytes_of_the_caches_however_many_others_there_are() {
        let (mut job, mut pod) = (job(), pod());
        let before = (bytes(&job), bytes(&pod));
        assert!(before.0 > 20_000 && before.1 > 20_000, "{before:?}");
        slim_job(&mut job);
        slim_pod(&mut pod);
        let after = (bytes(&job), bytes(&pod));
        assert!(after.0 < 1_300 && after.1 < 1_500, "{after:?}");
    }

    /// Labels, annotations, owners, finalizers and commands as long as the API server takes them.
    #[test]
    fn labelled_objects_of_others_cost_nothing_and_what_is_added_to_ours_is_not_kept() {
        let (mut job, mut pod) = (job(), pod());
        let large: BTreeMap<String, String> =
            (0..1000).map(|i| (format!("key-{i}"), "x".repeat(60))).collect();
        for metadata in [&mut job.metadata, &mut pod.metadata] {
            metadata.labels.as_mut().unwrap().extend(large.clone());
            metadata.annotations.as_mut().unwrap().extend(large.clone());
            metadata.finalizers = Some(large.keys().cloned().collect());
            let owners = metadata.owner_references.as_mut().unwrap();
            let owner = owners[0].clone();
            owners.extend(std::iter::repeat_n(owner, 1000));
        }
        // One that failed keeps what explains it.
        pod.status.as_mut().unwrap().phase = Some("Failed".to_owned());
        let spec = pod.spec.as_mut().unwrap();
        spec.containers[0].args = Some(vec!["x".repeat(200_000)]);
        let mount = spec.containers[0].volume_mounts.as_ref().unwrap()[0].clone();
        spec.containers[0].volume_mounts = Some(vec![mount; 5000]);
        slim_job(&mut job);
        slim_pod(&mut pod);
        let after = (bytes(&job), bytes(&pod));
        assert!(after.0 < 1_600 && after.1 < 25_000, "{after:?}");

        let (mut stranger, mut alone) = (self::job(), self::pod());
        stranger.metadata.owner_references.as_mut().unwrap()[0].uid = "other".to_owned();
        alone.metadata.owner_references = None;
        assert!(kept(Event::InitApply(stranger.clone()), is_of_a_run, slim_job).is_none());
        assert!(kept(Event::InitApply(alone.clone()), is_of_a_job, slim_pod).is_none());
        // What was ours leaves the cache.
        let gone = kept(Event::Apply(stranger), is_of_a_run, slim_job);
        assert!(matches!(gone, Some(Event::Delete(_))));
        let gone = kept(Event::Apply(alone), is_of_a_job, slim_pod);
        assert!(matches!(gone, Some(Event::Delete(_))));
        let ours = kept(Event::InitApply(self::job()), is_of_a_run, slim_job);
        assert!(matches!(ours, Some(Event::InitApply(_))));
        let ours = kept(Event::Apply(self::pod()), is_of_a_job, slim_pod);
        assert!(matches!(ours, Some(Event::Apply(_))));
    }

    #[test]
    fn cached_resource_has_no_second_copy_of_its_spec() {
        let test = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "K6", "spec": {"parallelism": 1, "script": "s"},
            "metadata": {"name": "a", "managedFields": [], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"
            }}
        });
        let mut test: LoadTest = serde_json::from_value(test).unwrap();
        slim_test(&mut test.metadata);
        assert_eq!(
            serde_json::to_value(&test.metadata).unwrap(),
            json!({"name": "a", "annotations": {"team": "a"}})
        );
    }
}
