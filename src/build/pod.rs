//! What all pods of a run have in common: metadata, hardening, and the frame of a Job.

use super::names;
use crate::api::PullPolicy;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// The port of k6's REST API.
pub const PORT: i32 = 6565;

/// The user and group of runner pods: those of the official k6 image, by number, so that the kubelet can see
/// that they are not root.
const RUNNER_USER: i64 = 12345;

/// What a spec may leave open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of runners and initializers.
    pub runner_image: String,
    /// Image of starters and stoppers.
    pub starter_image: String,
}

/// The resource that owns the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// metadata.name.
    pub name: String,
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.uid.
    pub uid: String,
}

/// The part that a Job plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Initializer,
    Runner(u32),
    Starter,
    Stopper,
}

impl Part {
    fn name(self, run: &str) -> String {
        match self {
            Self::Initializer => names::initializer_name(run),
            Self::Runner(i) => names::runner_name(run, i),
            Self::Starter => names::starter_name(run),
            Self::Stopper => names::stopper_name(run),
        }
    }

    fn labels(self, owner: &Owner) -> BTreeMap<String, String> {
        let component = match self {
            Self::Initializer => "initializer",
            Self::Runner(_) => "runner",
            Self::Starter => "starter",
            Self::Stopper => "stopper",
        };
        let number = match self {
            Self::Runner(i) => {
                vec![
                    (names::RUNNER_LABEL, i.to_string()),
                    ("runner", "true".to_owned()),
                ]
            }
            Self::Initializer | Self::Starter | Self::Stopper => Vec::new(),
        };
        let common = [
            ("app", "k6".to_owned()),
            ("k6_cr", names::run_label(&owner.name)),
            (names::RUN_LABEL, owner.uid.clone()),
            (names::COMPONENT_LABEL, component.to_owned()),
        ];
        common
            .into_iter()
            .chain(number)
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

/// A Job with one pod that is never run again.
pub(super) fn job(owner: &Owner, part: Part, deadline_seconds: Option<i64>, pod: PodSpec) -> Job {
    let labels = part.labels(owner);
    let annotations = BTreeMap::from([(names::RUN_ANNOTATION.to_owned(), owner.name.clone())]);
    let user = match part {
        Part::Initializer | Part::Runner(_) => RUNNER_USER,
        Part::Starter | Part::Stopper => 65532,
    };
    Job {
        metadata: ObjectMeta {
            name: Some(part.name(&owner.name)),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels.clone()),
            annotations: Some(annotations.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: "k6.io/v1alpha1".to_owned(),
                kind: "K6".to_owned(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            active_deadline_seconds: deadline_seconds,
            // A runner's pod must be wholly gone before anything could take its place.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    restart_policy: Some("Never".to_owned()),
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: Some(user),
                        run_as_group: Some(user),
                        fs_group: Some(user),
                        seccomp_profile: Some(SeccompProfile {
                            type_: "RuntimeDefault".to_owned(),
                            localhost_profile: None,
                        }),
                        ..PodSecurityContext::default()
                    }),
                    ..pod
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// A container that satisfies the Pod Security Standard `restricted`, and whose last words are kept.
pub(super) fn container(name: &str, image: &str, policy: PullPolicy) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(policy.as_str().to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
