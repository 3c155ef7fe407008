//! The summary of a test, as k6 makes one of a single process: the data that its `handleSummary()` receives, and a
//! text. Pure. <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>

use super::empty_metrics::Unmeasured;
use super::otlp::OVERFLOW_TAG;
use super::session::Session;
use super::sink::{Aggregate, Sink};
use super::store::Metric;
use crate::k6::threshold::{Selector, Submetric};
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What k6 shows of a trend if the script does not say otherwise.
const STATISTICS: [&str; 6] = ["avg", "min", "med", "max", "p(90)", "p(95)"];
/// The submetric that k6 makes by itself.
const EXPECTED: &str = "http_req_duration{expected_response:true}";

/// What of a script's options concerns the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Of trends.
    pub statistics: Vec<String>,
    /// The unit of times: s, ms or us; each as it is best read if there is none.
    pub time_unit: Option<String>,
}

impl Options {
    /// Those of a script's options as `k6 inspect` prints them.
    pub fn of(options: &Value) -> Self {
        let statistics = options.get("summaryTrendStats").and_then(Value::as_array);
        let statistics: Vec<_> = statistics
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect();
        let unit = options.get("summaryTimeUnit").and_then(Value::as_str);
        Self {
            statistics: if statistics.is_empty() {
                STATISTICS.map(str::to_owned).to_vec()
            } else {
                statistics
            },
            time_unit: unit.filter(|unit| !unit.is_empty()).map(str::to_owned),
        }
    }
}

/// Up to here every whole number has a float of its own: Number.MAX_SAFE_INTEGER.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// A metric or submetric, as the summary has it.
struct Entry {
    contains: &'static str,
    sink: Sink,
}

/// With those that have a threshold and no sample, and the metric of such a submetric, as k6 has them.
fn entries(session: &Session) -> BTreeMap<String, Entry> {
    let view = session.store.view_at_end();
    let mut entries = BTreeMap::new();
    let thresholds = session.judged().iter().map(|judged| &judged.threshold);
    let thresholds = thresholds.map(|threshold| (&threshold.name, &threshold.selector));
    let submetrics = session
        .submetrics
        .iter()
        .map(|Submetric { name, selector }| (name, selector));
    for (name, selector) in thresholds.chain(submetrics) {
        let Unmeasured {
            sink: empty,
            contains,
            is_known: _,
        } = session.unmeasured(&selector.metric, &view);
        let sink = session.store.select(&view, selector);
        let sink = sink.unwrap_or_else(|| empty.clone());
        let parent = entries.entry(selector.metric.clone());
        parent.or_insert(Entry {
            contains,
            sink: empty,
        });
        entries.insert(name_of(name), Entry { contains, sink });
    }
    if let Ok(selector) = Selector::parse(EXPECTED)
        && let Some(sink) = session.store.select(&view, &selector)
    {
        let contains = "time";
        entries.insert(EXPECTED.to_owned(), Entry { contains, sink });
    }
    for (name, metric) in view.metrics {
        let Metric {
            contains,
            sink,
            series: _,
        } = metric;
        entries.insert(name, Entry { contains, sink });
    }
    entries
}

/// The name of its metric as k6 has it: without blanks around the tags.
fn name_of(name: &str) -> String {
    let tags = name.split_once('{').zip(name.rfind('}'));
    tags.map_or_else(
        || name.to_owned(),
        |((metric, _), close)| {
            let tags = name.get(metric.len() + 1..close).unwrap_or_default();
            format!("{metric}{{{}}}", tags.trim())
        },
    )
}

fn aggregate(name: &str) -> Option<Aggregate> {
    Some(match name {
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "med" => Aggregate::Med,
        "max" => Aggregate::Max,
        "count" => Aggregate::Count,
        _ => Aggregate::Percentile(name.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?),
    })
}

