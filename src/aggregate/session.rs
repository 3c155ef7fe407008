//! The aggregator's state while a test runs: what each runner has sent, how the thresholds stand, and what a runner
//! does next. Pure: time is a parameter, and all times are of one clock.

use super::empty_metrics::{Unmeasured, unmeasured};
use super::judge::Discrepancy;
use super::k6_metrics::{counted, discrepancies, duration, rates};
use super::moment::{Moment, seconds};
use super::store::{Export, ExportError, Sender, Store, View, of};
use super::timeline::Timeline;
use super::verdict::Verdict;
use crate::k6::metrics::MetricKind;
use crate::k6::threshold::{Submetric, Threshold};
use crate::protocol::heartbeat::{Directive, Heartbeat, K6Metrics, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use super::judging::JUDGED_EVERY;

/// How long after its end a runner may take to send its last export.
pub const LAST_EXPORT: Duration = Duration::from_secs(15);
/// How long after its end k6 counts at most. It does so every 50 ms.
const SURE: Duration = Duration::from_secs(1);
/// How late the begin of a part is noticed at most. `linger` looks every 250 ms.
const SEEN_LATE: Duration = Duration::from_millis(500);
/// How long a runner may send nothing before it counts as lost.
pub const SILENT: Duration = Duration::from_secs(10);

/// What is known about a runner beside its metrics.
#[derive(Clone, Debug, Default)]
pub struct Runner {
    /// The phase in its last heartbeat.
    pub phase: Option<Phase>,
    /// When the last heartbeat arrived.
    pub heard: Moment,
    /// When the last heartbeat after the conclusion arrived. No number depends on it.
    pub heard_since: Moment,
    /// When it was first known to run.
    pub started: Option<Moment>,
    /// When it was first known to have ended.
    pub ended: Option<Moment>,
    /// The last numbers of its own k6.
    pub own: Option<Arc<K6Metrics>>,
    /// k6's shares of its rates in the last heartbeat while its part ran.
    pub rates: BTreeMap<String, f64>,
    /// The duration of its part, in s, as k6 said when it had ended. k6 says more later if the test was stopped.
    pub took: Option<f64>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// How teardown() ended, and when that was reported.
    pub torn_down: Option<(String, Moment)>,
    /// The differences between its exports and k6's own numbers, once nothing more is awaited.
    pub discrepancies: Option<Vec<Discrepancy>>,
    /// Whether its own numbers are final: k6 was let go, or lingers for longer than it counts.
    pub let_go: bool,
    /// Whether its script may have a handleSummary().
    pub handles: bool,
}

/// A threshold and its state.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The threshold, as the script writes it.
    pub threshold: Threshold,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the verdict is unknown: the threshold would hold, but missing data could change that.
    pub unknown: bool,
    /// When it ended the test.
    pub aborted: Option<Moment>,
}

impl Judged {
    /// Whether the threshold was crossed, at the end or earlier, when it ended the test.
    pub fn is_crossed(&self) -> bool {
        self.verdict.passed == Some(false) || self.aborted.is_some()
    }
}

/// The state of a test.
#[derive(Debug)]
pub struct Session {
    /// The number of runners.
    pub expected: u32,
    /// Whether setup() and teardown() run once for all runners, on the first.
    pub once: bool,
    /// Everything that was measured.
    pub store: Store,
    /// The course of the test.
    pub timeline: Arc<Timeline>,
    /// When this process began. It knows nothing about the time before.
    pub began: Moment,
    /// Submetrics without a threshold that the summary has.
    pub submetrics: Arc<Vec<Submetric>>,
    pub(super) runners: BTreeMap<Sender, Runner>,
    /// The types of metrics that have thresholds, as k6 reports them, by name.
    kinds: BTreeMap<String, MetricKind>,
    pub(super) judged: Vec<Judged>,
    pub(super) judged_at: Option<Moment>,
    pub(super) looked_at: Option<Moment>,
    /// Whether all runners have reported their end and the timeline has its last step.
    pub(super) settled: bool,
    pub(super) concluded: Option<Moment>,
    pub(super) started: Option<Moment>,
    /// The first runner on which the test was aborted.
    aborted: Option<u32>,
    pub(super) refused: BTreeMap<Sender, ExportError>,
}

impl Session {
    /// A test of which nothing has arrived.
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
            timeline: Arc::default(),
            began: Moment::default(),
            submetrics: Arc::default(),
            runners: BTreeMap::new(),
            kinds: BTreeMap::new(),
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

