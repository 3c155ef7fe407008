//! No event is longer than the history has room for.

use crate::machine::event::{Event, LAST_WORDS_LIMIT, MESSAGE_LIMIT, OUTCOME_LIMIT, REASON_LIMIT, clipped};
use crate::machine::state::Plan;

/// The event, no longer than the history has room for, whatever k6 or the API server had to say.
pub(super) fn bounded(event: Event) -> Event {
    let cut = |message: String| clipped(&message, MESSAGE_LIMIT);
    match event {
        Event::SpecRejected { rerun, message } => Event::SpecRejected {
            rerun,
            message: cut(message),
        },
        Event::ScriptInspected { plan } => Event::ScriptInspected {
            plan: Plan {
                total_duration: plan.total_duration.map(|text| clipped(&text, REASON_LIMIT)),
                ..plan
            },
        },
        Event::ScriptRejected { reason, message } => Event::ScriptRejected {
            reason,
            message: cut(message),
        },
        Event::ObjectRefused { reason, message } => Event::ObjectRefused {
            reason,
            message: cut(message),
        },
        Event::StartFailed {
            released,
            aborted,
            message,
        } => Event::StartFailed {
            released,
            aborted,
            message: cut(message),
        },
        Event::DeadlinePassed { waiting_for } => Event::DeadlinePassed {
            waiting_for: cut(waiting_for),
        },
        Event::AggregatorLost { message } => Event::AggregatorLost {
            message: cut(message),
        },
        Event::CollectionFailed { message } => Event::CollectionFailed {
            message: cut(message),
        },
        Event::ResultCollected { outcome, unkept } => Event::ResultCollected {
            outcome: outcome.shortened(OUTCOME_LIMIT),
            unkept: unkept.map(|why| clipped(&why, LAST_WORDS_LIMIT)),
        },
        // Bounded where they are made: see `failure`, `tally` and `rerun_ordered`.
        Event::RunnerLost { .. } | Event::RunnersEnded { .. } | Event::RerunOrdered { .. } => event,
        // Numbers, a digest, and spec.rerun, which the API server bounds.
        Event::Accepted { .. }
        | Event::InspectionSkipped { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnersStopped { .. } => event,
    }
}
