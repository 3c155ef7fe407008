//! What all runners, or one of them, have come to: their states, merged. Pure.
//!
//! It costs as many steps as there are points: each of the series of each process that sends.

use super::histogram::Histogram;
use super::sink::Sink;
use super::source::State;
use super::store::{MetricMeta, RUNNING, SUMMED, Store, of};
use crate::k6::threshold::{RUNNER_TAG, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// The merged state of one metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// k6's word for what it measures: time, data or default.
    pub contains: &'static str,
    /// Over all series, those among them that had no room.
    pub sink: Sink,
    /// Of each series that is kept apart, by its number.
    pub series: Vec<(usize, Sink)>,
}

/// The merged state of all metrics.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The metrics, by name.
    pub metrics: BTreeMap<String, Metric>,
    at_end: bool,
}

impl Store {
    /// All metrics, merged over the runners.
    pub fn view(&self) -> View {
        self.view_of(None, false, None)
    }

    /// The same for what is said of the whole test: of a runner whose part has ended the virtual users are those that
    /// it had last, as of a k6 that ends with its part.
    pub fn view_at_end(&self) -> View {
        self.view_of(None, true, None)
    }

    /// The one or the other, of these metrics only.
    pub fn view_of_some(&self, metrics: &BTreeSet<&str>, at_end: bool) -> View {
        self.view_of(None, at_end, Some(metrics))
    }

    /// All metrics of one runner.
    pub fn view_of_runner(&self, runner: u32) -> View {
        self.view_of(Some(runner), false, None)
    }

    /// What each metric of one runner has come to.
    pub fn of_runner(&self, runner: u32) -> BTreeMap<String, Sink> {
        let metrics = self.catalog.metrics.keys();
        let metrics = metrics.filter_map(|name| Some((name.clone(), self.total(name, Some(runner))?)));
        metrics.collect()
    }

    /// One metric, of all runners or of one.
    pub fn total(&self, metric: &str, runner: Option<u32>) -> Option<Sink> {
        let known = self.catalog.metrics.get(metric)?;
        let mut sum = None;
        for (_, sent) in of(self.senders(), runner) {
            for state in sent.points.get(&known.number).into_iter().flatten() {
                add(&mut sum, state.1, metric, sent.ended);
            }
        }
        total([sum, self.rest_of(metric, runner)])
    }

    /// Of one metric, the series that had no room.
    fn rest_of(&self, metric: &str, runner: Option<u32>) -> Option<Sink> {
        let divided = of(self.senders(), runner).map(|(_, sent)| {
            let values = sent.undivided.get(metric)?;
            Some(Sink::Rate {
                nonzero: values.nonzero?,
                total: values.count,
            })
        });
        let rests = of(self.senders(), runner).map(|(_, sent)| {
            let mut sink = sent.rest.get(metric)?.clone();
            if let Sink::Gauge { value, .. } = &mut sink
                && sent.ended
                && metric == RUNNING
            {
                *value = 0.0;
            }
            Some(sink)
        });
        total(rests.chain(divided))
    }

    fn view_of(&self, runner: Option<u32>, at_end: bool, only: Option<&BTreeSet<&str>>) -> View {
        let metrics = self.catalog.metrics.iter();
        let metrics = metrics.filter(|(name, _)| only.is_none_or(|only| only.contains(name.as_str())));
        let metrics = metrics
            .filter_map(|(name, known)| Some((name.clone(), self.metric_of(name, known, runner, at_end)?)));
        View {
            metrics: metrics.collect(),
            at_end,
        }
    }

