//! The latest state of every series of every runner, and the merged view of them. Pure.
//!
//! What a runner exports is cumulative, so its last export has all that those before it had: whatever is lost on the
//! way comes with the next, and a runner that dies leaves what it had sent.

use super::histogram::{Buckets, Histogram, adds_up};
use super::sink::Sink;
use super::threshold::Selector;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, NumberDataPoint,
    exponential_histogram_data_point::Buckets as ProtoBuckets,
};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The tag by which a runner's samples carry its number. It is not kept, as it is known who sent them.
const RUNNER_TAG: &str = "instance_id";
/// The tag that OpenTelemetry's SDK puts in place of all others when there are too many series.
const OVERFLOW_TAG: &str = "otel.metric.overflow";
/// How older versions of k6 name the two counters of a rate. Newer ones have one, which still has the second name.
const OCCURRED: &str = ".occurred";
const TOTAL: &str = ".total";
/// The tag that tells zeros from other values in that one.
const CONDITION: &str = "condition";
const ZERO: &str = "zero";
const NONZERO: &str = "nonzero";
/// Gauges of which the test as a whole has the sum.
const SUMMED: [&str; 2] = [RUNNING, "vus_max"];
/// A gauge of what runs, which is nothing where a process has ended.
const RUNNING: &str = "vus";
/// That a runner's part has ended is seen so late at most, in ms: `linger` looks each 250.
const SEEN_LATE: u64 = 500;
/// That a part has begun is seen in its virtual users so late at most, in ms: k6 counts them each second, and exports
/// as often.
const BEGUN: u64 = 3_000;
/// As many series are kept apart, of all metrics, and as many metrics.
const MOST_SERIES: usize = 100_000;

/// One process of a runner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The runner's number, from 1.
    pub runner: u32,
    /// What tells its processes apart, such as the UID of the pod.
    pub process: String,
}

/// An export that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExportError {
    /// The sums are of the time since the export before.
    #[error("{0} is not cumulative: unset OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")]
    Delta(String),
    /// Its buckets are not those that can be merged without an error.
    #[error(
        "{0} is a histogram of explicit buckets: set OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION to \
         base2_exponential_bucket_histogram"
    )]
    ExplicitBuckets(String),
    /// The same name has another type elsewhere.
    #[error("{metric} is a {given} here, and a {known} in an export before")]
    Conflict {
        /// The metric.
        metric: String,
        /// Its type here.
        given: &'static str,
        /// Its type before.
        known: &'static str,
    },
    /// k6 makes no such data.
    #[error("{0} is of a type that k6 has not")]
    Foreign(String),
    /// A histogram whose buckets do not add up to its count.
    #[error("the buckets of {0} do not add up to its count")]
    Inconsistent(String),
    /// There would be too many series.
    #[error(
        "there are more than {MOST_SERIES} series: give requests a `name` tag, or drop tags with options.systemTags"
    )]
    TooMany,
}

impl ExportError {
    /// Whether it was taken all the same, and only the tags of some series were not.
    pub fn is_taken(&self) -> bool {
        match self {
            Self::TooMany => true,
            Self::Delta(_)
            | Self::ExplicitBuckets(_)
            | Self::Conflict { .. }
            | Self::Foreign(_)
            | Self::Inconsistent(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Rate,
    Trend,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        }
    }
}

/// A metric with its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Which metric.
    pub metric: String,
    /// Its tags, by name.
    pub tags: Vec<(String, String)>,
}

impl Series {
    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let found = self
            .tags
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .ok()?;
        self.tags.get(found).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug)]
enum State {
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
    Trend(Box<Histogram>),
}

#[derive(Clone, Debug)]
struct Point {
    state: State,
    time: u64,
}

