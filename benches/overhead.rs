//! What aggregation costs a runner: the CPU time of k6 for one iteration, with and without, one after the other in
//! turns. Run with `cargo bench --bench overhead`; `K6OP_PAIRS` is how often (5).
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/support/k6.rs"]
mod k6;

use axum::Router;
use axum::routing::get;
use k6::{k6_binary, unused_address};
use k6_operator::aggregate::report::RunInfo;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::summary::Options;
use k6_operator::clock::Clock;
use k6_operator::k6::Version;
use k6_operator::k6::export::{ENDPOINT, arguments, environment};
use k6_operator::programs::aggregate::server::{Aggregator, Names};
use k6_operator::programs::http::ask;
use k6_operator::protocol::tokens::{Token, Tokens};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const SCRIPT: &str = r#"
import http from "k6/http";
import { check } from "k6";
export const options = { scenarios: { one: { executor: "shared-iterations", vus: 4, iterations: 12000, maxDuration: "5m" } } };
export default function () {
  check(http.get(`${__ENV.SITE}/`, { tags: { name: "site" } }), { "is good": (r) => r.status === 200 });
}
"#;

/// What is measured: a name, whether there is an output, and what is different.
struct Variant {
    name: &'static str,
    output: bool,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const FEW_TAGS: &str = "--system-tags=status,method,name,check,scenario,group,expected_response";

const VARIANTS: [Variant; 6] = [
    Variant {
        name: "without aggregation",
        output: false,
        arguments: &[],
        environment: &[],
    },
    Variant {
        name: "with aggregation, an export each second",
        output: true,
        arguments: &[],
        environment: &[],
    },
    Variant {
        name: "an export each 5 s",
        output: true,
        arguments: &[],
        environment: &[("K6_OTEL_EXPORT_INTERVAL", "5s")],
    },
    Variant {
        name: "only the tags that the report needs",
        output: true,
        arguments: &[FEW_TAGS],
        environment: &[],
    },
    Variant {
        name: "these tags, but without aggregation",
        output: false,
        arguments: &[FEW_TAGS],
        environment: &[],
    },
    Variant {
        name: "k6 without garbage collection until 256 MiB",
        output: true,
        arguments: &[],
        environment: &[("GOGC", "off"), ("GOMEMLIMIT", "256MiB")],
    },
];

/// CPU time of a process in clock ticks, which are hundredths of a second on Linux.
fn ticks(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
}

async fn attribute(api: &str, path: &str, pointer: &str) -> Option<f64> {
    let asked = ask(
        api,
        hyper::Method::GET,
        path,
        &[],
        Vec::new(),
        Duration::from_secs(5),
    )
    .await;
    let answer: Value = serde_json::from_slice(&asked.ok()?.1).ok()?;
    answer.pointer(pointer)?.as_f64()
}

/// The CPU time of one iteration, in µs.
async fn measure(
    variant: &Variant,
    site: SocketAddr,
    (aggregator, token): (SocketAddr, &Token),
    script: &str,
) -> f64 {
    let api = unused_address().to_string();
    let mut command = Command::new(k6_binary());
    command.args(["run", "--quiet", "--no-usage-report", "--linger"]);
    command.arg(format!("--address={api}")).args(variant.arguments);
    if variant.output {
        let more = arguments("experimental-opentelemetry", false);
        command.args(more.iter().filter(|word| *word != "--linger"));
        command.envs(environment(Version::new(1, 1, 0)));
        command.env(ENDPOINT, aggregator.to_string());
        let shown = format!("authorization=Bearer%20{}", token.text());
        command.env("K6_OTEL_HEADERS", format!("{shown},k6-runner=1,k6-process=pod"));
    }
    let mut child = command
        .envs(variant.environment.iter().copied())
        .env("SITE", format!("http://{site}"))
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while attribute(&api, "/v1/status", "/data/attributes/status")
        .await
        .is_none_or(|status| status < 9.0)
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let spent = ticks(&child) * 1e4;
    let iterations = attribute(&api, "/v1/metrics/iterations", "/data/attributes/sample/count")
        .await
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    spent / iterations
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let pairs: usize = std::env::var("K6OP_PAIRS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script.js");
        std::fs::write(&script, SCRIPT).unwrap();
        let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site_address = site.local_addr().unwrap();
        let routes = Router::new().route("/", get(async || "hello"));
        tokio::spawn(async move { axum::serve(site, routes).await.unwrap() });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let token = Tokens::random().unwrap().aggregator;
        let names = Names {
            token: token.hash(),
            about: RunInfo::default(),
            options: Options::of(&Value::Null),
        };
        let session = Session::new(1, false, Vec::new());
        let aggregator = Arc::new(Aggregator::new(names, session, None, &Clock::system()));
        tokio::spawn(aggregator.serve(socket));
        let mut spent: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for _ in 0..pairs {
            for (i, variant) in VARIANTS.iter().enumerate() {
                let one = measure(variant, site_address, (address, &token), script.to_str().unwrap()).await;
                spent.entry(i).or_default().push(one);
            }
        }
        let first = spent[&0].clone();
        for (i, variant) in VARIANTS.iter().enumerate() {
            let mut ratios: Vec<f64> = spent[&i]
                .iter()
                .zip(&first)
                .map(|(one, without)| one / without)
                .collect();
            let mut own = spent[&i].clone();
            println!(
                "{:>6.1} µs, {:.2} times  {}",
                median(&mut own),
                median(&mut ratios),
                variant.name
            );
            println!(
                "           each: {}",
                ratios
                    .iter()
                    .map(|r| format!("{r:.2}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            );
        }
    });
}
