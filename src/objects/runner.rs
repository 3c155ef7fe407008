//! The Job of one runner.

use super::pod::{self, Defaults, Owner, PORT, Part, given};
use super::{ValidatedRun, literal, names, programs, script, segments, settings, tokens};
use crate::aggregate::runner::{self, environment};
use crate::api::{Kind, PodSettings, Spec};
use crate::k6::system_tags::SYSTEM_TAGS;
use crate::k6::{Arguments, Flags};
use crate::machine::Aggregation;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PodAffinityTerm, PodSpec, Probe, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// To what a runner brings its metrics.
#[derive(Clone, Copy, Debug)]
pub struct Wiring<'a> {
    /// What the run's plan says of merging.
    pub aggregation: &'a Aggregation,
    /// Where the aggregator is: `IP:PORT`.
    pub address: &'a str,
}

/// The container in which k6 runs its part.
pub const RUNNER: &str = "k6";

/// The variable with the UID of a runner's pod: it tells the processes of a runner apart.
const POD_VARIABLE: &str = "K6_OPERATOR_POD_UID";

/// The Job of runner `i` of `n`.
pub fn runner(
    owner: &Owner,
    spec: &Spec,
    validated: &ValidatedRun,
    defaults: &Defaults,
    (i, n): (u32, u32),
    wiring: Option<Wiring<'_>>,
) -> Job {
    let settings = settings::of_runner(spec, &defaults.common);
    let base = pod::main_container(RUNNER, &defaults.runner_image, &settings);
    let api = ContainerPort {
        name: Some("http-api".to_owned()),
        container_port: PORT,
        ..ContainerPort::default()
    };
    let mounts = script::mount(validated)
        .into_iter()
        .chain(base.volume_mounts.unwrap_or_default());
    let mounts: Vec<VolumeMount> = mounts.collect();
    let mut container = Container {
        env: pod::unresolved(base.env),
        command: Some(command(owner, spec, validated, &settings, (i, n), wiring)),
        ports: Some(std::iter::once(api).chain(more_ports(spec)).collect()),
        volume_mounts: given(&mounts),
        readiness_probe: settings.readiness_probe.clone().or_else(|| Some(answers())),
        liveness_probe: settings.liveness_probe.clone(),
        ..base
    };
    let mut pod = PodSpec {
        hostname: Some(names::runner_name(&owner.stem(), i).replace('.', "-")),
        volumes: script::volume(owner, validated).map(|volume| vec![volume]),
        affinity: spec
            .separate
            .then(|| apart(settings.common.affinity.clone().unwrap_or_default())),
        ..PodSpec::default()
    };
    if let Some(wiring) = wiring {
        exporting(&mut container, wiring.aggregation);
        let mut copying = programs::copied(&mut pod, &mut container, defaults, &settings);
        tokens::handed_over(&mut pod, &mut copying, &mut container, owner);
        pod.init_containers = Some(vec![copying]);
    }
    pod.containers = vec![container];
    pod::job(owner, Part::Runner(i), None, &settings, pod)
}

/// What makes the k6 of a container export its metrics.
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
    let ours: Vec<EnvVar> = [pod].into_iter().chain(ours).collect();
    // What is in `env` comes before what comes by `envFrom`, and a name stands there once.
    let variables = container.env.get_or_insert_default();
    variables.retain(|user| !ours.iter().any(|own| own.name == user.name));
    variables.extend(ours);
}

/// The user's ports; the one of k6's API is there already.
pub(super) fn more_ports(spec: &Spec) -> Vec<ContainerPort> {
    let own = |port: &&ContainerPort| port.container_port != PORT;
    spec.ports.iter().filter(own).cloned().collect()
}