/// What is known of a process that sends.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// By the number of the series: those of all senders are many, and each has few of them.
    points: BTreeMap<usize, Point>,
    rest: Rest,
    /// Of rates, how many values there are of which nothing tells whether they are zero, and as of when.
    unknown: BTreeMap<String, (u64, u64)>,
    /// How many exports have come.
    pub exports: u64,
    /// When the last one was made, by the runner's clock, in ns since 1970.
    pub made: u64,
    /// When the last one came, in ms of the receiver's time.
    pub came: u64,
    /// Whether it runs no more.
    pub ended: bool,
}

/// Of each metric, the sum of those series of a sender for which there was no room, and its time.
type Rest = BTreeMap<String, (Sink, u64)>;

#[derive(Clone, Debug)]
struct Known {
    kind: Kind,
    unit: String,
    series: Vec<usize>,
    /// Whether a runner had too many series of it to keep them apart.
    overflown: bool,
}

/// Where a point belongs.
enum Place {
    Series(usize),
    /// To the rest of its metric.
    Rest,
    Nowhere,
}

/// An export while it is taken.
struct Taking<'a> {
    own_number: &'a str,
    sent: &'a mut Sent,
    rest: Rest,
    /// Whether a series had no room.
    crowded: bool,
    /// A buffer.
    key: Vec<u8>,
}

/// All that has been sent.
#[derive(Debug, Default)]
pub struct Store {
    index: BTreeMap<Box<[u8]>, usize>,
    series: Vec<Series>,
    metrics: BTreeMap<String, Known>,
    senders: BTreeMap<Sender, Sent>,
    users: BTreeMap<Sender, Users>,
    /// Whether a whole metric had no room.
    lost: bool,
}

/// The virtual users of a process while its part of the test ran, by series. A k6 that is paused says that it has
/// none, and so does one that lingers: one that is neither says so only if it is true of its test.
#[derive(Debug, Default)]
struct Users {
    counted: BTreeMap<usize, State>,
    /// What was counted before they came to none, and when that came.
    before: BTreeMap<usize, (Option<State>, u64)>,
    /// Those that had none when the test had surely begun.
    idle: BTreeSet<usize>,
    started: Option<u64>,
    over: bool,
}

impl Users {
    fn count(&mut self, series: usize, state: &State, now: u64) {
        let State::Gauge { value, since, .. } = state else {
            return;
        };
        let (value, since) = (*value, *since);
        if value != 0.0 {
            self.before.remove(&series);
        } else if self.over {
            return;
        } else {
            if self
                .started
                .is_some_and(|started| now >= started.saturating_add(BEGUN))
            {
                self.idle.insert(series);
            }
            let some = |state: &State| matches!(state, State::Gauge { value, .. } if *value != 0.0);
            if self.counted.get(&series).is_none_or(some) {
                self.before
                    .insert(series, (self.counted.get(&series).cloned(), now));
            }
        }
        let (mut least, mut most) = (value, value);
        if let Some(State::Gauge { min, max, .. }) = self.counted.get(&series) {
            // Those that it had none of while it was paused are not of the test.
            if *max != 0.0 || self.idle.contains(&series) {
                (least, most) = (min.min(value), max.max(value));
            }
        }
        let state = State::Gauge {
            value,
            min: least,
            max: most,
            since,
        };
        self.counted.insert(series, state);
    }

    fn over(&mut self, ended: u64) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        for (series, (before, came)) in std::mem::take(&mut self.before) {
            if came.saturating_add(SEEN_LATE) <= ended {
                continue;
            }
            match before {
                Some(state) => drop(self.counted.insert(series, state)),
                None => drop(self.counted.remove(&series)),
            }
        }
    }
}

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
    /// By name.
    pub metrics: BTreeMap<String, Metric>,
    at_end: bool,
}

