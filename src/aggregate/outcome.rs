//! The outcome of a test, computed from what was measured. Pure.

use super::moment::Moment;
use super::report::{RunInfo, finite, totals};
use super::session::{Judged, Session};
use crate::protocol::outcome::{Crossed, LONGEST, MOST, Outcome, short};
use crate::protocol::verdict::{Reason, RunResult};

impl Outcome {
    /// The outcome so far.
    pub fn of(session: &Session, now: Moment) -> Self {
        let seconds = session.elapsed(now);
        let crossed = |judged: &&Judged| judged.is_crossed();
        let failed = session.judged().iter().filter(crossed);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            thresholds: count(session.judged().len()),
            crossed: count(failed.clone().count()),
            failed: failed.take(MOST).map(Crossed::of).collect(),
            unknown: count(session.judged().iter().filter(|judged| judged.unknown).count()),
            silent: session.silent(),
            totals: totals(&session.view(), seconds),
            duration_ms: seconds * 1e3,
            incomplete: session
                .incomplete_now(now)
                .iter()
                .take(MOST)
                .map(|why| short(why, LONGEST))
                .collect(),
        }
    }

    /// Completes what is known about the end of a run by the verdict of its thresholds.
    pub fn judging(&self, about: RunInfo) -> RunInfo {
        let passed = about.result.as_deref() == Some(RunResult::Passed.as_str());
        let told = |result: RunResult, reason: Reason, message: String, about: RunInfo| RunInfo {
            result: Some(result.as_str().to_owned()),
            reason: Some(reason.as_str().to_owned()),
            message: Some(message),
            ..about
        };
        if about.stopped {
            about
        } else if !self.passed() {
            // Crossed thresholds count more than thresholds that could not be judged.
            told(RunResult::Failed, Reason::ThresholdsCrossed, self.told(), about)
        } else if passed && !self.is_judged() {
            let message = "The thresholds could not be judged over all runners".to_owned();
            told(RunResult::Error, Reason::AggregationFailed, message, about)
        } else {
            about
        }
    }
}

impl Crossed {
    fn of(judged: &Judged) -> Self {
        Self {
            metric: short(&judged.threshold.name, LONGEST),
            threshold: short(&judged.threshold.source, LONGEST),
            value: judged.verdict.value.map_or(0.0, |value| finite(value.value)),
            uncertain: judged.verdict.uncertain,
            aborted: judged.aborted.is_some(),
        }
    }
}
