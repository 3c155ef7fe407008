//! The program `inspect`: has k6 read the script and report what it needs, in the pod of the initializer.
//!
//! `k6 inspect` knows no `--vus` or `--duration`. So `k6 archive` gets the user's arguments first, and `k6 inspect`
//! reads that archive. What a version of k6 supports is read from its `--help`. The answer of k6 is printed, as
//! grafana/k6-operator does, and the operator reads it from the log.

use super::Seconds;
use super::process::k6;
use crate::k6::refusal::{self, RESOLUTION, RESOLUTION_BEFORE};
use crate::k6::system_tags::OF_GROUPS;
use crate::k6::threshold::OWN_TAGS;
use crate::k6::{Arguments, Flags, Version, archive, arguments, exit_code, log};
use crate::protocol::inspected::{Inspected, NOT_STARTED};
use crate::protocol::report::TERMINATION_LOG;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};

/// The module by which a script reads its tags: <https://grafana.com/docs/k6/latest/javascript-api/k6-execution/#vu>
const TAGS_MODULE: &str = "k6/execution";
/// How long k6 may take to print its version or its help.
const HELP: Duration = Duration::from_secs(60);
/// The largest answer of k6 that is read, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// How much of the beginning and of the end of a log is kept, in bytes each.
const KEPT: usize = 64 * 1024;
/// The exit code after SIGTERM, as a shell reports it.
const TERMINATED: u8 = 128 + 15;
/// The exit code if k6 did not end in time, as `timeout` reports it.
/// <https://www.gnu.org/software/coreutils/manual/html_node/timeout-invocation.html>
const TOO_LATE: u8 = 124;

/// The options that `k6 inspect` lacks compared with `k6 run`, which uses one virtual user for a script that names
/// none. Since 2.1 they would replace the scenarios of a script, so they are given only if k6 asks for them.
const ONE_USER: &str = r#"{"vus":1}"#;
/// k6's error for a script without virtual users:
/// <https://github.com/grafana/k6/blob/v2.2.0/lib/executor/shared_iterations.go>
const NO_USERS: &str = "the number of VUs must be more than 0";

/// Has k6 read a script and report what it needs
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// Folder for temporary files
    #[arg(long, value_name = "PATH", default_value = "/tmp")]
    pub folder: PathBuf,
    /// Seconds that all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Duration::from_secs(300)))]
    pub timeout: Seconds,
    /// File to which the version of k6 is written, or why k6 refuses the script
    #[arg(long, value_name = "PATH", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
    /// k6, the user's arguments of `k6 run`, and the script
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Why there is no answer of k6.
#[derive(Debug)]
struct Refused {
    code: u8,
    message: String,
    /// Whether the message is already in k6's log, which was shown.
    is_logged: bool,
}

impl Refused {
    fn new(code: u8, message: String) -> Self {
        Self {
            code,
            message,
            is_logged: false,
        }
    }
}

/// Inspects a script. The exit code is 0, or that of the k6 that refuses the script.
pub async fn run_inspect(args: InspectArgs) -> ExitCode {
    let mut terminated = match signal(SignalKind::terminate()) {
        Ok(terminated) => terminated,
        Err(error) => {
            let why = Refused::new(1, format!("signals can't be received: {error}"));
            return end(&args, Err(why));
        }
    };
    // Dropping the work ends its k6.
    let done = tokio::select! {
        done = inspect(&args) => done,
        _ = terminated.recv() => {
            Err(Refused::new(TERMINATED, "told to end before k6 had read the script".to_owned()))
        }
    };
    end(&args, done)
}

fn end(args: &InspectArgs, done: Result<(String, Inspected), Refused>) -> ExitCode {
    let (message, code) = match done {
        Ok((answer, inspected)) => {
            let mut out = std::io::stdout();
            if let Err(error) = out.write_all(answer.as_bytes()).and_then(|()| out.flush()) {
                return end(
                    args,
                    Err(Refused::new(1, format!("k6's answer can't be printed: {error}"))),
                );
            }
            // Texts and flags can always be serialized.
            (serde_json::to_string(&inspected).unwrap_or_default(), 0)
        }
        Err(Refused {
            code,
            message,
            is_logged,
        }) => {
            if !is_logged {
                let quoted = message.replace('\\', "\\\\").replace('"', "\\\"");
                eprintln!("level=error msg=\"{quoted}\"");
            }
            (message, code)
        }
    };
    if let Err(error) = std::fs::write(&args.termination_log, message) {
        eprintln!(
            "level=warning msg=\"{}: {error}\"",
            args.termination_log.display()
        );
    }
    ExitCode::from(code)
}

