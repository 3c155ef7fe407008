//! The state machine: `(state, event) -> Step`, as a statig machine that is driven from outside.
//!
//! statig's [`State`](statig::blocking::State) and [`Superstate`](statig::blocking::Superstate) are
//! implemented by hand, so that the match over states and events stays exhaustive. The status of the
//! resource is the machine's memory: `StateExt::handle` returns the outcome and keeps nothing.

use super::event::{Event, Record, sentence};
use super::state::{
    Accepted, Created, Ended, Finished, Initializing, Plan, Reason, RunResult, Started, Starting, State,
    StateName, Stopping, Verdict,
};
use super::{NAMED_AT_MOST, RunnerFailure, Tally};
use crate::k6::exit_code;
use crate::limits::PARALLELISM;
use crate::protocol::outcome;
use jiff::Timestamp;
use statig::Outcome;
use statig::blocking::{self, IntoStateMachine, StateExt};

/// What follows from an event.
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The run is in this state now.
    Next(State),
    /// The event says nothing new.
    Unchanged,
    /// The event can't happen in this state; it must not be recorded.
    Refused,
}

/// Decides what follows from an event. Pure and total.
pub fn step(state: &State, record: &Record) -> Step {
    let mut state = state.clone();
    match state.handle(&mut Lifecycle, record, &mut ()) {
        Outcome::Transition(next) => Step::Next(next),
        Outcome::Handled => Step::Unchanged,
        Outcome::Super => Step::Refused,
    }
}

/// The machine; it has no memory of its own.
#[derive(Debug)]
struct Lifecycle;

/// What states have in common.
#[derive(Debug)]
enum Superstate {
    /// All but Finished.
    Live {
        /// Which state.
        state: StateName,
        /// How many runners may have been released, and how many seconds those have to end after a stop; None before
        /// the start.
        released: Option<(u32, u32)>,
        /// Whether a stop leaves a merged result.
        merged: bool,
    },
}

impl IntoStateMachine for Lifecycle {
    type Event<'evt> = Record;
    type Context<'ctx> = ();
    type Superstate<'sub> = Superstate;
    type State = State;

    fn initial() -> State {
        State::default()
    }
}

