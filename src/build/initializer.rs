//! The Job that lets k6 itself read the script: `k6 archive` with the user's arguments, then `k6 inspect` of
//! the archive, because `inspect` knows no `--vus` or `--duration`. No shell runs.

use super::pod::{self, Defaults, Owner, Part};
use super::runner::{k6_container, script_mount, script_path, script_volume};
use super::{Checked, for_archive};
use crate::api::K6Spec;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, PodSpec, Volume, VolumeMount};

const ARCHIVE_VOLUME: &str = "archive";
const ARCHIVE: &str = "/archive/test.tar";

/// The initializer Job.
pub fn initializer(owner: &Owner, spec: &K6Spec, checked: &Checked, defaults: &Defaults) -> Job {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<String>>()
    };
    let env = (!spec.runner.env.is_empty()).then(|| spec.runner.env.clone());
    let archive_mount = VolumeMount {
        name: ARCHIVE_VOLUME.to_owned(),
        mount_path: "/archive".to_owned(),
        ..VolumeMount::default()
    };
    let mut archive = words(&["k6", "archive", "--include-system-env-vars", "-O", ARCHIVE]);
    archive.extend(for_archive(&checked.arguments));
    archive.push(script_path(checked));
    let pod = PodSpec {
        init_containers: Some(vec![Container {
            command: Some(archive),
            env: env.clone(),
            volume_mounts: Some(vec![script_mount(), archive_mount.clone()]),
            ..k6_container("archive", spec, defaults)
        }]),
        containers: vec![Container {
            command: Some(words(&["k6", "inspect", "--execution-requirements", ARCHIVE])),
            env,
            volume_mounts: Some(vec![archive_mount]),
            ..k6_container("inspect", spec, defaults)
        }],
        volumes: Some(vec![
            script_volume(checked),
            Volume {
                name: ARCHIVE_VOLUME.to_owned(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    };
    let deadline = checked.terms.initialization_timeout.as_secs().saturating_add(10);
    pod::job(owner, Part::Initializer, Some(deadline), pod)
}
