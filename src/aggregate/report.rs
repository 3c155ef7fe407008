//! The report of a test: its data, and its page as one file without dependencies. Pure.

use super::moment::Moment;
use super::session::Session;
use super::sink::{Aggregate, Sink};
use super::store::View;
use super::summary::{self, Check, Options, checks};
use super::timeline::{MOST_LINES, Step};
use crate::protocol::heartbeat::Phase;
pub use crate::protocol::outcome::Totals;
use jiff::Timestamp;
use requests::{Request, requests};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

mod requests;

/// The most points in the lines of runners. The report is kept in a ConfigMap, which has room for a mebibyte.
const MOST_POINTS: usize = 24_000;

/// What is known about a run beside the numbers of its runners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunInfo {
    /// The namespace and name of the resource.
    pub name: String,
    /// The kind of the resource.
    pub kind: String,
    /// The version of k6.
    pub k6_version: Option<String>,
    /// How the run ended.
    pub result: Option<String>,
    /// The reason of the result, as a word.
    pub reason: Option<String>,
    /// The reason of the result, as a sentence.
    pub message: Option<String>,
    /// Whether the run was stopped. Thresholds that were crossed until then do not change its result.
    pub stopped: bool,
    /// The time between the first and the last release order, in ms.
    pub start_spread_ms: Option<f64>,
    /// The events of the run.
    pub history: Vec<Line>,
    /// How the process of each runner ended, by the runner's number, as Kubernetes reports it.
    pub ends: BTreeMap<u32, String>,
}

/// An event of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The time of the event, as a timestamp of RFC 3339.
    pub time: String,
    /// The event, as a word.
    pub event: String,
    /// The event, as a sentence.
    pub text: String,
}

/// The data of the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(flatten)]
    about: RunInfo,
    live: bool,
    started: Option<String>,
    duration_ms: f64,
    runners: u32,
    totals: Totals,
    complete: bool,
    incomplete: Vec<String>,
    time: Time,
    per_runner: Vec<PerRunner>,
    thresholds: Vec<Shown>,
    checks: Vec<ShownCheck>,
    groups: Vec<Group>,
    scenarios: Vec<Scenario>,
    requests: Vec<Request>,
    metrics: Vec<Metric>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Time {
    at: Vec<f64>,
    vus: Vec<f64>,
    requests: Vec<f64>,
    failed: Vec<Option<f64>>,
    iterations: Vec<f64>,
    p50: Vec<Option<f64>>,
    p90: Vec<Option<f64>>,
    p95: Vec<Option<f64>>,
    p99: Vec<Option<f64>>,
}

