//! The start barrier: every runner is found ready and paused first, then all are released at once, or none.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant as Moment};

use futures::future::join_all;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::k6_client::{Client, Error, Order, Status};
use super::runners::{ANSWER, Access, Attempts, Limits, Target, end, token_of, unless_terminated};
use super::setup::{self, Done};
use crate::protocol::report::{Failure, Report, TERMINATION_LOG};
use crate::protocol::tokens::Token;

/// Releases all runners, or none.
///
/// First every runner must answer that it is initialized and paused, within [`Limits::connect`]. One that is
/// no longer paused was released by an earlier starter: it counts as confirmed and is not touched. If any
/// runner cannot be found ready, none is released. One that has answered, and then is told to stop or listens no
/// more, is given up before the deadline: its address may soon be another's. With [`Limits::setup`], the first runner runs the script's
/// setup(), whose data the others get; if that fails, none is released either. Then all release orders are written
/// back to back to the connections that are open by now, and each runner has to confirm within [`Limits::release`].
///
/// Dropping the future leaves either no runner or every ready runner with its release order.
///
/// `token` is what opens the runners, where they ask for one.
pub async fn start(targets: &[Target], limits: &Limits, token: Option<&Token>) -> Report {
    let access = Access::new(token);
    let (mut paused, mut confirmed, mut failures) = ready(targets, &access, limits).await;
    if let (Some(limit), true, 0) = (limits.setup, failures.is_empty(), confirmed) {
        match setup::once(targets, limit, token).await {
            Done::Given => (paused, confirmed, failures) = ready(targets, &access, limits).await,
            Done::Failed(failed) => failures = failed,
            Done::Aborted(failure) => return Report::aborted(targets.len(), failure),
        }
    }
    if !failures.is_empty() {
        return Report::new(targets.len(), confirmed, Duration::ZERO, failures);
    }

    let deadline = Instant::now() + limits.release;
    let ordered = paused.len();
    // Unconstrained: the runtime would otherwise hold back what one task does after 128 operations.
    unconstrained(async {
        for (_, client) in &mut paused {
            client.send(Order::Resume);
        }
    })
    .await;
    let outcomes = join_all(
        paused
            .into_iter()
            .map(|(target, client)| confirm(target, client, &access, deadline)),
    )
    .await;

    let mut orders = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(order) => {
                confirmed += 1;
                orders.extend(order);
            }
            Err((target, problem)) => failures.push(Failure {
                runner: target.runner,
                message: problem.told("no confirmation", limits.release),
            }),
        }
    }
    let spread = match (orders.iter().min(), orders.iter().max()) {
        (Some(first), Some(last)) => *last - *first,
        _ => Duration::ZERO,
    };
    Report::new(targets.len(), confirmed, spread, failures).ordering(ordered)
}

