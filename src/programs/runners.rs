//! How the starter and the stopper reach the runners. k6 processes start paused, are released together, and are stopped
//! through k6's REST API. With [`super::linger`] in front of k6, it forwards the requests.

use std::fmt;
use std::io;
use std::net::{AddrParseError, SocketAddr};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::k6_client::{Client, Error as CallError, Order, Status};
use crate::protocol::report::{Report, TERMINATION_LOG};
use crate::protocol::tokens::{Token, TokenError};

/// The most runners that are connected to or asked at the same time.
const AT_ONCE: usize = 128;
/// How long one attempt to connect may take. A lost first packet is sent again after one second.
const CONNECT_ATTEMPT: Duration = Duration::from_secs(2);
/// How long an answer may take before the request is repeated over a new connection.
pub(super) const ANSWER: Duration = Duration::from_secs(4);
/// The first and the longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));

/// A runner and the address of its k6, written `3=10.88.0.7:6565`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The runner's number, from 1 to N.
    pub runner: u32,
    /// The address of its REST API.
    pub address: SocketAddr,
}

/// Why a text is no [`Target`].
#[derive(Debug, Error)]
pub enum TargetError {
    /// The text has no `=`.
    #[error("`{0}` is not of the form N=IP:PORT")]
    Form(String),
    /// The text left of the `=` is no number.
    #[error("`{0}` is not a runner's number: {1}")]
    Runner(String, ParseIntError),
    /// Runners are numbered from 1.
    #[error("runners are numbered from 1")]
    Zero,
    /// The text right of the `=` is no address.
    #[error("`{0}` is not IP:PORT: {1}")]
    Address(String, AddrParseError),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (runner, address) = text
            .split_once('=')
            .ok_or_else(|| TargetError::Form(text.to_owned()))?;
        let runner = match runner.parse() {
            Ok(0) => return Err(TargetError::Zero),
            Ok(number) => number,
            Err(error) => return Err(TargetError::Runner(runner.to_owned(), error)),
        };
        let address = address
            .parse()
            .map_err(|error| TargetError::Address(address.to_owned(), error))?;
        Ok(Self { runner, address })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.runner, self.address)
    }
}

/// Time limits of the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until every runner is ready and paused. Nothing is released before.
    pub connect: Duration,
    /// From the release until every runner has confirmed it.
    pub release: Duration,
    /// Until every runner has confirmed that it stops.
    pub stop: Duration,
    /// Until setup() has ended, if it runs once for all runners.
    pub setup: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            release: Duration::from_secs(10),
            stop: Duration::from_secs(15),
            setup: None,
        }
    }
}

/// What all attempts of one program share.
pub(super) struct Access<'a> {
    /// A permit for each runner that is asked at the same time.
    slots: Semaphore,
    /// The token that the runners require, if they require one.
    token: Option<&'a Token>,
}

impl<'a> Access<'a> {
    pub(super) fn new(token: Option<&'a Token>) -> Self {
        Self {
            slots: Semaphore::new(AT_ONCE),
            token,
        }
    }
}

/// Why a file with a token, or with the hash of one, can't be used.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// The file can't be read.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Unreadable(PathBuf, io::Error),
    /// The content is no token.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Content(PathBuf, TokenError),
    /// The file can't be removed.
    #[error("{path} can't be removed: {error}", path = .0.display(), error = .1)]
    Kept(PathBuf, io::Error),
}

/// Reads a token, or the hash of one, from a file.
pub(super) fn read_token<T: FromStr<Err = TokenError>>(path: &Path) -> Result<T, TokenFileError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| TokenFileError::Unreadable(path.to_owned(), error))?;
    text.parse()
        .map_err(|error| TokenFileError::Content(path.to_owned(), error))
}

