//! Why a Job has no pod, from its Events.

use crate::machine::{Part, PodRefusal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;

/// Why the Job of these Events `FailedCreate` has no pod; None if there are none.
pub fn pod_refusal(part: Part, events: &[Event]) -> Option<PodRefusal> {
    let told = |event: &Event| {
        let message = event.message.as_deref().unwrap_or_default();
        PodRefusal::from_event(part, message, SignedDuration::ZERO)
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
