//! Events of the inspection: the script is missing, or k6 has inspected or refused it.

use super::plan::{inspected, without_inspection};
use crate::machine::deadline::SCRIPT_GRACE;
use crate::machine::event::Event;
use crate::machine::observed::{Fact, Initializer, Observed};
use crate::machine::state::{Accepted, Plan, Reason};
use crate::machine::terms::Inspect;
use jiff::Timestamp;

pub(super) fn initializing(accepted: &Accepted, seen: &Observed, now: Timestamp) -> Option<Event> {
    let terms = &accepted.terms;
    if terms.suspended {
        return None;
    }
    if terms.inspect == Inspect::Skip && seen.script == Fact::Known(Ok(())) {
        return Some(Event::InspectionSkipped {
            plan: Plan {
                program: seen.program,
                ..without_inspection(terms)
            },
        });
    }
    // This snapshot was taken before the spec was accepted: the initializer is of the spec before.
    if accepted.at == now && matches!(seen.initializer, Fact::Known(_)) {
        return None;
    }
    let script_error = |message: String| Event::ScriptRejected {
        reason: Reason::ScriptError,
        message,
    };
    match &seen.initializer {
        Fact::Known(Initializer::Failed(message)) => Some(script_error(message.clone())),
        Fact::Known(Initializer::Aborted(message)) => Some(Event::ScriptRejected {
            reason: Reason::TestAborted,
            message: format!("The script aborted the test while k6 loaded it: {message}"),
        }),
        Fact::Known(Initializer::Succeeded(Err(e))) => Some(script_error(format!(
            "{e}; the runner image must have a k6 that knows `inspect --execution-requirements`"
        ))),
        Fact::Known(Initializer::Succeeded(Ok(inspection))) => {
            Some(inspected(terms, inspection, seen.program))
        }
        Fact::Absent => without_script(accepted, seen, now),
        Fact::Known(
            Initializer::Running(_) | Initializer::Outdated | Initializer::Lost(_) | Initializer::Done,
        )
        | Fact::Unknown => None,
    }
}

/// Rejects a script that is still missing after [`SCRIPT_GRACE`].
fn without_script(accepted: &Accepted, seen: &Observed, now: Timestamp) -> Option<Event> {
    match &seen.script {
        Fact::Known(Err(missing)) => {
            let over = accepted.at.checked_add(SCRIPT_GRACE).is_ok_and(|end| now >= end);
            over.then(|| Event::ScriptRejected {
                reason: Reason::ScriptNotFound,
                message: missing.clone(),
            })
        }
        Fact::Known(Ok(())) | Fact::Absent | Fact::Unknown => None,
    }
}