impl Store {
    /// Takes an export. Of one that has data that can't be merged nothing is kept; of one with a conflict of types,
    /// what stands before that. Series that have no room are kept as one of their metric.
    pub fn take(
        &mut self,
        sender: &Sender,
        export: &ExportMetricsServiceRequest,
        now: u64,
    ) -> Result<(), ExportError> {
        let own_number = sender.runner.to_string();
        let mut sent = self.senders.remove(sender).unwrap_or_default();
        let mut taking = Taking {
            own_number: &own_number,
            sent: &mut sent,
            rest: Rest::default(),
            crowded: false,
            key: Vec::new(),
        };
        let taken = self.take_all(export, &mut taking).and_then(|()| taking.end());
        if taken.as_ref().err().is_none_or(ExportError::is_taken) {
            sent.exports += 1;
            sent.came = now;
        }
        if let Some(known) = self.metrics.get(RUNNING) {
            let users = self.users.entry(sender.clone()).or_default();
            for series in &known.series {
                if let Some(state) = sent.state(*series) {
                    users.count(*series, state, now);
                }
            }
        }
        self.senders.insert(sender.clone(), sent);
        taken
    }

    fn take_all(
        &mut self,
        export: &ExportMetricsServiceRequest,
        taking: &mut Taking,
    ) -> Result<(), ExportError> {
        let scopes = export
            .resource_metrics
            .iter()
            .flat_map(|resource| &resource.scope_metrics);
        let metrics: Vec<_> = scopes.flat_map(|scope| &scope.metrics).collect();
        for metric in &metrics {
            acceptable(&metric.name, metric.data.as_ref())?;
        }
        for metric in metrics {
            match &metric.data {
                Some(Data::Sum(sum)) => {
                    let halves = || sum.data_points.iter().any(|point| condition(point).is_some());
                    let unknown = sum.data_points.iter().any(is_overflow) && halves();
                    let counts = |point: &&NumberDataPoint| !(unknown && is_overflow(point));
                    for point in sum.data_points.iter().filter(counts) {
                        self.take_sum(&metric.name, &metric.unit, point, taking)?;
                    }
                    for point in sum.data_points.iter().filter(|point| !counts(point)) {
                        self.take_unknown(&metric.name, point, taking.sent);
                    }
                }
                Some(Data::Gauge(gauge)) => {
                    for point in &gauge.data_points {
                        let of = (metric.name.as_str(), Kind::Gauge, metric.unit.as_str());
                        let (value, time) = (number(point), point.time_unix_nano);
                        match self.place_of(of, &point.attributes, taking)? {
                            Place::Series(series) => taking.sent.set_gauge(series, time, value),
                            Place::Rest => taking.add(
                                &metric.name,
                                time,
                                Sink::Gauge {
                                    value,
                                    min: value,
                                    max: value,
                                    since: time,
                                    summed: SUMMED.contains(&metric.name.as_str()),
                                },
                            ),
                            Place::Nowhere => {}
                        }
                    }
                }
                Some(Data::ExponentialHistogram(histogram)) => {
                    for point in &histogram.data_points {
                        let of = (metric.name.as_str(), Kind::Trend, metric.unit.as_str());
                        let time = point.time_unix_nano;
                        match self.place_of(of, &point.attributes, taking)? {
                            Place::Series(series) if taking.sent.is_newer(series, time) => {
                                let state = State::Trend(Box::new(trend(point)));
                                taking.sent.set(series, time, state);
                            }
                            Place::Rest => {
                                taking.add(&metric.name, time, Sink::Trend(Box::new(trend(point))));
                            }
                            Place::Series(_) | Place::Nowhere => {}
                        }
                    }
                }
                Some(Data::Histogram(_) | Data::Summary(_)) | None => {}
            }
        }
        Ok(())
    }

