//! What is said of thresholds, against what k6 itself says of the same samples.

use crate::k6::k6_binary;
use crate::run::{Runners, Service, Site};
use k6_operator::aggregate::verdict::Verdict;
use k6_operator::k6::threshold::{Expression, Selector, thresholds};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// Trend `tt`: 1 to 1000, the odd ones tagged so. `few`: 1, 2 and 10. Counter `cc`, gauge `gg`, rate `rr`, and one of
/// each of which there is no sample.
const SCRIPT: &str = r#"
import { Counter, Gauge, Rate, Trend } from "k6/metrics";
const tt = new Trend("tt"), few = new Trend("few"), cc = new Counter("cc"), gg = new Gauge("gg"), rr = new Rate("rr");
new Trend("te"); new Counter("ce"); new Gauge("ge"); new Rate("re");
export const options = { vus: 1, iterations: 1, thresholds: THRESHOLDS };
export default function () {
  for (let i = 1; i <= 1000; i++) tt.add(i, { parity: i % 2 ? "odd" : "even" });
  for (const value of [1, 2, 10]) few.add(value);
  cc.add(3); cc.add(4, { kind: "b" });
  gg.add(5); gg.add(-2);
  for (let i = 0; i < 9; i++) rr.add(i % 3 !== 0, { kind: i < 6 ? "a" : "b" });
}
export function handleSummary(data) {
  const verdicts = {};
  for (const [name, metric] of Object.entries(data.metrics))
    for (const [source, verdict] of Object.entries(metric.thresholds || {})) verdicts[`${name} ${source}`] = verdict.ok;
  return { stdout: "VERDICTS" + JSON.stringify(verdicts) + "\n" };
}
"#;

/// What k6 accepts and judges.
const JUDGED: &[(&str, &[&str])] = &[
    (
        "tt",
        &[
            "p(95)<1000",
            "p(95) < 900",
            " p(95)<1100 ",
            "p(95)<\t1100",
            "p(95)<inf",
            "p(95)<+Inf",
            "p(95)>-inf",
            "p(95)<nan",
            "p(95)<0x1p12",
            "p(95)<0x1p4",
            "p(95)<1_100",
            "p(95)<1e3",
            "p(95)<1E2",
            "p(90)>.5",
            "p(90)<5.",
            "p(10)<-5",
            "p(10)<+500",
            "p(100)<=1000",
            "p(0)==1",
            "p(99.9)<1100",
            "p(1e1)<90",
            "p(.5)<20",
            "p(5.)<90",
            "p(+5)<90",
            "avg<501",
            "avg ==500.5",
            "avg===500.5",
            "avg!=500.5",
            "med<600",
            "med>600",
            "min>=1",
            "min<1",
            "max<=1000",
            "max>1000",
            "max!=1000",
            "max==1000",
            "p(50)>=400",
            "p(50)>=600",
        ],
    ),
    (
        "few",
        &[
            "avg<4.4",
            "avg<4.3",
            "min==1",
            "max==10",
            "max<10",
            "p(0)<=1",
            "p(100)>=10",
        ],
    ),
    (
        "tt{parity:odd}",
        &["max==999", "max==1000", "avg==500", "min<2", "p(95)<900"],
    ),
    ("tt{ parity : even }", &["min==2", "max<1000"]),
    ("tt{parity:neither}", &["avg==0", "avg>0", "p(95)==0", "max<1"]),
    ("tt{parity:odd,scenario:default}", &["max<1000", "max<999"]),
    ("cc", &["count==7", "count<7", "rate>0", "rate<0.0001"]),
    ("cc{'kind':\"b\"}", &["count==4", "count!=4"]),
    ("cc{kind:c}", &["count==0", "count>0", "rate==0"]),
    ("gg", &["value==-2", "value>0"]),
    ("rr", &["rate>0.66", "rate>0.67", "rate==0.6666666666666666"]),
    ("rr{kind:b}", &["rate>0.6", "rate<0.6"]),
    ("rr{kind:b,kind:a}", &["rate>0.6", "rate>0.7"]),
    ("rr{kind:c}", &["rate>0.5", "rate<0"]),
    (
        "te",
        &["avg==0", "avg>0", "p(95)==0", "min==0", "max>0", "med==0"],
    ),
    ("ce", &["count==0", "count>0"]),
    ("ge", &["value==0", "value>0"]),
    ("re", &["rate==0", "rate>0.5", "rate<0"]),
    ("iterations", &["count==1", "count>1"]),
    ("checks", &["rate>0.9"]),
    ("http_reqs", &["count<1", "rate>0"]),
    ("http_req_failed", &["rate>0.9"]),
    ("http_req_duration", &["p(95)<500", "max>0"]),
];

