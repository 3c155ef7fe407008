//! The flags of k6: those of any version, those that one k6 lists in its help, and what replaces the flags that a
//! version removed. <https://github.com/grafana/k6/tree/v2.2.0/internal/cmd>

use super::Version;
use std::borrow::Cow;

/// Whether a flag takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// A switch: a value can only follow `=` in the same word.
    Switch,
    /// A flag with a value, in the same word or in the next.
    Value,
}

/// A flag of one of k6's commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name without hyphens.
    pub name: Cow<'static, str>,
    /// The letter of its short form.
    pub short: Option<char>,
    /// Whether it takes a value.
    pub arity: Arity,
}

/// The flags that a command has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(Vec<Flag>);

const fn switch(name: &'static str, short: Option<char>) -> Flag {
    Flag {
        name: Cow::Borrowed(name),
        short,
        arity: Arity::Switch,
    }
}

const fn valued(name: &'static str, short: Option<char>) -> Flag {
    Flag {
        name: Cow::Borrowed(name),
        short,
        arity: Arity::Value,
    }
}

/// The flags of `k6 run` in all versions from 0.57 to 2.2.
const RUN: [Flag; 54] = [
    valued("address", Some('a')),
    valued("batch", None),
    valued("batch-per-host", None),
    valued("blacklist-ip", None),
    valued("block-hostnames", None),
    valued("compatibility-mode", None),
    valued("config", Some('c')),
    valued("console-output", None),
    switch("discard-response-bodies", None),
    valued("dns", None),
    valued("duration", Some('d')),
    valued("env", Some('e')),
    valued("execution-segment", None),
    valued("execution-segment-sequence", None),
    valued("features", None),
    switch("help", Some('h')),
    // Its value can only stand after `=`.
    switch("http-debug", None),
    switch("include-system-env-vars", None),
    switch("insecure-skip-tls-verify", None),
    valued("iterations", Some('i')),
    switch("linger", Some('l')),
    valued("local-ips", None),
    valued("log-format", None),
    valued("log-output", None),
    valued("max-redirects", None),
    valued("min-iteration-duration", None),
    switch("new-machine-readable-summary", None),
    switch("no-color", None),
    switch("no-connection-reuse", None),
    switch("no-setup", None),
    switch("no-summary", None),
    switch("no-teardown", None),
    switch("no-thresholds", None),
    switch("no-usage-report", None),
    switch("no-vu-connection-reuse", None),
    valued("out", Some('o')),
    switch("paused", Some('p')),
    switch("profiling-enabled", None),
    switch("quiet", Some('q')),
    valued("rps", None),
    valued("secret-source", None),
    valued("stage", Some('s')),
    valued("summary-export", None),
    valued("summary-mode", None),
    valued("summary-time-unit", None),
    valued("summary-trend-stats", None),
    valued("system-tags", None),
    valued("tag", None),
    switch("throw", Some('w')),
    valued("traces-output", None),
    valued("type", Some('t')),
    valued("user-agent", None),
    switch("verbose", Some('v')),
    valued("vus", Some('u')),
];

/// The flag for the destination of the log.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#log-output>
pub const LOG_OUTPUT: &str = "log-output";
/// The variable for the destination of the log.
pub const LOG_OUTPUT_VARIABLE: &str = "K6_LOG_OUTPUT";
/// The destination that discards the log.
pub const NO_LOG: &str = "none";

/// Flags that some versions accept and do not list in their help.
/// <https://github.com/grafana/k6/blob/v1.3.0/internal/cmd/runtime_options.go>
const HIDDEN: [&str; 1] = ["no-summary"];

/// A flag, or a value of one, that k6 removed.
struct Removed {
    flag: &'static str,
    value: Option<&'static str>,
    since: Version,
    instead: &'static str,
}

/// <https://github.com/grafana/k6/releases/tag/v2.0.0>
const REMOVED: [Removed; 2] = [
    Removed {
        flag: "no-summary",
        value: None,
        since: Version::new(2, 0, 0),
        instead: "--summary-mode=disabled",
    },
    Removed {
        flag: "summary-mode",
        value: Some("legacy"),
        since: Version::new(2, 0, 0),
        instead: "--summary-mode=compact",
    },
];

/// A flag, or a value of one, that k6 added after 0.57, and what to use before.
struct Added {
    flag: &'static str,
    value: Option<&'static str>,
    first: Version,
    before: Option<&'static str>,
}

