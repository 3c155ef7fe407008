//! What the aggregator knows and decides while a test runs: who has sent what, how the thresholds stand, and what a
//! runner is told to do. Pure: time is a parameter, in ms of one clock.

use super::sink::{Aggregate, Sink};
use super::store::{ExportError, Sender, Store, View, of};
use super::threshold::{Threshold, Verdict};
use super::timeline::Timeline;
use super::unmeasured::unmeasured;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often the timeline takes a step: in each there is an export of every runner.
const LOOKED_EVERY: u64 = 2_000;
/// How often thresholds are judged, as k6 does.
pub const JUDGED_EVERY: u64 = 2_000;
/// How long after its end a runner may take to bring its last export.
pub const LAST_EXPORT: u64 = 15_000;
/// How long k6 has counted all that it measured at most after its end, in its own metrics: it does each 50 ms.
const SURE: u64 = 1_000;
/// How long a runner may be silent before it counts as lost for what is shown of virtual users.
pub const SILENT: u64 = 10_000;

/// Where a runner's k6 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It waits for its release, or is on its way to.
    Waiting,
    /// It runs its part of the test.
    Running,
    /// Its part has ended, and its process lingers.
    Ended,
    /// Its process has ended.
    Exited,
}

/// What k6's REST API says of its metrics: of each, by name, the numbers that it makes of it.
pub type Own = BTreeMap<String, BTreeMap<String, f64>>;

/// What a runner says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Word {
    /// Where it is.
    pub phase: Phase,
    /// How long ago its part began, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ago: Option<u64>,
    /// How long ago its part ended, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ago: Option<u64>,
    /// What k6 itself has measured, once its part has ended, if it could say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
    /// Whether that is all: k6 was let go after it had counted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_go: bool,
    /// How teardown() ended, once it has run here: what it failed of, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn_down: Option<String>,
    /// The exit code, once its process has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether its part was ended before its time, by the script or through k6's API, and not by an order or a signal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

/// What a runner is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase")]
pub enum Order {
    /// Nothing: go on, or go on waiting.
    GoOn {},
    /// A threshold that aborts was crossed: end the test.
    Stop {
        /// Which.
        why: String,
    },
    /// The test was aborted on another runner: end it here too.
    Abort {
        /// On which.
        runner: u32,
    },
    /// All runners have ended: run the script's teardown().
    TearDown {},
    /// All that it measured is here: end the process.
    End {
        /// The thresholds that were crossed over all runners, told to the last of them whose data came: it exits as
        /// k6 does then, for those who read exit codes. The verdict does not depend on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crossed: Option<String>,
    },
}

/// What is known of a runner beside its metrics.
#[derive(Clone, Debug, Default)]
pub struct Runner {
    /// Its last word.
    pub phase: Option<Phase>,
    /// When it said anything last.
    pub heard: u64,
    /// When it was first heard to run.
    pub started: Option<u64>,
    /// When it was first heard to have ended.
    pub ended: Option<u64>,
    /// What k6 itself has measured, as it said last.
    pub own: Option<Own>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// How teardown() ended, and when.
    pub torn_down: Option<(String, u64)>,
    /// In what its exports differ from what k6 itself has measured, once nothing more is awaited.
    pub lacking: Option<Vec<Lack>>,
    /// Whether its own numbers are all: it was let go, or lingers for longer than it counts.
    pub let_go: bool,
}

/// A number that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lack {
    /// Of what, as in `http_reqs count`.
    pub number: String,
    /// What has come.
    pub came: f64,
    /// What k6 has.
    pub own: f64,
}

/// A threshold, and how it stands.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which.
    pub threshold: Threshold,
    /// How it stands.
    pub verdict: Verdict,
    /// Whether nobody can say how: it would hold, but for what is missing.
    pub unknown: bool,
    /// When it ended the test.
    pub aborted: Option<u64>,
}

impl Judged {
    /// Whether it was crossed: at the end, or earlier so that it ended the test.
    pub fn is_crossed(&self) -> bool {
        self.verdict.passed == Some(false) || self.aborted.is_some()
    }
}

/// A test that goes on.
#[derive(Debug)]
pub struct Live {
    /// How many runners there are to be.
    pub expected: u32,
    /// Whether setup() and teardown() run once for all, on the first runner.
    pub once: bool,
    /// All that was measured.
    pub store: Store,
    /// How it went.
    pub timeline: Timeline,
    /// When this process began: it has heard nothing of what was before.
    pub began: u64,
    runners: BTreeMap<Sender, Runner>,
    judged: Vec<Judged>,
    judged_at: Option<u64>,
    looked_at: Option<u64>,
    /// All runners said that they had ended, and the thresholds were judged on what had come then.
    settled: bool,
    concluded: Option<u64>,
    started: Option<u64>,
    /// The runner on which the test was aborted first.
    aborted: Option<u32>,
    refused: BTreeMap<Sender, ExportError>,
}

