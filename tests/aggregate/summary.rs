//! The summary against that which k6 itself gives to the `handleSummary()` of the same process: the same shape, the
//! same numbers.

use crate::exports::{at, counter, export, gauge};
use crate::k6::k6_binary;
use crate::run::{Runners, Service, Site};
use k6_operator::aggregate::handle_summary::{Content, Handled, Task};
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, Sender};
use k6_operator::aggregate::summary::{Options, data, text};
use k6_operator::k6::format::time;
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::summing::Plan;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

const SCRIPT: &str = r#"
import http from "k6/http";
import { check, group, sleep } from "k6";
import { Counter, Gauge, Rate, Trend } from "k6/metrics";
const own = new Trend("own", true), spent = new Counter("spent"), good = new Rate("good"), level = new Gauge("level");
new Counter("errors"); new Counter("retries"); new Gauge("depth"); new Rate("kept"); new Trend("lag");
export const options = {
  vus: 3, duration: "4s", gracefulStop: "5s", summaryTrendStats: STATISTICS,
  thresholds: THRESHOLDS,
};
export default function () {
  group("shop", () => {
    group("bag", () => check(http.get(`${__ENV.SITE}/2/200`), { "is good": (r) => r.status === 200, "is bad": (r) => r.status !== 200 }));
    check(http.get(`${__ENV.SITE}/2/503`), { "is refused": (r) => r.status === 503 });
  });
  check(1, { one: (n) => n === 1 });
  own.add(Math.exp(4 * Math.random()));
  spent.add(0.25); good.add(__ITER % 2); level.add(__ITER);
  sleep(0.05);
}
export function handleSummary(data) { return { stdout: "DATA" + JSON.stringify(data) + "\n" }; }
"#;

/// Where two values differ, but for numbers that `close` accepts.
fn differences(
    at: &str,
    ours: &Value,
    theirs: &Value,
    close: &impl Fn(&str, f64, f64) -> bool,
) -> Vec<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a
                .keys()
                .chain(b.keys())
                .collect::<std::collections::BTreeSet<_>>();
            let of = |key: &String| {
                let at = format!("{at}/{key}");
                let null = Value::Null;
                differences(
                    &at,
                    a.get(key).unwrap_or(&null),
                    b.get(key).unwrap_or(&null),
                    close,
                )
            };
            keys.into_iter().flat_map(of).collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs
                .flat_map(|(i, (a, b))| differences(&format!("{at}/{i}"), a, b, close))
                .collect()
        }
        (Value::Number(a), Value::Number(b)) if close(at, a.as_f64().unwrap(), b.as_f64().unwrap()) => {
            Vec::new()
        }
        (a, b) if a == b => Vec::new(),
        (a, b) => vec![format!("{at}: {a} here, {b} there")],
    }
}

