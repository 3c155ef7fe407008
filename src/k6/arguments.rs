//! The arguments of `k6 run`, parsed as k6 parses them (it uses pflag):
//! <https://pkg.go.dev/github.com/spf13/pflag#hdr-Command_line_flag_syntax>.

use super::{Arity, Flags};

/// Parsed arguments, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(Vec<Argument>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    Flag(Given),
    Word(String),
}

/// A flag of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its name without hyphens. An unknown short flag has its letter.
    pub name: String,
    /// Its value; None for a switch, and for a last flag whose value is missing.
    pub value: Option<String>,
    /// Its letter, if it was given in the short form, as in `-q`.
    pub short: Option<char>,
    words: Vec<String>,
}

impl Given {
    /// The flag as it was written, without its value: `--paused`, or `-p`.
    pub fn spelling(&self) -> String {
        match self.short {
            Some(letter) => format!("-{letter}"),
            None => format!("--{}", self.name),
        }
    }
}

/// Returns the value of a boolean as Go reads it; None if it is not a boolean. <https://pkg.go.dev/strconv#ParseBool>
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Arguments {
    /// Parses words by these flags. An unknown flag counts as a switch.
    pub fn parse(words: &[String], flags: &Flags) -> Self {
        let mut parsed = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.push(Argument::Word(word.clone()));
                parsed.extend(words.by_ref().cloned().map(Argument::Word));
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let mut all = vec![word.clone()];
                let waits =
                    value.is_none() && flags.long(name).is_some_and(|flag| flag.arity == Arity::Value);
                let next = words.next_if_wanted(waits);
                all.extend(next.clone());
                parsed.push(Argument::Flag(Given {
                    name: name.to_owned(),
                    value: value.or(next),
                    short: None,
                    words: all,
                }));
            } else if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                parse_cluster(cluster, flags, &mut words, &mut parsed);
            } else {
                parsed.push(Argument::Word(word.clone()));
            }
        }
        Self(parsed)
    }

    /// The flags, in their order.
    pub fn flags(&self) -> impl Iterator<Item = &Given> {
        self.0.iter().filter_map(|argument| match argument {
            Argument::Flag(given) => Some(given),
            Argument::Word(_) => None,
        })
    }

    /// Whether `--` is among the words: what follows it is not parsed.
    pub fn has_terminator(&self) -> bool {
        let is_terminator = |argument: &Argument| matches!(argument, Argument::Word(word) if word == "--");
        self.0.iter().any(is_terminator)
    }

    /// Whether a flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.flags().any(|given| given.name == name)
    }

    /// The values of a flag, in their order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.flags().filter(move |given| given.name == name);
        of_name.filter_map(|given| given.value.as_deref())
    }

    /// The last value of a flag, which is the one that k6 uses.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).last()
    }

    /// Whether a switch is on; None if it is not given.
    pub fn is_on(&self, name: &str) -> Option<bool> {
        let last = self.flags().filter(|given| given.name == name).last()?;
        Some(
            last.value
                .as_deref()
                .is_none_or(|value| boolean(value) == Some(true)),
        )
    }

    /// The words again, without the flags for which `is_wanted` returns false.
    pub fn words_of(&self, is_wanted: impl Fn(&Given) -> bool) -> Vec<String> {
        let mut words = Vec::new();
        for argument in &self.0 {
            match argument {
                Argument::Flag(given) if is_wanted(given) => words.extend(given.words.iter().cloned()),
                Argument::Flag(_) => {}
                Argument::Word(word) => words.push(word.clone()),
            }
        }
        words
    }
}

/// What `k6 archive` gets in place of the arguments of `k6 run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archiving {
    /// The arguments of `k6 archive`.
    pub words: Vec<String>,
    /// Variables for flags that `k6 archive` does not have.
    pub variables: Vec<(&'static str, String)>,
}

/// Flags for the destination and the format of the log.
const OF_LOG: [&str; 3] = ["log-output", "log-format", "console-output"];

/// Flags that all commands also read from a variable:
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/features/resolve.go>.
const VARIABLES: [(&str, &str); 1] = [("features", "K6_FEATURES")];

impl Arguments {
    /// Returns the arguments of `k6 archive`: those of `k6 run` without the flags that only `run` has, and without
    /// those for the log, so that the log can be read.
    pub fn for_archive(&self, run: &Flags, archive: &Flags) -> Archiving {
        let only_of_run = |name: &str| run.long(name).is_some() && archive.long(name).is_none();
        let words =
            self.words_of(|given| !only_of_run(&given.name) && !OF_LOG.contains(&given.name.as_str()));
        let variables = VARIABLES.into_iter().filter(|(flag, _)| only_of_run(flag));
        let variables = variables.map(|(flag, name)| (name, self.values(flag).collect::<Vec<_>>().join(",")));
        Archiving {
            words,
            variables: variables.filter(|(_, value)| !value.is_empty()).collect(),
        }
    }
}

trait Wanted {
    fn next_if_wanted(&mut self, wanted: bool) -> Option<String>;
}

impl Wanted for std::slice::Iter<'_, String> {
    fn next_if_wanted(&mut self, wanted: bool) -> Option<String> {
        if wanted { self.next().cloned() } else { None }
    }
}

