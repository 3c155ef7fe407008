//! Reads a runner or an aggregator from its Job and pod.

use super::ends::{end_of, failed_init, is_leaving, is_terminal, is_unsettled};
use super::initializer::lost;
use super::words::words_of;
use super::{job_end, waiting, with_remedy};
use crate::machine::{End, ObservedPod, Runner};
use crate::objects::{AGGREGATE, RUNNER};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodStatus};
use kube::ResourceExt;

/// How long a container must have ended before its exit code counts, if Kubernetes may have ended it: the reason, such
/// as `Evicted`, follows when all containers of the pod have ended, for which they have 30 s by default.
pub(super) const SETTLING: SignedDuration = SignedDuration::from_secs(35);

/// A runner, from its Job and pod. It has ended when its container of k6 has, even if others in its pod run.
pub fn runner(job: &Job, pod: Option<&Pod>, now: Timestamp) -> Runner {
    let (end, settles) = match (job_end(job), pod) {
        (Some(end), _) => (end_by_job(&end, pod, RUNNER), None),
        (None, Some(pod)) => match end_by_pod(pod, RUNNER) {
            Some((end, settles)) if settles.is_none_or(|at| now >= at) => (Some(end), None),
            Some((_, settles)) => (None, settles),
            None => (None, None),
        },
        (None, None) => (None, None),
    };
    Runner {
        pod: pod.map(observed_pod),
        leftover: end.is_some() && job_end(job).is_none() && !pod.is_some_and(is_terminal),
        end,
        settles,
    }
}

/// An aggregator, from its Job and pod. Its container is restarted in place, so only its Job ends it.
pub fn aggregator(job: &Job, pod: Option<&Pod>) -> Runner {
    Runner {
        pod: pod.map(observed_pod),
        end: job_end(job).and_then(|end| end_by_job(&end, pod, AGGREGATE)),
        ..Runner::default()
    }
}

fn end_by_job(end: &Result<(), String>, pod: Option<&Pod>, container: &str) -> Option<End> {
    match end {
        Ok(()) => Some(End {
            code: Some(0),
            reason: None,
            message: String::new(),
        }),
        Err(why) => failed_end(why, pod, container),
    }
}

/// The end of a failed Job: the exit code is in its pod. A cached pod that has not ended is a stale view, and its end
/// is awaited.
fn failed_end(why: &str, pod: Option<&Pod>, container: &str) -> Option<End> {
    let deleted = || End {
        code: None,
        reason: None,
        message: format!("its pod was deleted: {why}"),
    };
    let Some(pod) = pod else {
        return Some(deleted());
    };
    let status = pod.status.as_ref()?;
    end_by_reason(status, why)
        .or_else(|| end_of(pod, container).map(|(_, ended)| end_by_code(pod, container, ended)))
        .or_else(|| end_by_init(pod))
        .or_else(|| is_leaving(pod).then(deleted))
}

/// The end of a pod whose Job has not ended, and when it counts if not at once. The Job decides for a pod that is being
/// deleted.
fn end_by_pod(pod: &Pod, container: &str) -> Option<(End, Option<Timestamp>)> {
    let status = pod.status.as_ref()?;
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if is_leaving(pod) || policy.is_some_and(|policy| policy != "Never") {
        return None;
    }
    let failed = status.phase.as_deref() == Some("Failed");
    if failed && let Some(end) = end_by_reason(status, "its pod failed") {
        return Some((end, None));
    }
    if let Some((_, ended)) = end_of(pod, container) {
        let at = ended
            .finished_at
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let settles = is_unsettled(pod, ended).then(|| at.saturating_add(SETTLING).unwrap_or(at));
        return Some((end_by_code(pod, container, ended), settles));
    }
    end_by_init(pod)
        .or_else(|| {
            let why = lost(Some(pod)).filter(|why| !why.is_empty());
            failed.then(|| End {
                code: None,
                reason: None,
                message: why.map_or("its pod failed".to_owned(), |why| {
                    format!("its pod failed: {why}")
                }),
            })
        })
        .map(|end| (end, None))
}

/// The end of a pod as a whole, if Kubernetes gives a reason.
fn end_by_reason(status: &PodStatus, otherwise: &str) -> Option<End> {
    Some(End {
        code: None,
        reason: Some(status.reason.clone()?),
        message: status.message.clone().unwrap_or_else(|| otherwise.to_owned()),
    })
}

fn end_by_code(pod: &Pod, container: &str, ended: &ContainerStateTerminated) -> End {
    let reason = ended
        .reason
        .clone()
        .filter(|reason| reason != "Error" && reason != "Completed");
    let message = if ended.exit_code == 0 {
        String::new()
    } else {
        let words = words_of(pod, container, ended.message.as_deref().unwrap_or_default());
        if words.is_empty() {
            "it left no message".to_owned()
        } else {
            with_remedy(pod, reason.as_deref().unwrap_or_default(), words)
        }
    };
    End {
        code: Some(ended.exit_code),
        reason,
        message,
    }
}

/// The end of a pod whose containers were not started. The exit code of its init container is not k6's.
fn end_by_init(pod: &Pod) -> Option<End> {
    Some(End {
        code: None,
        reason: None,
        message: failed_init(pod)?,
    })
}

fn observed_pod(pod: &Pod) -> ObservedPod {
    let status = pod.status.as_ref();
    let condition = |name: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|c| c.type_ == name && c.status == "True")
    };
    ObservedPod {
        uid: pod.uid().unwrap_or_default(),
        ip: status.and_then(|status| status.pod_ip.clone()),
        ready: condition("Ready") && !is_leaving(pod),
        waiting: waiting(pod),
    }
}
