//! The latest state of every series of every runner. Pure.
//!
//! What a runner exports is cumulative, so its last export has all that those before it had: whatever is lost on the
//! way comes with the next, and a runner that dies leaves what it had sent. Exports of a process count in the order in
//! which they come, whatever its clock says.

use super::otlp::{
    OVERFLOW_TAG, RateCounter, TOTAL, acceptable, condition, is_half, is_overflow, number, part_of_rate,
    progress, text, trend,
};
use super::sink::Sink;
use super::source::{Overflow, State};
use super::users::Users;
use crate::k6::threshold::{RUNNER_TAG, Selector};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric as Exported, NumberDataPoint};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

pub use super::source::SourceState;
pub use super::view::{Metric, View};

/// Gauges of which the test as a whole has the sum.
pub(super) const SUMMED: [&str; 2] = [RUNNING, "vus_max"];
/// A gauge of what runs, which is nothing where a process has ended.
pub(super) const RUNNING: &str = "vus";
/// As many series are kept apart, of all metrics, and as many metrics.
const MOST_SERIES: usize = 100_000;
/// The tags of all series that are kept apart are no longer than this, in bytes, with the names of their metrics. They
/// are kept twice.
const MOST_TAGGED: usize = 64 * 1024 * 1024;

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
    /// The name is none of a metric of k6.
    #[error("{0:?} is no name of a metric of k6")]
    Name(String),
    /// k6's exporter makes no such number.
    #[error("the {what} of {metric} is beyond what k6 exports")]
    Beyond {
        /// The metric.
        metric: String,
        /// What of it.
        what: &'static str,
    },
    /// There would be too many series.
    #[error(
        "there are more than {MOST_SERIES} series, or more than 64 MiB of their tags: give requests a `name` tag, or drop tags with options.systemTags"
    )]
    TooMany,
    /// It is larger than what is read.
    #[error("it has more than {0} bytes: give requests a `name` tag, or drop tags with options.systemTags")]
    TooLarge(usize),
    /// It is no export.
    #[error("it can't be read: {0}")]
    Unreadable(String),
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
            | Self::Inconsistent(_)
            | Self::Name(_)
            | Self::Beyond { .. }
            | Self::TooLarge(_)
            | Self::Unreadable(_) => false,
        }
    }
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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

/// What is known of a metric.
#[derive(Clone, Debug)]
pub(super) struct MetricMeta {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) unit: String,
    /// Whether a runner had too many series of it to keep them apart.
    pub(super) overflown: bool,
}

/// All metrics and series that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    /// How long the tags of all series are.
    tagged: usize,
    series: Vec<Arc<Series>>,
    pub(super) metrics: BTreeMap<String, MetricMeta>,
}

/// Where a point belongs.
enum Slot {
    Series(usize, usize),
    /// To the rest of its metric.
    Overflow,
    Nowhere,
}

/// An export while it is taken.
struct Ingest<'a> {
    own_number: &'a str,
    sent: &'a mut SourceState,
    rest: Overflow,
    /// Whether a series had no room.
    crowded: bool,
    /// A buffer.
    key: Vec<u8>,
}

/// All that has been sent.
#[derive(Debug, Default)]
pub struct Store {
    /// The numbers of metric and series, by their names and tags.
    index: BTreeMap<Box<[u8]>, (usize, usize)>,
    pub(super) catalog: Arc<Catalog>,
    senders: BTreeMap<Sender, Arc<SourceState>>,
    pub(super) users: BTreeMap<Sender, Arc<Users>>,
    /// Whether a whole metric had no room.
    lost: bool,
}

impl Store {
    /// The same as it is now, to be read while the other takes exports. It shares what it has with that, so it costs
    /// little; it takes no exports itself.
    pub fn snapshot(&self) -> Self {
        Self {
            index: BTreeMap::new(),
            catalog: Arc::clone(&self.catalog),
            senders: self.senders.clone(),
            users: self.users.clone(),
            lost: self.lost,
        }
    }

