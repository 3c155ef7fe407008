//! What a test costs whose requests all have URLs of their own: the time of one k6 with 12,000 of them, with and
//! without merging. Run with `cargo bench --bench urls`; `K6OP_URLS` is how many (12000), `K6OP_PAIRS` how often (3),
//! and `K6_BIN` names the k6.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

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
use k6_operator::k6::export::{arguments, environment};
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::aggregate::server::{Aggregator, Names};
use k6_operator::protocol::outcome::Outcome;
use k6_operator::protocol::tokens::{AGGREGATOR, RUNNERS_HASH, Tokens};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const SCRIPT: &str = r#"
import http from "k6/http";
import exec from "k6/execution";
const iterations = Number(__ENV.URLS);
export const options = { scenarios: { one: { executor: "shared-iterations", vus: 4, iterations, maxDuration: "5m" } } };
export default function () {
  http.get(`${__ENV.SITE}/orders/${exec.scenario.iterationInTest}/items?customer=abcdefghijklmnopqrstuvwxyz`);
}
"#;

/// As status.plan has them where nothing needs `url` and `name`.
const FEW_TAGS: &str = "--system-tags=check,expected_response,group,method,scenario,status";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    Alone,
    Merged,
    /// Where a threshold needs the tags by URL.
    MergedByUrl,
}

fn version() -> Version {
    let told = Command::new(k6_binary()).arg("version").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let version = told.split_whitespace().nth(1).unwrap_or_default();
    version.trim_start_matches('v').parse().unwrap()
}

/// How long k6's part of the test took in ms, its CPU time in s, and the most memory it used, in MiB.
async fn measure(variant: Variant, urls: u64, site: SocketAddr, folder: &Path) -> (f64, String) {
    let script = folder.join("script.js");
    std::fs::write(&script, SCRIPT).unwrap();
    let (api, usage) = (unused_address(), folder.join("usage"));
    let tokens = Tokens::random().unwrap();
    let handed_over = folder.join("tokens");
    std::fs::create_dir_all(&handed_over).unwrap();
    std::fs::write(handed_over.join(AGGREGATOR), tokens.aggregator.text()).unwrap();
    std::fs::write(handed_over.join(RUNNERS_HASH), tokens.runners.hash().to_string()).unwrap();
    let names = Names {
        token: tokens.aggregator.hash(),
        about: RunInfo::default(),
        options: Options::of(&json!({})),
    };
    let limit =
        json!({"thresholds": {"http_reqs": [format!("count=={urls}")], "http_req_duration": ["p(95)<5000"]}});
    let session = Session::new(1, false, thresholds(&limit).unwrap());
    let aggregator = Arc::new(Aggregator::new(names, session, None, &Clock::system()));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let serving = tokio::spawn(Arc::clone(&aggregator).serve(socket));
    let judging = tokio::spawn(Arc::clone(&aggregator).judge());
    let mut command = tokio::process::Command::new("/usr/bin/time");
    command
        .args(["-f", "%e s, CPU %U + %S s, memory %M KiB", "-o"])
        .arg(&usage);
    if variant != Variant::Alone {
        command.arg(env!("CARGO_BIN_EXE_k6-operator"));
        command.args([
            "linger",
            &format!("--aggregator={address}"),
            &format!("--tokens={}", handed_over.display()),
            "--runner=1",
            "--process=pod",
        ]);
        command.args([format!("--api={api}"), "--".to_owned()]);
    }
    command
        .arg(k6_binary())
        .args(["run", "--quiet", "--no-usage-report"]);
    command.arg(format!("--address={api}"));
    if variant != Variant::Alone {
        let output = if version() < Version::new(1, 4, 0) {
            "experimental-opentelemetry"
        } else {
            "opentelemetry"
        };
        command.args(arguments(output, false));
        command.envs(environment(version()));
    }
    if variant == Variant::Merged {
        command.arg(FEW_TAGS);
    }
    let begun = Instant::now();
    let log = folder.join("log");
    let ended = command
        .arg(&script)
        .env("SITE", format!("http://{site}"))
        .env("URLS", urls.to_string())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::process::Stdio::null())
        .status();
    let ended = ended.await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    judging.abort();
    serving.abort();
    let mut told = std::fs::read_to_string(usage)
        .unwrap()
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    if variant != Variant::Alone {
        let now = aggregator.now();
        let mut session = aggregator.session();
        session.conclude(now);
        let outcome = Outcome::of(&session, now);
        told = format!(
            "{told}; {} requests in {:.2} s, {}{}",
            outcome.totals.requests,
            outcome.duration_ms / 1e3,
            outcome.told(),
            outcome
                .incomplete
                .first()
                .map(|why| format!(", {why}"))
                .unwrap_or_default()
        );
    }
    (seconds, format!("{ended}: {told}"))
}

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let (urls, pairs) = (number("K6OP_URLS", 12_000), number("K6OP_PAIRS", 3));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site_address = site.local_addr().unwrap();
        let routes = Router::new().route("/{*path}", get(async || "hello"));
        tokio::spawn(async move { axum::serve(site, routes).await.unwrap() });
        for _ in 0..pairs {
            for variant in [Variant::Alone, Variant::Merged, Variant::MergedByUrl] {
                let folder = tempfile::tempdir().unwrap();
                let (seconds, told) = measure(variant, urls, site_address, folder.path()).await;
                println!("{variant:?}: {seconds:.2} s ({told})");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    });
}
