//! Stops runners: each is told to end its test, whether it runs, waits or has not begun.

use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::Seconds;
use super::k6_client::Order;
use super::runners::{Access, Attempts, Limits, Target, TargetArgs};
use crate::protocol::report::{Failure, Report};
use crate::protocol::tokens::Token;

/// How long connections to a runner are refused before it counts as ended. It is not zero, since a k6 that is starting
/// does not listen yet.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// Stops all runners within [`Limits::stop`].
///
/// A runner confirms by its answer or by having ended, so that connections to its address are refused. An address that
/// does not answer at all confirms nothing. `token` is the token that the runners require, if they require one.
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
    #[command(flatten)]
    targets: TargetArgs,
    /// Seconds until every runner must have confirmed that it stops
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().stop))]
    pub stop_timeout: Seconds,
}

/// Runs the program `stop`. The exit code is 0 only if every runner has been stopped or has ended.
pub async fn run_stop(args: StopArgs) -> ExitCode {
    let limits = Limits {
        stop: args.stop_timeout.0,
        ..Limits::default()
    };
    let work = async |targets: &[Target], token: Option<&Token>| stop(targets, &limits, token).await;
    let summary = |report: &Report| format!("stopped {} of {} runners", report.confirmed, report.total);
    args.targets.run(work, summary).await
}
