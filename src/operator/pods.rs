//! Reads what Kubernetes says of Jobs and Pods into the words of the state machine. Pure.

use crate::k6::log::{self, last_words};
use crate::k6::{Arguments, Flags, exit_code};
use crate::machine::{End, Part, PodRefusal, PodSeen, Program, Runner};
use crate::objects::{AGGREGATE, INSPECT, PROGRAM_CONTAINER, RUNNER, VOLUME};
use crate::protocol::inspected::{Inspected, NOT_STARTED};
use crate::protocol::outcome::Outcome;
use crate::protocol::report::Report;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, Event, Pod, PodStatus,
};
use kube::ResourceExt;
use std::sync::Arc;

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    all.flatten().find(|container| container.name == name)
}

/// How a container of a pod has ended. Others may be in it that are not ours, of a service mesh for example.
fn end_of<'a>(pod: &'a Pod, name: &str) -> Option<(&'a ContainerStatus, &'a ContainerStateTerminated)> {
    let status = status_of(pod, name)?;
    Some((status, status.state.as_ref()?.terminated.as_ref()?))
}

/// What an aggregator has left that has ended: the outcome is in its termination message if it had all.
pub fn left_outcome(pod: &Pod) -> Option<Outcome> {
    let (_, ended) = end_of(pod, AGGREGATE)?;
    serde_json::from_str(ended.message.as_deref()?).ok()
}

/// How a Job ended: whether it was complete, and Kubernetes' message if it was not.
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

/// Why the Job of these Events `FailedCreate` has no pod; None if there are none.
pub fn pod_refusal(part: Part, events: &[Event]) -> Option<PodRefusal> {
    let told = |event: &Event| {
        let message = event.message.as_deref().unwrap_or_default();
        PodRefusal::told(part, message, SignedDuration::ZERO)
    };
    let newest = told(
        events
            .iter()
            .max_by_key(|event| times(event).map(|(_, last)| last))?,
    );
    // Each try has an Event of its own, as long as they are few: the name of the pod in it is another.
    let same = events.iter().filter(|event| told(event).rule == newest.rule);
    let times: Vec<_> = same.filter_map(times).collect();
    let first = times.iter().map(|(first, _)| *first).min();
    let last = times.iter().map(|(_, last)| *last).max();
    let lasted = first.zip(last).map(|(first, last)| last.duration_since(first));
    Some(PodRefusal {
        lasted: lasted.unwrap_or(SignedDuration::ZERO),
        ..newest
    })
}

/// When what an Event tells happened first and last.
fn times(event: &Event) -> Option<(Timestamp, Timestamp)> {
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let once = event.event_time.as_ref().map(|time| time.0).or(created);
    let first = event.first_timestamp.as_ref().map(|time| time.0).or(once)?;
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let last = series.map(|time| time.0);
    let last = last.or(event.last_timestamp.as_ref().map(|time| time.0));
    Some((first, last.unwrap_or(first)))
}

/// Whether a Job was ended by its own deadline, which is a little later than that of its run: that one is told.
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

/// The pod of a Job: the newest that is not going away, else the newest.
pub fn pod_of<'a>(job: &Job, pods: &'a [Arc<Pod>]) -> Option<&'a Arc<Pod>> {
    let uid = job.uid()?;
    let owned = |pod: &&Arc<Pod>| pod.owner_references().iter().any(|owner| owner.uid == uid);
    let rank = |pod: &&Arc<Pod>| (!is_leaving(pod), pod.creation_timestamp());
    pods.iter().filter(owned).max_by_key(rank)
}

/// How long a container may have ended before its exit code counts, if Kubernetes may have ended it: the reason,
/// such as `Evicted`, follows when all containers of the pod have ended, which have 30 s by default.
const SETTLING: SignedDuration = SignedDuration::from_secs(35);

/// The exit codes of a process that SIGKILL or SIGTERM has ended.
const SIGKILL: u8 = 137;
const SIGTERM: u8 = 143;

/// A runner, from its Job and pod. It has ended when its container of k6 has, whatever else goes on in its pod.
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
        pod: pod.map(pod_seen),
        leftover: end.is_some() && job_end(job).is_none() && !pod.is_some_and(is_terminal),
        end,
        settles,
    }
}

