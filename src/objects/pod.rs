//! What all pods of a run have in common: metadata, hardening, and the frame of a Job.

use super::names;
use super::programs::{PROGRAM, PROVIDED};
use crate::api::{GROUP, InitContainer, Kind, PodSettings, PodTemplate, PullPolicy, Resources, VERSION};
use crate::k6::refusal::{RESOLUTION, RESOLUTION_BEFORE};
pub(super) use crate::machine::Part;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// The port of k6's REST API.
pub const PORT: i32 = 6565;

/// The user and group of runner pods: those of the official k6 image, as numbers, from which the kubelet can tell that
/// they are not root.
const RUNNER_USER: i64 = 12345;

/// How long after its own deadline a program may still report, until the deadline of its Job.
pub(super) const REPORT_TIME: SignedDuration = SignedDuration::from_secs(10);

/// How often the container of an aggregator may be restarted. The next exports of the runners bring what it has lost.
const AGGREGATORS: i32 = 20;

/// The user and group of starter, stopper and aggregator.
const PROGRAM_USER: i64 = 65532;

/// The architecture of this program, as nodes are labelled. Most pods of a run contain the program.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// Values for what a spec leaves open.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Image of runners and initializers.
    pub runner_image: String,
    /// Image of starters and stoppers: it has the operator's program.
    pub starter_image: String,
    /// The administrator's settings for all resources.
    pub common: super::Common,
}

/// The run that owns the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The kind of the resource.
    pub kind: Kind,
    /// metadata.name of the resource.
    pub name: String,
    /// metadata.namespace of the resource.
    pub namespace: String,
    /// metadata.uid of the resource.
    pub uid: String,
    /// metadata.generation of the resource.
    pub generation: i64,
    /// The number of the run among those of the resource, from 1.
    pub attempt: u32,
}

impl Owner {
    /// The beginning of the names of the run's objects.
    pub fn stem(&self) -> String {
        names::stem(&self.name, self.attempt)
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.kind.as_str().to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Metadata of an object of the run that has no counterpart in grafana/k6-operator.
    pub(super) fn metadata(&self, name: String, component: &str) -> ObjectMeta {
        let labels = [
            ("app", "k6-operator".to_owned()),
            (names::RUN_NAME_LABEL, names::run_label(&self.name)),
            (names::RUN_LABEL, self.uid.clone()),
            (names::ATTEMPT_LABEL, self.attempt.to_string()),
            (names::COMPONENT_LABEL, component.to_owned()),
        ];
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
            annotations: Some(BTreeMap::from([
                (names::RUN_ANNOTATION.to_owned(), self.name.clone()),
                (names::KIND_ANNOTATION.to_owned(), self.kind.as_str().to_owned()),
            ])),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }
}

impl Part {
    /// The name of the Job for this part.
    pub fn name(self, stem: &str) -> String {
        match self {
            Self::Initializer => names::initializer_name(stem),
            Self::Runner(i) => names::runner_name(stem, i),
            Self::Starter => names::starter_name(stem),
            Self::Stopper => names::stopper_name(stem),
            Self::Aggregator => names::aggregator_name(stem),
        }
    }

    /// True if grafana/k6-operator has such a pod. Tools count and select those by `app=k6,k6_cr=NAME`.
    /// <https://github.com/grafana/k6-operator/blob/main/pkg/resources/jobs/helpers.go>
    fn is_counted(self) -> bool {
        match self {
            Self::Initializer | Self::Runner(_) | Self::Starter => true,
            Self::Stopper | Self::Aggregator => false,
        }
    }