impl blocking::State<Lifecycle> for State {
    fn call_handler(&mut self, _: &mut Lifecycle, record: &Record, (): &mut ()) -> Outcome<Self> {
        let Record { time, event } = record;
        match self {
            Self::Initializing(state) => match (event, &state.accepted) {
                // Said by no run: a history can be edited by hand, and runners are counted one by one.
                (Event::Accepted { terms, .. }, None | Some(_))
                    if !(1..=PARALLELISM).contains(&terms.parallelism) =>
                {
                    Outcome::Super
                }
                (Event::ScriptInspected { plan } | Event::InspectionSkipped { plan }, Some(accepted))
                    if plan.parallelism != accepted.terms.parallelism =>
                {
                    Outcome::Super
                }
                // Said again by the spec that was accepted already.
                (Event::Accepted { generation, .. }, Some(accepted))
                    if *generation == accepted.generation =>
                {
                    Outcome::Handled
                }
                (
                    Event::Accepted {
                        generation,
                        rerun: _,
                        terms,
                    },
                    None | Some(_),
                ) => Outcome::Transition(Self::Initializing(Initializing {
                    accepted: Some(Accepted {
                        at: *time,
                        generation: *generation,
                        terms: terms.clone(),
                    }),
                })),
                (Event::SpecRejected { rerun: _, message }, None | Some(_)) => {
                    finish(*time, error(Reason::InvalidSpec, message.clone()), 0)
                }
                (Event::ScriptInspected { plan } | Event::InspectionSkipped { plan }, Some(accepted)) => {
                    Outcome::Transition(Self::Created(Created {
                        at: *time,
                        accepted: accepted.clone(),
                        plan: plan.clone(),
                    }))
                }
                (Event::ScriptRejected { reason, message }, Some(_)) => {
                    let verdict = if *reason == Reason::TestAborted {
                        aborted(message.clone())
                    } else {
                        error(*reason, message.clone())
                    };
                    finish(*time, verdict, 0)
                }
                // What is kept of the runs before this one.
                (Event::RerunOrdered { .. }, None) => Outcome::Transition(Self::default()),
                (
                    Event::ScriptInspected { .. }
                    | Event::InspectionSkipped { .. }
                    | Event::ScriptRejected { .. },
                    None,
                )
                | (Event::RerunOrdered { .. }, Some(_))
                | (
                    Event::ObjectRefused { .. }
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
                    | Event::RunnersStopped { .. },
                    None | Some(_),
                ) => Outcome::Super,
            },
            Self::Created(state) => match event {
                Event::StartOrdered { .. } | Event::RunnerLost { .. } if state.accepted.terms.unpaused => {
                    Outcome::Super
                }
                Event::RunnersStarted { .. } if !state.accepted.terms.unpaused => Outcome::Super,
                Event::StartOrdered { runners: _, pods } => Outcome::Transition(Self::Starting(Starting {
                    at: *time,
                    accepted: state.accepted.clone(),
                    plan: state.plan.clone(),
                    pods: pods.clone(),
                })),
                Event::RunnersStarted { .. } => Outcome::Transition(Self::Started(Started {
                    at: *time,
                    plan: state.plan.clone(),
                    lost: false,
                    ended: None,
                })),
                Event::RunnerLost { failure } => {
                    let message = format!("before the start, {}", failure.clause());
                    finish(*time, error(Reason::RunnerFailed, sentence(&message)), 0)
                }
                Event::AggregatorLost { message } if state.plan.aggregation.is_some() => {
                    let message = format!(
                        "Before the start, the aggregator ended: {message}; set spec.aggregation.enabled to false \
                         to run without it"
                    );
                    let why = error(Reason::AggregationFailed, message);
                    if state.accepted.terms.unpaused {
                        Outcome::Transition(Self::Stopping(Stopping {
                            at: *time,
                            runners: state.plan.parallelism,
                            grace_seconds: state.plan.stop_grace(),
                            why,
                            merged: false,
                            stopped: None,
                        }))
                    } else {
                        finish(*time, why, 0)
                    }
                }
                Event::ScriptInspected { .. } | Event::InspectionSkipped { .. } => Outcome::Handled,
                Event::Accepted { .. }
                | Event::SpecRejected { .. }
                | Event::ScriptRejected { .. }
                | Event::ObjectRefused { .. }
                | Event::StartConfirmed { .. }
                | Event::StartFailed { .. }
                | Event::StopOrdered {}
                | Event::RerunOrdered { .. }
                | Event::AggregatorLost { .. }
                | Event::RunnersEnded { .. }
                | Event::ResultCollected { .. }
                | Event::CollectionFailed { .. }
                | Event::DeadlinePassed { .. }
                | Event::RunnersStopped { .. } => Outcome::Super,
            },
            Self::Starting(state) => match event {
                Event::StartConfirmed { .. } => Outcome::Transition(Self::Started(Started {
                    at: *time,
                    plan: state.plan.clone(),
                    lost: false,
                    ended: None,
                })),
                Event::StartFailed {
                    released,
                    aborted,
                    message,
                } => {
                    let why = if *aborted {
                        self::aborted(message.clone())
                    } else {
                        error(Reason::StartFailed, message.clone())
                    };
                    match released {
                        Some(0) => finish(*time, why, 0),
                        Some(_) | None => Outcome::Transition(Self::Stopping(Stopping {
                            at: *time,
                            runners: state.plan.parallelism,
                            grace_seconds: state.plan.stop_grace(),
                            why,
                            merged: false,
                            stopped: None,
                        })),
                    }
                }
                Event::StartOrdered { .. } => Outcome::Handled,
                Event::Accepted { .. }
                | Event::SpecRejected { .. }
                | Event::ScriptInspected { .. }
                | Event::InspectionSkipped { .. }
                | Event::RunnersStarted { .. }
                | Event::StopOrdered {}
                | Event::RerunOrdered { .. }
                | Event::ScriptRejected { .. }
                | Event::ObjectRefused { .. }
                | Event::RunnerLost { .. }
                | Event::AggregatorLost { .. }
                | Event::RunnersEnded { .. }
                | Event::ResultCollected { .. }
                | Event::CollectionFailed { .. }
                | Event::DeadlinePassed { .. }
                | Event::RunnersStopped { .. } => Outcome::Super,
            },
            Self::Started(state) => match (event, &state.ended) {
                (Event::RunnerLost { .. }, None) if state.lost => Outcome::Handled,
                (Event::RunnerLost { .. }, None) => {
                    state.lost = true;
                    Outcome::Transition(self.clone())
                }
                (Event::RunnersEnded { tally }, None) if state.plan.aggregation.is_some() => {
                    state.ended = Some(Ended {
                        at: *time,
                        tally: tally.clone(),
                    });
                    Outcome::Transition(self.clone())
                }
                (Event::RunnersEnded { tally }, None) => finish_ended(*time, tally, judge(tally)),
                // An aggregator that was begun again after the runners had ended.
                (Event::ResultCollected { outcome, unkept }, Some(Ended { at: _, tally }))
                    if outcome.silent >= state.plan.parallelism =>
                {
                    let message = "nothing that they sent is there any more";
                    let verdict = judge_unmerged(&state.plan, tally, message);
                    finish_ended(*time, tally, without_summary(verdict, unkept.as_deref()))
                }
                (Event::ResultCollected { outcome, unkept }, Some(Ended { at: _, tally })) => {
                    let verdict = judge_whole(tally, outcome);
                    finish_ended(*time, tally, without_summary(verdict, unkept.as_deref()))
                }
                (Event::CollectionFailed { message }, Some(Ended { at: _, tally })) => {
                    finish_ended(*time, tally, judge_unmerged(&state.plan, tally, message))
                }
                (Event::DeadlinePassed { waiting_for }, Some(Ended { at: _, tally })) => finish_ended(
                    *time,
                    tally,
                    judge_unmerged(&state.plan, tally, &too_long(waiting_for)),
                ),
                (Event::RunnersEnded { .. }, Some(_)) => Outcome::Handled,
                (Event::StartConfirmed { .. } | Event::RunnersStarted { .. }, None | Some(_)) => {
                    Outcome::Handled
                }
                // Nothing is left to stop or to lose.
                (Event::StopOrdered {} | Event::RunnerLost { .. }, Some(_)) => Outcome::Handled,
                (Event::ObjectRefused { reason: _, message }, Some(Ended { at: _, tally })) => {
                    finish_ended(*time, tally, judge_unmerged(&state.plan, tally, message))
                }
                (Event::ResultCollected { .. } | Event::CollectionFailed { .. }, None)
                | (
                    Event::DeadlinePassed { .. } | Event::StopOrdered {} | Event::ObjectRefused { .. },
                    None,
                )
                | (
                    Event::Accepted { .. }
                    | Event::SpecRejected { .. }
                    | Event::ScriptInspected { .. }
                    | Event::InspectionSkipped { .. }
                    | Event::RerunOrdered { .. }
                    | Event::ScriptRejected { .. }
                    | Event::StartOrdered { .. }
                    | Event::StartFailed { .. }
                    | Event::AggregatorLost { .. }
                    | Event::RunnersStopped { .. },
                    None | Some(_),
                ) => Outcome::Super,
            },
            Self::Stopping(state) => match (event, state.stopped) {
                (Event::RunnersStopped { .. }, None) if state.merged => {
                    state.stopped = Some(*time);
                    Outcome::Transition(self.clone())
                }
                (Event::RunnersStopped { .. }, None) => finish(*time, state.why.clone(), 0),
                (Event::ResultCollected { outcome, unkept }, Some(_)) => {
                    let verdict = with_result(&state.why, state.runners, outcome);
                    finish(*time, without_summary(verdict, unkept.as_deref()), 0)
                }
                (
                    Event::CollectionFailed { message } | Event::ObjectRefused { reason: _, message },
                    Some(_),
                ) => finish(*time, without_result(&state.why, message), 0),
                (Event::DeadlinePassed { waiting_for }, Some(_)) => {
                    finish(*time, without_result(&state.why, &too_long(waiting_for)), 0)
                }
                (Event::DeadlinePassed { .. } | Event::ObjectRefused { .. }, None)
                | (Event::RunnersStopped { .. }, Some(_))
                | (Event::StartFailed { .. } | Event::StopOrdered {}, None | Some(_)) => Outcome::Handled,
                (Event::ResultCollected { .. } | Event::CollectionFailed { .. }, None)
                | (
                    Event::Accepted { .. }
                    | Event::SpecRejected { .. }
                    | Event::ScriptInspected { .. }
                    | Event::InspectionSkipped { .. }
                    | Event::RunnersStarted { .. }
                    | Event::RerunOrdered { .. }
                    | Event::ScriptRejected { .. }
                    | Event::StartOrdered { .. }
                    | Event::StartConfirmed { .. }
                    | Event::RunnerLost { .. }
                    | Event::AggregatorLost { .. }
                    | Event::RunnersEnded { .. },
                    None | Some(_),
                ) => Outcome::Super,
            },
            Self::Finished(_) => match event {
                Event::RerunOrdered { .. } => Outcome::Transition(Self::default()),
                Event::Accepted { .. }
                | Event::SpecRejected { .. }
                | Event::ScriptInspected { .. }
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
            },
        }
    }

