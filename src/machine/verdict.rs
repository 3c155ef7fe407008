//! Verdicts that follow from one event, and sentences that several verdicts have in common.

use super::event::sentence;
use super::state::{Reason, RunResult, StateName, Verdict};

pub(super) fn error(reason: Reason, message: String) -> Verdict {
    Verdict {
        result: RunResult::Error,
        reason,
        message,
    }
}

/// The verdict on a test that the script itself aborted before the start.
pub(super) fn aborted(message: String) -> Verdict {
    Verdict {
        result: RunResult::Aborted,
        reason: Reason::TestAborted,
        message: sentence(&message),
    }
}

pub(super) fn deadline(state: StateName, waiting_for: &str) -> Verdict {
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

pub(super) fn without_result(why: &Verdict, message: &str) -> Verdict {
    Verdict {
        message: format!("{}; {}", why.message, not_merged(message)),
        ..why.clone()
    }
}

/// Adds to a verdict why the documents of the run are not kept. The result stays the same.
pub(super) fn without_summary(verdict: Verdict, why: Option<&str>) -> Verdict {
    match why {
        Some(why) => Verdict {
            message: format!("{}; its summary is not kept: {why}", verdict.message),
            ..verdict
        },
        None => verdict,
    }
}

/// The verdict on a run whose thresholds could not be judged: it has not passed.
pub(super) fn thresholds_unknown(of_runners: &str, why: &str) -> Verdict {
    error(
        Reason::AggregationFailed,
        format!("{of_runners}, but the script's thresholds could not be judged{why}"),
    )
}

pub(super) fn not_merged(why: &str) -> String {
    format!("the metrics of the runners could not be merged: {why}")
}

pub(super) fn too_long(waiting_for: &str) -> String {
    format!("it took too long; waited for {waiting_for}")
}