async fn inspect(args: &InspectArgs) -> Result<(String, Inspected), Refused> {
    let Some((program, [user @ .., script])) = args.command.split_first() else {
        return Err(Refused::new(1, "k6 and a script are needed".to_owned()));
    };
    let k6 = K6 {
        program,
        deadline: Instant::now() + args.timeout.0,
        resolves: resolves(),
    };
    let ran = k6.run(&["version"], &[], Shown::Not).await?;
    let version = Version::printed(&ran.out);
    let known = Known::ask(&k6, version, user, script).await?;
    let archiving = &known.archiving;
    let archived = args.folder.join("test.tar");
    let archived = archived.to_string_lossy();

    let verbose = k6.resolves.then_some("--verbose");
    let words = std::iter::once("archive").chain(verbose);
    let words = words.chain(["--include-system-env-vars", "-O", &archived]);
    let words = words
        .chain(archiving.words.iter().map(String::as_str))
        .chain([script.as_str()]);
    let made = k6
        .run(&words.collect::<Vec<_>>(), &archiving.variables, Shown::AtOnce)
        .await?;
    if made.code != 0 {
        return Err(known.refused(&made));
    }

    let answer = requirements(&k6, args, &archived, &archiving.variables).await?;
    if answer.code != 0 {
        eprint!("{}", answer.log);
        let shown = Ran {
            shown: true,
            ..answer
        };
        return Err(known.refused(&shown));
    }
    // An archive that can't be read may name anything.
    let may = |name: fn(File, &[&str]) -> io::Result<bool>, words: &[&str]| {
        let found = File::open(archived.as_ref()).and_then(|archive| name(archive, words));
        found.unwrap_or(true)
    };
    let logged = Version::logged(&made.log).filter(|_| k6.resolves);
    let inspected = Inspected {
        version: logged
            .or(version)
            .map(|version| version.to_string())
            .unwrap_or_default(),
        names_no_own_tag: !may(archive::names_any, &OWN_TAGS),
        reads_no_tags: !may(archive::names_any, &[TAGS_MODULE]),
        has_no_groups: !may(archive::files_name_any, &OF_GROUPS),
        resolved: made.log.matches("k6 version: v").count() > 1,
    };
    Ok((answer.out, inspected))
}

/// What this k6 knows about the user's arguments.
struct Known {
    version: Option<Version>,
    /// The flags of `k6 run`.
    flags: Flags,
    given: Arguments,
    /// The arguments that `k6 archive` gets.
    archiving: arguments::Archiving,
}

impl Known {
    /// Asks k6 for its flags, unless there are no arguments. Fails if k6 refuses an argument.
    async fn ask(
        k6: &K6<'_>,
        version: Option<Version>,
        user: &[String],
        script: &str,
    ) -> Result<Self, Refused> {
        let flags = Flags::of_run();
        let mut known = Self {
            version,
            given: Arguments::parse(user, &flags),
            flags,
            archiving: arguments::Archiving::default(),
        };
        if user.is_empty() {
            return Ok(known);
        }
        // k6 parses all flags before it obeys `--help`.
        let words = ["run", "--help"]
            .into_iter()
            .chain(user.iter().map(String::as_str));
        let words: Vec<_> = words.chain([script]).collect();
        let run = k6.run(&words, &[], Shown::Not).await?;
        if run.code != 0 {
            return Err(known.refused(&run));
        }
        let archive = k6.run(&["archive", "--help"], &[], Shown::Not).await?;
        known.flags = Flags::of_help(&run.out).with_hidden();
        known.given = Arguments::parse(user, &known.flags);
        let archive = Flags::of_help(&archive.out).with_hidden();
        known.archiving = known.given.for_archive(&known.flags, &archive);
        Ok(known)
    }