/// Parses a cluster of short flags such as `ql`. It ends with the first flag that takes a value, as in `qojson`.
fn parse_cluster(
    cluster: &str,
    flags: &Flags,
    words: &mut std::slice::Iter<'_, String>,
    parsed: &mut Vec<Argument>,
) {
    let mut rest = cluster;
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        let flag = flags.short(letter);
        let name = flag.map_or_else(|| letter.to_string(), |flag| flag.name.to_string());
        let assigned = rest.strip_prefix('=').filter(|value| !value.is_empty());
        let (value, all, done) = match (assigned, flag.map(|flag| flag.arity)) {
            (Some(value), _) => (Some(value.to_owned()), vec![format!("-{letter}={value}")], true),
            (None, Some(Arity::Switch)) => (None, vec![format!("-{letter}")], false),
            (None, Some(Arity::Value)) if rest.is_empty() => {
                let next = words.next().cloned();
                let all = std::iter::once(format!("-{letter}")).chain(next.clone());
                (next, all.collect(), true)
            }
            (None, Some(Arity::Value)) => (Some(rest.to_owned()), vec![format!("-{letter}{rest}")], true),
            // k6 stops at an unknown flag.
            (None, None) => {
                let value = (!rest.is_empty()).then(|| rest.to_owned());
                (value, vec![format!("-{letter}{rest}")], true)
            }
        };
        parsed.push(Argument::Flag(Given {
            name,
            value,
            short: Some(letter),
            words: all,
        }));
        if done {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use crate::k6::Flags;

    fn parsed(words: &[&str]) -> Arguments {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Arguments::parse(&words, &Flags::of_run())
    }

    #[test]
    fn value_is_read_in_every_spelling() {
        for words in [
            &["--out", "json"][..],
            &["--out=json"],
            &["-o", "json"],
            &["-ojson"],
            &["-o=json"],
            &["-qo", "json"],
            &["-qojson"],
            &["-qwo=json"],
        ] {
            assert_eq!(parsed(words).value("out"), Some("json"), "{words:?}");
        }
    }

    #[test]
    fn value_that_looks_like_a_flag_is_none() {
        let arguments = parsed(&["--tag", "--paused", "-e", "-l", "x.js", "--env=a=b=c"]);
        assert!(!arguments.has("paused") && !arguments.has("linger"));
        assert_eq!(arguments.values("env").collect::<Vec<_>>(), ["-l", "a=b=c"]);
    }

    #[test]
    fn last_value_of_a_switch_counts() {
        assert_eq!(parsed(&["--no-setup"]).is_on("no-setup"), Some(true));
        assert_eq!(
            parsed(&["--no-setup", "--no-setup=false"]).is_on("no-setup"),
            Some(false)
        );
        assert_eq!(parsed(&["-p=0"]).is_on("paused"), Some(false));
        assert_eq!(parsed(&["--tag", "no-setup"]).is_on("no-setup"), None);
    }

    #[test]
    fn word_after_a_switch_is_no_value() {
        let arguments = parsed(&["--http-debug", "full", "--paused", "false"]);
        assert_eq!(arguments.value("http-debug"), None);
        assert_eq!(arguments.is_on("paused"), Some(true));
        assert_eq!(arguments.words_of(|_| false), ["full", "false"]);
    }

    #[test]
    fn flags_are_left_out_with_their_values_and_out_of_clusters() {
        let arguments = parsed(&[
            "--vus",
            "2",
            "-qo",
            "cloud",
            "--out=json=x",
            "-vw",
            "--tag",
            "a=b",
            "-",
        ]);
        let kept = arguments.words_of(|given| given.name != "out" && given.name != "verbose");
        assert_eq!(kept, ["--vus", "2", "-q", "-w", "--tag", "a=b", "-"]);
    }

    #[test]
    fn archive_is_given_neither_the_log_nor_what_only_run_has() {
        let arguments = parsed(&[
            "--features=a",
            "-qo=json",
            "--log-output",
            "none",
            "--features",
            "b,c",
            "--vus=2",
            "--new-flag",
            "--log-format=json",
        ]);
        let without = |names: &[&str]| {
            let lines = Flags::of_run();
            let kept = lines.iter().filter(|flag| !names.contains(&flag.name.as_ref()));
            let help: Vec<String> = kept
                .map(|flag| format!("      --{} string  x", flag.name))
                .collect();
            Flags::of_help(&help.join("\n"))
        };
        let archiving = arguments.for_archive(&Flags::of_run(), &without(&["features", "out"]));
        assert_eq!(archiving.words, ["-q", "--vus=2", "--new-flag"]);
        assert_eq!(archiving.variables, [("K6_FEATURES", "a,b,c".to_owned())]);
    }

    #[test]
    fn nothing_is_parsed_after_the_terminator() {
        let arguments = parsed(&["-q", "--", "--paused"]);
        assert!(arguments.has_terminator() && !arguments.has("paused"));
        assert_eq!(arguments.words_of(|_| true), ["-q", "--", "--paused"]);
    }

    #[test]
    fn unknown_flags_keep_their_words() {
        let words = ["--new=1", "--newer", "x", "-Zab", "-é", "-o"];
        let arguments = parsed(&words);
        assert_eq!(arguments.words_of(|_| true), words);
        assert_eq!(arguments.value("out"), None);
        assert!(arguments.has("Z") && arguments.has("é"));
        assert_eq!(parsed(&["-uo"]).value("vus"), Some("o"));
    }
}
