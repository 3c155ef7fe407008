//! What must be the same of both.

use crate::script::Script;
use crate::{Came, InPlace};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Between ranks of an exponential histogram; docs/results.md says why.
const PERCENTILE: f64 = 0.1;

/// Sums of floats, in another order.
const SUM: f64 = 1e-9;

/// Of a duration and of what is divided by it: runners begin and end a little apart, and share the machine.
const DURATION_MS: f64 = 3_000.0;
const DURATION: f64 = 0.2;

/// Trends that measure what this machine does: they have the same number of values, and no more.
const TIMES: [&str; 10] = [
    "http_req_",
    "iteration_duration",
    "group_duration",
    "ws_",
    "grpc_",
    "browser_",
    "webvital",
    "real_",
    "dropped_",
    "data_",
];

/// What differs, in sentences.
pub fn compare(script: &Script, single: &Came, merged: &Came) -> Vec<String> {
    let mut differing = Vec::new();
    if let Some((result, reason)) = &script.runners {
        if (result.as_str(), reason.as_str()) != (merged.result, merged.reason) {
            differing.push(format!("verdict: not {result} {reason}, as its first lines say"));
        }
        return differing;
    }
    let expected = match &script.verdict {
        Some((result, reason)) => (result.as_str(), reason.as_str()),
        None => (single.result, single.reason),
    };
    if expected.0 != merged.result || expected.0 != single.result {
        differing.push(format!(
            "result: {} by one k6, {} by the runners",
            single.result, merged.result
        ));
    }
    if expected.1 != merged.reason {
        differing.push(format!("reason: not {}, but {}", expected.1, merged.reason));
    }
    match (&single.data, &merged.data) {
        (Some(single), Some(merged)) => Numbers {
            script,
            differing: &mut differing,
        }
        .compare(single, merged),
        // A run that has an end before its load has no numbers, while k6 sums up those of its setup().
        (_, None) if !merged.is_started => {}
        (None, None) => {}
        (single, merged) => differing.push(format!(
            "summary: of one k6 {}, of the runners {}",
            single.is_some(),
            merged.is_some()
        )),
    }
    if let Some(error) = &script.in_place {
        differing.extend(in_place(
            error,
            single.in_place.as_ref(),
            merged.in_place.as_ref(),
        ));
    }
    differing
}

/// What differs in what is printed where handleSummary() fails.
fn in_place(error: &str, single: Option<&InPlace>, merged: Option<&InPlace>) -> Vec<String> {
    let (Some(single), Some(merged)) = (single, merged) else {
        return vec![format!(
            "handleSummary(): one of both does not fail: {single:?}, {merged:?}"
        )];
    };
    let mut differing = Vec::new();
    for (by, InPlace { text: _, error: told }) in [("one k6", single), ("the runners", merged)] {
        if !told.contains(error) {
            differing.push(format!("handleSummary(): {error:?} is not told by {by}: {told}"));
        }
    }
    let (ours, theirs) = (numbers(&single.text), numbers(&merged.text));
    if ours.is_empty() || ours != theirs {
        differing.push(format!("text: {ours:?} by one k6, {theirs:?} by the runners"));
    }
    differing
}

/// The metrics in a text, with their numbers where these are counts of what is done. A test that is shorter than a second
/// has no virtual users.
fn numbers(text: &str) -> BTreeMap<String, Option<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let metrics = lines.filter(|(name, _)| name.ends_with('.'));
    let metrics = metrics.map(|(name, values)| {
        let name = name.trim().trim_end_matches('.').to_owned();
        let count = values.split_whitespace().next().map(str::to_owned);
        let count = count.filter(|_| name == "iterations");
        (name, count)
    });
    metrics.filter(|(name, _)| !name.starts_with("vus")).collect()
}

struct Numbers<'a> {
    script: &'a Script,
    differing: &'a mut Vec<String>,
}