    fn take_sum(
        &mut self,
        name: &str,
        unit: &str,
        point: &NumberDataPoint,
        taking: &mut Taking,
    ) -> Result<(), ExportError> {
        let rate = match &point.value {
            Some(Number::AsInt(count)) => {
                let count = u64::try_from(*count).unwrap_or_default();
                if let Some(metric) = name.strip_suffix(OCCURRED) {
                    Some((metric, Part::Occurred(count)))
                } else if let Some(nonzero) = condition(point) {
                    let part = if nonzero {
                        Part::Nonzero(count)
                    } else {
                        Part::Zero(count)
                    };
                    Some((name.strip_suffix(TOTAL).unwrap_or(name), part))
                } else {
                    let metric = name.strip_suffix(TOTAL);
                    metric.map(|metric| (metric, Part::Total(count)))
                }
            }
            Some(Number::AsDouble(_)) | None => None,
        };
        let (metric, kind) = rate
            .as_ref()
            .map_or((name, Kind::Counter), |(metric, _)| (*metric, Kind::Rate));
        let time = point.time_unix_nano;
        let series = match self.place_of((metric, kind, unit), &point.attributes, taking)? {
            Place::Series(series) => series,
            Place::Rest => {
                let sink = rate
                    .as_ref()
                    .map_or_else(|| Sink::Counter(number(point)), |(_, part)| part.sink());
                taking.add(metric, time, sink);
                return Ok(());
            }
            Place::Nowhere => return Ok(()),
        };
        // The two halves of a rate have one time.
        if !taking.sent.is_newer(series, time) {
            return Ok(());
        }
        let state = match rate {
            None => State::Counter(number(point)),
            Some((_, part)) => {
                let (mut occurred, mut total, mut zero, mut nonzero) = match taking.sent.state(series) {
                    Some(State::Rate {
                        occurred,
                        total,
                        zero,
                        nonzero,
                    }) => (*occurred, *total, *zero, *nonzero),
                    Some(State::Counter(_) | State::Gauge { .. } | State::Trend(_)) | None => (0, 0, 0, 0),
                };
                match part {
                    Part::Occurred(count) => occurred = count,
                    Part::Total(count) => total = count,
                    Part::Zero(count) => zero = count,
                    Part::Nonzero(count) => nonzero = count,
                }
                State::Rate {
                    occurred,
                    total,
                    zero,
                    nonzero,
                }
            }
        };
        taking.sent.set(series, time, state);
        Ok(())
    }

    /// Values of a rate without the tag that tells zeros from others.
    fn take_unknown(&mut self, name: &str, point: &NumberDataPoint, sent: &mut Sent) {
        let metric = name.strip_suffix(TOTAL).unwrap_or(name);
        let Some(known) = self.metrics.get_mut(metric) else {
            return;
        };
        known.overflown = true;
        let (count, time) = sent.unknown.entry(metric.to_owned()).or_default();
        if point.time_unix_nano >= *time {
            (*count, *time) = (number(point) as u64, point.time_unix_nano);
        }
    }