/// What k6 refuses before the test, with 104, or dies of when it judges, with 109.
const REFUSED: &[(&str, &str)] = &[
    ("tt", "p(95)<0x10"),
    ("tt", "p(0x5)<5"),
    ("tt", "P(95)<5"),
    ("tt", "AVG<5"),
    ("tt", "max!==10"),
    ("tt", "max=10"),
    ("tt", "max=>10"),
    ("tt", "max=<10"),
    ("tt", "avg<5 avg<6"),
    ("tt", "avg<5,max<3"),
    ("tt", "avg<"),
    ("tt", "<5"),
    ("tt", "avg"),
    ("tt", "5<avg"),
    ("tt", "p95<5"),
    ("tt", "p(95)"),
    ("tt", "p()<5"),
    ("tt", "p(95<5"),
    ("tt", "p(9 5)<5"),
    ("tt", "p( 95 )<5"),
    ("tt", "p (95)<5"),
    ("tt", "avg<5ms"),
    ("tt", "avg<5%"),
    ("tt", "std<5"),
    ("tt", "avg< 5 5"),
    ("tt", "avg<5;"),
    ("tt", "avg<<5"),
    ("tt", "avg< =5"),
    ("tt", "avg<1e400"),
    ("tt", "p(1e400)<5"),
    ("tt", ""),
    ("tt", "avg<5_"),
    ("tt", "avg<_5"),
    ("tt", "avg<5__0"),
    ("tt", "avg<--5"),
    ("tt", "p(101)<5"),
    ("tt", "p(-1)<5"),
    ("tt", "p(inf)<5"),
    ("tt", "p(nan)<5"),
    ("tt{}", "avg<5"),
    ("tt{parity}", "avg<5"),
    ("tt{parity:}", "avg<5"),
    ("tt{parity:odd,}", "avg<5"),
    ("tt{,parity:odd}", "avg<5"),
    ("tt{parity:odd", "avg<5"),
    ("tt parity:odd}", "avg<5"),
    ("tt{parity:odd}x", "avg<5"),
    ("tt{parity:odd} ", "avg<5"),
    ("tt{parity=odd}", "avg<5"),
    (" tt", "avg<5"),
    ("tt ", "avg<5"),
    ("tt {parity:odd}", "avg<5"),
];

/// What k6 refuses for the type of the metric.
const OF_ANOTHER_TYPE: &[(&str, &str)] = &[
    ("tt", "count==3"),
    ("tt", "rate>0"),
    ("tt", "value<5"),
    ("cc", "value==3"),
    ("cc", "avg<5"),
    ("cc", "p(95)<5"),
    ("gg", "min<5"),
    ("gg", "count<5"),
    ("gg", "rate<5"),
    ("rr", "count==2"),
    ("rr", "value<1"),
    ("rr", "avg<1"),
];

fn options() -> Value {
    let of_metric = JUDGED
        .iter()
        .map(|(name, sources)| ((*name).to_owned(), json!(sources)));
    json!({"thresholds": of_metric.collect::<Map<_, _>>()})
}

fn script(options: &Value) -> String {
    SCRIPT.replace("THRESHOLDS", &options["thresholds"].to_string())
}

