//! Events that the aggregator brings: its end, and the merged result.

use super::refusals::refusal_of;
use crate::machine::deadline::SUMMARY_GRACE;
use crate::machine::event::Event;
use crate::machine::observed::{Fact, Observed, Refusal, Runner};
use crate::machine::pod_refusal::{Part, PodRefusal};
use jiff::Timestamp;

/// The reason why the aggregator ended. None while it runs, or if it is not known.
pub(super) fn aggregator_end(seen: &Observed) -> Option<String> {
    match &seen.aggregator {
        Fact::Known(Runner { end: Some(end), .. }) => Some(match (&end.reason, end.code) {
            (Some(reason), _) => format!("{reason}: {}", end.message),
            (None, Some(code)) => format!("exit code {code}: {}", end.message),
            (None, None) => end.message.clone(),
        }),
        Fact::Known(_) | Fact::Absent | Fact::Unknown => None,
    }
}

/// The merged result, once its documents are kept or can't be kept. `since` is the end of the last runner.
pub(super) fn collected(since: Timestamp, seen: &Observed, now: Timestamp) -> Option<Event> {
    match &seen.result {
        Fact::Known(outcome) => {
            let over = since.checked_add(SUMMARY_GRACE).map_or(true, |end| now >= end);
            let unkept = match (&seen.summary, &seen.refused) {
                (Fact::Known(()), _) => None,
                (Fact::Absent | Fact::Unknown, Some(Refusal::Foreign(why) | Refusal::Invalid(why))) => {
                    Some(why.clone())
                }
                (Fact::Absent | Fact::Unknown, Some(Refusal::ForNow(why) | Refusal::Failed(why))) if over => {
                    Some(why.clone())
                }
                (Fact::Absent | Fact::Unknown, None) if over => Some("the cluster did not answer".to_owned()),
                (Fact::Absent | Fact::Unknown, Some(Refusal::ForNow(_) | Refusal::Failed(_)) | None) => {
                    return None;
                }
            };
            Some(Event::ResultCollected {
                outcome: outcome.as_ref().clone(),
                unkept,
            })
        }
        Fact::Unknown => None,
        Fact::Absent => {
            let gone = (seen.aggregator == Fact::Absent).then(|| "its Job was deleted".to_owned());
            let ended = aggregator_end(seen).or(gone)?;
            Some(Event::CollectionFailed {
                message: refusal_of(seen, Part::Aggregator)
                    .map_or_else(|| format!("the aggregator ended: {ended}"), PodRefusal::clause),
            })
        }
    }
}