    /// The number of a series, which it gets when it is first seen, if there is room.
    fn place_of(
        &mut self,
        (metric, kind, unit): (&str, Kind, &str),
        attributes: &[KeyValue],
        taking: &mut Taking,
    ) -> Result<Place, ExportError> {
        let (own_number, key) = (taking.own_number, &mut taking.key);
        let rate = kind == Kind::Rate;
        let kept = |attribute: &&KeyValue| {
            let mine = attribute.key == RUNNER_TAG && text(attribute) == own_number;
            let half = rate && attribute.key == CONDITION && matches!(text(attribute), ZERO | NONZERO);
            !mine && !half
        };
        key.clear();
        key.extend_from_slice(metric.as_bytes());
        let in_order = attributes.is_sorted_by(|a, b| a.key <= b.key);
        let mut sorted: Vec<&KeyValue> = Vec::new();
        if !in_order {
            sorted.extend(attributes.iter());
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let mut write = |attribute: &KeyValue| {
            key.push(0);
            key.extend_from_slice(attribute.key.as_bytes());
            key.push(1);
            key.extend_from_slice(text(attribute).as_bytes());
        };
        if in_order {
            attributes.iter().filter(kept).for_each(&mut write);
        } else {
            sorted.iter().copied().filter(kept).for_each(&mut write);
        }
        if let Some(series) = self.index.get(key.as_slice()) {
            let known = self.metrics.get(metric).map_or(kind, |known| known.kind);
            return if known == kind {
                Ok(Place::Series(*series))
            } else {
                Err(conflict(metric, kind, known))
            };
        }
        let crowded = self.series.len() >= MOST_SERIES;
        taking.crowded |= crowded;
        if crowded && self.metrics.len() >= MOST_SERIES && !self.metrics.contains_key(metric) {
            self.lost = true;
            return Ok(Place::Nowhere);
        }
        let number = self.series.len();
        let known = self.metrics.entry(metric.to_owned()).or_insert_with(|| Known {
            kind,
            unit: unit.to_owned(),
            series: Vec::new(),
            overflown: false,
        });
        if known.kind != kind {
            return Err(conflict(metric, kind, known.kind));
        }
        if crowded {
            return Ok(Place::Rest);
        }
        known.series.push(number);
        let mut tags: Vec<_> = attributes
            .iter()
            .filter(kept)
            .map(|attribute| (attribute.key.clone(), text(attribute).to_owned()))
            .collect();
        tags.sort();
        known.overflown |= tags.iter().any(|(key, _)| key == OVERFLOW_TAG);
        self.series.push(Series {
            metric: metric.to_owned(),
            tags,
        });
        self.index.insert(key.as_slice().into(), number);
        Ok(Place::Series(number))
    }

    /// That a process runs no more: its virtual users are not counted any longer.
    pub fn ended(&mut self, sender: &Sender) {
        if let Some(sent) = self.senders.get_mut(sender) {
            sent.ended = true;
        }
    }

    /// That its part of the test began then.
    pub fn part_started(&mut self, sender: &Sender, started: u64) {
        self.users.entry(sender.clone()).or_default().started = Some(started);
    }

    /// That its part of the test ended then: of its virtual users those before are the last.
    pub fn part_ended(&mut self, sender: &Sender, ended: u64) {
        self.users.entry(sender.clone()).or_default().over(ended);
    }

    /// Who has sent.
    pub fn senders(&self) -> &BTreeMap<Sender, Sent> {
        &self.senders
    }

    /// A series by its number.
    pub fn series(&self, number: usize) -> Option<&Series> {
        self.series.get(number)
    }

    /// Whether a runner had too many series to keep them apart, so that submetrics lack samples.
    pub fn is_overflown(&self) -> bool {
        self.metrics.values().any(|known| known.overflown)
    }

    /// How many values of a rate there are, beside those that are counted, of which nothing tells whether they are
    /// zero.
    pub fn unknown(&self, selector: &Selector) -> u64 {
        let runner = selector.tags.iter().find(|(key, _)| key == RUNNER_TAG);
        let runner = runner.and_then(|(_, number)| number.parse().ok());
        let unknown = of(&self.senders, runner).filter_map(|(_, sent)| sent.unknown.get(&selector.metric));
        unknown.map(|(count, _)| count).sum()
    }

    /// Whether samples for which it asks may be there without the tags by which it does.
    pub fn lacks(&self, selector: &Selector) -> bool {
        let Some(known) = self.metrics.get(&selector.metric) else {
            return self.lost;
        };
        let apart = selector.tags.iter().any(|(key, _)| key != RUNNER_TAG);
        let has_rest = |sent: &Sent| sent.rest.contains_key(&selector.metric);
        apart && (known.overflown || self.senders.values().any(has_rest))
    }

    /// All metrics, merged over the runners.
    pub fn view(&self) -> View {
        self.view_of(None, false)
    }

    /// The same for what is said of the whole test: of a runner whose part has ended the virtual users are those that
    /// it had last, as of a k6 that ends with its part.
    pub fn view_at_end(&self) -> View {
        self.view_of(None, true)
    }

    /// All metrics of one runner.
    pub fn view_of_runner(&self, runner: u32) -> View {
        self.view_of(Some(runner), false)
    }

    /// One metric, of all runners or of one.
    pub fn total(&self, metric: &str, runner: Option<u32>) -> Option<Sink> {
        let known = self.metrics.get(metric)?;
        let mut merge = Merge::new(metric, known.kind);
        for (_, sent) in of(&self.senders, runner) {
            for number in &known.series {
                if let Some(point) = sent.points.get(number) {
                    merge.add(&point.state, sent.ended);
                }
            }
        }
        sum([merge.sink(), self.rest_of(metric, runner)])
    }

    /// Of one metric, the series that had no room.
    fn rest_of(&self, metric: &str, runner: Option<u32>) -> Option<Sink> {
        let rests = of(&self.senders, runner).map(|(_, sent)| {
            let mut sink = sent.rest.get(metric)?.0.clone();
            if let Sink::Gauge { value, .. } = &mut sink
                && sent.ended
                && metric == RUNNING
            {
                *value = 0.0;
            }
            Some(sink)
        });
        sum(rests)
    }

    fn view_of(&self, runner: Option<u32>, at_end: bool) -> View {
        let mut view = View {
            at_end,
            ..View::default()
        };
        for (name, known) in &self.metrics {
            let mut series = Vec::with_capacity(known.series.len());
            for number in &known.series {
                let mut merge = Merge::new(name, known.kind);
                let last = at_end && merge.running;
                for (sender, sent) in of(&self.senders, runner) {
                    let state = if last {
                        self.users.get(sender).and_then(|users| users.counted.get(number))
                    } else {
                        sent.points.get(number).map(|point| &point.state)
                    };
                    if let Some(state) = state {
                        merge.add(state, sent.ended && !last);
                    }
                }
                if let Some(sink) = merge.sink() {
                    series.push((*number, sink));
                }
            }
            let contains = match known.unit.as_str() {
                "ms" => "time",
                "By" => "data",
                _ => "default",
            };
            let apart = total(series.iter().map(|(_, sink)| sink));
            if let Some(sink) = sum([apart, self.rest_of(name, runner)]) {
                view.metrics.insert(
                    name.clone(),
                    Metric {
                        contains,
                        sink,
                        series,
                    },
                );
            }
        }
        view
    }

    /// What a selector comes to; None if no sample of the metric carries its tags.
    pub fn select(&self, view: &View, selector: &Selector) -> Option<Sink> {
        let metric = view.metrics.get(&selector.metric)?;
        if selector.tags.is_empty() {
            return Some(metric.sink.clone());
        }
        let runner = selector.tags.iter().find(|(key, _)| key == RUNNER_TAG);
        let rest: Vec<_> = selector
            .tags
            .iter()
            .filter(|(key, _)| key != RUNNER_TAG)
            .collect();
        let of_one;
        let metric = match runner {
            None => metric,
            Some((_, number)) => {
                of_one = self.view_of(Some(number.parse().ok()?), view.at_end);
                of_one.metrics.get(&selector.metric)?
            }
        };
        if rest.is_empty() {
            return Some(metric.sink.clone());
        }
        let carries = |number: usize| {
            let series = self.series.get(number);
            series.is_some_and(|series| rest.iter().all(|(key, value)| series.tag(key) == Some(value)))
        };
        total(
            metric
                .series
                .iter()
                .filter(|(number, _)| carries(*number))
                .map(|(_, sink)| sink),
        )
    }
}

/// What is known of the processes of one runner, or of all.
pub(super) fn of<T>(
    senders: &BTreeMap<Sender, T>,
    runner: Option<u32>,
) -> impl Iterator<Item = (&Sender, &T)> {
    let first = Sender {
        runner: runner.unwrap_or_default(),
        process: String::new(),
    };
    senders
        .range(first..)
        .take_while(move |(sender, _)| runner.is_none_or(|runner| sender.runner == runner))
}

enum Part {
    Occurred(u64),
    Total(u64),
    Zero(u64),
    Nonzero(u64),
}

impl Part {
    fn sink(&self) -> Sink {
        let (nonzero, total) = match self {
            Self::Occurred(count) => (*count, 0),
            Self::Total(count) | Self::Zero(count) => (0, *count),
            Self::Nonzero(count) => (*count, *count),
        };
        Sink::Rate { nonzero, total }
    }
}

impl Taking<'_> {
    /// Adds a point to the rest of its metric.
    fn add(&mut self, metric: &str, time: u64, sink: Sink) {
        match self.rest.get_mut(metric) {
            Some((sum, last)) => {
                sum.add(&sink);
                *last = time.max(*last);
            }
            None => {
                self.rest.insert(metric.to_owned(), (sink, time));
            }
        }
    }