/// Repeated attempts to get an answer of one runner, with a common deadline.
pub(super) struct Attempts<'a> {
    address: SocketAddr,
    access: &'a Access<'a>,
    deadline: Instant,
    pause: Duration,
    /// The connection of the last successful attempt.
    pub(super) open: Option<Client>,
    /// Since when connections to the address are refused.
    refused: Option<Instant>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(target: &Target, access: &'a Access<'a>, deadline: Instant) -> Self {
        Self {
            address: target.address,
            access,
            deadline,
            pause: PAUSES.0,
            open: None,
            refused: None,
        }
    }

    /// Makes one attempt, over the open connection or a new one. A connection that failed is dropped.
    pub(super) async fn give(&mut self, order: Order) -> Result<Status, CallError> {
        // The semaphore is never closed, and an attempt without a permit does no harm.
        let _slot = self.access.slots.acquire().await;
        let mut client = match self.open.take() {
            Some(client) => client,
            None => {
                let client = Client::connect(self.address, self.soon(CONNECT_ATTEMPT)).await?;
                client.with(self.access.token)
            }
        };
        let status = client.call(order, self.soon(ANSWER)).await?;
        self.open = Some(client);
        Ok(status)
    }

    /// Whether connections have been refused for this long, given the error of the last attempt.
    pub(super) fn refuses_for(&mut self, limit: Duration, error: &CallError) -> bool {
        if !error.is_refusal() {
            self.refused = None;
            return false;
        }
        self.refused.get_or_insert_with(Instant::now).elapsed() >= limit
    }

    pub(super) fn soon(&self, limit: Duration) -> Instant {
        self.deadline.min(Instant::now() + limit)
    }

    /// Waits before the next attempt. False if the deadline comes first.
    pub(super) async fn again(&mut self) -> bool {
        let next = Instant::now() + self.pause;
        self.pause = PAUSES.1.min(self.pause * 2);
        if next >= self.deadline {
            return false;
        }
        sleep_until(next).await;
        true
    }
}

/// Runs a program's work until it is done or the pod is told to end.
async fn unless_terminated(work: impl Future<Output = Report>) -> Option<Report> {
    // The first process of a container ignores SIGTERM unless it handles it.
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return Some(work.await);
    };
    tokio::select! {
        report = work => Some(report),
        _ = terminated.recv() => None,
    }
}

/// The arguments that the starter and the stopper share.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Number and address of a runner. Repeat it for every runner
    #[arg(long = "runner", value_name = "N=IP:PORT", required = true)]
    runners: Vec<Target>,
    /// File with the token that the runners require
    #[arg(long, value_name = "PATH")]
    token: Option<PathBuf>,
    /// File to which the report is written at the end
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    termination_log: PathBuf,
}

impl TargetArgs {
    /// Runs a program: works on the runners, writes the report to the termination log, prints a summary, and returns the
    /// exit code.
    pub(super) async fn run(
        &self,
        work: impl AsyncFnOnce(&[Target], Option<&Token>) -> Report,
        summary: impl Fn(&Report) -> String,
    ) -> ExitCode {
        let token = match self.token.as_deref().map(read_token).transpose() {
            Ok(token) => token,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        let Some(report) = unless_terminated(work(&self.runners, token.as_ref())).await else {
            eprintln!("told to end before the work was done");
            return ExitCode::FAILURE;
        };
        if let Err(error) = std::fs::write(&self.termination_log, report.to_message()) {
            let path = self.termination_log.display();
            eprintln!("cannot write the report to {path}: {error}");
        }
        for failure in &report.failures {
            eprintln!("runner {}: {}", failure.runner, failure.message);
        }
        println!("{}", summary(&report));
        if report.complete() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_number_and_an_address() {
        for (text, runner, address) in [
            ("3=10.88.0.7:6565", 3, "10.88.0.7:6565"),
            ("1000=[fd00::7]:1", 1000, "[fd00::7]:1"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                target,
                Target {
                    runner,
                    address: address.parse().unwrap()
                }
            );
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_target_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "`` is not of the form N=IP:PORT"),
            ("10.88.0.7:6565", "`10.88.0.7:6565` is not of the form N=IP:PORT"),
            ("0=10.88.0.7:6565", "runners are numbered from 1"),
            (
                "-1=10.88.0.7:6565",
                "`-1` is not a runner's number: invalid digit found in string",
            ),
            (
                "=10.88.0.7:6565",
                "`` is not a runner's number: cannot parse integer from empty string",
            ),
            (
                "1=10.88.0.7",
                "`10.88.0.7` is not IP:PORT: invalid socket address syntax",
            ),
            (
                "1=localhost:6565",
                "`localhost:6565` is not IP:PORT: invalid socket address syntax",
            ),
        ] {
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), reason);
        }
    }
}
