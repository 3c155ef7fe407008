//! The Jobs of the two small programs: the starter and the stopper.

use super::pod::{self, Defaults, Owner, PORT, Part};
use super::{ValidatedRun, settings, tokens};
use crate::api::{PodSettings, PullPolicy, Resources, Spec};
use crate::machine::{STOP_GRACE_SECONDS, Target};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, PodSpec, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// The container of a starter or stopper, as grafana/k6-operator calls it.
pub const PROGRAM_CONTAINER: &str = "k6-curl";

/// The program in the operator's image.
pub(super) const PROGRAM: &str = "/k6-operator";

/// Where it is copied to in the pod of an image that has none, such as one made for grafana/k6-operator.
const COPY_VOLUME: &str = "k6-operator-program";
const COPY_FOLDER: &str = "/k6-operator-program";
pub(super) const COPY: &str = "/k6-operator-program/k6-operator";

/// Who takes orders at the port of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// k6 itself, from anybody.
    K6,
    /// Our program, from who has the token of the run.
    Linger,
}

/// The Job that releases the runners.
pub fn starter(
    owner: &Owner,
    spec: &Spec,
    validated: &ValidatedRun,
    defaults: &Defaults,
    targets: &[Target],
    (port, setup_seconds): (Port, Option<u32>),
) -> Job {
    let setup = i64::from(setup_seconds.unwrap_or_default());
    let limit = i64::from(validated.terms.start_timeout_seconds).saturating_add(setup + 10);
    let words = setup_seconds.map(|seconds| format!("--setup-timeout={seconds}"));
    let words = ["start".to_owned()].into_iter().chain(words).collect();
    program(
        owner,
        spec,
        defaults,
        (targets, port),
        words,
        Part::Starter,
        limit,
    )
}

/// The Job that stops the runners.
pub fn stopper(owner: &Owner, spec: &Spec, defaults: &Defaults, targets: &[Target], port: Port) -> Job {
    program(
        owner,
        spec,
        defaults,
        (targets, port),
        vec!["stop".to_owned()],
        Part::Stopper,
        i64::from(STOP_GRACE_SECONDS),
    )
}

fn program(
    owner: &Owner,
    spec: &Spec,
    defaults: &Defaults,
    (targets, port): (&[Target], Port),
    words: Vec<String>,
    part: Part,
    deadline_seconds: i64,
) -> Job {
    let mut settings = settings::of_starter(spec, &defaults.common);
    settings.common.resources = or_sized(settings.common.resources, spec, defaults, "16Mi", "128Mi");
    let foreign = settings
        .image
        .as_ref()
        .is_some_and(|image| *image != defaults.starter_image);
    let base = pod::main_container(PROGRAM_CONTAINER, &defaults.starter_image, &settings);
    let address = |target: &Target| match target.ip.contains(':') {
        true => format!("--runner={}=[{}]:{PORT}", target.runner, target.ip),
        false => format!("--runner={}={}:{PORT}", target.runner, target.ip),
    };
    let mut container = Container {
        command: Some(vec![if foreign { COPY } else { PROGRAM }.to_owned()]),
        security_context: read_only(base.security_context, &settings),
        readiness_probe: settings.readiness_probe.clone(),
        liveness_probe: settings.liveness_probe.clone(),
        ..base
    };
    let mut pod = PodSpec::default();
    if foreign {
        let copying = copied(&mut pod, &mut container, defaults, &settings);
        pod.init_containers.get_or_insert_default().push(copying);
    }
    let token = match port {
        Port::K6 => None,
        Port::Linger => {
            let token = tokens::mounted(&mut pod, &mut container, owner, tokens::OF_STARTER);
            Some(format!("--token={token}"))
        }
    };
    let words = words.into_iter().chain(token);
    container.args = Some(words.chain(targets.iter().map(address)).collect());
    pod.containers = vec![container];
    pod::job(owner, part, Some(deadline_seconds), &settings, pod)
}

/// Hardened further, unless the user says how.
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

/// Brings the operator's program into a container whose image has none, and gives the container that is to copy it.
pub(super) fn copied(
    pod: &mut PodSpec,
    container: &mut Container,
    defaults: &Defaults,
    settings: &PodSettings,
) -> Container {
    let mount = VolumeMount {
        name: COPY_VOLUME.to_owned(),
        mount_path: COPY_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    let copying = copying(defaults, settings, mount.clone());
    pod.volumes.get_or_insert_default().push(Volume {
        name: COPY_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    });
    container.volume_mounts.get_or_insert_default().push(VolumeMount {
        read_only: Some(true),
        ..mount
    });
    copying
}

fn copying(defaults: &Defaults, settings: &PodSettings, mount: VolumeMount) -> Container {
    let hardened = PodSettings {
        image: Some(defaults.starter_image.clone()),
        common: settings.common.clone(),
        ..PodSettings::default()
    };
    Container {
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(vec!["copy".to_owned(), COPY.to_owned()]),
        volume_mounts: Some(vec![mount]),
        image_pull_policy: Some(PullPolicy::IfNotPresent.as_str().to_owned()),
        env: None,
        env_from: None,
        ..pod::main_container("copy", &defaults.starter_image, &hardened)
    }
}

/// The most CPU of a part that nobody sizes, where the runners' is limited.
const CPU_LIMIT: f64 = 1.0;

/// The size that is asked for; else so much memory at least, and at most. Its CPU has a limit only where that of the
/// runners has one: throttling would spread the start, but a namespace in which a quota counts limits takes no pod
/// without one.
pub(super) fn or_sized(
    asked: Resources,
    spec: &Spec,
    defaults: &Defaults,
    least: &str,
    most: &str,
) -> Resources {
    if asked != Resources::default() {
        return asked;
    }
    let quantity = |text: &str| Quantity(text.to_owned());
    let mut own = Resources {
        requests: [("cpu", "50m"), ("memory", least)]
            .map(|(name, text)| (name.to_owned(), quantity(text)))
            .into(),
        limits: BTreeMap::from([("memory".to_owned(), quantity(most))]),
    };
    let runner = settings::of_runner(spec, &defaults.common);
    if let Some(limit) = runner.common.resources.limits.get("cpu") {
        let limit = match cores(limit) {
            Some(cores) if cores < CPU_LIMIT => limit.clone(),
            Some(_) | None => quantity("1"),
        };
        // No request may be over its limit.
        if cores(&limit).is_some_and(|cores| cores < 0.05) {
            own.requests.insert("cpu".to_owned(), limit.clone());
        }
        own.limits.insert("cpu".to_owned(), limit);
    }
    own
}

/// How much CPU a quantity is:
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn cores(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok().map(|milli| milli / 1000.0),
        None => text.parse().ok(),
    }
}