    /// All points of the export have been there: their rest takes the place of that of the export before.
    fn end(self) -> Result<(), ExportError> {
        for (metric, (mut sink, time)) in self.rest {
            match self.sent.rest.get(&metric) {
                Some((_, last)) if time < *last => continue,
                Some((before, _)) => sink.follow(before),
                None => {}
            }
            self.sent.made = self.sent.made.max(time);
            self.sent.rest.insert(metric, (sink, time));
        }
        if self.crowded {
            Err(ExportError::TooMany)
        } else {
            Ok(())
        }
    }
}

impl Sent {
    /// Whether no number has come.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.points.is_empty()
    }

    /// Of how many series it is kept what came.
    pub fn kept(&self) -> usize {
        self.points.len()
    }

    /// By rate, how many values came of which nothing tells whether they are zero.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, u64)> {
        let unknown = self.unknown.iter();
        unknown.map(|(metric, (count, _))| (metric.as_str(), *count))
    }

    fn set_gauge(&mut self, series: usize, time: u64, value: f64) {
        let state = match self.state(series) {
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
        self.set(series, time, state);
    }

    fn state(&self, series: usize) -> Option<&State> {
        self.points.get(&series).map(|point| &point.state)
    }

    fn is_newer(&self, series: usize, time: u64) -> bool {
        self.points.get(&series).is_none_or(|point| time >= point.time)
    }

    fn set(&mut self, series: usize, time: u64, state: State) {
        if !self.is_newer(series, time) {
            return;
        }
        self.points.insert(series, Point { state, time });
        self.made = self.made.max(time);
    }
}