/// From the flag sets of the versions, such as
/// <https://github.com/grafana/k6/blob/v0.58.0/internal/cmd/runtime_options.go>.
const ADDED: [Added; 5] = [
    Added {
        flag: "summary-mode",
        value: Some("disabled"),
        first: Version::new(1, 3, 0),
        before: Some("--no-summary"),
    },
    Added {
        flag: "summary-mode",
        value: None,
        first: Version::new(0, 58, 0),
        before: None,
    },
    Added {
        flag: "secret-source",
        value: None,
        first: Version::new(0, 58, 0),
        before: None,
    },
    Added {
        flag: "new-machine-readable-summary",
        value: None,
        first: Version::new(1, 5, 0),
        before: None,
    },
    Added {
        flag: "features",
        value: None,
        first: Version::new(2, 1, 0),
        before: None,
    },
];

/// Whether a k6 has `--no-summary`.
pub fn has_no_summary(version: Version) -> bool {
    version < Version::new(2, 0, 0)
}

/// Whether a k6 has `--summary-mode`.
pub fn has_summary_mode(version: Version) -> bool {
    version >= Version::new(0, 58, 0)
}

impl Flags {
    /// Every flag of `k6 run`, whatever the version.
    pub fn of_run() -> Self {
        Self(RUN.to_vec())
    }

    /// Reads the flags from the help of a command. Each begins a line, as in `  -u, --vus int   number of virtual
    /// users` and `      --paused   start paused`; a word between the name and the description is the type of its
    /// value.
    pub fn of_help(help: &str) -> Self {
        Self(help.lines().filter_map(flag_of_line).collect())
    }

    /// Adds the flags that this k6 accepts although its help does not list them.
    pub fn with_hidden(mut self) -> Self {
        for flag in RUN.iter().filter(|flag| HIDDEN.contains(&flag.name.as_ref())) {
            if self.long(&flag.name).is_none() {
                self.0.push(flag.clone());
            }
        }
        self
    }

    /// The flag of this name.
    pub fn long(&self, name: &str) -> Option<&Flag> {
        self.0.iter().find(|flag| flag.name == name)
    }

    /// The flag with this short form.
    pub fn short(&self, letter: char) -> Option<&Flag> {
        self.0.iter().find(|flag| flag.short == Some(letter))
    }

    /// The flags.
    pub fn iter(&self) -> impl Iterator<Item = &Flag> {
        self.0.iter()
    }

    /// The flag whose name is most like this one, if at most two letters differ.
    fn nearest(&self, name: &str) -> Option<&Flag> {
        let distance = |flag: &&Flag| strsim::levenshtein(&flag.name, name);
        self.iter()
            .min_by_key(distance)
            .filter(|flag| distance(flag) <= 2 && distance(flag) < name.len())
    }
}

fn flag_of_line(line: &str) -> Option<Flag> {
    let rest = line.strip_prefix("  ")?;
    let (short, rest) = match rest.strip_prefix("    --") {
        Some(rest) => (None, rest),
        None => {
            let (letter, rest) = rest.strip_prefix('-')?.split_once(", --")?;
            let mut letters = letter.chars();
            let short = letters.next().filter(|_| letters.next().is_none())?;
            (Some(short), rest)
        }
    };
    let usage = rest.split("  ").next()?;
    let (name, value) = usage.split_once(' ').unwrap_or((usage, ""));
    // `--http-debug string[="headers"]`: without `=` it is a switch.
    let arity = if value.is_empty() || value.contains("[=") {
        Arity::Switch
    } else {
        Arity::Value
    };
    Some(Flag {
        name: Cow::Owned(name.to_owned()),
        short,
        arity,
    })
}

/// Returns why this version does not have a flag, or this value of it, and the remedy; None if k6 neither removed it
/// before nor added it after this version.
pub fn by_version(version: Version, flag: &str, value: Option<&str>) -> Option<String> {
    let fits = |name: &str, of: Option<&str>| name == flag && (of.is_none() || of == value);
    let what = |of: Option<&str>| match of {
        Some(value) => format!("k6 {version} has no --{flag}={value}"),
        None => format!("k6 {version} has no flag --{flag}"),
    };
    let removed = REMOVED
        .iter()
        .find(|removed| fits(removed.flag, removed.value) && version >= removed.since);
    if let Some(Removed { value, instead, .. }) = removed {
        return Some(format!("{}: use {instead}", what(*value)));
    }
    let added = ADDED
        .iter()
        .find(|added| fits(added.flag, added.value) && version < added.first)?;
    let before = added.before.map(|before| format!(", or use {before}"));
    let Version {
        major,
        minor,
        patch: _,
    } = added.first;
    Some(format!(
        "{}: take k6 {major}.{minor} or newer{}",
        what(added.value),
        before.unwrap_or_default()
    ))
}

