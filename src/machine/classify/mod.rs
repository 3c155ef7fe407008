//! Finds the next event: `(state, observed, now) -> Option<Event>`, something that has happened and is not recorded yet.
//!
//! Each state has a file with the events that can happen in it.

mod aggregator;
mod bounds;
mod created;
mod ends;
mod initializing;
mod plan;
mod refusals;
mod started;
mod starting;
mod stopping;

pub(crate) use plan::rps_too_low;
pub(super) use stopping::stop_is_forced;

use super::deadline::overdue;
use super::event::Event;
use super::observed::{Fact, Observed};
use super::state::{Initializing, State};
use super::terms::Start;
use super::waiting::waiting_for;
use bounds::bounded;
use created::created;
use initializing::initializing;
use jiff::Timestamp;
use refusals::refused;
use started::started;
use starting::starting;
use stopping::stopping;

/// The next event. None if nothing has happened that is not recorded.
pub fn classify(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    if seen.deleting {
        return None;
    }
    let happened = refused(state, seen, now)
        .or_else(|| stopped(state, seen))
        .or_else(|| match state {
            State::Initializing(Initializing::Accepted(accepted))
                if accepted.generation == seen.generation =>
            {
                initializing(accepted, seen, now)
            }
            // A new or an edited spec: what was observed of the spec before it does not count.
            State::Initializing(_) => Some(accept(seen)),
            State::Created(state) => created(state, seen),
            State::Starting(state) => starting(state, seen),
            State::Started(state) => started(state, seen, now),
            State::Stopping(state) => stopping(state, seen, now),
            State::Finished(_) => None,
        });
    happened
        .or_else(|| deadline_passed(state, seen, now))
        .map(bounded)
}

fn deadline_passed(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    // A stop has no deadline event: when its grace is over, runners are deleted, and their end is waited for.
    let ending = matches!(state, State::Stopping(_)) && state.awaits_result().is_none();
    if ending || !overdue(state, now) {
        return None;
    }
    let waiting_for = waiting_for(state, seen).unwrap_or_else(|| "the cluster to answer".to_owned());
    Some(Event::DeadlinePassed { waiting_for })
}

fn accept(seen: &Observed) -> Event {
    let rerun = seen.rerun.clone();
    match &seen.terms {
        Ok(terms) => Event::Accepted {
            generation: seen.generation,
            rerun,
            terms: terms.clone(),
        },
        Err(message) => Event::SpecRejected {
            rerun,
            message: message.clone(),
        },
    }
}

/// The order to stop, if spec.stop is set. Runners that have all ended by themselves leave nothing to stop.
fn stopped(state: &State, seen: &Observed) -> Option<Event> {
    let possible = match state {
        State::Initializing(state) => state.accepted().is_some(),
        State::Created(state) => match state.accepted.terms.start {
            Start::Together => true,
            Start::Immediate => !all_ended(state.plan.parallelism, seen),
        },
        State::Starting(state) => {
            let confirmed = matches!(starting(state, seen), Some(Event::StartConfirmed { .. }));
            !(confirmed && all_ended(state.plan.parallelism, seen))
        }
        // A runner without a Job has not ended by itself: it may have been deleted for this order, before the order
        // could be written.
        State::Started(started) => {
            state.awaits_result().is_none() && !all_ended(started.plan.parallelism, seen)
        }
        State::Stopping(_) | State::Finished(_) => false,
    };
    (possible && seen.stop).then_some(Event::StopOrdered {})
}

fn all_ended(parallelism: u32, seen: &Observed) -> bool {
    let Fact::Known(runners) = &seen.runners else {
        return false;
    };
    (1..=parallelism).all(|i| runners.get(&i).is_some_and(|runner| runner.end.is_some()))
}
