//! Bounds the size of events: the history has to fit into one object of the API server.

use crate::machine::event::{Event, LAST_WORDS_LIMIT, MESSAGE_LIMIT, OUTCOME_LIMIT, REASON_LIMIT, clipped};

/// Cuts the texts of an event, however long the messages of k6 or the API server are.
pub(super) fn bounded(mut event: Event) -> Event {
    match &mut event {
        Event::SpecRejected { rerun: _, message }
        | Event::ScriptRejected { reason: _, message }
        | Event::ObjectRefused { reason: _, message }
        | Event::StartFailed { message, .. }
        | Event::DeadlinePassed { waiting_for: message }
        | Event::AggregatorLost { message }
        | Event::CollectionFailed { message } => *message = clipped(message, MESSAGE_LIMIT),
        Event::ScriptInspected { plan } => {
            let duration = plan.total_duration.iter_mut();
            duration.for_each(|text| *text = clipped(text, REASON_LIMIT));
        }
        Event::ResultCollected { outcome, unkept } => {
            *outcome = outcome.shortened(OUTCOME_LIMIT);
            unkept
                .iter_mut()
                .for_each(|why| *why = clipped(why, LAST_WORDS_LIMIT));
        }
        // Bounded where they are created: see `failure`, `tally` and `rerun_ordered`.
        Event::RunnerLost { .. } | Event::RunnersEnded { .. } | Event::RerunOrdered { .. } => {}
        // Numbers, a digest, and spec.rerun, which the API server bounds.
        Event::Accepted { .. }
        | Event::InspectionSkipped { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnersStopped { .. } => {}
    }
    event
}