impl Numbers<'_> {
    fn tell(&mut self, at: &str, single: impl std::fmt::Debug, merged: impl std::fmt::Debug) {
        self.differing
            .push(format!("{at}: {single:?} by one k6, {merged:?} by the runners"));
    }

    fn same(&mut self, at: &str, single: &Value, merged: &Value) {
        if single != merged {
            self.tell(at, single, merged);
        }
    }

    fn close(&mut self, at: &str, single: &Value, merged: &Value, absolute: f64, relative: f64) {
        let (Some(a), Some(b)) = (single.as_f64(), merged.as_f64()) else {
            return self.same(at, single, merged);
        };
        if (a - b).abs() > absolute + relative * a.abs() {
            self.tell(at, a, b);
        }
    }

    /// The same names in both, which are returned.
    fn names(&mut self, at: &str, single: &Value, merged: &Value) -> Vec<String> {
        let names = |value: &Value| -> BTreeSet<String> {
            value
                .as_object()
                .into_iter()
                .flat_map(|map| map.keys().cloned())
                .collect()
        };
        let (single, merged) = (names(single), names(merged));
        if single != merged {
            let only =
                |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
            self.tell(
                &format!("names in {at}"),
                only(&single, &merged),
                only(&merged, &single),
            );
        }
        single.intersection(&merged).cloned().collect()
    }

    fn compare(&mut self, single: &Value, merged: &Value) {
        self.names("the summary", single, merged);
        self.same("setup_data", &single["setup_data"], &merged["setup_data"]);
        let (single_state, merged_state) = (&single["state"], &merged["state"]);
        self.names("state", single_state, merged_state);
        if !self.script.any_times {
            self.close(
                "state/testRunDurationMs",
                &single_state["testRunDurationMs"],
                &merged_state["testRunDurationMs"],
                DURATION_MS,
                DURATION,
            );
        }
        self.same(
            "options",
            &single["options"]["summaryTrendStats"],
            &merged["options"]["summaryTrendStats"],
        );
        self.group("root_group", &single["root_group"], &merged["root_group"]);
        // k6 measures these once a second, and a test that is shorter has none.
        let (mut ours, mut theirs) = (single["metrics"].clone(), merged["metrics"].clone());
        for metrics in [&mut ours, &mut theirs] {
            for name in ["vus", "vus_max"] {
                metrics
                    .as_object_mut()
                    .unwrap()
                    .entry(name)
                    .or_insert(Value::Null);
            }
        }
        for name in self.names("metrics", &ours, &theirs) {
            self.metric(&name, single, merged);
        }
    }

    fn group(&mut self, at: &str, single: &Value, merged: &Value) {
        self.same(&format!("{at}/path"), &single["path"], &merged["path"]);
        let by_name = |value: &Value| -> Value {
            let list = value.as_array().into_iter().flatten();
            list.map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let (ours, theirs) = (by_name(&single["checks"]), by_name(&merged["checks"]));
        for name in self.names(&format!("{at}/checks"), &ours, &theirs) {
            for count in ["passes", "fails"] {
                let at = format!("{at}/checks/{name}/{count}");
                self.count(&at, &ours[&name][count], &theirs[&name][count]);
            }
        }
        let (ours, theirs) = (by_name(&single["groups"]), by_name(&merged["groups"]));
        for name in self.names(&format!("{at}/groups"), &ours, &theirs) {
            self.group(&format!("{at}/groups/{name}"), &ours[&name], &theirs[&name]);
        }
    }

    fn count(&mut self, at: &str, single: &Value, merged: &Value) {
        self.close(at, single, merged, self.script.counts_within, SUM);
    }

    fn metric(&mut self, name: &str, single_data: &Value, merged_data: &Value) {
        let (single, merged) = (&single_data["metrics"][name], &merged_data["metrics"][name]);
        if name.starts_with("vus") && (single.is_null() || merged.is_null()) {
            return;
        }
        self.same(&format!("{name}/type"), &single["type"], &merged["type"]);
        self.same(
            &format!("{name}/contains"),
            &single["contains"],
            &merged["contains"],
        );
        self.same(
            &format!("{name}/thresholds"),
            &single["thresholds"],
            &merged["thresholds"],
        );
        let (ours, theirs) = (&single["values"], &merged["values"]);
        let values = self.names(&format!("{name}/values"), ours, theirs);
        let kind = single["type"].as_str().unwrap_or_default();
        let times = TIMES.iter().any(|time| name.starts_with(time));
        let any = self.script.counts_within > 0.0;
        for value in values {
            let at = format!("{name}/{value}");
            let (a, b) = (&ours[&value], &theirs[&value]);
            match (kind, value.as_str()) {
                // Bytes are those of one connection or of three.
                ("counter", _) if name.starts_with("data_") => {}
                ("counter", "count") | ("rate", "passes" | "fails") | ("trend", "count") => {
                    self.count(&at, a, b)
                }
                ("counter", "rate") => self.per_second(&at, &theirs["count"], b, merged_data),
                ("rate", "rate") if !any => self.close(&at, a, b, SUM, SUM),
                ("gauge", "value") if name != "vus" => self.same(&at, a, b),
                ("gauge", "max") if name == "vus_max" => self.same(&at, a, b),
                ("trend", "min" | "max" | "avg") if !times && !any => self.close(&at, a, b, SUM, SUM),
                ("trend", _) if !times && !any => self.close(&at, a, b, SUM, PERCENTILE),
                (_, _) => {}
            }
        }
    }

    /// A rate is of the duration that is told beside it.
    fn per_second(&mut self, at: &str, count: &Value, rate: &Value, data: &Value) {
        let seconds = data["state"]["testRunDurationMs"].as_f64().unwrap_or_default() / 1e3;
        let expected = count.as_f64().unwrap_or_default() / seconds;
        self.close(at, &expected.into(), rate, 0.0, 0.02);
    }
}
