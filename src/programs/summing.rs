//! Calls the script's handleSummary() with the merged data. The k6 of a runner's container does it, after the k6 that
//! ran the test has ended.

use super::process::k6;
use crate::aggregate::handle_summary::{self, Handled, Task};
use crate::k6::arguments::boolean;
use crate::k6::export::{OUTPUTS_VARIABLE, measuring};
use crate::k6::flags::variable_of;
use crate::k6::summary::{OF_SCRIPT, OURS, THRESHOLDS, without_summary};
use crate::k6::{Arguments, Flags, Version, archive};
use rustix::process::Signal;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// How long the k6 that calls handleSummary() may take. k6 itself stops handleSummary() after 2 minutes, or after the
/// `handleSummaryTimeout` of 2.2 and newer.
const LIMIT: Duration = Duration::from_secs(240);

/// How much of that k6's output is read again, in bytes.
const PRINTED: usize = 8 * 1024 * 1024;

/// The longest piece of a line that is forwarded at once, in bytes. The marked lines of our script are shorter.
const PIECE: u64 = 64 * 1024;

/// The largest archive that is rewritten, in bytes, since it is in memory for that.
const LARGEST_ARCHIVE: u64 = 64 * 1024 * 1024;

/// The flag for machine-readable summaries.
const MACHINE_READABLE: &str = "new-machine-readable-summary";

/// How a runner runs its part of the test without a summary of its own, and how it summarizes the whole test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The command of k6 for this part of the test.
    pub command: Vec<String>,
    /// Additional variables for that k6.
    pub variables: Vec<(&'static str, String)>,
    /// The script whose handleSummary() is called. None if it has none, or if k6 makes no summary.
    script: Option<PathBuf>,
    /// The file for the result of the whole test, as `--summary-export` names it.
    export: Option<PathBuf>,
    /// Whether that k6 makes machine-readable summaries.
    machine_readable: bool,
    /// The command of k6 that calls handleSummary().
    calling: Vec<String>,
    /// Whether k6's log is hidden: with `--log-output=none`, only the output of handleSummary() is expected.
    silent: bool,
}

impl Plan {
    /// The plan of a runner with this command and script. `source` is the content of the script's file, and `metrics`
    /// are the script's own metrics that have thresholds.
    pub fn of(
        command: &[String],
        script: Option<&Path>,
        version: Option<Version>,
        source: Option<&[u8]>,
        metrics: &[String],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let plain = Self {
            command: command.to_vec(),
            ..Self::default()
        };
        let (Some(script), Some(version), Some(run)) =
            (script, version, command.iter().position(|word| word == "run"))
        else {
            return plain;
        };
        let (before, words) = command.split_at(run);
        let words = words.get(1..).unwrap_or_default();
        let arguments = Arguments::parse(words, &Flags::of_run());
        // A k6 that makes no summary calls no handleSummary(). It has to measure nevertheless.
        let disabled = !measuring(version, words, &variable).is_empty();
        let may_have = source.is_none_or(|source| handle_summary::may_have(&String::from_utf8_lossy(source)));
        let value = |flag: &str| {
            let value = arguments.value(flag).map(str::to_owned);
            value.or_else(|| variable(&variable_of(flag)))
        };
        let set = || variable(&variable_of(MACHINE_READABLE)).and_then(|value| boolean(&value));
        let machine_readable = arguments.is_on(MACHINE_READABLE).or_else(set).unwrap_or_default();
        let calls = !disabled && (may_have || machine_readable);
        let export = value("summary-export").filter(|path| !path.is_empty() && !disabled);
        let mut plan = Self {
            command: command.to_vec(),
            variables: Vec::new(),
            script: calls.then(|| script.to_owned()),
            export: export.as_ref().map(PathBuf::from),
            machine_readable,
            calling: Vec::new(),
            silent: value("log-output").as_deref() == Some("none"),
        };
        if export.is_some() {
            plan.command.push("--summary-export=".to_owned());
        }
        if disabled || may_have || !metrics.is_empty() {
            let names: Vec<String> = metrics.iter().map(|name| format!("{name}:")).collect();
            plan.command.retain(|word| word != "--no-thresholds");
            plan.variables.push((THRESHOLDS, names.join(",")));
        }
        if may_have && !disabled {
            plan.command.push(without_summary(version).to_owned());
        }
        let kept = arguments
            .flags()
            .filter(|given| OF_SCRIPT.contains(&given.name.as_str()));
        let kept = kept.map(|given| match &given.value {
            Some(value) => format!("--{}={value}", given.name),
            None => format!("--{}", given.name),
        });
        let ours = OURS.into_iter().map(str::to_owned);
        let calling = before.iter().cloned().chain(["run".to_owned()]).chain(ours);
        plan.calling = calling.chain(kept).chain(["-".to_owned()]).collect();
        plan
    }

