//! More series than are kept apart, here or by a runner.

use crate::exports::{CUMULATIVE, at, export, gauge, metric, point, sum, tags, trend};
use crate::run::Service;
use k6_operator::aggregate::Sink;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, ExportError, Sender};
use k6_operator::aggregate::summary;
use k6_operator::k6::Version;
use k6_operator::k6::export::environment;
use k6_operator::k6::threshold::thresholds;
use k6_operator::protocol::outcome::Outcome;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint};
use serde_json::{Value, json};

/// As many series as are kept apart.
const MOST: usize = 100_000;

fn sender(runner: u32) -> Sender {
    Sender {
        runner,
        process: "a".to_owned(),
    }
}

fn session(runners: u32, given: &Value) -> Session {
    Session::new(runners, false, thresholds(&json!({"thresholds": given})).unwrap())
}

fn send(
    session: &mut Session,
    runner: u32,
    metrics: impl IntoIterator<Item = Metric>,
) -> Result<(), ExportError> {
    let bytes = export(metrics);
    let export = Export::decode(&bytes).unwrap();
    session.export(&sender(runner), &export, at(1_000))
}

/// All runners have ended, and told that their k6 has nothing that did not come.
fn conclude(session: &mut Session) {
    for runner in 1..=session.expected {
        let word = json!({"phase": "exited", "endedAgo": 0, "own": {"vus": {"value": 1.0}}, "letGo": true});
        session.hear(&sender(runner), serde_json::from_value(word).unwrap(), at(5_000));
    }
    session.conclude(at(5_000));
}

fn int(time: u64, count: i64, of: &[(&str, &str)]) -> NumberDataPoint {
    point(time, Number::AsInt(count), of)
}

fn checks(time: u64, nonzero: i64, zero: i64, check: &str) -> Metric {
    let half = |count, condition| int(time, count, &[("check", check), ("condition", condition)]);
    let halves = vec![half(nonzero, "nonzero"), half(zero, "zero")];
    sum("checks.total", CUMULATIVE, halves)
}

/// All series for which there is room, but for one.
pub fn others() -> Metric {
    let url = |i: usize| point(1, Number::AsDouble(1.0), &[("url", &i.to_string())]);
    sum("http_reqs", CUMULATIVE, (1..MOST).map(url).collect())
}

pub fn requests(time: u64, counts: &[(&str, f64)]) -> Metric {
    let points = counts
        .iter()
        .map(|(url, count)| point(time, Number::AsDouble(*count), &[("url", url)]));
    sum("http_reqs", CUMULATIVE, points.collect())
}

fn verdicts(session: &Session) -> Vec<Option<bool>> {
    let verdict = |judged: &k6_operator::aggregate::session::Judged| judged.verdict.passed;
    session.judged().iter().map(verdict).collect()
}

#[test]
fn series_that_have_no_room_count_in_their_metric_and_keep_nothing_else_from_it() {
    let given = json!({
        "checks": ["rate>0.5"], "http_reqs": ["count>=100000"], "http_reqs{url:new}": ["count<5"],
        "http_reqs{url:1}": ["count>1", "count<1"], "waits": ["value<5"],
    });
    let mut session = session(2, &given);
    send(&mut session, 1, [checks(1, 8, 2, "ok")]).unwrap();
    send(&mut session, 2, [others()]).unwrap();
    for (time, new, last) in [(2, 3.0, 9.0), (3, 7.0, 4.0)] {
        let crowded = [
            requests(time, &[("new", new), ("newer", 1.0)]),
            gauge("waits", time, last),
            checks(time, 10, 40, "ok"),
            checks(time, 100, 0, "another"),
        ];
        let taken = send(&mut session, 1, crowded);
        assert!(matches!(taken, Err(ExportError::TooMany)), "{taken:?}");
    }
    let before = send(&mut session, 1, [requests(2, &[("new", 4.0)])]);
    assert_eq!(before, Ok(()), "it is an earlier one: it changes nothing");
    let view = session.store.view();
    let checks = &view.metrics["checks"];
    assert_eq!(
        checks.sink,
        Sink::Rate {
            nonzero: 110,
            total: 150
        }
    );
    assert_eq!(
        checks.series[0].1,
        Sink::Rate {
            nonzero: 10,
            total: 50
        }
    );
    assert_eq!(view.metrics["http_reqs"].sink, Sink::Counter(100_007.0));
    assert_eq!(
        session.store.total("http_reqs", Some(1)),
        Some(Sink::Counter(8.0))
    );
    let Some(Sink::Gauge { value, min, max, .. }) = session.store.total("waits", None) else {
        panic!("{view:?}");
    };
    assert_eq!((value, min, max), (4.0, 4.0, 9.0));

    conclude(&mut session);
    assert_eq!(
        verdicts(&session),
        // What is missing could mend the first of the two on `url:1`, and not the second.
        [Some(true), Some(true), None, Some(false), None, Some(true)],
        "{:?}",
        session.judged()
    );
}

