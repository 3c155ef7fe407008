//! The merged metrics in Prometheus' text format. Pure.
//!
//! Names and units are those of k6's own Prometheus output, so that its dashboards work: seconds, `_total` for
//! counters, `_rate` for rates, and a suffix for each number of a trend:
//! <https://grafana.com/docs/k6/latest/results-output/real-time/prometheus-remote-write/>.

use super::session::Session;
use super::sink::{Aggregate, Sink};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// The numbers of a trend, with their suffixes.
const NUMBERS: [(&str, Aggregate); 9] = [
    ("count", Aggregate::Count),
    ("avg", Aggregate::Avg),
    ("min", Aggregate::Min),
    ("med", Aggregate::Med),
    ("max", Aggregate::Max),
    ("p90", Aggregate::Percentile(90.0)),
    ("p95", Aggregate::Percentile(95.0)),
    ("p99", Aggregate::Percentile(99.0)),
    ("p999", Aggregate::Percentile(99.9)),
];

/// Writes the metrics for a scrape.
pub fn text(session: &Session) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Merged(samples(session))));
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

/// A metric in the text format.
#[derive(Debug)]
struct Sample {
    name: String,
    help: String,
    counter: bool,
    values: Vec<(Vec<(&'static str, String)>, f64)>,
}

fn samples(session: &Session) -> Vec<Sample> {
    let view = session.store.view();
    let mut samples = Vec::new();
    let mut sample = |name: String, help: String, counter: bool, value: f64| {
        samples.push(Sample {
            name: format!("k6_{name}"),
            help,
            counter,
            values: vec![(Vec::new(), value)],
        });
    };
    for (name, metric) in &view.metrics {
        let unit = if metric.contains == "time" { 1e-3 } else { 1.0 };
        match &metric.sink {
            Sink::Counter(count) => sample(name.clone(), format!("{name} of all runners"), true, *count),
            Sink::Gauge { value, .. } => {
                sample(name.clone(), format!("{name} of all runners"), false, *value)
            }
            Sink::Rate { .. } => {
                let rate = metric
                    .sink
                    .ask(Aggregate::Rate, 0.0)
                    .map_or(0.0, |found| found.value);
                sample(
                    format!("{name}_rate"),
                    format!("The rate of {name} over all runners"),
                    false,
                    rate,
                );
            }
            Sink::Trend(histogram) => {
                for (number, aggregate) in NUMBERS {
                    if let Some(found) = metric.sink.ask(aggregate, 0.0) {
                        let unit = if number == "count" { 1.0 } else { unit };
                        let help = format!("The {number} of {name} over all runners");
                        sample(format!("{name}_{number}"), help, false, found.value * unit);
                    }
                }
                let help = format!("The sum of {name} over all runners");
                sample(format!("{name}_sum"), help, false, histogram.sum * unit);
            }
        }
    }
    let crossed = session.judged().iter().map(|judged| {
        let labels = vec![
            ("metric", judged.threshold.name.clone()),
            ("threshold", judged.threshold.source.clone()),
        ];
        (labels, f64::from(u8::from(judged.verdict.passed == Some(false))))
    });
    let crossed: Vec<_> = crossed.collect();
    if !crossed.is_empty() {
        samples.push(Sample {
            name: "k6_threshold_crossed".to_owned(),
            help: "Whether a threshold of the script is crossed".to_owned(),
            counter: false,
            values: crossed,
        });
    }
    samples
}

#[derive(Debug)]
struct Merged(Vec<Sample>);

impl Collector for Merged {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for sample in &self.0 {
            let kind = if sample.counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let mut metric = encoder.encode_descriptor(&sample.name, &sample.help, None, kind)?;
            let encode = |value: f64, one: MetricEncoder<'_>| match sample.counter {
                true => ConstCounter::new(value).encode(one),
                false => ConstGauge::new(value).encode(one),
            };
            match sample.values.as_slice() {
                [(labels, value)] if labels.is_empty() => encode(*value, metric)?,
                values => {
                    for (labels, value) in values {
                        encode(*value, metric.encode_family(labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}