    /// Whether this runner uses the merged data.
    pub fn needs_data(&self) -> bool {
        self.script.is_some() || self.export.is_some()
    }

    /// Whether handleSummary() is called here, if the script has one.
    pub fn handles(&self) -> bool {
        self.script.is_some()
    }

    /// Writes the file of `--summary-export` and has k6 call handleSummary(). `began` gets the process ID of that k6,
    /// for signals to its process group, and None at its end. `setup_data` is what setup() returned, as JSON; None if
    /// it returned undefined.
    pub async fn carry_out(
        &self,
        task: &Task,
        setup_data: Option<&str>,
        began: impl Fn(Option<u32>),
    ) -> Handled {
        let exported = self.export.as_ref().and_then(|path| {
            let content = if self.machine_readable {
                &task.data
            } else {
                &task.export
            };
            let content = indented(content);
            let written = std::fs::write(path, content);
            written.err().map(|error| format!("{}: {error}", path.display()))
        });
        if let Some(error) = &exported {
            super::process::log_error(&format!("the summary could not be exported to {error}"));
        }
        let handled = match &self.script {
            Some(script) => self.call(script, task, setup_data, began).await,
            None => Ok(Handled::default()),
        };
        let mut handled = handled
            .unwrap_or_else(|error| Handled::failed(format!("k6 could not call handleSummary(): {error}")));
        if let Some(error) = &handled.error {
            super::process::log_error(error);
        }
        handled.error = match (handled.error, exported) {
            (error, None) => error,
            (error, Some(export)) => {
                let export = format!("--summary-export: {export}");
                Some(error.map_or(export.clone(), |error| format!("{error}\n{export}")))
            }
        };
        handled
    }

    async fn call(
        &self,
        script: &Path,
        task: &Task,
        setup_data: Option<&str>,
        began: impl Fn(Option<u32>),
    ) -> std::io::Result<Handled> {
        let base = std::env::current_dir()?;
        let folder = script.parent().unwrap_or(Path::new("/"));
        let around = around(script, task, setup_data, &base)?;
        let words = self.calling.iter().map(|word| from(&base, word));
        let mut words = words.collect::<Vec<_>>().into_iter();
        let mut command = k6(&words.next().unwrap_or_default());
        command
            .args(words)
            .current_dir(folder)
            .env_remove(OUTPUTS_VARIABLE)
            .kill_on_drop(true)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut k6 = command.spawn()?;
        began(k6.id());
        let input = k6.stdin.take();
        let give = async {
            // A k6 that does not read its input reports why.
            if let Some(mut input) = input {
                let _ = input.write_all(&around).await;
            }
        };
        let (out, err) = (k6.stdout.take(), k6.stderr.take());
        let printed = async {
            tokio::join!(
                passed_on(out, std::io::stdout(), false),
                passed_on(err, std::io::stderr(), self.silent)
            )
        };
        let ended = timeout(LIMIT, async {
            let ((), (out, err)) = tokio::join!(give, printed);
            (out, err, k6.wait().await)
        });
        let ended = ended.await;
        began(None);
        match ended {
            Ok((out, err, status)) => Ok(Handled::of(
                &format!("{err}\n{out}"),
                Some(status?.code().unwrap_or(255)),
            )),
            Err(_) => {
                if let Some(pid) = super::process::pid_of(&k6) {
                    super::process::tell(pid, Signal::KILL);
                }
                Ok(Handled::of("", None))
            }
        }
    }
}

