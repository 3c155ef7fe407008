//! Reads where an initializer is, from its Job and pod.

use super::ends::{code_and, describe, end_of, failed_container, is_leaving, is_terminal, is_unsettled};
use super::words::missing_file;
use super::{is_behind, job_end, waiting};
use crate::k6::exit_code;
use crate::k6::log::last_words;
use crate::objects::INSPECT;
use crate::protocol::inspected::{Inspected, NOT_STARTED};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Where an initializer's pod is.
#[derive(Debug, PartialEq, Eq)]
pub enum InitializerPod {
    /// It has not ended; the reason if its pod waits.
    Running(Option<String>),
    /// k6 inspect succeeded. Its log has the answer; this is what is known of the k6.
    Done(Inspected),
    /// One of its containers failed.
    Failed(String),
    /// The script called `exec.test.abort()` while k6 loaded it.
    Aborted(String),
    /// It ended without an answer of k6, for this reason.
    Lost(String),
}

/// Where the initializer is, from its Job and pod.
pub fn initializer(job: &Job, pod: Option<&Pod>) -> InitializerPod {
    let inspected = pod.and_then(|pod| end_of(pod, INSPECT));
    if let Some((_, ended)) = inspected
        && ended.exit_code == 0
    {
        let message = ended.message.as_deref().unwrap_or_default();
        return InitializerPod::Done(Inspected::from_message(message).unwrap_or_default());
    }
    // Kubernetes ended it, so the exit code of k6 is no answer.
    if is_overdue(job) {
        return InitializerPod::Running(pod.and_then(waiting));
    }
    let leaving = pod.is_some_and(is_leaving);
    if leaving && job_end(job).is_none() {
        return InitializerPod::Running(Some("its pod is being deleted".to_owned()));
    }
    if let (Some(pod), Some((_, ended)), None) = (pod, inspected, job_end(job))
        && is_unsettled(pod, ended)
    {
        return InitializerPod::Running(waiting(pod));
    }
    let why = match job_end(job) {
        Some(Err(why)) => Some(why),
        None if pod.is_some_and(is_terminal) => Some("its pod failed".to_owned()),
        None | Some(Ok(())) => None,
    };
    if let (Some(why), Some(lost)) = (why, lost(pod)) {
        return InitializerPod::Lost(if lost.is_empty() {
            format!("its pod was deleted: {why}")
        } else {
            format!("its pod was lost: {lost}")
        });
    }
    if let Some((container, ended)) = inspected.or_else(|| pod.and_then(failed_container)) {
        if container.name == INSPECT && ended.exit_code == i32::from(exit_code::SCRIPT_ABORTED) {
            return InitializerPod::Aborted(last_words(ended.message.as_deref().unwrap_or_default()));
        }
        return InitializerPod::Failed(refusal(pod, container, ended));
    }
    if pod.is_some_and(is_behind) {
        return InitializerPod::Running(pod.and_then(waiting));
    }
    match job_end(job) {
        Some(Err(why)) => InitializerPod::Failed(format!("the initializer failed: {why}")),
        Some(Ok(())) => InitializerPod::Lost("its pod was deleted before its answer was read".to_owned()),
        None => InitializerPod::Running(pod.and_then(waiting)),
    }
}

/// True if the Job's own deadline has passed. The run's deadline passes a little earlier, and is the one that is
/// reported.
fn is_overdue(job: &Job) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut true_ones = conditions
        .unwrap_or_default()
        .iter()
        .filter(|c| c.status == "True");
    true_ones.any(|c| c.reason.as_deref() == Some("DeadlineExceeded"))
}

/// The reason for the end of a pod, if its containers did not end it; empty if the pod was deleted.
pub(super) fn lost(pod: Option<&Pod>) -> Option<String> {
    let Some(pod) = pod else {
        return Some(String::new());
    };
    let status = pod.status.as_ref();
    let disruption = status.and_then(|status| {
        let mut conditions = status.conditions.iter().flatten();
        let disrupted = conditions.find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
        disrupted.message.clone().or_else(|| disrupted.reason.clone())
    });
    let reason = status.and_then(|status| match (&status.reason, &status.message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (reason, _) => reason.clone(),
    });
    reason
        .or(disruption)
        .or_else(|| is_leaving(pod).then(String::new))
}

/// The message of whoever refused: k6, or what should have started it.
fn refusal(pod: Option<&Pod>, container: &ContainerStatus, ended: &ContainerStateTerminated) -> String {
    let ContainerStatus { name, image, .. } = container;
    let never_began = matches!(ended.reason.as_deref(), Some("StartError" | "ContainerCannotRun"));
    let message = ended.message.as_deref().unwrap_or_default();
    match name.as_str() {
        INSPECT if never_began || ended.exit_code == i32::from(NOT_STARTED) => {
            let words = last_words(message);
            format!("k6 can't be started in the image {image} of the initializer: {words}")
        }
        INSPECT => {
            let words = last_words(message);
            let missing = pod.and_then(|pod| missing_file(pod, INSPECT, &words));
            format!(
                "k6 refused the script {}",
                code_and(ended, &missing.unwrap_or(words))
            )
        }
        _ => format!("the init container {name} failed {}", describe(ended)),
    }
}
