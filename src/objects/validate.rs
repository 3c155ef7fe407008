//! Checks a spec as a whole. All builders start from the result.

use super::environment::check_environment;
use super::script::{self, Script};
use super::settings::{Parts, unlike_runners};
use super::spec_error::SpecError;
use super::spec_size::check_size;
use super::{Defaults, Owner, PORT, arguments};
use crate::api::{Spec, Timeouts};
use crate::k6::arguments::boolean;
use crate::k6::export::{OUTPUTS_VARIABLE, is_cloud, is_opentelemetry};
use crate::k6::flags::variable_of;
use crate::k6::{Arguments, Flags};
use crate::limits::PARALLELISM;
use crate::machine::{Aggregation, Inspect, Metrics, Plan, ProgramSource, Setup, Start, Terms, Thresholds};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerPort, EnvVar};
use serde_json::Value;

const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);
const SHORTEST_TIMEOUT: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_TIMEOUT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A spec that can be carried out, completed by the operator's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedSpec {
    /// What the state machine needs.
    pub terms: Terms,
    /// The source of the script.
    pub script: Script,
    /// The user's arguments of `k6 run`.
    pub arguments: Vec<String>,
    /// Images and settings of the pods.
    pub(super) parts: Parts,
    /// Ports of runners and initializer beside that of k6's REST API.
    pub(super) ports: Vec<ContainerPort>,
    /// Whether each runner needs a node without other runners.
    pub(super) separate: bool,
    /// `spec.quiet`, if it is set.
    pub(super) quiet: Option<bool>,
}

/// A run that can be carried out: the single argument of every builder, beside what differs between objects of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedRun {
    /// The run that owns the objects.
    pub owner: Owner,
    /// The validated spec of the run.
    pub spec: ValidatedSpec,
    /// The plan that follows from what k6 said of the script; None before.
    pub plan: Option<Plan>,
}

impl ValidatedRun {
    /// How the metrics of the runners are merged; None if they are not.
    pub fn aggregation(&self) -> Option<&Aggregation> {
        self.plan.as_ref()?.aggregation.as_ref()
    }

    /// How the operator's program gets into containers whose image lacks it.
    pub(super) fn program(&self) -> ProgramSource {
        self.plan.as_ref().map(|plan| plan.program).unwrap_or_default()
    }
}

/// Checks a spec, and completes it with the operator's defaults.
pub fn validate(spec: &Spec, defaults: &Defaults) -> Result<ValidatedSpec, SpecError> {
    let Timeouts {
        initialization,
        start: start_timeout,
        run,
    } = &spec.timeouts;
    let count = u32::try_from(spec.parallelism)
        .ok()
        .filter(|n| (1..=PARALLELISM).contains(n));
    let waiting = |field, text: &Option<String>| match text {
        Some(text) => timeout(field, text),
        None => Ok(DEFAULT_TIMEOUT),
    };
    check_size(spec)?;
    check_environment(spec)?;
    let arguments = if spec.args.is_empty() {
        arguments::split(&spec.arguments)?
    } else {
        arguments::words("args", &spec.args)?
    };
    let start = Start::from(spec.paused.is_some_and(|paused| !paused.0));
    let parsed = Arguments::parse(&arguments, &Flags::of_run());
    // For k6, arguments take precedence over its environment.
    let is_set = |flag: &str| {
        let variable = || variable(spec, flag).map(|value| boolean(value) == Some(true));
        parsed.is_on(flag).or_else(variable).unwrap_or(false)
    };
    let parallelism = count.ok_or(SpecError::Parallelism(spec.parallelism))?;
    let rps = rps(spec, &parsed);
    if let Some(rps) = rps.filter(|rps| (1..u64::from(parallelism)).contains(rps)) {
        return Err(SpecError::Rps { rps, parallelism });
    }
    let parts = Parts::of(spec, defaults);
    let is_another = |port: &&ContainerPort| port.container_port != PORT;
    Ok(ValidatedSpec {
        script: script::parse(&spec.script)?,
        terms: Terms {
            parallelism,
            initialization_timeout: waiting("initialization", initialization)?,
            start_timeout: waiting("start", start_timeout)?,
            run_timeout: run.as_deref().map(|text| timeout("run", text)).transpose()?,
            suspended: spec.suspend,
            start,
            inspect: Inspect::from(
                spec.initializer
                    .as_ref()
                    .is_some_and(|initializer| initializer.disabled),
            ),
            unsupported: unsupported(spec, &parsed),
            unlike_runners: unlike_runners(&parts),
            metrics: Metrics::from(why_not_merged(spec, &parsed)),
            setup: Setup::from(
                start == Start::Immediate
                    || spec.setup == Some(Setup::PerRunner)
                    || is_set("no-setup")
                    || is_set("no-teardown"),
            ),
            thresholds: Thresholds::from(is_set("no-thresholds")),
            rps,
        },
        arguments,
        parts,
        ports: spec.ports.iter().filter(is_another).cloned().collect(),
        separate: spec.separate,
        quiet: spec.quiet.map(|quiet| quiet.0),
    })
}