/// A number as JavaScript writes it: a whole one without a fraction.
fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < WHOLE {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// The numbers of a metric, by k6's names for them.
pub fn values(sink: &Sink, statistics: &[String], seconds: f64) -> Map<String, Value> {
    let mut values = Map::new();
    let mut set = |name: &str, value: f64| {
        values.insert(name.to_owned(), plain(value));
    };
    match sink {
        Sink::Counter(count) => {
            set("count", *count);
            set("rate", if seconds > 0.0 { count / seconds } else { 0.0 });
        }
        Sink::Gauge { value, min, max, .. } => {
            set("value", *value);
            set("min", *min);
            set("max", *max);
        }
        Sink::Rate { nonzero, total } => {
            set(
                "rate",
                if *total > 0 {
                    *nonzero as f64 / *total as f64
                } else {
                    0.0
                },
            );
            set("passes", *nonzero as f64);
            set("fails", total.saturating_sub(*nonzero) as f64);
        }
        Sink::Trend(_) => {
            for name in statistics {
                if let Some(found) = aggregate(name).and_then(|aggregate| sink.ask(aggregate, seconds)) {
                    set(name, found.value);
                }
            }
        }
    }
    values
}

/// What `handleSummary()` receives.
pub fn data(session: &Session, options: &Options, now: u64) -> Value {
    let seconds = session.elapsed(now);
    let mut metrics = Map::new();
    for (name, entry) in entries(session) {
        let mut thresholds = Map::new();
        for judged in session
            .judged()
            .iter()
            .filter(|judged| name_of(&judged.threshold.name) == name)
        {
            // Nobody has shown that one holds which is not judged.
            let ok = judged.verdict.passed != Some(false) && !judged.unknown;
            thresholds.insert(judged.threshold.source.clone(), json!({"ok": ok}));
        }
        let mut metric = json!({
            "type": entry.sink.kind(),
            "contains": entry.contains,
            "values": values(&entry.sink, &options.statistics, seconds),
        });
        if let (false, Some(metric)) = (thresholds.is_empty(), metric.as_object_mut()) {
            metric.insert("thresholds".to_owned(), Value::Object(thresholds));
        }
        metrics.insert(name, metric);
    }
    json!({
        "root_group": groups(session).json("", ""),
        "options": {
            "summaryTrendStats": options.statistics,
            "summaryTimeUnit": options.time_unit.as_deref().unwrap_or_default(),
            "noColor": false,
        },
        "state": {"isStdOutTTY": false, "isStdErrTTY": false, "testRunDurationMs": seconds * 1e3},
        "metrics": metrics,
    })
}

/// The phases of a request. A machine-readable summary has them in the mode `full` only: k6 leaves out each metric
/// whose name begins so. <https://github.com/grafana/k6/blob/v1.5.0/internal/output/summary/data.go>
const PHASES: [&str; 6] = [
    "http_req_blocked",
    "http_req_connecting",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
    "http_req_waiting",
];
/// Metrics that a machine-readable summary never has under their own name, from the same place.
const LEFT_OUT: [&str; 2] = ["checks", "group_duration"];

/// What `handleSummary()` receives from a k6 that was told `--new-machine-readable-summary` (1.5 and newer), but for
/// what only that k6 knows: the version of the schema, `metadata`, and the source of the script. `phases` has the
/// metrics that belong to it in the mode `full` only.
pub fn machine_readable(session: &Session, options: &Options, now: u64) -> Value {
    let entries = entries(session);
    let is_of = |names: &[&str], name: &str| names.iter().any(|prefix| name.starts_with(prefix));
    let kept = entries.iter().filter(|(name, _)| !is_of(&LEFT_OUT, name));
    let (phases, metrics): (Vec<_>, Vec<_>) = kept.partition(|(name, _)| is_of(&PHASES, name));
    let listed = |entries: Vec<(&String, &Entry)>| -> Vec<Value> {
        let metric = |(name, entry): (&String, &Entry)| {
            json!({
                "name": name, "type": entry.sink.kind(), "contains": entry.contains,
                "values": machine_readable_values(&entry.sink, options),
            })
        };
        entries.into_iter().map(metric).collect()
    };
    let mut totals = Vec::new();
    if let Some(Entry {
        sink: Sink::Rate { nonzero, total },
        contains,
    }) = entries.get("checks")
    {
        let rate = |name: &str, matches: u64| {
            let values = machine_readable_values(
                &Sink::Rate {
                    nonzero: matches,
                    total: *total,
                },
                options,
            );
            json!({"name": name, "type": "rate", "contains": contains, "values": values})
        };
        totals.extend([
            json!({"name": "checks_total", "type": "counter", "contains": contains, "values": {"count": total}}),
            rate("checks_failed", total.saturating_sub(*nonzero)),
            rate("checks_succeeded", *nonzero),
        ]);
    }
    // k6 adds up those of one name, whatever their groups.
    let mut by_name: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for check in checks(session) {
        let (passes, fails) = by_name.entry(check.name).or_default();
        *passes += check.passes;
        *fails += check.fails;
    }
    let results = by_name
        .into_iter()
        .map(|(name, (passes, fails))| json!({"name": name, "passes": passes, "fails": fails}));
    json!({
        "summary": {
            "config": {"duration": session.elapsed(now), "execution": "local"},
            "results": {
                "checks": {"metrics": totals, "results": results.collect::<Vec<_>>()},
                "metrics": listed(metrics),
            },
        },
        "phases": listed(phases),
    })
}

/// The numbers of a metric in a machine-readable summary: no rates of counters, and of a trend those of these six that
/// `summaryTrendStats` names, null for the others.
fn machine_readable_values(sink: &Sink, options: &Options) -> Value {
    let share = |part: u64, all: u64| if all > 0 { part as f64 / all as f64 } else { 0.0 };
    match sink {
        Sink::Counter(count) => json!({"count": plain(*count)}),
        Sink::Gauge { value, min, max, .. } => {
            json!({"value": plain(*value), "min": plain(*min), "max": plain(*max)})
        }
        Sink::Rate { nonzero, total } => {
            json!({"matches": nonzero, "total": total, "rate": plain(share(*nonzero, *total))})
        }
        Sink::Trend(_) => {
            let value = |name: &str| {
                let asked = options.statistics.iter().any(|statistic| statistic == name);
                let found = asked.then(|| aggregate(name)).flatten();
                found
                    .and_then(|aggregate| sink.ask(aggregate, 0.0))
                    .map(|found| plain(found.value))
            };
            json!({
                "avg": value("avg"), "min": value("min"), "med": value("med"), "max": value("max"),
                "p90": value("p(90)"), "p95": value("p(95)"),
            })
        }
    }
}

/// A check, and how often it passed and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The group in which it is, as k6 writes it: `::shop::cart`.
    pub group: String,
    /// Its name.
    pub name: String,
    /// How often it passed.
    pub passes: u64,
    /// How often it failed.
    pub fails: u64,
}

