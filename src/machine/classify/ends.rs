//! Counts how the runners ended, and sorts them in the order in which they decide the verdict.

use crate::k6::exit_code;
use crate::machine::event::{LAST_WORDS_LIMIT, NAMED_AT_MOST, REASON_LIMIT, RunnerFailure, Tally, clipped};
use crate::machine::observed::End;

/// The ways in which a runner ends, in the order in which they decide the verdict and in which runners are named. The
/// order is that of k6, where an exception or an abort of the script counts before `exec.test.fail()` and thresholds.
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/cmd/run.go>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Threw,
    AbortedItself,
    Marked,
    Crossed,
    Failed,
    Aborted,
    Passed,
}

pub(super) fn kind(code: Option<i32>) -> Kind {
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(0) => Kind::Passed,
        Some(exit_code::THRESHOLDS_CROSSED) => Kind::Crossed,
        Some(exit_code::MARKED_AS_FAILED) => Kind::Marked,
        Some(exit_code::SCRIPT_ABORTED) => Kind::AbortedItself,
        Some(exit_code::STOPPED | exit_code::SIGNALLED) => Kind::Aborted,
        Some(exit_code::SETUP_TIMEOUT | exit_code::TEARDOWN_TIMEOUT | exit_code::SCRIPT_EXCEPTION) => {
            Kind::Threw
        }
        Some(_) | None => Kind::Failed,
    }
}

pub(super) fn tally<'a>(ends: impl Iterator<Item = (u32, &'a End)>) -> Tally {
    let mut tally = Tally::default();
    let mut failures: Vec<(Kind, RunnerFailure)> = Vec::new();
    for (runner, end) in ends {
        let kind = kind(end.code);
        let count = match kind {
            Kind::Passed => &mut tally.passed,
            Kind::Crossed => &mut tally.crossed,
            Kind::Marked => &mut tally.marked,
            Kind::AbortedItself | Kind::Aborted => &mut tally.aborted,
            Kind::Threw | Kind::Failed => &mut tally.failed,
        };
        *count += 1;
        if kind != Kind::Passed {
            failures.push((kind, failure(runner, end)));
        }
    }
    // A lost runner is named before a script that aborted.
    let rank = |kind: Kind| {
        if kind == Kind::AbortedItself && tally.failed > 0 {
            Kind::Aborted
        } else {
            kind
        }
    };
    failures.sort_by_key(|(kind, failure)| (rank(*kind), failure.runner));
    tally.failures = failures
        .into_iter()
        .map(|(_, failure)| failure)
        .take(NAMED_AT_MOST)
        .collect();
    tally
}

pub(super) fn failure(runner: u32, end: &End) -> RunnerFailure {
    let End {
        code,
        reason,
        message,
    } = end;
    RunnerFailure {
        runner,
        exit_code: *code,
        reason: reason.as_ref().map(|reason| clipped(reason, REASON_LIMIT)),
        message: clipped(message, LAST_WORDS_LIMIT),
    }
}