    fn superstate(&mut self) -> Option<Superstate> {
        let released = match self {
            Self::Initializing(_) => None,
            Self::Created(state) => state
                .accepted
                .terms
                .unpaused
                .then_some((state.plan.parallelism, state.plan.stop_grace())),
            Self::Starting(Starting { plan, .. }) | Self::Started(Started { plan, .. }) => {
                Some((plan.parallelism, plan.stop_grace()))
            }
            Self::Stopping(state) => Some((state.runners, state.grace_seconds)),
            Self::Finished(_) => return None,
        };
        let merged = matches!(self, Self::Started(state) if state.plan.aggregation.is_some());
        Some(Superstate::Live {
            state: self.name(),
            released,
            merged,
        })
    }
}

impl blocking::Superstate<Lifecycle> for Superstate {
    fn call_handler(&mut self, _: &mut Lifecycle, record: &Record, (): &mut ()) -> Outcome<State> {
        let Self::Live {
            state,
            released,
            merged,
        } = self;
        let why = match &record.event {
            Event::DeadlinePassed { waiting_for } => deadline(*state, waiting_for),
            Event::ObjectRefused { reason, message } => error(*reason, message.clone()),
            Event::StopOrdered {} => Verdict {
                result: RunResult::Aborted,
                reason: Reason::StopRequested,
                message: if released.is_some() {
                    "Stopped, as spec.stop asks".to_owned()
                } else {
                    "Stopped before the start, as spec.stop asks".to_owned()
                },
            },
            Event::Accepted { .. }
            | Event::SpecRejected { .. }
            | Event::ScriptInspected { .. }
            | Event::InspectionSkipped { .. }
            | Event::RunnersStarted { .. }
            | Event::RerunOrdered { .. }
            | Event::ScriptRejected { .. }
            | Event::StartOrdered { .. }
            | Event::StartConfirmed { .. }
            | Event::StartFailed { .. }
            | Event::RunnerLost { .. }
            | Event::AggregatorLost { .. }
            | Event::RunnersEnded { .. }
            | Event::ResultCollected { .. }
            | Event::CollectionFailed { .. }
            | Event::RunnersStopped { .. } => return Outcome::Super,
        };
        match *released {
            Some((runners, grace_seconds)) => Outcome::Transition(State::Stopping(Stopping {
                at: record.time,
                runners,
                grace_seconds,
                why,
                merged: *merged,
                stopped: None,
            })),
            None => finish(record.time, why, 0),
        }
    }
}