fn command(
    owner: &Owner,
    spec: &Spec,
    validated: &ValidatedRun,
    settings: &PodSettings,
    (i, n): (u32, u32),
    wiring: Option<Wiring<'_>>,
) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(Wiring { aggregation, address }) = wiring {
        words.extend([programs::COPY.to_owned(), "linger".to_owned()]);
        words.push(format!("--aggregator={address}"));
        words.push(format!("--runner={i}"));
        words.push(format!("--process=$({POD_VARIABLE})"));
        words.push(format!("--tokens={}", tokens::COPY_FOLDER));
        words.push(format!("--listen=[::]:{PORT}"));
        let timeout = aggregation.teardown_seconds;
        words.extend(timeout.map(|seconds| format!("--teardown-timeout={seconds}")));
        let tags = aggregation.system_tags.as_ref();
        words.extend(tags.map(|tags| format!("--{SYSTEM_TAGS}={tags}")));
        if !aggregation.script_metrics.is_empty() {
            words.push(format!(
                "--script-metrics={}",
                aggregation.script_metrics.join(",")
            ));
        }
        words.push(format!("--k6-version={}", aggregation.version()));
        words.extend(literal(&[format!("--script={}", script::path(validated))], &[]));
        words.push("--".to_owned());
    }
    words.extend(["k6".to_owned(), "run".to_owned()]);
    let quiet = || owner.kind == Kind::TestRun || logs_nothing(validated, settings);
    if spec.quiet.map_or_else(quiet, |quiet| quiet.0) {
        words.push("--quiet".to_owned());
    }
    if n > 1 {
        words.push(format!("--execution-segment={}", segments::segment(i, n)));
        words.push(format!("--execution-segment-sequence={}", segments::sequence(n)));
    }
    words.extend(literal(&validated.arguments, &settings.common.env));
    words.extend(literal(&[script::path(validated)], &[]));
    // Of a flag that is given twice k6 takes the last.
    words.extend(validated.rps.map(|rps| format!("--rps={}", share(rps, (i, n)))));
    // Else it is reached by the program around it, which gives it an address of its own.
    if wiring.is_none() {
        words.push(format!("--address=0.0.0.0:{PORT}"));
    }
    if !validated.terms.unpaused {
        words.push("--paused".to_owned());
    }
    if let Some(Wiring { aggregation, .. }) = wiring {
        words.extend(runner::arguments(
            &aggregation.output,
            aggregation.setup_seconds.is_some(),
        ));
    }
    // Those of the command line replace those of the script, and are not added to them.
    let given = |word: &String| word == "--tag" || word.starts_with("--tag=");
    let own = validated
        .tags
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let own = own
        .filter(|_| !validated.arguments.iter().any(given))
        .collect::<Vec<_>>();
    let ours = [format!("instance_id={i}"), format!("testrun_name={}", owner.name)];
    for tag in literal(&own, &[]).into_iter().chain(ours) {
        words.extend(["--tag".to_owned(), tag]);
    }
    words
}

/// The share of runner `i` of `n` in a whole number: all of them add up to it, and differ by one at most.
fn share(whole: u64, (i, n): (u32, u32)) -> u64 {
    let (i, n) = (u64::from(i), u64::from(n.max(1)));
    whole / n + u64::from(i <= whole % n)
}

/// Whether k6 answers. A runner under load may be slow to: it is not killed for that.
fn answers() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/v1/status".to_owned()),
            port: IntOrString::Int(PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(1),
        timeout_seconds: Some(5),
        failure_threshold: Some(10),
        ..Probe::default()
    }
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

/// Whether k6 is told to log nothing. Tools that say so read the JSON that handleSummary() prints, and k6 writes its
/// banner and its progress beside it:
/// <https://github.com/dapr/dapr/blob/0fb114a40e2dd665e22586291afc22640ff91430/tests/runner/loadtest/k6.go>
fn logs_nothing(validated: &ValidatedRun, settings: &PodSettings) -> bool {
    const NOTHING: &str = "none";
    let mut env = settings.common.env.iter();
    let variable = env.find(|variable| variable.name == "K6_LOG_OUTPUT");
    let arguments = Arguments::parse(&validated.arguments, &Flags::of_run());
    match arguments.value("log-output") {
        Some(output) => output == NOTHING,
        None => variable.is_some_and(|variable| variable.value.as_deref() == Some(NOTHING)),
    }
}