/// Returns the message about a flag that this k6 does not know.
pub fn unknown(version: Version, flag: &str, value: Option<&str>, known: &Flags) -> String {
    by_version(version, flag, value).unwrap_or_else(|| match known.nearest(flag) {
        Some(near) => format!("k6 {version} has no flag --{flag}: did you mean --{}?", near.name),
        None => format!("k6 {version} has no flag --{flag}: remove it, or take a k6 that has it"),
    })
}

/// The variable that sets the same as a flag: `K6_NO_SETUP` for `no-setup`. Not all flags have one.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/>
pub fn variable_of(flag: &str) -> String {
    format!("K6_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::{Arity, Flags, by_version, unknown};

    const HELP: &str = "Start a test.\n\nExamples:\n  # Run it.\n  k6 run -u 0 -s 10s:100\n\nFlags:\n\
        \x20 -u, --vus int                    number of virtual users (default 1)\n\
        \x20     --http-debug string[=\"headers\"]   log all\n\
        \x20                                  --body too, if it is said\n\
        \x20     --blacklist-ip ip range      blacklist an ip range\n\
        \x20 -w, --throw                      throw warnings\n";

    #[test]
    fn flags_are_read_from_the_help_with_their_short_form_and_arity() {
        let flags = Flags::of_help(HELP);
        let read: Vec<_> = flags
            .iter()
            .map(|flag| (flag.name.as_ref(), flag.short, flag.arity))
            .collect();
        let expected = [
            ("vus", Some('u'), Arity::Value),
            ("http-debug", None, Arity::Switch),
            ("blacklist-ip", None, Arity::Value),
            ("throw", Some('w'), Arity::Switch),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn refused_flag_is_told_with_the_version_and_its_successor() {
        let told = |version: &str, flag: &str, value: Option<&str>| {
            unknown(version.parse().unwrap(), flag, value, &Flags::of_run())
        };
        for (version, flag, value, expected) in [
            (
                "2.2.0",
                "no-summary",
                None,
                "k6 2.2.0 has no flag --no-summary: use --summary-mode=disabled",
            ),
            (
                "2.0.0",
                "summary-mode",
                Some("legacy"),
                "k6 2.0.0 has no --summary-mode=legacy: use --summary-mode=compact",
            ),
            (
                "1.1.0",
                "summary-mode",
                Some("disabled"),
                "k6 1.1.0 has no --summary-mode=disabled: take k6 1.3 or newer, or use --no-summary",
            ),
            (
                "0.57.0",
                "summary-mode",
                Some("full"),
                "k6 0.57.0 has no flag --summary-mode: take k6 0.58 or newer",
            ),
            (
                "1.8.1",
                "features",
                None,
                "k6 1.8.1 has no flag --features: take k6 2.1 or newer",
            ),
            (
                "1.1.0",
                "duraton",
                None,
                "k6 1.1.0 has no flag --duraton: did you mean --duration?",
            ),
            (
                "1.1.0",
                "no-such-flag",
                None,
                "k6 1.1.0 has no flag --no-such-flag: remove it, or take a k6 that has it",
            ),
        ] {
            assert_eq!(told(version, flag, value), expected);
        }
    }

    #[test]
    fn flag_that_a_version_has_is_not_told_as_lost() {
        for (version, flag, value) in [
            ("1.8.1", "no-summary", None),
            ("1.3.0", "summary-mode", Some("disabled")),
            ("1.8.1", "summary-mode", Some("legacy")),
            ("2.2.0", "vus", Some("1")),
        ] {
            assert_eq!(
                by_version(version.parse().unwrap(), flag, value),
                None,
                "{version} {flag}"
            );
        }
    }

    #[test]
    fn hidden_flag_is_added_once() {
        let flags = Flags::of_help(HELP).with_hidden().with_hidden();
        let hidden = flags.iter().filter(|flag| flag.name == "no-summary");
        assert_eq!(hidden.count(), 1);
    }
}
