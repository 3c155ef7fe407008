//! Reads how the containers of a pod have ended.

use crate::k6::exit_code;
use crate::k6::log::last_words;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    all.flatten().find(|container| container.name == name)
}

/// How a container of a pod has ended. The pod may have others, of a service mesh for example.
pub(super) fn end_of<'a>(
    pod: &'a Pod,
    name: &str,
) -> Option<(&'a ContainerStatus, &'a ContainerStateTerminated)> {
    let status = status_of(pod, name)?;
    Some((status, status.state.as_ref()?.terminated.as_ref()?))
}

/// The init container that failed. How a sidecar ends does not matter.
pub(super) fn failed_container(pod: &Pod) -> Option<(&ContainerStatus, &ContainerStateTerminated)> {
    let spec = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref());
    let is_sidecar = |name: &str| {
        let mut containers = spec.unwrap_or_default().iter();
        containers.any(|c| c.name == name && c.restart_policy.is_some())
    };
    let containers = pod.status.as_ref()?.init_container_statuses.as_ref()?.iter();
    let mut ends = containers.filter_map(|c| Some((c, c.state.as_ref()?.terminated.as_ref()?)));
    ends.find(|(c, ended)| ended.exit_code != 0 && !is_sidecar(&c.name))
}

/// The message of an init container that failed: then none of the containers was started.
pub(super) fn failed_init(pod: &Pod) -> Option<String> {
    let (container, ended) = failed_container(pod)?;
    Some(format!(
        "the init container {} failed {}",
        container.name,
        describe(ended)
    ))
}

/// Describes an end: `(exit code 107, OOMKilled): words`.
pub(super) fn describe(ended: &ContainerStateTerminated) -> String {
    code_and(ended, &last_words(ended.message.as_deref().unwrap_or_default()))
}

pub(super) fn code_and(ended: &ContainerStateTerminated, words: &str) -> String {
    let reason = ended.reason.as_deref().filter(|reason| *reason != "Error");
    let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
    format!("(exit code {}{reason}): {words}", ended.exit_code)
}

pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// True if all containers of a pod have ended, and none will be restarted.
pub(super) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Exit codes of a process that SIGKILL or SIGTERM has ended.
const SIGKILL: u8 = 137;

const SIGTERM: u8 = 143;

/// True if Kubernetes may have ended this container, and may still add the reason.
pub(super) fn is_unsettled(pod: &Pod, ended: &ContainerStateTerminated) -> bool {
    let code = u8::try_from(ended.exit_code).ok();
    let signalled = matches!(code, Some(exit_code::SIGNALLED | SIGKILL | SIGTERM));
    signalled && ended.reason.as_deref() != Some("OOMKilled") && !is_terminal(pod)
}