    /// Takes an export. Of one that has data that can't be merged nothing is kept; of one with a conflict of types,
    /// what stands before that. Series that have no room are kept as one of their metric.
    ///
    /// Exports of a process come in their order, so the last that came counts, unless its time and its numbers say
    /// both that it is an earlier one, which changes nothing: the clock of a process can be set back.
    pub fn take(
        &mut self,
        sender: &Sender,
        export: &ExportMetricsServiceRequest,
        now: u64,
    ) -> Result<(), ExportError> {
        let scopes = export
            .resource_metrics
            .iter()
            .flat_map(|resource| &resource.scope_metrics);
        let metrics: Vec<_> = scopes.flat_map(|scope| &scope.metrics).collect();
        for metric in &metrics {
            acceptable(metric)?;
        }
        let own_number = sender.runner.to_string();
        let sent = self.senders.remove(sender).unwrap_or_default();
        let mut sent = Arc::unwrap_or_clone(sent);
        let (made, much) = progress(metrics.iter().copied());
        if made < sent.made && much < sent.much {
            self.senders.insert(sender.clone(), Arc::new(sent));
            return Ok(());
        }
        (sent.made, sent.much) = (made, much);
        let mut taking = Ingest {
            own_number: &own_number,
            sent: &mut sent,
            rest: Overflow::default(),
            crowded: false,
            key: Vec::new(),
        };
        let taken = self.take_all(&metrics, &mut taking).and_then(|()| taking.end());
        if taken.as_ref().err().is_none_or(ExportError::is_taken) {
            sent.exports += 1;
            sent.came = now;
        }
        if let Some(known) = self.catalog.metrics.get(RUNNING) {
            let users = Arc::make_mut(self.users.entry(sender.clone()).or_default());
            for (series, state) in sent.points.get(&known.number).into_iter().flatten() {
                users.count(*series, state, now);
            }
        }
        self.senders.insert(sender.clone(), Arc::new(sent));
        taken
    }