/// In the order of their names: k6 has them in that of the script.
fn sorted(group: &mut Value) {
    for key in ["groups", "checks"] {
        let list = group[key].as_array_mut().unwrap();
        list.sort_by_key(|one| one["name"].to_string());
        if key == "groups" {
            list.iter_mut().for_each(sorted);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_summary_is_that_of_k6_itself() {
    let site = Site::open().await;
    let statistics = json!(["avg", "min", "med", "max", "p(90)", "p(99.9)", "count"]);
    let thresholds = json!({
        "http_req_duration{status:503}": ["p(95)<1", "max>0"], "http_reqs": ["count>10"], "own": ["avg>1e9"],
        // Of these there is no sample.
        "http_reqs{name:nobody}": ["count>0"], "http_req_duration{ name:nobody }": ["max>0"],
        "good{name:nobody}": ["rate>0.5"], "level{name:nobody}": ["value<1"], "errors": ["count<5"],
        "retries{name:nobody}": ["count<5", "rate>1"], "depth": ["value>=1"], "kept": ["rate>0.9"],
        "lag{name:nobody}": ["p(95)<4"], "ws_ping": ["avg<1"], "ws_sessions{name:nobody}": ["rate>1"],
    });
    let source = SCRIPT.replace("STATISTICS", &statistics.to_string());
    let source = source.replace("THRESHOLDS", &thresholds.to_string());
    let options = json!({"summaryTrendStats": statistics, "thresholds": thresholds});
    let service = Service::open(1, options);
    let mut runners = Runners::with_own_thresholds(&source, site.address, service.address);
    runners.release().await;
    assert_eq!(runners.end().await, [Some(99)]);
    let log = std::fs::read_to_string(runners.log(1)).unwrap();
    let data = log.lines().find_map(|line| line.strip_prefix("DATA")).unwrap();
    let mut theirs: Value = serde_json::from_str(data).unwrap();
    let now = service.aggregator().now();
    service.aggregator().session().conclude(now);
    let (mut ours, text) = service.aggregator().summary();
    println!("{text}");
    for data in [&mut ours, &mut theirs] {
        sorted(&mut data["root_group"]);
    }
    let close = |at: &str, ours: f64, theirs: f64| {
        let error = (ours - theirs).abs() / theirs.abs().max(1e-9);
        let limit = if at.contains("/p(") || at.ends_with("/med") {
            // A bucket's width.
            0.1
        } else if at.ends_with("/rate") || at.ends_with("testRunDurationMs") {
            // Of k6's time when it makes the summary.
            0.01
        } else if at.contains("/vus/values/") || at.contains("/level/values/m") {
            // A gauge's extremes between two exports are not seen, and this k6 lingers without virtual users.
            f64::INFINITY
        } else {
            1e-9
        };
        error <= limit
    };
    let differing = differences("", &ours, &theirs, &close);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(ours["metrics"]["vus"]["values"]["value"], 3);
    for line in [
        "✗ 'p(95)<1' p(95)=",
        "✓ 'count>10' count=",
        "✓ shop › bag › is good",
        "✗ shop › bag › is bad",
        "{ status:503 }",
        "✓ 'p(95)<4' p(95)=0",
        "{ name:nobody }",
        "ws_ping.................................: avg=0s",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

/// dapr's tests, for one, read the whole log of each runner as one JSON document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_of_a_runner_that_logs_nothing_is_what_handle_summary_prints() {
    let site = Site::open().await;
    let script = r#"
export const options = { vus: 2, iterations: 10, thresholds: { iterations: ["count>=10"] } };
export default function () {}
export function handleSummary(data) { return { stdout: JSON.stringify(data) }; }
"#;
    let service = Service::open(2, json!({"thresholds": {"iterations": ["count>=10"]}}));
    let mut runners = Runners::that_log_nothing(2, script, site.address, service.address);
    runners.release().await;
    assert_eq!(runners.end().await, [Some(0); 2]);
    for runner in [1, 2] {
        let text = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(runners.errors(runner)), "");
        let part: Value = serde_json::from_str(&text(runners.log(runner))).unwrap();
        let iterations = &part["metrics"]["iterations"];
        assert_eq!(iterations["values"]["count"], 5);
        // They are judged over all runners.
        assert_eq!(iterations["thresholds"], Value::Null);
    }
}

/// As k6 has it that does not linger: it says nothing of them after its part.
#[test]
fn the_virtual_users_of_a_test_are_those_that_its_runners_had_last_though_they_linger() {
    let options =
        json!({"thresholds": {"vus": ["value>=10", "value<10"], "vus{instance_id:1}": ["value==4"]}});
    let judged = |exports: &[(u32, u64, f64)], ended: &[(u32, u64)], late: &[(u32, u64, f64)]| {
        let mut session = Session::new(2, false, thresholds(&options).unwrap());
        let sender = |runner| Sender {
            runner,
            process: "a".to_owned(),
        };
        let take = |session: &mut Session, (runner, millis, vus): (u32, u64, f64)| {
            let export = export([gauge("vus", millis, vus)]);
            let export = Export::decode(&export).unwrap();
            session.export(&sender(runner), &export, at(millis)).unwrap();
        };
        exports.iter().for_each(|export| take(&mut session, *export));
        for (runner, millis) in ended {
            let own = json!({"vus": {"value": 0.0}});
            let word = json!({"phase": "ended", "endedAgo": 50, "own": own, "letGo": true});
            session.hear(
                &sender(*runner),
                serde_json::from_value(word).unwrap(),
                at(*millis),
            );
        }
        late.iter().for_each(|export| take(&mut session, *export));
        session.conclude(at(30_000));
        let data = data(&session, &Options::of(&options), at(30_000));
        let text = text(&session, &Options::of(&options), at(30_000));
        let passed: Vec<_> = session
            .judged()
            .iter()
            .map(|judged| judged.verdict.passed == Some(true))
            .collect();
        (passed, data["metrics"]["vus"]["values"].clone(), text)
    };
    let (both, ended) = ([(1, 1_000, 4.0), (2, 1_000, 6.0)], [(1, 5_000), (2, 5_000)]);
    let none = [(1, 6_000, 0.0), (2, 6_000, 0.0), (1, 7_000, 0.0)];
    let whole = json!({"value": 10, "min": 10, "max": 10});
    let (passed, values, text) = judged(&both, &ended, &none);
    assert_eq!((passed, values), (vec![true, false, true], whole.clone()));
    assert!(text.contains(": 10 min=10 max=10"), "{text}");
    let soon = [both[0], both[1], (1, 4_800, 0.0), (2, 4_980, 0.0)];
    assert_eq!(
        judged(&soon, &ended, &none).1,
        whole,
        "that they are none came before that they had ended"
    );
    let later = [(1, 5_100, 4.0), (2, 5_100, 9.0), (2, 6_000, 0.0)];
    assert_eq!(
        judged(&both, &ended, &later).1["value"],
        13,
        "what was counted before the end came after it"
    );
    let before = [both[0], both[1], (1, 3_000, 0.0), (2, 3_000, 2.0)];
    assert_eq!(
        judged(&before, &ended, &none).1,
        json!({"value": 2, "min": 2, "max": 10}),
        "one was without users before its end"
    );
}

/// Milliseconds, `summaryTimeUnit`, and what k6's own summary makes of them.
const TIMES: &[(f64, &str, &str)] = &[
    (0.0, "", "0s"),
    (0.000123, "", "123ns"),
    (0.00099999, "", "999ns"),
    (0.001, "", "1µs"),
    (0.0123456, "", "12.34µs"),
    (0.29, "", "290µs"),
    (0.999999, "", "999.99µs"),
    (1.0, "", "1ms"),
    (1.999, "", "1.99ms"),
    (12.345678, "", "12.34ms"),
    (12.375, "", "12.37ms"),
    (999.999, "", "999.99ms"),
    (1000.0, "", "1s"),
    (1999.9, "", "1.99s"),
    (59999.9, "", "59.99s"),
    (60000.0, "", "1m0s"),
    (60001.0, "", "1m0s"),
    (61999.0, "", "1m1s"),
    (90000.0, "", "1m30s"),
    (3599999.0, "", "59m59s"),
    (3600000.0, "", "1h0m0s"),
    (4500000.0, "", "1h15m0s"),
    (90061000.0, "", "25h1m1s"),
    (-5.0, "", "-5000000ns"),
    (1.005, "", "1ms"),
    (0.0, "s", "0.00s"),
    (12.3, "s", "0.01s"),
    (999.999, "s", "1.00s"),
    (59999.9, "s", "60.00s"),
    (4500000.0, "s", "4500.00s"),
    (-5.0, "s", "-0.01s"),
    (0.0, "ms", "0.00ms"),
    (12.345678, "ms", "12.35ms"),
    (0.125, "ms", "0.13ms"),
    (0.145, "ms", "0.14ms"),
    (12.3, "ms", "12.30ms"),
    (90000.0, "ms", "90000.00ms"),
    (8.625, "ms", "8.63ms"),
    (2.675, "ms", "2.67ms"),
    (0.000123, "us", "0.12µs"),
    (0.00099999, "us", "1.00µs"),
    (0.0123456, "us", "12.35µs"),
    (12.345678, "us", "12345.68µs"),
];

#[test]
fn times_are_written_as_k6_writes_them() {
    for (ms, unit, text) in TIMES {
        let unit = Some(*unit).filter(|unit| !unit.is_empty());
        assert_eq!(time(*ms, unit), *text, "{ms} ms in {unit:?}");
    }
}

#[test]
fn a_counter_of_time_has_a_time_by_second() {
    let mut session = Session::new(1, false, Vec::new());
    let sender = Sender {
        runner: 1,
        process: "a".to_owned(),
    };
    let said = |word: Value| serde_json::from_value(word).unwrap();
    session.hear(
        &sender,
        said(json!({"phase": "running", "startedAgo": 0})),
        at(1_000),
    );
    let spent = Metric {
        unit: "ms".to_owned(),
        ..counter("spent", 1, 7_001.0)
    };
    let bytes = export([spent]);
    let export = Export::decode(&bytes).unwrap();
    session.export(&sender, &export, at(2_000)).unwrap();
    session.hear(&sender, said(json!({"phase": "ended", "endedAgo": 0})), at(3_000));
    for (unit, line) in [("", ": 7s 3.5s/s\n"), ("ms", ": 7001.00ms 3500.50ms/s\n")] {
        let text = text(
            &session,
            &Options::of(&json!({"summaryTimeUnit": unit})),
            at(3_000),
        );
        assert!(text.contains(line), "{text}");
    }
}

const HANDLED: &str = r#"
import { check } from "k6";
export const options = { scenarios: { long: { executor: "constant-vus", vus: 50, duration: "1h" } } };
export default function () { throw new Error("the test itself must not run"); }
HANDLER
"#;

/// Whether this k6 can make machine-readable summaries, as 1.5 and newer can.
fn makes_machine_readable() -> bool {
    let help = Command::new(k6_binary())
        .args(["run", "--help"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&help.stdout).contains(MACHINE_READABLE)
}

const MACHINE_READABLE: &str = "--new-machine-readable-summary";

fn text_of(text: &str) -> Content {
    Content::Text(text.to_owned())
}

fn plain(content: &Content) -> &str {
    match content {
        Content::Text(text) => text,
        Content::Base64(_) => panic!("{content:?}"),
    }
}

/// The merged data in the former shape.
fn task(data: &Value) -> Task {
    Task {
        data: data.to_string(),
        ..Task::default()
    }
}

/// What comes of handleSummary() in a runner with these arguments of the user and these variables.
fn called(source: &str, task: &Task, arguments: &[&str], variables: &[(&str, &str)]) -> Handled {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.js");
    std::fs::write(&path, source).unwrap();
    let variables_of = variables.iter().map(|(name, value)| format!("{name}={value}"));
    let k6 = k6_binary().to_str().unwrap().to_owned();
    let command = ["env".to_owned()].into_iter().chain(variables_of);
    let command = command.chain([k6, "run".to_owned()]);
    let command = command.chain(arguments.iter().map(|word| (*word).to_owned()));
    let command: Vec<String> = command.collect();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let version = crate::version::version();
    let plan = Plan::of(
        &command,
        Some(&path),
        Some(version),
        Some(source.as_bytes()),
        &[],
        variable,
    );
    let carry_out = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(plan.carry_out(task, None, |_| {}))
    };
    std::thread::scope(|scope| scope.spawn(carry_out).join().unwrap())
}

/// What k6 makes of a handler of the script, given this data.
fn handled(handler: &str, data: &Value) -> Result<BTreeMap<String, Content>, String> {
    let source = HANDLED.replace("HANDLER", handler);
    let Handled {
        outputs,
        left_out: _,
        error,
        summary,
    } = called(&source, &task(data), &[], &[]);
    assert_eq!(summary, None);
    error.map_or(Ok(outputs), Err)
}

#[test]
fn scripts_own_handle_summary_runs_once_on_the_merged_data_and_its_outputs_are_kept() {
    let data = json!({"metrics": {"iterations": {"values": {"count": 188, "text": "a \"quoted\"\nline </script>"}}}});
    let handler = r#"export function handleSummary(data) {
  return { stdout: `${data.metrics.iterations.values.count} iterations\n`, "OUT/all.json": JSON.stringify(data.metrics) };
}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.json").display().to_string();
    let outputs = handled(&handler.replace("OUT/all.json", &file), &data).unwrap();
    // k6 writes it, too.
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, plain(&outputs[&file]));
    assert_eq!(outputs["stdout"], text_of("188 iterations\n"));
    let all: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(all, data["metrics"]);
    assert_eq!(outputs.len(), 2);
}

#[test]
fn async_handle_summary_is_awaited() {
    let handler = r#"export async function handleSummary(data) {
  await new Promise((resolve) => setTimeout(resolve, 10));
  return { stderr: JSON.stringify(data.count) };
}"#;
    let outputs = handled(handler, &json!({"count": 4})).unwrap();
    assert_eq!(outputs["stderr"], text_of("4"));
    let error = handled(
        "export async function handleSummary() { throw new Error('later'); }",
        &json!({}),
    );
    assert!(
        error
            .clone()
            .unwrap_err()
            .starts_with("handleSummary() failed: Error: later"),
        "{error:?}"
    );
}

