//! The Jobs of the two small programs: the starter and the stopper.

use super::Checked;
use super::pod::{self, Defaults, Owner, PORT, Part};
use crate::api::{K6Spec, PullPolicy};
use crate::machine::{STOP_GRACE, Target};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// The Job that releases the runners.
pub fn starter(
    owner: &Owner,
    spec: &K6Spec,
    checked: &Checked,
    defaults: &Defaults,
    targets: &[Target],
) -> Job {
    let limit = checked.terms.start_timeout.as_secs().saturating_add(10);
    program(owner, spec, defaults, targets, Part::Starter, limit)
}

/// The Job that stops the runners.
pub fn stopper(owner: &Owner, spec: &K6Spec, defaults: &Defaults, targets: &[Target]) -> Job {
    program(
        owner,
        spec,
        defaults,
        targets,
        Part::Stopper,
        STOP_GRACE.as_secs(),
    )
}

fn program(
    owner: &Owner,
    spec: &K6Spec,
    defaults: &Defaults,
    targets: &[Target],
    part: Part,
    deadline_seconds: i64,
) -> Job {
    let subcommand = if part == Part::Starter { "start" } else { "stop" };
    let image = spec.starter.image.as_deref().unwrap_or(&defaults.starter_image);
    let base = pod::container("k6-curl", image, PullPolicy::IfNotPresent);
    let address = |target: &Target| match target.ip.contains(':') {
        true => format!("--runner={}=[{}]:{PORT}", target.runner, target.ip),
        false => format!("--runner={}={}:{PORT}", target.runner, target.ip),
    };
    let container = Container {
        command: Some(vec!["/k6-operator".to_owned()]),
        args: Some(
            std::iter::once(subcommand.to_owned())
                .chain(targets.iter().map(address))
                .collect(),
        ),
        // No CPU limit: throttling would spread the start.
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), Quantity("50m".to_owned())),
                ("memory".to_owned(), Quantity("16Mi".to_owned())),
            ])),
            limits: Some(BTreeMap::from([(
                "memory".to_owned(),
                Quantity("128Mi".to_owned()),
            )])),
            claims: None,
        }),
        security_context: base.security_context.map(|context| SecurityContext {
            read_only_root_filesystem: Some(true),
            ..context
        }),
        ..base
    };
    let pod = PodSpec {
        containers: vec![container],
        ..PodSpec::default()
    };
    pod::job(owner, part, Some(deadline_seconds), pod)
}
