//! What a process of a runner has sent: the last state of each of its series. Pure.

use super::moment::{Moment, UnixNanos};
use super::otlp::RateCounter;
use super::sink::Sink;
use std::collections::BTreeMap;

/// The last state of a series of a process.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The state that an export has as a whole.
    Sink(Sink),
    /// The counters of a rate, which an export has one by one.
    Rate(RateCounts),
}

impl State {
    pub(super) fn sink(&self) -> Sink {
        match self {
            Self::Sink(sink) => sink.clone(),
            Self::Rate(counts) => counts.sink(),
        }
    }
}

/// The counters of a rate. k6 0.57 exports `occurred` and `total`, newer versions export `zero` and `nonzero`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateCounts {
    occurred: u64,
    total: u64,
    zero: u64,
    nonzero: u64,
}

impl RateCounts {
    /// Replaces one of the counters.
    pub(super) fn set(&mut self, counter: RateCounter) {
        match counter {
            RateCounter::Occurred(count) => self.occurred = count,
            RateCounter::Total(count) => self.total = count,
            RateCounter::Zero(count) => self.zero = count,
            RateCounter::Nonzero(count) => self.nonzero = count,
        }
    }

    pub(super) fn sink(&self) -> Sink {
        Sink::Rate {
            nonzero: self.occurred.saturating_add(self.nonzero),
            total: self.total.saturating_add(self.zero).saturating_add(self.nonzero),
        }
    }

    /// Whether one of the two counters `occurred` and `total` may be missing: when an SDK joins series that are too many,
    /// it may have joined that one.
    pub(super) fn is_half(&self) -> bool {
        self.zero == 0 && self.nonzero == 0 && (self.occurred == 0 || self.occurred > self.total)
    }
}

impl From<RateCounter> for Sink {
    fn from(counter: RateCounter) -> Self {
        let mut counts = RateCounts::default();
        counts.set(counter);
        counts.sink()
    }
}

/// What is known about a process that sends exports.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// The states by the numbers of metric and series. There can be many series over all senders, but each sender has
    /// few.
    pub(super) points: BTreeMap<usize, BTreeMap<usize, State>>,
    pub(super) rest: Overflow,
    /// Values of rates for which no export tells whether they are zero.
    pub(super) undivided: BTreeMap<String, Undivided>,
    /// Whether it had too many series to keep them apart.
    pub(super) overflown: bool,
    /// The sum of all counts in the last export, which never shrinks.
    pub(super) much: f64,
    /// The number of exports that have arrived.
    pub exports: u64,
    /// When the last export was made, by the runner's clock.
    pub made: UnixNanos,
    /// When the last export arrived, by the receiver's clock.
    pub came: Moment,
    /// Whether the process has ended.
    pub ended: bool,
}

/// Values of a rate for which no export tells whether they are zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undivided {
    pub(super) count: u64,
    /// How many of them are not zero, computed from k6's own share.
    pub(super) nonzero: Option<u64>,
}

impl Undivided {
    /// Divides them so that the share of nonzero values among all values, including those that are `counted`, is this
    /// one. With `is_exact`, they are divided only if that is possible without a remainder.
    pub(super) fn divide(&mut self, counted: (u64, u64), share: f64, is_exact: bool) {
        let (nonzero, total) = counted;
        let all = total.saturating_add(self.count) as f64;
        let wanted = share * all;
        let whole = wanted.round();
        let part = whole - nonzero as f64;
        let fits = (wanted - whole).abs() <= all * 1e-9 && (0.0..=self.count as f64).contains(&part);
        self.nonzero = if fits || !is_exact && share.is_finite() {
            Some(part.clamp(0.0, self.count as f64) as u64)
        } else {
            None
        };
    }
}

/// The sum, by metric, of those series of a sender that had no room.
pub(super) type Overflow = BTreeMap<String, Sink>;

impl SourceState {
    /// Whether the process has sent no numbers.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.points.is_empty()
    }

    /// The number of series that are kept.
    pub fn kept(&self) -> usize {
        self.points.values().map(BTreeMap::len).sum()
    }

    /// Whether the process had too many series to keep them apart.
    pub fn is_overflown(&self) -> bool {
        self.overflown
    }

    /// The number of values, by rate, for which nothing tells whether they are zero.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, u64)> {
        let unknown = self.undivided.iter();
        let unknown = unknown.filter(|(_, values)| values.nonzero.is_none());
        unknown.map(|(metric, values)| (metric.as_str(), values.count))
    }

    /// Whether an export has values of a rate that do not tell whether they are zero, even if k6's own share does.
    pub fn has_undivided(&self) -> bool {
        !self.undivided.is_empty()
    }

    /// How many values of a rate are counted that are not zero, and how many in all.
    pub(super) fn rate(&self, metric: usize, name: &str) -> (u64, u64) {
        let points = self.points.get(&metric).into_iter().flatten();
        let sinks = points.map(|(_, state)| state.sink());
        let all = sinks
            .chain(self.rest.get(name).cloned())
            .filter_map(|sink| match sink {
                Sink::Rate { nonzero, total } => Some((nonzero, total)),
                Sink::Counter(_) | Sink::Gauge { .. } | Sink::Trend(_) => None,
            });
        all.fold((0, 0), |(nonzero, total), (ones, more)| {
            (nonzero.saturating_add(ones), total.saturating_add(more))
        })
    }

    /// Replaces the state of a series. A gauge keeps its history, which no export has.
    pub(super) fn set(&mut self, metric: usize, series: usize, mut sink: Sink) {
        let of_metric = self.points.entry(metric).or_default();
        if let Some(State::Sink(before)) = of_metric.get(&series) {
            sink.follow(before);
        }
        of_metric.insert(series, State::Sink(sink));
    }

    /// Replaces one of the counters of a series of a rate.
    pub(super) fn set_rate(&mut self, metric: usize, series: usize, counter: RateCounter) {
        let of_metric = self.points.entry(metric).or_default();
        let state = of_metric
            .entry(series)
            .or_insert_with(|| State::Rate(RateCounts::default()));
        if let State::Rate(counts) = state {
            counts.set(counter);
        }
    }
}