fn finish(at: Timestamp, verdict: Verdict, completed: u32) -> Outcome<State> {
    Outcome::Transition(State::Finished(Finished {
        at,
        verdict,
        completed,
    }))
}

fn error(reason: Reason, message: String) -> Verdict {
    Verdict {
        result: RunResult::Error,
        reason,
        message,
    }
}

/// The script itself ended the test before it had begun.
fn aborted(message: String) -> Verdict {
    Verdict {
        result: RunResult::Aborted,
        reason: Reason::TestAborted,
        message: sentence(&message),
    }
}

fn deadline(state: StateName, waiting_for: &str) -> Verdict {
    let (reason, what) = match state {
        StateName::Initializing => (
            Reason::InitializationDeadlineExceeded,
            "The script was not inspected in time (spec.timeouts.initialization)",
        ),
        StateName::Created => (
            Reason::StartDeadlineExceeded,
            "The runners were not ready in time (spec.timeouts.start), and none was started",
        ),
        StateName::Starting => (
            Reason::StartDeadlineExceeded,
            "The runners were not released in time (spec.timeouts.start) and are stopped",
        ),
        StateName::Started | StateName::Stopping | StateName::Finished => (
            Reason::RunDeadlineExceeded,
            "The test did not end by itself in the time its script says",
        ),
    };
    error(reason, format!("{what}; waited for {waiting_for}"))
}

