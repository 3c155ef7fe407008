//! The summary as a text, much as k6 prints one.

use super::{Entry, Options, aggregate, checks, entries};
use crate::aggregate::moment::Moment;
use crate::aggregate::session::Session;
use crate::aggregate::sink::{Aggregate, Sink};
use crate::k6::format::{bytes, number, per_second, percent, time};
use std::fmt::Write;

/// Writes the summary as a text, much as k6 prints one.
pub fn text(session: &Session, options: &Options, now: Moment) -> String {
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

/// The section of a metric, by <https://grafana.com/docs/k6/latest/using-k6/metrics/reference/>. k6's own summary
/// leaves out the phases of a request.
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
