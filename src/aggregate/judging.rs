//! The state of the thresholds while a test runs, and at its end. Pure.
//!
//! Merging many series takes long, so it is done on a snapshot while runners are answered.

use super::judge::{Gap, Missing, Standing, standing};
use super::k6_metrics::complete;
use super::moment::{Moment, seconds};
use super::session::{Judged, Session};
use super::sink::{Aggregate, Sink};
use super::store::{View, of};
use super::timeline::Timeline;
use super::verdict::Verdict;
use crate::k6::threshold::Threshold;
use crate::protocol::heartbeat::K6Metrics;
use jiff::SignedDuration;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often the timeline takes a step. Each step has an export of every runner.
const LOOKED_EVERY: Duration = Duration::from_secs(2);
/// How often thresholds are judged. k6 does it as often.
pub const JUDGED_EVERY: Duration = Duration::from_secs(2);

/// The result of judging a snapshot.
#[derive(Debug)]
pub struct Looked {
    timeline: Option<Arc<Timeline>>,
    /// Whether all runners had ended.
    over: bool,
    judged: Option<Vec<Stands>>,
}

/// The state of a threshold.
#[derive(Clone, Copy, Debug)]
struct Stands {
    verdict: Verdict,
    unknown: bool,
}

impl Stands {
    fn of(judged: &Judged) -> Self {
        Self {
            verdict: judged.verdict,
            unknown: judged.unknown,
        }
    }
}

impl Session {
    /// Takes the next step of the timeline and judges the thresholds, if they are due.
    pub fn tick(&mut self, now: Moment) {
        if self.is_due(now) {
            let looked = self.snapshot().look(now);
            self.take_in(looked, now);
        }
    }

    /// Whether a step of the timeline or a judgement is due.
    pub fn is_due(&self, now: Moment) -> bool {
        self.started
            .filter(|_| self.concluded.is_none())
            .is_some_and(|started| self.is_step_due(started, now) || self.is_judging_due(started, now))
    }

    fn is_step_due(&self, started: Moment, now: Moment) -> bool {
        let since = now.since(self.looked_at.unwrap_or(started));
        !self.settled && (self.is_over() || since >= LOOKED_EVERY)
    }

    fn is_judging_due(&self, started: Moment, now: Moment) -> bool {
        now.since(self.judged_at.unwrap_or(started)) >= JUDGED_EVERY
    }

    /// Does what is due. It takes long if there are many series, so call it on a snapshot.
    pub fn look(mut self, now: Moment) -> Looked {
        let over = self.is_over();
        let started = self.started.unwrap_or(now);
        let timeline = self.is_step_due(started, now).then(|| {
            let at = if over {
                self.elapsed(now)
            } else {
                seconds(now.since(started))
            };
            self.step(at);
            Arc::clone(&self.timeline)
        });
        let judged = self.is_judging_due(started, now).then(|| {
            self.judge(now, over);
            self.judged.iter().map(Stands::of).collect()
        });
        Looked {
            timeline,
            over,
            judged,
        }
    }

    /// Takes over the result of judging an earlier snapshot.
    pub fn take_in(&mut self, looked: Looked, now: Moment) {
        let Looked {
            timeline,
            over,
            judged,
        } = looked;
        // A concluded verdict does not change any more.
        if self.concluded.is_some() {
            return;
        }
        if let Some(timeline) = timeline {
            self.timeline = timeline;
            self.looked_at = Some(now);
            self.settled |= over;
        }
        let Some(all) = judged else {
            return;
        };
        self.judged_at = Some(now);
        let elapsed = now.since(self.started.unwrap_or(now));
        for (judged, stands) in self.judged.iter_mut().zip(all) {
            let Stands { verdict, unknown } = stands;
            (judged.verdict, judged.unknown) = (verdict, unknown);
            let delay = judged.threshold.delay_abort_eval;
            let is_past = SignedDuration::try_from(elapsed).is_ok_and(|elapsed| elapsed > delay);
            let may = judged.threshold.abort_on_fail && is_past && !over;
            if may && verdict.passed == Some(false) && judged.aborted.is_none() {
                judged.aborted = Some(now);
            }
        }
    }

    pub(super) fn step(&mut self, at: f64) {
        Arc::make_mut(&mut self.timeline).look(&self.store, self.expected, at);
    }

    pub(super) fn judge(&mut self, now: Moment, at_end: bool) {
        let elapsed = if at_end {
            self.elapsed(now)
        } else {
            seconds(now.since(self.started.unwrap_or(now)))
        };
        let metrics: BTreeSet<_> = self
            .judged
            .iter()
            .map(|judged| judged.threshold.selector.metric.as_str())
            .collect();
        let view = self.store.view_of_some(&metrics, at_end);
        let gaps = self.gaps(now);
        let all = self.judged.iter();
        let all: Vec<_> = all
            .map(|judged| self.stands(&judged.threshold, &view, &gaps, elapsed, at_end))
            .collect();
        for (judged, Stands { verdict, unknown }) in self.judged.iter_mut().zip(all) {
            (judged.verdict, judged.unknown) = (verdict, unknown);
        }
    }