#[test]
fn script_without_handle_summary_has_no_outputs() {
    assert_eq!(handled("", &json!({})), Ok(BTreeMap::new()));
    assert_eq!(
        handled("export function handleSummary() {}", &json!({})),
        Ok(BTreeMap::new())
    );
}

#[test]
fn handle_summary_that_fails_is_told_in_its_words() {
    let error = handled(
        "export function handleSummary() { throw new Error('no disk'); }",
        &json!({}),
    )
    .unwrap_err();
    assert!(
        error.starts_with("handleSummary() failed: Error: no disk"),
        "{error}"
    );
    let error = handled("export function handleSummary() { return { a: 5 }; }", &json!({})).unwrap_err();
    assert!(error.contains("for a neither a string"), "{error}");
}

#[test]
fn script_that_k6_cannot_load_is_told_in_its_words() {
    let told = called(
        "import x from './missing.js'; export function handleSummary() {}",
        &task(&json!({})),
        &[],
        &[],
    );
    let error = told.error.unwrap();
    assert!(
        error.starts_with("k6 has no result of handleSummary(): ") && error.contains("missing.js"),
        "{error}"
    );
}

#[test]
fn k6_that_is_told_to_make_no_summary_calls_no_handle_summary() {
    let source = HANDLED.replace(
        "HANDLER",
        "export function handleSummary() { return { stderr: 'called' }; }",
    );
    let help = Command::new(k6_binary())
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let document = task(&json!({}));
    if help.contains("--no-summary") {
        assert_eq!(
            called(&source, &document, &["--no-summary"], &[]),
            Handled::default()
        );
        let variable = [("K6_NO_SUMMARY", "true")];
        assert_eq!(called(&source, &document, &[], &variable), Handled::default());
    }
    if help.contains("\"disabled\"") {
        assert_eq!(
            called(&source, &document, &["--summary-mode=disabled"], &[]),
            Handled::default()
        );
    }
    assert_eq!(
        called(&source, &document, &[], &[]).outputs["stderr"],
        text_of("called")
    );
}

