//! Runs the k6 of a runner whose metrics are aggregated, as the first process of its container.
//!
//! k6 exports its last samples only while it runs. So it lingers (`--linger`) after its part of the test, while this
//! program reports k6's own metrics to the aggregator. When all samples have arrived, or will not, this program ends k6
//! and exits with its exit code.

use super::listening::{Keys, Listening, api_at, take_orders};
use super::process::{code_of, pid_of, tell, until_end};
use super::relay::Relay;
use super::summing::Plan;
use super::supervisor::Supervisor;
use crate::aggregate::handle_summary::Task;
use crate::aggregate::session::LAST_EXPORT;
use crate::k6::Version;
use crate::k6::export::{
    ENDPOINT, OUTPUTS_VARIABLE, SERIES, SERIES_LIMIT, corrections, outputs_beside, outputs_left_out, tagging,
};
use crate::k6::system_tags::has_urls;
use rustix::process::Signal;
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use tokio::process::Command;
use tokio::signal::unix::{Signal as Received, SignalKind, signal};

/// Runs k6 until all that it measured has arrived at the aggregator
#[derive(Clone, Debug, clap::Args)]
pub struct LingerArgs {
    /// The address of the aggregator
    #[arg(long, value_name = "HOST:PORT")]
    pub aggregator: String,
    /// A folder with the tokens of the run, which are read and removed before k6 is started
    #[arg(long, value_name = "PATH")]
    pub tokens: Option<PathBuf>,
    /// Where to take orders from who has the run's token
    #[arg(long, value_name = "IP:PORT", requires = "tokens")]
    pub listen: Option<SocketAddr>,
    /// The runner's number
    #[arg(long, value_name = "N")]
    pub runner: u32,
    /// What tells the processes of the runner apart
    #[arg(long, value_name = "UID")]
    pub process: String,
    /// How long teardown() may take, if this runner runs it for all, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub teardown_timeout: u64,
    /// How long an aggregator that does not answer is waited for when the test has ended, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2 * LAST_EXPORT / 1000)]
    pub patience: u64,
    /// The system tags that k6 is given, unless its user says which
    #[arg(long, value_name = "TAGS")]
    pub system_tags: Option<String>,
    /// The script's own metrics that have thresholds
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub script_metrics: Vec<String>,
    /// How long k6 may take to end when its part of the test is over, in seconds, beside what its summary takes
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub grace: u64,
    /// Where k6's REST API is to be
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:16565")]
    pub api: SocketAddr,
    /// The script, of which k6 is to call handleSummary() with the merged data
    #[arg(long, value_name = "PATH", requires = "k6_version")]
    pub script: Option<PathBuf>,
    /// The version of k6
    #[arg(long, value_name = "VERSION")]
    pub k6_version: Option<Version>,
    /// k6, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The largest script whose text is looked at.
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

/// The program `linger`. Returns k6's exit code, or what it would have been for what k6 was not told to do by itself: the
/// thresholds, which the aggregator judges, and teardown(), which runs when all runners have ended.
pub async fn run_linger(args: LingerArgs) -> ExitCode {
    let signals =
        signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut terminated, mut interrupted) = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals can't be received: {error}")),
    };
    let api = match api_at(args.api) {
        Ok(api) => api,
        Err(error) => return failed(&format!("{} can't be listened to: {error}", args.api)),
    };
    let args = LingerArgs { api, ..args };
    let Some(program) = args.command.first() else {
        return failed("there is no command");
    };
    let outputs = std::env::var(OUTPUTS_VARIABLE).unwrap_or_default();
    for output in outputs_left_out(&outputs) {
        eprintln!(
            "k6-operator: {OUTPUTS_VARIABLE} names {output}, of which k6 can have only one, which the operator uses: send the \
             metrics elsewhere by another output"
        );
    }
    let keys = match args.tokens.as_deref().map(Keys::take).transpose() {
        Ok(keys) => keys,
        Err(error) => return failed(&error),
    };
    let token = keys.as_ref().map(|keys| &keys.aggregator);
    let listening = Listening::open(&args, token).await;
    let Listening {
        orders,
        exports,
        exports_at,
    } = match listening {
        Ok(listening) => listening,
        Err(error) => return failed(&error),
    };
    let plan = args.plan();
    let mut command = k6_command(&args, program, &plan, &outputs);
    command.env(ENDPOINT, exports_at.to_string());
    let mut k6 = match command.spawn() {
        Ok(k6) => k6,
        Err(error) => return failed(&format!("{program} can't be started: {error}")),
    };
    let Some(pid) = pid_of(&k6) else {
        return failed("k6 has no process number");
    };
    let mut relay = k6.stderr.take().map(|log| Relay::start(log, tokio::io::stderr()));
    let signalled = Cell::new(false);
    let mut supervisor = Supervisor::new(&args, &plan, &signalled, token);
    let ended = {
        let attend = supervisor.attend(pid);
        tokio::select! {
            ended = until_end(&mut k6, pid, &mut terminated, &mut interrupted, &signalled) => ended,
            never = attend => match never {},
            never = take_orders(orders, args.api, keys.as_ref()) => match never {},
            served = exports.serve() => served.and_then(|()| Err(std::io::Error::other("its exports have no way"))),
        }
    };
    // One that ended without its child leaves it behind.
    tell(pid, Signal::KILL);
    if let Some(relay) = &mut relay {
        relay.end().await;
    }
    let is_marked = relay.is_some_and(|relay| relay.is_marked());
    let status = match ended {
        Ok(status) => status,
        Err(error) => return failed(&format!("k6 can't be awaited: {error}")),
    };
    if let Some(task) = supervisor.task.take() {
        sum_up(&mut supervisor, &task, &mut terminated, &mut interrupted).await;
    }
    let code = supervisor.code(code_of(status), is_marked);
    supervisor.say_exited(code).await;
    ExitCode::from(code)
}

/// The command of k6, without the address to which it exports.
fn k6_command(args: &LingerArgs, program: &str, plan: &Plan, outputs: &str) -> Command {
    let tags = args.system_tags.as_deref();
    let own = args.command.get(1..).unwrap_or_default();
    let tags = tags.and_then(|tags| tagging(tags, own, |name| std::env::var(name).ok()));
    let has_urls = tags.as_deref().is_none_or(has_urls);
    // k6 uses the last value of a flag.
    let address = format!("--address={}", args.api);
    let arguments = plan.command.iter().skip(1).cloned().chain(tags).chain([address]);
    let mut command = Command::new(program);
    command
        .args(arguments.chain(outputs_beside(outputs)))
        .kill_on_drop(true)
        .process_group(0);
    // Only the log says whether teardown() marked the test as failed.
    command.stderr(Stdio::piped());
    correct(&mut command);
    if !has_urls {
        command.env(SERIES_LIMIT, SERIES.to_string());
    }
    command.envs(plan.variables.iter().map(|(name, value)| (*name, value)));
    command
}

/// Uses the merged data, and forwards the signals that come meanwhile to the k6 that calls handleSummary().
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

/// Removes from k6's environment what would keep it from exporting to the aggregator.
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

fn failed(why: &str) -> ExitCode {
    eprintln!("k6-operator: {why}");
    ExitCode::FAILURE
}