fn finish_ended(at: Timestamp, tally: &Tally, verdict: Verdict) -> Outcome<State> {
    let whole = tally.passed.saturating_add(tally.crossed);
    finish(at, verdict, whole.saturating_add(tally.marked))
}

/// The verdict on a run of which the thresholds were judged over all runners, which themselves judged none. A runner
/// that exits as if it had crossed one itself was told so by the aggregator: the collected outcome says which. Should it
/// say none, the exit code counts, which is what tools read.
fn judge_whole(tally: &Tally, outcome: &outcome::Outcome) -> Verdict {
    let of_runners = judge(&unjudging(tally, outcome.thresholds > 0));
    let mut verdict = if of_runners.reason == Reason::TestFailed || end_by_script(tally).is_some() {
        let told = (outcome.thresholds > 0).then(|| format!("; {}", outcome.told()));
        Verdict {
            message: format!("{}{}", of_runners.message, told.unwrap_or_default()),
            ..of_runners
        }
    } else if outcome.crossed > 0 {
        let others = match of_runners.result {
            RunResult::Passed | RunResult::Failed => String::new(),
            RunResult::Aborted | RunResult::Error => format!("; {}", of_runners.message),
        };
        Verdict {
            result: RunResult::Failed,
            reason: Reason::ThresholdsCrossed,
            message: format!("{}{others}", sentence(&outcome.told())),
        }
    } else if of_runners.result == RunResult::Passed
        && let Some(crossed) = crossed_by_exit_code(tally)
    {
        crossed
    } else if of_runners.result == RunResult::Passed && !outcome.is_judged() {
        unjudged(&of_runners.message, " over all of them")
    } else if of_runners.result == RunResult::Passed && outcome.thresholds > 0 {
        Verdict {
            message: format!("{}; {}", of_runners.message, outcome.told()),
            ..of_runners
        }
    } else {
        of_runners
    };
    verdict.message = format!("{}{}", verdict.message, missing(outcome));
    verdict
}

