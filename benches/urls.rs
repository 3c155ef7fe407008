//! What a test costs whose requests all have URLs of their own: CPU and memory of one k6 with 12,000 of them, with and
//! without merging, in turns. Run with `cargo bench --bench urls`; `K6OP_URLS` is how many (12000), `K6OP_PAIRS` how
//! often (3), and `K6_BIN` names the k6.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "support/figures.rs"]
mod figures;
#[path = "../tests/support/k6.rs"]
mod k6;
#[path = "support/usage.rs"]
mod usage;
#[path = "../tests/support/version.rs"]
mod version;

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
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use usage::{Usage, timed};
use version::version;

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
const FEW_TAGS: &str = "--system-tags=check,error_code,expected_response";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    Alone,
    Merged,
    /// Where a threshold needs the tags by URL.
    MergedByUrl,
}

async fn measure(variant: Variant, urls: u32, site: SocketAddr, folder: &Path) -> Usage {
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
    let mut command = timed(&usage);
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
    let log = folder.join("log");
    let ended = command
        .arg(&script)
        .env("SITE", format!("http://{site}"))
        .env("URLS", urls.to_string())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::process::Stdio::null())
        .status();
    let ended = ended.await.unwrap();
    judging.abort();
    serving.abort();
    // What was measured is what was meant.
    assert!(ended.success(), "{variant:?}: {ended}");
    if variant != Variant::Alone {
        let now = aggregator.now();
        let mut session = aggregator.session();
        session.conclude(now);
        let outcome = Outcome::of(&session, now);
        assert_eq!(
            outcome.totals.requests,
            f64::from(urls),
            "{variant:?}: {outcome:?}"
        );
        assert_eq!(outcome.crossed, 0, "{variant:?}: {outcome:?}");
        // Series beyond those that are kept apart are told.
        let is_whole = outcome.incomplete.is_empty();
        assert_eq!(is_whole, variant == Variant::Merged, "{variant:?}: {outcome:?}");
    }
    Usage::told(&usage)
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

fn main() {
    // `cargo test --benches` passes through here too.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let (urls, pairs) = (number("K6OP_URLS", 12_000), number("K6OP_PAIRS", 3));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let variants = [Variant::Alone, Variant::Merged, Variant::MergedByUrl];
    let mut used = variants.map(|_| Vec::new());
    runtime.block_on(async {
        let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site_address = site.local_addr().unwrap();
        let routes = Router::new().route("/{*path}", get(async || "hello"));
        tokio::spawn(async move { axum::serve(site, routes).await.unwrap() });
        for _ in 0..pairs {
            for (variant, used) in variants.into_iter().zip(&mut used) {
                let folder = tempfile::tempdir().unwrap();
                used.push(measure(variant, urls, site_address, folder.path()).await);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    });
    println!("k6 {}, {urls} URLs, {pairs} pairs", version());
    let [alone, merged, merged_by_url] = used;
    let print = |what: &str, of: &[Usage]| {
        let pairs = |number: fn(&Usage) -> f64| {
            let pairs = of.iter().zip(&alone);
            pairs
                .map(|(one, alone)| (number(one), number(alone)))
                .collect::<Vec<_>>()
        };
        figures::print(&format!("{what}: CPU"), "s", &pairs(|used| used.cpu));
        figures::print(&format!("{what}: memory"), "MiB", &pairs(|used| used.memory));
    };
    print("many URLs, merged", &merged);
    print("many URLs, merged by URL", &merged_by_url);
}
