//! No threshold is called held or crossed that missing data could turn: the table of `aggregate::judge`, row by row,
//! and random losses against a reference that has all samples.

use crate::exports::{CUMULATIVE, at, export, metric, point, sum, tags};
use k6_operator::aggregate::histogram::Histogram;
use k6_operator::aggregate::judge::{Discrepancy, Gap, Missing, Standing, standing};
use k6_operator::aggregate::moment::UnixNanos;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, ExportError, Sender};
use k6_operator::aggregate::summary::{Options, data};
use k6_operator::aggregate::{Aggregate, Sink};
use k6_operator::k6::threshold::{Expression, thresholds};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogram, ExponentialHistogramDataPoint};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is told of a number below, at and above the limit 5: `y` that it holds, `n` that it is crossed, `?` nothing.
/// Each for what a gap can take: nothing, samples, and samples with the time of the test.
const TABLE: &str = "
    count    <   ynn ?nn ?nn
    count    <=  yyn ??n ??n
    count    >   nny ??? ???
    count    >=  nyy ??? ???
    count    ==  nyn ??n ??n
    count    === nyn ??n ??n
    count    !=  yny ??? ???
    rate/s   <   ynn ?nn ???
    rate/s   <=  yyn ??n ???
    rate/s   >   nny ??? ???
    rate/s   >=  nyy ??? ???
    rate/s   ==  nyn ??n ???
    rate/s   === nyn ??n ???
    rate/s   !=  yny ??? ???
    own/count    <   ynn ??? ???
    own/count    <=  yyn ??? ???
    own/count    >   nny ??? ???
    own/count    >=  nyy ??? ???
    own/count    ==  nyn ??? ???
    own/count    === nyn ??? ???
    own/count    !=  yny ??? ???
    own/rate/s   <   ynn ??? ???
    own/rate/s   <=  yyn ??? ???
    own/rate/s   >   nny ??? ???
    own/rate/s   >=  nyy ??? ???
    own/rate/s   ==  nyn ??? ???
    own/rate/s   === nyn ??? ???
    own/rate/s   !=  yny ??? ???
    rate     <   ynn ??? ???
    rate     <=  yyn ??? ???
    rate     >   nny ??? ???
    rate     >=  nyy ??? ???
    rate     ==  nyn ??? ???
    rate     === nyn ??? ???
    rate     !=  yny ??? ???
    value    <   ynn ??? ???
    value    <=  yyn ??? ???
    value    >   nny ??? ???
    value    >=  nyy ??? ???
    value    ==  nyn ??? ???
    value    === nyn ??? ???
    value    !=  yny ??? ???
    avg      <   ynn ??? ???
    avg      <=  yyn ??? ???
    avg      >   nny ??? ???
    avg      >=  nyy ??? ???
    avg      ==  nyn ??? ???
    avg      === nyn ??? ???
    avg      !=  yny ??? ???
    med      <   ynn ??? ???
    med      <=  yyn ??? ???
    med      >   nny ??? ???
    med      >=  nyy ??? ???
    med      ==  nyn ??? ???
    med      === nyn ??? ???
    med      !=  yny ??? ???
    p(95)    <   ynn ??? ???
    p(95)    <=  yyn ??? ???
    p(95)    >   nny ??? ???
    p(95)    >=  nyy ??? ???
    p(95)    ==  nyn ??? ???
    p(95)    === nyn ??? ???
    p(95)    !=  yny ??? ???
    p(0)     <   ynn ??? ???
    p(0)     <=  yyn ??? ???
    p(0)     >   nny nn? nn?
    p(0)     >=  nyy n?? n??
    p(0)     ==  nyn n?? n??
    p(0)     === nyn n?? n??
    p(0)     !=  yny ??? ???
    p(100)   <   ynn ?nn ?nn
    p(100)   <=  yyn ??n ??n
    p(100)   >   nny ??? ???
    p(100)   >=  nyy ??? ???
    p(100)   ==  nyn ??n ??n
    p(100)   === nyn ??n ??n
    p(100)   !=  yny ??? ???
    min      <   ynn ??? ???
    min      <=  yyn ??? ???
    min      >   nny nn? nn?
    min      >=  nyy n?? n??
    min      ==  nyn n?? n??
    min      === nyn n?? n??
    min      !=  yny ??? ???
    max      <   ynn ?nn ?nn
    max      <=  yyn ??n ??n
    max      >   nny ??? ???
    max      >=  nyy ??? ???
    max      ==  nyn ??n ??n
    max      === nyn ??n ??n
    max      !=  yny ??? ???