/// Failed, if a runner exited as k6 does when thresholds are crossed.
fn crossed_by_exit_code(tally: &Tally) -> Option<Verdict> {
    let tells =
        |failure: &&RunnerFailure| failure.exit_code == Some(i32::from(exit_code::THRESHOLDS_CROSSED));
    let failure = tally.failures.iter().find(tells)?;
    Some(Verdict {
        result: RunResult::Failed,
        reason: Reason::ThresholdsCrossed,
        message: format!(
            "Thresholds were crossed over all runners, as {}",
            failure.clause()
        ),
    })
}

/// How the runners ended, without those that only say what the thresholds of the whole came to. Where there are none,
/// an exit code that speaks of some is not the aggregator's.
fn unjudging(tally: &Tally, thresholds: bool) -> Tally {
    if !thresholds {
        return tally.clone();
    }
    let Tally {
        passed,
        crossed,
        aborted,
        marked,
        failed,
        failures,
    } = tally;
    let tells =
        |failure: &&RunnerFailure| failure.exit_code == Some(i32::from(exit_code::THRESHOLDS_CROSSED));
    let named = failures.iter().filter(|failure| !tells(failure)).cloned();
    Tally {
        passed: passed.saturating_add(*crossed),
        crossed: 0,
        aborted: *aborted,
        marked: *marked,
        failed: *failed,
        failures: named.collect(),
    }
}

/// What is not in the merged numbers, as the end of a sentence.
fn missing(outcome: &outcome::Outcome) -> String {
    let Some(first) = outcome.incomplete.first() else {
        return String::new();
    };
    let more = match outcome.incomplete.len() {
        1 => String::new(),
        count => format!(" (and {} more, in status.summary)", count - 1),
    };
    format!("; the merged result is incomplete: {first}{more}")
}

/// The verdict on a run that was stopped, with what was measured until then. Its thresholds decide nothing: the
/// test was not whole.
fn with_result(why: &Verdict, runners: u32, outcome: &outcome::Outcome) -> Verdict {
    if outcome.silent >= runners {
        return without_result(why, "nothing that they sent is there any more");
    }
    let told = outcome.thresholds > 0 && outcome.is_judged();
    let judged = told.then(|| format!("; until then, {}", outcome.told()));
    let judged = judged.unwrap_or_default();
    Verdict {
        message: format!("{}{judged}{}", why.message, missing(outcome)),
        ..why.clone()
    }
}

fn without_result(why: &Verdict, message: &str) -> Verdict {
    Verdict {
        message: format!("{}; {}", why.message, unmerged(message)),
        ..why.clone()
    }
}

/// The verdict on a run of which the documents are not kept, which costs it nothing else.
fn without_summary(verdict: Verdict, why: Option<&str>) -> Verdict {
    match why {
        Some(why) => Verdict {
            message: format!("{}; its summary is not kept: {why}", verdict.message),
            ..verdict
        },
        None => verdict,
    }
}

/// Nobody knows whether the thresholds hold: that is no pass.
fn unjudged(of_runners: &str, why: &str) -> Verdict {
    error(
        Reason::AggregationFailed,
        format!("{of_runners}, but the script's thresholds could not be judged{why}"),
    )
}

fn unmerged(why: &str) -> String {
    format!("the metrics of the runners could not be merged: {why}")
}

fn too_long(waiting_for: &str) -> String {
    format!("it took too long; waited for {waiting_for}")
}

/// The verdict on a run whose merged result can't be had: without it, nobody knows of the thresholds, unless a runner
/// was told what they came to.
fn judge_unmerged(plan: &Plan, tally: &Tally, why: &str) -> Verdict {
    let thresholds = plan.thresholds.unwrap_or_default() > 0;
    let of_runners = judge(&unjudging(tally, thresholds));
    let is_open = thresholds && of_runners.result == RunResult::Passed;
    if let Some(crossed) = crossed_by_exit_code(tally).filter(|_| is_open) {
        return without_result(&crossed, why);
    }
    if is_open {
        return unjudged(&of_runners.message, &format!(", as {}", unmerged(why)));
    }
    without_result(&of_runners, why)
}

