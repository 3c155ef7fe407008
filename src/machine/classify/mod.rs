//! `(state, observed, now) -> Option<Event>`: the next thing that has happened and is not recorded yet.
//!
//! Each state has a file with what can happen in it.

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
use super::state::{State, Stopping};
use super::waiting::waiting_for;
use bounds::bounded;
use created::created;
use initializing::initializing;
use jiff::Timestamp;
use refusals::refused;
use started::started;
use starting::starting;
use stopping::stopping;

/// The next event, if anything has happened.
pub fn classify(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    if seen.deleting {
        return None;
    }
    let happened = refused(state, seen, now)
        .or_else(|| stopped(state, seen))
        .or_else(|| match state {
            State::Initializing(state) => match &state.accepted {
                Some(accepted) if accepted.generation == seen.generation => initializing(accepted, seen, now),
                // An edit: the runners are not made yet, and what was found of the old spec does not count.
                None | Some(_) => Some(accept(seen)),
            },
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
    // The grace of a stop is spent in `stopping`: a run that can't be seen is not given up a second time.
    if matches!(state, State::Stopping(Stopping { stopped: None, .. })) || !overdue(state, now) {
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

/// A person's wish to stop. Runners that have all ended by themselves leave nothing to stop.
fn stopped(state: &State, seen: &Observed) -> Option<Event> {
    let possible = match state {
        State::Initializing(state) => state.accepted.is_some(),
        State::Created(state) => !(state.accepted.terms.unpaused && all_ended(state.plan.parallelism, seen)),
        State::Starting(state) => {
            let confirmed = matches!(starting(state, seen), Some(Event::StartConfirmed { .. }));
            !(confirmed && all_ended(state.plan.parallelism, seen))
        }
        // One whose Job is gone has not ended by itself: the order may have been carried out before it could be written.
        State::Started(state) => state.ended.is_none() && !all_ended(state.plan.parallelism, seen),
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
