//! The program `aggregate`: it merges what the runners of a test measure, and serves the result.

mod admission;
pub mod server;
mod serving;

use crate::aggregate::report::RunInfo;
use crate::aggregate::session::Session;
use crate::aggregate::summary::Options;
use crate::clock::Clock;
use crate::k6::threshold::{submetrics, thresholds};
use crate::listen;
use crate::protocol::outcome::{Outcome, withdrawn};
use crate::protocol::report::TERMINATION_LOG;
use crate::protocol::tokens::{TokenError, TokenHash};
use serde_json::Value;
use server::{Aggregator, Names, Teller, Telling};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Merges what the runners of a test measure
#[derive(Clone, Debug, clap::Args)]
pub struct AggregateArgs {
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:4318")]
    pub listen: SocketAddr,
    /// The file with the hash of the token that the runners have: all others are refused
    #[arg(long, value_name = "PATH")]
    pub token_hash: PathBuf,
    /// The namespace and name of the resource, for people
    #[arg(long, default_value = "")]
    pub name: String,
    /// Its kind, for people
    #[arg(long, default_value = "K6")]
    pub kind: String,
    /// How many runners there are
    #[arg(long, value_name = "N")]
    pub runners: u32,
    /// setup() and teardown() run once, on the first runner
    #[arg(long)]
    pub once: bool,
    /// The script's thresholds: a file of JSON, with `thresholds` as k6 inspect prints them
    #[arg(long, value_name = "PATH")]
    pub options: Option<PathBuf>,
    /// The same, in place of a file
    #[arg(long, value_name = "JSON", conflicts_with = "options")]
    pub options_json: Option<String>,
    /// A folder in which the last exports survive a restart
    #[arg(long, value_name = "PATH")]
    pub keep: Option<PathBuf>,
    /// The file that gets the outcome, too
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

/// How often what is known so far is printed, for who can't reach the aggregator but can read its log.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Prints what is known of a test that runs, as one line of JSON.
async fn tell(aggregator: &Aggregator) {
    let mut tick = tokio::time::interval(TOLD_EVERY);
    loop {
        tick.tick().await;
        let now = aggregator.now();
        let session = aggregator.snapshot();
        if session.started().is_some() && !session.is_concluded() {
            println!("{}", Outcome::of(&session, now).to_message());
        }
    }
}

/// Tells the result where the operator can read it, which talks to nobody but the API server: in the log, and in the
/// termination message, which outlives the log.
fn tell_end(telling: &Telling<'_>, termination_log: &Path) {
    let (lines, message) = match telling {
        Telling::Result(outcome, documents) => {
            (format!("{documents}{}\n", outcome.line()), outcome.to_message())
        }
        Telling::Withdrawn => (format!("{}\n", withdrawn()), String::new()),
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written.and_then(|()| std::fs::write(termination_log, message)) {
        eprintln!("{}: {error}", termination_log.display());
    }
}

/// Aggregates until it is told to end.
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
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", args.token_hash.display());
    let hash = std::fs::read_to_string(&args.token_hash).map_err(|error| named(&error))?;
    let token: TokenHash = hash.parse().map_err(|error: TokenError| named(&error))?;
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
    let aggregator = Arc::new(aggregator.telling(Teller::new(move |telling| tell_end(&telling, &log))));
    tokio::select! {
        served = Arc::clone(&aggregator).serve(socket) => served?,
        () = Arc::clone(&aggregator).judge() => {}
        () = tell(&aggregator) => {}
        // Its Job is not complete by that: another pod is to take its place.
        _ = terminated.recv() => return Err("it was told to end".into()),
    }
    Ok(())
}