/// The input of the k6 that calls handleSummary(): our script that imports the user's, or an archive with both.
fn around(script: &Path, task: &Task, setup_data: Option<&str>, base: &Path) -> std::io::Result<Vec<u8>> {
    let base = base.to_string_lossy();
    if script.extension().is_none_or(|extension| extension != "tar") {
        return Ok(handle_summary::script(&script.to_string_lossy(), task, setup_data, &base).into_bytes());
    }
    let file = std::fs::File::open(script)?;
    let size = file.metadata()?.len();
    if size > LARGEST_ARCHIVE {
        let limit = LARGEST_ARCHIVE / 1024 / 1024;
        return Err(std::io::Error::other(format!(
            "the archive has {} MiB, and the handleSummary() of one of more than {limit} MiB is not called: use a script",
            size / 1024 / 1024
        )));
    }
    archive::with_main(std::io::BufReader::new(file), |main| {
        handle_summary::script(main, task, setup_data, &base)
    })
}

/// Makes the path of a file in a flag absolute, as k6 runs in another folder here.
fn from(base: &Path, word: &str) -> String {
    match word.strip_prefix("--secret-source=file=") {
        Some(path) if !path.starts_with('/') && !path.contains([',', '=']) => {
            format!("--secret-source=file={}", base.join(path).display())
        }
        Some(_) | None => word.to_owned(),
    }
}

/// Indents JSON as k6 does.
fn indented(json: &str) -> Vec<u8> {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else {
        return json.as_bytes().to_vec();
    };
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut to = serde_json::Serializer::with_formatter(&mut out, format);
    match serde::Serialize::serialize(&value, &mut to) {
        Ok(()) => out,
        Err(_) => json.as_bytes().to_vec(),
    }
}