/// They are those of the runners, and may come by envFrom, where the operator does not see them.
#[test]
fn variables_that_say_how_much_load_is_made_do_not_keep_k6_from_calling_handle_summary() {
    let source = HANDLED.replace(
        "HANDLER",
        "export function handleSummary() { return { stderr: 'called' }; }",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let file = file.to_str().unwrap();
    let output = format!("csv={file}");
    let variables = [
        ("K6_PAUSED", "true"),
        ("K6_LINGER", "true"),
        ("K6_MIN_ITERATION_DURATION", "1h"),
        ("K6_VUS", "1000"),
        ("K6_STAGES", "1h:10"),
        ("K6_DURATION", "1h"),
        ("K6_OUT", &output),
        ("K6_LOG_OUTPUT", "none"),
        ("K6_LOG_FORMAT", "json"),
    ];
    let handled = called(&source, &task(&json!({})), &[], &variables);
    assert_eq!(handled.outputs["stderr"], text_of("called"));
    assert!(
        !std::path::Path::new(file).exists(),
        "the files of the runners stay as they are"
    );
    let told = called(
        "import x from './missing.js'; export function handleSummary() {}",
        &task(&json!({})),
        &[],
        &variables,
    );
    assert!(told.error.unwrap().contains("missing.js"));
}

#[test]
fn handle_summary_has_the_requests_and_the_time_that_the_options_of_the_script_allow() {
    let version = Command::new(k6_binary()).arg("version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let source = r#"
import { sleep } from "k6";
import http from "k6/http";
export const options = {
  vus: 9, duration: "1h", thresholds: { nobody: ["count>5"] }, handleSummaryTimeout: "1s", throw: true,
  hosts: { "target.example": "127.0.0.1:1" },
};
export default function () {}
export function handleSummary() {
  let error;
  try { http.get("http://target.example/"); } catch (caught) { error = String(caught); }
  if (__ENV.SLEEP) sleep(2);
  return { stderr: error };
}"#;
    let document = task(&json!({}));
    let outputs = called(source, &document, &[], &[]).outputs;
    assert!(plain(&outputs["stderr"]).contains("127.0.0.1:1"), "{outputs:?}");
    // Of the versions that are tested, 2.2 and newer know the option.
    if version.starts_with("k6 v2.2") || version.contains(" v2.2") {
        let told = called(source, &document, &["--env=SLEEP=1"], &[]);
        assert!(told.error.unwrap().contains("timed out after 1 seconds"));
    }
}

#[test]
fn handle_summary_has_the_secrets_the_variables_and_the_files_of_its_script() {
    let help = Command::new(k6_binary())
        .args(["run", "--help"])
        .output()
        .unwrap();
    let has_secrets = String::from_utf8_lossy(&help.stdout).contains("--secret-source");
    let (import, secret, source) = if has_secrets {
        (
            "import secrets from 'k6/secrets';",
            "await secrets.get('token')",
            &["--secret-source=mock=token=s3cret"][..],
        )
    } else {
        ("", "'s3cret'", &[][..])
    };
    let script = r#"
IMPORT
const place = open("./test.js").length;
export const options = { vus: 2, duration: "1h" };
export default function () {}
export async function handleSummary() {
  return { stderr: [SECRET, __ENV.FLAG, __ENV.VARIABLE, place > 0].join(" ") };
}"#;
    let script = script.replace("IMPORT", import).replace("SECRET", secret);
    let arguments = [source, &["--env", "FLAG=by flag"]].concat();
    let Handled {
        outputs,
        left_out: _,
        error,
        summary,
    } = called(
        &script,
        &task(&json!({})),
        &arguments,
        &[("VARIABLE", "by variable")],
    );
    assert_eq!((error, summary), (None, None));
    assert_eq!(plain(&outputs["stderr"]), "s3cret by flag by variable true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handle_summary_receives_the_shape_that_k6_itself_gives() {
    let site = Site::open().await;
    let statistics = json!(["avg", "min", "med", "p(95)", "p(99)"]);
    let thresholds = json!({
        "http_req_duration{status:503}": ["max>0"], "checks": ["rate>0"], "own{name:nobody}": ["avg<1"],
    });
    let source = SCRIPT.replace("STATISTICS", &statistics.to_string());
    let source = source.replace("THRESHOLDS", &thresholds.to_string());
    let options = json!({"summaryTrendStats": statistics, "thresholds": thresholds});
    let service = Service::open(1, options);
    let known = makes_machine_readable();
    let flags: &[&str] = if known {
        &[MACHINE_READABLE, "--summary-mode=full"]
    } else {
        &[]
    };
    let mut runners = Runners::with_own_thresholds_and(&source, site.address, service.address, flags);
    runners.release().await;
    assert_eq!(runners.end().await, [Some(0)]);
    let log = std::fs::read_to_string(runners.log(1)).unwrap();
    let data = log.lines().find_map(|line| line.strip_prefix("DATA")).unwrap();
    let mut theirs: Value = serde_json::from_str(data).unwrap();
    let now = service.aggregator().now();
    service.aggregator().session().conclude(now);
    let document = Task {
        machine_readable: service.aggregator().machine_readable().to_string(),
        ..task(&service.aggregator().summary().0)
    };
    let of = |arguments: &[&str], variables: &[(&str, &str)]| {
        let Handled {
            outputs,
            left_out: _,
            error,
            summary,
        } = called(&source, &document, arguments, variables);
        assert_eq!(error, None);
        let data: Value =
            serde_json::from_str(plain(&outputs["stdout"]).strip_prefix("DATA").unwrap()).unwrap();
        (data, summary)
    };
    let (former, summary) = of(&[], &[]);
    assert_eq!((former, summary), (service.aggregator().summary().0, None));
    if !known {
        return;
    }
    // k6 has them in the order in which they come, or in none.
    let by_name = |data: &mut Value| {
        for list in [
            "/results/metrics",
            "/results/checks/metrics",
            "/results/checks/results",
        ] {
            let list = data.pointer_mut(list).unwrap();
            let named = list.as_array().unwrap().iter();
            *list = named
                .map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone()))
                .collect();
        }
    };
    let (mut full, summary) = of(flags, &[]);
    by_name(&mut full);
    by_name(&mut theirs);
    let close = |at: &str, ours: f64, theirs: f64| {
        let error = (ours - theirs).abs() / theirs.abs().max(1e-9);
        let limit = if at.ends_with("/med") || at.ends_with("/p95") {
            // A bucket's width.
            0.1
        } else if at.ends_with("/duration") {
            // Of k6's time when it makes the summary.
            0.01
        } else if at.contains("/vus/values/") || at.contains("/level/values/m") {
            // A gauge's extremes between two exports are not seen, and this k6 lingers without virtual users.
            f64::INFINITY
        } else {
            1e-9
        };
        error <= limit
    };
    assert!(full["metadata"]["generated_at"].is_string(), "{full}");
    theirs["metadata"]["generated_at"] = full["metadata"]["generated_at"].clone();
    let differing = differences("", &full, &theirs, &close);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(full["config"]["script"], source);
    // What is kept has no source of the script, which may be in an image or a volume.
    let mut kept: Value = serde_json::from_str(&summary.unwrap()).unwrap();
    by_name(&mut kept);
    full["config"].as_object_mut().unwrap().remove("script");
    full["metadata"]["generated_at"] = kept["metadata"]["generated_at"].clone();
    assert_eq!(kept, full);
    let (by_variable, _) = of(&[], &[("K6_NEW_MACHINE_READABLE_SUMMARY", "true")]);
    let mut by_variable = by_variable;
    by_name(&mut by_variable);
    let phase = |data: &Value| data["results"]["metrics"]["http_req_waiting"].is_object();
    assert_eq!(
        (phase(&by_variable), phase(&kept)),
        (false, true),
        "the mode is compact by default"
    );
}
