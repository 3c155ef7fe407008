//! Reads the log of k6.

use super::Arguments;
use super::flags::{LOG_OUTPUT, LOG_OUTPUT_VARIABLE};
use serde::Deserialize;

/// The variables that say where k6 logs, and in which format.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/>
pub const VARIABLES: [&str; 3] = ["K6_LOG_OUTPUT", "K6_LOG_FORMAT", "K6_CONSOLE_OUTPUT"];

/// The maximum length of a message that is taken from a log, in characters.
const LONGEST: usize = 500;

/// Returns the message of the last error in a piece of k6's log, or its last line that is not about progress. The text
/// is one line.
///
/// k6 logs in logfmt (`time="..." level=error msg="..." hint="..."`), in JSON, or only the messages:
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#log-format>. Without `--quiet`, its progress is
/// `running (0m01.7s), 03/50 VUs, ...` and a line such as `default [   3% ] 03/50 VUs  0m01.7s/1m00.0s` for each
/// scenario.
pub fn last_words(log: &str) -> String {
    let words = last_error(log).or_else(|| {
        let lines = log.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !is_progress(line));
        // In a log of messages only, an error is followed by the places where it was thrown.
        let is_frame = |line: &&str| line.starts_with("at ");
        let last = lines.clone().rfind(|line| !is_frame(line));
        last.or_else(|| lines.next_back()).map(message)
    });
    one_line(&words.unwrap_or_default())
}

/// Returns the message of the last error in a piece of k6's log.
///
/// If the script marked the test as failed, it is the script's message: k6's own last message is always the same (seen
/// with 1.1.0 to 2.2.0).
pub fn last_error(log: &str) -> Option<String> {
    let mut errors = log.lines().rev().filter_map(error);
    let last = errors.next()?;
    let own = (last == "test run was marked as failed")
        .then(|| errors.find(|message| message.starts_with("test marked as failed")));
    Some(one_line(&own.flatten().unwrap_or(last)))
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST).collect()
}

#[derive(Deserialize)]
struct Entry {
    level: String,
    msg: String,
}

/// Returns the message of a line with an error; None for other lines.
fn error(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(entry) = entry(line) {
        return matches!(entry.level.as_str(), "error" | "fatal" | "panic").then_some(entry.msg);
    }
    if line.contains("level=error") || line.contains("level=fatal") || line.contains("level=panic") {
        return logfmt_message(line);
    }
    None
}

fn entry(line: &str) -> Option<Entry> {
    line.starts_with('{')
        .then(|| serde_json::from_str(line).ok())
        .flatten()
}

fn message(line: &str) -> String {
    entry(line).map_or_else(|| line.to_owned(), |entry| entry.msg)
}

/// True for a line that `exec.test.fail()` writes, and false for one that a script writes by `console`.
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/js/modules/k6/execution/execution.go>
pub fn marks_as_failed(line: &str) -> bool {
    const MARKED: &str = "test marked as failed";
    let line = line.trim();
    let of_console = line.contains("source=console") || line.contains("\"source\":\"console\"");
    // The format `raw` has only the message.
    let message = error(line).unwrap_or_else(|| line.to_owned());
    !of_console && message.starts_with(MARKED)
}

/// Returns the destination of k6's log, if it is not where Kubernetes keeps it.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#log-output>
pub fn elsewhere(arguments: &Arguments, variable: Option<&str>) -> Option<String> {
    let (place, by) = match (arguments.value(LOG_OUTPUT), variable) {
        (Some(place), _) => (place, "--log-output"),
        (None, Some(place)) => (place, LOG_OUTPUT_VARIABLE),
        (None, None) => return None,
    };
    let kept = matches!(place, "" | "stderr" | "stdout");
    // An address can contain a password.
    let kind = place.split('=').next().unwrap_or(place);
    (!kept).then(|| match (kind, place.strip_prefix("file=")) {
        ("none", _) => format!("k6 was told to write no log ({by}=none)"),
        (_, Some(file)) => format!("k6's log is in the file {file} of its container ({by})"),
        (kind, None) => format!("k6's log went to {kind} ({by})"),
    })
}

