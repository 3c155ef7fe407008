//! The merged state of all runners, or of one. Pure.
//!
//! Merging takes time in proportion to the number of points: the series of each process.

use super::sink::Sink;
use super::source::State;
use super::store::{MetricMeta, RUNNING, Store, of};
use crate::k6::threshold::{RUNNER_TAG, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// The merged state of one metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The kind of values, as k6 names it: time, data or default.
    pub contains: &'static str,
    /// The state over all series, including those that had no room.
    pub sink: Sink,
    /// The state of each series that is kept apart, by its number.
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
    /// Merges all metrics over all runners.
    pub fn view(&self) -> View {
        self.view_of(None, false, None)
    }

    /// Merges all metrics for the result of the whole test. Runners whose part has ended keep the virtual users that
    /// they had last, as in the summary of a single k6.
    pub fn view_at_end(&self) -> View {
        self.view_of(None, true, None)
    }

    /// Merges only these metrics, during the test or for its result.
    pub fn view_of_some(&self, metrics: &BTreeSet<&str>, at_end: bool) -> View {
        self.view_of(None, at_end, Some(metrics))
    }

    /// Merges all metrics of one runner.
    pub fn view_of_runner(&self, runner: u32) -> View {
        self.view_of(Some(runner), false, None)
    }

    /// The totals of all metrics of one runner.
    pub fn of_runner(&self, runner: u32) -> BTreeMap<String, Sink> {
        let metrics = self.catalog.metrics.keys();
        let metrics = metrics.filter_map(|name| Some((name.clone(), self.total(name, Some(runner))?)));
        metrics.collect()
    }

    /// The total of one metric, over all runners or for one of them.
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

    /// The total of those series of a metric that had no room.
    fn rest_of(&self, metric: &str, runner: Option<u32>) -> Option<Sink> {
        let divided = of(self.senders(), runner).map(|(_, sent)| {
            let values = sent.undivided.get(metric)?;
            Some(Sink::Rate {
                nonzero: values.nonzero?,
                total: values.count,
            })
        });
        let rests = of(self.senders(), runner).map(|(_, sent)| {
            let sink = sent.rest.get(metric)?.clone();
            Some(without_ended_users(sink, metric, sent.ended))
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
                let sum = if known.overflown && matches!(state, State::Rate(counts) if counts.is_half()) {
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

    /// The state that a selector asks for. None if no sample of the metric has its tags.
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

/// Adds the state of one series to a sum.
fn add(sum: &mut Option<Sink>, state: &State, metric: &str, ended: bool) {
    let sink = without_ended_users(state.sink(), metric, ended);
    match sum {
        Some(sum) => sum.add(&sink),
        None => *sum = Some(sink),
    }
}

/// A process that has ended has no virtual users, whatever its last export says.
fn without_ended_users(mut sink: Sink, metric: &str, ended: bool) -> Sink {
    if let Sink::Gauge { value, .. } = &mut sink
        && ended
        && metric == RUNNING
    {
        *value = 0.0;
    }
    sink
}

/// The sum of the series of one metric.
fn sum<'a>(mut sinks: impl Iterator<Item = &'a Sink>) -> Option<Sink> {
    let mut sum = sinks.next()?.clone();
    sinks.for_each(|sink| sum.add(sink));
    Some(sum)
}

/// The sum of those sinks that exist.
fn total(sinks: impl IntoIterator<Item = Option<Sink>>) -> Option<Sink> {
    sinks.into_iter().flatten().reduce(|mut sum, sink| {
        sum.add(&sink);
        sum
    })
}
