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
    /// Release the paused runners together (the starter Job).
    Start(StartArgs),
    /// Stop the runners through k6's API (the stopper Job).
    Stop(StopArgs),
    /// Merge the metrics of all runners (the aggregator Job).
    Aggregate(AggregateArgs),
    /// Let k6 read a script and report what it needs (the initializer Job).
    Inspect(InspectArgs),
    /// Run k6 in a runner until the aggregator has all of its metrics.
    Linger(LingerArgs),
    /// Replay the history of a resource: JSON on standard input, as `kubectl get k6 NAME -o json` prints it.
    Replay,
    /// Print the CustomResourceDefinition of a kind.
    Crd {
        /// The kind: K6 or TestRun.
        #[arg(default_value = "K6", value_parser = kind)]
        kind: Kind,
    },
    /// Copy this program to a path, for containers whose image does not have it.
    #[command(hide = true)]
    Copy {
        /// The path of the copy.
        to: PathBuf,
        /// A folder whose files are copied as well.
        #[arg(long, requires = "into")]
        files: Option<PathBuf>,
        /// The folder for these files.
        #[arg(long, requires = "files")]
        into: Option<PathBuf>,
    },
    /// Write the state diagram and the transition table into a folder.
    Diagram {
        /// The folder for the files.
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
    // Programs in the pods of a run. The operator has its own settings.
    let _log = match &command {
        Command::Start(_) | Command::Stop(_) | Command::Aggregate(_) => {
            let settings = telemetry::Settings::for_programs(|name| std::env::var(name).ok());
            telemetry::init(&settings).ok()
        }
        // These two share their log with k6, and write none of their own.
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
            let written = writeln!(std::io::stderr(), "k6-operator: {error}");
            if written.is_ok() {
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
    Ok(std::io::stdout().write_all(api::definition(kind).as_bytes())?)
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

/// Copies the files of a folder that a Secret is mounted at. Hidden entries are skipped: the files are links into them.
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