    /// Takes an export. After the conclusion nothing is added, since the outcome has been published.
    pub fn export(&mut self, sender: &Sender, export: &Export<'_>, now: Moment) -> Result<(), ExportError> {
        if self.concluded.is_some() {
            return Ok(());
        }
        let exports = |store: &Store| store.senders().get(sender).map(|sent| sent.exports);
        let before = exports(&self.store);
        let taken = self.store.take(sender, export, now);
        match &taken {
            Ok(()) if exports(&self.store) == before => {}
            // The export has everything that earlier ones had.
            Ok(()) => drop(self.refused.remove(sender)),
            Err(error) => self.refuse(sender, error.clone()),
        }
        self.divide(sender);
        taken
    }

    /// Tells zeros from other values by k6's own shares, where exports do not.
    fn divide(&mut self, sender: &Sender) {
        let Some(runner) = self.runners.get(sender) else {
            return;
        };
        match &runner.own {
            Some(own) if runner.ended.is_some() => self.store.divide(sender, &rates(own), true),
            Some(_) | None => self.store.divide(sender, &runner.rates, false),
        }
    }

    /// Whether k6's own rates are needed from a process.
    pub fn wants_rates(&self, sender: &Sender) -> bool {
        let sent = self.store.senders().get(sender);
        sent.is_some_and(|sent| sent.has_undivided())
    }

    /// Records a refused export. Until another is taken, the numbers of its sender are incomplete.
    pub fn refuse(&mut self, sender: &Sender, error: ExportError) {
        if self.concluded.is_none() {
            self.refused.insert(sender.clone(), error);
        }
    }

    /// A copy to be read while this session goes on. It costs little and takes no exports.
    pub fn snapshot(&self) -> Self {
        let Self {
            expected,
            once,
            store,
            timeline,
            began,
            submetrics,
            runners,
            kinds,
            judged,
            judged_at,
            looked_at,
            settled,
            concluded,
            started,
            aborted,
            refused,
        } = self;
        Self {
            expected: *expected,
            once: *once,
            store: store.snapshot(),
            timeline: Arc::clone(timeline),
            began: *began,
            submetrics: Arc::clone(submetrics),
            runners: runners.clone(),
            kinds: kinds.clone(),
            judged: judged.clone(),
            judged_at: *judged_at,
            looked_at: *looked_at,
            settled: *settled,
            concluded: *concluded,
            started: *started,
            aborted: *aborted,
            refused: refused.clone(),
        }
    }

    /// Takes a heartbeat and returns what the runner does next.
    pub fn hear(&mut self, sender: &Sender, word: Heartbeat, now: Moment) -> Directive {
        if self.concluded.is_some() {
            if let Some(runner) = self.runners.get_mut(sender) {
                runner.phase = runner.phase.max(Some(word.phase));
                runner.heard_since = now;
                runner.exit_code = runner.exit_code.or(word.exit_code);
            }
            return if word.phase >= Phase::Ended {
                Directive::End { crossed: None }
            } else {
                self.go_on()
            };
        }
        let before = |ago: Option<Duration>| ago.map(|ago| now.saturating_sub(ago));
        for (metric, kind) in word.kinds {
            if self.asks_for(&metric) {
                self.kinds.entry(metric).or_insert(kind);
            }
        }
        let runner = self.runners.entry(sender.clone()).or_default();
        runner.phase = runner.phase.max(Some(word.phase));
        runner.heard = now;
        runner.exit_code = runner.exit_code.or(word.exit_code);
        // k6 still counts as long as the numbers of two heartbeats differ.
        let settled = match (&runner.own, &word.own) {
            (Some(before), Some(own)) => counted(before).eq(counted(own)),
            (None | Some(_), None | Some(_)) => false,
        };
        let took = word.own.as_ref().and_then(duration);
        runner.took = match (runner.took, took) {
            (Some(before), Some(took)) => Some(before.min(took)),
            (before, took) => before.or(took),
        };
        runner.own = word.own.map(Arc::new).or_else(|| runner.own.take());
        if let Some(rates) = word.rates {
            runner.rates = rates;
        }
        runner.let_go |= word.let_go;
        runner.handles |= word.handles;
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
        if word.phase >= Phase::Ended {
            runner.ended.get_or_insert(before(word.ended_ago).unwrap_or(now));
        }
        self.divide(sender);
        let Some(runner) = self.runners.get_mut(sender) else {
            return Directive::Continue {};
        };
        match word.phase {
            Phase::Waiting => Directive::Continue {},
            Phase::Running => self.go_on(),
            Phase::Ended | Phase::Exited => {
                let mut ended = *runner.ended.get_or_insert(before(word.ended_ago).unwrap_or(now));
                self.store.part_ended(sender, ended);
                if let Some(said) = word.torn_down {
                    ended = runner.torn_down.get_or_insert((said, now)).1;
                } else if self.once && sender.runner == 1 && word.phase == Phase::Ended {
                    return if self.all_ended(now) {
                        Directive::TearDown {}
                    } else {
                        Directive::Continue {}
                    };
                }
                self.last_export(sender, ended, settled, word.phase == Phase::Exited, now)
            }
        }
    }