/// An aggregator, from its Job and pod. Its container is started again where it was: only its Job ends it.
pub fn aggregator(job: &Job, pod: Option<&Pod>) -> Runner {
    Runner {
        pod: pod.map(pod_seen),
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

/// A Job that failed tells no exit code; its pod does. A pod that is cached but has not ended yet is a stale
/// view: its end is awaited.
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

/// How a pod has ended whose Job has not, and when that counts if not at once. That of a pod which is being deleted is
/// left to its Job.
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

/// The end of a pod as a whole, of which Kubernetes gives a reason.
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
            words
        }
    };
    End {
        code: Some(ended.exit_code),
        reason,
        message,
    }
}

/// The end of a pod none of whose containers is started. The code of its init container is not k6's.
fn end_by_init(pod: &Pod) -> Option<End> {
    Some(End {
        code: None,
        reason: None,
        message: failed_init(pod)?,
    })
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether Kubernetes may have ended this container, and may yet say why.
fn is_unsettled(pod: &Pod, ended: &ContainerStateTerminated) -> bool {
    let code = u8::try_from(ended.exit_code).ok();
    let signalled = matches!(code, Some(exit_code::SIGNALLED | SIGKILL | SIGTERM));
    signalled && ended.reason.as_deref() != Some("OOMKilled") && !is_terminal(pod)
}

/// Whether all containers of a pod have ended, and none is started again.
fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What an init container said that failed: then none of the containers has been started.
fn failed_init(pod: &Pod) -> Option<String> {
    let (container, ended) = failed_container(pod)?;
    Some(format!(
        "the init container {} failed {}",
        container.name,
        told(ended)
    ))
}

/// The init container that failed. A sidecar may end as it likes.
fn failed_container(pod: &Pod) -> Option<(&ContainerStatus, &ContainerStateTerminated)> {
    let spec = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref());
    let is_sidecar = |name: &str| {
        let mut containers = spec.unwrap_or_default().iter();
        containers.any(|c| c.name == name && c.restart_policy.is_some())
    };
    let containers = pod.status.as_ref()?.init_container_statuses.as_ref()?.iter();
    let mut ends = containers.filter_map(|c| Some((c, c.state.as_ref()?.terminated.as_ref()?)));
    ends.find(|(c, ended)| ended.exit_code != 0 && !is_sidecar(&c.name))
}

/// `(exit code 107, OOMKilled): words`
fn told(ended: &ContainerStateTerminated) -> String {
    code_and(ended, &last_words(ended.message.as_deref().unwrap_or_default()))
}

fn code_and(ended: &ContainerStateTerminated, words: &str) -> String {
    let reason = ended.reason.as_deref().filter(|reason| *reason != "Error");
    let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
    format!("(exit code {}{reason}): {words}", ended.exit_code)
}

fn pod_seen(pod: &Pod) -> PodSeen {
    let status = pod.status.as_ref();
    let condition = |name: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|c| c.type_ == name && c.status == "True")
    };
    PodSeen {
        uid: pod.uid().unwrap_or_default(),
        ip: status.and_then(|status| status.pod_ip.clone()),
        ready: condition("Ready") && !is_leaving(pod),
        waiting: status.and_then(waiting),
    }
}

/// What a pod waits for, if Kubernetes has more to say than that it is on its way.
pub fn waiting(status: &PodStatus) -> Option<String> {
    let told = |reason: &str, message: Option<&str>| match message {
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
        return Some(told(reason, condition.message.as_deref()));
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
        (!usual).then(|| told(reason, w.message.as_deref()))
    });
    let stuck = stuck.into_iter().next();
    stuck.or_else(|| {
        let running = status.phase.as_deref() == Some("Running");
        running.then(|| "its k6 does not answer yet".to_owned())
    })
}

/// Whether a pod has not ended as far as it is known: should its Job have, this is a stale view, and its end is
/// awaited.
fn is_behind(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_leaving(pod) && failed_init(pod).is_none()
}

/// A starter or stopper, from its Job and pod.
pub fn program(job: &Job, pod: Option<&Pod>) -> Program {
    let status = pod.and_then(|pod| pod.status.as_ref());
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
        return Program::Running(status.and_then(waiting));
    }
    match job_end(job) {
        Some(Err(why)) => Program::Failed(pod.and_then(failed_init).unwrap_or(why)),
        Some(Ok(())) => Program::Failed("its pod was deleted before its report was read".to_owned()),
        None => Program::Running(status.and_then(waiting)),
    }
}