/// How a script ended its test.
#[derive(Clone, Copy)]
enum EndByScript {
    /// It threw in setup() or teardown(), or these took too long.
    Exception,
    /// It called `exec.test.abort()`.
    Abort,
}

/// What the script of a runner did that ended its test, if that decides the verdict: it is named first then.
fn end_by_script(tally: &Tally) -> Option<EndByScript> {
    let code = tally.failures.first()?.exit_code?;
    match u8::try_from(code).ok()? {
        exit_code::SETUP_TIMEOUT | exit_code::TEARDOWN_TIMEOUT | exit_code::SCRIPT_EXCEPTION => {
            Some(EndByScript::Exception)
        }
        exit_code::SCRIPT_ABORTED => Some(EndByScript::Abort),
        _ => None,
    }
}

/// The verdict on a run whose runners have all ended.
///
/// As in k6, a script that ended the test itself decides first, by an exception or an abort; a test that it marked as
/// failed is Failed, whatever else there is; then any crossed threshold makes it Failed, for that is what the test was
/// asked; then any failure makes it an Error, then any abort Aborted. Exit codes:
/// <https://grafana.com/docs/k6/latest/using-k6/thresholds/> and k6's `errext/exitcodes`.
pub fn judge(tally: &Tally) -> Verdict {
    let Tally {
        passed,
        crossed,
        aborted,
        marked,
        failed,
        failures,
    } = tally;
    // A history can be edited by hand: no sum may overflow.
    let bad = [crossed, aborted, marked, failed];
    let total = bad
        .into_iter()
        .fold(*passed, |sum, count| sum.saturating_add(*count));
    let named: Vec<String> = failures.iter().map(RunnerFailure::clause).collect();
    let mut named = named.join("; ");
    let unnamed = tally.unnamed();
    if unnamed > 0 {
        named = format!("{named}; and {unnamed} more (at most {NAMED_AT_MOST} are named)");
    }
    let counted = |count: u32, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    let and_failed = counted(*failed, "failed");
    let and_aborted = counted(*aborted, "aborted");
    let and_marked = counted(*marked, "marked the test as failed");
    let and_crossed = counted(*crossed, "crossed thresholds");
    let (result, reason, message) = if let Some(end) = end_by_script(tally) {
        match end {
            EndByScript::Exception => {
                let text = format!(
                    "{failed} of {total} runners failed{and_marked}{and_crossed}{and_aborted}: {named}"
                );
                (RunResult::Error, Reason::RunnerFailed, text)
            }
            EndByScript::Abort => {
                let text = format!(
                    "The test was aborted on {aborted} of {total} runners{and_marked}{and_crossed}: {named}"
                );
                (RunResult::Aborted, Reason::TestAborted, text)
            }
        }
    } else if *marked > 0 {
        let and_crossed = match crossed {
            0 => String::new(),
            count => format!(", thresholds were crossed on {count}"),
        };
        let text = format!(
            "The script marked the test as failed on {marked} of {total} \
             runners{and_crossed}{and_failed}{and_aborted}: {named}"
        );
        (RunResult::Failed, Reason::TestFailed, text)
    } else if *crossed > 0 {
        let text = format!(
            "Thresholds were crossed on {crossed} of {total} runners{and_failed}{and_aborted}: {named}"
        );
        (RunResult::Failed, Reason::ThresholdsCrossed, text)
    } else if *failed > 0 {
        let text = format!("{failed} of {total} runners failed{and_aborted}: {named}");
        (RunResult::Error, Reason::RunnerFailed, text)
    } else if *aborted > 0 {
        let text = format!("The test was aborted on {aborted} of {total} runners: {named}");
        (RunResult::Aborted, Reason::TestAborted, text)
    } else {
        let text = format!("{passed} of {total} runners passed");
        (RunResult::Passed, Reason::AllRunnersPassed, text)
    };
    Verdict {
        result,
        reason,
        message,
    }
}