    /// The directive for a runner whose part goes on.
    fn go_on(&self) -> Directive {
        match self.judged.iter().find(|judged| judged.aborted.is_some()) {
            Some(judged) => Directive::Stop {
                why: format!("{}: {}", judged.threshold.name, judged.threshold.source),
            },
            None => match self.aborted {
                Some(runner) => Directive::Abort { runner },
                None => Directive::Continue {},
            },
        }
    }

    /// Checks whether the last export of a runner that has ended has arrived.
    fn last_export(
        &mut self,
        sender: &Sender,
        ended: Moment,
        settled: bool,
        exited: bool,
        now: Moment,
    ) -> Directive {
        let Some(discrepancies) = self
            .runners
            .get(sender)
            .map(|runner| self.discrepancies_of(sender.runner, runner))
        else {
            return Directive::Continue {};
        };
        // Nothing could arrive while no aggregator was running.
        let late = now.since(ended.max(self.began)) >= LAST_EXPORT;
        let told = self.has_told(sender);
        // Whether exports from before the end are complete, only k6's own numbers tell.
        let since = self
            .store
            .senders()
            .get(sender)
            .is_some_and(|sent| sent.came > ended);
        let Some(runner) = self.runners.get_mut(sender) else {
            return Directive::Continue {};
        };
        let settled = settled && told;
        let sure = told && now.since(ended) >= SURE;
        if (discrepancies.is_empty() && settled && (since || sure)) || late || exited {
            runner.let_go |= sure || settled && !exited;
            runner.discrepancies = Some(discrepancies);
            self.store.ended(sender);
            // A runner that has exited gets no answer.
            let crossed = (!exited).then(|| self.crossed_by_the_whole(now)).flatten();
            return Directive::End { crossed };
        }
        Directive::Continue {}
    }

    /// The crossed thresholds, once everything that will arrive of any runner has arrived.
    fn crossed_by_the_whole(&mut self, now: Moment) -> Option<String> {
        if !self.is_settled(now) {
            return None;
        }
        self.judge(now, true);
        self.crossed()
    }

    /// The crossed thresholds, as they were judged last.
    pub fn crossed(&self) -> Option<String> {
        let mut crossed = self.judged.iter().filter(|judged| judged.is_crossed());
        let Judged { threshold, .. } = crossed.next()?;
        let first = format!("{} {}", threshold.name, threshold.source);
        Some(match crossed.count() {
            0 => first,
            more => format!("{first}, and {more} more"),
        })
    }

    /// Whether everything that will arrive of any runner has arrived. A runner that sends nothing for long counts as
    /// lost.
    pub fn is_settled(&self, now: Moment) -> bool {
        let is_in = |number: u32| match self.runner(number) {
            Some(runner) => runner.discrepancies.is_some() || now.since(runner.heard) >= SILENT,
            None => now.since(self.began) >= SILENT,
        };
        (1..=self.expected).all(is_in)
    }

    /// The processes that have ended their part, whose data has arrived, and that wait for permission to end.
    pub fn present(&self, now: Moment) -> Vec<Sender> {
        let waits = |sender: &Sender, runner: &Runner| {
            runner.phase == Some(Phase::Ended) && runner.discrepancies.is_some() && !self.is_lost(sender, now)
        };
        let waiting = self
            .runners
            .iter()
            .filter(|(sender, runner)| waits(sender, runner));
        waiting.map(|(sender, _)| sender.clone()).collect()
    }

    /// Whether a process counts as lost, since it sent nothing for long.
    pub fn is_lost(&self, sender: &Sender, now: Moment) -> bool {
        self.runners.get(sender).is_none_or(|runner| {
            let heard = runner.heard.max(runner.heard_since);
            runner.phase == Some(Phase::Exited) || now.since(heard) >= SILENT
        })
    }

    /// Whether a runner has reported that its script may have a handleSummary().
    pub fn handles(&self) -> bool {
        self.runners.values().any(|runner| runner.handles)
    }

    /// Whether the thresholds have been judged for the last time.
    pub fn is_concluded(&self) -> bool {
        self.concluded.is_some()
    }

    /// Reopens a concluded session, since a runner that counted as lost was not.
    pub fn reopen(&mut self) {
        self.concluded = None;
        self.settled = false;
    }

    /// All metrics as they are now, or as they were at the end of the test.
    pub fn view(&self) -> View {
        if self.concluded.is_some() || self.is_over() {
            self.store.view_at_end()
        } else {
            self.store.view()
        }
    }

    /// Whether a runner has reported k6's own numbers. If it has sent exports, it has measured something, unless k6 was
    /// told not to.
    pub(super) fn has_told(&self, sender: &Sender) -> bool {
        let own = self.runners.get(sender).and_then(|runner| runner.own.as_ref());
        let sent = || {
            self.store
                .senders()
                .get(sender)
                .is_some_and(|sent| !sent.is_empty())
        };
        own.is_some_and(|own| !own.is_empty() || !sent())
    }

