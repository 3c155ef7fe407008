//! The answers of Started: the test runs, or its merged result is collected.

use super::finish;
use crate::machine::Tally;
use crate::machine::event::{Event, Record};
use crate::machine::judge::{judge, judge_whole, judge_without_result};
use crate::machine::state::{Ended, Started, State, Test, Verdict};
use crate::machine::verdict::{too_long, without_summary};
use crate::protocol::outcome;
use jiff::Timestamp;
use statig::Outcome;

pub(super) fn handle(state: &Started, record: &Record) -> Outcome<State> {
    match &state.phase {
        Test::Running | Test::OneLost => running(state, record),
        Test::Collecting(ended) => collecting(state, ended, record),
    }
}

fn running(state: &Started, record: &Record) -> Outcome<State> {
    let Record { time, event } = record;
    let enter = |phase: Test| {
        Outcome::Transition(State::Started(Started {
            phase,
            ..state.clone()
        }))
    };
    match event {
        Event::RunnerLost { .. } if state.phase == Test::OneLost => Outcome::Handled,
        Event::RunnerLost { .. } => enter(Test::OneLost),
        Event::RunnersEnded { tally } if state.plan.aggregation.is_some() => enter(Test::Collecting(Ended {
            at: *time,
            tally: tally.clone(),
        })),
        Event::RunnersEnded { tally } => finish_ended(*time, tally, judge(tally)),
        Event::StartConfirmed { .. } | Event::RunnersStarted { .. } => Outcome::Handled,
        Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::StopOrdered {}
        | Event::ObjectRefused { .. }
        | Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::RerunOrdered { .. }
        | Event::ScriptRejected { .. }
        | Event::StartOrdered { .. }
        | Event::StartFailed { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}

fn collecting(state: &Started, ended: &Ended, record: &Record) -> Outcome<State> {
    let Record { time, event } = record;
    let tally = &ended.tally;
    let without_result =
        |why: &str| finish_ended(*time, tally, judge_without_result(&state.plan, tally, why));
    match event {
        Event::ResultCollected { outcome, unkept } => {
            let verdict = judge_collected(state, tally, outcome);
            finish_ended(*time, tally, without_summary(verdict, unkept.as_deref()))
        }
        Event::CollectionFailed { message } | Event::ObjectRefused { reason: _, message } => {
            without_result(message)
        }
        Event::DeadlinePassed { waiting_for } => without_result(&too_long(waiting_for)),
        // Nothing is left to stop or to lose.
        Event::RunnersEnded { .. }
        | Event::StartConfirmed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnerLost { .. } => Outcome::Handled,
        Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::RerunOrdered { .. }
        | Event::ScriptRejected { .. }
        | Event::StartOrdered { .. }
        | Event::StartFailed { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}

/// The verdict on a run whose merged result was collected. An aggregator that was started again after the runners had
/// ended has the numbers of none of them, which is the same as no result.
fn judge_collected(state: &Started, tally: &Tally, outcome: &outcome::Outcome) -> Verdict {
    if outcome.silent >= state.plan.parallelism {
        return judge_without_result(&state.plan, tally, "nothing that they sent is there any more");
    }
    judge_whole(tally, outcome)
}

fn finish_ended(at: Timestamp, tally: &Tally, verdict: Verdict) -> Outcome<State> {
    let whole = tally.passed.saturating_add(tally.crossed);
    finish(at, verdict, whole.saturating_add(tally.marked))
}