/// Where an initializer's pod is.
#[derive(Debug, PartialEq, Eq)]
pub enum InitializerPod {
    /// It goes on.
    Running(Option<String>),
    /// k6 inspect ended well; its log has the answer, and this is what is known of the k6.
    Done(Inspected),
    /// One of its containers failed.
    Failed(String),
    /// The script called `exec.test.abort()` while k6 loaded it.
    Aborted(String),
    /// It ended without an answer of k6's: why its pod is no more.
    Lost(String),
}

/// Where the initializer is, from its Job and pod.
pub fn initializer(job: &Job, pod: Option<&Pod>) -> InitializerPod {
    let status = pod.and_then(|pod| pod.status.as_ref());
    let inspected = pod.and_then(|pod| end_of(pod, INSPECT));
    if let Some((_, ended)) = inspected
        && ended.exit_code == 0
    {
        let message = ended.message.as_deref().unwrap_or_default();
        return InitializerPod::Done(Inspected::from_message(message).unwrap_or_default());
    }
    // Kubernetes ended it: what k6 exited with then, is no answer.
    if is_overdue(job) {
        return InitializerPod::Running(status.and_then(waiting));
    }
    let leaving = pod.is_some_and(is_leaving);
    if leaving && job_end(job).is_none() {
        return InitializerPod::Running(Some("its pod is being deleted".to_owned()));
    }
    if let (Some(pod), Some((_, ended)), None) = (pod, inspected, job_end(job))
        && is_unsettled(pod, ended)
    {
        return InitializerPod::Running(status.and_then(waiting));
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
        return InitializerPod::Running(status.and_then(waiting));
    }
    match job_end(job) {
        Some(Err(why)) => InitializerPod::Failed(format!("the initializer failed: {why}")),
        Some(Ok(())) => InitializerPod::Lost("its pod was deleted before its answer was read".to_owned()),
        None => InitializerPod::Running(status.and_then(waiting)),
    }
}

/// Why a pod that has ended was ended, if not by its containers; without words where it was deleted.
fn lost(pod: Option<&Pod>) -> Option<String> {
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

/// Who refused, and in which words: k6, or the one that should have started it.
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
        _ => format!("the init container {name} failed {}", told(ended)),
    }
}

fn container_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.spec
        .as_ref()?
        .containers
        .iter()
        .find(|container| container.name == name)
}

/// The last words of a container's k6. Where its log goes elsewhere, that is told in place of what stands around it.
fn words_of(pod: &Pod, name: &str, message: &str) -> String {
    let error = log::last_error(message);
    let elsewhere = || {
        let container = container_of(pod, name)?;
        let mut words = container.command.iter().chain(&container.args).flatten();
        words.find(|word| *word == "run")?;
        let arguments = Arguments::parse(&words.cloned().collect::<Vec<_>>(), &Flags::of_run());
        let mut variables = container.env.iter().flatten();
        let variable = variables.find(|variable| variable.name == "K6_LOG_OUTPUT");
        log::elsewhere(
            &arguments,
            variable.and_then(|variable| variable.value.as_deref()),
        )
    };
    match (error, elsewhere()) {
        (Some(error), _) => missing_file(pod, name, &error).unwrap_or(error),
        (None, Some(place)) => {
            let ours = message
                .lines()
                .rev()
                .find(|line| line.starts_with("k6-operator: "));
            ours.map(|ours| format!("{ours}; {place}")).unwrap_or(place)
        }
        (None, None) => {
            let words = last_words(message);
            missing_file(pod, name, &words).unwrap_or(words)
        }
    }
}

