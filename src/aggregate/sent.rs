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
pub struct Sent {
    /// By the numbers of metric and series: those of all senders are many, and each has few of them.
    pub(super) points: BTreeMap<usize, BTreeMap<usize, State>>,
    pub(super) rest: Rest,
    /// Of rates, how many values there are of which nothing tells whether they are zero.
    pub(super) unknown: BTreeMap<String, u64>,
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

/// Of each metric, the sum of those series of a sender for which there was no room.
pub(super) type Rest = BTreeMap<String, Sink>;

impl Sent {
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
        let unknown = self.unknown.iter();
        unknown.map(|(metric, count)| (metric.as_str(), *count))
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