impl Live {
    /// Nothing has come yet.
    pub fn new(expected: u32, once: bool, thresholds: Vec<Threshold>) -> Self {
        let open = Verdict {
            passed: None,
            value: None,
            uncertain: false,
            unsupported: false,
        };
        Self {
            expected,
            once,
            store: Store::default(),
            timeline: Timeline::default(),
            began: 0,
            runners: BTreeMap::new(),
            judged: thresholds
                .into_iter()
                .map(|threshold| Judged {
                    threshold,
                    verdict: open,
                    unknown: false,
                    aborted: None,
                })
                .collect(),
            judged_at: None,
            looked_at: None,
            settled: false,
            concluded: None,
            started: None,
            aborted: None,
            refused: BTreeMap::new(),
        }
    }

    /// An export has come. What came of the test has been told once it is concluded: nothing is added then.
    pub fn export(
        &mut self,
        sender: &Sender,
        export: &ExportMetricsServiceRequest,
        now: u64,
    ) -> Result<(), ExportError> {
        if self.concluded.is_some() {
            return Ok(());
        }
        let taken = self.store.take(sender, export, now);
        match &taken {
            // It has all that those before it had.
            Ok(()) => drop(self.refused.remove(sender)),
            Err(error) => drop(self.refused.insert(sender.clone(), error.clone())),
        }
        taken
    }

    /// A runner says where it is, and is told what to do.
    pub fn hear(&mut self, sender: &Sender, word: Word, now: u64) -> Order {
        if self.concluded.is_some() {
            return if word.phase >= Phase::Ended {
                Order::End { crossed: None }
            } else {
                self.go_on()
            };
        }
        let before = |ago: Option<u64>| ago.map(|ago| now.saturating_sub(ago));
        let runner = self.runners.entry(sender.clone()).or_default();
        runner.phase = runner.phase.max(Some(word.phase));
        runner.heard = now;
        runner.exit_code = runner.exit_code.or(word.exit_code);
        // It is still counting as long as two words in a row differ.
        let settled = match (&runner.own, &word.own) {
            (Some(before), Some(own)) => counted(before).eq(counted(own)),
            (None | Some(_), None | Some(_)) => false,
        };
        runner.own = word.own.or_else(|| runner.own.take());
        runner.let_go |= word.let_go;
        if word.aborted {
            self.aborted.get_or_insert(sender.runner);
        }
        if word.phase > Phase::Waiting {
            let started = *runner
                .started
                .get_or_insert(before(word.started_ago).unwrap_or(now));
            self.started = Some(self.started.map_or(started, |first| first.min(started)));
            self.store.part_started(sender, started);
        }
        match word.phase {
            Phase::Waiting => Order::GoOn {},
            Phase::Running => self.go_on(),
            Phase::Ended | Phase::Exited => {
                let mut ended = *runner.ended.get_or_insert(before(word.ended_ago).unwrap_or(now));
                self.store.part_ended(sender, ended);
                if let Some(said) = word.torn_down {
                    ended = runner.torn_down.get_or_insert((said, now)).1;
                } else if self.once && sender.runner == 1 && word.phase == Phase::Ended {
                    return if self.all_ended(now) {
                        Order::TearDown {}
                    } else {
                        Order::GoOn {}
                    };
                }
                self.last_export(sender, ended, settled, word.phase == Phase::Exited, now)
            }
        }
    }

    /// What a runner is told that runs.
    fn go_on(&self) -> Order {
        match self.judged.iter().find(|judged| judged.aborted.is_some()) {
            Some(judged) => Order::Stop {
                why: format!("{}: {}", judged.threshold.name, judged.threshold.source),
            },
            None => match self.aborted {
                Some(runner) => Order::Abort { runner },
                None => Order::GoOn {},
            },
        }
    }