";

/// What each kind of gap takes from a threshold on a metric as a whole, and from one that asks for tags.
fn kinds() -> [(Gap, Missing, Missing); 7] {
    let lack = Discrepancy {
        number: "http_reqs count".to_owned(),
        came: 1.0,
        own: 2.0,
    };
    [
        (
            Gap::Refused("it is too large".to_owned()),
            Missing::Samples,
            Missing::Samples,
        ),
        (Gap::Behind(vec![lack]), Missing::Samples, Missing::Samples),
        (Gap::Silent, Missing::SamplesAndTime, Missing::SamplesAndTime),
        (Gap::Untold, Missing::SamplesAndTime, Missing::SamplesAndTime),
        (Gap::NeverSent, Missing::SamplesAndTime, Missing::SamplesAndTime),
        (Gap::Overflow, Missing::Nothing, Missing::Samples),
        (
            Gap::BeyondLimit("too many".to_owned()),
            Missing::Nothing,
            Missing::Samples,
        ),
    ]
}

fn some_trend() -> Sink {
    Sink::Trend(Arc::new(Histogram {
        count: 1,
        ..Histogram::default()
    }))
}

#[test]
fn each_method_and_operator_is_told_of_as_the_table_says() {
    let rows = TABLE.lines().map(str::trim).filter(|row| !row.is_empty());
    let mut seen = 0;
    for row in rows {
        let words: Vec<_> = row.split_whitespace().collect();
        let [method, operator, all, samples, time] = words.as_slice() else {
            panic!("{row}");
        };
        let (metric, method) = match method.strip_prefix("own/") {
            Some(method) => ("a_counter_of_the_script", method),
            None => ("iterations", *method),
        };
        let sink = match method {
            "count" | "rate/s" => Sink::Counter(1.0),
            "rate" => Sink::Rate { nonzero: 1, total: 2 },
            "value" => Sink::Gauge {
                value: 1.0,
                min: 1.0,
                max: 1.0,
                since: UnixNanos::NONE,
                summed: false,
            },
            _ => some_trend(),
        };
        let source = format!("{}{operator}5", method.trim_end_matches("/s"));
        let expression = Expression::parse(&source).unwrap();
        let told = |missing: Missing| -> String {
            let of = |value: f64| match standing(&expression, (metric, &sink), value, missing) {
                Standing::Holds => 'y',
                Standing::Crossed => 'n',
                Standing::Unknown => '?',
            };
            [4.0, 5.0, 6.0].map(of).iter().collect()
        };
        assert_eq!(told(Missing::Nothing), *all, "{row}");
        assert_eq!(told(Missing::Samples), *samples, "{row}");
        assert_eq!(told(Missing::SamplesAndTime), *time, "{row}");
        for (gap, whole, by_tags) in kinds() {
            let expected = |missing: Missing| match missing {
                Missing::Nothing => *all,
                Missing::Samples => *samples,
                Missing::SamplesAndTime => *time,
            };
            assert_eq!(told(gap.takes(false)), expected(whole), "{row}, {gap:?}");
            assert_eq!(
                told(gap.takes(true)),
                expected(by_tags),
                "{row}, {gap:?}, by tags"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 13 * 7);
}

#[test]
fn value_of_a_metric_without_samples_is_none_of_theirs() {
    let expression = Expression::parse("max<0").unwrap();
    let empty = Sink::Trend(Arc::default());
    assert_eq!(
        standing(&expression, ("waits", &empty), 0.0, Missing::Samples),
        Standing::Unknown
    );
    let expression = Expression::parse("count<0").unwrap();
    let none = Sink::Counter(0.0);
    assert_eq!(
        standing(&expression, ("iterations", &none), 0.0, Missing::Samples),
        Standing::Crossed
    );
}

/// What a runner measures in one of three parts of its time: a value, and whether it has the tag `url:a`.
type Samples = Vec<(u8, bool)>;

/// What becomes of the exports and words of a runner. It makes one after each part of its time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    All,
    /// The second is lost, and the third has it all.
    SecondLost,
    /// It sends nothing.
    Never,
    /// It is lost after the first.
    Silent,
    /// The second and the third are refused; its k6 tells what it measured, or not.
    Refused {
        tells: bool,
    },
    /// It dies before the third, and tells nothing.
    Untold,
    /// The third never comes, and its k6 tells what it measured.
    Behind,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::All),
        1 => Just(Fate::SecondLost),
        1 => Just(Fate::Never),
        1 => Just(Fate::Silent),
        2 => any::<bool>().prop_map(|tells| Fate::Refused { tells }),
        1 => Just(Fate::Untold),
        2 => Just(Fate::Behind),
    ]
}