impl Time {
    fn keep_from(&mut self, from: usize) {
        let Self {
            at,
            vus,
            requests,
            failed,
            iterations,
            p50,
            p90,
            p95,
            p99,
        } = self;
        for numbers in [at, vus, requests, iterations] {
            numbers.drain(..from);
        }
        for numbers in [failed, p50, p90, p95, p99] {
            numbers.drain(..from);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PerRunner {
    runner: u32,
    state: &'static str,
    exit: Option<i32>,
    /// Why the numbers are incomplete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
    requests: f64,
    failed_rate: Option<f64>,
    p95: Option<f64>,
    requests_over_time: Vec<Option<f64>>,
    #[serde(rename = "p95OverTime")]
    p95_over_time: Vec<Option<f64>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Shown {
    metric: String,
    expression: String,
    passed: Option<bool>,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    uncertain: bool,
    aborted: bool,
    limit: f64,
    unit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ShownCheck {
    group: String,
    name: String,
    passes: u64,
    fails: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Group {
    name: String,
    count: f64,
    avg: f64,
    med: f64,
    p95: f64,
    max: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Scenario {
    name: String,
    iterations: f64,
    requests: f64,
    p95: Option<f64>,
    failed_rate: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    contains: &'static str,
    values: Map<String, Value>,
}

fn ask(sink: Option<&Sink>, aggregate: Aggregate, seconds: f64) -> Option<f64> {
    let sink = sink.filter(|sink| !sink.is_empty())?;
    sink.ask(aggregate, seconds).map(|found| finite(found.value))
}

/// The nearest number that JSON can express.
pub(super) fn finite(value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        // Removes the sign of a negative zero.
        value.clamp(f64::MIN, f64::MAX) + 0.0
    }
}

const P95: Aggregate = Aggregate::Percentile(95.0);

/// The numbers of the whole test.
pub fn totals(view: &View, seconds: f64) -> Totals {
    let of = |name: &str, aggregate| {
        ask(
            view.metrics.get(name).map(|metric| &metric.sink),
            aggregate,
            seconds,
        )
    };
    let count = |name: &str| of(name, Aggregate::Count).unwrap_or_default();
    let rate = |name: &str| of(name, Aggregate::Rate).unwrap_or_default();
    let (passed, checks) = match view.metrics.get("checks").map(|metric| &metric.sink) {
        Some(Sink::Rate { nonzero, total }) => (*nonzero, *total),
        Some(Sink::Counter(_) | Sink::Gauge { .. } | Sink::Trend(_)) | None => (0, 0),
    };
    Totals {
        requests: count("http_reqs"),
        request_rate: rate("http_reqs"),
        failed_rate: of("http_req_failed", Aggregate::Rate),
        p95: of("http_req_duration", P95),
        iterations: count("iterations"),
        iteration_rate: rate("iterations"),
        vus: of("vus", Aggregate::Value).unwrap_or_default(),
        vus_max: match view.metrics.get("vus_max").map(|metric| &metric.sink) {
            Some(Sink::Gauge { max, .. }) => finite(*max),
            Some(Sink::Counter(_) | Sink::Rate { .. } | Sink::Trend(_)) | None => 0.0,
        },
        data_received: count("data_received"),
        data_sent: count("data_sent"),
        checks_passed: passed,
        checks_total: checks,
    }
}

impl Report {
    /// The report of what is known now.
    pub fn of(
        about: RunInfo,
        session: &Session,
        options: &Options,
        started: Option<Timestamp>,
        now: Moment,
    ) -> Self {
        let lines = usize::try_from(session.expected.clamp(1, MOST_LINES)).unwrap_or(1);
        let steps = session.timeline.at_most((MOST_POINTS / lines).clamp(60, 600));
        let view = session.view();
        let seconds = session.elapsed(now);
        let is_live = about.result.is_none();
        let incomplete = session.incomplete_now(now);
        Self {
            live: is_live,
            started: started.map(|started| started.to_string()),
            duration_ms: seconds * 1e3,
            runners: session.expected,
            totals: totals(&view, seconds),
            complete: incomplete.is_empty(),
            incomplete,
            time: time(&steps),
            per_runner: per_runner(session, &steps, &about, now),
            thresholds: thresholds(session, &view),
            checks: checks(session).into_iter().map(ShownCheck::from).collect(),
            groups: groups(session, &view, seconds),
            scenarios: scenarios(session, &view, seconds),
            requests: requests(session, &view, seconds),
            metrics: view
                .metrics
                .iter()
                .map(|(name, metric)| Metric {
                    name: name.clone(),
                    kind: metric.sink.metric_type().as_str(),
                    contains: metric.contains,
                    values: summary::values(&metric.sink, &options.statistics, seconds),
                })
                .collect(),
            about,
        }
    }

    /// Only the last steps of the timeline, for a reader who has the others.
    pub fn tick(mut self, steps: usize) -> Value {
        let from = self.time.at.len().saturating_sub(steps);
        self.time.keep_from(from);
        for runner in &mut self.per_runner {
            for line in [&mut runner.requests_over_time, &mut runner.p95_over_time] {
                line.drain(..from.min(line.len()));
            }
        }
        json!({"tick": self})
    }

    /// Whether the test goes on.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The number of steps of the timeline.
    pub fn steps(&self) -> usize {
        self.time.at.len()
    }

    /// The page with its data.
    pub fn page(&self) -> String {
        page_of(&serde_json::to_string(self).unwrap_or_default(), &self.about.name)
    }
}

/// The page of a report that was printed as JSON, with what is known about the run by now.
pub fn page(report: &Value, about: &RunInfo) -> String {
    let mut report = report.clone();
    if let (Some(shown), Ok(Value::Object(about))) = (report.as_object_mut(), serde_json::to_value(about)) {
        shown.extend(about);
        shown.insert("live".to_owned(), false.into());
    }
    for shown in report
        .get_mut("perRunner")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // The last runner ends only after the aggregator has printed the report.
        let number = shown.get("runner").and_then(Value::as_u64);
        let end = number
            .and_then(|number| u32::try_from(number).ok())
            .and_then(|number| about.ends.get(&number))
            .and_then(|end| end.strip_prefix("exit code "));
        let code = end.and_then(|end| end.split(',').next()?.parse::<i32>().ok());
        if let (Some(code), Some(shown)) = (code, shown.as_object_mut()) {
            shown.insert("exit".to_owned(), code.into());
        }
    }
    page_of(&report.to_string(), &about.name)
}

fn page_of(data: &str, name: &str) -> String {
    let title = format!("{name} · k6");
    assemble(&escaped(&title), &data.replace('<', "\\u003c"))
}

impl From<Check> for ShownCheck {
    fn from(check: Check) -> Self {
        let Check {
            group,
            name,
            passes,
            fails,
        } = check;
        Self {
            group,
            name,
            passes,
            fails,
        }
    }
}

/// A number with the precision of a chart.
fn drawn(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn time(steps: &[Step]) -> Time {
    let mut time = Time::default();
    for step in steps {
        let [p50, p90, p95, p99] = step.percentiles().map(|value| value.map(drawn));
        time.at.push(drawn(step.at));
        time.vus.push(step.vus);
        time.requests.push(drawn(step.requests));
        time.iterations.push(drawn(step.iterations));
        let (failed, of) = step.failed;
        time.failed
            .push((of > 0).then(|| (failed as f64 / of as f64 * 1e6).round() / 1e6));
        time.p50.push(p50);
        time.p90.push(p90);
        time.p95.push(p95);
        time.p99.push(p99);
    }
    time
}

fn per_runner(session: &Session, steps: &[Step], about: &RunInfo, now: Moment) -> Vec<PerRunner> {
    let mut incomplete: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (runner, gap) in session.gaps(now) {
        let why = gap.describe(runner, about.result.is_some());
        incomplete.entry(runner).or_default().extend(why);
    }
    let runner = |runner: u32| {
        let known = session.runner(runner);
        let of = |name: &str| session.store.total(name, Some(runner));
        let (requests_over_time, p95_over_time) = steps
            .iter()
            .filter(|_| runner <= MOST_LINES)
            .map(|step| {
                let line = step.runners.get(&runner).copied();
                (
                    line.map(|(requests, _)| drawn(requests)),
                    line.and_then(|(_, p95)| p95).map(drawn),
                )
            })
            .unzip();
        PerRunner {
            runner,
            state: match known.and_then(|known| known.phase) {
                Some(Phase::Ended | Phase::Exited) => "ended",
                Some(Phase::Waiting | Phase::Running) | None if about.result.is_some() => "lost",
                Some(Phase::Waiting | Phase::Running) | None => "running",
            },
            exit: known.and_then(|known| known.exit_code),
            incomplete: incomplete.get(&runner).cloned().unwrap_or_default(),
            requests: ask(of("http_reqs").as_ref(), Aggregate::Count, 0.0).unwrap_or_default(),
            failed_rate: ask(of("http_req_failed").as_ref(), Aggregate::Rate, 0.0),
            p95: ask(of("http_req_duration").as_ref(), P95, 0.0),
            requests_over_time,
            p95_over_time,
        }
    };
    (1..=session.expected).map(runner).collect()
}

fn thresholds(session: &Session, view: &View) -> Vec<Shown> {
    let shown = session.judged().iter().map(|judged| {
        let (threshold, value) = (&judged.threshold, judged.verdict.value);
        let metric = view.metrics.get(&threshold.selector.metric);
        let is_time = metric.is_some_and(|metric| metric.contains == "time");
        Shown {
            metric: threshold.name.clone(),
            expression: threshold.source.clone(),
            passed: judged.verdict.passed,
            value: value.map(|value| value.value),
            low: value.map(|value| value.low),
            high: value.map(|value| value.high),
            uncertain: judged.verdict.uncertain,
            aborted: judged.aborted.is_some(),
            limit: threshold.expression.limit,
            unit: if is_time { "ms" } else { "" },
        }
    });
    shown.collect()
}

/// The sums of the series of a metric that have the same values of these tags.
fn by_tags<const N: usize>(
    session: &Session,
    view: &View,
    metric: &str,
    tags: [&str; N],
) -> BTreeMap<[String; N], Sink> {
    let mut sums: BTreeMap<[String; N], Sink> = BTreeMap::new();
    let series = view.metrics.get(metric).map(|metric| metric.series.as_slice());
    for (number, sink) in series.unwrap_or_default() {
        let Some(series) = session.store.series(*number) else {
            continue;
        };
        let key = tags.map(|tag| series.tag(tag).unwrap_or_default().to_owned());
        match sums.get_mut(&key) {
            Some(sum) => sum.add(sink),
            None => {
                sums.insert(key, sink.clone());
            }
        }
    }
    sums
}

fn groups(session: &Session, view: &View, seconds: f64) -> Vec<Group> {
    let groups = by_tags(session, view, "group_duration", ["group"]);
    let groups = groups.into_iter().map(|([name], sink)| {
        let of = |aggregate| ask(Some(&sink), aggregate, seconds).unwrap_or_default();
        Group {
            name,
            count: of(Aggregate::Count),
            avg: of(Aggregate::Avg),
            med: of(Aggregate::Med),
            p95: of(P95),
            max: of(Aggregate::Max),
        }
    });
    groups.collect()
}

fn scenarios(session: &Session, view: &View, seconds: f64) -> Vec<Scenario> {
    let of = |metric| by_tags(session, view, metric, ["scenario"]);
    let (iterations, requests) = (of("iterations"), of("http_reqs"));
    let (durations, failed) = (of("http_req_duration"), of("http_req_failed"));
    // The only scenario of a test has no tag, and is the test.
    let iterations = iterations.iter().filter(|([name], _)| !name.is_empty());
    let scenarios = iterations.map(|(key, sink)| Scenario {
        name: key.join(""),
        iterations: ask(Some(sink), Aggregate::Count, seconds).unwrap_or_default(),
        requests: ask(requests.get(key), Aggregate::Count, seconds).unwrap_or_default(),
        p95: ask(durations.get(key), P95, seconds),
        failed_rate: ask(failed.get(key), Aggregate::Rate, seconds),
    });
    scenarios.collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// Fills in the page in one pass, since the texts that are filled in may contain braces.
fn assemble(title: &str, data: &str) -> String {
    let parts = [
        ("title", title),
        ("data", data),
        ("style", include_str!("report/page.css")),
        ("script", include_str!("report/page.js")),
        ("uplot_style", include_str!("report/uplot.min.css")),
        ("uplot", include_str!("report/uplot.min.js")),
    ];
    let mut page = String::new();
    let mut rest = include_str!("report/page.html");
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let part = parts.iter().find(|(known, _)| *known == name);
        page.push_str(part.map_or("", |(_, text)| text));
        rest = after;
    }
    page.push_str(rest);
    page
}
