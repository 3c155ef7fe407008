//! The program `collect`: it tells the aggregator how the run has ended, and brings what came of it to where the
//! operator can read it, which talks to nobody but the API server: the outcome into the termination message, the
//! documents into the log.

use super::handler;
use super::outcome::Outcome;
use super::pieces;
use super::report::About;
use super::runner::RUN_HEADER;
use super::server::MACHINE_READABLE;
use crate::runners::http::ask;
use crate::runners::report::TERMINATION_LOG;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Brings the result of a test from its aggregator
#[derive(Clone, Debug, clap::Args)]
pub struct CollectArgs {
    /// The address of the aggregator
    #[arg(long, value_name = "HOST:PORT")]
    pub aggregator: String,
    /// What names the run
    #[arg(long, value_name = "UID")]
    pub run: String,
    /// What is known of the run beside its metrics, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub about: String,
    /// The script, of which k6 is to call handleSummary()
    #[arg(long, value_name = "PATH", requires = "folder")]
    pub script: Option<String>,
    /// Where k6 finds what it needs for that
    #[arg(long, value_name = "PATH")]
    pub folder: Option<PathBuf>,
    /// Seconds until the aggregator must have answered
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub within: u64,
    /// The file that gets the outcome
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

/// The documents of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Documents {
    /// What `handleSummary()` receives.
    #[serde(rename = "summary.json")]
    pub data: String,
    /// The text.
    #[serde(rename = "summary.txt")]
    pub text: String,
    /// The page.
    #[serde(rename = "report.html")]
    pub page: String,
}

impl Documents {
    /// Those in a log of this program.
    pub fn parse(log: &str) -> Option<Self> {
        serde_json::from_str(&pieces::joined(log)?).ok()
    }
}

/// Collects.
pub async fn run_collect(args: CollectArgs) -> Result<(), Box<dyn std::error::Error>> {
    let about: About = serde_json::from_str(&args.about).map_err(|error| format!("--about: {error}"))?;
    let until = Instant::now() + Duration::from_secs(args.within);
    let (outcome, documents, machine_readable) = loop {
        match bring(&args, &about).await {
            Ok(brought) => break brought,
            Err(error) if Instant::now() + PAUSE >= until => return Err(error.into()),
            Err(_) => sleep(PAUSE).await,
        }
    };
    if let (Some(script), Some(folder)) = (&args.script, &args.folder) {
        let data = folder.join("data.json");
        std::fs::write(&data, handler::data(&documents.data, &machine_readable))?;
        let around = handler::script(script, &data.to_string_lossy());
        std::fs::write(folder.join("summary.js"), around)?;
    }
    println!("{}", pieces::lines(&serde_json::to_string(&documents)?));
    std::fs::write(&args.termination_log, outcome.to_message())
        .map_err(|error| format!("{}: {error}", args.termination_log.display()))?;
    eprintln!("{}", outcome.told());
    Ok(())
}

/// The outcome, the documents, and the data of a machine-readable summary.
async fn bring(args: &CollectArgs, about: &About) -> Result<(Outcome, Documents, String), String> {
    let about = serde_json::to_vec(about).map_err(|error| error.to_string())?;
    let outcome = get(args, Method::POST, "/finish", about).await?;
    let outcome = serde_json::from_str(&outcome).map_err(|error| error.to_string())?;
    let documents = Documents {
        data: get(args, Method::GET, "/summary.json", Vec::new()).await?,
        text: get(args, Method::GET, "/summary.txt", Vec::new()).await?,
        page: get(args, Method::GET, "/", Vec::new()).await?,
    };
    // An aggregator of an earlier version of the operator has none.
    let (status, machine_readable) = fetch(args, Method::GET, MACHINE_READABLE, Vec::new()).await?;
    let machine_readable = if status.is_success() {
        machine_readable
    } else {
        String::new()
    };
    Ok((outcome, documents, machine_readable))
}

async fn get(args: &CollectArgs, method: Method, path: &str, body: Vec<u8>) -> Result<String, String> {
    match fetch(args, method, path, body).await? {
        (StatusCode::OK, answer) => Ok(answer),
        (status, answer) => Err(format!("{path}: {status}: {answer}")),
    }
}

async fn fetch(
    args: &CollectArgs,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, String), String> {
    let headers = [(RUN_HEADER, args.run.as_str())];
    let (status, answer) = ask(&args.aggregator, method, path, &headers, body, ANSWER).await?;
    Ok((status, String::from_utf8_lossy(&answer).into_owned()))
}
