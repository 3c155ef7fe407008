//! The Job of one runner.

use super::pod::{self, Defaults, Owner, PORT, Part};
use super::{Checked, names, segments};
use crate::api::{K6Spec, PullPolicy};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapVolumeSource, Container, ContainerPort, HTTPGetAction, KeyToPath, PodAffinityTerm,
    PodAntiAffinity, PodSpec, Probe, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

const SCRIPT_VOLUME: &str = "k6-test-volume";
const SCRIPT_FOLDER: &str = "/test";

/// The Job of runner `i` of `n`.
pub fn runner(owner: &Owner, spec: &K6Spec, checked: &Checked, defaults: &Defaults, i: u32, n: u32) -> Job {
    let settings = &spec.runner;
    let base = k6_container("k6", spec, defaults);
    let container = Container {
        command: Some(command(owner, checked, i, n)),
        env: (!settings.env.is_empty()).then(|| settings.env.clone()),
        resources: settings.resources.clone(),
        ports: Some(vec![ContainerPort {
            name: Some("http-api".to_owned()),
            container_port: PORT,
            ..ContainerPort::default()
        }]),
        volume_mounts: Some(vec![script_mount()]),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/v1/status".to_owned()),
                port: IntOrString::Int(PORT),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(1),
            timeout_seconds: Some(5),
            failure_threshold: Some(10),
            ..Probe::default()
        }),
        ..base
    };
    let pod = PodSpec {
        hostname: Some(names::runner_name(&owner.name, i).replace('.', "-")),
        containers: vec![container],
        volumes: Some(vec![script_volume(checked)]),
        affinity: spec.separate.then(apart),
        ..PodSpec::default()
    };
    pod::job(owner, Part::Runner(i), None, pod)
}

fn command(owner: &Owner, checked: &Checked, i: u32, n: u32) -> Vec<String> {
    let mut words = vec!["k6".to_owned(), "run".to_owned()];
    if n > 1 {
        words.push(format!("--execution-segment={}", segments::segment(i, n)));
        words.push(format!("--execution-segment-sequence={}", segments::sequence(n)));
    }
    words.extend(checked.arguments.iter().cloned());
    words.push(script_path(checked));
    words.push(format!("--address=0.0.0.0:{PORT}"));
    words.push("--paused".to_owned());
    words.extend(["--tag".to_owned(), format!("instance_id={i}")]);
    words.extend(["--tag".to_owned(), format!("testrun_name={}", owner.name)]);
    words
}

/// Keeps a runner off nodes that have another runner, of any test.
fn apart() -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![PodAffinityTerm {
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
            }]),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}

pub(super) fn k6_container(name: &str, spec: &K6Spec, defaults: &Defaults) -> Container {
    let image = spec.runner.image.as_deref().unwrap_or(&defaults.runner_image);
    pod::container(
        name,
        image,
        spec.runner.image_pull_policy.unwrap_or(PullPolicy::IfNotPresent),
    )
}

pub(super) fn script_path(checked: &Checked) -> String {
    format!("{SCRIPT_FOLDER}/{}", checked.file)
}

pub(super) fn script_mount() -> VolumeMount {
    VolumeMount {
        name: SCRIPT_VOLUME.to_owned(),
        mount_path: SCRIPT_FOLDER.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// All files of the ConfigMap, so that the script can import its neighbours.
pub(super) fn script_volume(checked: &Checked) -> Volume {
    Volume {
        name: SCRIPT_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: checked.config_map.clone(),
            items: None::<Vec<KeyToPath>>,
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}