    /// Whether the last export of a runner that has ended is in.
    fn last_export(&mut self, sender: &Sender, ended: u64, settled: bool, exited: bool, now: u64) -> Order {
        let Some(lacking) = self
            .runners
            .get(sender)
            .map(|runner| self.lacking_of(sender.runner, runner))
        else {
            return Order::GoOn {};
        };
        // It can't have brought anything while nobody was here.
        let late = now.saturating_sub(ended.max(self.began)) >= LAST_EXPORT;
        let told = self.has_told(sender);
        // Of what came before it ended only k6's own numbers can say that it is all.
        let since = self
            .store
            .senders()
            .get(sender)
            .is_some_and(|sent| sent.came > ended);
        let Some(runner) = self.runners.get_mut(sender) else {
            return Order::GoOn {};
        };
        let settled = settled && told;
        let sure = told && now.saturating_sub(ended) >= SURE;
        if (lacking.is_empty() && settled && (since || sure)) || late || exited {
            runner.let_go |= sure || settled && !exited;
            runner.lacking = Some(lacking);
            self.store.ended(sender);
            // One that has exited can't be told anything.
            let crossed = (!exited).then(|| self.crossed_by_the_whole(now)).flatten();
            return Order::End { crossed };
        }
        Order::GoOn {}
    }

    /// The thresholds that are crossed, once there is all that will come of every runner.
    fn crossed_by_the_whole(&mut self, now: u64) -> Option<String> {
        let is_in = |number: u32| match self.runner(number) {
            Some(runner) => runner.lacking.is_some() || now.saturating_sub(runner.heard) >= SILENT,
            None => now.saturating_sub(self.began) >= SILENT,
        };
        if !(1..=self.expected).all(is_in) {
            return None;
        }
        let view = self.store.view_at_end();
        self.judge(&view, self.elapsed(now), true);
        let mut crossed = self.judged.iter().filter(|judged| judged.is_crossed());
        let Judged { threshold, .. } = crossed.next()?;
        let first = format!("{} {}", threshold.name, threshold.source);
        Some(match crossed.count() {
            0 => first,
            more => format!("{first}, and {more} more"),
        })
    }

    /// All metrics, as they are now, or as they were at the end of the test.
    pub fn view(&self) -> View {
        if self.concluded.is_some() || self.is_over() {
            self.store.view_at_end()
        } else {
            self.store.view()
        }
    }

    /// Whether a runner has said what k6 itself has measured. One that has sent something has measured something,
    /// unless it was told not to.
    fn has_told(&self, sender: &Sender) -> bool {
        let own = self.runners.get(sender).and_then(|runner| runner.own.as_ref());
        let sent = || {
            self.store
                .senders()
                .get(sender)
                .is_some_and(|sent| !sent.is_empty())
        };
        own.is_some_and(|own| !own.is_empty() || !sent())
    }

    fn lacking_of(&self, number: u32, runner: &Runner) -> Vec<Lack> {
        let own = runner.own.as_ref();
        own.map_or_else(Vec::new, |own| lacking(&self.store.view_of_runner(number), own))
    }

    /// Whether none of the runners goes on, as far as can be heard: one that says nothing for long is no more, be it
    /// that it never did since this began.
    fn all_ended(&self, now: u64) -> bool {
        let over = |number: u32| match self.runner(number) {
            Some(runner) => runner.ended.is_some() || now.saturating_sub(runner.heard) >= SILENT,
            None => now.saturating_sub(self.began) >= SILENT,
        };
        (1..=self.expected).all(over)
    }

    /// Takes the next step of the timeline, and judges the thresholds, when it is time to.
    pub fn tick(&mut self, now: u64) {
        let Some(started) = self.started.filter(|_| self.concluded.is_none()) else {
            return;
        };
        if now.saturating_sub(self.looked_at.unwrap_or(started)) >= LOOKED_EVERY && !self.is_over() {
            self.looked_at = Some(now);
            self.look(now.saturating_sub(started) as f64 / 1e3);
        }
        if self.is_over() {
            if !std::mem::replace(&mut self.settled, true) {
                self.settle(now);
            }
            return;
        }
        let since = now.saturating_sub(self.judged_at.unwrap_or(started));
        // A process that has just begun may not know all of a test that has gone on for long.
        let informed = self.silent() == 0 || now.saturating_sub(self.began) >= SILENT;
        if since < JUDGED_EVERY || !informed {
            return;
        }
        self.judged_at = Some(now);
        let view = self.store.view();
        let elapsed = now.saturating_sub(started);
        self.judge(&view, elapsed as f64 / 1e3, false);
        for judged in &mut self.judged {
            let delay = judged.threshold.delay_abort_eval.as_millis();
            let may = judged.threshold.abort_on_fail && i128::from(elapsed) > delay;
            if may && judged.verdict.passed == Some(false) && judged.aborted.is_none() {
                judged.aborted = Some(now);
            }
        }
    }

    fn look(&mut self, at: f64) {
        self.timeline.look(&self.store, self.expected, at);
    }

