//! Events for what was refused: objects by the API server, and pods by Kubernetes.

use crate::machine::event::{Event, sentence};
use crate::machine::observed::{Fact, Observed, Refusal};
use crate::machine::pod_refusal::{Part, PodRefusal};
use crate::machine::state::{Initializing, Reason, State};
use jiff::Timestamp;

pub(super) fn refused(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    // A run that is not accepted yet has created nothing: the refused object is of a former run. After an edit of the
    // spec it is of the spec before, and the edit may be the remedy.
    let is_new = matches!(state, State::Initializing(Initializing::New));
    let ended = state.awaits_result().is_some();
    if is_new
        || is_edited(state, seen, now)
        || !ended && matches!(state, State::Stopping(_) | State::Finished(_))
    {
        return None;
    }
    match &seen.refused {
        // The summary was refused: see `collected`.
        Some(_) if ended => {}
        Some(Refusal::Foreign(message)) => {
            return Some(Event::ObjectRefused {
                reason: Reason::NameConflict,
                message: message.clone(),
            });
        }
        Some(Refusal::Invalid(message)) => {
            return Some(Event::ObjectRefused {
                reason: Reason::ObjectRefused,
                message: message.clone(),
            });
        }
        Some(Refusal::ForNow(_) | Refusal::Failed(_)) | None => {}
    }
    let refusal = seen.pod_refused.as_ref().filter(|refusal| refusal.is_final())?;
    if !needs(state, refusal.part) || ended && matches!(seen.result, Fact::Known(_)) {
        return None;
    }
    Some(if ended {
        Event::CollectionFailed {
            message: refusal.clause(),
        }
    } else {
        Event::ObjectRefused {
            reason: Reason::ObjectRefused,
            message: sentence(&refusal.clause()),
        }
    })
}

/// True before the runners are created if the spec has changed since it was accepted, or was accepted in this very look.
fn is_edited(state: &State, seen: &Observed, now: Timestamp) -> bool {
    match state {
        State::Initializing(Initializing::Accepted(accepted)) => {
            accepted.generation != seen.generation || accepted.at == now
        }
        State::Initializing(Initializing::New)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_)
        | State::Finished(_) => false,
    }
}

/// True if a run can't leave this state without a pod of this part.
fn needs(state: &State, part: Part) -> bool {
    match state {
        State::Initializing(state) => {
            let accepted = state.accepted();
            part == Part::Initializer && accepted.is_some_and(|accepted| !accepted.terms.suspended)
        }
        State::Created(_) => matches!(part, Part::Aggregator | Part::Runner(_)),
        State::Starting(_) => part == Part::Starter,
        State::Started(_) | State::Stopping(_) => part == Part::Aggregator && state.awaits_result().is_some(),
        State::Finished(_) => false,
    }
}

/// The refusal of a pod of this part, if there is one.
pub(super) fn refusal_of(seen: &Observed, part: Part) -> Option<&PodRefusal> {
    seen.pod_refused.as_ref().filter(|refusal| refusal.part == part)
}
