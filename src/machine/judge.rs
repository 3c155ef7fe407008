//! The verdict on a run whose runners have all ended. It follows from their exit codes and from their merged result.

use super::event::{NAMED_AT_MOST, RunnerFailure, Tally, sentence};
use super::state::{Plan, Reason, RunResult, Verdict};
use super::verdict::{not_merged, thresholds_unknown, without_result};
use crate::k6::exit_code;
use crate::protocol::outcome;

/// The verdict on a run whose runners have all ended.
///
/// The first of these that is true of a runner decides, as in k6: the script ended the test itself, by an exception
/// (Error) or an abort (Aborted); it marked the test as failed (Failed); a threshold was crossed (Failed); a runner
/// failed (Error); a runner was aborted (Aborted). Exit codes:
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
    // Saturating: a history can be edited by hand, and no sum may overflow.
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

/// The named failures as one text, with the number of those that are not named.
fn named(tally: &Tally) -> String {
    let named: Vec<String> = tally.failures.iter().map(RunnerFailure::clause).collect();
    let named = named.join("; ");
    match tally.unnamed() {
        0 => named,
        unnamed => format!("{named}; and {unnamed} more (at most {NAMED_AT_MOST} are named)"),
    }
}

/// The way in which a script ended its test.
#[derive(Clone, Copy)]
enum EndByScript {
    /// It threw in setup() or teardown(), or these took too long.
    Exception,
    /// It aborted the test with `exec.test.abort()`.
    Abort,
}

/// How the script ended the test, if that decides the verdict: its runner is the first that is named then.
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

/// The verdict on a run whose thresholds were judged over all runners.
///
/// The runners themselves judge no threshold: the aggregator tells them to exit with k6's code for crossed thresholds,
/// and the outcome has their names. If the outcome has none, the exit code counts, since other tools read it too.
pub(super) fn judge_whole(tally: &Tally, outcome: &outcome::Outcome) -> Verdict {
    let of_runners = judge(&without_thresholds(tally, outcome.thresholds > 0));
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
        thresholds_unknown(&of_runners.message, " over all of them")
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

/// The verdict Failed, if a runner has k6's exit code for crossed thresholds.
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

/// The tally with runners that exited for crossed thresholds counted as passed: the aggregator told them to. Without
/// thresholds the aggregator tells nobody, and the tally stays as it is.
fn without_thresholds(tally: &Tally, thresholds: bool) -> Tally {
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

/// The verdict on a run whose merged result can't be collected. Its thresholds are unknown, unless a runner's exit code
/// tells that one was crossed.
pub(super) fn judge_without_result(plan: &Plan, tally: &Tally, why: &str) -> Verdict {
    let thresholds = plan.thresholds.unwrap_or_default() > 0;
    let of_runners = judge(&without_thresholds(tally, thresholds));
    let is_open = thresholds && of_runners.result == RunResult::Passed;
    if let Some(crossed) = crossed_by_exit_code(tally).filter(|_| is_open) {
        return without_result(&crossed, why);
    }
    if is_open {
        return thresholds_unknown(&of_runners.message, &format!(", as {}", not_merged(why)));
    }
    without_result(&of_runners, why)
}

/// The verdict on a run that was stopped, with its thresholds as they were then. They decide nothing, since the test did
/// not run to its end.
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

/// Names what the merged numbers lack, as the end of a sentence.
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
