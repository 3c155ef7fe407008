//! The latest state of every series of every runner. Pure.
//!
//! Exports are cumulative, so the last export of a runner has everything that those before it had. An export that is
//! lost is made up for by the next, and a runner that dies leaves what it has sent. Exports of a process count in the
//! order in which they arrive, whatever its clock says.

use super::moment::Moment;
use super::otlp::{
    OVERFLOW_TAG, TOTAL, acceptable, condition, is_half, is_overflow, number, part_of_rate, progress,
};
use super::sink::Sink;
use super::source::Overflow;
use super::users::Users;
use super::wire::{Attribute, Data, Metric as Exported, NumberPoint};
use crate::k6::metrics::MetricType;
use crate::k6::threshold::{RUNNER_TAG, Selector};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

pub use super::source::SourceState;
pub use super::view::{Metric, View};
pub use super::wire::{Export, WireError};

/// Gauges whose value for the whole test is the sum over the runners.
pub(super) const SUMMED: [&str; 2] = [RUNNING, "vus_max"];
/// The gauge of running virtual users. It is 0 for a process that has ended.
pub(super) const RUNNING: &str = "vus";
/// The most series that are kept apart, over all metrics, and the most metrics.
const MOST_SERIES: usize = 100_000;
/// The most bytes of tags of all series that are kept apart, with the names of their metrics. They are in memory twice.
const MOST_TAGGED: usize = 64 * 1024 * 1024;

/// One process of a runner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The runner's number, from 1.
    pub runner: u32,
    /// Distinguishes the processes of the runner, such as the UID of the pod.
    pub process: String,
}

/// Why an export was not taken, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExportError {
    /// Sums count from the export before instead of the start.
    #[error("{0} is not cumulative: unset OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")]
    Delta(String),
    /// Explicit buckets can't be merged without an error.
    #[error(
        "{0} is a histogram of explicit buckets: set OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION to \
         base2_exponential_bucket_histogram"
    )]
    ExplicitBuckets(String),
    /// A metric of this name has another type.
    #[error("{metric} is a {given} in this export and a {known} in an earlier one")]
    Conflict {
        /// The metric.
        metric: String,
        /// Its type in this export.
        given: &'static str,
        /// Its type in earlier exports.
        known: &'static str,
    },
    /// k6 does not export this kind of data.
    #[error("{0} has a type that k6 does not export")]
    Foreign(String),
    /// A histogram whose buckets do not add up to its count.
    #[error("the buckets of {0} do not add up to its count")]
    Inconsistent(String),
    /// k6 does not allow this name for a metric.
    #[error("k6 allows no metric named {0:?}")]
    Name(String),
    /// k6's exporter does not make such a number.
    #[error("the {what} of {metric} is beyond what k6 exports")]
    Beyond {
        /// The metric.
        metric: String,
        /// The part of the metric with that number.
        what: &'static str,
    },
    /// There are too many series to keep them apart.
    #[error(
        "there are more than {MOST_SERIES} series, or more than 64 MiB of their tags: give requests a `name` tag, or drop \
         tags with options.systemTags"
    )]
    TooMany,
    /// The export is larger than the limit, in bytes.
    #[error("it has more than {0} bytes: give requests a `name` tag, or drop tags with options.systemTags")]
    TooLarge(usize),
    /// The export can't be parsed.
    #[error("it can't be read: {0}")]
    Unreadable(String),
}

impl From<WireError> for ExportError {
    fn from(error: WireError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl ExportError {
    /// Whether the data was taken all the same, and only the tags of some series were not.
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

/// A metric with its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The name of the metric.
    pub metric: String,
    /// The tags, sorted by name.
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
    pub(super) type_: MetricType,
    pub(super) unit: String,
    /// Whether a runner had too many series of it to keep them apart.
    pub(super) overflown: bool,
}

/// All metrics and series.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    /// The bytes of the tags of all series.
    tagged: usize,
    series: Vec<Arc<Series>>,
    pub(super) metrics: BTreeMap<String, MetricMeta>,
}

/// Where a point belongs.
enum Slot {
    Series(usize, usize),
    /// The sum of those series of its metric that have no room.
    Overflow,
    Nowhere,
}

/// An export that is being taken.
struct Ingest<'a> {
    own_number: &'a str,
    sent: &'a mut SourceState,
    rest: Overflow,
    /// Whether a series had no room.
    crowded: bool,
    /// A buffer for the keys of series.
    key: Vec<u8>,
}

/// Everything that has been sent.
#[derive(Debug, Default)]
pub struct Store {
    /// The numbers of metric and series, by the key of the series.
    index: BTreeMap<Box<[u8]>, (usize, usize)>,
    pub(super) catalog: Arc<Catalog>,
    senders: BTreeMap<Sender, Arc<SourceState>>,
    pub(super) users: BTreeMap<Sender, Arc<Users>>,
    /// Whether there was no room for a metric.
    lost: bool,
}

