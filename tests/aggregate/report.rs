//! The report: small enough to be kept, whatever the test was, and harmless, whatever the script calls things.

use crate::exports::{at, counter, export, point, sum, tags, trend};
use k6_operator::aggregate::moment::Moment;
use k6_operator::aggregate::report::{Report, RunInfo};
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, Sender};
use k6_operator::aggregate::summary::Options;
use k6_operator::protocol::heartbeat::{Heartbeat, Phase};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use serde_json::{Value, json};

fn sender(runner: u32) -> Sender {
    Sender {
        runner,
        process: "a".to_owned(),
    }
}

fn word(phase: Phase) -> Heartbeat {
    serde_json::from_value(json!({"phase": phase})).unwrap()
}

fn take(session: &mut Session, runner: u32, metrics: impl IntoIterator<Item = Metric>, now: Moment) {
    let bytes = export(metrics);
    let export = Export::decode(&bytes).unwrap();
    session.export(&sender(runner), &export, now).unwrap();
}

/// The data of a page.
fn data(page: &str) -> Value {
    let from = page.split_once("id=\"data\">").unwrap().1;
    serde_json::from_str(from.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_report_of_two_hundred_runners_and_forty_minutes_fits_into_a_config_map() {
    const RUNNERS: u32 = 200;
    let mut session = Session::new(RUNNERS, false, Vec::new());
    for runner in 1..=RUNNERS {
        session.hear(&sender(runner), word(Phase::Running), at(0));
    }
    for second in (20..=2_400).step_by(20) {
        let now = at(second * 1_000);
        for runner in (1..=RUNNERS).filter(|runner| u64::from(*runner) % 5 == second / 20 % 5) {
            let (requests, time) = (second * 17 + u64::from(runner), second * 1_000_000_000);
            let mut waits = trend(
                "http_req_duration",
                time,
                &[second / 3, second / 2, second],
                second / 3 + second / 2 + second,
            );
            waits.unit = "ms".to_owned();
            take(
                &mut session,
                runner,
                [counter("http_reqs", time, requests as f64), waits],
                now,
            );
        }
        session.tick(now);
    }
    for steps in 1..=1_200_u64 {
        session.tick(at(2_400_000 + steps * 2_000));
    }
    let about = RunInfo {
        result: Some("Passed".to_owned()),
        ..RunInfo::default()
    };
    let report = Report::of(about, &session, &Options::of(&Value::Null), None, at(4_800_000));
    let page = report.page();
    println!("{} KiB, {} steps", page.len() / 1024, report.steps());
    assert!(page.len() < 900 * 1024, "{} bytes", page.len());
    assert!(report.steps() >= 60, "only {} steps", report.steps());
    let data = data(&page);
    let steps = data["time"]["at"].as_array().unwrap().len();
    for runner in data["perRunner"].as_array().unwrap() {
        assert_eq!(runner["requestsOverTime"].as_array().unwrap().len(), steps);
        assert_eq!(runner["p95OverTime"].as_array().unwrap().len(), steps);
    }
}

#[test]
fn a_report_of_a_thousand_runners_and_the_longest_timeline_fits_into_a_config_map() {
    const RUNNERS: u32 = 1_000;
    const LINES: u32 = 200;
    let mut session = Session::new(RUNNERS, false, Vec::new());
    for runner in 1..=RUNNERS {
        session.hear(&sender(runner), word(Phase::Running), at(0));
        take(&mut session, runner, [counter("http_reqs", 1, 123_456.0)], at(1));
    }
    for step in 1..=120 {
        for runner in 1..=LINES {
            let (requests, time) = (step * (7_654 + u64::from(runner)), step * 2_111_000_000);
            let waits = trend("http_req_duration", time, &[step, requests], step + requests);
            take(
                &mut session,
                runner,
                [counter("http_reqs", time, requests as f64), waits],
                at(step),
            );
        }
        std::sync::Arc::make_mut(&mut session.timeline).look(&session.store, RUNNERS, step as f64 * 2.111);
    }
    let about = RunInfo {
        result: Some("Error".to_owned()),
        ends: (1..=RUNNERS)
            .map(|runner| (runner, "OOMKilled".to_owned()))
            .collect(),
        ..RunInfo::default()
    };
    let report = Report::of(about, &session, &Options::of(&Value::Null), None, at(253_000));
    let page = report.page();
    println!("{} bytes, {} steps", page.len(), report.steps());
    assert!(page.len() < 900_000, "{} bytes", page.len());
    assert_eq!(report.steps(), 120);
    let data = data(&page);
    for (runner, steps) in [(200, report.steps()), (201, 0)] {
        let runner = &data["perRunner"][runner - 1];
        for line in ["requestsOverTime", "p95OverTime"] {
            assert_eq!(runner[line].as_array().unwrap().len(), steps, "{line}");
        }
    }
    let tick = report.tick(3);
    let of = |runner: usize| {
        tick["tick"]["perRunner"][runner - 1]["requestsOverTime"]
            .as_array()
            .unwrap()
    };
    assert_eq!((of(200).len(), of(201).len()), (3, 0));
}

#[test]
fn what_a_script_calls_things_is_text_in_the_page() {
    let name = "</script><script>alert(1)</script>{{data}}{{title}}<!--";
    let mut session = Session::new(1, false, Vec::new());
    session.hear(&sender(1), word(Phase::Running), at(0));
    let mut check = sum(
        "checks.total",
        2,
        vec![point(1, Number::AsInt(3), &[("check", name), ("group", "::a")])],
    );
    if let Some(Data::Sum(sum)) = &mut check.data {
        sum.data_points[0].attributes.extend(tags(&[("name", name)]));
    }
    take(&mut session, 1, [check], at(1_000));
    let about = RunInfo {
        name: format!("load/{name}"),
        ..RunInfo::default()
    };
    let page = Report::of(about, &session, &Options::of(&Value::Null), None, at(2_000)).page();
    assert!(!page.contains("<script>alert"), "it is markup");
    assert_eq!(page.matches("</script>").count(), 3, "the page's own");
    let data = data(&page);
    assert_eq!(
        (&data["checks"][0]["name"], &data["live"]),
        (&json!(name), &json!(true))
    );
    assert_eq!(data["name"], format!("load/{name}"));
}
