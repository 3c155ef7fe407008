//! The Job that merges the metrics of the runners, its Service, and the ConfigMap with the result.

use super::pod::{self, Owner, Part};
use super::volumes::{empty, mount};
use super::{ValidatedRun, literal, names, programs, tokens};
use crate::aggregate::documents::Documents;
use crate::aggregate::handle_summary::Content;
use crate::aggregate::report::{self, RunInfo};
use crate::limits::{LARGEST_EXPORT, LARGEST_HEARTBEAT};
use crate::machine::Thresholds;
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerPort, EmptyDirVolumeSource, PodSpec, Service, ServicePort, ServiceSpec,
    Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// The port of the aggregator, for OTLP over HTTP.
pub const AGGREGATOR_PORT: i32 = 4318;

/// The name of the aggregator's container.
pub const AGGREGATE: &str = "aggregator";

const KEPT_VOLUME: &str = "k6-operator-kept";
const KEPT_FOLDER: &str = "/kept";

/// The number of processes of a runner that can leave files in that folder: its pod, and one that replaces a lost pod.
const PROCESSES: usize = 2;

/// The room for a ConfigMap's data, in bytes. Kubernetes allows 1 MiB:
/// <https://kubernetes.io/docs/concepts/configuration/configmap/>
const MAP_LIMIT: usize = 1_000_000;

/// Annotation with the names of the documents that the ConfigMap has no room for.
const LEFT_OUT_ANNOTATION: &str = "k6.io/left-out";

/// The aggregator Job. `options` are the options of the script, as JSON.
pub fn aggregator(run: &ValidatedRun, options: &str) -> Job {
    let ValidatedRun { owner, spec, plan: _ } = run;
    let settings = &spec.parts.aggregator;
    let base = pod::main_container(AGGREGATE, &spec.parts.program_image, settings);
    let mut words = vec![
        "aggregate".to_owned(),
        format!("--name={}/{}", owner.namespace, owner.name),
        format!("--kind={}", owner.kind.as_str()),
        format!("--runners={}", spec.terms.parallelism),
        format!("--keep={KEPT_FOLDER}"),
    ];
    if spec.terms.thresholds == Thresholds::Judge {
        words.push(format!("--options-json={options}"));
    }
    if run.aggregation().is_some_and(|how| how.setup_seconds.is_some()) {
        words.push("--once".to_owned());
    }
    let mut pod = PodSpec {
        volumes: Some(vec![kept(spec.terms.parallelism)]),
        ..PodSpec::default()
    };
    let kept = mount(KEPT_VOLUME, KEPT_FOLDER, false);
    let mounts: Vec<_> = base.volume_mounts.into_iter().flatten().chain([kept]).collect();
    let mut container = Container {
        command: Some(vec![programs::PROGRAM.to_owned()]),
        ports: Some(vec![ContainerPort {
            name: Some("otlp".to_owned()),
            container_port: AGGREGATOR_PORT,
            ..ContainerPort::default()
        }]),
        volume_mounts: Some(mounts),
        readiness_probe: Some(pod::readiness("/healthz", AGGREGATOR_PORT)),
        security_context: programs::read_only(base.security_context, settings),
        ..base
    };
    let hash = tokens::mounted(&mut pod, &mut container, owner, tokens::OF_AGGREGATOR);
    words.push(format!("--token-hash={hash}"));
    container.args = Some(literal(&words, &settings.common.env));
    pod.containers = vec![container];
    pod::job(owner, Part::Aggregator, None, settings, pod)
}

/// The Service of the aggregator. The Job owns it, so it is deleted with the Job.
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

/// Returns the ConfigMap with the documents of a run, the files that handleSummary() returned, and its error, and the
/// names of those that it has no room for. Its `summary.json` is the data that handleSummary() received; `about` is
/// what the report adds to the metrics.
pub fn summary(owner: &Owner, documents: Documents, about: &RunInfo) -> (ConfigMap, Vec<String>) {
    let Documents {
        data,
        text,
        report,
        outputs,
        error,
        mut left_out,
    } = documents;
    let page = if report.is_null() {
        String::new()
    } else {
        report::page(&report, about)
    };
    let plain = |key: &str, text: String| (key.to_owned(), Kept::Text(text));
    let error = error.map(|error| plain("handleSummary-error.txt", error));
    let outputs = outputs.into_iter().map(|(file, content)| {
        let content = match content {
            Content::Text(text) => Kept::Text(text),
            Content::Base64(text) => {
                serde_json::from_value(text.into()).map_or(Kept::Text(String::new()), Kept::Bytes)
            }
        };
        (key(&file), content)
    });
    let all = [plain("summary.txt", text), plain("summary.json", data)].into_iter();
    let all = all
        .chain(error)
        .chain(outputs)
        .chain([plain("report.html", page)]);
    let mut room = MAP_LIMIT;
    let (mut data, mut binary_data) = (BTreeMap::new(), BTreeMap::new());
    for (key, content) in all {
        let size = match &content {
            Kept::Text(text) => text.len(),
            Kept::Bytes(ByteString(bytes)) => bytes.len(),
        };
        match (size, room.checked_sub(key.len() + size)) {
            (0, _) => {}
            (_, Some(rest)) => {
                room = rest;
                match content {
                    Kept::Text(text) => drop(data.insert(key, text)),
                    Kept::Bytes(bytes) => drop(binary_data.insert(key, bytes)),
                }
            }
            (_, None) => left_out.push(key),
        }
    }
    let mut metadata = owner.metadata(names::summary_name(&owner.stem()), "summary");
    if !left_out.is_empty() {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(LEFT_OUT_ANNOTATION.to_owned(), left_out.join(", "));
    }
    let map = ConfigMap {
        metadata,
        data: Some(data),
        binary_data: (!binary_data.is_empty()).then_some(binary_data),
        ..ConfigMap::default()
    };
    (map, left_out)
}

/// The content of a key of the ConfigMap.
enum Kept {
    Text(String),
    Bytes(ByteString),
}

/// The key for a file that handleSummary() returned, in characters that a key may have.
fn key(file: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let file: String = file.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    format!(
        "handleSummary-{}",
        names::shortened(file.trim_start_matches(['.', '_']), 200)
    )
}

/// The folder for the last export and heartbeat of each process. Its limit is enough for all of them, and keeps them
/// from filling the disk of the node.
fn kept(runners: u32) -> Volume {
    let runners = usize::try_from(runners).unwrap_or(usize::MAX);
    let bytes = runners.saturating_mul(PROCESSES * (LARGEST_EXPORT + LARGEST_HEARTBEAT));
    let limit = EmptyDirVolumeSource {
        medium: None,
        size_limit: Some(Quantity(format!("{}Mi", bytes / (1024 * 1024)))),
    };
    empty(KEPT_VOLUME, limit)
}