    pub(super) fn discrepancies_of(&self, number: u32, runner: &Runner) -> Vec<Discrepancy> {
        let own = runner.own.as_ref();
        own.map_or_else(Vec::new, |own| discrepancies(&self.store.of_runner(number), own))
    }

    /// Whether all runners have ended or count as lost. A runner of which this process never heard counts as lost, too.
    fn all_ended(&self, now: Moment) -> bool {
        let over = |number: u32| match self.runner(number) {
            Some(runner) => runner.ended.is_some() || now.since(runner.heard) >= SILENT,
            None => now.since(self.began) >= SILENT,
        };
        (1..=self.expected).all(over)
    }

    /// The value of a metric that has no samples.
    pub fn unmeasured(&self, metric: &str, view: &View) -> Unmeasured {
        let thresholds = self.judged.iter().map(|judged| &judged.threshold);
        unmeasured(metric, view, &self.kinds, thresholds)
    }

    /// Whether the script's options name a metric under `thresholds`.
    fn asks_for(&self, metric: &str) -> bool {
        let judged = self.judged.iter().map(|judged| &judged.threshold.selector);
        let shown = self.submetrics.iter().map(|submetric| &submetric.selector);
        judged.chain(shown).any(|selector| selector.metric == metric)
    }

    /// Whether all runners have ended.
    pub fn is_over(&self) -> bool {
        let ended = self.runners.iter().filter(|(_, runner)| runner.ended.is_some());
        let numbers: BTreeSet<_> = ended.map(|(sender, _)| sender.runner).collect();
        numbers.len() >= self.expected as usize
    }

    /// The duration of the test, in s: until now, or until the last runner ended.
    pub fn elapsed(&self, now: Moment) -> f64 {
        let Some(started) = self.started else {
            return 0.0;
        };
        let since = |time: Moment| seconds(time.since(started));
        if !self.is_over() {
            return since(self.concluded.and_then(|_| self.last_seen()).unwrap_or(now));
        }
        // Runners are released together, and k6 knows its time better than `linger`, which looks now and then. After a
        // stop, k6's time goes on until it is asked.
        let took = self.runners.values().filter_map(|runner| {
            let seen = seconds(runner.ended?.since(runner.started?));
            runner.took.map(|took| took.min(seen + seconds(SEEN_LATE)))
        });
        let last = self.runners.values().filter_map(|runner| runner.ended).max();
        took.max_by(f64::total_cmp)
            .unwrap_or_else(|| since(last.unwrap_or(now)))
    }

    /// When the last runner ended. A runner that never reported its end counts by its last heartbeat.
    fn last_seen(&self) -> Option<Moment> {
        let ended = |sender: &Sender| self.runners.get(sender).and_then(|runner| runner.ended);
        let sent = self.store.senders().iter();
        let sent = sent.map(|(sender, sent)| ended(sender).unwrap_or(sent.came));
        let began = self.runners.values().filter(|runner| runner.started.is_some());
        let heard = began.map(|runner| runner.ended.unwrap_or(runner.heard));
        sent.chain(heard).max()
    }

    /// Judges the thresholds for the last time and takes the last step of the timeline. It does so once: later calls
    /// change nothing.
    pub fn conclude(&mut self, now: Moment) {
        if self.concluded.is_none() {
            self.concluded = Some(now);
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Moment) {
        let elapsed = self.elapsed(now);
        self.step(elapsed);
        self.judge(now, true);
    }

    /// Whether a process has ended its part.
    pub fn has_ended(&self, sender: &Sender) -> bool {
        let runner = self.runners.get(sender);
        runner.is_some_and(|runner| runner.ended.is_some())
    }

    /// When the first runner began.
    pub fn started(&self) -> Option<Moment> {
        self.started
    }

    /// The thresholds and their states.
    pub fn judged(&self) -> &[Judged] {
        &self.judged
    }

    /// A runner by its number. Of several processes, the one with the latest heartbeat.
    pub fn runner(&self, number: u32) -> Option<&Runner> {
        self.process_of(number).map(|(_, runner)| runner)
    }

    pub(super) fn process_of(&self, number: u32) -> Option<(&Sender, &Runner)> {
        of(&self.runners, Some(number)).max_by_key(|(_, runner)| runner.heard)
    }

    fn has_sent(&self, number: u32) -> bool {
        of(self.store.senders(), Some(number)).next().is_some()
    }

    /// The number of runners that have sent nothing.
    pub fn silent(&self) -> u32 {
        let silent = (1..=self.expected).filter(|number| !self.has_sent(*number));
        u32::try_from(silent.count()).unwrap_or(u32::MAX)
    }
}