/// The runners that wait for their release, how many have been released before, and those that can't be.
async fn ready<'a>(
    targets: &'a [Target],
    access: &Access<'_>,
    limits: &Limits,
) -> (Vec<(&'a Target, Client)>, usize, Vec<Failure>) {
    let reached = reach_all(targets, access, Instant::now() + limits.connect).await;
    let mut confirmed = 0;
    let mut failures = Vec::new();
    let mut paused = Vec::new();
    for (target, outcome) in targets.iter().zip(reached) {
        match outcome {
            Ok(Reached::Paused(client)) => paused.push((target, client)),
            Ok(Reached::Released) => confirmed += 1,
            Err(problem) => failures.push(Failure {
                runner: target.runner,
                message: problem.told("not ready", limits.connect),
            }),
        }
    }
    (paused, confirmed, failures)
}

enum Reached {
    Paused(Client),
    Released,
}

/// Why a runner is not found ready, or does not confirm.
struct Problem {
    what: String,
    /// It will not be otherwise before the deadline.
    is_final: bool,
}

impl Problem {
    fn passing(what: impl ToString) -> Self {
        Self {
            what: what.to_string(),
            is_final: false,
        }
    }

    fn of_status(target: &Target, status: &Status) -> Self {
        Self {
            what: unready(target, status),
            is_final: status.stopped,
        }
    }

    /// Of a runner that has answered before.
    fn of_known(attempts: &mut Attempts<'_>, error: &Error) -> Self {
        Self {
            what: error.to_string(),
            is_final: attempts.refuses_for(GONE_AFTER, error),
        }
    }

    fn told(&self, missing: &str, limit: Duration) -> String {
        if self.is_final {
            format!("{missing}: {}", self.what)
        } else {
            format!("{missing} within {} s: {}", limit.as_secs_f64(), self.what)
        }
    }
}

/// Finds every runner ready (or released) at about the same time: whoever was found ready is asked again once
/// the last one is, so that none that has gone meanwhile is counted on.
async fn reach_all(
    targets: &[Target],
    access: &Access<'_>,
    deadline: Instant,
) -> Vec<Result<Reached, Problem>> {
    let mut reached = join_all(targets.iter().map(|target| reach(target, None, access, deadline))).await;
    for _ in 0..RECHECKS {
        if reached.iter().any(Result::is_err) {
            break;
        }
        let again = join_all(
            targets
                .iter()
                .zip(reached)
                .map(async |(target, outcome)| match outcome {
                    Ok(Reached::Paused(client)) => {
                        let asked = Moment::now();
                        let outcome = reach(target, Some(client), access, deadline).await;
                        (outcome, asked.elapsed() < FRESH)
                    }
                    Ok(Reached::Released) => (Ok(Reached::Released), true),
                    Err(problem) => (Err(problem), true),
                }),
        )
        .await;
        let all_at_once = again.iter().all(|(_, quick)| *quick);
        reached = again.into_iter().map(|(outcome, _)| outcome).collect();
        if all_at_once {
            break;
        }
    }
    reached
}

/// When asking again took longer than this for a runner, all are asked once more.
const FRESH: Duration = Duration::from_secs(1);
/// But not more often than this: runners that are slow to answer are released nevertheless.
const RECHECKS: u32 = 3;
/// A runner that has answered has ended when its address refuses connections for so long. What is at the address
/// afterwards may be a runner of another test.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// Asks one runner until it is ready or has been released.
async fn reach(
    target: &Target,
    open: Option<Client>,
    access: &Access<'_>,
    deadline: Instant,
) -> Result<Reached, Problem> {
    let mut attempts = Attempts::new(target, access, deadline);
    let mut known = open.is_some();
    attempts.open = open;
    loop {
        let problem = match attempts.give(Order::Status).await {
            Ok(status) if status.released() => return Ok(Reached::Released),
            Ok(status) => {
                known = true;
                match attempts.open.take() {
                    Some(client) if status.ready() => return Ok(Reached::Paused(client)),
                    open => {
                        attempts.open = open;
                        Problem::of_status(target, &status)
                    }
                }
            }
            Err(error) if known => Problem::of_known(&mut attempts, &error),
            Err(error) => Problem::passing(error),
        };
        if problem.is_final || !attempts.again().await {
            return Err(problem);
        }
    }
}

fn unready(target: &Target, status: &Status) -> String {
    if status.stopped {
        format!("{} has been told to stop", target.address)
    } else {
        format!(
            "{} is still initializing (k6 status {})",
            target.address, status.status
        )
    }
}

/// Awaits the confirmation of a release order that was sent, and gives the order again where it was lost.
/// Returns when the order was written.
async fn confirm<'a>(
    target: &'a Target,
    mut client: Client,
    access: &Access<'_>,
    deadline: Instant,
) -> Result<Option<Moment>, (&'a Target, Problem)> {
    let answer = client.answer(deadline.min(Instant::now() + ANSWER)).await;
    let mut wrote = client.wrote();
    drop(client);
    let first = match answer {
        Ok(status) if status.released() => return Ok(wrote),
        Ok(status) if status.stopped => return Err((target, Problem::of_status(target, &status))),
        Ok(_) => format!("{} stays paused", target.address),
        Err(error) => error.to_string(),
    };
    let mut problem = Problem::passing(&first);
    let mut attempts = Attempts::new(target, access, deadline);
    while !problem.is_final && attempts.again().await {
        match insist(target, &mut attempts, &mut wrote).await {
            Ok(()) => return Ok(wrote),
            Err(last) => {
                problem = Problem {
                    what: format!("{first}; then {}", last.what),
                    ..last
                };
            }
        }
    }
    Err((target, problem))
}

/// Looks whether a runner has been released after all, and only if not gives the order again.
async fn insist(
    target: &Target,
    attempts: &mut Attempts<'_>,
    wrote: &mut Option<Moment>,
) -> Result<(), Problem> {
    let asked = attempts.give(Order::Status).await;
    let mut status = asked.map_err(|error| Problem::of_known(attempts, &error))?;
    if status.ready() {
        *wrote = Some(Moment::now());
        let ordered = attempts.give(Order::Resume).await;
        status = ordered.map_err(|error| Problem::of_known(attempts, &error))?;
    }
    if status.released() {
        Ok(())
    } else if status.ready() {
        Err(Problem::passing(format!("{} stays paused", target.address)))
    } else {
        Err(Problem::of_status(target, &status))
    }
}

/// Releases the paused runners of a test at once, or none of them
#[derive(Clone, Debug, clap::Args)]
pub struct StartArgs {
    /// A runner's number and the address of its k6; once for every runner
    #[arg(long = "runner", value_name = "N=IP:PORT", required = true)]
    pub runners: Vec<Target>,
    /// Seconds until every runner must be ready
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().connect.as_secs())]
    pub connect_timeout: u64,
    /// Seconds from the release until every runner must have confirmed
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().release.as_secs())]
    pub release_timeout: u64,
    /// Run setup() on the first runner, for all, within so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub setup_timeout: Option<u64>,
    /// The file with the token that opens the runners
    #[arg(long, value_name = "PATH")]
    pub token: Option<PathBuf>,
    /// The file that gets the report
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

/// The program `start`: exit code 0 only when every runner is released.
pub async fn run_start(args: StartArgs) -> ExitCode {
    let limits = Limits {
        connect: Duration::from_secs(args.connect_timeout),
        release: Duration::from_secs(args.release_timeout),
        setup: args.setup_timeout.map(Duration::from_secs),
        ..Limits::default()
    };
    let token = match token_of(args.token.as_ref()) {
        Ok(token) => token,
        Err(failed) => return failed,
    };
    let report = unless_terminated(start(&args.runners, &limits, token.as_ref())).await;
    end(report, &args.termination_log, |report| {
        let released = format!("released {} of {} runners", report.confirmed, report.total);
        match report.spread_micros {
            // None, only one, or all by an earlier starter.
            0 => released,
            spread => format!(
                "{released} within {:.2} ms",
                Duration::from_micros(spread).as_secs_f64() * 1e3
            ),
        }
    })
}