#[derive(Clone, Debug)]
struct Measured {
    parts: [Samples; 3],
    fate: Fate,
    seconds: u64,
}

fn measured() -> impl Strategy<Value = Measured> {
    let samples = || vec((1..20_u8, any::<bool>()), 0..4);
    let parts = prop_oneof![
        4 => [samples(), samples(), samples()],
        1 => Just([Vec::new(), Vec::new(), Vec::new()]),
    ];
    (parts, fate(), 31..40_u64).prop_map(|(parts, fate, seconds)| Measured { parts, fate, seconds })
}

fn threshold() -> impl Strategy<Value = (String, String)> {
    let methods = prop_oneof![
        Just(("iterations", "count")),
        Just(("iterations", "rate")),
        Just(("r", "rate")),
        Just(("t", "avg")),
        Just(("t", "min")),
        Just(("t", "max")),
        Just(("t", "med")),
        Just(("t", "p(95)")),
        Just(("t", "p(0)")),
        Just(("t", "p(100)")),
    ];
    let operator = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "===", "!="]);
    let tags = prop::sample::select(vec!["", "{url:a}", "{instance_id:1}", "{instance_id:1,url:a}"]);
    let limit = prop_oneof![(0..40_u32).prop_map(f64::from), Just(0.5), Just(0.1), Just(0.0)];
    (methods, operator, tags, limit).prop_map(|((metric, method), operator, tags, limit)| {
        (format!("{metric}{tags}"), format!("{method}{operator}{limit}"))
    })
}