/// Forwards k6's output, except for the marked lines of our script. Returns the output, up to the limit.
async fn passed_on(from: Option<impl AsyncRead + Unpin>, mut to: impl Write, silent: bool) -> String {
    let Some(from) = from else {
        return String::new();
    };
    let mut from = BufReader::new(from);
    let mut printed = Vec::new();
    // The line end before a marked line belongs to it.
    let mut held = false;
    loop {
        let mut line = Vec::new();
        let read = (&mut from).take(PIECE).read_until(b'\n', &mut line).await;
        if !read.is_ok_and(|read| read > 0) {
            break;
        }
        let is_ours = handle_summary::is_ours(&line);
        if is_ours || printed.len() + line.len() < PRINTED / 2 {
            let room = PRINTED.saturating_sub(printed.len());
            printed.extend(line.iter().take(room));
        }
        // A line of k6's log begins with `time=`.
        if is_ours || silent && line.starts_with(b"time=") {
            held = false;
            continue;
        }
        if std::mem::take(&mut held) {
            let _ = to.write_all(b"\n");
        }
        if line == b"\n" {
            held = true;
            continue;
        }
        let _ = to.write_all(&line);
    }
    if held {
        let _ = to.write_all(b"\n");
    }
    let _ = to.flush();
    String::from_utf8_lossy(&printed).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLES: &str = "export function handleSummary() {}";
    const NONE: &str = "export default function () {}";

    fn plan(words: &str, source: &str, version: (u32, u32), variables: &[(&str, &str)]) -> Plan {
        plan_with(words, source, version, variables, &[])
    }

    fn plan_with(
        words: &str,
        source: &str,
        version: (u32, u32),
        variables: &[(&str, &str)],
        metrics: &[&str],
    ) -> Plan {
        let metrics: Vec<String> = metrics.iter().map(|&name| name.to_owned()).collect();
        let command = format!("k6 run --quiet {words} /test/test.js --linger --no-thresholds --out x");
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let version = Version::new(version.0, version.1, 0);
        let script = Path::new("/test/test.js");
        Plan::of(
            &command,
            Some(script),
            Some(version),
            Some(source.as_bytes()),
            &metrics,
            variable,
        )
    }

    #[test]
    fn runner_of_a_script_with_a_handle_summary_measures_and_does_not_call_it() {
        for (version, flag) in [
            ((0, 57), "--no-summary"),
            ((1, 1), "--no-summary"),
            ((1, 3), "--summary-mode=disabled"),
            ((2, 2), "--summary-mode=disabled"),
        ] {
            let plan = plan("", HANDLES, version, &[]);
            assert_eq!(plan.command.last().unwrap(), flag, "{version:?}");
            assert!(!plan.command.contains(&"--no-thresholds".to_owned()));
            assert_eq!(plan.variables, [("K6_THRESHOLDS", String::new())]);
            assert!(plan.handles() && plan.needs_data());
        }
        let plain = plan("", NONE, (1, 1), &[]);
        assert_eq!(plain.variables, []);
        assert!(plain.command.contains(&"--no-thresholds".to_owned()));
        assert!(!plain.handles() && !plain.needs_data());
    }

    #[test]
    fn k6_that_makes_no_summary_calls_none_and_measures() {
        for (words, variables) in [
            ("--no-summary", &[][..]),
            ("--summary-mode disabled", &[]),
            ("", &[("K6_NO_SUMMARY", "true")]),
            ("", &[("K6_SUMMARY_MODE", "disabled")]),
        ] {
            let plan = plan(words, HANDLES, (1, 4), variables);
            assert!(!plan.needs_data(), "{words} {variables:?}");
            assert_eq!(
                plan.variables,
                [("K6_THRESHOLDS", String::new())],
                "{words} {variables:?}"
            );
        }
    }

    #[test]
    fn metrics_with_thresholds_are_listed_by_k6_and_judged_by_nobody_there() {
        for source in [HANDLES, NONE] {
            let plan = plan_with("", source, (1, 1), &[], &["paid", "orders"]);
            assert_eq!(plan.variables, [("K6_THRESHOLDS", "paid:,orders:".to_owned())]);
            assert!(!plan.command.contains(&"--no-thresholds".to_owned()));
        }
    }

    #[test]
    fn summary_is_exported_once_for_the_whole() {
        for (words, variables) in [
            ("--summary-export=/results/all.json", &[][..]),
            (
                "--summary-export /results/all.json",
                &[("K6_SUMMARY_EXPORT", "b.json")],
            ),
            ("", &[("K6_SUMMARY_EXPORT", "/results/all.json")]),
        ] {
            let plan = plan(words, NONE, (1, 1), variables);
            assert_eq!(plan.export, Some(PathBuf::from("/results/all.json")));
            assert_eq!(plan.command.last().unwrap(), "--summary-export=");
            assert!(plan.needs_data() && !plan.handles());
        }
    }

    #[test]
    fn k6_that_calls_it_has_what_the_script_needs_to_be_loaded() {
        let words = "-e A=1 -eB=2 -qe C=3 -e=D=4 --env E=5=6 --vus 3 --tag env=x --compatibility-mode base \
                     --out json=e.json --secret-source mock=a=b --features x --new-machine-readable-summary \
                     --summary-mode full --include-system-env-vars=false --summary-export x.json --log-output=none \
                     --config c.json --user-agent a";
        let plan = plan(words, HANDLES, (2, 0), &[]);
        let from = plan
            .calling
            .iter()
            .position(|word| word == "--iterations=1")
            .unwrap();
        assert_eq!(
            plan.calling[from + 1..],
            [
                "--env=A=1",
                "--env=B=2",
                "--env=C=3",
                "--env=D=4",
                "--env=E=5=6",
                "--compatibility-mode=base",
                "--secret-source=mock=a=b",
                "--features=x",
                "--new-machine-readable-summary",
                "--summary-mode=full",
                "--include-system-env-vars=false",
                "--user-agent=a",
                "-",
            ]
        );
        assert!(plan.silent && plan.machine_readable);
        let secrets = from_base("--secret-source=file=secrets.txt");
        assert_eq!(secrets, "--secret-source=file=/home/k6/secrets.txt");
        assert_eq!(from_base("--secret-source=file=/a"), "--secret-source=file=/a");
    }

    fn from_base(word: &str) -> String {
        from(Path::new("/home/k6"), word)
    }

    #[test]
    fn scripts_that_may_have_a_handle_summary_are_told_from_those_that_have_none() {
        for source in [
            HANDLES,
            "export * from './other.js'",
            "export  /* all */ * from './other.js'",
            "exports['handle' + 'Summary'] = () => {}",
            "export { x as handle\\u0053ummary }",
        ] {
            assert!(handle_summary::may_have(source), "{source}");
        }
        assert!(!handle_summary::may_have(NONE));
        assert!(!handle_summary::may_have(
            "import x from 'y'; export default x; export const options = { a: 2 * 3 };"
        ));
    }
}