/// All checks, by group and name.
pub fn checks(session: &Session) -> Vec<Check> {
    let view = session.store.view();
    let mut checks: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    let series = view.metrics.get("checks").map(|metric| metric.series.as_slice());
    for (number, sink) in series.unwrap_or_default() {
        if let (Some(series), Sink::Rate { nonzero, total }) = (session.store.series(*number), sink) {
            if series.tag(OVERFLOW_TAG).is_some() {
                continue;
            }
            let tag = |name: &str| series.tag(name).unwrap_or_default().to_owned();
            let check = checks.entry((tag("group"), tag("check"))).or_default();
            check.0 = check.0.saturating_add(*nonzero);
            check.1 = check.1.saturating_add(total.saturating_sub(*nonzero));
        }
    }
    let checks = checks.into_iter().map(|((group, name), (passes, fails))| Check {
        group,
        name,
        passes,
        fails,
    });
    checks.collect()
}

/// How many groups may be within each other.
const DEEPEST: usize = 32;

#[derive(Default)]
struct Group {
    groups: BTreeMap<String, Group>,
    checks: Vec<Check>,
}

impl Group {
    /// What is deeper than [`DEEPEST`] is one group there, whose name is the rest of the path: the summary and who
    /// reads it go down by recursion.
    fn at(&mut self, path: &str) -> &mut Self {
        let path = path.trim_start_matches("::");
        let names = path.splitn(DEEPEST, "::").filter(|name| !name.is_empty());
        names.fold(self, |group, name| {
            group.groups.entry(name.to_owned()).or_default()
        })
    }

    fn json(&self, name: &str, path: &str) -> Value {
        let checks = self.checks.iter().map(|check| {
            let path = format!("{path}::{}", check.name);
            json!({"name": check.name, "path": path, "id": id(&path), "passes": check.passes, "fails": check.fails})
        });
        let groups = self
            .groups
            .iter()
            .map(|(name, group)| group.json(name, &format!("{path}::{name}")));
        json!({
            "name": name, "path": path, "id": id(path),
            "groups": groups.collect::<Vec<_>>(), "checks": checks.collect::<Vec<_>>(),
        })
    }
}

