//! What kubectl prints of runs and of their definitions, kept as files in `golden/`, to be read as a user
//! reads them. `UPDATE=1 tests/cluster/e2e golden` writes them anew.

use crate::run::{Run, says};
use crate::support::{LIMIT, Test, variable};
use k6_operator::api::Kind;
use k6_operator::k6::Version;
use k6_operator::machine::{Reason, RunResult, StateName};
use serde_json::json;
use std::path::PathBuf;

/// What differs from run to run, by what it looks like.
fn normal(text: &str, namespace: &str) -> String {
    let mut lines = Vec::new();
    for line in text.replace(namespace, "NAMESPACE").lines() {
        let words: Vec<String> = line.split(' ').map(word).collect();
        lines.push(line_of(&words.join(" ")));
    }
    lines.join("\n") + "\n"
}

/// A table of `kubectl get`, its columns as wide as what is in them when ages are replaced.
fn table(text: &str) -> String {
    let header = text.lines().next().unwrap_or_default();
    let starts_word = |i: &usize| *i == 0 || header.get(i.saturating_sub(2)..*i) == Some("  ");
    let is_letter = |i: &usize| header.as_bytes()[*i] != b' ';
    let starts: Vec<usize> = (0..header.len()).filter(is_letter).filter(starts_word).collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let columns: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
    let cells = |line: &str| -> Vec<String> {
        let cell = |(from, to): &(usize, usize)| {
            let to = (*to).min(line.len());
            word(line.get(*from..to).unwrap_or_default().trim())
        };
        columns.iter().map(cell).collect()
    };
    let rows: Vec<Vec<String>> = text.lines().map(cells).collect();
    let width = |i: usize| rows.iter().map(|row| row[i].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut lines = String::new();
    for row in &rows {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        lines += padded.collect::<Vec<_>>().join("   ").trim_end();
        lines.push('\n');
    }
    lines
}

/// A line without the widths that a volatile word gave it: kubectl's columns are three spaces apart.
fn line_of(line: &str) -> String {
    let volatile = ["AGE", "STARTED", "Age", "DURATION", "<age>"];
    if !volatile.iter().any(|word| line.contains(word)) {
        return line.trim_end().to_owned();
    }
    let indent = line.len() - line.trim_start().len();
    let columns: Vec<&str> = line
        .trim()
        .split("  ")
        .map(str::trim)
        .filter(|column| !column.is_empty())
        .collect();
    format!("{}{}", " ".repeat(indent), columns.join("   "))
}

fn word(word: &str) -> String {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_uid =
        word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && hex(&word.replace('-', ""));
    let is_time = word.len() >= 20
        && word.ends_with('Z')
        && word.contains('T')
        && digits(word.get(..4).unwrap_or_default());
    // 7s, 2m5s, 3h: an age, or a duration, which depends on the machine.
    let is_age = word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h'])
        && word.chars().all(|c| c.is_ascii_digit() || "hms".contains(c));
    if is_uid {
        "<uid>".to_owned()
    } else if is_time {
        "<time>".to_owned()
    } else if word.starts_with("sha256:") {
        "sha256:<hash>".to_owned()
    } else if is_age {
        "<age>".to_owned()
    } else {
        word.to_owned()
    }
}

/// What depends on the k6 with which the tests run, and must be right: its version, and the name of its output, which is
/// [`opentelemetry` from 1.4 on](https://github.com/grafana/k6/blob/v1.4.0/release%20notes/v1.4.0.md).
fn of_k6(text: &str) -> String {
    let image = variable("K6OP_K6_IMAGE");
    let version = image.rsplit_once(':').unwrap().1;
    let is_since = version.parse::<Version>().unwrap() >= Version::new(1, 4, 0);
    let output = if is_since {
        "opentelemetry"
    } else {
        "experimental-opentelemetry"
    };
    let wanted = [
        ("k6Version:", version, "<version>"),
        ("Output:", output, "<output>"),
    ];
    let mut lines = Vec::new();
    for line in text.lines() {
        // Only an operator of all namespaces may look whether the nodes mount images.
        if line.split_whitespace().eq(["Program:", "mounted"]) {
            continue;
        }
        let is = wanted
            .iter()
            .find(|(field, value, _)| line.split_whitespace().eq([*field, *value]));
        lines.push(match is {
            Some((_, value, name)) => line.replace(value, name),
            None => line.to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

/// Values that are numbers, by the field's name in `kubectl describe`.
fn numbers(text: &str) -> String {
    let fields = [
        "Resource Version:",
        "Spread Micros:",
        "Duration Ms:",
        "Iteration Rate:",
        "Vus:",
        // Whichever was the last to end says that thresholds were crossed.
        "Runner:",
    ];
    let mut lines = Vec::new();
    for line in text.lines() {
        let field = fields.iter().find(|field| line.trim_start().starts_with(**field));
        lines.push(match field {
            Some(field) => {
                let (before, _) = line.split_once(field).unwrap();
                format!("{before}{field}  <number>")
            }
            None => match line.split_once("released within ") {
                Some((before, _)) => format!("{before}released within <time>"),
                None => line.to_owned(),
            },
        });
    }
    lines.join("\n") + "\n"
}

/// All that differ.
#[derive(Default)]
struct Golden {
    wrong: Vec<String>,
}

impl Golden {
    fn is(&mut self, name: &str, text: &str) {
        let file = PathBuf::from(variable("K6OP_REPO"))
            .join("tests/cluster/golden")
            .join(name);
        if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
            std::fs::write(&file, text).unwrap();
            return;
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        if kept != text {
            self.wrong
                .push(format!("--- {}, kept:\n{kept}--- now:\n{text}", file.display()));
        }
    }
}

impl Drop for Golden {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(
                self.wrong.is_empty(),
                "{}\nUPDATE=1 writes them anew",
                self.wrong.join("\n")
            );
        }
    }
}

#[tokio::test]
async fn kubectl_get_and_describe_read_as_they_are_kept() {
    let test = Test::new("golden").await;
    let mut golden = Golden::default();
    test.script("greets", &says(2, "hello")).await;
    test.script(
        "crossed",
        "export const options = { vus: 2, iterations: 2, thresholds: { iterations: ['count>5'] } };
export default function () {}
",
    )
    .await;
    let passed = Run::apply(
        &test,
        Kind::K6,
        "passed",
        json!({"parallelism": 2, "script": "greets"}),
    );
    let failed = Run::apply(
        &test,
        Kind::K6,
        "failed",
        json!({"parallelism": 2, "script": "crossed"}),
    );
    let error = Run::apply(
        &test,
        Kind::K6,
        "error",
        json!({"parallelism": 5, "script": "greets"}),
    );
    let held = json!({"parallelism": 2, "script": {"configMap": {"name": "greets"}}, "suspend": true, "testRunId": "7"});
    let held = Run::apply(&test, Kind::K6, "held", held);
    error.errs(Reason::ParallelismTooHigh, &[]).await;
    held.reaches(StateName::Initializing).await;
    failed.ends(RunResult::Failed, Reason::ThresholdsCrossed).await;
    passed.passes().await;
    for (run, last) in [
        (&passed, "AllRunnersPassed"),
        (&failed, "ThresholdsCrossed"),
        (&error, "ParallelismTooHigh"),
        (&held, "Unsupported"),
    ] {
        test.until("its last Event is told", LIMIT, async || {
            let events = test.kubectl(&["events", "--for", &run.path(), "--no-headers"]);
            events.contains(last).then_some(())
        })
        .await;
    }
    let print = |arguments: &[&str]| of_k6(&numbers(&normal(&test.kubectl(arguments), &test.namespace)));
    golden.is("get", &table(&test.kubectl(&["get", "k6"])));
    golden.is("get-wide", &table(&test.kubectl(&["get", "k6", "-o", "wide"])));
    for run in [&passed, &failed, &error, &held] {
        golden.is(
            &format!("describe-{}", run.name),
            &print(&["describe", "k6", &run.name]),
        );
    }
}

#[tokio::test]
async fn kubectl_explain_reads_as_it_is_kept() {
    let test = Test::new("explain").await;
    let mut golden = Golden::default();
    for path in ["k6.spec", "k6.spec.runner", "k6.status", "testrun.spec.script"] {
        let told = test.kubectl(&["explain", path]);
        let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
        golden.is(
            &format!("explain-{path}"),
            &(lines.join("\n").trim_end().to_owned() + "\n"),
        );
    }
}