struct Merge {
    kind: Kind,
    /// A gauge of which the runners have parts.
    summed: bool,
    running: bool,
    counter: f64,
    /// The value, the least, the most, and since when the value is the last.
    gauge: Option<(f64, f64, f64, u64)>,
    rate: (u64, u64),
    trend: Histogram,
    any: bool,
}

impl Merge {
    fn new(metric: &str, kind: Kind) -> Self {
        Self {
            kind,
            summed: SUMMED.contains(&metric),
            running: metric == RUNNING,
            counter: 0.0,
            gauge: None,
            rate: (0, 0),
            trend: Histogram::default(),
            any: false,
        }
    }

    fn add(&mut self, state: &State, ended: bool) {
        self.any = true;
        match state {
            State::Counter(sum) => self.counter += sum,
            State::Gauge {
                value,
                min,
                max,
                since,
            } => {
                let value = if self.running && ended { 0.0 } else { *value };
                self.gauge = Some(match self.gauge {
                    None => (value, *min, *max, *since),
                    Some((other, least, most, when)) if self.summed => {
                        (other + value, least + min, most + max, when.max(*since))
                    }
                    Some((other, least, most, when)) => {
                        let (value, when) = if *since >= when {
                            (value, *since)
                        } else {
                            (other, when)
                        };
                        (value, least.min(*min), most.max(*max), when)
                    }
                });
            }
            State::Rate {
                occurred,
                total,
                zero,
                nonzero,
            } => {
                self.rate.0 += occurred + nonzero;
                self.rate.1 += total + zero + nonzero;
            }
            State::Trend(histogram) => self.trend.add(histogram),
        }
    }

