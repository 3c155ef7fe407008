//! The Jobs of starter and stopper, and the operator's program in pods whose image lacks it.

use super::pod::{self, PORT, Part};
use super::volumes::{empty, mount, of_image};
use super::{ValidatedRun, names, tokens};
use crate::api::{PodSettings, PullPolicy};
use crate::machine::{ProgramSource, STOP_GRACE, Target};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, PodSpec, SecurityContext};

/// The name of a starter's or stopper's container, which is that of grafana/k6-operator.
pub const PROGRAM_CONTAINER: &str = "k6-curl";

/// The path of the program in the operator's image.
pub(super) const PROGRAM: &str = "/k6-operator";

/// The volume with the program, in pods whose image lacks it, such as one made for grafana/k6-operator.
const VOLUME: &str = "k6-operator-program";
const FOLDER: &str = "/k6-operator-program";
/// The name of the init container that copies it there.
const COPYING: &str = "copy";
/// The path of the program there. In the operator's image it is at the root.
pub(super) const PROVIDED: &str = "/k6-operator-program/k6-operator";

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
        command: Some(vec![if foreign { PROVIDED } else { PROGRAM }.to_owned()]),
        security_context: read_only(base.security_context, settings),
        readiness_probe: settings.readiness_probe.as_deref().cloned(),
        liveness_probe: settings.liveness_probe.as_deref().cloned(),
        ..base
    };
    let mut pod = PodSpec::default();
    if foreign {
        pod.init_containers =
            provided(&mut pod, &mut container, image, settings, run.program()).map(|copying| vec![copying]);
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

/// Mounts a volume with the operator's program into a container whose image lacks it. Returns the init container that
/// copies it there, if the volume is not the operator's image itself.
pub(super) fn provided(
    pod: &mut PodSpec,
    container: &mut Container,
    image: &str,
    settings: &PodSettings,
    program: ProgramSource,
) -> Option<Container> {
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(mount(VOLUME, FOLDER, true));
    let volumes = pod.volumes.get_or_insert_default();
    match program {
        ProgramSource::Mounted => {
            volumes.push(of_image(VOLUME, image));
            None
        }
        ProgramSource::Copied => {
            volumes.push(empty(VOLUME, EmptyDirVolumeSource::default()));
            Some(copying(image, settings))
        }
    }
}

/// True if the containers of a pod run the program from a volume that is the operator's image.
pub fn mounts_program(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        let runs = |container: &Container| {
            let first = container.command.as_ref().and_then(|words| words.first());
            first.is_some_and(|word| word == PROVIDED)
        };
        let mut before = spec.init_containers.iter().flatten();
        spec.containers.iter().any(runs) && !before.any(|container| container.name == COPYING)
    })
}

/// The init container that copies the program.
fn copying(image: &str, settings: &PodSettings) -> Container {
    let hardened = PodSettings {
        image: Some(image.to_owned()),
        common: settings.common.clone(),
        ..PodSettings::default()
    };
    Container {
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(vec!["copy".to_owned(), PROVIDED.to_owned()]),
        volume_mounts: Some(vec![mount(VOLUME, FOLDER, false)]),
        image_pull_policy: Some(PullPolicy::IfNotPresent.as_str().to_owned()),
        env: None,
        env_from: None,
        ..pod::main_container(COPYING, image, &hardened)
    }
}
