//! The user's arguments of k6: split as a POSIX shell splits them, without running one, and checked against the flags
//! that the operator sets itself.

use crate::k6::{Arguments, Flags};
use k8s_openapi::api::core::v1::EnvVar;
use thiserror::Error;

/// Arguments that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArgumentError {
    /// A quote is not closed, or a backslash ends the text.
    #[error("spec.arguments can't be split into words: a quote is not closed, or a backslash ends it")]
    Quoting,
    /// A flag that the operator sets itself.
    #[error("spec.{field} may not contain {flag}: {remedy}")]
    Reserved {
        /// The name of the field: arguments or args.
        field: &'static str,
        /// The flag as the user wrote it.
        flag: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Text that no program can get as an argument.
    #[error("spec.{field} has {what}, which no program can be given: remove it")]
    Uncarried {
        /// The name of the field: arguments or args.
        field: &'static str,
        /// What is in the text, such as a NUL character.
        what: &'static str,
    },
    /// A word begins with a typographic dash, which word processors put in place of a hyphen.
    #[error("spec.{field} has {word:?}, which begins with a typographic dash: write it with plain hyphens")]
    Dash {
        /// The name of the field: arguments or args.
        field: &'static str,
        /// The word with the dash.
        word: String,
    },
}

/// The maximum length of an argument on Linux, in bytes, without the NUL at its end.
const LONGEST_WORD: usize = 131_071;

/// Dashes of Unicode that look like a hyphen.
const DASHES: [char; 9] = [
    '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}', '\u{fe63}',
    '\u{ff0d}',
];

const TERMINATOR: &str = "what follows it would be taken for scripts, and so would the operator's own flags";

/// Flags that the operator sets itself, each with the remedy.
const RESERVED: [(&str, &str); 5] = [
    (
        "execution-segment",
        "the operator cuts the test into segments; set spec.parallelism",
    ),
    (
        "execution-segment-sequence",
        "the operator cuts the test into segments; set spec.parallelism",
    ),
    ("paused", "the operator holds the runners until all are ready"),
    ("address", "the operator reaches the runners on port 6565"),
    ("linger", "a runner must end when its part of the test has ended"),
];

/// Splits and checks the user's arguments.
pub fn split(arguments: &str) -> Result<Vec<String>, ArgumentError> {
    let split = |text: &str| shell_words::split(text).map_err(|_| ArgumentError::Quoting);
    let split_words = split(arguments)?;
    // shell-words keeps a backslash at the end as a letter. It is one that escapes nothing if a line end takes it away.
    if split_words != split(&format!("{arguments}\n"))? {
        return Err(ArgumentError::Quoting);
    }
    words("arguments", &split_words)
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
    }
    let arguments = Arguments::parse(words, &Flags::of_run());
    let reserved = arguments.flags().find_map(|given| {
        let (_, remedy) = RESERVED.iter().find(|(name, _)| *name == given.name)?;
        Some((given.spelling(), *remedy))
    });
    let terminator = arguments.has_terminator().then(|| ("--".to_owned(), TERMINATOR));
    match reserved.or(terminator) {
        Some((flag, remedy)) => Err(ArgumentError::Reserved { field, flag, remedy }),
        None => Ok(words.to_vec()),
    }
}

/// Returns what keeps a text from being an argument or a variable of a program; None if nothing does.
pub(super) fn uncarried(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("a NUL character");
    }
    (text.len() > LONGEST_WORD).then_some("more than 128 KiB in one word")
}

/// The outputs that the arguments ask for.
pub(super) fn outputs(arguments: &Arguments) -> Vec<&str> {
    arguments.values("out").collect()
}

/// Escapes words for Kubernetes, which expands `$(NAME)` in commands and arguments. It expands only variables that the
/// user declared in env; all other text stays as it is.
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