    fn sink(self) -> Option<Sink> {
        if !self.any {
            return None;
        }
        Some(match self.kind {
            Kind::Counter => Sink::Counter(self.counter),
            Kind::Gauge => {
                let (value, min, max, since) = self.gauge?;
                Sink::Gauge {
                    value,
                    min,
                    max,
                    since,
                    summed: self.summed,
                }
            }
            Kind::Rate => Sink::Rate {
                nonzero: self.rate.0,
                total: self.rate.1,
            },
            Kind::Trend => Sink::Trend(Box::new(self.trend)),
        })
    }
}

/// The sum of the series of one metric.
fn total<'a>(mut sinks: impl Iterator<Item = &'a Sink>) -> Option<Sink> {
    let mut sum = sinks.next()?.clone();
    sinks.for_each(|sink| sum.add(sink));
    Some(sum)
}

/// The sum of those that there are.
fn sum(sinks: impl IntoIterator<Item = Option<Sink>>) -> Option<Sink> {
    sinks.into_iter().flatten().reduce(|mut sum, sink| {
        sum.add(&sink);
        sum
    })
}

/// Whether all points of a metric can be taken.
fn acceptable(name: &str, data: Option<&Data>) -> Result<(), ExportError> {
    const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
    let temporality = match data {
        Some(Data::Sum(sum)) => Some(sum.aggregation_temporality),
        Some(Data::ExponentialHistogram(histogram)) => {
            let consistent = |point: &ExponentialHistogramDataPoint| {
                let buckets = [&point.positive, &point.negative].map(|buckets| {
                    let counts = buckets.as_ref().map(|buckets| buckets.bucket_counts.as_slice());
                    counts.unwrap_or_default()
                });
                adds_up(buckets, point.zero_count, point.count)
            };
            if !histogram.data_points.iter().all(consistent) {
                return Err(ExportError::Inconsistent(name.to_owned()));
            }
            Some(histogram.aggregation_temporality)
        }
        Some(Data::Histogram(_)) => return Err(ExportError::ExplicitBuckets(name.to_owned())),
        Some(Data::Summary(_)) => return Err(ExportError::Foreign(name.to_owned())),
        Some(Data::Gauge(_)) | None => None,
    };
    match temporality {
        None | Some(CUMULATIVE) => Ok(()),
        Some(_) => Err(ExportError::Delta(name.to_owned())),
    }
}

fn conflict(metric: &str, given: Kind, known: Kind) -> ExportError {
    ExportError::Conflict {
        metric: metric.to_owned(),
        given: given.name(),
        known: known.name(),
    }
}

fn text(attribute: &KeyValue) -> &str {
    match &attribute.value {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => text,
        Some(AnyValue { .. }) | None => "",
    }
}

fn condition(point: &NumberDataPoint) -> Option<bool> {
    let found = point
        .attributes
        .iter()
        .find(|attribute| attribute.key == CONDITION)?;
    match text(found) {
        NONZERO => Some(true),
        ZERO => Some(false),
        _ => None,
    }
}

/// Whether it is what the SDK sums series in that it does not keep apart.
fn is_overflow(point: &NumberDataPoint) -> bool {
    matches!(point.attributes.as_slice(), [only] if only.key == OVERFLOW_TAG)
}

fn number(point: &NumberDataPoint) -> f64 {
    match &point.value {
        Some(Number::AsDouble(value)) => *value,
        Some(Number::AsInt(value)) => *value as f64,
        None => 0.0,
    }
}

fn trend(point: &ExponentialHistogramDataPoint) -> Histogram {
    let buckets = |buckets: Option<&ProtoBuckets>| {
        buckets.map_or_else(Buckets::default, |buckets| Buckets {
            offset: buckets.offset,
            counts: buckets.bucket_counts.clone(),
        })
    };
    Histogram {
        scale: point.scale,
        zeros: point.zero_count,
        zero_threshold: point.zero_threshold,
        positive: buckets(point.positive.as_ref()),
        negative: buckets(point.negative.as_ref()),
        count: point.count,
        sum: point.sum.unwrap_or_default(),
        min: point.min.unwrap_or(f64::NEG_INFINITY),
        max: point.max.unwrap_or(f64::INFINITY),
    }
}
