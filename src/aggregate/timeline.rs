//! The course of a test, step by step. Pure.
//!
//! What runners export is cumulative, so a step is the difference of two states. Exports do not come at the time of a
//! step, so a rate is computed between two exports of a runner, by its clock. There are no more steps than a chart can
//! show: if there are too many, neighbours are joined.

use super::histogram::Histogram;
use super::moment::UnixNanos;
use super::sink::Sink;
use super::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most steps that are kept.
const MOST_STEPS: usize = 600;
/// The most runners that have lines of their own.
pub(super) const MOST_LINES: u32 = 200;

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The end of the step, in s since the start.
    pub at: f64,
    /// The length of the step, in s.
    pub seconds: f64,
    /// Virtual users at the end of the step.
    pub vus: f64,
    /// Requests per second.
    pub requests: f64,
    /// Iterations per second.
    pub iterations: f64,
    /// The number of failed requests, and of all requests that tell whether they failed.
    pub failed: (u64, u64),
    /// The durations of requests, in ms.
    pub durations: Histogram,
    /// Requests per second of each runner, and the 95th percentile of their durations, in ms.
    pub runners: BTreeMap<u32, (f64, Option<f64>)>,
}

/// The steps of a test.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    steps: Vec<Step>,
    /// The number of looks in a step.
    looks: u32,
    joined: u32,
    last: State,
}

/// The state at the last look.
#[derive(Clone, Debug, Default)]
struct State {
    at: f64,
    failed: (u64, u64),
    durations: Histogram,
    counts: BTreeMap<u32, Counts>,
    lines: BTreeMap<u32, Histogram>,
}

/// The counts in the last export of a runner.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// When that export was made.
    made: UnixNanos,
    requests: f64,
    iterations: f64,
    /// Requests per second since the export before.
    request_rate: f64,
    iteration_rate: f64,
}

impl Timeline {
    /// Takes a look at the store, `at` seconds after the start.
    pub fn look(&mut self, store: &Store, runners: u32, at: f64) {
        let now = State::of(store, runners, at, &self.last);
        let before = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        let at = at.max(before.at);
        let lines = now.lines.iter().map(|(runner, durations)| {
            let rest = before.lines.get(runner).map(|earlier| durations.since(earlier));
            let rate = now.counts.get(runner).map_or(0.0, |counts| counts.request_rate);
            (*runner, (rate, p95(rest.as_ref().unwrap_or(durations))))
        });
        let vus = match store.total("vus", None) {
            Some(Sink::Gauge { value, .. }) => value,
            Some(Sink::Counter(_) | Sink::Rate { .. } | Sink::Trend(_)) | None => 0.0,
        };
        let step = Step {
            at,
            seconds: at - before.at,
            vus,
            requests: now
                .counts
                .values()
                .fold(0.0, |sum, counts| sum + counts.request_rate),
            iterations: now
                .counts
                .values()
                .fold(0.0, |sum, counts| sum + counts.iteration_rate),
            failed: (
                now.failed.0.saturating_sub(before.failed.0),
                now.failed.1.saturating_sub(before.failed.1),
            ),
            durations: now.durations.since(&before.durations),
            runners: lines.collect(),
        };
        self.add(step);
    }

    fn add(&mut self, step: Step) {
        let looks = self.looks.max(1);
        match self.steps.last_mut() {
            Some(last) if self.joined < looks => {
                last.join(step);
                self.joined += 1;
            }
            Some(_) | None => {
                self.steps.push(step);
                self.joined = 1;
            }
        }
        self.looks = looks;
        if self.steps.len() > MOST_STEPS {
            self.steps = halved(std::mem::take(&mut self.steps));
            self.looks = looks * 2;
            self.joined = looks;
        }
    }

    /// The steps, in their order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps, joined until there are at most this many.
    pub fn at_most(&self, most: usize) -> Vec<Step> {
        let mut steps = self.steps.clone();
        while steps.len() > most.max(1) {
            steps = halved(steps);
        }
        steps
    }
}