impl Store {
    /// A copy to be read while this store takes exports. It shares the data, so it costs little. It takes no exports
    /// itself.
    pub fn snapshot(&self) -> Self {
        Self {
            index: BTreeMap::new(),
            catalog: Arc::clone(&self.catalog),
            senders: self.senders.clone(),
            users: self.users.clone(),
            lost: self.lost,
        }
    }

    /// Takes an export. If it has data that can't be merged, nothing is kept. If a metric has a conflicting type, what
    /// comes before it is kept. Series that have no room are added up by metric.
    ///
    /// Exports of a process arrive in order, so the last one counts. An export is ignored if both its time and its
    /// numbers show that it is earlier: the clock alone can be set back.
    pub fn take(&mut self, sender: &Sender, export: &Export<'_>, now: Moment) -> Result<(), ExportError> {
        for metric in &export.metrics {
            acceptable(metric)?;
        }
        let own_number = sender.runner.to_string();
        let sent = self.senders.remove(sender).unwrap_or_default();
        let mut sent = Arc::unwrap_or_clone(sent);
        let (made, much) = progress(&export.metrics);
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
        let taken = self.take_all(export, &mut taking).and_then(|()| taking.end());
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

    fn take_all(&mut self, export: &Export<'_>, taking: &mut Ingest) -> Result<(), ExportError> {
        for metric in &export.metrics {
            match &metric.data {
                Some(Data::Sum {
                    points,
                    temporality: _,
                }) => {
                    let tags = |point: &NumberPoint| export.attributes(point.attributes);
                    let unknown = points.iter().any(|point| is_overflow(tags(point)))
                        && points.iter().any(|point| condition(tags(point)).is_some());
                    let counts = |point: &&NumberPoint| !(unknown && is_overflow(tags(point)));
                    for point in points.iter().filter(counts) {
                        self.take_sum(metric, point, tags(point), taking)?;
                    }
                    for point in points.iter().filter(|point| !counts(point)) {
                        self.take_unknown(metric.name, point, taking.sent);
                    }
                }
                Some(Data::Gauge(points)) => {
                    let summed = SUMMED.contains(&metric.name);
                    for point in points {
                        let sink = Sink::gauge(number(point), point.time, summed);
                        self.take_sink(metric, export.attributes(point.attributes), sink, taking)?;
                    }
                }
                Some(Data::ExponentialHistogram {
                    points,
                    temporality: _,
                }) => {
                    for point in points {
                        let sink = Sink::Trend(Arc::clone(&point.histogram));
                        self.take_sink(metric, export.attributes(point.attributes), sink, taking)?;
                    }
                }
                Some(Data::Histogram | Data::Summary) | None => {}
            }
        }
        Ok(())
    }

    fn take_sum(
        &mut self,
        metric: &Exported<'_>,
        point: &NumberPoint,
        tags: &[Attribute<'_>],
        taking: &mut Ingest,
    ) -> Result<(), ExportError> {
        let Some((name, counter)) = part_of_rate(metric.name, point, tags) else {
            return self.take_sink(metric, tags, Sink::Counter(number(point)), taking);
        };
        let of = (name, MetricType::Rate, metric.unit);
        match self.place_of(of, tags, taking)? {
            Slot::Series(metric, series) => taking.sent.set_rate(metric, series, counter),
            Slot::Overflow => taking.add(name, counter.into()),
            Slot::Nowhere => {}
        }
        Ok(())
    }

    fn take_sink(
        &mut self,
        metric: &Exported<'_>,
        attributes: &[Attribute<'_>],
        sink: Sink,
        taking: &mut Ingest,
    ) -> Result<(), ExportError> {
        let of = (metric.name, sink.metric_type(), metric.unit);
        match self.place_of(of, attributes, taking)? {
            Slot::Series(metric, series) => taking.sent.set(metric, series, sink),
            Slot::Overflow => taking.add(metric.name, sink),
            Slot::Nowhere => {}
        }
        Ok(())
    }

    /// Takes values of a rate without the tag that tells zeros from others.
    fn take_unknown(&mut self, name: &str, point: &NumberPoint, sent: &mut SourceState) {
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

    /// Divides those values of a process's rates that no export divides, by k6's own shares of all values.
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

    /// The slot of a series. A new series gets a number if there is room for it.
    fn place_of(
        &mut self,
        (metric, type_, unit): (&str, MetricType, &str),
        attributes: &[Attribute<'_>],
        taking: &mut Ingest,
    ) -> Result<Slot, ExportError> {
        let (own_number, key) = (taking.own_number, &mut taking.key);
        let kept = |attribute: &&Attribute<'_>| {
            let mine = attribute.key == RUNNER_TAG && attribute.text == own_number;
            let half = type_ == MetricType::Rate && is_half(attribute);
            !mine && !half
        };
        write_key(key, metric, attributes, kept);
        if let Some((number, series)) = self.index.get(key.as_slice()) {
            let known = self
                .catalog
                .metrics
                .get(metric)
                .map_or(type_, |known| known.type_);
            return if known == type_ {
                Ok(Slot::Series(*number, *series))
            } else {
                Err(conflict(metric, type_, known))
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
        let known = catalog
            .metrics
            .entry(metric.to_owned())
            .or_insert_with(|| MetricMeta {
                number: metrics,
                type_,
                unit: unit.to_owned(),
                overflown: false,
            });
        if known.type_ != type_ {
            return Err(conflict(metric, type_, known.type_));
        }
        if crowded {
            return Ok(Slot::Overflow);
        }
        let kept = attributes.iter().filter(kept);
        let mut tags: Vec<_> = kept
            .map(|attribute| (attribute.key.to_owned(), attribute.text.to_owned()))
            .collect();
        tags.sort();
        let overflown = tags.iter().any(|(key, _)| key == OVERFLOW_TAG);
        known.overflown |= overflown;
        taking.sent.overflown |= overflown;
        let place = (known.number, catalog.series.len());
        catalog.tagged += key.len();
        let metric = metric.to_owned();
        catalog.series.push(Arc::new(Series { metric, tags }));
        self.index.insert(key.as_slice().into(), place);
        Ok(Slot::Series(place.0, place.1))
    }

    /// Records that a process has ended. Its virtual users do not count any more.
    pub fn ended(&mut self, sender: &Sender) {
        if let Some(sent) = self.senders.get_mut(sender).filter(|sent| !sent.ended) {
            Arc::make_mut(sent).ended = true;
        }
    }

    /// Records when a process's part of the test began.
    pub fn part_started(&mut self, sender: &Sender, started: Moment) {
        Arc::make_mut(self.users.entry(sender.clone()).or_default()).started = Some(started);
    }

    /// Records when a process's part of the test ended. Its virtual users before that are the final ones.
    pub fn part_ended(&mut self, sender: &Sender, ended: Moment) {
        Arc::make_mut(self.users.entry(sender.clone()).or_default()).over(ended);
    }

    /// All processes that have sent exports.
    pub fn senders(&self) -> &BTreeMap<Sender, Arc<SourceState>> {
        &self.senders
    }

    /// A series by its number.
    pub fn series(&self, number: usize) -> Option<&Series> {
        self.catalog.series.get(number).map(AsRef::as_ref)
    }

    /// The number of values of a rate, beside those that are counted, for which nothing tells whether they are zero.
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

    /// Whether samples that the selector asks for may have lost their tags.
    pub fn lacks(&self, selector: &Selector) -> bool {
        let Some(known) = self.catalog.metrics.get(&selector.metric) else {
            return self.lost;
        };
        let apart = selector.is_by_tags();
        let has_rest = |sent: &Arc<SourceState>| sent.rest.contains_key(&selector.metric);
        apart && (known.overflown || self.senders.values().any(has_rest))
    }
}

/// The entries of the processes of one runner, or of all.
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
    /// Adds a point to the sum of the series of its metric that have no room.
    fn add(&mut self, metric: &str, sink: Sink) {
        match self.rest.get_mut(metric) {
            Some(sum) => sum.add(&sink),
            None => drop(self.rest.insert(metric.to_owned(), sink)),
        }
    }

    /// Ends the export: its sums of series that have no room replace those of the export before.
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

/// Writes the key of a series: the metric, and the tags in the order of their names. Most exports have them in order.
fn write_key(
    key: &mut Vec<u8>,
    metric: &str,
    attributes: &[Attribute<'_>],
    kept: impl FnMut(&&Attribute<'_>) -> bool,
) {
    let mut sorted: Vec<&Attribute<'_>> = Vec::new();
    if !attributes.is_sorted_by(|a, b| a.key <= b.key) {
        sorted.extend(attributes);
        sorted.sort_by(|a, b| a.key.cmp(b.key));
    }
    let in_order = attributes.iter().filter(|_| sorted.is_empty());
    key.clear();
    key.extend_from_slice(metric.as_bytes());
    for attribute in in_order.chain(sorted.iter().copied()).filter(kept) {
        key.push(0);
        key.extend_from_slice(attribute.key.as_bytes());
        key.push(1);
        key.extend_from_slice(attribute.text.as_bytes());
    }
}

fn conflict(metric: &str, given: MetricType, known: MetricType) -> ExportError {
    ExportError::Conflict {
        metric: metric.to_owned(),
        given: given.as_str(),
        known: known.as_str(),
    }
}