/// Returns the modules that a script imports and this k6 does not have, if an error is about that.
/// <https://github.com/grafana/k6/blob/v2.2.0/js/modules/resolution.go>
pub fn unknown_modules(error: &str) -> Vec<&str> {
    // Up to 1.1 `unknown module: k6/x/sql`, then `unknown modules ["k6/x/kafka", "k6/x/sql"] were tried`.
    if let Some((_, rest)) = error.split_once("unknown module: ") {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        return rest.get(..end).into_iter().collect();
    }
    let list = error
        .split_once("unknown modules [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.unwrap_or_default();
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names.filter(|name| !name.is_empty()).collect()
}

/// Returns the file that k6 did not find, if an error is about one.
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/loader/loader.go>
pub fn missing_file(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("The moduleSpecifier \"")?;
    let (file, rest) = rest.split_once('"')?;
    rest.contains("couldn't be found on local disk").then_some(file)
}

fn is_progress(line: &str) -> bool {
    let percent = |(_, rest): (&str, &str)| {
        rest.split_once("% ]")
            .is_some_and(|(number, _)| is_number(number))
    };
    line.starts_with("running (") && line.contains(" VUs, ") || line.split_once(" [").is_some_and(percent)
}

fn is_number(text: &str) -> bool {
    text.trim_start().chars().all(|c| c.is_ascii_digit())
}

fn logfmt_message(line: &str) -> Option<String> {
    let quoted = line.split_once("msg=\"")?.1;
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' | 't' | 'r' => text.push(' '),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{elsewhere, last_words, missing_file, unknown_modules};
    use crate::k6::{Arguments, Flags};

    #[test]
    fn line_of_a_failing_test_is_known_in_each_format_and_not_taken_from_the_console() {
        for (line, is) in [
            (
                "time=\"now\" level=error msg=\"test marked as failed: not clean\"",
                true,
            ),
            (
                "{\"level\":\"error\",\"msg\":\"test marked as failed\",\"time\":\"now\"}",
                true,
            ),
            ("test marked as failed: not clean", true),
            (
                "time=\"now\" level=error msg=\"test marked as failed\" source=console",
                false,
            ),
            (
                "{\"level\":\"error\",\"msg\":\"test marked as failed\",\"source\":\"console\"}",
                false,
            ),
            (
                "time=\"now\" level=error msg=\"test run was marked as failed\"",
                false,
            ),
            ("time=\"now\" level=info msg=\"no test marked as failed\"", false),
            ("", false),
        ] {
            assert_eq!(super::marks_as_failed(line), is, "{line}");
        }
    }

    #[test]
    fn the_last_error_is_told_without_its_frame() {
        let log = "time=\"2026-01-01T00:00:00Z\" level=error msg=\"GoError: file:///test/bad.js: Line 2:7 \
                   Unexpected token ; (and 2 more \\\"errors\\\")\\n\" hint=\"script exception\"\n";
        let words = last_words(log);
        assert_eq!(
            words,
            "GoError: file:///test/bad.js: Line 2:7 Unexpected token ; (and 2 more \"errors\")"
        );
    }

    #[test]
    fn test_that_its_script_marked_as_failed_is_told_in_the_words_of_the_script() {
        let error = |message: &str| format!("time=\"2026-01-01T00:00:00Z\" level=error msg=\"{message}\"\n");
        let marked = error("test run was marked as failed");
        let log = [
            error("test marked as failed: no stock"),
            error("another"),
            marked.clone(),
        ]
        .concat();
        assert_eq!(last_words(&log), "test marked as failed: no stock");
        assert_eq!(last_words(&marked), "test run was marked as failed");
    }

    #[test]
    fn progress_is_no_last_word() {
        let progress = "running (0m01.7s), 03/50 VUs, 13 complete and 0 interrupted iterations\n\
                        default   [   3% ] 03/50 VUs  0m01.7s/1m00.0s\n\
                        Run       [ 100% ] paused\n";
        assert_eq!(last_words(&format!("panic: no\n\n{progress}")), "panic: no");
        assert_eq!(last_words(progress), "");
        assert_eq!(last_words("a [list] of 3% ] things"), "a [list] of 3% ] things");
    }

    #[test]
    fn without_an_error_the_last_line_is_told() {
        assert_eq!(last_words("one\n\n  two  \n"), "two");
        assert_eq!(last_words(""), "");
    }

    #[test]
    fn last_error_is_found_in_every_format_of_the_log() {
        let after = "running (0m01.7s), 03/50 VUs, 13 complete and 0 interrupted iterations\n";
        let json = r#"{"hint":"script exception","level":"error","msg":"GoError: no \"x\"\n","time":"now"}"#;
        let info = r#"{"level":"info","msg":"hello","source":"console","time":"now"}"#;
        assert_eq!(
            last_words(&format!("{json}\n{info}\n{after}")),
            "GoError: no \"x\""
        );
        assert_eq!(last_words(&format!("{info}\n{after}")), "hello");
        let raw = "GoError: stat /test/d.json: no such file\n\tat go.k6.io/k6/js (native)\n\tat file:///o.js:1:13(12)\n";
        assert_eq!(last_words(raw), "GoError: stat /test/d.json: no such file");
        assert_eq!(
            last_words("\tat file:///o.js:1:13(12)\n"),
            "at file:///o.js:1:13(12)"
        );
    }

    #[test]
    fn log_that_kubernetes_does_not_keep_is_told() {
        let told = |words: &[&str], variable| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            elsewhere(&Arguments::parse(&words, &Flags::of_run()), variable)
        };
        assert_eq!(told(&[], None), None);
        assert_eq!(told(&["--log-output", "stdout"], Some("none")), None);
        assert_eq!(
            told(&["--log-output=file=/tmp/k6.log,level=info"], None).as_deref(),
            Some("k6's log is in the file /tmp/k6.log,level=info of its container (--log-output)")
        );
        assert_eq!(
            told(&[], Some("none")).as_deref(),
            Some("k6 was told to write no log (K6_LOG_OUTPUT=none)")
        );
        assert_eq!(
            told(&["--log-output=loki=http://user:secret@loki/"], None).as_deref(),
            Some("k6's log went to loki (--log-output)")
        );
    }

    #[test]
    fn what_is_not_there_is_read_from_the_error() {
        assert_eq!(
            unknown_modules("GoError: unknown module: k6/x/sql at"),
            ["k6/x/sql"]
        );
        let both = "could not load: unknown modules [\"k6/x/kafka\", \"k6/x/sql\"] were tried to be loaded";
        assert_eq!(unknown_modules(both), ["k6/x/kafka", "k6/x/sql"]);
        assert!(unknown_modules("unknown modules [").is_empty());
        let missing = "GoError: The moduleSpecifier \"./lib.js\" couldn't be found on local disk. Make sure";
        assert_eq!(missing_file(missing), Some("./lib.js"));
        assert_eq!(missing_file("The moduleSpecifier \"x\" is odd"), None);
    }
}