#[test]
fn thresholds_that_hold_only_without_the_samples_that_are_missing_are_no_pass() {
    let mut session = session(
        2,
        &json!({"http_reqs": ["count>1"], "http_reqs{url:new}": ["count<5"]}),
    );
    send(&mut session, 2, [others()]).unwrap();
    let new = [checks(1, 1, 0, "ok"), requests(1, &[("new", 7.0)])];
    assert!(send(&mut session, 1, new).is_err());
    conclude(&mut session);
    let outcome = Outcome::of(&session, at(5_000));
    assert_eq!(verdicts(&session), [Some(true), None]);
    assert_eq!(
        (outcome.crossed, outcome.unknown, outcome.is_judged()),
        (0, 1, false)
    );
    assert_eq!(
        outcome.told(),
        "the thresholds could not be judged over all runners"
    );
    let why = "submetrics, checks and requests lack samples of runner 1: there are more than 100000 series, ";
    assert!(
        outcome.incomplete.iter().any(|line| line.starts_with(why)),
        "{:?}",
        outcome.incomplete
    );
    assert_eq!(outcome.totals.requests, 100_006.0);
}

#[test]
fn thresholds_are_no_pass_while_an_export_of_a_runner_is_refused() {
    let mut session = session(1, &json!({"checks": ["rate>0.5"]}));
    let conflict = [checks(1, 1, 0, "ok"), gauge("checks", 1, 1.0)];
    assert!(send(&mut session, 1, conflict).is_err());
    conclude(&mut session);
    assert!(!Outcome::of(&session, at(5_000)).is_judged());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_that_have_no_room_survive_a_restart_of_the_aggregator() {
    let mut service = Service::open(2, json!({}));
    let take = |service: &Service, runner, metrics: Vec<Metric>| {
        service.aggregator().take(&sender(runner), &export(metrics))
    };
    take(&service, 2, vec![checks(1, 1, 0, "ok"), others()]).unwrap();
    take(&service, 1, vec![requests(1, &[("new", 7.0), ("newer", 1.0)])]).unwrap_err();
    service.end();
    service.begin();
    let requests = service.aggregator().session().store.total("http_reqs", None);
    assert_eq!(requests, Some(Sink::Counter(100_007.0)));
}

#[test]
fn a_runner_keeps_a_bounded_number_of_series_of_a_metric_apart() {
    let environment = environment(Version::new(1, 1, 0));
    assert!(environment.contains(&("OTEL_GO_X_CARDINALITY_LIMIT", "2000".to_owned())));
}

/// 5 values are counted, all nonzero; of 95 more no export tells whether they are zero.
fn undivided() -> [Metric; 1] {
    let points = vec![
        int(1, 95, &[("otel.metric.overflow", "true")]),
        int(1, 5, &[("condition", "nonzero"), ("check", "ok")]),
    ];
    [sum("checks", CUMULATIVE, points)]
}

fn hear(session: &mut Session, word: Value) {
    session.hear(&sender(1), serde_json::from_value(word).unwrap(), at(5_000));
}

#[test]
fn values_that_no_export_divides_are_divided_by_the_share_that_k6_has_of_all() {
    for export_is_last in [true, false] {
        let given = json!({
            "checks": ["rate>0.42", "rate>=0.43", "rate>0.43"],
            "checks{check:ok}": ["rate>0.9"],
        });
        let mut session = session(1, &given);
        let word = json!({"phase": "ended", "endedAgo": 0, "own": {"checks": {"rate": 0.43}}, "letGo": true});
        if export_is_last {
            hear(&mut session, word.clone());
        }
        send(&mut session, 1, undivided()).unwrap();
        hear(&mut session, word);
        session.conclude(at(5_000));
        let whole = Sink::Rate {
            nonzero: 43,
            total: 100,
        };
        assert_eq!(session.store.total("checks", None).as_ref(), Some(&whole));
        assert_eq!(session.view().metrics["checks"].sink, whole);
        assert_eq!(verdicts(&session), [Some(true), Some(true), Some(false), None]);
        let incomplete = Outcome::of(&session, at(5_000)).incomplete;
        let why = "a runner had more series of checks than are kept apart: give requests a `name` tag, or drop tags \
                   with options.systemTags (submetrics, checks and requests lack samples)";
        assert_eq!(incomplete, [why]);
    }
}

#[test]
fn share_that_is_not_one_of_the_values_that_came_divides_none() {
    // Of 100 values none can be 0.435, none more than 0.99 or less than 0.05 if 5 of 5 are nonzero.
    for share in [0.435, 0.04, 1.01, f64::MAX] {
        let mut session = session(1, &json!({"checks": ["rate>0.4"]}));
        send(&mut session, 1, undivided()).unwrap();
        let own = json!({"checks": {"rate": share}});
        hear(
            &mut session,
            json!({"phase": "ended", "endedAgo": 0, "own": own, "letGo": true}),
        );
        session.conclude(at(5_000));
        assert_eq!(verdicts(&session), [None], "{share}");
    }
}

#[test]
fn running_test_is_aborted_by_a_rate_of_which_k6_has_the_share() {
    let abort = json!({"threshold": "rate<0.5", "abortOnFail": true});
    let mut session = session(1, &json!({"checks": [abort]}));
    let mut running = json!({"phase": "running", "startedAgo": 4_000});
    hear(&mut session, running.clone());
    assert!(!session.wants_rates(&sender(1)));
    send(&mut session, 1, undivided()).unwrap();
    assert!(session.wants_rates(&sender(1)));
    session.tick(at(6_000));
    assert_eq!(verdicts(&session), [None]);
    // It has counted more than was exported by then.
    running["rates"] = json!({"checks": 0.8765});
    hear(&mut session, running);
    session.tick(at(8_000));
    assert_eq!(verdicts(&session), [Some(false)]);
    assert!(session.judged()[0].aborted.is_some());
}

#[test]
fn values_of_a_rate_that_may_be_zeros_or_not_decide_no_threshold() {
    for name in ["checks.total", "checks"] {
        for first in [true, false] {
            let given =
                json!({"checks": ["rate<0.01", "rate<0.5", "rate==0.5", "rate>0.01", "rate>0.9", "rate>=0"]});
            let mut session = session(1, &given);
            let overflow = int(1, 95, &[("otel.metric.overflow", "true")]);
            let counted = int(1, 5, &[("condition", "nonzero"), ("check", "ok")]);
            let mut points = vec![counted];
            points.insert(usize::from(!first), overflow);
            send(&mut session, 1, [sum(name, CUMULATIVE, points)]).unwrap();
            conclude(&mut session);
            assert_eq!(
                verdicts(&session),
                [Some(false), None, None, Some(true), None, Some(true)]
            );
            let checks = summary::checks(&session);
            let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
            assert_eq!(names, ["ok"]);
        }
    }
}

#[test]
fn a_run_does_not_pass_if_values_that_may_be_zeros_could_cross_its_threshold() {
    let mut session = session(1, &json!({"checks": ["rate>0.9"], "http_reqs": ["count>1"]}));
    let points = vec![
        int(1, 95, &[("otel.metric.overflow", "true")]),
        int(1, 5, &[("condition", "nonzero")]),
    ];
    let metrics = [
        sum("checks.total", CUMULATIVE, points),
        requests(1, &[("url", 3.0)]),
    ];
    send(&mut session, 1, metrics).unwrap();
    conclude(&mut session);
    let outcome = Outcome::of(&session, at(5_000));
    assert_eq!(
        (outcome.crossed, outcome.unknown, outcome.is_judged()),
        (0, 1, false)
    );
    let why = "runner 1 had more series of checks than it keeps apart: of 95 values nobody knows whether they were zero, \
               and they are not counted";
    assert!(
        outcome.incomplete.contains(&why.to_owned()),
        "{:?}",
        outcome.incomplete
    );
}

/// A series that a runner's SDK does not keep apart has lost its tags: nobody can say of which selector it is.
#[test]
fn overflow_leaves_every_threshold_unjudged_that_it_can_decide() {
    let overflow = &[("otel.metric.overflow", "true")];
    let ok = &[("url", "a")];
    let double = |value, of: &[(&str, &str)]| point(1, Number::AsDouble(value), of);
    let of_trend = || {
        let mut all = trend("waits", 1, &[0, 2, 2], 4);
        if let Some(Data::ExponentialHistogram(histogram)) = &mut all.data {
            let mut other = histogram.data_points[0].clone();
            histogram.data_points[0].attributes = tags(ok);
            other.attributes = tags(overflow);
            histogram.data_points.push(other);
        }
        all
    };
    let level = Gauge {
        data_points: vec![double(5.0, ok), double(7.0, overflow)],
    };
    // Of 60 values with the tag, 40 are not zero.
    let rate = [
        sum(
            "good.occurred",
            CUMULATIVE,
            vec![int(1, 40, ok), int(1, 1, overflow)],
        ),
        sum(
            "good.total",
            CUMULATIVE,
            vec![int(1, 60, ok), int(1, 9, overflow)],
        ),
    ];
    let counter = sum(
        "data_sent",
        CUMULATIVE,
        vec![double(5.0, ok), double(2.0, overflow)],
    );
    let all = [counter, of_trend(), metric("level", Data::Gauge(level))]
        .into_iter()
        .chain(rate);
    let all: Vec<Metric> = all.collect();
    let verdicts_of = |given: Value| {
        let mut session = session(1, &given);
        send(&mut session, 1, all.clone()).unwrap();
        conclude(&mut session);
        let verdicts = verdicts(&session);
        let outcome = Outcome::of(&session, at(5_000));
        let open = verdicts.iter().filter(|verdict| verdict.is_none()).count();
        assert_eq!(outcome.unknown as usize, open, "{outcome:?}");
        verdicts
    };
    for (kind, given) in [
        (
            "counter",
            json!({"data_sent{url:a}": ["count>1", "count>9", "count==5", "rate<9", "rate>9"]}),
        ),
        (
            "gauge",
            json!({"level{url:a}": ["value>1", "value>9", "value<1", "value<9", "value!=5"]}),
        ),
        (
            "rate",
            json!({"good{url:a}": ["rate>0.5", "rate>0.9", "rate<0.5", "rate<0.9", "rate==1"]}),
        ),
        (
            "trend",
            json!({"waits{url:a}": ["p(95)<9", "p(95)<1", "avg<9", "med<1", "min<9"]}),
        ),
    ] {
        assert_eq!(verdicts_of(given), [None; 5], "{kind}");
    }
    // Over all of a metric nothing is missing; and more samples can't mend these.
    assert_eq!(
        verdicts_of(json!({
            "good": ["rate>0.5"], "level": ["value>1"], "data_sent": ["count==7"],
            "data_sent{url:a}": ["count<5"], "waits": ["max<9"], "waits{url:a}": ["max<1", "min>5"],
        })),
        [
            Some(true),
            Some(false),
            Some(true),
            Some(true),
            Some(true),
            Some(false),
            Some(false)
        ]
    );
}

#[test]
fn the_overflow_of_a_rate_of_two_counters_is_counted() {
    let mut session = session(
        1,
        &json!({"checks": ["rate>0.5"], "checks{check:ok}": ["rate>0.5"]}),
    );
    let of = &[("otel.metric.overflow", "true")];
    let metrics = [
        sum("checks.occurred", CUMULATIVE, vec![int(1, 60, of)]),
        sum("checks.total", CUMULATIVE, vec![int(1, 90, of)]),
    ];
    send(&mut session, 1, metrics).unwrap();
    conclude(&mut session);
    let sink = session.store.total("checks", None);
    assert_eq!(
        sink,
        Some(Sink::Rate {
            nonzero: 60,
            total: 90
        })
    );
    assert_eq!(verdicts(&session), [Some(true), None]);
}

/// Each of the two counters keeps other series apart.
#[test]
fn series_of_a_rate_of_which_one_counter_was_put_together_are_not_listed_and_count_in_the_whole() {
    let mut session = session(1, &json!({"checks": ["rate==0.6"]}));
    let of = &[("otel.metric.overflow", "true")];
    let (both, first, second) = (&[("check", "both")], &[("check", "hits")], &[("check", "all")]);
    let metrics = [
        sum(
            "checks.occurred",
            CUMULATIVE,
            vec![int(1, 3, both), int(1, 2, first), int(1, 1, of)],
        ),
        sum(
            "checks.total",
            CUMULATIVE,
            vec![int(1, 4, both), int(1, 5, second), int(1, 1, of)],
        ),
    ];
    send(&mut session, 1, metrics).unwrap();
    conclude(&mut session);
    assert_eq!(verdicts(&session), [Some(true)]);
    let names: Vec<_> = summary::checks(&session)
        .into_iter()
        .map(|check| check.name)
        .collect();
    assert_eq!(names, ["both"]);
    let data = summary::data(&session, &summary::Options::of(&json!({})), at(5_000));
    assert_eq!(data["metrics"]["checks"]["values"]["rate"], json!(0.6));
}

#[test]
fn a_runner_takes_room_for_its_own_series_only() {
    let mut session = session(2, &json!({}));
    send(&mut session, 2, [others()]).unwrap();
    send(&mut session, 1, [requests(1, &[("new", 1.0)])]).unwrap();
    let kept: Vec<_> = session.store.senders().values().map(|sent| sent.kept()).collect();
    assert_eq!(kept, [1, MOST - 1]);
}