/// What it means in this pod that k6 does not find a file: which volume is mounted where, and what to set. k6 itself
/// tells how to mount a folder with Docker.
fn missing_file(pod: &Pod, name: &str, words: &str) -> Option<String> {
    let file = log::missing_file(words)?;
    let container = container_of(pod, name)?;
    if !file.starts_with('/') {
        let path = file.strip_prefix("file://").unwrap_or(file);
        return Some(format!(
            "the script imports {path}, which is not there: the files beside the script are those of the same volume \
             or image"
        ));
    }
    let mounts = container.volume_mounts.iter().flatten();
    let inside = |folder: &str| {
        let below = file.strip_prefix(folder.trim_end_matches('/'))?;
        below.strip_prefix('/')
    };
    let mount = mounts
        .filter_map(|mount| Some((mount, inside(&mount.mount_path)?)))
        .max_by_key(|(mount, _)| mount.mount_path.len());
    let Some((mount, below)) = mount else {
        let image = container.image.as_deref().unwrap_or_default();
        return Some(format!(
            "there is no file {file} in the image {image}: set spec.script to where the script is, or spec.runner.image \
             to an image that has it"
        ));
    };
    let folder = &mount.mount_path;
    let mut volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == mount.name);
    let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
    let map = volume.and_then(|volume| volume.config_map.as_ref());
    Some(match (claim, map) {
        (Some(claim), _) if mount.name == VOLUME => {
            let claim = &claim.claim_name;
            let from_root = file
                .strip_prefix("/test/")
                .filter(|path| path.contains('/') && *path != below);
            let remedy = match from_root {
                Some(path) => {
                    format!("if it is {path} in the volume, set spec.script.volumeClaim.file to {path}")
                }
                None => "set spec.script.volumeClaim.file to the path of the script in the volume".to_owned(),
            };
            format!(
                "there is no file {file}: the volume of the claim {claim} is mounted at {folder}, and has no {below}; \
                 {remedy}"
            )
        }
        (None, Some(map)) if mount.name == VOLUME => format!(
            "there is no file {file}: the ConfigMap {} is mounted at {folder}, and has no key {below}; add it, or set \
             spec.script.configMap.file",
            map.name
        ),
        _ => format!(
            "there is no file {file}: the volume {} is mounted at {folder}, and has no {below}",
            mount.name
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        InitializerPod, SETTLING, aggregator, initializer, left_outcome, pod_refusal, program, runner,
    };
    use crate::machine::{Part, Program, Rule};
    use crate::objects::RUNNER;
    use crate::protocol::inspected::Inspected;
    use crate::protocol::outcome::Outcome;
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::{Event, Pod};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn ended(name: &str, code: i32, reason: &str, message: &str) -> Value {
        json!({"name": name, "image": "registry/image", "imageID": "", "ready": false, "restartCount": 0, "state": {
            "terminated": {"exitCode": code, "reason": reason, "message": message}
        }})
    }

    fn pod(sidecar: &str, init: &[Value], containers: &[Value]) -> Pod {
        let pod = json!({
            "spec": {"containers": [], "initContainers": [{"name": sidecar, "restartPolicy": "Always"}]},
            "status": {"initContainerStatuses": init, "containerStatuses": containers}
        });
        serde_json::from_value(pod).unwrap()
    }

    fn refused(init: &[Value]) -> InitializerPod {
        initializer(&Job::default(), Some(&pod("proxy", init, &[])))
    }

    const RATIO: &str =
        "memory max limit to request ratio per Container is 5, but provided ratio is 16.000000";

    /// An Event of the Job controller, by its seconds.
    fn failed_create(first: i64, last: i64, why: &str) -> Event {
        let time = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
        let event = json!({
            "metadata": {"creationTimestamp": time(first)}, "involvedObject": {}, "reason": "FailedCreate",
            "message": format!("Error creating: pods \"an-aggregator-{first}\" is forbidden: {why}"),
            "firstTimestamp": time(first), "lastTimestamp": time(last)
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn a_pod_is_refused_for_as_long_as_the_newest_rule_has_refused_it() {
        assert_eq!(pod_refusal(Part::Aggregator, &[]), None);
        let quota = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
        let events = [
            failed_create(100, 100, quota),
            failed_create(103, 103, RATIO),
            failed_create(107, 107, RATIO),
            failed_create(115, 140, RATIO),
        ];
        let found = pod_refusal(Part::Aggregator, &events).unwrap();
        assert_eq!((found.rule, found.text.as_str()), (Rule::LimitRange, RATIO));
        assert_eq!(found.lasted.as_secs(), 37);
        assert!(found.is_final());
        // Whatever the order in which they come.
        let found = pod_refusal(Part::Aggregator, &[events[2].clone(), events[1].clone()]).unwrap();
        assert_eq!((found.lasted.as_secs(), found.is_final()), (4, false));
        let untimed = serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "message": "Error creating: no"
        }));
        let found = pod_refusal(Part::Starter, &[untimed.unwrap()]).unwrap();
        assert_eq!((found.rule, found.lasted.as_secs()), (Rule::Other, 0));
    }

    #[test]
    fn what_ends_well_before_k6_does_not_hide_what_k6_says() {
        let init = [
            ended("fetch", 0, "Completed", ""),
            ended("copy", 0, "Completed", ""),
        ];
        let words = "k6 refused the script (exit code 107): no such file";
        let pod = pod("proxy", &init, &[ended("inspect", 107, "Error", "no such file")]);
        let seen = initializer(&Job::default(), Some(&pod));
        assert_eq!(seen, InitializerPod::Failed(words.to_owned()));
    }

    #[test]
    fn script_that_aborts_the_test_while_it_is_loaded_is_not_refused() {
        let words = "test aborted: in init";
        let pod = pod("proxy", &[], &[ended("inspect", 108, "Error", words)]);
        let seen = initializer(&Job::default(), Some(&pod));
        assert_eq!(seen, InitializerPod::Aborted(words.to_owned()));
    }

    #[test]
    fn an_init_container_of_the_user_is_not_taken_for_k6() {
        let words = "the init container fetch failed (exit code 1, OOMKilled): gone";
        let init = [ended("fetch", 1, "OOMKilled", "gone")];
        assert_eq!(refused(&init), InitializerPod::Failed(words.to_owned()));
    }

    #[test]
    fn an_image_without_k6_is_named() {
        let words = "k6 can't be started in the image registry/image of the initializer: \"k6\": not found";
        for (code, reason) in [(128, "StartError"), (127, "Error")] {
            let pod = pod(
                "proxy",
                &[],
                &[ended("inspect", code, reason, "\"k6\": not found")],
            );
            let seen = initializer(&Job::default(), Some(&pod));
            assert_eq!(seen, InitializerPod::Failed(words.to_owned()));
        }
    }

    #[test]
    fn a_sidecar_may_end_as_it_likes() {
        let init = [
            ended("proxy", 137, "Error", "killed"),
            ended("copy", 0, "Completed", ""),
        ];
        let message = r#"{"version":"1.1.0"}"#;
        let done = pod("proxy", &init, &[ended("inspect", 0, "Completed", message)]);
        let inspected = Inspected {
            version: "1.1.0".to_owned(),
            resolved: false,
        };
        assert_eq!(
            initializer(&Job::default(), Some(&done)),
            InitializerPod::Done(inspected)
        );
        assert_eq!(refused(&init), InitializerPod::Running(None));
    }

    #[test]
    fn what_k6_exits_with_when_kubernetes_ends_it_is_no_answer() {
        let killed = pod("proxy", &[], &[ended("inspect", 105, "Error", "interrupted")]);
        let failed = |reason: &str| -> Job {
            let conditions =
                json!([{"type": "Failed", "status": "True", "reason": reason, "message": "it failed"}]);
            serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
        };
        let overdue = failed("DeadlineExceeded");
        assert_eq!(
            initializer(&overdue, Some(&killed)),
            InitializerPod::Running(None)
        );
        assert_eq!(initializer(&overdue, None), InitializerPod::Running(None));

        let mut leaving = killed.clone();
        leaving.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let why = "its pod is being deleted".to_owned();
        let seen = initializer(&Job::default(), Some(&leaving));
        assert_eq!(seen, InitializerPod::Running(Some(why)));
        let failed = failed("BackoffLimitExceeded");
        let deleted = InitializerPod::Lost("its pod was deleted: it failed".to_owned());
        assert_eq!(initializer(&failed, Some(&leaving)), deleted);
        assert_eq!(initializer(&failed, None), deleted);
        let unread = InitializerPod::Lost("its pod was deleted before its answer was read".to_owned());
        assert_eq!(initializer(&job_that("Complete", "done"), None), unread);

        // Its reason comes after the end of its container.
        let goes_on = InitializerPod::Running(None);
        assert_eq!(initializer(&Job::default(), Some(&killed)), goes_on);

        let mut evicted = killed.clone();
        let status = evicted.status.get_or_insert_default();
        status.reason = Some("Evicted".to_owned());
        status.message = Some("low on memory".to_owned());
        let lost = InitializerPod::Lost("its pod was lost: Evicted: low on memory".to_owned());
        assert_eq!(initializer(&failed, Some(&evicted)), lost);
        // Before its Job has failed for that.
        let status = evicted.status.get_or_insert_default();
        status.phase = Some("Failed".to_owned());
        assert_eq!(initializer(&Job::default(), Some(&evicted)), lost);
        let refused = "k6 refused the script (exit code 105): interrupted".to_owned();
        assert_eq!(
            initializer(&failed, Some(&killed)),
            InitializerPod::Failed(refused)
        );
    }

    #[test]
    fn what_a_sidecar_exits_with_is_not_what_k6_does() {
        let failed = job_that("Failed", "backoff");
        let both = [
            ended("istio-proxy", 0, "Completed", ""),
            ended("k6", 99, "Error", "crossed"),
        ];
        let end = runner(&failed, Some(&pod("", &[], &both)), NOW).end.unwrap();
        assert_eq!(end.code, Some(99));
        let report = "{\"total\":1,\"confirmed\":1}";
        let both = [
            ended("a-proxy", 0, "Completed", ""),
            ended("k6-curl", 0, "Completed", report),
        ];
        let seen = program(&job_that("Complete", ""), Some(&pod("", &[], &both)));
        assert!(matches!(seen, Program::Reported(report) if report.confirmed == 1));
        let both = [
            ended("a-proxy", 0, "Completed", ""),
            ended("inspect", 107, "Error", "bad"),
        ];
        let words = "k6 refused the script (exit code 107): bad".to_owned();
        assert_eq!(
            initializer(&failed, Some(&pod("", &[], &both))),
            InitializerPod::Failed(words)
        );
    }

    /// A pod in this phase.
    fn in_phase(phase: &str, containers: &[Value]) -> Pod {
        let mut pod = pod("", &[], containers);
        pod.status.get_or_insert_default().phase = Some(phase.to_owned());
        pod
    }

    #[test]
    fn runner_ends_with_its_container_whatever_else_goes_on_in_its_pod() {
        let sidecar = running("istio-proxy");
        for (code, reason, message) in [
            (0, "Completed", ""),
            (99, "Error", "crossed"),
            (107, "Error", "no"),
            (108, "Error", "test aborted"),
            (137, "OOMKilled", "killed"),
        ] {
            let pod = in_phase(
                "Running",
                &[sidecar.clone(), ended(RUNNER, code, reason, message)],
            );
            let seen = runner(&Job::default(), Some(&pod), NOW);
            let end = seen.end.unwrap();
            let reason = (reason == "OOMKilled").then(|| reason.to_owned());
            assert_eq!(
                (end.code, end.reason, end.message.as_str()),
                (Some(code), reason, message)
            );
            assert!(seen.leftover);
            assert_eq!(seen.settles, None);
            // The same, once nothing of the pod goes on, and once the Job has ended.
            let over = in_phase("Succeeded", &[ended(RUNNER, code, "Error", message)]);
            assert!(!runner(&Job::default(), Some(&over), NOW).leftover);
            assert!(!runner(&job_that("Failed", "backoff"), Some(&pod), NOW).leftover);
        }
        // What else ends, ends no runner, nor does a pod whose containers are begun again.
        let other = in_phase(
            "Running",
            &[ended("istio-proxy", 1, "Error", ""), running(RUNNER)],
        );
        assert_eq!(runner(&Job::default(), Some(&other), NOW).end, None);
        let mut again = in_phase("Running", &[ended(RUNNER, 1, "Error", "")]);
        again.spec.get_or_insert_default().restart_policy = Some("OnFailure".to_owned());
        assert_eq!(runner(&Job::default(), Some(&again), NOW).end, None);
        assert_eq!(runner(&Job::default(), None, NOW).end, None);
    }

    #[test]
    fn aggregator_that_is_begun_again_has_not_ended() {
        let pod = in_phase("Running", &[ended("aggregator", 137, "OOMKilled", "")]);
        assert_eq!(aggregator(&Job::default(), Some(&pod)).end, None);
        let end = aggregator(&job_that("Failed", "backoff"), Some(&pod))
            .end
            .unwrap();
        assert_eq!((end.code, end.reason.as_deref()), (Some(137), Some("OOMKilled")));
    }

    #[test]
    fn end_that_kubernetes_may_have_brought_about_waits_for_its_reason() {
        let at = NOW + SignedDuration::from_secs(100);
        for code in [105, 137, 143] {
            let mut killed = ended(RUNNER, code, "Error", "killed");
            killed["state"]["terminated"]["finishedAt"] = json!(at);
            let pod = in_phase("Running", &[killed.clone(), running("proxy")]);
            let seen = runner(&Job::default(), Some(&pod), at);
            assert_eq!((seen.end, seen.settles), (None, Some(at + SETTLING)));
            // It did: the reason decides.
            let mut evicted = in_phase("Failed", &[killed.clone()]);
            let status = evicted.status.get_or_insert_default();
            status.reason = Some("Evicted".to_owned());
            status.message = Some("low on memory".to_owned());
            let end = runner(&Job::default(), Some(&evicted), at).end.unwrap();
            assert_eq!(
                (end.code, end.reason.as_deref(), end.message.as_str()),
                (None, Some("Evicted"), "low on memory")
            );
            // It did not: the pod has ended and has none, or other containers go on.
            let ended = in_phase("Failed", &[killed]);
            assert_eq!(
                runner(&Job::default(), Some(&ended), at).end.unwrap().code,
                Some(code)
            );
            let seen = runner(&Job::default(), Some(&pod), at + SETTLING);
            assert_eq!((seen.end.unwrap().code, seen.settles), (Some(code), None));
            assert!(seen.leftover);
        }
    }

    #[test]
    fn pod_that_is_deleted_is_told_by_its_job() {
        let mut pod = in_phase("Running", &[ended(RUNNER, 0, "Completed", "")]);
        pod.metadata.deletion_timestamp = Some(Time(NOW));
        assert_eq!(runner(&Job::default(), Some(&pod), NOW).end, None);
        let end = runner(&job_that("Failed", "backoff"), Some(&pod), NOW)
            .end
            .unwrap();
        assert_eq!(end.code, Some(0));
        let end = runner(&job_that("Failed", "backoff"), None, NOW).end.unwrap();
        assert_eq!(
            (end.code, end.message.as_str()),
            (None, "its pod was deleted: backoff")
        );
    }

    #[test]
    fn pod_that_failed_without_a_container_ends_its_runner() {
        let failed = |reason: Option<&str>, message: Option<&str>| {
            let mut pod = in_phase("Failed", &[]);
            let status = pod.status.get_or_insert_default();
            status.reason = reason.map(str::to_owned);
            status.message = message.map(str::to_owned);
            let end = runner(&Job::default(), Some(&pod), NOW).end.unwrap();
            (end.code, end.reason, end.message)
        };
        let words = "Pod was rejected: Node didn't have enough resource: cpu";
        let reason = Some("OutOfcpu".to_owned());
        assert_eq!(
            failed(Some("OutOfcpu"), Some(words)),
            (None, reason, words.to_owned())
        );
        assert_eq!(failed(None, None), (None, None, "its pod failed".to_owned()));
        // An init container that failed: none of the others is started.
        let init = pod("proxy", &[ended("fetch", 99, "Error", "not there")], &[]);
        let end = runner(&Job::default(), Some(&init), NOW).end.unwrap();
        let words = "the init container fetch failed (exit code 99): not there";
        assert_eq!((end.code, end.message.as_str()), (None, words));
    }

    #[test]
    fn a_runner_whose_init_container_failed_has_ended_without_a_code_of_k6() {
        let job =
            json!({"status": {"conditions": [{"type": "Failed", "status": "True", "message": "backoff"}]}});
        let job: Job = serde_json::from_value(job).unwrap();
        let pod = pod("proxy", &[ended("fetch", 99, "Error", "not there")], &[]);
        let end = runner(&job, Some(&pod), NOW).end.unwrap();
        assert_eq!(end.code, None);
        assert_eq!(
            end.message,
            "the init container fetch failed (exit code 99): not there"
        );
    }

    fn job_that(type_: &str, message: &str) -> Job {
        let conditions = json!([{"type": type_, "status": "True", "message": message}]);
        serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
    }

    fn running(name: &str) -> Value {
        json!({"name": name, "image": "registry/image", "imageID": "", "ready": true, "restartCount": 0,
               "state": {"running": {}}})
    }

    #[test]
    fn aggregator_that_has_ended_leaves_the_outcome_if_it_had_all() {
        let outcome = Outcome {
            thresholds: 2,
            crossed: 1,
            ..Outcome::default()
        };
        let with = |message: &str| pod("", &[], &[ended("aggregator", 143, "Error", message)]);
        assert_eq!(left_outcome(&with(&outcome.to_message())), Some(outcome));
        assert_eq!(left_outcome(&with("")), None);
        assert_eq!(left_outcome(&pod("", &[], &[])), None);
    }

    /// The end of a pod whose container has this script mounted, and ended with 255 and this message.
    fn without_file(name: &str, mount: &Value, volume: &Value, message: &str) -> Pod {
        let mut pod = pod("", &[], &[ended(name, 255, "Error", message)]);
        let spec = json!({
            "containers": [{"name": name, "image": "registry/image", "volumeMounts": [mount]}], "volumes": [volume]
        });
        pod.spec = Some(serde_json::from_value(spec).unwrap());
        pod
    }

    fn not_found(file: &str) -> String {
        format!(
            "time=\"now\" level=error msg=\"The moduleSpecifier \\\"{file}\\\" couldn't be found on local disk. Make \
             sure that you've specified the right path. If you're running k6 using the Docker image make sure\""
        )
    }

    #[test]
    fn missing_script_is_told_with_the_mount_and_the_remedy() {
        let claim = json!({"name": "k6-test-volume", "persistentVolumeClaim": {"claimName": "results"}});
        let map = json!({"name": "k6-test-volume", "configMap": {"name": "scripts"}});
        let mount = |folder: &str| json!({"name": "k6-test-volume", "mountPath": folder});
        let other = json!({"name": "data", "mountPath": "/data"});
        for (file, mount, volume, words) in [
            (
                "/test/k6/x.js",
                mount("/test/k6"),
                &claim,
                "there is no file /test/k6/x.js: the volume of the claim results is mounted at /test/k6, and has no x.js; \
                 if it is k6/x.js in the volume, set spec.script.volumeClaim.file to k6/x.js",
            ),
            (
                "/test/k6/x.js",
                mount("/test"),
                &claim,
                "there is no file /test/k6/x.js: the volume of the claim results is mounted at /test, and has no k6/x.js; \
                 set spec.script.volumeClaim.file to the path of the script in the volume",
            ),
            (
                "/test/x.js",
                mount("/test"),
                &map,
                "there is no file /test/x.js: the ConfigMap scripts is mounted at /test, and has no key x.js; add it, or \
                 set spec.script.configMap.file",
            ),
            (
                "/scripts/x.js",
                other.clone(),
                &map,
                "there is no file /scripts/x.js in the image registry/image: set spec.script to where the script is, or \
                 spec.runner.image to an image that has it",
            ),
            (
                "/data/x.js",
                other,
                &map,
                "there is no file /data/x.js: the volume data is mounted at /data, and has no x.js",
            ),
            (
                "./lib.js",
                mount("/test"),
                &map,
                "the script imports ./lib.js, which is not there: the files beside the script are those of the same volume \
                 or image",
            ),
        ] {
            let message = not_found(file);
            let pod = without_file("inspect", &mount, volume, &message);
            let refused = format!("k6 refused the script (exit code 255): {words}");
            assert_eq!(
                initializer(&Job::default(), Some(&pod)),
                InitializerPod::Failed(refused)
            );
            let pod = without_file(RUNNER, &mount, volume, &message);
            let end = runner(&job_that("Failed", "backoff"), Some(&pod), NOW)
                .end
                .unwrap();
            assert_eq!(end.message, words);
        }
    }

    #[test]
    fn runner_whose_log_goes_elsewhere_says_where() {
        let end_of = |command: &[&str], env: Value, message: &str| {
            let mut pod = pod("", &[], &[ended("k6", 107, "Error", message)]);
            let spec = json!({"containers": [{"name": "k6", "command": command, "env": env}]});
            pod.spec = Some(serde_json::from_value(spec).unwrap());
            runner(&job_that("Failed", "backoff"), Some(&pod), NOW)
                .end
                .unwrap()
                .message
        };
        let progress = "running (0m01.7s), 03/50 VUs, 13 complete and 0 interrupted iterations\n";
        let file = [
            "/p/k6-operator",
            "linger",
            "--",
            "k6",
            "run",
            "--log-output=file=/tmp/k6.log",
            "/test/x.js",
        ];
        let place = "k6's log is in the file /tmp/k6.log of its container (--log-output)";
        assert_eq!(end_of(&file, json!([]), progress), place);
        let ours = format!("{progress}k6-operator: the last export may be lost: gone\n");
        let both = format!("k6-operator: the last export may be lost: gone; {place}");
        assert_eq!(end_of(&file, json!([]), &ours), both);
        let none = json!([{"name": "K6_LOG_OUTPUT", "value": "none"}]);
        assert_eq!(
            end_of(&["k6", "run", "/test/x.js"], none, ""),
            "k6 was told to write no log (K6_LOG_OUTPUT=none)"
        );
        let json = [
            "k6",
            "run",
            "--log-output",
            "stdout",
            "--log-format=json",
            "/test/x.js",
        ];
        let error = r#"{"level":"error","msg":"GoError: no\n","time":"now"}"#;
        assert_eq!(
            end_of(&json, json!([]), &format!("{error}\n{progress}")),
            "GoError: no"
        );
    }
}