/// Ours and k6's of the same process; k6 prints the names of submetrics with the blanks around them taken off.
fn plain(text: &str) -> String {
    text.replace("{ ", "{").replace(" }", "}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_threshold_is_judged_as_k6_judges_it() {
    let (site, options) = (Site::open().await, options());
    let service = Service::open(1, options.clone());
    let mut runners = Runners::with_own_thresholds(&script(&options), site.address, service.address);
    runners.release().await;
    let codes = runners.end().await;
    assert_eq!(codes, [Some(99)]);
    let log = std::fs::read_to_string(runners.log(1)).unwrap();
    let verdicts = log
        .lines()
        .find_map(|line| line.strip_prefix("VERDICTS"))
        .unwrap();
    let of_k6: BTreeMap<String, bool> = serde_json::from_str(verdicts).unwrap();

    let now = service.aggregator().now();
    let mut session = service.aggregator().session();
    session.conclude(now);
    let mut differing = Vec::new();
    let mut judged = 0;
    for here in session.judged() {
        let name = format!("{} {}", plain(&here.threshold.name), here.threshold.source);
        let there = of_k6.get(&name).copied();
        assert!(there.is_some(), "k6 does not judge {name:?}: {of_k6:?}");
        if here.verdict.passed != there {
            differing.push(format!("{name}: k6 says {there:?}, we say {:?}", here.verdict));
        }
        judged += 1;
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!((of_k6.len(), judged), (judged, of_k6.len()));
    assert!(judged >= 60, "only {judged}");
    let ours = session
        .judged()
        .iter()
        .filter(|here| here.verdict.passed == Some(false))
        .count();
    println!("{judged} thresholds are judged as k6 judges them, {ours} of them crossed");
}

/// k6's exit code for one threshold.
fn code_of(metric: &str, source: &str) -> Option<i32> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.js");
    std::fs::write(&path, script(&json!({"thresholds": {metric: [source]}}))).unwrap();
    let status = Command::new(k6_binary())
        .args(["run", "--quiet", "--no-usage-report", "--address="])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().code()
}

#[test]
fn what_k6_refuses_or_dies_of_is_refused_with_the_reason() {
    for (metric, source) in REFUSED {
        let refused = thresholds(&json!({"thresholds": {*metric: [source]}}));
        let why = refused
            .expect_err(&format!("{metric:?} {source:?} is accepted"))
            .to_string();
        assert!(why.contains(metric.trim()), "{why}");
        let code = code_of(metric, source);
        assert!(
            matches!(code, Some(104 | 109)),
            "k6 ends with {code:?} on {metric:?} {source:?}"
        );
    }
    println!("{} thresholds are refused as k6 refuses them", REFUSED.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_the_type_of_a_metric_has_not_is_told() {
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (metric, source) in OF_ANOTHER_TYPE {
        assert_eq!(code_of(metric, source), Some(104), "{metric} {source}");
        given.entry(metric).or_default().push(source);
    }
    let (site, options) = (Site::open().await, json!({"thresholds": given}));
    let service = Service::open(1, options);
    let mut runners = Runners::begin(
        1,
        &script(&json!({"thresholds": {}})),
        site.address,
        service.address,
    );
    runners.release().await;
    assert_eq!(runners.end().await, [Some(0)]);
    let now = service.aggregator().now();
    let mut session = service.aggregator().session();
    session.conclude(now);
    for here in session.judged() {
        let Verdict {
            passed, unsupported, ..
        } = here.verdict;
        assert_eq!(
            (passed, unsupported),
            (None, true),
            "{} {}",
            here.threshold.name,
            here.threshold.source
        );
    }
    assert_eq!(session.judged().len(), OF_ANOTHER_TYPE.len());
}

#[test]
fn a_limit_between_the_bounds_of_a_percentile_is_uncertain() {
    use k6_operator::aggregate::Estimate;
    let estimate = Estimate {
        value: 500.0,
        low: 480.0,
        high: 520.0,
    };
    for (source, uncertain) in [
        ("p(95)<500", true),
        ("p(95)<481", true),
        ("p(95)<470", false),
        ("p(95)<530", false),
        ("p(95)>=510", true),
        ("p(95)==500", true),
        ("p(95)!=600", false),
    ] {
        let expression = Expression::parse(source).unwrap();
        assert_eq!(expression.is_uncertain(&estimate), uncertain, "{source}");
        assert!(!expression.is_uncertain(&Estimate::exact(500.0)), "{source}");
    }
}

#[test]
fn a_selector_is_printed_as_it_is_read() {
    for name in [
        "http_reqs",
        "http_reqs{status:200}",
        "http_reqs{status:200,name:a b}",
    ] {
        assert_eq!(Selector::parse(name).unwrap().to_string(), name);
    }
}
