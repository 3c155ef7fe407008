//! The Job of one runner.

use super::pod::{self, PORT, Part, given};
use super::{ValidatedRun, literal, names, programs, script, segments, sequence, tokens};
use crate::api::{Kind, PodSettings};
use crate::k6::export::{self, environment};
use crate::k6::flags::{LOG_OUTPUT, LOG_OUTPUT_VARIABLE, NO_LOG};
use crate::k6::system_tags::SYSTEM_TAGS;
use crate::k6::threshold::OWN_TAGS;
use crate::k6::{Arguments, Flags};
use crate::machine::{Aggregation, ProgramSource, Start};
use crate::protocol::tokens::{ENVIRONMENT, VARIABLES};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, PodAffinityTerm, PodSpec,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// Where a runner exports its metrics.
#[derive(Clone, Copy)]
struct Wiring<'a> {
    aggregation: &'a Aggregation,
    /// The address of the aggregator: `IP:PORT`.
    address: &'a str,
}

/// The name of the container in which k6 runs its part.
pub const RUNNER: &str = "k6";

/// The variable with the UID of a runner's pod, which distinguishes the processes of a runner.
const POD_VARIABLE: &str = "K6_OPERATOR_POD_UID";

/// The Job of runner `i` of `n`, which exports its metrics to the aggregator at `address` (`IP:PORT`) if the run merges
/// them.
pub fn runner(run: &ValidatedRun, (i, n): (u32, u32), address: Option<&str>) -> Job {
    let ValidatedRun { owner, spec, plan: _ } = run;
    let settings = &spec.parts.runner;
    let wiring = run.aggregation().zip(address);
    let wiring = wiring.map(|(aggregation, address)| Wiring { aggregation, address });
    let base = pod::main_container(RUNNER, &spec.parts.runner_image, settings);
    let api = ContainerPort {
        name: Some("http-api".to_owned()),
        container_port: PORT,
        ..ContainerPort::default()
    };
    let mounts = script::mount(run)
        .into_iter()
        .chain(base.volume_mounts.unwrap_or_default());
    let mounts: Vec<VolumeMount> = mounts.collect();
    let mut container = Container {
        env: sequence::variable(run, n, pod::unresolved(base.env)),
        command: Some(command(run, (i, n), wiring)),
        ports: Some(std::iter::once(api).chain(spec.ports.iter().cloned()).collect()),
        volume_mounts: given(&mounts),
        readiness_probe: settings
            .readiness_probe
            .as_deref()
            .cloned()
            .or_else(|| Some(pod::readiness("/v1/status", PORT))),
        liveness_probe: settings.liveness_probe.as_deref().cloned(),
        ..base
    };
    let mut pod = PodSpec {
        hostname: Some(names::runner_name(&owner.stem(), i).replace('.', "-")),
        volumes: script::volume(run).map(|volume| vec![volume]),
        affinity: spec
            .separate
            .then(|| apart(settings.common.affinity.as_deref().cloned().unwrap_or_default())),
        ..PodSpec::default()
    };
    if let Some(wiring) = wiring {
        exporting(&mut container, wiring.aggregation);
        let image = &spec.parts.program_image;
        match programs::provided(&mut pod, &mut container, image, settings, run.program()) {
            Some(mut copying) => {
                tokens::handed_over(&mut pod, &mut copying, &mut container, owner);
                pod.init_containers = Some(vec![copying]);
            }
            None => with_variables(&mut container, tokens::in_variables(owner)),
        }
    }
    pod.containers = vec![container];
    pod::job(owner, Part::Runner(i), None, settings, pod)
}

/// Adds the variables that make k6 export its metrics.
fn exporting(container: &mut Container, aggregation: &Aggregation) {
    let pod = EnvVar {
        name: POD_VARIABLE.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "metadata.uid".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let ours = environment(aggregation.version()).into_iter();
    let ours = ours.map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    });
    with_variables(container, [pod].into_iter().chain(ours).collect());
}

/// Adds variables of ours, in place of a user's of the same names.
fn with_variables(container: &mut Container, ours: Vec<EnvVar>) {
    // `env` takes precedence over `envFrom`, and each name may stand in it once.
    let variables = container.env.get_or_insert_default();
    variables.retain(|user| !ours.iter().any(|own| own.name == user.name));
    variables.extend(ours);
}