/// Joins each two neighbours. The last step of an odd number stays alone.
fn halved(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(steps.len().div_ceil(2));
    for (i, step) in steps.into_iter().enumerate() {
        match joined.last_mut() {
            Some(last) if i % 2 == 1 => last.join(step),
            Some(_) | None => joined.push(step),
        }
    }
    joined
}

impl Step {
    fn join(&mut self, next: Self) {
        let both = self.seconds + next.seconds;
        let mean = |a: f64, b: f64| {
            if both > 0.0 {
                (a * self.seconds + b * next.seconds) / both
            } else {
                b
            }
        };
        self.requests = mean(self.requests, next.requests);
        self.iterations = mean(self.iterations, next.iterations);
        for (runner, (requests, p95)) in next.runners {
            let line = self.runners.entry(runner).or_default();
            line.1 = match (line.1, p95) {
                (Some(a), Some(b)) => Some(mean(a, b)),
                (a, b) => a.or(b),
            };
            line.0 = mean(line.0, requests);
        }
        self.at = next.at;
        self.seconds = both;
        self.vus = next.vus;
        self.failed.0 += next.failed.0;
        self.failed.1 += next.failed.1;
        self.durations.add(&next.durations);
    }

    /// The 50th, 90th, 95th and 99th percentile of the durations of requests.
    pub fn percentiles(&self) -> [Option<f64>; 4] {
        [0.5, 0.9, 0.95, 0.99].map(|q| self.durations.quantile(q).map(|found| found.value))
    }
}

fn p95(histogram: &Histogram) -> Option<f64> {
    histogram.quantile(0.95).map(|found| found.value)
}

impl State {
    fn of(store: &Store, runners: u32, at: f64, before: &Self) -> Self {
        let mut made: BTreeMap<u32, UnixNanos> = BTreeMap::new();
        for (sender, sent) in store.senders() {
            let last = made.entry(sender.runner).or_default();
            *last = sent.made.max(*last);
        }
        let counts = made.into_iter().map(|(runner, made)| {
            let earlier = before.counts.get(&runner).copied().unwrap_or_default();
            (runner, Counts::of(store, runner, made, earlier, at))
        });
        let lines = (1..=runners.min(MOST_LINES))
            .map(|runner| (runner, trend(store, "http_req_duration", Some(runner))));
        Self {
            at,
            failed: match store.total("http_req_failed", None) {
                Some(Sink::Rate { nonzero, total }) => (nonzero, total),
                Some(Sink::Counter(_) | Sink::Gauge { .. } | Sink::Trend(_)) | None => (0, 0),
            },
            durations: trend(store, "http_req_duration", None),
            counts: counts.collect(),
            lines: lines.collect(),
        }
    }
}

impl Counts {
    /// The counts of a runner now. Without a new export, the rates stay the same.
    fn of(store: &Store, runner: u32, made: UnixNanos, earlier: Self, at: f64) -> Self {
        if made == earlier.made {
            return earlier;
        }
        let (requests, iterations) = (
            counter(store, "http_reqs", Some(runner)),
            counter(store, "iterations", Some(runner)),
        );
        // The runner's clock was set back.
        if made < earlier.made {
            return Self {
                made,
                requests,
                iterations,
                ..earlier
            };
        }
        // The first export comes a second after the start, or has everything since then.
        let seconds = if earlier.made == UnixNanos::NONE {
            at.max(1.0)
        } else {
            made.since(earlier.made).as_nanos() as f64 / 1e9
        };
        Self {
            made,
            requests,
            iterations,
            request_rate: (requests - earlier.requests) / seconds,
            iteration_rate: (iterations - earlier.iterations) / seconds,
        }
    }
}

fn counter(store: &Store, name: &str, runner: Option<u32>) -> f64 {
    match store.total(name, runner) {
        Some(Sink::Counter(sum)) => sum,
        Some(Sink::Gauge { .. } | Sink::Rate { .. } | Sink::Trend(_)) | None => 0.0,
    }
}

fn trend(store: &Store, name: &str, runner: Option<u32>) -> Histogram {
    match store.total(name, runner) {
        Some(Sink::Trend(histogram)) => Arc::unwrap_or_clone(histogram),
        Some(Sink::Counter(_) | Sink::Gauge { .. } | Sink::Rate { .. }) | None => Histogram::default(),
    }
}
