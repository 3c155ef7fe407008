//! The Jobs that merge the metrics of the runners and bring the result, the Service at which the first is reached,
//! and the ConfigMap in which the result is kept.

use super::pod::{self, Defaults, Owner, Part, given};
use super::{Checked, Wiring, arguments, literal, names, programs, script, settings};
use crate::aggregate::collect::Documents;
use crate::aggregate::handler::Handled;
use crate::api::{PodSettings, PodTemplate, Resources, Spec};
use crate::machine::{COLLECTION_GRACE, SUMMARY_GRACE};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction, PodSpec, Probe, Service,
    ServicePort, ServiceSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// Where an aggregator listens: the port of OTLP over HTTP.
pub const AGGREGATOR_PORT: i32 = 4318;

/// The container that merges.
pub const AGGREGATE: &str = "aggregator";
/// The container that brings the result.
pub const COLLECT: &str = "collect";
/// The container in which k6 calls handleSummary().
pub const SUMMARY: &str = "summary";

const KEPT_VOLUME: &str = "k6-operator-kept";
const KEPT_FOLDER: &str = "/kept";
const SUMMARY_VOLUME: &str = "k6-operator-summary";
const SUMMARY_FOLDER: &str = "/k6-operator-summary";

/// How long the aggregator is asked, in seconds.
const ASKED_SECONDS: i64 = 60;

/// How many seconds the collector's pod may take: as long as its result is waited for, then handleSummary(), and some
/// time to read its log, which goes with the pod.
fn collector_seconds(calls: bool) -> i64 {
    let handling = if calls { SUMMARY_GRACE.as_secs() } else { 0 };
    COLLECTION_GRACE.as_secs() + handling + 30
}

/// The most bytes of a ConfigMap's data, less some room: <https://kubernetes.io/docs/concepts/configuration/configmap/>
const MAP_LIMIT: usize = 1_000_000;

/// Which of its documents a ConfigMap has no room for.
const LEFT_OUT_ANNOTATION: &str = "k6.io/left-out";

/// What tells a run from every other, also of the same resource.
pub fn run_id(owner: &Owner) -> String {
    format!("{}-{}", owner.uid, owner.attempt)
}

/// The Job that merges the metrics of so many runners of a script with these options.
pub fn aggregator(
    owner: &Owner,
    spec: &Spec,
    checked: &Checked,
    defaults: &Defaults,
    options: &str,
    once: bool,
) -> Job {
    let settings = of_operator(spec, defaults);
    let base = pod::main_container(AGGREGATE, &defaults.starter_image, &settings);
    let mut words = vec![
        "aggregate".to_owned(),
        format!("--run={}", run_id(owner)),
        format!("--name={}/{}", owner.namespace, owner.name),
        format!("--kind={}", owner.kind.as_str()),
        format!("--runners={}", checked.terms.parallelism),
        format!("--keep={KEPT_FOLDER}"),
    ];
    if !checked.terms.unjudged {
        words.push(format!("--options-json={options}"));
    }
    if once {
        words.push("--once".to_owned());
    }
    let kept = VolumeMount {
        name: KEPT_VOLUME.to_owned(),
        mount_path: KEPT_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    let mounts: Vec<_> = base.volume_mounts.into_iter().flatten().chain([kept]).collect();
    let container = Container {
        command: Some(vec![programs::PROGRAM.to_owned()]),
        args: Some(literal(&words, &settings.common.env)),
        ports: Some(vec![ContainerPort {
            name: Some("otlp".to_owned()),
            container_port: AGGREGATOR_PORT,
            ..ContainerPort::default()
        }]),
        volume_mounts: Some(mounts),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/healthz".to_owned()),
                port: IntOrString::Int(AGGREGATOR_PORT),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(1),
            timeout_seconds: Some(5),
            failure_threshold: Some(10),
            ..Probe::default()
        }),
        security_context: programs::read_only(base.security_context, &settings),
        ..base
    };
    let pod = PodSpec {
        containers: vec![container],
        volumes: Some(vec![empty(KEPT_VOLUME)]),
        ..PodSpec::default()
    };
    pod::job(owner, Part::Aggregator, None, &settings, pod)
}

