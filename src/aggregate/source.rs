//! What a process has sent: the last state of each of its series. Pure.

use super::histogram::Histogram;
use super::sink::Sink;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last state of a series of a process.
#[derive(Clone, Debug)]
pub(super) enum State {
    Counter(f64),
    Gauge {
        value: f64,
        min: f64,
        max: f64,
        /// When it came to that value, as far as exports tell.
        since: u64,
    },
    Rate {
        occurred: u64,
        total: u64,
        zero: u64,
        nonzero: u64,
    },
    Trend(Arc<Histogram>),
}

/// What is known of a process that sends.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// By the numbers of metric and series: those of all senders are many, and each has few of them.
    pub(super) points: BTreeMap<usize, BTreeMap<usize, State>>,
    pub(super) rest: Overflow,
    /// Of rates, the values of which no export tells whether they are zero.
    pub(super) undivided: BTreeMap<String, Undivided>,
    /// Whether it had too many series to keep them apart.
    pub(super) overflown: bool,
    /// How much its last export had.
    pub(super) much: f64,
    /// How many exports have come.
    pub exports: u64,
    /// When the last one was made, by the runner's clock, in ns since 1970.
    pub made: u64,
    /// When the last one came, in ms of the receiver's time.
    pub came: u64,
    /// Whether it runs no more.
    pub ended: bool,
}

/// Values of a rate of which no export tells whether they are zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undivided {
    pub(super) count: u64,
    /// How many are not, by k6's own share of all values.
    pub(super) nonzero: Option<u64>,
}

impl Undivided {
    /// Divides them so that this is the share of the nonzero among all values, those that are counted among them.
    /// If the share is exactly that of all values, and only then, it divides them without a remainder.
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

/// Of each metric, the sum of those series of a sender for which there was no room.
pub(super) type Overflow = BTreeMap<String, Sink>;

impl SourceState {
    /// Whether no number has come.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.points.is_empty()
    }

    /// Of how many series it is kept what came.
    pub fn kept(&self) -> usize {
        self.points.values().map(BTreeMap::len).sum()
    }

    /// Whether it had too many series to keep them apart.
    pub fn is_overflown(&self) -> bool {
        self.overflown
    }

    /// By rate, how many values came of which nothing tells whether they are zero.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, u64)> {
        let unknown = self.undivided.iter();
        let unknown = unknown.filter(|(_, values)| values.nonzero.is_none());
        unknown.map(|(metric, values)| (metric.as_str(), values.count))
    }

    /// Whether there are such values, be it that k6's own numbers tell.
    pub fn has_undivided(&self) -> bool {
        !self.undivided.is_empty()
    }

    /// How many values of a rate are counted that are not zero, and how many are.
    pub(super) fn rate(&self, metric: usize, name: &str) -> (u64, u64) {
        let points = self.points.get(&metric).into_iter().flatten();
        let states = points.filter_map(|(_, state)| match state {
            State::Rate {
                occurred,
                total,
                zero,
                nonzero,
            } => Some((
                occurred.saturating_add(*nonzero),
                total.saturating_add(*zero).saturating_add(*nonzero),
            )),
            State::Counter(_) | State::Gauge { .. } | State::Trend(_) => None,
        });
        let rest = match self.rest.get(name) {
            Some(Sink::Rate { nonzero, total }) => Some((*nonzero, *total)),
            Some(Sink::Counter(_) | Sink::Gauge { .. } | Sink::Trend(_)) | None => None,
        };
        states.chain(rest).fold((0, 0), |(nonzero, total), (ones, more)| {
            (nonzero.saturating_add(ones), total.saturating_add(more))
        })
    }

    pub(super) fn set_gauge(&mut self, metric: usize, series: usize, time: u64, value: f64) {
        let state = match self.state(metric, series) {
            Some(State::Gauge {
                value: last,
                min,
                max,
                since,
            }) => State::Gauge {
                value,
                min: min.min(value),
                max: max.max(value),
                since: if last.to_bits() == value.to_bits() {
                    *since
                } else {
                    time
                },
            },
            Some(State::Counter(_) | State::Rate { .. } | State::Trend(_)) | None => State::Gauge {
                value,
                min: value,
                max: value,
                since: time,
            },
        };
        self.set(metric, series, state);
    }

    pub(super) fn state(&self, metric: usize, series: usize) -> Option<&State> {
        self.points.get(&metric)?.get(&series)
    }

    pub(super) fn set(&mut self, metric: usize, series: usize, state: State) {
        self.points.entry(metric).or_default().insert(series, state);
    }
}
