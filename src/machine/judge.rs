//! The verdict on a run whose runners have ended, from how they ended and from their merged result.

use super::event::{NAMED_AT_MOST, RunnerFailure, Tally, sentence};
use super::state::{Plan, Reason, RunResult, Verdict};
use super::verdict::{unjudged, unmerged, without_result};
use crate::k6::exit_code;
use crate::protocol::outcome;

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
        failures: _,
    } = tally;
    // A history can be edited by hand: no sum may overflow.
    let bad = [crossed, aborted, marked, failed];
    let total = bad
        .into_iter()
        .fold(*passed, |sum, count| sum.saturating_add(*count));
    let named = named(tally);
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

/// The failures that are named, and how many are not.
fn named(tally: &Tally) -> String {
    let named: Vec<String> = tally.failures.iter().map(RunnerFailure::clause).collect();
    let named = named.join("; ");
    match tally.unnamed() {
        0 => named,
        unnamed => format!("{named}; and {unnamed} more (at most {NAMED_AT_MOST} are named)"),
    }
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

/// The verdict on a run of which the thresholds were judged over all runners, which themselves judged none. A runner
/// that exits as if it had crossed one itself was told so by the aggregator: the collected outcome says which. Should it
/// say none, the exit code counts, which is what tools read.
pub(super) fn judge_whole(tally: &Tally, outcome: &outcome::Outcome) -> Verdict {
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

/// The verdict on a run whose merged result can't be had: without it, nobody knows of the thresholds, unless a runner
/// was told what they came to.
pub(super) fn judge_unmerged(plan: &Plan, tally: &Tally, why: &str) -> Verdict {
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

/// The verdict on a run that was stopped, with what was measured until then. Its thresholds decide nothing: the
/// test was not whole.
pub(super) fn with_result(why: &Verdict, runners: u32, outcome: &outcome::Outcome) -> Verdict {
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