    fn user(self) -> i64 {
        match self {
            Self::Initializer | Self::Runner(_) => RUNNER_USER,
            Self::Starter | Self::Stopper | Self::Aggregator => PROGRAM_USER,
        }
    }
}

/// A Job with one pod, which is never replaced. The settings complete `pod`.
pub(super) fn job(
    owner: &Owner,
    part: Part,
    deadline: Option<SignedDuration>,
    settings: &PodSettings,
    pod: PodSpec,
) -> Job {
    let mut metadata = owner.metadata(part.name(&owner.stem()), part.as_str());
    let labels = metadata.labels.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    if part.is_counted() {
        labels.insert("app".to_owned(), "k6".to_owned());
        labels.insert("k6_cr".to_owned(), names::run_label(&owner.name));
    }
    match part {
        Part::Runner(i) => {
            labels.insert(names::RUNNER_LABEL.to_owned(), i.to_string());
            labels.insert("runner".to_owned(), "true".to_owned());
        }
        Part::Initializer => {
            annotations.insert(
                names::GENERATION_ANNOTATION.to_owned(),
                owner.generation.to_string(),
            );
        }
        Part::Starter | Part::Stopper | Part::Aggregator => {}
    }
    // The user's labels come first, so that they can't override those that dashboards and the operator depend on.
    let user = &settings.common.metadata;
    let mut all_labels = user.labels.clone();
    all_labels.retain(|key, _| !names::RESERVED_LABELS.contains(&key.as_str()));
    all_labels.append(labels);
    let mut all_annotations = user.annotations.clone();
    all_annotations.append(annotations);
    metadata.labels = Some(all_labels.clone());
    metadata.annotations = Some(all_annotations.clone());
    let mut pod_annotations = all_annotations;
    for (key, value) in names::KEPT_ON_ITS_NODE {
        let annotation = pod_annotations.entry(key.to_owned());
        annotation.or_insert_with(|| value.to_owned());
    }
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(if part == Part::Aggregator { AGGREGATORS } else { 0 }),
            completions: Some(1),
            parallelism: Some(1),
            active_deadline_seconds: deadline.map(|deadline| deadline.as_secs()),
            // A lost pod must be gone before another takes its place: both would generate load.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(all_labels),
                    annotations: Some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(framed(part, settings, pod)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn framed(part: Part, settings: &PodSettings, pod: PodSpec) -> PodSpec {
    let common = &settings.common;
    let user = part.user();
    let mount_token = common.automount_service_account_token.map(|flag| flag.0);
    let init = settings.init_containers.iter().enumerate().map(init_container);
    let own = pod.init_containers.unwrap_or_default();
    let init_containers: Vec<Container> = init.chain(own).collect();
    let own_volumes = pod.volumes.unwrap_or_default();
    let volumes: Vec<_> = own_volumes
        .into_iter()
        .chain(settings.volumes.iter().cloned())
        .collect();
    let mut node_selector = common.node_selector.clone();
    let mut containers = pod.containers.iter().chain(&init_containers);
    if containers.any(runs_our_program) && !names_an_architecture(common) {
        node_selector.insert(names::ARCHITECTURE_LABEL.to_owned(), ARCHITECTURE.to_owned());
    }
    PodSpec {
        // An aggregator is restarted in place, where it finds the files that it has kept.
        restart_policy: Some(
            if part == Part::Aggregator {
                "OnFailure"
            } else {
                "Never"
            }
            .to_owned(),
        ),
        // A pod with an explicit service account mounts its token.
        automount_service_account_token: mount_token
            .or_else(|| common.service_account_name.is_none().then_some(false)),
        service_account_name: common.service_account_name.clone(),
        enable_service_links: Some(false),
        security_context: common.security_context.as_deref().cloned().or_else(|| {
            Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(user),
                run_as_group: Some(user),
                // No fsGroup: the kubelet would give every file of a volume claim to that group.
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            })
        }),
        node_selector: given_map(&node_selector),
        tolerations: given(&common.tolerations),
        topology_spread_constraints: given(&common.topology_spread_constraints),
        priority_class_name: common.priority_class_name.clone(),
        scheduler_name: common.scheduler_name.clone(),
        image_pull_secrets: given(&common.image_pull_secrets),
        affinity: pod.affinity.or_else(|| common.affinity.as_deref().cloned()),
        init_containers: given(&init_containers),
        volumes: given(&volumes),
        ..PodSpec {
            init_containers: None,
            volumes: None,
            affinity: None,
            ..pod
        }
    }
}

fn runs_our_program(container: &Container) -> bool {
    let program = container.command.iter().flatten().next();
    program.is_some_and(|word| word == PROGRAM || word == PROVIDED)
}

/// True if the user chooses the architecture of the node.
fn names_an_architecture(common: &PodTemplate) -> bool {
    let node = common
        .affinity
        .as_ref()
        .and_then(|all| all.node_affinity.as_ref());
    let required = node.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.iter().flat_map(|selector| &selector.node_selector_terms);
    let mut expressions = terms.flat_map(|term| term.match_expressions.iter().flatten());
    common.node_selector.contains_key(names::ARCHITECTURE_LABEL)
        || expressions.any(|expression| expression.key == names::ARCHITECTURE_LABEL)
}

fn init_container((index, settings): (usize, &InitContainer)) -> Container {
    let InitContainer {
        name,
        image,
        image_pull_policy,
        env,
        env_from,
        command,
        args,
        working_dir,
        volume_mounts,
        resources: wanted,
        restart_policy,
        security_context,
    } = settings;
    let name = name.clone().unwrap_or_else(|| format!("init-{index}"));
    Container {
        image_pull_policy: image_pull_policy.map(|policy| policy.as_str().to_owned()),
        command: given(command),
        args: given(args),
        working_dir: working_dir.clone(),
        env: given(env),
        env_from: given(env_from),
        volume_mounts: given(volume_mounts),
        resources: resources(wanted),
        restart_policy: restart_policy.map(|_| "Always".to_owned()),
        security_context: security_context.clone().or_else(|| Some(restricted())),
        ..container(&name, image, PullPolicy::IfNotPresent)
    }
}

/// A container with the settings, except those that are its pod's.
pub(super) fn main_container(name: &str, default_image: &str, settings: &PodSettings) -> Container {
    let common = &settings.common;
    let image = settings.image.as_deref().unwrap_or(default_image);
    let policy = common.image_pull_policy.unwrap_or(PullPolicy::IfNotPresent);
    Container {
        env: given(&common.env),
        env_from: given(&common.env_from),
        resources: resources(&common.resources),
        volume_mounts: given(&settings.volume_mounts),
        security_context: common
            .container_security_context
            .as_deref()
            .cloned()
            .or_else(|| Some(restricted())),
        ..container(name, image, policy)
    }
}

/// A readiness probe that asks once a second. A pod under load may answer late, for which it is neither killed nor at
/// once taken for unready.
pub(super) fn readiness(path: &str, port: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(1),
        timeout_seconds: Some(5),
        failure_threshold: Some(10),
        ..Probe::default()
    }
}

