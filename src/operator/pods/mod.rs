//! Reads Jobs and pods, and returns what they mean for the state machine. Pure.

mod ends;
mod initializer;
mod refused;
mod runner;
#[cfg(test)]
mod tests;
mod words;

pub use initializer::{InitializerPod, initializer};
pub use refused::pod_refusal;
pub use runner::{aggregator, runner};

use crate::k6::log::last_words;
use crate::machine::Program;
use crate::objects::{AGGREGATE, PROGRAM_CONTAINER, mounts_program};
use crate::protocol::outcome::Outcome;
use crate::protocol::report::Report;
use ends::{end_of, failed_init, is_leaving, is_terminal};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::sync::Arc;

/// The pod of a Job: the newest that is not being deleted, else the newest.
pub fn pod_of<'a>(job: &Job, pods: &'a [Arc<Pod>]) -> Option<&'a Arc<Pod>> {
    let uid = job.uid()?;
    let owned = |pod: &&Arc<Pod>| pod.owner_references().iter().any(|owner| owner.uid == uid);
    let rank = |pod: &&Arc<Pod>| (!is_leaving(pod), pod.creation_timestamp());
    pods.iter().filter(owned).max_by_key(rank)
}

/// How a Job ended: Ok if it was complete, else Kubernetes' message.
pub fn job_end(job: &Job) -> Option<Result<(), String>> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|c| c.status == "True")
        .find_map(|c| match c.type_.as_str() {
            "Complete" => Some(Ok(())),
            "Failed" => Some(Err(c
                .message
                .clone()
                .or_else(|| c.reason.clone())
                .unwrap_or_default())),
            _ => None,
        })
}

/// The outcome of an aggregator that has ended, which is in its termination message if the aggregator had everything.
pub fn left_outcome(pod: &Pod) -> Option<Outcome> {
    let (_, ended) = end_of(pod, AGGREGATE)?;
    serde_json::from_str(ended.message.as_deref()?).ok()
}

/// A starter or stopper, from its Job and pod.
pub fn program(job: &Job, pod: Option<&Pod>) -> Program {
    if let Some((_, ended)) = pod.and_then(|pod| end_of(pod, PROGRAM_CONTAINER)) {
        let message = ended.message.as_deref().unwrap_or_default();
        return match Report::from_message(message) {
            Ok(report) => Program::Reported(report),
            Err(_) => {
                let reason = ended.reason.as_deref().unwrap_or("Error");
                let words = last_words(message);
                Program::Failed(
                    format!("exit code {} ({reason}) {words}", ended.exit_code)
                        .trim_end()
                        .to_owned(),
                )
            }
        };
    }
    if pod.is_some_and(is_behind) {
        return Program::Running(pod.and_then(waiting));
    }
    match job_end(job) {
        Some(Err(why)) => Program::Failed(pod.and_then(failed_init).unwrap_or(why)),
        Some(Ok(())) => Program::Failed("its pod was deleted before its report was read".to_owned()),
        None => Program::Running(pod.and_then(waiting)),
    }
}

/// True if a pod has not ended as far as it is known. If its Job has, this view is stale, and the end of the pod is
/// awaited.
fn is_behind(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_leaving(pod) && failed_init(pod).is_none()
}

/// Adds the remedy to the message of a container that could not be started, most likely because the runtime of its node
/// can't mount the operator's image, or run what is in it.
fn with_remedy(pod: &Pod, reason: &str, message: String) -> String {
    let reasons = [
        "CreateContainerError",
        "RunContainerError",
        "StartError",
        "ContainerCannotRun",
    ];
    if !reasons.contains(&reason) || !mounts_program(pod) {
        return message;
    }
    format!(
        "{message}; its node may not be able to mount the operator's image as a volume, for which containerd 2.1 is needed: \
         set IMAGE_VOLUMES=never for the operator"
    )
}

/// What a pod waits for, if Kubernetes gives a reason.
pub fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let describe = |reason: &str, message: Option<&str>| match message {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        Some(_) | None => reason.to_owned(),
    };
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("Unscheduled");
        return Some(describe(reason, condition.message.as_deref()));
    }
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let states = containers.filter_map(|c| c.state.as_ref()?.waiting.as_ref());
    let stuck = states.filter_map(|w| {
        let reason = w.reason.as_deref()?;
        let usual = matches!(reason, "ContainerCreating" | "PodInitializing");
        (!usual).then(|| with_remedy(pod, reason, describe(reason, w.message.as_deref())))
    });
    let stuck = stuck.into_iter().next();
    stuck.or_else(|| {
        let running = status.phase.as_deref() == Some("Running");
        running.then(|| "its k6 does not answer yet".to_owned())
    })
}
