//! The custom resources: the spec that users write, and the [`status`] that they read.
//!
//! Both kinds, [`Kind::K6`] and [`Kind::TestRun`], have the same spec and the same status. [`crd`] generates their
//! CustomResourceDefinitions from these types, with the comments as descriptions. `objects::validate` checks a spec.

mod conditions;
#[cfg(feature = "schema")]
pub mod crd;
mod definition;
mod flag;
mod kind;
mod pod;
#[cfg(feature = "schema")]
mod schema;
#[cfg(feature = "schema")]
mod shape;
pub mod status;
mod unset;
mod view;

use crate::protocol::is_default;
use k8s_openapi::api::core::v1::ContainerPort;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::machine::{Cleanup, Setup};
pub use definition::definition;
pub use flag::Flag;
pub use kind::{GROUP, Kind, LoadTest, VERSION};
pub use pod::{InitContainer, Initializer, Metadata, PodSettings, PodTemplate, PullPolicy, Resources};
pub use status::Status;
pub use unset::without_empty;
pub use view::{Progress, replay_report};

/// What is to be run, and how.
///
/// What is empty in a manifest is unset: it is removed before the fields are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", remote = "Self")]
#[cfg_attr(feature = "schema", schemars(description = "What is to be run, and how.", extend("required" = ["parallelism", "script"])))]
pub struct Spec {
    /// How many runners share the test. At least 1, at most the number of virtual users of the script.
    pub parallelism: i64,

    /// The script, from exactly one source: configMap, volumeClaim, localFile or inline.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::script"))]
    pub script: serde_json::Value,

    /// Place each runner on a node of its own, away from the runners of every other test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate: bool,

    /// Arguments for `k6 run`, split as a POSIX shell splits words; no shell ever runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16384)))]
    pub arguments: String,

    /// Arguments for `k6 run`, word by word, taken as they are. Wins over `arguments` when not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(max = 4096))))]
    pub args: Vec<String>,

    /// More ports of the containers of runners and initializer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub ports: Vec<ContainerPort>,

    /// Settings that initializer, runners, starter and stopper have in common. What one of them sets for
    /// itself comes first; named lists, such as env, are joined.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pod_template: PodTemplate,

    /// Settings of the initializer pod, in which k6 inspects the script. What is left out is as in the runners, but for
    /// labels and annotations where anything is set. Its place (affinity, nodeSelector, tolerations,
    /// topologySpreadConstraints), its security contexts and its init containers are each taken as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initializer: Option<Box<Initializer>>,

    /// Settings of the runner pods.
    #[serde(default, skip_serializing_if = "is_default")]
    pub runner: PodSettings,

    /// Settings of the starter and stopper pods, which release and stop the runners, and, but for image and
    /// volumes, of the aggregator, which merges their metrics.
    #[serde(default, skip_serializing_if = "is_default")]
    pub starter: PodSettings,

    /// Whether k6 runs with `--quiet`, without progress in the logs of the runners. Default true in a TestRun, and in a
    /// K6 whose k6 logs to `none`, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Flag>,

    /// Whether the runners wait, paused, until all are ready, and start together. Default true. With false,
    /// each starts as soon as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Flag>,

    /// Whether the metrics of all runners are merged into one result.
    #[serde(default, skip_serializing_if = "is_default")]
    pub aggregation: AggregationSpec,

    /// Whether setup() and teardown() run once for the whole test, or in each runner. Default once. Always
    /// perRunner where the metrics are not merged, with `paused: false`, and with `--no-setup` or `--no-teardown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,

    /// Delete this resource, and with it all that it owns, when the run has ended: `post` always, `onSuccess`
    /// when the result is Passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,

    /// Delete this resource, and with it all that it owns, this many seconds after the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 315_360_000)))]
    pub ttl_seconds_after_finished: Option<i64>,

    /// Hold the run before its runners are created. Set it to false to go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// Stop the run: the runners end in order, and the result is Aborted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,

    /// Any new text here starts a new run, with the spec as it is then, once the present run is Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub rerun: Option<String>,

    /// How long the run may wait before it is given up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,

    /// Not supported: wrapping k6 in scuttle. Use native sidecars (an init container with restartPolicy
    /// Always), which end with the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::preserved"))]
    pub scuttle: Option<serde_json::Value>,

    /// Not supported: a test run of Grafana Cloud k6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub test_run_id: Option<String>,

    /// Not supported: the Secret with a token of Grafana Cloud k6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub token: Option<String>,
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = serde_json::Value::deserialize(deserializer)?;
        Self::deserialize(without_empty(written)).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// How the metrics of the runners are merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AggregationSpec {
    /// Merge them: thresholds are judged over all runners, and there is one summary and one report. Default true,
    /// where the runners' k6 can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// CPU and memory of the aggregator, which merges the metrics. Default: those of the starter; without them
    /// requests 50m and 64Mi, limit 1Gi.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
}

/// Deadlines of a run, as durations such as `90s`, `5m` or `1h30m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the acceptance of the resource until the script has been inspected. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub initialization: Option<String>,
    /// From there until all runners are ready, and again until all are released, then with the script's
    /// setupTimeout added where setup() runs once. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub start: Option<String>,
    /// From the start until all runners have ended. Default: the longest that the script can take by k6's own
    /// account, its setupTimeout, its teardownTimeout, and 5 minutes; none for a script without an end of its own;
    /// 24h if k6 was not asked (initializer.disabled).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub run: Option<String>,
}
