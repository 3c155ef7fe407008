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
    /// A dash that a word processor made of a hyphen.
    #[error("spec.{field} has {word:?}, which begins with a typographic dash: write it with plain hyphens")]
    Dash {
        /// arguments or args.
        field: &'static str,
        /// The word.
        word: String,
    },
}

const RESERVED: [(&str, &str); 8] = [
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
    let split = shlex::split(arguments).ok_or(ArgumentError::Quoting)?;
    words("arguments", &split)
}

/// Checks arguments that are words already.
pub fn words(field: &'static str, words: &[String]) -> Result<Vec<String>, ArgumentError> {
    for word in words {
        if word.starts_with(['\u{2013}', '\u{2014}', '\u{2212}']) {
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
            None if word.starts_with("-o") && !word.starts_with("--") => {}
            None => kept.push(word.clone()),
        }
    }
    kept
}

/// The words as Kubernetes must be given them, which expands `$(NAME)` in commands: only variables that the
/// user declared in env are left for it, all else stays as it is written.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>
pub fn literal(words: &[String], env: &[EnvVar]) -> Vec<String> {
    words.iter().map(|word| escaped(word, env)).collect()
}

fn escaped(word: &str, env: &[EnvVar]) -> String {
    let mut parts = word.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let declared = name.is_some_and(|(name, _)| env.iter().any(|variable| variable.name == name));
        text.push_str(if declared { "$" } else { "$$" });
        text.push_str(part);
    }
    text
}