    fn judge(&mut self, view: &View, seconds: f64, at_end: bool) {
        let sink = |judged: &Judged| {
            let selector = &judged.threshold.selector;
            let empty = || Some(self.unmeasured(&selector.metric, view).0).filter(Sink::is_empty);
            self.store.select(view, selector).or_else(empty)
        };
        let sinks: Vec<_> = self.judged.iter().map(sink).collect();
        let refused = self.refused.values().any(|error| !error.is_taken());
        for (judged, sink) in self.judged.iter_mut().zip(sinks) {
            let selector = &judged.threshold.selector;
            let unknown = self.store.unknown(selector);
            let by_rate = judged.threshold.expression.aggregate == Aggregate::Rate;
            judged.verdict = match sink {
                Some(Sink::Rate { nonzero, total }) if unknown > 0 && by_rate => {
                    judged.threshold.judge_within(nonzero, total, unknown)
                }
                sink => judged.threshold.judge(sink.as_ref(), seconds, at_end),
            };
            let open = unknown > 0 && judged.verdict.passed.is_none();
            let lacks = refused || self.store.lacks(selector);
            let final_ = judged.verdict.passed == Some(false) && judged.threshold.expression.stays_crossed();
            judged.unknown = open || (lacks && !final_);
            if judged.unknown {
                judged.verdict.passed = None;
            }
        }
    }

    /// What a metric has come to of which there is no sample, and k6's word for what it measures.
    pub fn unmeasured(&self, metric: &str, view: &View) -> (Sink, &'static str) {
        let thresholds = self.judged.iter().map(|judged| &judged.threshold);
        unmeasured(metric, view, thresholds)
    }

    /// Whether all runners that there are to be have ended.
    pub fn is_over(&self) -> bool {
        let ended = self.runners.iter().filter(|(_, runner)| runner.ended.is_some());
        let numbers: std::collections::BTreeSet<_> = ended.map(|(sender, _)| sender.runner).collect();
        numbers.len() >= self.expected as usize
    }

    /// How long the test has taken, in s: until now, or until the last runner ended.
    pub fn elapsed(&self, now: u64) -> f64 {
        let Some(started) = self.started else {
            return 0.0;
        };
        let since = |time: u64| time.saturating_sub(started) as f64 / 1e3;
        if !self.is_over() {
            return since(self.concluded.and_then(|_| self.last_seen()).unwrap_or(now));
        }
        // They are released together, and k6 knows its time better than who looks at it from time to time.
        // But of one that was stopped.
        let aborted = self.judged.iter().any(|judged| judged.aborted.is_some());
        let own = self
            .runners
            .values()
            .filter_map(|runner| duration(runner.own.as_ref()?))
            .filter(|_| !aborted);
        let last = self.runners.values().filter_map(|runner| runner.ended).max();
        own.max_by(f64::total_cmp)
            .unwrap_or_else(|| since(last.unwrap_or(now)))
    }

    /// When the last runner ended, or was last heard of if it never said that it had.
    fn last_seen(&self) -> Option<u64> {
        let ended = |sender: &Sender| self.runners.get(sender).and_then(|runner| runner.ended);
        let sent = self.store.senders().iter();
        let sent = sent.map(|(sender, sent)| ended(sender).unwrap_or(sent.came));
        let began = self.runners.values().filter(|runner| runner.started.is_some());
        let heard = began.map(|runner| runner.ended.unwrap_or(runner.heard));
        sent.chain(heard).max()
    }

    /// Judges the thresholds for the last time, and takes the last step of the timeline. It does so once: what it
    /// comes to stays, whatever comes later.
    pub fn conclude(&mut self, now: u64) {
        if self.concluded.is_none() {
            self.concluded = Some(now);
            self.settle(now);
        }
    }

    fn settle(&mut self, now: u64) {
        let view = self.store.view_at_end();
        let elapsed = self.elapsed(now);
        self.look(elapsed);
        self.judge(&view, elapsed, true);
    }

    /// When the first runner began.
    pub fn started(&self) -> Option<u64> {
        self.started
    }

    /// The thresholds, and how they stand.
    pub fn judged(&self) -> &[Judged] {
        &self.judged
    }

    /// A runner by its number: of its processes, that which was heard last.
    pub fn runner(&self, number: u32) -> Option<&Runner> {
        self.process_of(number).map(|(_, runner)| runner)
    }

    fn process_of(&self, number: u32) -> Option<(&Sender, &Runner)> {
        of(&self.runners, Some(number)).max_by_key(|(_, runner)| runner.heard)
    }

    fn has_sent(&self, number: u32) -> bool {
        of(self.store.senders(), Some(number)).next().is_some()
    }

    /// How many runners have sent nothing.
    pub fn silent(&self) -> u32 {
        let silent = (1..=self.expected).filter(|number| !self.has_sent(*number));
        u32::try_from(silent.count()).unwrap_or(u32::MAX)
    }

