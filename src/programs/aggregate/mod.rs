//! The program `aggregate`: merges what the runners of a test measure and serves the result.

mod admission;
mod kept;
mod otlp;
mod routes;
pub mod server;
mod serving;

use super::runners::read_token;
use crate::aggregate::report::RunInfo;
use crate::aggregate::session::Session;
use crate::aggregate::summary::Options;
use crate::clock::Clock;
use crate::k6::threshold::{submetrics, thresholds};
use crate::listen;
use crate::protocol::outcome::{Outcome, withdrawn};
use crate::protocol::report::TERMINATION_LOG;
use serde_json::Value;
use server::{Aggregator, Names, Publication, Publisher};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Merges what the runners of a test measure
#[derive(Clone, Debug, clap::Args)]
pub struct AggregateArgs {
    /// The address to listen on
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:4318")]
    pub listen: SocketAddr,
    /// File with the hash of the run's token. Requests of runners without the token are refused
    #[arg(long, value_name = "PATH")]
    pub token_hash: PathBuf,
    /// Namespace and name of the resource, shown in the report
    #[arg(long, default_value = "")]
    pub name: String,
    /// Kind of the resource, shown in the report
    #[arg(long, default_value = "K6")]
    pub kind: String,
    /// Number of runners
    #[arg(long, value_name = "N")]
    pub runners: u32,
    /// Run setup() and teardown() once, on the first runner
    #[arg(long)]
    pub once: bool,
    /// File with the script's options as JSON, as `k6 inspect` prints them. The thresholds are read from it
    #[arg(long, value_name = "PATH")]
    pub options: Option<PathBuf>,
    /// The script's options as JSON, in place of a file
    #[arg(long, value_name = "JSON", conflicts_with = "options")]
    pub options_json: Option<String>,
    /// Folder for the last export of each runner, from which a restarted aggregator continues
    #[arg(long, value_name = "PATH")]
    pub keep: Option<PathBuf>,
    /// File to which the outcome is written at the end
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

/// How often the numbers so far are printed. The operator reads them in the log if it can't reach the aggregator.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Prints the outcome so far as one line of JSON, while the test runs.
async fn print_progress(aggregator: &Aggregator) {
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tick.tick().await;
        let now = aggregator.now();
        let session = aggregator.snapshot();
        if session.started().is_some() && !session.is_concluded() {
            println!("{}", Outcome::of(&session, now).to_message());
        }
    }
}

/// Publishes the result where the operator can read it, since the operator connects to nothing but the API server: in
/// the log, and in the termination message, which outlives the log.
fn publish(publication: &Publication<'_>, termination_log: &Path) {
    let (lines, message) = match publication {
        Publication::Result(outcome, documents) => {
            (format!("{documents}{}\n", outcome.line()), outcome.to_message())
        }
        Publication::Withdrawn => (format!("{}\n", withdrawn()), String::new()),
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written.and_then(|()| std::fs::write(termination_log, message)) {
        eprintln!("{}: {error}", termination_log.display());
    }
}

/// Runs the aggregator until it is told to end.
pub async fn run_aggregate(args: AggregateArgs) -> Result<(), Box<dyn std::error::Error>> {
    let options = match (&args.options, &args.options_json) {
        (None, None) => Value::Null,
        (None, Some(json)) => {
            serde_json::from_str(json).map_err(|error| format!("--options-json: {error}"))?
        }
        (Some(path), _) => {
            let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let token = read_token(&args.token_hash)?;
    let mut session = Session::new(args.runners, args.once, thresholds(&options)?);
    session.submetrics = Arc::new(submetrics(&options));
    let mut terminated = signal(SignalKind::terminate())?;
    let bound = listen::bind(args.listen).await;
    let socket = bound.map_err(|error| format!("{}: {error}", args.listen))?;
    let names = Names {
        token,
        about: RunInfo {
            name: args.name,
            kind: args.kind,
            ..RunInfo::default()
        },
        options: Options::of(&options),
    };
    let aggregator = Aggregator::new(names, session, args.keep, &Clock::system());
    let log = args.termination_log;
    let aggregator =
        Arc::new(aggregator.publishing_to(Publisher::new(move |publication| publish(&publication, &log))));
    tokio::select! {
        served = Arc::clone(&aggregator).serve(socket) => served?,
        () = Arc::clone(&aggregator).judge() => {}
        () = print_progress(&aggregator) => {}
        // An error keeps the Job incomplete, so that another pod takes over.
        _ = terminated.recv() => return Err("it was told to end".into()),
    }
    Ok(())
}
