//! Runs the k6 of a runner whose metrics are aggregated, as the first process of its container.
//!
//! k6 exports its last samples only while it runs. With `--linger` it stays after its part of the test, while this
//! program reports k6's own metrics to the aggregator. Once all samples have arrived, or can't arrive any more, this
//! program ends k6 and exits with its exit code.

use super::Seconds;
use super::listening::{Keys, Listening, TokenSource, api_at, take_orders};
use super::process::{code_of, k6, pid_of, tell, until_end};
use super::relay::Relay;
use super::runners::TokenFileError;
use super::summing::Plan;
use super::supervisor::Supervisor;
use crate::aggregate::handle_summary::Task;
use crate::aggregate::session::LAST_EXPORT;
use crate::k6::Version;
use crate::k6::export::{
    ENDPOINT, OUTPUTS_VARIABLE, SERIES, SERIES_LIMIT, corrections, has_other_outputs, outputs_beside,
    outputs_left_out, tagging,
};
use crate::k6::memory;
use crate::k6::system_tags::has_urls;
use crate::protocol::tokens::TokenError;
use hyper::header::InvalidHeaderValue;
use rustix::io::Errno;
use rustix::process::Signal;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use thiserror::Error;
use tokio::process::Command;
use tokio::signal::unix::{Signal as Received, SignalKind, signal};

/// Runs k6 until everything that it measured has arrived at the aggregator
#[derive(Clone, Debug, clap::Args)]
pub struct LingerArgs {
    /// Address of the aggregator
    #[arg(long, value_name = "HOST:PORT")]
    pub aggregator: String,
    /// Folder with the tokens of the run, which are read and removed before k6 starts; `env` if they are in variables
    #[arg(long, value_name = "PATH")]
    pub tokens: Option<TokenSource>,
    /// Address on which to accept orders that carry the run's token
    #[arg(long, value_name = "IP:PORT", requires = "tokens")]
    pub listen: Option<SocketAddr>,
    /// Number of the runner
    #[arg(long, value_name = "N")]
    pub runner: u32,
    /// Name that distinguishes the processes of this runner, such as the UID of the pod
    #[arg(long, value_name = "UID")]
    pub process: String,
    /// Seconds that teardown() may take, if this runner runs it for all runners
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Duration::from_secs(60)))]
    pub teardown_timeout: Seconds,
    /// Seconds to wait for an aggregator that does not answer after the test has ended
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(2 * LAST_EXPORT))]
    pub patience: Seconds,
    /// System tags to give to k6, unless its own arguments or variables name some
    #[arg(long, value_name = "TAGS")]
    pub system_tags: Option<String>,
    /// Tag to give to k6 only if its samples also go to other outputs
    #[arg(long = "own-tag", value_name = "NAME=VALUE")]
    pub own_tags: Vec<String>,
    /// The script's own metrics that have thresholds
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub script_metrics: Vec<String>,
    /// Seconds that k6 may take to end after its part of the test, without the time for its summary
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Duration::from_secs(30)))]
    pub grace: Seconds,
    /// Address for k6's REST API
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:16565")]
    pub api: SocketAddr,
    /// Path of the script whose handleSummary() k6 calls with the merged data
    #[arg(long, value_name = "PATH", requires = "k6_version")]
    pub script: Option<PathBuf>,
    /// Version of k6
    #[arg(long, value_name = "VERSION")]
    pub k6_version: Option<Version>,
    /// k6 and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The largest script whose text is examined, in bytes.
const LARGEST_SCRIPT: u64 = 16 * 1024 * 1024;

impl LingerArgs {
    fn plan(&self) -> Plan {
        let source = self.script.as_ref().and_then(|script| {
            let size = std::fs::metadata(script).ok()?.len();
            std::fs::read(script).ok().filter(|_| size <= LARGEST_SCRIPT)
        });
        let variable = |name: &str| std::env::var(name).ok();
        let (script, version) = (self.script.as_deref(), self.k6_version);
        let metrics = &self.script_metrics;
        Plan::of(
            &self.command,
            script,
            version,
            source.as_deref(),
            metrics,
            variable,
        )
    }
}