    fn metric_of(&self, name: &str, known: &MetricMeta, runner: Option<u32>, at_end: bool) -> Option<Metric> {
        let mut series: BTreeMap<usize, Option<Sink>> = BTreeMap::new();
        let mut halves = None;
        let last = at_end && name == RUNNING;
        for (sender, sent) in of(self.senders(), runner) {
            let states = if last {
                self.users.get(sender).map(|users| &users.counted)
            } else {
                sent.points.get(&known.number)
            };
            for (number, state) in states.into_iter().flatten() {
                let sum = if known.overflown && is_half(state) {
                    &mut halves
                } else {
                    series.entry(*number).or_default()
                };
                add(sum, state, name, sent.ended && !last);
            }
        }
        let series: Vec<_> = series
            .into_iter()
            .filter_map(|(number, sink)| Some((number, sink?)))
            .collect();
        let apart = series.iter().map(|(_, sink)| sink);
        Some(Metric {
            contains: match known.unit.as_str() {
                "ms" => "time",
                "By" => "data",
                _ => "default",
            },
            sink: total([sum(apart), halves, self.rest_of(name, runner)])?,
            series,
        })
    }

    /// What a selector comes to; None if no sample of the metric carries its tags.
    pub fn select(&self, view: &View, selector: &Selector) -> Option<Sink> {
        let of_one;
        let metric = match selector.runner() {
            None => view.metrics.get(&selector.metric)?,
            Some(number) => {
                let known = self.catalog.metrics.get(&selector.metric)?;
                of_one = self.metric_of(&selector.metric, known, Some(number), view.at_end)?;
                &of_one
            }
        };
        if !selector.is_by_tags() {
            return Some(metric.sink.clone());
        }
        let carries = |number: usize| {
            let tags = selector.tags.iter().filter(|(key, _)| key != RUNNER_TAG);
            let mut tags = tags.map(|(key, value)| (key, value.as_str()));
            let series = self.series(number);
            series.is_some_and(|series| tags.all(|(key, value)| series.tag(key) == Some(value)))
        };
        let carrying = metric.series.iter().filter(|(number, _)| carries(*number));
        sum(carrying.map(|(_, sink)| sink))
    }
}

/// Whether the other half of a series of a rate of two counters may be among those that k6 has put together: each
/// counter keeps others apart.
fn is_half(state: &State) -> bool {
    match state {
        State::Rate {
            occurred,
            total,
            zero,
            nonzero,
        } => *zero == 0 && *nonzero == 0 && (*occurred == 0 || occurred > total),
        State::Counter(_) | State::Gauge { .. } | State::Trend(_) => false,
    }
}

/// Adds the state of one series.
fn add(sum: &mut Option<Sink>, state: &State, metric: &str, ended: bool) {
    match (sum, state) {
        (Some(Sink::Trend(sum)), State::Trend(histogram)) => sum.add(histogram),
        (Some(sum), state) => sum.add(&sink_of(state, metric, ended)),
        (sum @ None, state) => *sum = Some(sink_of(state, metric, ended)),
    }
}

fn sink_of(state: &State, metric: &str, ended: bool) -> Sink {
    match state {
        State::Counter(sum) => Sink::Counter(*sum),
        State::Gauge {
            value,
            min,
            max,
            since,
        } => Sink::Gauge {
            value: if ended && metric == RUNNING { 0.0 } else { *value },
            min: *min,
            max: *max,
            since: *since,
            summed: SUMMED.contains(&metric),
        },
        State::Rate {
            occurred,
            total,
            zero,
            nonzero,
        } => Sink::Rate {
            nonzero: occurred.saturating_add(*nonzero),
            total: total.saturating_add(*zero).saturating_add(*nonzero),
        },
        State::Trend(histogram) => Sink::Trend(Box::new(Histogram::clone(histogram))),
    }
}

/// The sum of the series of one metric.
fn sum<'a>(mut sinks: impl Iterator<Item = &'a Sink>) -> Option<Sink> {
    let mut sum = sinks.next()?.clone();
    sinks.for_each(|sink| sum.add(sink));
    Some(sum)
}

/// The sum of those that there are.
fn total(sinks: impl IntoIterator<Item = Option<Sink>>) -> Option<Sink> {
    sinks.into_iter().flatten().reduce(|mut sum, sink| {
        sum.add(&sink);
        sum
    })
}
