//! Events between the order to start and its confirmation: the starter's report, or why there will be none.

use super::ends::failure;
use crate::machine::event::Event;
use crate::machine::observed::{Fact, Observed, Program};
use crate::machine::pods_digest::pods_digest;
use crate::machine::state::Starting;
use crate::protocol::report::Report;

pub(super) fn starting(state: &Starting, seen: &Observed) -> Option<Event> {
    match &seen.starter {
        Fact::Known(Program::Reported(report))
            if report.confirmed == report.total && report.total == state.plan.parallelism =>
        {
            Some(Event::StartConfirmed {
                runners: report.total,
                spread_micros: report.spread_micros,
            })
        }
        Fact::Known(Program::Reported(report)) => Some(Event::StartFailed {
            released: (report.ordered == 0 || report.confirmed > 0).then_some(report.confirmed),
            aborted: report.aborted,
            message: not_released(report, state.plan.parallelism),
        }),
        Fact::Known(Program::Failed(message)) => Some(Event::StartFailed {
            released: None,
            aborted: false,
            message: format!("The starter ended without a report: {message}"),
        }),
        Fact::Absent => {
            let Fact::Known(runners) = &seen.runners else {
                return None;
            };
            // A paused runner does not end by itself: it failed, and would be missing from the test.
            let ended = runners
                .iter()
                .find_map(|(i, runner)| Some((*i, runner.end.as_ref()?)));
            if let Some((runner, end)) = ended {
                return Some(Event::StartFailed {
                    released: None,
                    aborted: false,
                    message: format!("Before it was released, {}", failure(runner, end).clause()),
                });
            }
            let changed = pods_digest(runners).as_ref() != Some(&state.pods);
            changed.then(|| Event::StartFailed {
                released: None,
                aborted: false,
                message: "The runner pods are not those that the order to start names: at least one was \
                          deleted or replaced"
                    .to_owned(),
            })
        }
        Fact::Known(Program::Running(_)) | Fact::Unknown => None,
    }
}

fn not_released(report: &Report, runners: u32) -> String {
    let Report {
        total: _,
        ordered,
        confirmed,
        spread_micros: _,
        failures,
        aborted,
    } = report;
    // The script aborted the test in setup(), which runs once for all runners.
    if let (true, [failure]) = (aborted, failures.as_slice()) {
        return failure.message.clone();
    }
    let named: Vec<String> = failures
        .iter()
        .map(|f| format!("runner {}: {}", f.runner, f.message))
        .collect();
    let counted = if *ordered > 0 {
        format!("{confirmed} of {runners} runners confirmed their release")
    } else {
        format!("{confirmed} of {runners} runners were released")
    };
    if named.is_empty() {
        counted
    } else {
        format!("{counted}: {}", named.join("; "))
    }
}
