//! The Job that lets k6 itself read the script: `k6 archive` with the user's arguments, then `k6 inspect` of
//! the archive, because `inspect` knows no `--vus` or `--duration`, nor that `k6 run` takes one virtual user for a
//! script that names none: that it reads from a file, which is an annotation of the pod. `--verbose` makes the first
//! tell its version. No shell runs.

use super::pod::{self, Defaults, Owner, Part, given};
use super::{Checked, for_archive, literal, names, runner, script, settings};
use crate::api::Spec;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, ObjectFieldSelector,
    PodSpec, Volume, VolumeMount,
};

/// The container that makes the archive.
pub const ARCHIVE: &str = "archive";
/// The container that inspects the archive.
pub const INSPECT: &str = "inspect";

const ARCHIVE_VOLUME: &str = "k6-archive-volume";
const ARCHIVE_FOLDER: &str = "/k6-archive";
const ARCHIVE_FILE: &str = "/k6-archive/test.tar";

const CONFIG_VOLUME: &str = "k6-config-volume";
const CONFIG_FOLDER: &str = "/k6-config";
const CONFIG_FILE: &str = "/k6-config/config.json";
/// The default of `--vus`. It is the weakest of all: options of the script and of the user's arguments win.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/how-to/#order-of-precedence>
pub(super) const CONFIG: &str = r#"{"vus":1}"#;

/// The initializer Job.
pub fn initializer(owner: &Owner, spec: &Spec, checked: &Checked, defaults: &Defaults) -> Job {
    let settings = settings::of_initializer(spec, &defaults.common);
    let own = spec.initializer.as_ref().map(|initializer| &initializer.pod);
    let archive_mount = VolumeMount {
        name: ARCHIVE_VOLUME.to_owned(),
        mount_path: ARCHIVE_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    let k6 = |name: &str, command: Vec<String>| {
        let base = pod::main_container(name, &defaults.runner_image, &settings);
        let mounts = script::mount(checked).into_iter().chain([archive_mount.clone()]);
        let mounts: Vec<VolumeMount> = mounts.chain(base.volume_mounts.unwrap_or_default()).collect();
        Container {
            command: Some(command),
            volume_mounts: given(&mounts),
            ..base
        }
    };
    let archive = [
        "k6",
        "archive",
        "--verbose",
        "--include-system-env-vars",
        "-O",
        ARCHIVE_FILE,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(literal(&for_archive(&checked.arguments), &settings.common.env))
    .chain(literal(&[script::path(checked)], &[]));
    let inspect = [
        "k6",
        "inspect",
        "--execution-requirements",
        "--config",
        CONFIG_FILE,
        ARCHIVE_FILE,
    ];
    let archive_volume = Volume {
        name: ARCHIVE_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let config = DownwardAPIVolumeFile {
        path: "config.json".to_owned(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{}']", names::INSPECT_ANNOTATION),
            ..ObjectFieldSelector::default()
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let config_volume = Volume {
        name: CONFIG_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![config]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    };
    let volumes = script::volume(owner, checked)
        .into_iter()
        .chain([archive_volume, config_volume]);
    let mut inspector = k6(INSPECT, inspect.map(str::to_owned).to_vec());
    inspector.volume_mounts.get_or_insert_default().push(VolumeMount {
        name: CONFIG_VOLUME.to_owned(),
        mount_path: CONFIG_FOLDER.to_owned(),
        ..VolumeMount::default()
    });
    let pod = PodSpec {
        init_containers: Some(vec![k6(ARCHIVE, archive.collect())]),
        containers: vec![Container {
            ports: given(&runner::more_ports(spec)),
            // Those of runners ask k6's API, which `k6 inspect` does not have.
            readiness_probe: own.and_then(|pod| pod.readiness_probe.clone()),
            liveness_probe: own.and_then(|pod| pod.liveness_probe.clone()),
            ..inspector
        }],
        volumes: Some(volumes.collect()),
        ..PodSpec::default()
    };
    let limit = i64::from(checked.terms.initialization_timeout_seconds).saturating_add(10);
    pod::job(owner, Part::Initializer, Some(limit), &settings, pod)
}