/// Adds a variable to the environment of a k6, so that it does not get another k6 built with the extensions of the
/// script: each of many runners would. A value that the user has set stays.
pub(super) fn unresolved(env: Option<Vec<EnvVar>>) -> Option<Vec<EnvVar>> {
    let env = env.unwrap_or_default();
    let is_said = |name: &str| env.iter().any(|variable| variable.name == name);
    let ours = (!is_said(RESOLUTION) && !is_said(RESOLUTION_BEFORE)).then(|| EnvVar {
        name: RESOLUTION.to_owned(),
        value: Some("false".to_owned()),
        value_from: None,
    });
    let all: Vec<_> = ours.into_iter().chain(env).collect();
    given(&all)
}

/// A container that satisfies the Pod Security Standard `restricted`. If it fails, its termination message is the end
/// of its log.
pub(super) fn container(name: &str, image: &str, policy: PullPolicy) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(policy.as_str().to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

fn resources(wanted: &Resources) -> Option<ResourceRequirements> {
    (*wanted != Resources::default()).then(|| ResourceRequirements {
        limits: given_map(&wanted.limits),
        requests: given_map(&wanted.requests),
        claims: None,
    })
}

/// The list; None if it is empty.
pub(super) fn given<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn given_map<T: Clone>(map: &BTreeMap<String, T>) -> Option<BTreeMap<String, T>> {
    (!map.is_empty()).then(|| map.clone())
}
