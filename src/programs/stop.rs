//! Stopping runners: each is told to end its test, whether it runs, waits or has yet to begin.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::k6_client::Order;
use super::runners::{Access, Attempts, Limits, Target, end, token_of, unless_terminated};
use crate::protocol::report::{Failure, Report, TERMINATION_LOG};
use crate::protocol::tokens::Token;

/// A runner has ended when its address refuses connections for so long. Not at once: a k6 that is just being
/// started does not listen yet.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// Stops all runners, within [`Limits::stop`].
///
/// A runner confirms by its answer, or by having ended: nothing listens at its address. An address that does
/// not answer at all confirms nothing.
/// `token` is what opens the runners, where they ask for one.
pub async fn stop(targets: &[Target], limits: &Limits, token: Option<&Token>) -> Report {
    let access = Access::new(token);
    let deadline = Instant::now() + limits.stop;
    let outcomes = join_all(targets.iter().map(|target| stop_one(target, &access, deadline))).await;
    let mut confirmed = 0;
    let mut failures = Vec::new();
    for (target, outcome) in targets.iter().zip(outcomes) {
        match outcome {
            Ok(()) => confirmed += 1,
            Err(problem) => failures.push(Failure {
                runner: target.runner,
                message: format!("not stopped within {} s: {problem}", limits.stop.as_secs_f64()),
            }),
        }
    }
    Report::new(targets.len(), confirmed, Duration::ZERO, failures)
}

async fn stop_one(target: &Target, access: &Access<'_>, deadline: Instant) -> Result<(), String> {
    let mut attempts = Attempts::new(target, access, deadline);
    loop {
        let problem = match attempts.give(Order::Stop).await {
            Ok(status) if status.stopped => return Ok(()),
            Ok(_) => format!("{} does not stop", target.address),
            Err(error) if attempts.refuses_for(REFUSED_FOR, &error) => return Ok(()),
            Err(error) => error.to_string(),
        };
        if !attempts.again().await {
            return Err(problem);
        }
    }
}

/// Stops the runners of a test
#[derive(Clone, Debug, clap::Args)]
pub struct StopArgs {
    /// A runner's number and the address of its k6; once for every runner
    #[arg(long = "runner", value_name = "N=IP:PORT", required = true)]
    pub runners: Vec<Target>,
    /// Seconds until every runner must have confirmed
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().stop.as_secs())]
    pub stop_timeout: u64,
    /// The file with the token that opens the runners
    #[arg(long, value_name = "PATH")]
    pub token: Option<PathBuf>,
    /// The file that gets the report
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

/// The program `stop`: exit code 0 only when every runner has been stopped or has ended.
pub async fn run_stop(args: StopArgs) -> ExitCode {
    let limits = Limits {
        stop: Duration::from_secs(args.stop_timeout),
        ..Limits::default()
    };
    let token = match token_of(args.token.as_ref()) {
        Ok(token) => token,
        Err(failed) => return failed,
    };
    let report = unless_terminated(stop(&args.runners, &limits, token.as_ref())).await;
    end(report, &args.termination_log, |report| {
        format!("stopped {} of {} runners", report.confirmed, report.total)
    })
}