    /// Why k6 refused the script or an argument, with a remedy if one is known.
    fn refused(&self, ran: &Ran) -> Refused {
        let words = log::last_words(&ran.log);
        let explained = self
            .version
            .and_then(|version| refusal::explained(&words, version, &self.given, &self.flags));
        Refused {
            code: ran.code,
            is_logged: explained.is_none() && ran.shown,
            message: explained.unwrap_or(words),
        }
    }
}

/// Runs `k6 inspect` on an archive.
async fn requirements(
    k6: &K6<'_>,
    args: &InspectArgs,
    archived: &str,
    variables: &[(&str, String)],
) -> Result<Ran, Refused> {
    let requirements = ["inspect", "--execution-requirements"];
    let words: Vec<&str> = requirements.into_iter().chain([archived]).collect();
    let answer = k6.run(&words, variables, Shown::Not).await?;
    if answer.code != exit_code::INVALID_CONFIG || !answer.log.contains(NO_USERS) {
        return Ok(answer);
    }
    let config = args.folder.join("config.json");
    std::fs::write(&config, ONE_USER)
        .map_err(|error| Refused::new(1, format!("{}: {error}", config.display())))?;
    let config = config.to_string_lossy();
    let words = requirements
        .into_iter()
        .chain(["--config", config.as_ref(), archived]);
    k6.run(&words.collect::<Vec<_>>(), variables, Shown::Not).await
}

/// Whether k6 may build another k6 with the extensions that the script imports. The user must have enabled it, since
/// otherwise each runner would ask a build service.
fn resolves() -> bool {
    let variables = [RESOLUTION, RESOLUTION_BEFORE].map(|name| std::env::var(name).ok());
    let said = variables.iter().flatten().next();
    said.is_some_and(|said| arguments::boolean(said) == Some(true))
}

/// When a log is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Not,
    AtOnce,
}

/// How a k6 ended.
struct Ran {
    code: u8,
    out: String,
    log: String,
    shown: bool,
}

struct K6<'a> {
    program: &'a str,
    deadline: Instant,
    resolves: bool,
}

impl K6<'_> {
    async fn run(&self, words: &[&str], variables: &[(&str, String)], shown: Shown) -> Result<Ran, Refused> {
        let program = self.program;
        let mut command = k6(program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .envs(variables.iter().map(|(name, value)| (*name, value)));
        for name in log::VARIABLES {
            command.env_remove(name);
        }
        if !self.resolves {
            command.env(RESOLUTION, "false").env(RESOLUTION_BEFORE, "false");
        }
        let mut child = command
            .spawn()
            .map_err(|error| Refused::new(NOT_STARTED, format!("{program} can't be started: {error}")))?;
        let group = Group::of(&child);
        let (out, log) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let ended = child.wait().await;
            // A process that k6 has left behind may keep its output open.
            drop(group);
            ended
        };
        let all = async { tokio::join!(ended, kept(out, LONGEST, Shown::Not), kept(log, KEPT, shown)) };
        let name = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let is_help = matches!(words, ["version", ..] | [_, "--help", ..]);
        let deadline = if is_help {
            self.deadline.min(Instant::now() + HELP)
        } else {
            self.deadline
        };
        let Ok((ended, out, log)) = timeout_at(deadline, all).await else {
            return Err(Refused::new(TOO_LATE, format!("`k6 {name}` does not end")));
        };
        let ended = ended.map_err(|error| Refused::new(1, format!("k6 can't be awaited: {error}")))?;
        let code = ended.code().or_else(|| Some(128 + ended.signal()?));
        Ok(Ran {
            code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX),
            out,
            log,
            shown: shown == Shown::AtOnce,
        })
    }
}

/// The process group of a k6. Dropping it ends all processes of the group.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Self(pid.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The group is gone if all its processes have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads a stream to its end and returns its beginning and its end, up to `limit` bytes each.
async fn kept(from: Option<impl AsyncRead + Unpin>, limit: usize, shown: Shown) -> String {
    let Some(mut from) = from else {
        return String::new();
    };
    let mut all = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let read = piece.get(..read).unwrap_or_default();
        if shown == Shown::AtOnce {
            // k6 is not stopped if nobody reads the log.
            let _ = std::io::stderr().write_all(read);
        }
        all.extend_from_slice(read);
        if all.len() > 2 * limit {
            all.drain(limit..all.len() - limit);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}