    fn take_all(&mut self, metrics: &[&Exported], taking: &mut Ingest) -> Result<(), ExportError> {
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
                            Slot::Series(metric, series) => {
                                taking.sent.set_gauge(metric, series, time, value);
                            }
                            Slot::Overflow => taking.add(
                                &metric.name,
                                Sink::Gauge {
                                    value,
                                    min: value,
                                    max: value,
                                    since: time,
                                    summed: SUMMED.contains(&metric.name.as_str()),
                                },
                            ),
                            Slot::Nowhere => {}
                        }
                    }
                }
                Some(Data::ExponentialHistogram(histogram)) => {
                    for point in &histogram.data_points {
                        let of = (metric.name.as_str(), Kind::Trend, metric.unit.as_str());
                        match self.place_of(of, &point.attributes, taking)? {
                            Slot::Series(metric, series) => {
                                let state = State::Trend(Arc::new(trend(point)));
                                taking.sent.set(metric, series, state);
                            }
                            Slot::Overflow => taking.add(&metric.name, Sink::Trend(Box::new(trend(point)))),
                            Slot::Nowhere => {}
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
        taking: &mut Ingest,
    ) -> Result<(), ExportError> {
        let rate = part_of_rate(name, point);
        let (metric, kind) = rate
            .as_ref()
            .map_or((name, Kind::Counter), |(metric, _)| (*metric, Kind::Rate));
        let (number_of_metric, series) =
            match self.place_of((metric, kind, unit), &point.attributes, taking)? {
                Slot::Series(metric, series) => (metric, series),
                Slot::Overflow => {
                    let sink = rate
                        .as_ref()
                        .map_or_else(|| Sink::Counter(number(point)), |(_, part)| part.sink());
                    taking.add(metric, sink);
                    return Ok(());
                }
                Slot::Nowhere => return Ok(()),
            };
        let state = match rate {
            None => State::Counter(number(point)),
            Some((_, part)) => {
                let before = taking.sent.state(number_of_metric, series);
                let (mut occurred, mut total, mut zero, mut nonzero) = match before {
                    Some(State::Rate {
                        occurred,
                        total,
                        zero,
                        nonzero,
                    }) => (*occurred, *total, *zero, *nonzero),
                    Some(State::Counter(_) | State::Gauge { .. } | State::Trend(_)) | None => (0, 0, 0, 0),
                };
                match part {
                    RateCounter::Occurred(count) => occurred = count,
                    RateCounter::Total(count) => total = count,
                    RateCounter::Zero(count) => zero = count,
                    RateCounter::Nonzero(count) => nonzero = count,
                }
                State::Rate {
                    occurred,
                    total,
                    zero,
                    nonzero,
                }
            }
        };
        taking.sent.set(number_of_metric, series, state);
        Ok(())
    }

    /// Values of a rate without the tag that tells zeros from others.
    fn take_unknown(&mut self, name: &str, point: &NumberDataPoint, sent: &mut SourceState) {
        let metric = name.strip_suffix(TOTAL).unwrap_or(name);
        match self.catalog.metrics.get(metric) {
            None => return,
            Some(known) if known.overflown => {}
            Some(_) => {
                if let Some(known) = Arc::make_mut(&mut self.catalog).metrics.get_mut(metric) {
                    known.overflown = true;
                }
            }
        }
        sent.overflown = true;
        let values = sent.undivided.entry(metric.to_owned()).or_default();
        values.count = number(point) as u64;
    }

    /// Divides the values of a process's rates that no export divides, by k6's own shares of all of its values.
    pub fn divide(&mut self, sender: &Sender, shares: &BTreeMap<String, f64>, is_exact: bool) {
        let Some(sent) = self.senders.get_mut(sender).filter(|sent| sent.has_undivided()) else {
            return;
        };
        let sent = Arc::make_mut(sent);
        let mut undivided = std::mem::take(&mut sent.undivided);
        for (metric, values) in &mut undivided {
            values.nonzero = None;
            let Some(share) = shares.get(metric) else {
                continue;
            };
            let known = self.catalog.metrics.get(metric);
            let counted = known.map_or((0, 0), |known| sent.rate(known.number, metric));
            values.divide(counted, *share, is_exact);
        }
        sent.undivided = undivided;
    }

    /// The number of a series, which it gets when it is first seen, if there is room.
    fn place_of(
        &mut self,
        (metric, kind, unit): (&str, Kind, &str),
        attributes: &[KeyValue],
        taking: &mut Ingest,
    ) -> Result<Slot, ExportError> {
        let (own_number, key) = (taking.own_number, &mut taking.key);
        let rate = kind == Kind::Rate;
        let kept = |attribute: &&KeyValue| {
            let mine = attribute.key == RUNNER_TAG && text(attribute) == own_number;
            let half = rate && is_half(attribute);
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
        if let Some((number, series)) = self.index.get(key.as_slice()) {
            let known = self.catalog.metrics.get(metric).map_or(kind, |known| known.kind);
            return if known == kind {
                Ok(Slot::Series(*number, *series))
            } else {
                Err(conflict(metric, kind, known))
            };
        }
        let catalog = Arc::make_mut(&mut self.catalog);
        let crowded = catalog.series.len() >= MOST_SERIES || catalog.tagged + key.len() > MOST_TAGGED;
        taking.crowded |= crowded;
        let metrics = catalog.metrics.len();
        if crowded && metrics >= MOST_SERIES && !catalog.metrics.contains_key(metric) {
            self.lost = true;
            return Ok(Slot::Nowhere);
        }
        let series = catalog.series.len();
        let known = catalog
            .metrics
            .entry(metric.to_owned())
            .or_insert_with(|| MetricMeta {
                number: metrics,
                kind,
                unit: unit.to_owned(),
                overflown: false,
            });
        if known.kind != kind {
            return Err(conflict(metric, kind, known.kind));
        }
        if crowded {
            return Ok(Slot::Overflow);
        }
        let mut tags: Vec<_> = attributes
            .iter()
            .filter(kept)
            .map(|attribute| (attribute.key.clone(), text(attribute).to_owned()))
            .collect();
        tags.sort();
        let overflown = tags.iter().any(|(key, _)| key == OVERFLOW_TAG);
        known.overflown |= overflown;
        taking.sent.overflown |= overflown;
        let number = known.number;
        catalog.tagged += key.len();
        catalog.series.push(Arc::new(Series {
            metric: metric.to_owned(),
            tags,
        }));
        self.index.insert(key.as_slice().into(), (number, series));
        Ok(Slot::Series(number, series))
    }

    /// That a process runs no more: its virtual users are not counted any longer.
    pub fn ended(&mut self, sender: &Sender) {
        if let Some(sent) = self.senders.get_mut(sender).filter(|sent| !sent.ended) {
            Arc::make_mut(sent).ended = true;
        }
    }

    /// That its part of the test began then.
    pub fn part_started(&mut self, sender: &Sender, started: u64) {
        Arc::make_mut(self.users.entry(sender.clone()).or_default()).started = Some(started);
    }

    /// That its part of the test ended then: of its virtual users those before are the last.
    pub fn part_ended(&mut self, sender: &Sender, ended: u64) {
        Arc::make_mut(self.users.entry(sender.clone()).or_default()).over(ended);
    }

    /// Who has sent.
    pub fn senders(&self) -> &BTreeMap<Sender, Arc<SourceState>> {
        &self.senders
    }

    /// A series by its number.
    pub fn series(&self, number: usize) -> Option<&Series> {
        self.catalog.series.get(number).map(AsRef::as_ref)
    }

    /// How many values of a rate there are, beside those that are counted, of which nothing tells whether they are
    /// zero.
    pub fn unknown(&self, selector: &Selector) -> u64 {
        let values =
            of(&self.senders, selector.runner()).filter_map(|(_, sent)| sent.undivided.get(&selector.metric));
        let unknown = values.filter(|values| values.nonzero.is_none());
        unknown.map(|values| values.count).sum()
    }

    /// The metrics of which a runner had too many series to keep them apart.
    pub fn overflown(&self) -> impl Iterator<Item = &str> {
        let metrics = self.catalog.metrics.iter();
        metrics
            .filter(|(_, known)| known.overflown)
            .map(|(name, _)| name.as_str())
    }

    /// Whether samples for which it asks may be there without the tags by which it does.
    pub fn lacks(&self, selector: &Selector) -> bool {
        let Some(known) = self.catalog.metrics.get(&selector.metric) else {
            return self.lost;
        };
        let apart = selector.is_by_tags();
        let has_rest = |sent: &Arc<SourceState>| sent.rest.contains_key(&selector.metric);
        apart && (known.overflown || self.senders.values().any(has_rest))
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

impl Ingest<'_> {
    /// Adds a point to the rest of its metric.
    fn add(&mut self, metric: &str, sink: Sink) {
        match self.rest.get_mut(metric) {
            Some(sum) => sum.add(&sink),
            None => drop(self.rest.insert(metric.to_owned(), sink)),
        }
    }

    /// All points of the export have been there: their rest takes the place of that of the export before.
    fn end(self) -> Result<(), ExportError> {
        for (metric, mut sink) in self.rest {
            if let Some(before) = self.sent.rest.get(&metric) {
                sink.follow(before);
            }
            self.sent.rest.insert(metric, sink);
        }
        if self.crowded {
            Err(ExportError::TooMany)
        } else {
            Ok(())
        }
    }
}

fn conflict(metric: &str, given: Kind, known: Kind) -> ExportError {
    ExportError::Conflict {
        metric: metric.to_owned(),
        given: given.name(),
        known: known.name(),
    }
}
