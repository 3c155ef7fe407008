//! The Jobs of starter and stopper, and the copy of the operator's program in pods whose image lacks it.

use super::pod::{self, PORT, Part};
use super::volumes::{empty, mount};
use super::{ValidatedRun, names, tokens};
use crate::api::{PodSettings, PullPolicy};
use crate::machine::{STOP_GRACE, Target};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, PodSpec, SecurityContext};

/// The name of a starter's or stopper's container, which is that of grafana/k6-operator.
pub const PROGRAM_CONTAINER: &str = "k6-curl";

/// The path of the program in the operator's image.
pub(super) const PROGRAM: &str = "/k6-operator";

/// The volume for a copy of the program, in pods whose image lacks it, such as one made for grafana/k6-operator.
const COPY_VOLUME: &str = "k6-operator-program";
const COPY_FOLDER: &str = "/k6-operator-program";
pub(super) const COPY: &str = "/k6-operator-program/k6-operator";

/// The Job that releases the runners.
pub fn starter(run: &ValidatedRun, targets: &[Target]) -> Job {
    let setup_seconds = run.aggregation().and_then(|how| how.setup_seconds);
    let setup = SignedDuration::from_secs(setup_seconds.unwrap_or_default().into());
    let limit = run
        .spec
        .terms
        .start_timeout
        .saturating_add(setup)
        .saturating_add(pod::REPORT_TIME);
    let words = setup_seconds.map(|seconds| format!("--setup-timeout={seconds}"));
    let words = ["start".to_owned()].into_iter().chain(words).collect();
    program(run, targets, words, Part::Starter, limit)
}

/// The Job that stops the runners.
pub fn stopper(run: &ValidatedRun, targets: &[Target]) -> Job {
    program(run, targets, vec!["stop".to_owned()], Part::Stopper, STOP_GRACE)
}

fn program(
    run: &ValidatedRun,
    targets: &[Target],
    words: Vec<String>,
    part: Part,
    deadline: SignedDuration,
) -> Job {
    let ValidatedRun { owner, spec, plan: _ } = run;
    let (settings, image) = (&spec.parts.starter, &spec.parts.program_image);
    let foreign = settings.image.as_ref().is_some_and(|own| own != image);
    let base = pod::main_container(PROGRAM_CONTAINER, image, settings);
    let address =
        |target: &Target| format!("--runner={}={}", target.runner, names::address(&target.ip, PORT));
    let mut container = Container {
        command: Some(vec![if foreign { COPY } else { PROGRAM }.to_owned()]),
        security_context: read_only(base.security_context, settings),
        readiness_probe: settings.readiness_probe.clone(),
        liveness_probe: settings.liveness_probe.clone(),
        ..base
    };
    let mut pod = PodSpec::default();
    if foreign {
        let copying = copied(&mut pod, &mut container, image, settings);
        pod.init_containers.get_or_insert_default().push(copying);
    }
    // Where metrics are merged, `linger` listens at the port of a runner and requires the token.
    let token = run.aggregation().map(|_| {
        let token = tokens::mounted(&mut pod, &mut container, owner, tokens::OF_STARTER);
        format!("--token={token}")
    });
    let words = words.into_iter().chain(token);
    container.args = Some(words.chain(targets.iter().map(address)).collect());
    pod.containers = vec![container];
    pod::job(owner, part, Some(deadline), settings, pod)
}

/// Makes the root filesystem read-only, unless the user sets a security context of their own.
pub(super) fn read_only(context: Option<SecurityContext>, settings: &PodSettings) -> Option<SecurityContext> {
    let hardened = settings.common.container_security_context.is_none();
    context.map(|context| SecurityContext {
        read_only_root_filesystem: if hardened {
            Some(true)
        } else {
            context.read_only_root_filesystem
        },
        ..context
    })
}

/// Mounts a volume for the operator's program into a container whose image lacks it, and returns the init container that
/// copies it there.
pub(super) fn copied(
    pod: &mut PodSpec,
    container: &mut Container,
    program_image: &str,
    settings: &PodSettings,
) -> Container {
    let volumes = pod.volumes.get_or_insert_default();
    volumes.push(empty(COPY_VOLUME, EmptyDirVolumeSource::default()));
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(mount(COPY_VOLUME, COPY_FOLDER, true));
    let hardened = PodSettings {
        image: Some(program_image.to_owned()),
        common: settings.common.clone(),
        ..PodSettings::default()
    };
    Container {
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(vec!["copy".to_owned(), COPY.to_owned()]),
        volume_mounts: Some(vec![mount(COPY_VOLUME, COPY_FOLDER, false)]),
        image_pull_policy: Some(PullPolicy::IfNotPresent.as_str().to_owned()),
        env: None,
        env_from: None,
        ..pod::main_container("copy", program_image, &hardened)
    }
}
