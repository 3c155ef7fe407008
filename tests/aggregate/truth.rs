//! The merged metrics of runners that differ, against the union of all that they measured: counters, rates, counts
//! and extremes are equal, sums but for rounding, percentiles within the bounds that are given with them.

use crate::run::{Runners, Service, Site};
use k6_operator::aggregate::Sink;
use k6_operator::aggregate::store::{Store, View};
use k6_operator::k6::threshold::Selector;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// The second runner is slow, the third is refused.
const SCRIPT: &str = r#"
import http from "k6/http";
import { check, group, sleep } from "k6";
import { Counter, Gauge, Rate, Trend } from "k6/metrics";
const own = new Trend("own", true), signed = new Trend("signed"), spent = new Counter("spent");
const good = new Rate("good"), level = new Gauge("level");
export const options = { vus: 8, duration: "7s", gracefulStop: "2s", systemTags: ["status", "method", "name", "group", "check", "scenario", "expected_response"] };
const runner = Number(__ENV.RUNNER), ms = runner === 2 ? 40 : 4, status = runner === 3 ? 503 : 200;
export default function () {
  group("shop", () => {
    const answer = http.get(`${__ENV.SITE}/${ms}/${status}`, { tags: { name: "shop" } });
    check(answer, { "is good": (r) => r.status === 200 });
  });
  http.get(`${__ENV.SITE}/1/200`, { tags: { name: "bag" } });
  own.add(Math.exp(4 * Math.random()) * runner, { kind: __ITER % 2 ? "odd" : "even" });
  signed.add(__ITER % 5 === 0 ? 0 : Math.random() * 20 - 10);
  spent.add(0.25 * runner);
  good.add(runner !== 3 && Math.random() < 0.8);
  level.add(10 * runner + __ITER % 10);
  sleep(0.01);
}
"#;

/// All samples of a selection.
#[derive(Default)]
struct Samples(Vec<f64>);

impl Samples {
    fn quantile(&self, q: f64) -> f64 {
        let position = q * (self.0.len() - 1) as f64;
        let (below, part) = (position.floor() as usize, position.fract());
        let above = (below + 1).min(self.0.len() - 1);
        self.0[below] + part * (self.0[above] - self.0[below])
    }
}

type Tags = BTreeMap<String, String>;

/// What k6 wrote: the types of the metrics, and the samples of each with their tags.
#[derive(Default)]
struct Union {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, Vec<(Tags, f64)>>,
}

impl Union {
    fn read(&mut self, path: &Path) {
        for line in BufReader::new(std::fs::File::open(path).unwrap()).lines() {
            // The last line of a process that was killed is cut.
            let Ok(line) = serde_json::from_str::<Value>(&line.unwrap()) else {
                continue;
            };
            let metric = line["metric"].as_str().unwrap().to_owned();
            if line["type"] == "Metric" {
                let type_ = line["data"]["type"].as_str().unwrap().to_owned();
                self.types.insert(metric, type_);
                continue;
            }
            let tags: Tags = serde_json::from_value(line["data"]["tags"].clone()).unwrap_or_default();
            let value = line["data"]["value"].as_f64().unwrap();
            self.samples.entry(metric).or_default().push((tags, value));
        }
    }

    fn select(&self, selector: &Selector) -> Samples {
        let carries = |tags: &Tags| {
            selector
                .tags
                .iter()
                .all(|(key, value)| tags.get(key) == Some(value))
        };
        let all = self.samples.get(&selector.metric).into_iter().flatten();
        let mut values: Vec<f64> = all
            .filter(|(tags, _)| carries(tags))
            .map(|(_, value)| *value)
            .collect();
        values.sort_by(f64::total_cmp);
        Samples(values)
    }
}

const SUBMETRICS: [&str; 9] = [
    "http_req_duration{name:shop}",
    "http_req_duration{name:bag,status:200}",
    "http_req_duration{expected_response:true}",
    "http_req_duration{group:::shop}",
    "http_reqs{status:503}",
    "http_reqs{instance_id:2}",
    "http_req_failed{name:shop}",
    "own{kind:odd}",
    "checks{check:is good}",
];

