//! Describes events in sentences for users. Pure.

use crate::machine::{Event, Inspect, Plan, Record, Run, RunResult, State, Stop, Stopping, Terms, Verdict};
use kube_runtime::events::EventType;
use std::time::Duration;

/// An Event of Kubernetes: its type, its reason and its note.
pub type Description = (EventType, &'static str, String);

/// The sentence for an event; `after` is the run that follows from it.
pub fn note(record: &Record, after: &Run) -> Option<String> {
    describe(record, after).map(|(_, _, note)| note)
}

/// Describes an event; `after` is the run that follows from it. The order to start has no description: its confirmation
/// has one.
pub fn describe(record: &Record, after: &Run) -> Option<Description> {
    verdict(&after.state).or_else(|| of_event(&record.event))
}

/// Describes the verdict of a run that has one.
fn verdict(state: &State) -> Option<Description> {
    let (verdict, prefix) = match state {
        State::Finished(end) => (&end.verdict, format!("{}: ", end.verdict.result.as_str())),
        State::Stopping(Stopping {
            phase: Stop::Ending(_),
            why,
            ..
        }) => (why, "Stopping the runners: ".to_owned()),
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_) => return None,
    };
    let Verdict {
        result,
        reason,
        message,
    } = verdict;
    let type_ = if *result == RunResult::Passed {
        EventType::Normal
    } else {
        EventType::Warning
    };
    Some((type_, reason.as_str(), format!("{prefix}{message}")))
}

fn of_event(event: &Event) -> Option<Description> {
    let normal = |reason, note: String| Some((EventType::Normal, reason, note));
    match event {
        Event::Accepted { terms, .. } => Some(accepted(terms)),
        Event::RerunOrdered { attempt, former } => normal(
            "Rerun",
            format!(
                "Run {attempt} of this resource; the one before it ended {}: {}",
                former.result.as_str(),
                former.message
            ),
        ),
        Event::InspectionSkipped { plan } => normal(
            "Created",
            format!(
                "{} runners are created; what the script needs is not known",
                plan.parallelism
            ),
        ),
        Event::RunnersStarted { runners } => normal(
            "Started",
            format!("All {runners} runners run; none waited for the others, as spec.paused is false"),
        ),
        Event::ScriptInspected { plan } => normal("Created", created(plan)),
        Event::StartConfirmed {
            runners,
            spread_micros,
        } => normal(
            "Started",
            format!(
                "All {runners} runners were ready and were released within {}",
                spread(Duration::from_micros(*spread_micros))
            ),
        ),
        Event::RunnerLost { failure } => Some((
            EventType::Warning,
            "RunnerFailed",
            format!("The others go on without {}", failure.clause()),
        )),
        Event::RunnersEnded { tally: _ } => normal(
            "RunnersEnded",
            "All runners have ended; their merged result is collected".to_owned(),
        ),
        Event::RunnersStopped { forced } => normal("RunnersStopped", stopped(*forced)),
        Event::SpecRejected { .. }
        | Event::ScriptRejected { .. }
        | Event::ObjectRefused { .. }
        | Event::StartOrdered { .. }
        | Event::StartFailed { .. }
        | Event::StopOrdered {}
        | Event::AggregatorLost { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. } => None,
    }
}

fn accepted(terms: &Terms) -> Description {
    let parallelism = terms.parallelism;
    let (reason, note) = if terms.suspended {
        let note = "The run is held before its runners are created: set spec.suspend to false to go on";
        ("Suspended", note.to_owned())
    } else if terms.inspect == Inspect::Skip {
        let note = format!("Creating {parallelism} runners without inspecting the script");
        ("Initializing", note)
    } else {
        let note = format!("k6 inspects the script for {parallelism} runners");
        ("Initializing", note)
    };
    (EventType::Normal, reason, note)
}

fn created(plan: &Plan) -> String {
    let apart = plan
        .not_aggregated
        .as_deref()
        .map(|why| format!("the metrics of the runners are not merged: {why}"));
    let more = plan.warning.iter().cloned().chain(apart);
    let warning: String = more.map(|more| format!("; {more}")).collect();
    format!(
        "{} virtual users for at most {} on {} runners{warning}",
        plan.max_vus.unwrap_or_default(),
        plan.total_duration.as_deref().unwrap_or("?"),
        plan.parallelism
    )
}

fn stopped(forced: u32) -> String {
    match forced {
        0 => "All runners have ended; their merged result is collected".to_owned(),
        forced => {
            format!("All runners have ended, {forced} of them were deleted; the merged result is collected")
        }
    }
}

fn spread(time: Duration) -> String {
    if time < Duration::from_millis(1) {
        format!("{} µs", time.as_micros())
    } else {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    }
}
