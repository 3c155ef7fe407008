//! What the caches keep of an object: only what is used.

use crate::api::GROUP;
use crate::k6::log;
use crate::objects::{
    ATTEMPT_LABEL, COMPONENT_LABEL, GENERATION_ANNOTATION, KIND_ANNOTATION, RUN_ANNOTATION, RUN_LABEL,
    RUNNER_LABEL, VOLUME,
};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, ContainerState, ContainerStateTerminated, ContainerStatus, EnvVar,
    PersistentVolumeClaimVolumeSource, Pod, PodSpec, PodStatus, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube_runtime::watcher;
use std::collections::BTreeMap;

/// The annotation in which `kubectl apply` keeps a copy of the whole resource.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The longest command, in bytes, that is kept of a container, and the most mounts: more than any of ours has.
const LONGEST_COMMAND: usize = 64 * 1024;

const MOST_MOUNTS: usize = 256;

/// What is kept of an event: nothing of an object that is no run's, which costs no memory so, whoever labels it.
pub(super) fn kept<K>(
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
pub(super) fn is_of_a_run(job: &Job) -> bool {
    let run = job.labels().get(RUN_LABEL);
    let mut owners = job.owner_references().iter().filter(|owner| is_test(owner));
    owners.any(|owner| Some(&owner.uid) == run)
}

pub(super) fn is_of_a_job(pod: &Pod) -> bool {
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
        creation_timestamp,
        deletion_timestamp,
        labels,
        annotations,
        owner_references,
        resource_version: _,
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
    let named = |owner: OwnerReference| OwnerReference {
        block_owner_deletion: None,
        ..owner
    };
    // A controller is one object; pod and Job have no other owner that counts.
    let owners = owner_references.into_iter().flatten().filter(is_owner).take(2);
    *metadata = ObjectMeta {
        name,
        namespace,
        uid,
        creation_timestamp,
        deletion_timestamp,
        labels: used(&LABELS, labels),
        annotations: used(&ANNOTATIONS, annotations),
        owner_references: Some(exactly(owners.map(named))),
        ..ObjectMeta::default()
    };
}

/// A resource without what only other tools use.
pub(in crate::operator) fn slim_test(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// What is used of a Job: whose it is, and how it ended.
pub(in crate::operator) fn slim_job(job: &mut Job) {
    slim_metadata(&mut job.metadata, is_test);
    job.spec = None;
    // Nobody asks why it passed.
    let said = |condition: JobCondition| {
        let passed = matches!(condition.type_.as_str(), "Complete" | "SuccessCriteriaMet");
        JobCondition {
            reason: condition.reason.filter(|_| !passed),
            message: condition.message.filter(|_| !passed),
            type_: condition.type_,
            status: condition.status,
            ..JobCondition::default()
        }
    };
    job.status = job.status.take().map(|status| {
        let conditions = status.conditions.into_iter().flatten();
        JobStatus {
            conditions: Some(exactly(conditions.map(said))),
            ..JobStatus::default()
        }
    });
}

/// What says why k6 failed: where its log goes, and which file it could not find. The segments of all runners, which
/// each of them is told, are most of a pod and no part of it.
fn explaining(container: Container) -> Container {
    let said = |words: Option<Vec<String>>| {
        let kept = |word: &String| !word.starts_with("--execution-segment");
        let words: Option<Vec<String>> = words.map(|words| words.into_iter().filter(kept).collect());
        words.filter(|words| words.iter().map(String::len).sum::<usize>() <= LONGEST_COMMAND)
    };
    let of_k6 = |variable: &EnvVar| log::VARIABLES.contains(&variable.name.as_str());
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
pub(in crate::operator) fn slim_pod(pod: &mut Pod) {
    slim_metadata(&mut pod.metadata, is_job);
    // Sidecars are told apart from init containers by their restart policy.
    let named = |container: Container| Container {
        name: container.name,
        restart_policy: container.restart_policy,
        ..Container::default()
    };
    // One that passed has nothing to explain.
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let passed = phase == Some("Succeeded");
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
    let in_state = |container: ContainerStatus| ContainerStatus {
        name: container.name,
        image: if passed { String::new() } else { container.image },
        state: container.state.map(|state| ContainerState {
            terminated: state.terminated.map(|ended| ContainerStateTerminated {
                container_id: None,
                started_at: None,
                ..ended
            }),
            ..state
        }),
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
                .map(|all| exactly(all.into_iter().map(in_state))),
            init_container_statuses: Some(exactly(init.map(in_state))),
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
