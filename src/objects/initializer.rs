//! The Job in which k6 itself reads the script. The operator's program runs in the image of the runners and asks its k6;
//! see `programs::inspect`. No shell runs.

use super::pod::{self, Part, given};
use super::volumes::{empty, mount};
use super::{ValidatedRun, literal, programs, script};
use crate::machine::ProgramSource;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, PodSpec, VolumeMount};

/// The name of the container in which k6 reads the script.
pub const INSPECT: &str = "inspect";

/// The volume for the archive of the script.
const ARCHIVE_VOLUME: &str = "k6-archive-volume";
const ARCHIVE_FOLDER: &str = "/k6-archive";

/// The initializer Job. It runs before there is a plan, which would say where its program comes from.
pub fn initializer(run: &ValidatedRun, program: ProgramSource) -> Job {
    let ValidatedRun { owner, spec, plan: _ } = run;
    let settings = &spec.parts.initializer;
    let timeout = spec.terms.initialization_timeout;
    let archive_mount = mount(ARCHIVE_VOLUME, ARCHIVE_FOLDER, false);
    let base = pod::main_container(INSPECT, &spec.parts.runner_image, settings);
    let mounts = script::mount(run).into_iter().chain([archive_mount]);
    let mounts = mounts.chain(base.volume_mounts.unwrap_or_default());
    let mounts: Vec<VolumeMount> = mounts.collect();
    // The deadline of the run passes first, then that of the program, then that of the Job.
    let command = [
        programs::PROVIDED.to_owned(),
        "inspect".to_owned(),
        format!("--folder={ARCHIVE_FOLDER}"),
        format!(
            "--timeout={}",
            timeout.saturating_add(pod::REPORT_TIME / 2).as_secs()
        ),
        "--".to_owned(),
        "k6".to_owned(),
    ];
    let command = command
        .into_iter()
        .chain(literal(&spec.arguments, &settings.common.env))
        .chain(literal(&[script::path(run)], &[]));
    let mut container = Container {
        command: Some(command.collect()),
        env: pod::unresolved(base.env),
        volume_mounts: given(&mounts),
        ports: given(&spec.ports),
        readiness_probe: settings.readiness_probe.as_deref().cloned(),
        liveness_probe: settings.liveness_probe.as_deref().cloned(),
        ..base
    };
    let archive_volume = empty(ARCHIVE_VOLUME, EmptyDirVolumeSource::default());
    let volumes = script::volume(run).into_iter().chain([archive_volume]);
    let mut pod = PodSpec {
        volumes: Some(volumes.collect()),
        ..PodSpec::default()
    };
    let image = &spec.parts.program_image;
    let copying = programs::provided(&mut pod, &mut container, image, settings, program);
    pod.init_containers = copying.map(|copying| vec![copying]);
    pod.containers = vec![container];
    pod::job(
        owner,
        Part::Initializer,
        Some(timeout.saturating_add(pod::REPORT_TIME)),
        settings,
        pod,
    )
}
