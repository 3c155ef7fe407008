//! The start barrier: all runners are released together, once every one of them is ready.

use std::process::ExitCode;
use std::time::{Duration, Instant as Moment};

use futures::future::join_all;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::Seconds;
use super::k6_client::{Client, Error, Order, Status};
use super::runners::{ANSWER, Access, Attempts, Limits, Target, TargetArgs};
use super::setup::{self, Done};
use crate::protocol::report::{Failure, Report};
use crate::protocol::tokens::Token;

/// Releases all runners, or none.
///
/// First, every runner must answer that it is initialized and paused, within [`Limits::connect`]. A runner that is no
/// longer paused was released by an earlier starter: it counts as confirmed and is left alone. If any runner is not
/// ready in time, none is released. A runner that was ready and then stops or refuses connections fails at once, as its
/// address may soon belong to another pod. With [`Limits::setup`], the first runner runs the script's setup() and the
/// others get its data. If that fails, none is released. Then all release orders are written back to back to the open
/// connections, and each runner has to confirm within [`Limits::release`].
///
/// If the future is dropped, either no runner or every ready runner has its release order.
///
/// `token` is the token that the runners require, if they require one.
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
    // Unconstrained: otherwise the runtime would suspend this task after 128 operations.
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

/// Returns the runners that wait for their release, the number of those that were released before, and the failures.
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

/// Why a runner is not ready, or does not confirm.
struct Problem {
    what: String,
    /// Whether waiting until the deadline would not change it.
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

    /// The problem of a runner that has answered before.
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

/// Finds every runner ready (or released) at about the same time. Runners that were ready early are asked again after
/// the last one became ready, since one of them may have ended meanwhile.
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

/// If asking all runners again took longer than this, they are asked once more.
const FRESH: Duration = Duration::from_secs(1);
/// The most rounds of asking again. Runners that are slow to answer are released nevertheless.
const RECHECKS: u32 = 3;
/// How long connections to a runner that has answered are refused before it counts as ended. Later, its address may
/// belong to a runner of another test.
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

/// Waits until a runner confirms its release order and repeats the order if it was lost. Returns when the order was
/// written.
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

/// Asks whether a runner has been released after all, and repeats the order only if it has not.
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

/// Releases all paused runners of a test together, once every one of them is ready
#[derive(Clone, Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Seconds until every runner must be ready
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().connect))]
    pub connect_timeout: Seconds,
    /// Seconds from the release until every runner must have confirmed it
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().release))]
    pub release_timeout: Seconds,
    /// Run setup() once, on the first runner, for all runners, and allow it this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub setup_timeout: Option<Seconds>,
}

/// Runs the program `start`. The exit code is 0 only if every runner is released.
pub async fn run_start(args: StartArgs) -> ExitCode {
    let limits = Limits {
        connect: args.connect_timeout.0,
        release: args.release_timeout.0,
        setup: args.setup_timeout.map(|timeout| timeout.0),
        ..Limits::default()
    };
    let work = async |targets: &[Target], token: Option<&Token>| start(targets, &limits, token).await;
    let summary = |report: &Report| {
        let released = format!("released {} of {} runners", report.confirmed, report.total);
        match report.spread_micros {
            // There is no runner or only one, or an earlier starter has released them all.
            0 => released,
            spread => format!(
                "{released} within {:.2} ms",
                Duration::from_micros(spread).as_secs_f64() * 1e3
            ),
        }
    };
    args.targets.run(work, summary).await
}