    /// What of the test is not in the result, in words.
    pub fn incomplete(&self) -> Vec<String> {
        let mut why = Vec::new();
        for number in 1..=self.expected {
            match self.process_of(number) {
                None if !self.has_sent(number) => why.push(format!("runner {number} sent nothing")),
                None => why.push(format!("runner {number} never said that it had ended")),
                Some((_, runner)) if runner.ended.is_none() => {
                    why.push(format!("runner {number} never said that it had ended"));
                }
                Some((sender, runner)) => {
                    let now = || self.lacking_of(number, runner);
                    let lacking = runner.lacking.clone().unwrap_or_else(now);
                    for lack in &lacking {
                        why.push(format!(
                            "the {} of runner {number} has come to {}, and k6 has {}",
                            lack.number, lack.came, lack.own
                        ));
                    }
                    if lacking.is_empty() && !(self.has_told(sender) && runner.let_go) {
                        why.push(format!(
                            "runner {number} ended before it had told what it measured: its last export may be missing"
                        ));
                    }
                }
            }
        }
        let torn_down = self.runners.values().find_map(|runner| runner.torn_down.as_ref());
        match torn_down {
            Some((error, _)) if !error.is_empty() => why.push(format!("teardown() failed: {error}")),
            None if self.once => why.push("teardown() did not run".to_owned()),
            Some(_) | None => {}
        }
        for (sender, error) in &self.refused {
            let runner = sender.runner;
            why.push(if error.is_taken() {
                format!("submetrics, checks and requests lack samples of runner {runner}: {error}")
            } else {
                format!("an export of runner {runner} was refused: {error}")
            });
        }
        for (sender, sent) in self.store.senders() {
            for (metric, count) in sent.unknown() {
                why.push(format!(
                    "runner {} had more series of {metric} than it keeps apart: of {count} values nobody knows \
                     whether they were zero, and they are not counted",
                    sender.runner
                ));
            }
        }
        if self.store.is_overflown() {
            why.push("a runner had more series than it keeps apart: submetrics lack samples".to_owned());
        }
        why
    }
}

/// What stands still when all is counted: the time goes on for a k6 that was stopped.
fn counted(own: &Own) -> impl Iterator<Item = (&String, &String, &f64)> {
    let numbers = own
        .iter()
        .flat_map(|(name, numbers)| numbers.iter().map(move |(label, number)| (name, label, number)));
    numbers.filter(|(name, label, _)| {
        *label != "rate" || !own.get(*name).is_some_and(|n| n.contains_key("count"))
    })
}

/// How long k6's part of the test was, in s: it gives counters by second of it.
fn duration(own: &Own) -> Option<f64> {
    let counter = |numbers: &BTreeMap<String, f64>| {
        let (count, rate) = (numbers.get("count")?, numbers.get("rate")?);
        (*rate > 0.0).then(|| count / rate)
    };
    own.values().find_map(counter)
}

/// In what the exports of a runner differ from what k6 itself has measured.
fn lacking(view: &View, own: &Own) -> Vec<Lack> {
    let asked = [
        ("count", Aggregate::Count),
        ("rate", Aggregate::Rate),
        ("avg", Aggregate::Avg),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
    ];
    let mut differing = Vec::new();
    for (name, numbers) in own {
        let sink = view.metrics.get(name).map(|metric| &metric.sink);
        // The rate of a counter is of k6's own time; a gauge has no history in an export.
        let comparable = |aggregate: Aggregate| match sink {
            Some(Sink::Counter(_)) => aggregate == Aggregate::Count,
            Some(Sink::Gauge { .. }) => false,
            Some(Sink::Rate { .. } | Sink::Trend(_)) => true,
            None => aggregate == Aggregate::Count,
        };
        for (label, aggregate) in asked.into_iter().filter(|(_, aggregate)| comparable(*aggregate)) {
            let Some(own) = numbers.get(label).copied() else {
                continue;
            };
            let came = sink
                .and_then(|sink| sink.ask(aggregate, 0.0))
                .map_or(0.0, |found| found.value);
            // A mean near zero is the sum of what is far from it, and so is its error.
            let terms = [numbers.get("min"), numbers.get("max")].into_iter().flatten();
            let terms = terms.filter(|_| aggregate == Aggregate::Avg);
            let largest = terms.fold(own.abs(), |largest, term| largest.max(term.abs()));
            if (came - own).abs() > largest * 1e-9 {
                differing.push(Lack {
                    number: format!("{name} {label}"),
                    came,
                    own,
                });
            }
        }
    }
    differing
}