    /// Judges a threshold by what has arrived, unless missing data could change the verdict.
    fn stands(
        &self,
        threshold: &Threshold,
        view: &View,
        gaps: &[(u32, Gap)],
        seconds: f64,
        at_end: bool,
    ) -> Stands {
        let (selector, aggregate) = (&threshold.selector, threshold.expression.aggregate);
        let mut sink = self.store.select(view, selector);
        let missing = self.missing(threshold, gaps, &mut sink);
        let mut is_known = true;
        let sink = sink.or_else(|| {
            let unmeasured = self.unmeasured(&selector.metric, view);
            is_known = unmeasured.is_known;
            Some(unmeasured.sink).filter(Sink::is_empty)
        });
        let zero_or_not = self.store.unknown(selector);
        let mut verdict = match sink {
            Some(Sink::Rate { nonzero, total }) if zero_or_not > 0 && aggregate == Aggregate::Rate => {
                threshold.judge_within(nonzero, total, zero_or_not)
            }
            ref sink => threshold.judge(sink.as_ref(), seconds, at_end),
        };
        // An empty rate passes, and an empty counter is 0.
        let guessed = at_end && !is_known && !threshold.expression.holds(0.0);
        if guessed {
            verdict.passed = None;
        }
        let open = guessed || zero_or_not > 0 && verdict.passed.is_none();
        if missing == Missing::Nothing {
            return Stands {
                verdict,
                unknown: open,
            };
        }
        let told = match (&sink, verdict.value) {
            (Some(sink), Some(value)) if verdict.passed.is_some() => {
                let of = (selector.metric.as_str(), sink);
                standing(&threshold.expression, of, value.value, missing)
            }
            (Some(_) | None, Some(_) | None) => Standing::Unknown,
        };
        verdict.passed = match told {
            Standing::Holds => Some(true),
            Standing::Crossed => Some(false),
            Standing::Unknown => None,
        };
        Stands {
            verdict,
            unknown: verdict.passed.is_none(),
        }
    }

    /// What is missing of the samples that a threshold asks for. Numbers that k6 itself reported at its end are added
    /// to `sink`.
    fn missing(&self, threshold: &Threshold, gaps: &[(u32, Gap)], sink: &mut Option<Sink>) -> Missing {
        let (selector, aggregate) = (&threshold.selector, threshold.expression.aggregate);
        let by_tags = selector.is_by_tags();
        let of_runner = |runner: u32| selector.runner().is_none_or(|only| only == runner);
        let taking = gaps.iter().map(|(runner, gap)| (*runner, gap.takes(by_tags)));
        let taking: Vec<_> = taking
            .filter(|(_, missing)| *missing > Missing::Nothing)
            .collect();
        let of_it = || taking.iter().filter(|(runner, _)| of_runner(*runner));
        let mut missing = of_it().map(|(_, missing)| *missing).max();
        if !by_tags && missing.is_some() {
            let runners: BTreeSet<u32> = of_it().map(|(runner, _)| *runner).collect();
            let mut completed = sink.clone();
            let all = runners.into_iter().all(|runner| {
                self.told_all(runner).is_some_and(|own| {
                    let came = self.store.total(&selector.metric, Some(runner));
                    complete(
                        &mut completed,
                        came.as_ref(),
                        own.get(&selector.metric),
                        aggregate,
                    )
                })
            });
            if all {
                missing = None;
                *sink = completed;
            }
        }
        let lacks = self.store.lacks(selector).then_some(Missing::Samples);
        // The rate of a counter is divided by the time of the whole test, whichever runner it is of.
        let by_time = aggregate == Aggregate::Rate && !matches!(sink, Some(Sink::Rate { .. }));
        let time = taking
            .iter()
            .map(|(_, missing)| *missing)
            .max()
            .filter(|_| by_time);
        let time = time.filter(|missing| *missing == Missing::SamplesAndTime);
        missing.max(lacks).max(time).unwrap_or(Missing::Nothing)
    }

    /// The final numbers of a runner's own k6, if it has reported them.
    fn told_all(&self, number: u32) -> Option<&K6Metrics> {
        let mut processes = of(&self.runners, Some(number));
        let (sender, runner) = processes.next().filter(|_| processes.next().is_none())?;
        let all = runner.ended.is_some() && runner.let_go && self.has_told(sender);
        runner.own.as_deref().filter(|_| all)
    }
}