/// The command of a runner's container: k6, which `linger` starts if metrics are merged.
fn command(run: &ValidatedRun, (i, n): (u32, u32), wiring: Option<Wiring<'_>>) -> Vec<String> {
    let ValidatedRun { owner, spec, plan } = run;
    let mut words = wiring.map_or_else(Vec::new, |wiring| around_k6(run, i, wiring));
    words.extend(["k6".to_owned(), "run".to_owned()]);
    let arguments = Arguments::parse(&spec.arguments, &Flags::of_run());
    let quiet = || owner.kind == Kind::TestRun || logs_nothing(&arguments, &spec.parts.runner);
    if spec.quiet.unwrap_or_else(quiet) {
        words.push("--quiet".to_owned());
    }
    if n > 1 {
        words.push(format!("--execution-segment={}", segments::segment(i, n)));
        words.push(format!("--execution-segment-sequence={}", sequence::value(n)));
    }
    // Kubernetes fills in what a user's own variables are, and no token.
    let env = spec.parts.runner.common.env.iter();
    let env: Vec<EnvVar> = env
        .filter(|variable| !VARIABLES.contains(&variable.name.as_str()))
        .cloned()
        .collect();
    words.extend(literal(&spec.arguments, &env));
    words.extend(literal(&[script::path(run)], &[]));
    // k6 uses the last value of a flag.
    let rps = plan.as_ref().and_then(|plan| plan.rps);
    words.extend(rps.map(|rps| format!("--rps={}", share(rps, (i, n)))));
    // Within `linger`, k6 listens on loopback.
    if wiring.is_none() {
        words.push(format!("--address=0.0.0.0:{PORT}"));
    }
    if spec.terms.start == Start::Together {
        words.push("--paused".to_owned());
    }
    if let Some(Wiring { aggregation, .. }) = wiring {
        let once = aggregation.setup_seconds.is_some();
        words.extend(export::arguments(&aggregation.output, once));
    }
    // Tags of the command line replace those of the script.
    let of_script = plan.iter().flat_map(|plan| &plan.tags);
    let of_script = of_script.filter(|_| !arguments.has("tag"));
    let of_script: Vec<_> = of_script.map(|(name, value)| format!("{name}={value}")).collect();
    let given = wiring.is_none_or(|Wiring { aggregation, .. }| !aggregation.without_own_tags);
    let ours = own_tags(run, i).into_iter().filter(|_| given);
    for tag in literal(&of_script, &[]).into_iter().chain(ours) {
        words.extend(["--tag".to_owned(), tag]);
    }
    words
}

/// The tags that tell the samples of this runner from those of others.
fn own_tags(run: &ValidatedRun, i: u32) -> [String; 2] {
    let [number, test] = OWN_TAGS;
    [format!("{number}={i}"), format!("{test}={}", run.owner.name)]
}

/// The words before `k6 run` where metrics are merged: `linger` and its arguments.
fn around_k6(run: &ValidatedRun, i: u32, Wiring { aggregation, address }: Wiring<'_>) -> Vec<String> {
    let mut words = vec![
        programs::PROVIDED.to_owned(),
        "linger".to_owned(),
        format!("--aggregator={address}"),
        format!("--runner={i}"),
        format!("--process=$({POD_VARIABLE})"),
        match run.program() {
            ProgramSource::Copied => format!("--tokens={}", tokens::COPY_FOLDER),
            ProgramSource::Mounted => format!("--tokens={ENVIRONMENT}"),
        },
        format!("--listen=[::]:{PORT}"),
    ];
    let timeout = aggregation.teardown_seconds;
    words.extend(timeout.map(|seconds| format!("--teardown-timeout={seconds}")));
    let tags = aggregation.system_tags.as_ref();
    words.extend(tags.map(|tags| format!("--{SYSTEM_TAGS}={tags}")));
    if aggregation.without_own_tags {
        words.extend(own_tags(run, i).map(|tag| format!("--own-tag={tag}")));
    }
    if !aggregation.script_metrics.is_empty() {
        words.push(format!(
            "--script-metrics={}",
            aggregation.script_metrics.join(",")
        ));
    }
    words.push(format!("--k6-version={}", aggregation.version()));
    words.extend(literal(&[format!("--script={}", script::path(run))], &[]));
    words.push("--".to_owned());
    words
}

/// The share of runner `i` of `n` in a whole number. All shares add up to the number, and differ by one at most.
fn share(whole: u64, (i, n): (u32, u32)) -> u64 {
    let (i, n) = (u64::from(i), u64::from(n.max(1)));
    whole / n + u64::from(i <= whole % n)
}

/// Keeps a runner off nodes that have another runner, of any test.
fn apart(user: Affinity) -> Affinity {
    let mut pods = user.pod_anti_affinity.unwrap_or_default();
    let required = pods
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default();
    required.push(PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([
                ("app".to_owned(), "k6".to_owned()),
                ("runner".to_owned(), "true".to_owned()),
            ])),
            match_expressions: None,
        }),
        namespace_selector: Some(LabelSelector::default()),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    });
    Affinity {
        pod_anti_affinity: Some(pods),
        ..user
    }
}

/// True if k6's log is discarded. Users who do that read the JSON that handleSummary() prints, and k6 would write its
/// banner and its progress beside it:
/// <https://github.com/dapr/dapr/blob/0fb114a40e2dd665e22586291afc22640ff91430/tests/runner/loadtest/k6.go>
fn logs_nothing(arguments: &Arguments, settings: &PodSettings) -> bool {
    let mut env = settings.common.env.iter();
    let variable = env.find(|variable| variable.name == LOG_OUTPUT_VARIABLE);
    let variable = variable.and_then(|variable| variable.value.as_deref());
    arguments.value(LOG_OUTPUT).or(variable) == Some(NO_LOG)
}
