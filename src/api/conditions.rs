//! `status.conditions`, for tools that do not know our states. Ready, Reconciling and Stalled mean what kstatus reads in
//! them (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>); Succeeded is the result;
//! Unsupported and Retrying tell of trouble.

use super::view::Progress;
use crate::machine::{Finished, Run, RunResult, State};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The type of the condition that is set while a request to the API server is refused or fails, and is tried again.
pub(super) const RETRYING: &str = "Retrying";

/// The conditions of a run. `message` is the message of its status.
pub(super) fn conditions(run: &Run, progress: &Progress, message: Option<&str>) -> Vec<Condition> {
    let generation = progress.generation;
    let Some(began) = run.began else {
        return Vec::new();
    };
    let condition = |type_: &str, status: &str, reason: &str, message: &str, since: Timestamp| Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(Timestamp::from_second(since.as_second()).unwrap_or(since)),
        observed_generation: generation,
    };
    let message = message.unwrap_or_default();
    let suspended = run.suspended();
    let mut all = match &run.state {
        State::Finished(Finished { at, verdict, .. }) => {
            let reason = verdict.reason.as_str();
            let passed = verdict.result == RunResult::Passed;
            let (yes, no) = ("True", "False");
            let (good, bad) = if passed { (yes, no) } else { (no, yes) };
            vec![
                condition("Ready", good, reason, message, if passed { *at } else { began }),
                condition(
                    "Reconciling",
                    no,
                    "Finished",
                    "The run has ended",
                    run.held.unwrap_or(*at),
                ),
                condition("Stalled", bad, reason, message, if passed { began } else { *at }),
                condition("Succeeded", good, reason, message, *at),
            ]
        }
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_) => {
            let reason = if suspended {
                "Suspended"
            } else {
                run.state.name().as_str()
            };
            let reconciling = if suspended { "False" } else { "True" };
            let since = run.accepted.unwrap_or(began);
            vec![
                condition("Ready", "False", reason, message, began),
                condition("Reconciling", reconciling, reason, message, since),
                condition("Stalled", "False", reason, "The run goes on", began),
                condition("Succeeded", "Unknown", reason, "The run has not ended", began),
            ]
        }
    };
    if let Some(unsupported) = &run.unsupported {
        all.push(condition(
            "Unsupported",
            "True",
            "NotSupported",
            unsupported,
            began,
        ));
    }
    if let Some(refused) = &progress.retrying {
        let since = run.accepted.unwrap_or(began);
        all.push(condition(RETRYING, "True", "RequestRefused", refused, since));
    }
    all
}
