//! What merging costs a runner: the CPU time of k6 and `linger` together for one iteration, and k6's memory, in turns
//! with a k6 that runs the same script without any output. Run with `cargo bench --bench overhead`. `K6OP_PAIRS` is how
//! often (5), `K6_BIN` names the k6, and with `K6OP_TRIED=1` other settings are measured too.
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
use k6_operator::k6::export::{arguments, environment, opentelemetry_output};
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::aggregate::server::{Aggregator, Names};
use k6_operator::protocol::outcome::Outcome;
use k6_operator::protocol::tokens::{AGGREGATOR, RUNNERS_HASH, Tokens};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use usage::{Usage, timed};
use version::version;

const ITERATIONS: u32 = 60_000;

/// Four virtual users that never wait: nearly all of the time is k6's CPU.
const SCRIPT: &str = r#"
import http from "k6/http";
import { check } from "k6";
export const options = {
  scenarios: { one: { executor: "shared-iterations", vus: 4, iterations: Number(__ENV.ITERATIONS), maxDuration: "5m" } },
};
export default function () {
  check(http.get(`${__ENV.SITE}/`, { tags: { name: "site" } }), { "is good": (r) => r.status === 200 });
}
"#;

/// As status.plan has them where no threshold needs others.
const TAGS: &str = "check,error_code,expected_response";

/// How k6 is run.
#[derive(Clone, Copy, Debug)]
struct Variant {
    name: &'static str,
    merged: bool,
    tags: &'static str,
    own_tags: bool,
    environment: &'static [(&'static str, &'static str)],
}

const STOCK: Variant = Variant {
    name: "k6 without any output",
    merged: false,
    tags: "",
    own_tags: false,
    environment: &[],
};

const MERGED: Variant = Variant {
    name: "a runner that merges",
    merged: true,
    tags: TAGS,
    own_tags: false,
    environment: &[],
};

const TRIED: [Variant; 10] = [
    Variant {
        name: "tried: Go's own setting for garbage (GOGC=100)",
        environment: &[("GOGC", "100")],
        ..MERGED
    },
    Variant {
        name: "tried: GOGC=200",
        environment: &[("GOGC", "200")],
        ..MERGED
    },
    Variant {
        name: "tried: GOGC=400",
        environment: &[("GOGC", "400")],
        ..MERGED
    },
    Variant {
        name: "tried: no garbage collection below 256 MiB",
        environment: &[("GOGC", "off"), ("GOMEMLIMIT", "256MiB")],
        ..MERGED
    },
    Variant {
        name: "tried: a flush each second",
        environment: &[("K6_OTEL_FLUSH_INTERVAL", "1s")],
        ..MERGED
    },
    Variant {
        name: "tried: an export each 5 s",
        environment: &[("K6_OTEL_EXPORT_INTERVAL", "5s")],
        ..MERGED
    },
    Variant {
        name: "tried: also the operator's own tags",
        own_tags: true,
        ..MERGED
    },
    Variant {
        name: "tried: also the method, the status and the scenario",
        tags: "check,error_code,expected_response,group,method,scenario,status",
        ..MERGED
    },
    Variant {
        name: "tried: all tags but those by URL",
        tags: "check,error,error_code,expected_response,group,method,proto,scenario,service,status,subproto,tls_version",
        own_tags: true,
        ..MERGED
    },
    Variant {
        name: "tried: k6 without any output, GOGC=330",
        environment: &[("GOGC", "330")],
        ..STOCK
    },
];