/// k6 names a group and a check by the hash of its path.
fn id(path: &str) -> String {
    let digest = Md5::digest(path.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn groups(session: &Session) -> Group {
    let mut root = Group::default();
    let view = session.store.view();
    // k6 has the groups that were entered or have checks, so not that of a setup() without either.
    let entered = view
        .metrics
        .get("group_duration")
        .map(|metric| metric.series.as_slice());
    let series = entered.unwrap_or_default().iter();
    for group in series.filter_map(|(number, _)| session.store.series(*number)?.tag("group")) {
        root.at(group);
    }
    for check in checks(session) {
        root.at(&check.group).checks.push(check);
    }
    root
}

/// The text, much as k6 prints one.
pub fn text(session: &Session, options: &Options, now: u64) -> String {
    let seconds = session.elapsed(now);
    let entries = entries(session);
    let mut out = String::new();
    let thresholds = threshold_lines(session, options);
    if !thresholds.is_empty() {
        out.push_str("  █ THRESHOLDS\n\n");
        out.push_str(&thresholds);
    }
    out.push_str("\n  █ TOTAL RESULTS\n");
    let checks = checks(session);
    if !checks.is_empty() {
        let (passes, fails) = checks.iter().fold((0, 0), |(passes, fails), check| {
            (
                check.passes.saturating_add(passes),
                check.fails.saturating_add(fails),
            )
        });
        let total = u64::saturating_add(passes, fails);
        let share = |count: u64| percent(count as f64 / total.max(1) as f64);
        let lines = [
            (
                "checks_total",
                format!("{total} {}", per_second(total as f64, seconds)),
            ),
            (
                "checks_succeeded",
                format!("{} {passes} out of {total}", share(passes)),
            ),
            (
                "checks_failed",
                format!("{} {fails} out of {total}", share(fails)),
            ),
        ];
        out.push('\n');
        for (name, value) in lines {
            let _ = writeln!(out, "    {name:.<40}: {value}");
        }
        out.push('\n');
        for check in &checks {
            let (mark, total) = (
                if check.fails == 0 { '✓' } else { '✗' },
                check.passes + check.fails,
            );
            let group = check.group.trim_start_matches("::").replace("::", " › ");
            let place = if group.is_empty() {
                String::new()
            } else {
                format!("{group} › ")
            };
            let _ = writeln!(out, "    {mark} {place}{}", check.name);
            if check.fails > 0 {
                let rate = percent(check.passes as f64 / total as f64);
                let _ = writeln!(out, "      ↳  {rate} — ✓ {} / ✗ {}", check.passes, check.fails);
            }
        }
    }
    for (title, of_section) in SECTIONS {
        let section: Vec<_> = entries.iter().filter(|(name, _)| of_section(name)).collect();
        if section.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n    {title}");
        for (name, entry) in section {
            let shown = match name.split_once('{') {
                Some((_, tags)) => format!("  {{ {} }}", tags.trim_end_matches('}').trim()),
                None => name.clone(),
            };
            let _ = writeln!(out, "    {shown:.<40}: {}", line(entry, options, seconds));
        }
    }
    out
}

type Section = (&'static str, fn(&str) -> bool);

const SECTIONS: [Section; 4] = [
    ("CUSTOM", |name| section_of(name) == 0),
    ("HTTP, WEBSOCKETS AND GRPC", |name| section_of(name) == 1),
    ("EXECUTION", |name| section_of(name) == 2),
    ("NETWORK", |name| section_of(name) == 3),
];

/// <https://grafana.com/docs/k6/latest/using-k6/metrics/reference/>; k6's own summary leaves out the phases of a request.
fn section_of(name: &str) -> usize {
    let metric = name.split('{').next().unwrap_or(name);
    match metric {
        "data_sent" | "data_received" => 3,
        "vus" | "vus_max" | "iterations" | "iteration_duration" | "dropped_iterations" | "group_duration" => {
            2
        }
        "http_req_duration" | "http_req_failed" | "http_reqs" => 1,
        "checks" => usize::MAX,
        _ if metric.starts_with("http_req_") => {
            if name.contains('{') {
                1
            } else {
                usize::MAX
            }
        }
        _ if metric.starts_with("ws_") || metric.starts_with("grpc_") => 1,
        _ => 0,
    }
}

fn line(entry: &Entry, options: &Options, seconds: f64) -> String {
    let show = |value: f64| shown(value, entry.contains, options);
    match &entry.sink {
        Sink::Counter(count) => {
            let rate = if seconds > 0.0 { count / seconds } else { 0.0 };
            format!("{} {}/s", show(*count), show(rate))
        }
        Sink::Gauge { value, min, max, .. } => {
            format!("{} min={} max={}", show(*value), show(*min), show(*max))
        }
        Sink::Rate { nonzero, total } => {
            let share = if *total > 0 {
                *nonzero as f64 / *total as f64
            } else {
                0.0
            };
            format!("{} {nonzero} out of {total}", percent(share))
        }
        Sink::Trend(_) => {
            let numbers = options.statistics.iter().filter_map(|name| {
                let found = entry.sink.ask(aggregate(name)?, seconds)?;
                let value = if name == "count" {
                    number(found.value)
                } else {
                    show(found.value)
                };
                Some(format!("{name}={value}"))
            });
            numbers.collect::<Vec<_>>().join(" ")
        }
    }
}

fn threshold_lines(session: &Session, options: &Options) -> String {
    let view = session.store.view();
    let mut out = String::new();
    let mut last = "";
    for judged in session.judged() {
        let (threshold, verdict) = (&judged.threshold, &judged.verdict);
        if threshold.name != last {
            let _ = writeln!(out, "    {}", threshold.name);
            last = &threshold.name;
        }
        let contains = session.unmeasured(&threshold.selector.metric, &view).contains;
        let is_rate = threshold.expression.aggregate == Aggregate::Rate;
        let contains = if is_rate { "default" } else { contains };
        let mark = match verdict.passed {
            Some(true) => '✓',
            Some(false) => '✗',
            None => '?',
        };
        let method = threshold
            .source
            .split(['<', '>', '=', '!'])
            .next()
            .unwrap_or_default()
            .trim();
        let value = match &verdict.value {
            Some(found) => format!("{method}={}", shown(found.value, contains, options)),
            None if verdict.unsupported => format!("the metric has no {method}"),
            None => "no sample".to_owned(),
        };
        let unsure = match &verdict.value {
            Some(found) if verdict.uncertain => format!(
                " (uncertain: it is between {} and {})",
                shown(found.low, contains, options),
                shown(found.high, contains, options)
            ),
            Some(_) | None => String::new(),
        };
        let aborted = if judged.aborted.is_some() {
            ", which ended the test"
        } else {
            ""
        };
        let _ = writeln!(out, "    {mark} '{}' {value}{unsure}{aborted}", threshold.source);
    }
    out
}

fn shown(value: f64, contains: &str, options: &Options) -> String {
    match contains {
        "time" => time(value, options.time_unit.as_deref()),
        "data" => bytes(value),
        _ => number(value),
    }
}

/// At most so many digits after the point, and none that is a zero at the end.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    // Of what is nearly zero.
    if text == "-0" { "0".to_owned() } else { text }
}

fn number(value: f64) -> String {
    trimmed(value, 6)
}

/// A share, as k6 writes it.
pub fn percent(share: f64) -> String {
    format!("{}%", trimmed((share * 1e4).floor() / 100.0, 2))
}

fn per_second(count: f64, seconds: f64) -> String {
    format!("{}/s", number(if seconds > 0.0 { count / seconds } else { 0.0 }))
}

/// A time in ms, as k6 writes it: in the unit that is asked for, or in those that are best read.
/// <https://github.com/grafana/k6/blob/v1.1.0/internal/js/summary.js>
pub fn time(ms: f64, unit: Option<&str>) -> String {
    match unit {
        Some("s") => return format!("{}s", to_fixed(ms * 0.001, 2)),
        Some("ms") => return format!("{}ms", to_fixed(ms, 2)),
        Some("us") => return format!("{}µs", to_fixed(ms * 1e3, 2)),
        Some(_) | None => {}
    }
    if ms == 0.0 {
        return "0s".to_owned();
    }
    if ms < 0.001 {
        return format!("{}ns", (ms * 1e6).trunc() + 0.0);
    }
    if ms < 1.0 {
        return format!("{}µs", truncated(ms * 1e3, 2));
    }
    if ms < 1e3 {
        return format!("{}ms", truncated(ms, 2));
    }
    let seconds = truncated((ms % 60e3) / 1e3, if ms > 60e3 { 0 } else { 2 });
    let minutes = (ms / 60e3).trunc();
    let hours = (minutes / 60.0).trunc();
    if minutes < 1.0 {
        format!("{seconds}s")
    } else if hours < 1.0 {
        format!("{minutes}m{seconds}s")
    } else {
        format!("{hours}h{}m{seconds}s", minutes % 60.0)
    }
}

/// Cut off after so many digits, as k6 does, and without a zero at the end.
fn truncated(value: f64, digits: usize) -> String {
    let scale = if digits == 0 { 1.0 } else { 100.0 };
    trimmed((value * scale).trunc() / scale, digits)
}

/// As JavaScript's `toFixed`: of what lies in the middle, which a float can exactly, the larger.
fn to_fixed(value: f64, digits: usize) -> String {
    let exact = format!("{value:.60}");
    let rest = exact.split_once('.').and_then(|(_, part)| part.get(digits..));
    let in_the_middle = rest.is_some_and(|rest| rest.trim_end_matches('0') == "5");
    let value = if in_the_middle {
        value.abs().next_up().copysign(value)
    } else {
        value
    };
    format!("{value:.digits$}")
}

fn bytes(count: f64) -> String {
    let mut value = count;
    for unit in ["B", "kB", "MB", "GB"] {
        if value.abs() < 1e3 {
            let digits = usize::from(unit != "B" && value.abs() < 10.0);
            return format!("{} {unit}", trimmed(value, digits));
        }
        value /= 1e3;
    }
    format!("{} TB", trimmed(value, 1))
}
