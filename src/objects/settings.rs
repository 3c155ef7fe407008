//! The settings of the pods of one part: first from the spec for this part, then from the spec for all parts, then from
//! the operator's defaults. The first that sets a single value decides. Lists and maps whose entries have a name are
//! joined, and the first entry of a name decides. Lists without names are taken as a whole.

use super::Defaults;
use crate::api::{Metadata, PodSettings, PodTemplate, Resources, Spec, without_empty};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The defaults of all resources, as an administrator writes them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct Common {
    /// Settings of all pods.
    pub pod_template: PodTemplate,
    /// Settings of initializers; absent: those of the runners.
    pub initializer: Option<PodSettings>,
    /// Settings of runners.
    pub runner: PodSettings,
    /// Settings of starters and stoppers.
    pub starter: PodSettings,
    /// Settings of aggregators.
    pub aggregation: AggregationDefaults,
}

/// The defaults of aggregators.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AggregationDefaults {
    /// CPU and memory of their own containers.
    pub resources: Resources,
}

impl<'de> Deserialize<'de> for Common {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = serde_json::Value::deserialize(deserializer)?;
        Self::deserialize(without_empty(written)).map_err(serde::de::Error::custom)
    }
}

/// The images and settings of the pods of each part, from the spec and the operator's defaults.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    /// The default image of runners and initializers.
    pub runner_image: String,
    /// The image with the operator's program: that of aggregators, and the default of starters and stoppers.
    pub program_image: String,
    pub initializer: PodSettings,
    pub runner: PodSettings,
    /// The settings of starters and stoppers.
    pub starter: PodSettings,
    pub aggregator: PodSettings,
}

impl Parts {
    /// The settings of all parts, for this spec.
    pub fn of(spec: &Spec, defaults: &Defaults) -> Self {
        let common = &defaults.common;
        let runner = of_runner(spec, common);
        let cpu_limit = runner.common.resources.limits.get("cpu");
        Self {
            runner_image: defaults.runner_image.clone(),
            program_image: defaults.starter_image.clone(),
            initializer: of_initializer(spec, common),
            starter: sized(of_starter(spec, common), "16Mi", "128Mi", cpu_limit),
            aggregator: sized(of_aggregator(spec, common), "64Mi", "1Gi", cpu_limit),
            runner,
        }
    }
}

/// The settings of runners.
fn of_runner(spec: &Spec, defaults: &Common) -> PodSettings {
    all(&spec.runner, spec, &defaults.runner, defaults)
}

/// The settings of the initializer. The script must read the same files and variables there as in the runners, so what
/// the initializer does not set comes from them. Probes do not: they ask k6's API, and `k6 inspect` has none.
fn of_initializer(spec: &Spec, defaults: &Common) -> PodSettings {
    let none = PodSettings::default();
    let own = spec
        .initializer
        .as_ref()
        .map_or(&none, |initializer| &initializer.pod);
    let default = defaults.initializer.as_ref().unwrap_or(&none);
    let runner = as_runner(default, &defaults.runner);
    PodSettings {
        readiness_probe: own.readiness_probe.clone(),
        liveness_probe: own.liveness_probe.clone(),
        ..all(&as_runner(own, &spec.runner), spec, &runner, defaults)
    }
}

/// Completes the settings of an initializer with those of the runners. Each group is taken as a whole: half of one
/// would pull an image that is not there, fit no node, or run as a user that is not allowed. Init containers come from
/// both, as those of the initializer may prepare what those of the runners wait for. Labels and annotations do not: a
/// script does not see them, and those of the runners can bring in a proxy with which an initializer never ends. Nor do
/// probes, which ask k6's API.
fn as_runner(own: &PodSettings, runner: &PodSettings) -> PodSettings {
    let mut rest = PodSettings {
        readiness_probe: None,
        liveness_probe: None,
        ..runner.clone()
    };
    if *own == PodSettings::default() {
        return rest;
    }
    rest.common.metadata = Metadata::default();
    let (common, none) = (&own.common, PodTemplate::default());
    if own.image.is_some() {
        rest.common.image_pull_policy = None;
    }
    if !own.init_containers.is_empty() {
        rest.init_containers = Vec::new();
    }
    if common.security_context.is_some() || common.container_security_context.is_some() {
        rest.common.security_context = None;
        rest.common.container_security_context = None;
    }
    let placed = common.affinity.is_some()
        || !common.node_selector.is_empty()
        || !common.tolerations.is_empty()
        || !common.topology_spread_constraints.is_empty();
    if placed {
        rest.common = PodTemplate {
            affinity: none.affinity,
            node_selector: none.node_selector,
            tolerations: none.tolerations,
            topology_spread_constraints: none.topology_spread_constraints,
            ..rest.common
        };
    }
    if placed || common.resources != none.resources {
        rest.common.resources = none.resources;
    }
    over(own, &rest)
}

/// The settings of starter and stopper.
fn of_starter(spec: &Spec, defaults: &Common) -> PodSettings {
    all(&spec.starter, spec, &defaults.starter, defaults)
}

