//! The command line: one thin arm per subcommand.

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use k6_operator::api::Kind;
use k6_operator::operator::telemetry::{self, TelemetryArgs};
use k6_operator::programs::aggregate::{AggregateArgs, run_aggregate};
use k6_operator::programs::inspect::{InspectArgs, run_inspect};
use k6_operator::programs::{self, linger::LingerArgs, start::StartArgs, stop::StopArgs};
use k6_operator::{api, machine, operator};
use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Distributed k6 load tests on Kubernetes.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run {
        #[command(flatten)]
        run: operator::RunArgs,
        #[command(flatten)]
        telemetry: TelemetryArgs,
    },
    /// Release paused runners together; runs as the starter Job.
    Start(StartArgs),
    /// Stop runners through k6's API; runs as the stopper Job.
    Stop(StopArgs),
    /// Merge what the runners of a test measure.
    Aggregate(AggregateArgs),
    /// Let k6 read a script and say what it needs; runs in the initializer Job.
    Inspect(InspectArgs),
    /// Run k6 until all that it measured has arrived at the aggregator; runs in each runner.
    Linger(LingerArgs),
    /// Replay the history of a resource (JSON on standard input, as `kubectl get k6 NAME -o json` prints it).
    Replay,
    /// Print the CustomResourceDefinition of a kind.
    Crd {
        /// K6 or TestRun.
        #[arg(default_value = "K6", value_parser = kind)]
        kind: Kind,
    },
    /// Copy this program to a path; runs before starters whose image has none.
    #[command(hide = true)]
    Copy {
        /// The path.
        to: PathBuf,
        /// A folder whose files are copied too.
        #[arg(long, requires = "into")]
        files: Option<PathBuf>,
        /// The folder that they are copied into.
        #[arg(long, requires = "files")]
        into: Option<PathBuf>,
    },
    /// Write the state diagram and the transition table into a folder.
    Diagram {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the completion of this command line for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Those that run in the pods of a test; the operator has settings of its own for this.
    let _log = match &command {
        Command::Start(_) | Command::Stop(_) | Command::Aggregate(_) => {
            let settings = telemetry::Settings::for_programs(|name| std::env::var(name).ok());
            telemetry::init(&settings).ok()
        }
        // k6 writes to the same log as these.
        Command::Inspect(_) | Command::Linger(_) => None,
        Command::Run { .. }
        | Command::Replay
        | Command::Crd { .. }
        | Command::Copy { .. }
        | Command::Diagram { .. }
        | Command::Completion { .. } => None,
    };
    let done = match command {
        Command::Run { run, telemetry } => operate(run, &telemetry).await,
        Command::Start(args) => return programs::start::run_start(args).await,
        Command::Stop(args) => return programs::stop::run_stop(args).await,
        Command::Aggregate(args) => run_aggregate(args).await,
        Command::Inspect(args) => return run_inspect(args).await,
        Command::Linger(args) => return programs::linger::run_linger(args).await,
        Command::Replay => replay(),
        Command::Crd { kind } => crd(kind),
        Command::Copy { to, files, into } => copy(&to).and_then(|()| match files.zip(into) {
            Some((from, into)) => copy_files(&from, &into),
            None => Ok(()),
        }),
        Command::Diagram { folder } => diagram(&folder),
        Command::Completion { shell } => completion(shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let told = writeln!(std::io::stderr(), "k6-operator: {error}");
            if told.is_ok() {
                ExitCode::FAILURE
            } else {
                ExitCode::from(2)
            }
        }
    }
}

async fn operate(run: operator::RunArgs, args: &TelemetryArgs) -> Result<(), Box<dyn Error>> {
    let guard = telemetry::init(&telemetry::Settings::from_env(args))?;
    let done = operator::run(run).await;
    guard.shutdown();
    done
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::parse(name).ok_or_else(|| "K6 or TestRun".to_owned())
}

fn crd(kind: Kind) -> Result<(), Box<dyn Error>> {
    Ok(std::io::stdout().write_all(api::crd::yaml(kind)?.as_bytes())?)
}

fn completion(shell: Shell) -> Result<(), Box<dyn Error>> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "k6-operator", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

fn copy(to: &std::path::Path) -> Result<(), Box<dyn Error>> {
    std::fs::copy(std::env::current_exe()?, to)?;
    Ok(())
}

/// The files of a folder that is mounted from a Secret: each is a link into a hidden folder beside them.
fn copy_files(from: &std::path::Path, into: &std::path::Path) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            std::fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn diagram(folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    for (name, text) in machine::diagram::files() {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn replay() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    std::io::stdout().write_all(api::replay_report(&text)?.as_bytes())?;
    Ok(())
}
