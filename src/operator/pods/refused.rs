//! Reads from the Events of a Job why it has no pod.

use crate::machine::{Part, PodRefusal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;

/// The refusal in the Events `FailedCreate` of a Job; None if there are none.
pub fn pod_refusal(part: Part, events: &[Event]) -> Option<PodRefusal> {
    let refusal = |event: &Event| {
        let message = event.message.as_deref().unwrap_or_default();
        PodRefusal::from_event(part, message, SignedDuration::ZERO)
    };
    let newest = refusal(
        events
            .iter()
            .max_by_key(|event| times(event).map(|(_, last)| last))?,
    );
    // As long as there are few, each try has an Event of its own, which names another pod.
    let same = events.iter().filter(|event| refusal(event).rule == newest.rule);
    let times: Vec<_> = same.filter_map(times).collect();
    let first = times.iter().map(|(first, _)| *first).min();
    let last = times.iter().map(|(_, last)| *last).max();
    let lasted = first.zip(last).map(|(first, last)| last.duration_since(first));
    Some(PodRefusal {
        lasted: lasted.unwrap_or(SignedDuration::ZERO),
        ..newest
    })
}

/// The first and the last time of what an Event reports.
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
