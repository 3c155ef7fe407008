//! The answers of Initializing: the spec is accepted, and the script inspected.

use super::finish;
use crate::limits::PARALLELISM;
use crate::machine::event::{Event, Record};
use crate::machine::state::{Accepted, Created, Initializing, Reason, State};
use crate::machine::verdict::{aborted, error};
use statig::Outcome;

pub(super) fn handle(state: &Initializing, record: &Record) -> Outcome<State> {
    match state {
        Initializing::New => before_acceptance(record),
        Initializing::Accepted(accepted) => inspecting(accepted, record),
    }
}

fn before_acceptance(Record { time, event }: &Record) -> Outcome<State> {
    match event {
        // Only a hand-edited history can contain this. Loops over the runners must stay short.
        Event::Accepted { terms, .. } if !(1..=PARALLELISM).contains(&terms.parallelism) => Outcome::Super,
        Event::Accepted {
            generation,
            rerun: _,
            terms,
        } => Outcome::Transition(State::Initializing(Initializing::Accepted(Accepted {
            at: *time,
            generation: *generation,
            terms: terms.clone(),
        }))),
        Event::SpecRejected { rerun: _, message } => {
            finish(*time, error(Reason::InvalidSpec, message.clone()), 0)
        }
        // A history begins with one such event for each former run.
        Event::RerunOrdered { .. } => Outcome::Transition(State::default()),
        Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::ScriptRejected { .. }
        | Event::ObjectRefused { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::StartFailed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersEnded { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}

fn inspecting(accepted: &Accepted, record: &Record) -> Outcome<State> {
    let Record { time, event } = record;
    match event {
        // This spec is accepted already.
        Event::Accepted {
            generation, terms, ..
        } if *generation == accepted.generation && (1..=PARALLELISM).contains(&terms.parallelism) => {
            Outcome::Handled
        }
        // The spec was edited.
        Event::Accepted { .. } | Event::SpecRejected { .. } => before_acceptance(record),
        // Only a hand-edited history can contain this.
        Event::ScriptInspected { plan } | Event::InspectionSkipped { plan }
            if plan.parallelism != accepted.terms.parallelism =>
        {
            Outcome::Super
        }
        Event::ScriptInspected { plan } | Event::InspectionSkipped { plan } => {
            Outcome::Transition(State::Created(Created {
                at: *time,
                accepted: accepted.clone(),
                plan: plan.clone(),
            }))
        }
        Event::ScriptRejected { reason, message } => {
            let verdict = if *reason == Reason::TestAborted {
                aborted(message.clone())
            } else {
                error(*reason, message.clone())
            };
            finish(*time, verdict, 0)
        }
        Event::RerunOrdered { .. }
        | Event::ObjectRefused { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::StartFailed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersEnded { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}
