//! The user's arguments of k6: split as a POSIX shell would, without one, and checked against those that are
//! the operator's to set.

use k8s_openapi::api::core::v1::EnvVar;
use thiserror::Error;

/// Arguments that can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArgumentError {
    /// A quote that is not closed, or a backslash at the end.
    #[error("spec.arguments can't be split into words: a quote is not closed, or a backslash ends it")]
    Quoting,
    /// A flag that the operator sets itself.
    #[error("spec.{field} may not contain {flag}: {remedy}")]
    Reserved {
        /// arguments or args.
        field: &'static str,
        /// The flag.
        flag: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// What no program can be given.
    #[error("spec.{field} has {what}, which no program can be given: remove it")]
    Uncarried {
        /// arguments or args.
        field: &'static str,
        /// What it is.
        what: &'static str,
    },
    /// A dash that a word processor made of a hyphen.
    #[error("spec.{field} has {word:?}, which begins with a typographic dash: write it with plain hyphens")]
    Dash {
        /// arguments or args.
        field: &'static str,
        /// The word.
        word: String,
    },
}

/// The longest word that Linux gives to a program, without the NUL at its end.
const LONGEST_WORD: usize = 131_071;

/// The dashes of Unicode that look like a hyphen at the beginning of a flag.
const DASHES: [char; 9] = [
    '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}', '\u{fe63}',
    '\u{ff0d}',
];

const RESERVED: [(&str, &str); 9] = [
    (
        "--",
        "what follows it would be taken for scripts, and so would the operator's own flags",
    ),
    (
        "--execution-segment",
        "the operator cuts the test into segments; set spec.parallelism",
    ),
    (
        "--execution-segment-sequence",
        "the operator cuts the test into segments; set spec.parallelism",
    ),
    ("--paused", "the operator holds the runners until all are ready"),
    ("-p", "the operator holds the runners until all are ready"),
    ("--address", "the operator reaches the runners on port 6565"),
    ("-a", "the operator reaches the runners on port 6565"),
    (
        "--linger",
        "a runner must end when its part of the test has ended",
    ),
    ("-l", "a runner must end when its part of the test has ended"),
];

/// Short flags of k6 that take no value: they can stand together in one word.
const SHORT_SWITCHES: &str = "hlpqvw";

/// Flags of `k6 run` that `k6 archive` does not know, and whether a value follows.
const RUN_ONLY: [(&str, bool); 3] = [("--out", true), ("-o", true), ("--no-usage-report", false)];

/// Splits and checks the user's arguments.
pub fn split(arguments: &str) -> Result<Vec<String>, ArgumentError> {
    let split = shlex::split(&one_line(arguments)).ok_or(ArgumentError::Quoting)?;
    words("arguments", &split)
}

/// The text without the line ends that a backslash takes away: shlex makes an empty word of one that stands
/// between blanks, as it does in arguments that are written on several lines.
fn one_line(text: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut between = true;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' if between => while chars.next_if(|c| *c != '\n').is_some() {},
            '\\' if quote.is_none() && chars.next_if_eq(&'\n').is_some() => continue,
            '\\' if quote != Some('\'') => {
                out.push(c);
                out.extend(chars.next());
            }
            '\'' | '"' if quote.is_none() => {
                quote = Some(c);
                out.push(c);
            }
            c => {
                if quote == Some(c) {
                    quote = None;
                }
                out.push(c);
            }
        }
        between = quote.is_none() && matches!(c, ' ' | '\t' | '\n');
    }
    out
}

/// Checks arguments that are words already.
pub fn words(field: &'static str, words: &[String]) -> Result<Vec<String>, ArgumentError> {
    for word in words {
        if let Some(what) = uncarried(word) {
            return Err(ArgumentError::Uncarried { field, what });
        }
        if word.starts_with(DASHES) {
            return Err(ArgumentError::Dash {
                field,
                word: word.clone(),
            });
        }
        let flags = flags(word);
        if let Some((flag, remedy)) = RESERVED
            .iter()
            .find(|(reserved, _)| flags.iter().any(|f| f == reserved))
        {
            return Err(ArgumentError::Reserved {
                field,
                flag: (*flag).to_owned(),
                remedy,
            });
        }
    }
    Ok(words.to_vec())
}

/// What in a text no program can be given, in its arguments or its environment.
pub(super) fn uncarried(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("a NUL character");
    }
    (text.len() > LONGEST_WORD).then_some("more than 128 KiB in one word")
}

/// The flags that a word sets: `--long` with or without its value, or a cluster of short ones such as `-ql`,
/// which ends with the first that takes a value, as in `-a:6565`.
fn flags(word: &str) -> Vec<String> {
    if word.starts_with("--") {
        return vec![word.split('=').next().unwrap_or(word).to_owned()];
    }
    let Some(cluster) = word.strip_prefix('-') else {
        return Vec::new();
    };
    let end = cluster
        .find(|c| !SHORT_SWITCHES.contains(c))
        .unwrap_or(cluster.len());
    let switches = cluster.chars().take(end);
    let last = cluster.get(end..).and_then(|rest| rest.chars().next());
    switches.chain(last).map(|c| format!("-{c}")).collect()
}