/// The server under load, and how many requests it got.
struct Site {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Site {
    async fn open() -> Self {
        let requests: Arc<AtomicU64> = Arc::default();
        let counted = Arc::clone(&requests);
        let answer = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { "hello" }
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let routes = Router::new().route("/", get(answer));
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        Self { address, requests }
    }
}

/// Runs the script once.
async fn measure(variant: Variant, site: &Site, folder: &Path) -> Usage {
    let api = unused_address();
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
    let count = format!("count=={ITERATIONS}");
    let limits = json!({"thresholds": {"iterations": [count], "http_reqs": [count], "checks": ["rate==1"]}});
    let session = Session::new(1, false, thresholds(&limits).unwrap());
    let aggregator = Arc::new(Aggregator::new(names, session, None, &Clock::system()));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serving = tokio::spawn(Arc::clone(&aggregator).serve(socket));
    let judging = tokio::spawn(Arc::clone(&aggregator).judge());
    let (usage, log) = (folder.join("usage"), folder.join("log"));
    let own_tags = variant
        .own_tags
        .then_some(["--tag", "instance_id=1", "--tag", "testrun_name=bench"]);
    let mut command = timed(&usage);
    if variant.merged {
        command
            .arg(env!("CARGO_BIN_EXE_k6-operator"))
            .arg("linger")
            .args(["--runner=1", "--process=pod"])
            .arg(format!("--aggregator={address}"))
            .arg(format!("--tokens={}", handed_over.display()))
            .arg(format!("--listen={}", unused_address()))
            .arg(format!("--api={api}"))
            .arg(format!("--system-tags={}", variant.tags))
            .arg("--")
            .arg(k6_binary())
            .args(["run", "--quiet"])
            .args(arguments(opentelemetry_output(version()).unwrap(), false))
            .args(own_tags.into_iter().flatten())
            .envs(environment(version()));
    } else {
        command.arg(k6_binary()).args(["run", "--quiet"]);
        command.arg(format!("--address={api}"));
    }
    let asked = site.requests.load(Ordering::Relaxed);
    let ended = command
        .arg(folder.join("script.js"))
        .env("K6_NO_USAGE_REPORT", "true")
        .env("SITE", format!("http://{}", site.address))
        .env("ITERATIONS", ITERATIONS.to_string())
        .envs(variant.environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .status()
        .await
        .unwrap();
    serving.abort();
    judging.abort();
    // What was measured is what was meant.
    let log = std::fs::read_to_string(log).unwrap();
    assert!(ended.success(), "{variant:?}: {ended}: {log}");
    let asked = site.requests.load(Ordering::Relaxed) - asked;
    assert_eq!(asked, u64::from(ITERATIONS), "{variant:?}: {log}");
    if variant.merged {
        let outcome = Outcome::of(&aggregator.session(), aggregator.now());
        assert_eq!(outcome.totals.iterations, f64::from(ITERATIONS), "{outcome:?}");
        assert!(
            outcome.crossed == 0 && outcome.incomplete.is_empty(),
            "{outcome:?}"
        );
    }
    Usage::told(&usage)
}

fn main() {
    // `cargo test --benches` passes through here too.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let pairs = std::env::var("K6OP_PAIRS");
    let pairs = pairs.map_or(5, |pairs| pairs.parse().unwrap());
    let mut variants = vec![STOCK, MERGED];
    if std::env::var_os("K6OP_TRIED").is_some() {
        variants.extend(TRIED);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("script.js"), SCRIPT).unwrap();
    let mut used: Vec<Vec<Usage>> = vec![Vec::new(); variants.len()];
    runtime.block_on(async {
        let site = Site::open().await;
        measure(STOCK, &site, folder.path()).await;
        for turn in 0..pairs {
            // No variant always comes after the same one.
            for i in 0..variants.len() {
                let i = (i + turn) % variants.len();
                used[i].push(measure(variants[i], &site, folder.path()).await);
            }
        }
    });
    println!("k6 {}, {ITERATIONS} iterations, {pairs} pairs", version());
    for (variant, of) in variants.iter().zip(&used).skip(1) {
        let pairs = |number: fn(&Usage) -> f64| {
            let pairs = of.iter().zip(&used[0]);
            pairs
                .map(|(one, stock)| (number(one), number(stock)))
                .collect::<Vec<_>>()
        };
        figures::print(
            &format!("{}: CPU of an iteration", variant.name),
            "µs",
            &pairs(|used| used.cpu * 1e6 / f64::from(ITERATIONS)),
        );
        figures::print(
            &format!("{}: memory", variant.name),
            "MiB",
            &pairs(|used| used.memory),
        );
    }
}