/// The settings of the aggregator: those of the starter with resources of its own, in the operator's image, since only
/// that has the program.
fn of_aggregator(spec: &Spec, defaults: &Common) -> PodSettings {
    let mut common = of_starter(spec, defaults).common;
    let own = resources_over(
        spec.aggregation.resources.clone(),
        &defaults.aggregation.resources,
    );
    if own != Resources::default() {
        common.resources = own;
    }
    with(&common)
}

/// The highest CPU limit, in cores, of a part without resources of its own, where the runners have a CPU limit.
const CPU_LIMIT: f64 = 1.0;
/// The CPU request, in cores, of such a part.
const CPU_REQUEST: f64 = 0.05;

/// Settings with resources. Where nobody sets any, memory is requested and limited as given. CPU is limited only where
/// that of the runners is: throttling would spread the start, but a namespace whose quota counts limits accepts no pod
/// without one.
fn sized(settings: PodSettings, request: &str, limit: &str, runner_cpu: Option<&Quantity>) -> PodSettings {
    let mut settings = settings;
    if settings.common.resources != Resources::default() {
        return settings;
    }
    let quantity = |text: &str| Quantity(text.to_owned());
    let mut own = Resources {
        requests: [("cpu", "50m"), ("memory", request)]
            .map(|(name, text)| (name.to_owned(), quantity(text)))
            .into(),
        limits: BTreeMap::from([("memory".to_owned(), quantity(limit))]),
    };
    if let Some(cpu) = runner_cpu {
        let cpu = match cores(cpu) {
            Some(cores) if cores < CPU_LIMIT => cpu.clone(),
            Some(_) | None => quantity("1"),
        };
        // No request may be over its limit.
        if cores(&cpu).is_some_and(|cores| cores < CPU_REQUEST) {
            own.requests.insert("cpu".to_owned(), cpu.clone());
        }
        own.limits.insert("cpu".to_owned(), cpu);
    }
    settings.common.resources = own;
    settings
}

/// The number of CPU cores of a quantity; None if it is not written as plain or milli cores.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn cores(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok().map(|milli| milli / 1000.0),
        None => text.parse().ok(),
    }
}

/// Describes a difference between initializer and runners by which the script could read other things in one than in
/// the other, with the names of the fields; None if there is none.
pub(super) fn unlike_runners(parts: &Parts) -> Option<String> {
    let Parts {
        runner_image,
        initializer,
        runner,
        ..
    } = parts;
    let image = |settings: &PodSettings| settings.image.clone().unwrap_or_else(|| runner_image.clone());
    let mut fields = Vec::new();
    if image(initializer) != image(runner) {
        fields.push("initializer.image".to_owned());
    }
    for variable in &initializer.common.env {
        let same = |other: &EnvVar| {
            let value = |variable: &EnvVar| variable.value.clone().unwrap_or_default();
            variable.name == other.name
                && value(variable) == value(other)
                && variable.value_from == other.value_from
        };
        if !runner.common.env.iter().any(same) {
            let name: String = variable.name.chars().take(NAME_LIMIT).collect();
            fields.push(format!("initializer.env {name}"));
        }
    }
    let added = |field: &str, is: bool| is.then(|| format!("initializer.{field}"));
    fields.extend(added(
        "envFrom",
        beyond(&initializer.common.env_from, &runner.common.env_from),
    ));
    fields.extend(added("volumes", beyond(&initializer.volumes, &runner.volumes)));
    fields.extend(added(
        "volumeMounts",
        beyond(&initializer.volume_mounts, &runner.volume_mounts),
    ));
    let before = |settings: &PodSettings| {
        let containers = settings.init_containers.iter();
        // A sidecar does not prepare the files that a script reads.
        let containers = containers.filter(|container| container.restart_policy.is_none());
        containers.cloned().collect::<Vec<_>>()
    };
    fields.extend(added(
        "initContainers",
        beyond(&before(initializer), &before(runner)),
    ));
    let more = fields.len().saturating_sub(NAMED_AT_MOST);
    fields.truncate(NAMED_AT_MOST);
    let named = fields.join(", ");
    let named = match more {
        0 => named,
        more => format!("{named} and {more} more"),
    };
    (!fields.is_empty()).then(|| {
        format!(
            "what the script reads in the initializer differs from what it reads in the runners ({named}): its \
             thresholds, tags, virtual users and durations are those of the initializer; set the same in runner, or \
             leave it out of initializer"
        )
    })
}

/// The maximum number of fields in that description, and of characters of a variable's name.
const NAMED_AT_MOST: usize = 5;
const NAME_LIMIT: usize = 60;

/// True if `one` has an entry that `other` has not.
fn beyond<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.iter().any(|entry| !other.contains(entry))
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

/// Completes the first settings with the second.
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
        resources: resources_over(resources, &second.resources),
        env: named(env, &second.env, |env| Some(env.name.clone())),
        // Kubernetes uses the later of two sources with the same key, so the first settings come last.
        env_from: distinct(&second.env_from, env_from),
    }
}

fn resources_over(first: Resources, second: &Resources) -> Resources {
    let Resources { limits, requests } = first;
    Resources {
        limits: joined(limits, &second.limits),
        requests: joined(requests, &second.requests),
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

/// Joins two lists by name; entries of `first` decide. Those of `second` come first, as a variable can refer to those
/// before it.
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