fn trend_of(values: &[u8], url: &str, time: u64) -> ExponentialHistogramDataPoint {
    // At scale 3 each of 1 to 19 is in a bucket of its own or with a neighbour, which does not matter here.
    let index = |value: u8| (f64::from(value).log2() * 8.0).ceil() as i32 - 1;
    let mut counts = vec![0_u64; 40];
    for value in values {
        counts[usize::try_from(index(*value) + 1).unwrap()] += 1;
    }
    let extreme = |value: Option<&u8>| value.map(|value| f64::from(*value));
    ExponentialHistogramDataPoint {
        attributes: tags(&[("url", url)]),
        time_unix_nano: time,
        count: values.len() as u64,
        sum: Some(values.iter().map(|value| f64::from(*value)).sum()),
        scale: 3,
        min: extreme(values.iter().min()),
        max: extreme(values.iter().max()),
        positive: Some(Buckets {
            offset: -1,
            bucket_counts: counts,
        }),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// A counter, a rate and a trend of the values.
fn exported(samples: &[(u8, bool)], time: u64) -> Vec<u8> {
    let (mut counter, mut rate, mut trend) = (Vec::new(), Vec::new(), Vec::new());
    for (url, is_a) in [("a", true), ("b", false)] {
        let of_url = samples.iter().filter(|(_, a)| *a == is_a);
        let values: Vec<u8> = of_url.map(|(value, _)| *value).collect();
        if values.is_empty() {
            continue;
        }
        counter.push(point(
            time,
            Number::AsDouble(values.len() as f64),
            &[("url", url)],
        ));
        let odd = values.iter().filter(|value| **value % 2 == 1).count() as i64;
        let even = values.len() as i64 - odd;
        for (count, condition) in [(odd, "nonzero"), (even, "zero")] {
            rate.push(point(
                time,
                Number::AsInt(count),
                &[("url", url), ("condition", condition)],
            ));
        }
        trend.push(trend_of(&values, url, time));
    }
    let histogram = ExponentialHistogram {
        data_points: trend,
        aggregation_temporality: CUMULATIVE,
    };
    let metrics = [
        sum("iterations", CUMULATIVE, counter),
        sum("r.total", CUMULATIVE, rate),
        metric("t", Data::ExponentialHistogram(histogram)),
    ];
    export(metrics)
}

/// What k6 says of itself. Of its own metrics it lists those with samples, of the script's those with thresholds too.
fn own(samples: &[(u8, bool)], seconds: u64) -> Value {
    if samples.is_empty() {
        return json!({"r": {"rate": 0.0}, "t": {"avg": 0.0, "min": 0.0, "max": 0.0}});
    }
    let count = samples.len() as f64;
    let values = samples.iter().map(|(value, _)| f64::from(*value));
    let odd = samples.iter().filter(|(value, _)| value % 2 == 1).count() as f64;
    json!({
        "iterations": {"count": count, "rate": count / seconds as f64},
        "r": {"rate": odd / count},
        "t": {
            "avg": values.clone().sum::<f64>() / count,
            "min": values.clone().fold(f64::INFINITY, f64::min),
            "max": values.fold(0.0, f64::max),
        },
    })
}

/// How each threshold stands after 30 s, and at the end: whether it holds, if that is told.
fn told(runners: &[Measured], given: &[(String, String)]) -> [Vec<Option<bool>>; 2] {
    let mut by_metric: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (metric, source) in given {
        by_metric.entry(metric).or_default().push(source);
    }
    let count = u32::try_from(runners.len()).unwrap();
    let mut session = Session::new(
        count,
        false,
        thresholds(&json!({"thresholds": by_metric})).unwrap(),
    );
    let words = |word: Value| serde_json::from_value(word).unwrap();
    for (runner, measured) in (1..).zip(runners) {
        let sender = Sender {
            runner,
            process: "a".to_owned(),
        };
        let Measured { parts, fate, .. } = measured;
        let [first, second, _] = parts;
        if *fate == Fate::Never {
            continue;
        }
        session.hear(
            &sender,
            words(json!({"phase": "running", "startedAgo": 0})),
            at(1_000),
        );
        session
            .export(&sender, &Export::decode(&exported(first, 1)).unwrap(), at(2_000))
            .unwrap();
        if *fate == Fate::Silent {
            continue;
        }
        session.hear(
            &sender,
            words(json!({"phase": "running", "startedAgo": 29_000})),
            at(30_000),
        );
        match fate {
            Fate::Refused { .. } => session.refuse(&sender, ExportError::TooLarge(1)),
            Fate::SecondLost | Fate::Never | Fate::Silent => {}
            Fate::All | Fate::Untold | Fate::Behind => {
                let until_now = [first.as_slice(), second].concat();
                session
                    .export(
                        &sender,
                        &Export::decode(&exported(&until_now, 2)).unwrap(),
                        at(30_000),
                    )
                    .unwrap();
            }
        }
    }
    let verdicts = |session: &Session| {
        session
            .judged()
            .iter()
            .map(|judged| judged.verdict.passed)
            .collect()
    };
    session.tick(at(31_000));
    let during = verdicts(&session);
    for (runner, measured) in (1..).zip(runners) {
        let sender = Sender {
            runner,
            process: "a".to_owned(),
        };
        let Measured { parts, fate, seconds } = measured;
        let all = parts.concat();
        let now = at(1_000 + seconds * 1_000);
        match fate {
            Fate::Never | Fate::Silent => continue,
            Fate::Untold => {
                session.hear(&sender, words(json!({"phase": "exited", "endedAgo": 0})), now);
                continue;
            }
            Fate::All | Fate::SecondLost => session
                .export(
                    &sender,
                    &Export::decode(&exported(&all, 3)).unwrap(),
                    now + Duration::from_millis(50),
                )
                .unwrap(),
            Fate::Refused { .. } => session.refuse(&sender, ExportError::TooLarge(1)),
            Fate::Behind => {}
        }
        let tells = *fate != Fate::Refused { tells: false };
        let own = if tells { own(&all, *seconds) } else { Value::Null };
        for ago in [0, 2_000, 16_000] {
            let mut word = json!({"phase": "ended", "endedAgo": ago, "own": own});
            if tells {
                word["kinds"] = json!({
                    "r": {"type": "rate", "contains": "default"}, "t": {"type": "trend", "contains": "time"},
                });
            }
            session.hear(&sender, words(word), now + Duration::from_millis(ago));
        }
    }
    session.conclude(at(100_000));
    [during, verdicts(&session)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_threshold_is_called_held_or_crossed_that_missing_data_could_turn(
        runners in vec(measured(), 1..4),
        given in vec(threshold(), 1..12),
    ) {
        let whole: Vec<_> = runners
            .iter()
            .map(|runner| Measured { fate: Fate::All, ..runner.clone() })
            .collect();
        let reference = told(&whole, &given);
        let found = told(&runners, &given);
        let is_whole = runners.iter().all(|runner| matches!(runner.fate, Fate::All | Fate::SecondLost));
        // An export that was lost is missed only when nothing comes for long: the next has it.
        let is_lost_now = runners.iter().any(|runner| runner.fate == Fate::SecondLost);
        for (time, (found, reference)) in found.iter().zip(&reference).enumerate() {
            for (found, reference) in found.iter().zip(reference) {
                if time == 1 {
                    prop_assert!(reference.is_some(), "all samples are there");
                    prop_assert!(!is_whole || found == reference, "nothing is missing: {found:?}, {reference:?}");
                }
                let told = found.is_none() || found == reference;
                prop_assert!(told || (time == 0 && is_lost_now), "{found:?} is told of {reference:?}, time {time}");
            }
        }
    }
}

#[test]
fn rate_of_one_runner_is_not_told_while_nobody_knows_how_long_the_test_took() {
    let runner = |samples: usize, fate: Fate, seconds: u64| Measured {
        parts: [vec![(7, true); samples], Vec::new(), Vec::new()],
        fate,
        seconds,
    };
    let given = [("c{instance_id:1}".to_owned(), "rate<0.3".to_owned())];
    let at_end = |fate: Fate| told(&[runner(10, Fate::All, 31), runner(1, fate, 39)], &given)[1].clone();
    assert_eq!(at_end(Fate::All), [Some(true)], "10 in 39 s");
    assert_eq!(at_end(Fate::Silent), [None], "in 31 s it would be crossed");
}

/// One runner whose k6 measured 10, and after that 1000 in an export that was refused.
fn refused(source: &str, own: Value) -> Session {
    let mut session = Session::new(
        1,
        false,
        thresholds(&json!({"thresholds": {"t": [source]}})).unwrap(),
    );
    let sender = Sender {
        runner: 1,
        process: "a".to_owned(),
    };
    let word = |word: Value| serde_json::from_value(word).unwrap();
    session.hear(
        &sender,
        word(json!({"phase": "running", "startedAgo": 0})),
        at(1_000),
    );
    session
        .export(
            &sender,
            &Export::decode(&exported(&[(10, true)], 1)).unwrap(),
            at(2_000),
        )
        .unwrap();
    session.refuse(&sender, ExportError::TooLarge(1));
    for ago in [0, 2_000, 16_000] {
        let word = word(json!({"phase": "ended", "endedAgo": ago, "own": own}));
        session.hear(&sender, word, at(31_000 + ago));
    }
    session.conclude(at(60_000));
    session
}

#[test]
fn threshold_is_judged_by_what_k6_itself_told_of_a_runner_whose_export_was_refused() {
    let own = |max: f64| json!({"t": {"avg": 20.0, "min": 10.0, "max": max}});
    for (source, own, passed) in [
        ("max<50", own(1000.0), Some(false)),
        ("max<50", own(40.0), Some(true)),
        ("max<50", Value::Null, None),
        ("avg<50", own(40.0), None),
        ("max<5", Value::Null, Some(false)),
    ] {
        let session = refused(source, own.clone());
        let judged = &session.judged()[0];
        assert_eq!(judged.verdict.passed, passed, "{source}, {own}");
        assert_eq!(judged.unknown, passed.is_none(), "{source}, {own}");
        assert!(session.incomplete().iter().any(|why| why.contains("was refused")));
    }
}

#[test]
fn clock_that_is_set_back_loses_nothing() {
    let mut session = Session::new(
        1,
        false,
        thresholds(&json!({"thresholds": {"iterations": ["count<100"]}})).unwrap(),
    );
    let sender = Sender {
        runner: 1,
        process: "a".to_owned(),
    };
    let samples = |count: usize| vec![(7, true); count];
    const MINUTE: u64 = 60_000_000_000;
    session
        .export(
            &sender,
            &Export::decode(&exported(&samples(10), 2 * MINUTE)).unwrap(),
            at(1_000),
        )
        .unwrap();
    session
        .export(
            &sender,
            &Export::decode(&exported(&samples(500), MINUTE)).unwrap(),
            at(2_000),
        )
        .unwrap();
    let count = session
        .store
        .total("iterations", None)
        .unwrap()
        .ask(Aggregate::Count, 1.0);
    assert_eq!(count.unwrap().value, 500.0);
    // One that was on its way for longer than the next is no news.
    session
        .export(
            &sender,
            &Export::decode(&exported(&samples(400), MINUTE - 1)).unwrap(),
            at(3_000),
        )
        .unwrap();
    let count = session
        .store
        .total("iterations", None)
        .unwrap()
        .ask(Aggregate::Count, 1.0);
    assert_eq!(count.unwrap().value, 500.0);
}

/// A runner that has measured nothing of the script's own metrics, and says this of their types.
fn without_samples(sources: &Value, kinds: &Value) -> Vec<(Option<bool>, bool)> {
    let mut session = Session::new(1, false, thresholds(&json!({"thresholds": sources})).unwrap());
    let sender = Sender {
        runner: 1,
        process: "a".to_owned(),
    };
    session
        .export(
            &sender,
            &Export::decode(&exported(&[(1, true)], 1)).unwrap(),
            at(2_000),
        )
        .unwrap();
    for ago in [0, 2_000] {
        let own = json!({"iterations": {"count": 1.0, "rate": 0.1}, "r": {"rate": 1.0}, "t": {"avg": 1.0, "min": 1.0, "max": 1.0}});
        let word = json!({"phase": "ended", "startedAgo": 10_000 + ago, "endedAgo": ago, "own": own, "kinds": kinds});
        session.hear(&sender, serde_json::from_value(word).unwrap(), at(11_000 + ago));
    }
    session.conclude(at(20_000));
    let data = data(&session, &Options::of(&json!({})), at(20_000));
    for judged in session.judged() {
        let told = &data["metrics"][&judged.threshold.name]["thresholds"][&judged.threshold.source];
        assert_eq!(told["ok"], judged.verdict.passed == Some(true), "{data}");
    }
    let judged = session.judged().iter();
    judged
        .map(|judged| (judged.verdict.passed, judged.unknown))
        .collect()
}

#[test]
fn rate_of_a_metric_without_samples_is_judged_by_the_type_that_k6_tells() {
    let of = |type_: &str| json!({"paid": {"type": type_, "contains": "default"}});
    let sources = json!({"paid": ["rate>0.5"], "paid{way:card}": ["rate<0.5"]});
    let (passed, crossed, unknown) = ((Some(true), false), (Some(false), false), (None, true));
    // k6 lets an empty rate pass, and an empty counter is 0.
    assert_eq!(without_samples(&sources, &of("rate")), [passed, passed]);
    assert_eq!(without_samples(&sources, &of("counter")), [crossed, passed]);
    // What nobody has told decides: it is not judged. Where both types say the same, it is.
    assert_eq!(without_samples(&sources, &json!({})), [unknown, passed]);
    // The other methods belong to one type each.
    let sources = json!({"gone": ["count>0"], "level": ["value>0"], "wait": ["avg>0"]});
    assert_eq!(without_samples(&sources, &json!({})), [crossed; 3]);
}