/// The Service at which the runners reach the aggregator, whichever pod it has: it goes with the Job.
pub fn service(owner: &Owner, aggregator: &Job) -> Service {
    let mut metadata = owner.metadata(names::service_name(&owner.stem()), "aggregator");
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: aggregator.metadata.name.clone().unwrap_or_default(),
        uid: aggregator.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    let selector = [
        (names::RUN_LABEL, owner.uid.clone()),
        (names::ATTEMPT_LABEL, owner.attempt.to_string()),
        (names::COMPONENT_LABEL, "aggregator".to_owned()),
    ];
    Service {
        metadata,
        spec: Some(ServiceSpec {
            selector: Some(selector.map(|(key, value)| (key.to_owned(), value)).into()),
            ports: Some(vec![ServicePort {
                name: Some("otlp".to_owned()),
                port: AGGREGATOR_PORT,
                target_port: Some(IntOrString::Int(AGGREGATOR_PORT)),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Job that brings the result from the aggregator; `about` is what is known of the run beside its metrics, as
/// JSON. k6 calls the script's handleSummary() in it: of an archive, it can't.
pub fn collector(
    owner: &Owner,
    spec: &Spec,
    checked: &Checked,
    defaults: &Defaults,
    wiring: Wiring<'_>,
    about: &str,
) -> Job {
    let Wiring {
        aggregation: _,
        address,
    } = wiring;
    let mut settings = settings::of_runner(spec, &defaults.common);
    settings.common.resources = programs::or_sized(settings.common.resources, spec, defaults, "64Mi", "1Gi");
    let script = script::path(checked);
    let calls = !script.ends_with(".tar");
    let mut words = vec![
        "collect".to_owned(),
        format!("--aggregator={address}"),
        format!("--run={}", run_id(owner)),
        format!("--about={about}"),
        format!("--within={ASKED_SECONDS}"),
    ];
    if calls {
        words.push(format!("--script={script}"));
        words.push(format!("--folder={SUMMARY_FOLDER}"));
    }
    let folder = VolumeMount {
        name: SUMMARY_VOLUME.to_owned(),
        mount_path: SUMMARY_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    let own = settings::of_aggregation(spec, &defaults.common);
    let hardened = PodSettings {
        common: PodTemplate {
            resources: if own == Resources::default() {
                settings.common.resources.clone()
            } else {
                own
            },
            ..settings.common.clone()
        },
        ..PodSettings::default()
    };
    let base = pod::main_container(COLLECT, &defaults.starter_image, &hardened);
    let collect = Container {
        command: Some(vec![programs::PROGRAM.to_owned()]),
        args: Some(literal(&words, &[])),
        volume_mounts: calls.then(|| vec![folder.clone()]),
        security_context: programs::read_only(base.security_context, &hardened),
        env: None,
        env_from: None,
        ..base
    };
    if !calls {
        let pod = PodSpec {
            containers: vec![collect],
            ..PodSpec::default()
        };
        let limit = Some(collector_seconds(calls));
        return pod::job(owner, Part::Collector, limit, &hardened, pod);
    }
    let base = pod::main_container(SUMMARY, &defaults.runner_image, &settings);
    let mounts = script::mount(checked).into_iter();
    let mounts = mounts.chain(base.volume_mounts.into_iter().flatten());
    let mounts: Vec<_> = mounts
        .chain([VolumeMount {
            read_only: Some(true),
            ..folder
        }])
        .collect();
    let mut run = [
        "k6",
        "run",
        "--quiet",
        "--no-usage-report",
        "--no-thresholds",
        // An API server that nobody asks.
        "--address=",
        // In place of those of the user, to which this one iteration is not to go.
        "--out=json=/dev/null",
        "--summary-export=",
        // The operator reads in its log why handleSummary() was not called.
        "--log-output=stderr",
        "--log-format=text",
        // Whatever the variables of the runners say: K6_PAUSED, ...
        "--paused=false",
        "--linger=false",
        "--min-iteration-duration=0s",
        "--traces-output=none",
        "--vus=1",
        "--iterations=1",
    ]
    .map(str::to_owned)
    .to_vec();
    run.extend(literal(
        &arguments::of_script(&checked.arguments),
        &settings.common.env,
    ));
    run.push(format!("{SUMMARY_FOLDER}/summary.js"));
    let mut script = script::volume(owner, checked);
    // Whoever measured needs it no more: without it only handleSummary() is not called.
    if let Some(map) = script.as_mut().and_then(|volume| volume.config_map.as_mut()) {
        map.optional = Some(true);
    }
    let volumes = script.into_iter().chain([empty(SUMMARY_VOLUME)]);
    let pod = PodSpec {
        init_containers: Some(vec![collect]),
        containers: vec![Container {
            env: pod::unresolved(base.env),
            command: Some(run),
            volume_mounts: given(&mounts),
            ..base
        }],
        volumes: Some(volumes.collect()),
        ..PodSpec::default()
    };
    let limit = Some(collector_seconds(calls));
    pod::job(owner, Part::Collector, limit, &settings, pod)
}

/// The ConfigMap in which the documents are kept, and what handleSummary() returned, or why not. Its `summary.json` is
/// what handleSummary() received, in the shape in which it did.
pub fn summary(owner: &Owner, documents: Documents, handled: Handled) -> ConfigMap {
    let Documents { data, text, page } = documents;
    let Handled {
        outputs,
        error,
        summary,
    } = handled;
    let data = summary.unwrap_or(data);
    let error = error.map(|error| ("error.txt".to_owned(), error));
    let outputs = error.into_iter().chain(outputs);
    let outputs = outputs.map(|(file, content)| (key(&file), content));
    let all = [("summary.txt", text), ("summary.json", data)].map(|(key, text)| (key.to_owned(), text));
    let all = all.into_iter().chain(outputs);
    let all = all.chain([("report.html".to_owned(), page)]);
    let all = all.filter(|(_, text)| !text.is_empty());
    let mut room = MAP_LIMIT;
    let mut kept = BTreeMap::new();
    let mut left_out = Vec::new();
    for (key, text) in all {
        match room.checked_sub(key.len() + text.len()) {
            Some(rest) => {
                room = rest;
                kept.insert(key, text);
            }
            None => left_out.push(key),
        }
    }
    let mut metadata = owner.metadata(names::summary_name(&owner.stem()), "summary");
    if !left_out.is_empty() {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(LEFT_OUT_ANNOTATION.to_owned(), left_out.join(","));
    }
    ConfigMap {
        metadata,
        data: Some(kept),
        ..ConfigMap::default()
    }
}

/// The key of a file that handleSummary() returned: of the letters that a key can have.
fn key(file: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let file: String = file.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    format!(
        "handleSummary-{}",
        names::shortened(file.trim_start_matches(['.', '_']), 200)
    )
}

/// Those of the starter, but for its image: only the operator's own has the program.
fn of_operator(spec: &Spec, defaults: &Defaults) -> PodSettings {
    let mut common = settings::of_starter(spec, &defaults.common).common;
    let own = settings::of_aggregation(spec, &defaults.common);
    if own != Resources::default() {
        common.resources = own;
    }
    common.resources = programs::or_sized(common.resources, spec, defaults, "64Mi", "1Gi");
    PodSettings {
        common,
        ..PodSettings::default()
    }
}

fn empty(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}
