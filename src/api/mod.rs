//! The custom resource that users write: its spec, and how it is shown by `kubectl get`.
//!
//! Types only. What a spec means is checked in [`mod@crate::build::check`]; what has happened to a run is in
//! [`status`]. The CustomResourceDefinition is generated from these types by [`crd`].

pub mod crd;
pub mod status;

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

pub use status::K6Status;

/// A distributed k6 test run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "k6.io",
    version = "v1alpha1",
    kind = "K6",
    plural = "k6s",
    singular = "k6",
    namespaced,
    status = "K6Status",
    derive = "PartialEq",
    doc = "A distributed k6 test: N runners that share one script, start together and give one result.",
    validation = kube::core::Rule::new("!has(oldSelf.status) || !has(oldSelf.status.state) || self.spec == oldSelf.spec")
        .message("spec can't be changed once the operator has taken up the run: delete the resource and apply it again"),
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Result","type":"string","jsonPath":".status.result"}"#,
    printcolumn = r#"{"name":"Runners","type":"string","jsonPath":".status.runners.summary","description":"Ready runners of all runners; when Finished, those that ran to their end"}"#,
    printcolumn = r#"{"name":"Started","type":"date","jsonPath":".status.startTime","priority":1}"#,
    printcolumn = r#"{"name":"Duration","type":"string","jsonPath":".status.duration","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct K6Spec {
    /// How many runners share the test. At least 1, at most the number of virtual users of the script.
    pub parallelism: i64,

    /// The script: the name of a ConfigMap with the key `test.js`, or `{configMap: {name, file}}`.
    #[schemars(schema_with = "string_or_object")]
    pub script: serde_json::Value,

    /// Place each runner on a node of its own, away from the runners of every other test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate: bool,

    /// Arguments for `k6 run`, split as a POSIX shell splits words; no shell ever runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16384))]
    pub arguments: String,

    /// Settings of the runner pods, and of the initializer, which uses the same image and environment.
    #[serde(default, skip_serializing_if = "is_default")]
    pub runner: RunnerSettings,

    /// Settings of the starter and stopper pods.
    #[serde(default, skip_serializing_if = "is_default")]
    pub starter: StarterSettings,

    /// How long the run may wait before it is given up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
}

/// Settings of the runner pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerSettings {
    /// The image with k6 in its PATH. Default: the operator's `--runner-image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// Always, IfNotPresent (the default) or Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// CPU and memory of each runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Environment of k6; a script reads it as `__ENV`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvVar>,
}

/// Settings of the starter and stopper pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StarterSettings {
    /// The image of the start and stop programs. Default: the operator's own image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}

/// When a container's image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Before each start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Not by Kubernetes.
    Never,
}

impl PullPolicy {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Deadlines of a run, as durations such as `90s`, `5m` or `1h30m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the acceptance of the resource until the script has been inspected. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub initialization: Option<String>,
    /// From there until all runners are ready, and again until all are released. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub start: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn string_or_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "description": "The script: the name of a ConfigMap with the key test.js, or {configMap: {name, file}}.",
        "x-kubernetes-preserve-unknown-fields": true
    })
}