/// The errors of percentiles that were seen, relative.
#[derive(Default)]
struct Errors {
    worst: BTreeMap<&'static str, (f64, String)>,
    all: Vec<f64>,
    compared: usize,
}

const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
];

fn compare(store: &Store, view: &View, union: &Union, errors: &mut Errors, submetrics: &[&str]) {
    let names = union.samples.keys().map(String::as_str);
    for name in names.chain(submetrics.iter().copied()) {
        let selector = Selector::parse(name).unwrap();
        let truth = union.select(&selector);
        let Some(merged) = store.select(view, &selector) else {
            assert_eq!(truth.0.len(), 0, "{name} has not come");
            continue;
        };
        let sum: f64 = truth.0.iter().sum();
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * truth.0.iter().map(|v| v.abs()).sum::<f64>();
        assert_eq!(
            merged.metric_type().as_str(),
            union.types[&selector.metric],
            "{name}"
        );
        match &merged {
            Sink::Counter(count) => assert!(close(*count, sum), "{name}: {count} of {sum}"),
            Sink::Rate { nonzero, total } => {
                let ones = truth.0.iter().filter(|value| **value != 0.0).count();
                assert_eq!((*nonzero, *total), (ones as u64, truth.0.len() as u64), "{name}");
            }
            Sink::Gauge { value, .. } => {
                if name.starts_with("vus") {
                    continue;
                }
                assert!(truth.0.contains(value), "{name}: {value}");
            }
            Sink::Trend(histogram) => {
                let (least, most) = (truth.0[0], truth.0[truth.0.len() - 1]);
                assert_eq!(histogram.count, truth.0.len() as u64, "{name}");
                assert_eq!((histogram.min, histogram.max), (least, most), "{name}");
                assert!(close(histogram.sum, sum), "{name}: {} of {sum}", histogram.sum);
                for (label, q) in QUANTILES {
                    let (found, real) = (histogram.quantile(q).unwrap(), truth.quantile(q));
                    assert!(
                        found.low <= real + 1e-9 && real <= found.high + 1e-9,
                        "{label} of {name}: {real} is not within {found:?}"
                    );
                    let error = (found.value - real).abs() / real.abs().max(1e-3);
                    let worst = errors.worst.entry(label).or_default();
                    if error > worst.0 {
                        *worst = (error, name.to_owned());
                    }
                    errors.all.push(error);
                }
            }
        }
        errors.compared += 1;
    }
}

/// What happens to the aggregator or a runner meanwhile.
enum Trouble {
    Nothing,
    /// The aggregator is away, for so long, and another is there then.
    Outage(Duration),
    /// A runner is killed.
    Killed(u32),
    /// Its k6 is, and not what runs it.
    K6Killed(u32),
    /// None, but exports come over gRPC.
    Grpc,
}

