//! How the starter and the stopper reach the runners: k6 processes that start paused, are released together and stopped
//! through k6's REST API, which [`super::linger`] passes on where it stands.

use std::fmt;
use std::net::{AddrParseError, SocketAddr};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::k6_client::{Client, Error, Order, Status};
use crate::protocol::report::Report;
use crate::protocol::tokens::{Token, TokenError};

/// At most this many runners are being connected to or asked at the same moment.
const AT_ONCE: usize = 128;
/// How long one attempt to connect may take; a lost first packet is sent again after one second.
const CONNECT_ATTEMPT: Duration = Duration::from_secs(2);
/// How long one answer may take before it is asked for again over a new connection.
pub(super) const ANSWER: Duration = Duration::from_secs(4);
/// The pauses between attempts grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));

/// A runner and where its k6 listens, written `3=10.88.0.7:6565`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The runner's number, 1 to N.
    pub runner: u32,
    /// The address of its REST API.
    pub address: SocketAddr,
}

/// Why a text is not a [`Target`].
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The text has no `=`.
    #[error("`{0}` is not of the form N=IP:PORT")]
    Form(String),
    /// Left of the `=`.
    #[error("`{0}` is not a runner's number: {1}")]
    Runner(String, ParseIntError),
    /// Runners are numbered from 1.
    #[error("runners are numbered from 1")]
    Zero,
    /// Right of the `=`.
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

/// How long the phases may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until every runner has been found ready and paused; nothing is released before.
    pub connect: Duration,
    /// From the release until every runner has confirmed.
    pub release: Duration,
    /// Until every runner has confirmed that it stops.
    pub stop: Duration,
    /// Until setup() has ended, if it is to run once for all.
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

/// What all attempts of a program have in common.
pub(super) struct Access<'a> {
    /// One for each runner that is being asked at the same time.
    slots: Semaphore,
    /// What opens the runners, where they ask for it.
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

/// The token in a file.
pub(super) fn read_token(path: &Path) -> Result<Token, String> {
    let failed = |error: &dyn fmt::Display| format!("the token in {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    text.parse().map_err(|error: TokenError| failed(&error))
}

/// Repeated attempts to get something from one runner, all of them before one deadline.
pub(super) struct Attempts<'a> {
    address: SocketAddr,
    access: &'a Access<'a>,
    deadline: Instant,
    pause: Duration,
    /// The connection of the last successful attempt.
    pub(super) open: Option<Client>,
    /// Since when nothing listens at the address.
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

    /// One attempt, over the open connection or a new one; a connection that failed is dropped.
    pub(super) async fn give(&mut self, order: Order) -> Result<Status, Error> {
        // The semaphore is never closed, and without a slot an attempt would still be right.
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

    /// Whether, with this failure of an attempt, nothing has listened for so long.
    pub(super) fn refuses_for(&mut self, limit: Duration, error: &Error) -> bool {
        if !error.is_refusal() {
            self.refused = None;
            return false;
        }
        self.refused.get_or_insert_with(Instant::now).elapsed() >= limit
    }

    pub(super) fn soon(&self, limit: Duration) -> Instant {
        self.deadline.min(Instant::now() + limit)
    }

    /// Waits before the next attempt; false when there is no time for one.
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

/// Runs a program's work until it is done, or until the pod is told to end.
pub(super) async fn unless_terminated(work: impl Future<Output = Report>) -> Option<Report> {
    // A container's first process ignores SIGTERM unless it asks for it.
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return Some(work.await);
    };
    tokio::select! {
        report = work => Some(report),
        _ = terminated.recv() => None,
    }
}

/// The token of a program that may have been given one.
pub(super) fn token_of(path: Option<&PathBuf>) -> Result<Option<Token>, ExitCode> {
    let token = path.map(|path| read_token(path)).transpose();
    token.map_err(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// Ends a program: its report goes to the termination log, to people, and into the exit code.
pub(super) fn end(
    report: Option<Report>,
    termination_log: &Path,
    summary: impl Fn(&Report) -> String,
) -> ExitCode {
    let Some(report) = report else {
        eprintln!("told to end before the work was done");
        return ExitCode::FAILURE;
    };
    if let Err(error) = std::fs::write(termination_log, report.to_message()) {
        eprintln!(
            "cannot write the report to {}: {error}",
            termination_log.display()
        );
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