/// The limit of requests per second in the arguments, or in the environment of the runners. Both take precedence over
/// the script. k6 does not divide it by segment:
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#rps>
fn rps(spec: &Spec, arguments: &Arguments) -> Option<u64> {
    let text = arguments.value("rps").or_else(|| variable(spec, "rps"))?;
    // k6 itself refuses a value that it can't read.
    let rps = text.parse::<i64>().ok()?;
    Some(u64::try_from(rps).unwrap_or_default())
}

/// The value of the runners' variable for a flag; empty if it comes from a Secret, a ConfigMap or a field. Kubernetes uses
/// the last of several with one name.
fn variable<'a>(spec: &'a Spec, flag: &str) -> Option<&'a str> {
    let name = variable_of(flag);
    let last = |env: &'a [EnvVar]| env.iter().rev().find(|variable| variable.name == name);
    let variable = last(&spec.runner.common.env).or_else(|| last(&spec.pod_template.env))?;
    Some(variable.value.as_deref().unwrap_or_default())
}

/// The reason for which the metrics of the runners are not merged: the user says so, or uses k6's OpenTelemetry output,
/// which k6 can have once. Other settings of OpenTelemetry do not matter: the operator overrides them.
fn why_not_merged(spec: &Spec, arguments: &Arguments) -> Option<String> {
    if spec.aggregation.enabled == Some(false) {
        return Some("spec.aggregation.enabled is false".to_owned());
    }
    let outputs = arguments::outputs(arguments);
    let one = "of which k6 can have only one; send the metrics elsewhere by another output";
    if let Some(output) = outputs.iter().find(|output| is_opentelemetry(output)) {
        return Some(format!("the arguments of k6 have --out {output}, {one}"));
    }
    let name = OUTPUTS_VARIABLE;
    let variables = spec.runner.common.env.iter().chain(&spec.pod_template.env);
    let outputs = variables
        .filter(|variable| variable.name == name)
        .filter_map(|variable| variable.value.as_deref());
    let taken = outputs
        .flat_map(|outputs| outputs.split(','))
        .any(is_opentelemetry);
    taken.then(|| format!("env has {name} with an OpenTelemetry output, {one}"))
}

/// Settings for grafana/k6-operator that have no effect here, with the remedies, as a sentence; None if there are none.
fn unsupported(spec: &Spec, arguments: &Arguments) -> Option<String> {
    let cloud = "runs of Grafana Cloud k6 are not done here: remove it, and start those with `k6 cloud run`";
    let scuttle = "k6 is not wrapped here: remove it, and make the proxy a native sidecar (an init container with \
                   restartPolicy Always), which ends with the pod";
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let fields = [
        ("spec.testRunId", is_given(&spec.test_run_id), cloud),
        ("spec.token", is_given(&spec.token), cloud),
        ("spec.scuttle", spec.scuttle.as_ref().is_some_and(wraps), scuttle),
    ];
    let mut sentences: Vec<String> = fields
        .into_iter()
        .filter(|(_, set, _)| *set)
        .map(|(field, _, remedy)| format!("{field} has no effect: {remedy}"))
        .collect();
    if arguments::outputs(arguments).into_iter().any(is_cloud) {
        sentences.push(
            "with --out cloud every runner is a test run of its own in Grafana Cloud k6: remove it from the arguments, \
             or run that script with `k6 cloud run --local-execution`"
                .to_owned(),
        );
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// True if settings of scuttle ask for it; `enabled: "false"` and empty settings do not.
fn wraps(scuttle: &serde_json::Value) -> bool {
    match scuttle.get("enabled") {
        Some(Value::Bool(enabled)) => *enabled,
        Some(Value::String(enabled)) => enabled != "false",
        Some(_) => true,
        None => scuttle.as_object().is_none_or(|settings| !settings.is_empty()),
    }
}

fn timeout(field: &'static str, text: &str) -> Result<SignedDuration, SpecError> {
    super::whole_seconds(text)
        .filter(|timeout| (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(timeout))
        .ok_or_else(|| SpecError::Timeout {
            field,
            text: text.to_owned(),
        })
}