async fn run(count: u32, trouble: Trouble) -> (Errors, Vec<String>) {
    let site = Site::open().await;
    let mut service = Service::open(count, json!({}));
    let begin = match trouble {
        Trouble::Grpc => Runners::with_grpc,
        Trouble::Nothing | Trouble::Outage(_) | Trouble::Killed(_) | Trouble::K6Killed(_) => Runners::begin,
    };
    let mut runners = begin(count, SCRIPT, site.address, service.address);
    runners.release().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut lost = None;
    match trouble {
        Trouble::Nothing | Trouble::Grpc => {}
        Trouble::Outage(duration) => {
            service.end();
            tokio::time::sleep(duration).await;
            service.begin();
        }
        Trouble::Killed(runner) => {
            runners.kill(runner);
            lost = Some((runner, None));
        }
        Trouble::K6Killed(runner) => {
            runners.kill_k6(runner);
            lost = Some((runner, Some(137)));
        }
    }
    let codes = runners.end().await;
    for (runner, code) in (1..).zip(codes) {
        let expected = match lost {
            Some((lost, code)) if lost == runner => code,
            Some(_) | None => Some(0),
        };
        assert_eq!(
            code,
            expected,
            "{}",
            std::fs::read_to_string(runners.log(runner)).unwrap()
        );
    }
    let lost = lost.map(|(runner, _)| runner);
    let mut union = Union::default();
    for runner in (1..=count).filter(|runner| Some(*runner) != lost) {
        union.read(&runners.samples(runner));
    }
    let session = service.aggregator().session();
    let mut errors = Errors::default();
    if let Some(lost) = lost {
        let requests = |view: &View| match view.metrics["http_reqs"].sink {
            Sink::Counter(count) => count,
            Sink::Gauge { .. } | Sink::Rate { .. } | Sink::Trend(_) => unreachable!(),
        };
        let others: f64 = (1..=count)
            .filter(|runner| *runner != lost)
            .map(|runner| requests(&session.store.view_of_runner(runner)))
            .sum();
        let (kept, all) = (
            requests(&session.store.view_of_runner(lost)),
            requests(&session.store.view()),
        );
        assert!(
            kept > 0.0 && (all - others - kept).abs() < 1e-9,
            "{kept} of {all}"
        );
        let mut sent = Union::default();
        sent.read(&runners.samples(lost));
        let counted = sent.select(&Selector::parse("http_reqs").unwrap()).0.len();
        assert!(kept <= counted as f64 + 1e3, "{kept} of {counted}");
        for runner in (1..=count).filter(|runner| *runner != lost) {
            let mut union = Union::default();
            union.read(&runners.samples(runner));
            compare(
                &session.store,
                &session.store.view_of_runner(runner),
                &union,
                &mut errors,
                &[],
            );
        }
    } else {
        compare(
            &session.store,
            &session.store.view(),
            &union,
            &mut errors,
            &SUBMETRICS,
        );
    }
    (errors, session.incomplete())
}

fn print(title: &str, mut errors: Errors) {
    errors.all.sort_by(f64::total_cmp);
    let all = Samples(errors.all);
    println!(
        "{title}: {} metrics and submetrics equal; errors of percentiles: median {:.3} %, p95 {:.3} %, worst {:.3} %",
        errors.compared,
        all.quantile(0.5) * 100.0,
        all.quantile(0.95) * 100.0,
        all.quantile(1.0) * 100.0
    );
    for (label, (error, name)) in errors.worst {
        println!("    {label:>6}: at most {:.3} % ({name})", error * 100.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_merged_metrics_are_those_of_all_samples_of_two_to_eight_runners() {
    for count in [1, 2, 3, 5, 8] {
        let (errors, incomplete) = run(count, Trouble::Nothing).await;
        assert_eq!(incomplete, Vec::<String>::new());
        assert!(errors.compared > 20, "only {} were compared", errors.compared);
        print(&format!("{count} runners"), errors);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregator_that_is_away_for_seconds_loses_nothing() {
    for seconds in [2, 6] {
        let (errors, incomplete) = run(3, Trouble::Outage(Duration::from_secs(seconds))).await;
        assert_eq!(incomplete, Vec::<String>::new());
        print(&format!("3 runners, away for {seconds} s"), errors);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_is_killed_leaves_what_it_had_sent_and_the_result_says_so() {
    let (errors, incomplete) = run(3, Trouble::Killed(2)).await;
    assert_eq!(incomplete, ["runner 2 never said that it had ended"]);
    print("3 runners, one killed", errors);
    let (errors, incomplete) = run(3, Trouble::K6Killed(2)).await;
    assert_eq!(
        incomplete,
        ["runner 2 ended before it had told what it measured: its last export may be missing"]
    );
    print("3 runners, the k6 of one killed", errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_over_grpc_come_to_the_same() {
    let (errors, incomplete) = run(2, Trouble::Grpc).await;
    assert_eq!(incomplete, Vec::<String>::new());
    print("2 runners over gRPC", errors);
}