/// The arguments without those that only `k6 run` knows.
pub fn for_archive(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flag = word.split('=').next().unwrap_or(word);
        match RUN_ONLY.iter().find(|(name, _)| *name == flag) {
            Some((_, true)) if !word.contains('=') => {
                words.next();
            }
            Some(_) => {}
            None => match output_of_cluster(word) {
                Some((switches, value)) => {
                    if switches.len() > 1 {
                        kept.push(switches.to_owned());
                    }
                    if value.is_empty() {
                        words.next();
                    }
                }
                None => kept.push(word.clone()),
            },
        }
    }
    kept
}

/// The outputs that the arguments ask for.
pub(super) fn outputs(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = match (
            word.as_str(),
            word.strip_prefix("--out="),
            output_of_cluster(word),
        ) {
            ("--out", ..) => words.next().cloned(),
            (_, Some(value), _) => Some(value.to_owned()),
            (_, None, Some((_, ""))) => words.next().cloned(),
            (_, None, Some((_, value))) => Some(value.trim_start_matches('=').to_owned()),
            (_, None, None) => None,
        };
        found.extend(value);
    }
    found
}

/// Flags of `k6 run` that the k6 which calls handleSummary() has too, and whether a value follows: what a script needs
/// to be loaded, what acts on its requests, and what it receives. The others say how much load is made, and where the
/// metrics go.
const OF_SCRIPT: [(&str, bool); 23] = [
    ("--batch", true),
    ("--batch-per-host", true),
    ("--blacklist-ip", true),
    ("--block-hostnames", true),
    ("--compatibility-mode", true),
    ("--discard-response-bodies", false),
    ("--dns", true),
    ("--env", true),
    ("--features", true),
    ("--include-system-env-vars", false),
    ("--insecure-skip-tls-verify", false),
    ("--max-redirects", true),
    ("--new-machine-readable-summary", false),
    ("--no-connection-reuse", false),
    ("--no-summary", false),
    ("--no-vu-connection-reuse", false),
    ("--secret-source", true),
    ("--summary-mode", true),
    ("--summary-time-unit", true),
    ("--summary-trend-stats", true),
    ("--throw", false),
    ("--user-agent", true),
    ("-w", false),
];

/// Those of the arguments that the k6 which calls handleSummary() is given too.
pub(super) fn of_script(words: &[String]) -> Vec<String> {
    let known = |flag: &str| OF_SCRIPT.iter().find(|(name, _)| *name == flag);
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        match (known(flag), of_cluster(word, 'e')) {
            (Some((flag, true)), _) if word == flag => {
                found.extend(words.next().map(|value| format!("{flag}={value}")));
            }
            (Some(_), _) => found.push(word.clone()),
            (None, Some((_, ""))) => found.extend(words.next().map(|value| format!("--env={value}"))),
            (None, Some((_, value))) => {
                found.push(format!("--env={}", value.strip_prefix('=').unwrap_or(value)));
            }
            (None, None) => {}
        }
    }
    found
}

/// The value of a long flag that counts: the last.
pub(super) fn last_value<'a>(words: &'a [String], flag: &str) -> Option<&'a str> {
    let mut found = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == flag {
            found = words.next().map(String::as_str);
        } else if let Some(value) = word.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            found = Some(value);
        }
    }
    found
}

/// The switches before `-o` in a cluster of short flags, and the output that stands in the same word.
fn output_of_cluster(word: &str) -> Option<(&str, &str)> {
    of_cluster(word, 'o')
}

/// The same of any short flag that takes a value.
fn of_cluster(word: &str, flag: char) -> Option<(&str, &str)> {
    let cluster = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    let end = cluster.find(|c| !SHORT_SWITCHES.contains(c))?;
    let value = cluster.get(end..)?.strip_prefix(flag)?;
    Some((word.get(..=end)?, value))
}

/// The words as Kubernetes must be given them, which expands `$(NAME)` in commands: only variables that the
/// user declared in env are left for it, all else stays as it is written.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>
pub fn literal(words: &[String], env: &[EnvVar]) -> Vec<String> {
    words.iter().map(|word| escaped(word, env)).collect()
}

fn escaped(word: &str, env: &[EnvVar]) -> String {
    let declared = |name: &str| env.iter().any(|variable| variable.name == name);
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let reference = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = match reference.filter(|(name, _)| declared(name)) {
            Some((name, after)) => {
                text.push_str(&format!("$({name})"));
                after
            }
            None => {
                text.push_str("$$");
                after
            }
        };
    }
    text.push_str(rest);
    text
}
