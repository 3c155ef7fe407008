//! The settings of one part's pods: what the spec says for it, else what the spec says for all, else the
//! operator's defaults. A single value is taken from the first that has it; lists and maps whose entries have
//! a name are joined, and the first to name an entry wins; lists without names are taken as a whole.

use crate::api::{Metadata, PodSettings, PodTemplate, Resources, Spec};
use k8s_openapi::api::core::v1::EnvFromSource;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The defaults of all resources, as an administrator writes them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Common {
    /// For the pods of every part.
    pub pod_template: PodTemplate,
    /// For initializers; absent: those of the runners.
    pub initializer: Option<PodSettings>,
    /// For runners.
    pub runner: PodSettings,
    /// For starters and stoppers.
    pub starter: PodSettings,
}

/// The settings of runners.
pub(super) fn of_runner(spec: &Spec, defaults: &Common) -> PodSettings {
    all(&spec.runner, spec, &defaults.runner, defaults)
}

/// The settings of the initializer: those of the runners, unless it has its own, be they empty. It needs an
/// image with k6, and is given that of the runners if it names none.
pub(super) fn of_initializer(spec: &Spec, defaults: &Common) -> PodSettings {
    let own = spec.initializer.as_ref().map(|initializer| {
        let pod = initializer.pod.clone();
        PodSettings {
            image: pod.image.or_else(|| spec.runner.image.clone()),
            ..pod
        }
    });
    let part = defaults.initializer.as_ref().unwrap_or(&defaults.runner);
    all(own.as_ref().unwrap_or(&spec.runner), spec, part, defaults)
}

/// The settings of starter and stopper.
pub(super) fn of_starter(spec: &Spec, defaults: &Common) -> PodSettings {
    all(&spec.starter, spec, &defaults.starter, defaults)
}

fn all(own: &PodSettings, spec: &Spec, part: &PodSettings, defaults: &Common) -> PodSettings {
    let defaults = over(part, &with(&defaults.pod_template));
    over(own, &over(&with(&spec.pod_template), &defaults))
}

fn with(template: &PodTemplate) -> PodSettings {
    PodSettings {
        common: template.clone(),
        ..PodSettings::default()
    }
}

/// The first settings, completed by the second.
fn over(first: &PodSettings, second: &PodSettings) -> PodSettings {
    let PodSettings {
        image,
        common,
        init_containers,
        volumes,
        volume_mounts,
        readiness_probe,
        liveness_probe,
    } = first.clone();
    PodSettings {
        image: image.or_else(|| second.image.clone()),
        common: common_over(common, &second.common),
        init_containers: named(init_containers, &second.init_containers, |c| c.name.clone()),
        volumes: named(volumes, &second.volumes, |volume| Some(volume.name.clone())),
        volume_mounts: named(volume_mounts, &second.volume_mounts, |mount| {
            Some(mount.mount_path.clone())
        }),
        readiness_probe: readiness_probe.or_else(|| second.readiness_probe.clone()),
        liveness_probe: liveness_probe.or_else(|| second.liveness_probe.clone()),
    }
}

fn common_over(first: PodTemplate, second: &PodTemplate) -> PodTemplate {
    let PodTemplate {
        metadata,
        affinity,
        node_selector,
        tolerations,
        topology_spread_constraints,
        priority_class_name,
        scheduler_name,
        image_pull_secrets,
        image_pull_policy,
        service_account_name,
        automount_service_account_token,
        security_context,
        container_security_context,
        resources,
        env,
        env_from,
    } = first;
    PodTemplate {
        metadata: Metadata {
            labels: joined(metadata.labels, &second.metadata.labels),
            annotations: joined(metadata.annotations, &second.metadata.annotations),
        },
        affinity: affinity.or_else(|| second.affinity.clone()),
        node_selector: joined(node_selector, &second.node_selector),
        tolerations: whole(tolerations, &second.tolerations),
        topology_spread_constraints: whole(topology_spread_constraints, &second.topology_spread_constraints),
        priority_class_name: priority_class_name.or_else(|| second.priority_class_name.clone()),
        scheduler_name: scheduler_name.or_else(|| second.scheduler_name.clone()),
        image_pull_secrets: named(image_pull_secrets, &second.image_pull_secrets, |s| {
            Some(s.name.clone())
        }),
        image_pull_policy: image_pull_policy.or(second.image_pull_policy),
        service_account_name: service_account_name.or_else(|| second.service_account_name.clone()),
        automount_service_account_token: automount_service_account_token
            .or(second.automount_service_account_token),
        security_context: security_context.or_else(|| second.security_context.clone()),
        container_security_context: container_security_context
            .or_else(|| second.container_security_context.clone()),
        resources: Resources {
            limits: joined(resources.limits, &second.resources.limits),
            requests: joined(resources.requests, &second.resources.requests),
        },
        env: named(env, &second.env, |env| Some(env.name.clone())),
        // Of two sources with one key, the later wins in Kubernetes.
        env_from: distinct(&second.env_from, env_from),
    }
}

fn joined<T: Clone>(first: BTreeMap<String, T>, second: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    let mut all = second.clone();
    all.extend(first);
    all
}

fn whole<T: Clone>(first: Vec<T>, second: &[T]) -> Vec<T> {
    if first.is_empty() { second.to_vec() } else { first }
}

/// The second's entries come first, as a variable can refer to those before it.
fn named<T: Clone>(first: Vec<T>, second: &[T], name: impl Fn(&T) -> Option<String>) -> Vec<T> {
    let taken: Vec<String> = first.iter().filter_map(&name).collect();
    let free = |entry: &&T| name(entry).is_none_or(|name| !taken.contains(&name));
    second.iter().filter(free).cloned().chain(first).collect()
}

fn distinct(earlier: &[EnvFromSource], later: Vec<EnvFromSource>) -> Vec<EnvFromSource> {
    let free = |source: &&EnvFromSource| !later.contains(source);
    earlier
        .iter()
        .filter(free)
        .cloned()
        .chain(later.clone())
        .collect()
}