/// Why a runner could not run its k6.
#[derive(Debug, Error)]
pub(super) enum LingerError {
    #[error("signals can't be received: {0}")]
    Signals(io::Error),
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("there is no command")]
    NoCommand,
    #[error("the memory of this process can't be closed to others: {0}")]
    Memory(Errno),
    #[error(transparent)]
    Token(#[from] TokenFileError),
    #[error("the variable {0}: {1}")]
    Variable(&'static str, TokenError),
    #[error("--process: {0}")]
    Process(#[from] InvalidHeaderValue),
    #[error("no address for k6's exports: {0}")]
    Exports(io::Error),
    #[error("{0} can't be started: {1}")]
    Start(String, io::Error),
    #[error("k6 has no process number")]
    NoNumber,
    #[error("k6 can't be awaited: {0}")]
    Wait(io::Error),
}

/// The program `linger`. Returns the exit code of k6, or the one that k6 would have had if it had judged the thresholds
/// and run teardown(): the aggregator does the former, and teardown() runs after all runners have ended.
pub async fn run_linger(args: LingerArgs) -> ExitCode {
    linger(args).await.unwrap_or_else(|error| {
        eprintln!("k6-operator: {error}");
        ExitCode::FAILURE
    })
}

async fn linger(args: LingerArgs) -> Result<ExitCode, LingerError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(LingerError::Signals)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(LingerError::Signals)?;
    let api = api_at(args.api).map_err(|error| LingerError::Listen(args.api, error))?;
    let args = LingerArgs { api, ..args };
    let program = args.command.first().ok_or(LingerError::NoCommand)?;
    let outputs = std::env::var(OUTPUTS_VARIABLE).unwrap_or_default();
    for output in outputs_left_out(&outputs) {
        eprintln!(
            "k6-operator: {OUTPUTS_VARIABLE} names {output}. k6 can have only one such output, which the operator uses: \
             send the metrics elsewhere by another output"
        );
    }
    let keys = args.tokens.as_ref().map(Keys::take).transpose()?;
    let token = keys.as_ref().map(|keys| &keys.aggregator);
    let Listening {
        orders,
        exports,
        exports_at,
    } = Listening::open(&args, token).await?;
    let plan = args.plan();
    let mut command = k6_command(&args, program, &plan, &outputs);
    command.env(ENDPOINT, exports_at.to_string());
    let mut k6 = command
        .spawn()
        .map_err(|error| LingerError::Start(program.clone(), error))?;
    let pid = pid_of(&k6).ok_or(LingerError::NoNumber)?;
    let mut relay = k6.stderr.take().map(|log| Relay::start(log, tokio::io::stderr()));
    let signalled = Cell::new(false);
    let mut supervisor = Supervisor::new(&args, &plan, &signalled, token);
    let ended = {
        let attend = supervisor.attend(pid);
        tokio::select! {
            ended = until_end(&mut k6, pid, &mut terminated, &mut interrupted, &signalled) => ended,
            never = attend => match never {},
            never = take_orders(orders, args.api, keys.as_ref()) => match never {},
            served = exports.serve() => {
                served.and_then(|()| Err(io::Error::other("the server for k6's exports has ended")))
            }
        }
    };
    // A k6 that has started another k6 may have left it behind.
    tell(pid, Signal::KILL);
    if let Some(relay) = &mut relay {
        relay.end().await;
    }
    let is_marked = relay.is_some_and(|relay| relay.is_marked());
    let status = ended.map_err(LingerError::Wait)?;
    if let Some(task) = supervisor.task.take() {
        sum_up(&mut supervisor, &task, &mut terminated, &mut interrupted).await;
    }
    let code = supervisor.code(code_of(status), is_marked);
    supervisor.say_exited(code).await;
    Ok(ExitCode::from(code))
}

/// The command of k6, without the address of its exports.
fn k6_command(args: &LingerArgs, program: &str, plan: &Plan, outputs: &str) -> Command {
    let tags = args.system_tags.as_deref();
    let own = args.command.get(1..).unwrap_or_default();
    let variable = |name: &str| std::env::var(name).ok();
    let tags = tags.and_then(|tags| tagging(tags, own, variable));
    let has_urls = tags.as_deref().is_none_or(has_urls);
    let is_seen = has_other_outputs(own, variable);
    let own_tags = args.own_tags.iter().filter(|_| is_seen);
    let tags = tags.into_iter().chain(own_tags.map(|tag| format!("--tag={tag}")));
    // The last value of a flag counts.
    let address = format!("--address={}", args.api);
    let arguments = plan.command.iter().skip(1).cloned().chain(tags).chain([address]);
    let mut command = k6(program);
    command
        .args(arguments.chain(outputs_beside(outputs)))
        .kill_on_drop(true)
        .process_group(0);
    // Only the log tells whether teardown() marked the test as failed.
    command.stderr(Stdio::piped());
    correct(&mut command);
    let set = memory::settings(memory_limit(), variable);
    command.envs(set);
    if !has_urls {
        command.env(SERIES_LIMIT, SERIES.to_string());
    }
    command.envs(plan.variables.iter().map(|(name, value)| (*name, value)));
    command
}

/// The files with the memory that this container may use, of both versions of cgroups.
const MEMORY_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// The memory that this container may use, in bytes; None if it has no limit.
fn memory_limit() -> Option<u64> {
    let mut files = MEMORY_LIMITS.into_iter().map(std::fs::read_to_string);
    files.find_map(|file| memory::limit_of(&file.ok()?))
}

/// Uses the merged data. Meanwhile, signals are forwarded to the k6 that calls handleSummary().
async fn sum_up(
    supervisor: &mut Supervisor<'_>,
    task: &Task,
    terminated: &mut Received,
    interrupted: &mut Received,
) {
    let second = Cell::new(None);
    let mut sum = std::pin::pin!(supervisor.sum(task, &second));
    loop {
        let told = tokio::select! {
            () = &mut sum => return,
            _ = terminated.recv() => Signal::TERM,
            _ = interrupted.recv() => Signal::INT,
        };
        if let Some(pid) = second.get() {
            tell(pid, told);
        }
    }
}

/// Removes the variables that would keep k6 from exporting to the aggregator.
fn correct(command: &mut Command) {
    let variables = std::env::vars_os();
    let variables = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    for (name, value) in corrections(&variables.collect()) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}
