//! Words that shells, Kubernetes, k6 and file systems are known to stumble over, put wherever a user can put a
//! word: each is refused with the name of its field, or reaches k6 exactly as it was meant. No shell ever
//! sees one.

use crate::objects::{run_of as built_from, validated};
use k6_operator::api::{Kind, Spec};
use k6_operator::machine::ProgramSource;
use k6_operator::objects::{
    ArgumentError, Common, Defaults, Owner, initializer, runner, script, sequence, split,
};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Each line is a family: its name, and its words.
fn corpus() -> Vec<String> {
    let families: [(&str, &[&str]); 18] = [
        (
            "shell operators",
            &[
                ";",
                "&",
                "&&",
                "|",
                "||",
                ">",
                ">>",
                "<",
                "<<EOF",
                "2>&1",
                "; reboot",
                "&& reboot",
                "| sh",
                "> /etc/passwd",
                "a;b",
                "a&b",
                "a|b",
                "(a)",
                "{a,b}",
                "{1..9}",
                "!",
                "!!",
                "!x",
                "~",
                "~root",
                "a~",
                "^",
                "a^b",
                "=",
                "=ls",
            ],
        ),
        (
            "command substitution",
            &[
                "`reboot`",
                "`",
                "``",
                "$(reboot)",
                "$(",
                "$()",
                "$( )",
                "$((1+1))",
                "<(ls)",
                ">(ls)",
            ],
        ),
        (
            "shell variables",
            &[
                "$",
                "$$",
                "$$$",
                "$HOME",
                "${HOME}",
                "${HOME:-x}",
                "$?",
                "$!",
                "$0",
                "$1",
                "$@",
                "$*",
                "$#",
                "$-",
                "$_",
            ],
        ),
        (
            "Kubernetes variables",
            &[
                "$(TARGET)",
                "$(UNKNOWN)",
                "$$(TARGET)",
                "$$$(TARGET)",
                "$$$$(TARGET)",
                "$(TARGET",
                "$TARGET)",
                "$($(TARGET))",
                "$(TARGET)$(TARGET)",
                "a$(TARGET)b",
                "$( TARGET )",
                "$(target)",
                "$(TARGET)$",
                "$$(UNKNOWN)",
                "$(A)B)",
                "$(WEIRD$NAME)",
                "$(UNKNOWN)$(TARGET)",
                "$(TARGET)(TARGET)",
                "$()$(TARGET)",
                "é$é$(TARGET)é",
                "$é",
                "$漢",
                "$(É)",
            ],
        ),
        (
            "quotes",
            &[
                "'", "''", "\"", "\"\"", "'a", "\"a", "a'b", "a\"b", "'a b'", "\"a b\"", "it's", "\"'\"'\"",
                "'\\''", "\\'", "\\\"", "«a»", "“a”", "‘a’",
            ],
        ),
        (
            "backslashes",
            &[
                "\\",
                "\\\\",
                "a\\",
                "\\n",
                "\\0",
                "\\x00",
                "\\u0000",
                "a\\ b",
                "\\$(TARGET)",
                "\\$HOME",
                "\\\n",
                "a \\\n b",
                "a\\\nb",
                "--tag a=b \\\n  --vus 2 \\\n",
                "'a\\\nb'",
                "\"a\\\nb\"",
                "a # b \\\nc",
                "a\\ #b",
                "a\\ \\\n#b",
                "a\\\n#b",
                "\"#\" a",
                "a \\# b",
                "'#\na' b # c'",
            ],
        ),
        (
            "blanks",
            &[
                "", " ", "  ", "\t", "\n", "\r", "\r\n", "\u{b}", "\u{c}", " a", "a ", "a b", "a\tb", "a\nb",
                "a\r\nb", "a\n\nb\n",
            ],
        ),
        (
            "blanks of Unicode",
            &[
                "\u{a0}",
                "a\u{a0}b",
                "\u{2003}",
                "\u{2009}a",
                "\u{3000}",
                "\u{200b}",
                "a\u{200b}b",
                "\u{feff}a",
                "\u{2028}",
                "\u{2029}",
                "\u{85}",
                "\u{180e}",
            ],
        ),
        (
            "dashes",
            &[
                "-",
                "--",
                "---",
                "-x",
                "--x",
                "-rf",
                "--paused",
                "--paused=false",
                "-p",
                "-qp",
                "--linger",
                "-l",
                "-a",
                "-a:1",
                "--address",
                "--address=:1",
                "--execution-segment=0:1/2",
                "--execution-segment-sequence=0,1",
                "--out",
                "-o",
                "-ojson",
                "-qo",
                "--help",
                "-h",
                "--version",
                "\u{2010}x",
                "\u{2011}x",
                "\u{2012}x",
                "\u{2013}vus",
                "\u{2014}vus",
                "\u{2015}x",
                "\u{2212}x",
                "\u{fe63}x",
                "\u{ff0d}x",
                "a\u{2014}b",
                "\u{ad}-x",
            ],
        ),
        (
            "marks of direction",
            &[
                "\u{202e}sj.tset",
                "a\u{202e}b\u{202c}",
                "\u{200f}",
                "\u{200e}a",
                "\u{2066}a\u{2069}",
                "א",
                "مرحبا",
                "a\u{301}",
            ],
        ),
        (
            "control characters",
            &[
                "\0",
                "a\0b",
                "\0\0",
                "\u{1}",
                "\u{7}",
                "\u{8}",
                "\u{1b}[31mred\u{1b}[0m",
                "\u{1b}]0;title\u{7}",
                "\u{7f}",
                "\u{9b}31m",
            ],
        ),
        (
            "globs",
            &[
                "*", "**", "*.js", "?", "[a-z]", "[!a]", "/*", "/etc/*", "a*b", "**/*",
            ],
        ),
        (
            "comments",
            &[
                "#",
                "# a",
                "#a",
                "a#",
                "a #b",
                "//",
                "/* a */",
                "<!-- a -->",
                "-- a",
                "% a",
                "REM a",
            ],
        ),
        (
            "paths",
            &[
                ".",
                "..",
                "...",
                "/",
                "//",
                "///",
                "./a",
                "../a",
                "../../etc/passwd",
                "/etc/passwd",
                "/a",
                "/a/b",
                "a/",
                "/a/",
                "a/../b",
                "/a/../b",
                "/./a",
                "//a",
                "/a//b",
                "/a/./b",
                "/a:b/c",
                "/a/b:c",
                "~/a",
                "/proc/self/environ",
                "/dev/stdin",
                "a/b",
                "C:\\a.js",
                "\\\\host\\a",
                "C:/a.js",
                "CON",
                "NUL",
                "file:///etc/passwd",
                "http://x/a.js",
                "a.tar",
                "%2e%2e%2fa",
                "..%2fa",
                "..;/a",
                "....//a",
            ],
        ),
        (
            "formats",
            &[
                "%s",
                "%n",
                "%x%x",
                "%!s(MISSING)",
                "%%",
                "{}",
                "{0}",
                "{:?}",
                "{{.}}",
                "{{ .Values.x }}",
                "${{ github.token }}",
                "<%= 1 %>",
                "#{1}",
                "@a",
                "@/etc/passwd",
            ],
        ),
        (
            "documents",
            &[
                "{\"a\": 1}",
                "[1]",
                "null",
                "true",
                "0x10",
                "1e9",
                "NaN",
                "a: b",
                "- a",
                "|",
                "&a *a",
                "!!python/object",
                "---",
                "...",
                "? a",
                "*/;eval(1)//",
                "';alert(1);//",
                "</script>",
                "require('fs')",
                "import x from 'y'",
                "' OR 1=1 --",
                "<a b=\"c\">",
                "]]>",
                "&amp;",
                "\\\\u0041",
            ],
        ),
        (
            "environment",
            &[
                "A=B",
                "PATH=/tmp",
                "LD_PRELOAD=/tmp/a.so",
                "K6_OUT=json",
                "K6_VUS=9",
                "=",
                "A=",
                "=B",
                "A=B=C",
                "export A=B",
                "A-B",
                "A.B",
                "1A",
                "A B",
                "IFS=x",
            ],
        ),
        (
            "emoji and planes",
            &[
                "🐊",
                "👩‍👩‍👧",
                "🇳🇱",
                "\u{1f3fb}",
                "𝕒",
                "\u{10ffff}",
                "\u{fffd}",
                "\u{fffe}",
                "\u{e000}",
                "漢字",
                "ß",
                "ı",
                "ﬁ",
                "Z͑ͫ̓a̴l̵g̷o",
            ],
        ),
    ];
    let listed = families
        .into_iter()
        .flat_map(|(_, words)| words)
        .map(|word| (*word).to_owned());
    let long = ["a", "$", "'", "漢", "$(", "$(TARGET)", "--", "/", "\n"].map(|unit| unit.repeat(2000));
    let most = [131_071, 131_072].map(|length| "a".repeat(length));
    listed.chain(long).chain(most).collect()
}

const TARGET: &str = "https://shop.example/$(X)$$";
const WEIRD: &str = "weird";

fn base() -> Value {
    json!({
        "parallelism": 1,
        "script": "s",
        "runner": {"env": [{"name": "TARGET", "value": TARGET}, {"name": "WEIRD$NAME", "value": WEIRD}]}
    })
}

fn with(pointer: &str, value: Value) -> Spec {
    let mut spec = base();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[field] = value;
    serde_json::from_value(spec).unwrap()
}

fn owner() -> Owner {
    Owner {
        kind: Kind::K6,
        name: "hostile".to_owned(),
        namespace: "default".to_owned(),
        uid: "5f2a".to_owned(),
        generation: 1,
        attempt: 1,
    }
}

fn defaults() -> Defaults {
    Defaults {
        runner_image: "k6".to_owned(),
        starter_image: "operator".to_owned(),
        common: Common::default(),
    }
}

/// What Kubernetes makes of a word of a command, as k8s.io/kubernetes/third_party/forked/golang/expansion has
/// it, bytes and all.
fn expanded(input: &str, env: &BTreeMap<String, String>) -> Vec<u8> {
    let input = input.as_bytes();
    let mut out = Vec::new();
    let (mut cursor, mut checkpoint) = (0, 0);
    while cursor < input.len() {
        if input[cursor] == b'$' && cursor + 1 < input.len() {
            out.extend(&input[checkpoint..cursor]);
            let rest = &input[cursor + 1..];
            let advance = match rest[0] {
                b'$' => {
                    out.push(b'$');
                    1
                }
                b'(' => match rest.iter().position(|byte| *byte == b')') {
                    Some(end) => {
                        let name = String::from_utf8(rest[1..end].to_vec()).unwrap();
                        let unknown = format!("$({name})");
                        out.extend(env.get(&name).unwrap_or(&unknown).bytes());
                        end + 1
                    }
                    None => {
                        out.extend(b"$(");
                        1
                    }
                },
                // Go's string(byte): the character of that number.
                other => {
                    out.push(b'$');
                    out.extend(char::from(other).to_string().bytes());
                    1
                }
            };
            cursor += advance;
            checkpoint = cursor + 1;
        }
        cursor += 1;
    }
    out.extend(&input[checkpoint..]);
    out
}

/// What a user means: declared variables by their values, everything else as it is written.
fn meant(word: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    'word: while let Some(c) = rest.chars().next() {
        for (name, value) in env {
            if let Some(after) = rest.strip_prefix(&format!("$({name})")) {
                out.push_str(value);
                rest = after;
                continue 'word;
            }
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn env() -> BTreeMap<String, String> {
    [("TARGET", TARGET), ("WEIRD$NAME", WEIRD)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn pod(job: Job) -> PodSpec {
    job.spec.unwrap().template.spec.unwrap()
}

/// What the program of a container is given.
fn argv(container: &Container) -> Vec<String> {
    let words = container.command.iter().chain(&container.args).flatten();
    words
        .map(|word| String::from_utf8(expanded(word, &env())).unwrap())
        .collect()
}

/// What k6 is given in the runner, and in the initializer.
fn given(spec: &Spec) -> Result<(Vec<String>, Vec<String>), String> {
    validated(spec).map_err(|error| error.to_string())?;
    let runner = pod(runner(&built_from(&owner(), spec, &defaults()), (1, 1), None));
    let initializer = pod(initializer(
        &built_from(&owner(), spec, &defaults()),
        ProgramSource::Copied,
    ));
    let inspect = argv(&initializer.containers[0]);
    let run = argv(&runner.containers[0]);
    assert_eq!(run[..2], ["k6", "run"]);
    Ok((run, inspect))
}

fn run_of(user: &[String], script: &str) -> Vec<String> {
    let before = ["k6", "run"].map(str::to_owned);
    let after = [
        script,
        "--address=0.0.0.0:6565",
        "--paused",
        "--tag",
        "instance_id=1",
        "--tag",
        "testrun_name=hostile",
    ];
    before
        .into_iter()
        .chain(user.iter().cloned())
        .chain(after.map(str::to_owned))
        .collect()
}

fn inspect_of(user: &[String], script: &str) -> Vec<String> {
    let before = [
        "/k6-operator-program/k6-operator",
        "inspect",
        "--folder=/k6-archive",
        "--timeout=305",
        "--",
        "k6",
    ]
    .map(str::to_owned);
    before
        .into_iter()
        .chain(user.iter().cloned())
        .chain([script.to_owned()])
        .collect()
}

/// Words of the corpus that are flags of the operator's, or look like flags and are none.
const REFUSED: [&str; 25] = [
    "--",
    "--paused",
    "--paused=false",
    "-p",
    "-qp",
    "--linger",
    "-l",
    "-a",
    "-a:1",
    "--address",
    "--address=:1",
    "--execution-segment=0:1/2",
    "--execution-segment-sequence=0,1",
    "\u{2010}x",
    "\u{2011}x",
    "\u{2012}x",
    "\u{2013}vus",
    "\u{2014}vus",
    "\u{2015}x",
    "\u{2212}x",
    "\u{fe63}x",
    "\u{ff0d}x",
    // Both as words of their own and as a part of others.
    "\0",
    "a\0b",
    "\0\0",
];

fn is_refused_as_argument(word: &str) -> bool {
    REFUSED.contains(&word) || word.len() > 131_071
}

#[test]
fn the_corpus_is_large_and_has_no_word_twice() {
    let words = corpus();
    assert!(words.len() >= 200, "{}", words.len());
    let named: Vec<&&str> = REFUSED
        .iter()
        .filter(|word| !words.contains(&(**word).to_owned()))
        .collect();
    assert_eq!(named, Vec::<&&str>::new());
}

#[test]
fn the_model_of_expansion_does_what_kubernetes_documents() {
    let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    for (word, out) in [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$$", "$"),
        ("$A", "$A"),
        ("a$(A)$(A)b", "a11b"),
        ("$()", "$()"),
    ] {
        assert_eq!(String::from_utf8(expanded(word, &env)).unwrap(), out, "{word}");
    }
    // Not its finest hour: escaped, as the operator does it, the word stays whole.
    assert!(String::from_utf8(expanded("$é", &env)).is_err());
    assert_eq!(String::from_utf8(expanded("$$é", &env)).unwrap(), "$é");
}

#[test]
fn a_word_of_args_reaches_k6_as_it_is_or_is_refused_by_its_field() {
    for word in corpus() {
        let spec = with("/args", json!([word]));
        match given(&spec) {
            Err(error) => {
                assert!(error.starts_with("spec.args "), "{word:?}: {error}");
                assert!(is_refused_as_argument(&word), "{word:?}: {error}");
            }
            Ok((run, inspect)) => {
                assert!(!is_refused_as_argument(&word), "{word:?} is accepted");
                let user = [meant(&word, &env())];
                assert_eq!(run, run_of(&user, "/test/test.js"));
                assert_eq!(inspect, inspect_of(&user, "/test/test.js"));
            }
        }
    }
}

#[test]
fn a_quoted_word_of_arguments_reaches_k6_as_it_is_or_is_refused_by_its_field() {
    for word in corpus() {
        let quoted = shell_words::quote(&word);
        match given(&with("/arguments", json!(quoted))) {
            Err(error) => {
                assert!(error.starts_with("spec.arguments "), "{word:?}: {error}");
                assert!(
                    is_refused_as_argument(&word) || word.contains('\0'),
                    "{word:?}: {error}"
                );
            }
            Ok((run, _)) => {
                assert!(!is_refused_as_argument(&word), "{word:?} is accepted");
                assert_eq!(run, run_of(&[meant(&word, &env())], "/test/test.js"));
            }
        }
    }
}

/// The words of a text as POSIX has them (2.2 Quoting, 2.3 Token Recognition), without expansions and operators.
fn posix_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => {
                rest.by_ref().find(|c| *c == '\n');
            }
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => match rest.next()? {
                            '\n' => {}
                            c @ ('$' | '`' | '"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => match rest.next()? {
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[test]
fn raw_arguments_are_split_into_words_and_never_run() {
    for text in corpus() {
        let words = posix_words(&text);
        match given(&with("/arguments", json!(text))) {
            Err(error) => {
                assert!(error.starts_with("spec.arguments "), "{text:?}: {error}");
                let refused = words.is_none_or(|words| {
                    words
                        .iter()
                        .any(|word| is_refused_as_argument(word) || word.contains('\0'))
                });
                assert!(refused, "{text:?}: {error}");
            }
            Ok((run, _)) => {
                let words: Vec<String> = words.unwrap().iter().map(|word| meant(word, &env())).collect();
                assert_eq!(run, run_of(&words, "/test/test.js"), "{text:?}");
            }
        }
    }
}

#[test]
fn arguments_on_several_lines_are_split_as_a_shell_splits_them() {
    for (text, words) in [
        (
            "--vus 2 \\\n  --tag a=b",
            Some(vec!["--vus", "2", "--tag", "a=b"]),
        ),
        ("--vus\\\n=2 # two\n-q", Some(vec!["--vus=2", "-q"])),
        ("--tag 'a=\\\nb' a#b", Some(vec!["--tag", "a=\\\nb", "a#b"])),
        (
            r#"--tag "a=\"\$\x\\" b\ c \\"#,
            Some(vec!["--tag", r#"a="$\x\"#, "b c", "\\"]),
        ),
        ("--tag a='' \"\" é", Some(vec!["--tag", "a=", "", "é"])),
        ("-q \\\n", Some(vec!["-q"])),
        ("-q \\", None),
        ("-q\\", None),
        ("'-q", None),
        ("\"-q\\\"", None),
        ("-q # \\", Some(vec!["-q"])),
    ] {
        let words = words.ok_or(ArgumentError::Quoting);
        let words = words.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(split(text), words, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn arguments_are_split_into_the_words_of_posix(text in "[ab \t\n'\"\\\\#$`é=]{0,16}") {
        prop_assert_eq!(split(&text).ok(), posix_words(&text), "{:?}", text);
    }
}

#[test]
fn the_value_of_a_tag_reaches_k6_whatever_it_says() {
    for word in corpus() {
        let tag = format!("k={word}");
        match given(&with("/args", json!(["--tag", tag]))) {
            Err(error) => {
                assert!(error.starts_with("spec.args "), "{word:?}: {error}");
                assert!(word.contains('\0') || tag.len() > 131_071, "{word:?}: {error}");
            }
            Ok((run, inspect)) => {
                assert!(!word.contains('\0'));
                let user = ["--tag".to_owned(), meant(&tag, &env())];
                assert_eq!(run, run_of(&user, "/test/test.js"));
                assert_eq!(inspect, inspect_of(&user, "/test/test.js"));
            }
        }
    }
}

/// Files: nothing is expanded in a path, not even what is declared.
fn file(field: &str, source: impl Fn(&str) -> Value, path: impl Fn(&str) -> String) -> (usize, usize) {
    let (mut accepted, mut refused) = (0, 0);
    for word in corpus() {
        let spec = with("/script", source(&word));
        match given(&spec) {
            Err(error) => {
                let unset = word.is_empty() && error.ends_with("it has none of them");
                assert!(
                    unset || error.starts_with(&format!("spec.script.{field} is ")),
                    "{word:?}: {error}"
                );
                refused += 1;
            }
            Ok((run, inspect)) => {
                assert!(!word.chars().any(char::is_control), "{word:?} is accepted");
                assert!(!word.split('/').any(|part| part == ".."), "{word:?} is accepted");
                let path = path(&word);
                assert_eq!(run, run_of(&[], &path));
                assert_eq!(inspect, inspect_of(&[], &path));
                accepted += 1;
            }
        }
    }
    (accepted, refused)
}

fn or_default(word: &str) -> &str {
    if word.is_empty() { "test.js" } else { word }
}

#[test]
fn a_key_of_a_config_map_is_one_or_is_refused() {
    let (accepted, refused) = file(
        "configMap.file",
        |word| json!({"configMap": {"name": "s", "file": word}}),
        |word| format!("/test/{}", or_default(word)),
    );
    assert!(accepted >= 10 && refused >= 200, "{accepted} and {refused}");
}

#[test]
fn a_file_in_the_image_is_given_as_it_is_or_is_refused() {
    let (accepted, refused) = file("localFile", |word| json!({"localFile": word}), str::to_owned);
    assert!(accepted >= 150 && refused >= 50, "{accepted} and {refused}");
}

#[test]
fn a_file_in_a_volume_is_given_as_it_is_and_mounted_where_no_image_is_hidden_or_is_refused() {
    let source = |word: &str| json!({"volumeClaim": {"name": "s", "file": word}});
    let path = |word: &str| match or_default(word) {
        word if word.starts_with('/') => word.to_owned(),
        word => format!("/test/{word}"),
    };
    let (accepted, refused) = file("volumeClaim.file", source, path);
    assert!(accepted >= 150 && refused >= 50, "{accepted} and {refused}");
    for word in corpus() {
        let spec = with("/script", source(&word));
        if validated(&spec).is_err() {
            continue;
        }
        let pod = pod(runner(&built_from(&owner(), &spec, &defaults()), (1, 1), None));
        let mounts = pod.containers[0].volume_mounts.clone().unwrap();
        let folder = &mounts[0].mount_path;
        let parts: Vec<&str> = folder.split('/').collect();
        assert!(parts.len() >= 2 && parts[0].is_empty(), "{word:?} at {folder}");
        assert!(
            parts[1..]
                .iter()
                .all(|part| !part.is_empty() && *part != "." && *part != ".."),
            "{word:?} at {folder}"
        );
        // https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/: must not contain ':'.
        assert!(!folder.contains(':'), "{word:?} at {folder}");
    }
}

#[test]
fn a_script_in_the_spec_is_kept_byte_by_byte_and_its_text_is_in_no_command() {
    for word in corpus() {
        let spec = with("/script", json!({"inline": word}));
        if let Err(error) = validated(&spec) {
            assert!(word.is_empty(), "{word:?}: {error}");
            continue;
        }
        let map = script(&built_from(&owner(), &spec, &defaults())).unwrap();
        assert_eq!(
            map.data.unwrap(),
            BTreeMap::from([("test.js".to_owned(), word.clone())])
        );
        let (run, inspect) = given(&spec).unwrap();
        assert_eq!(run, run_of(&[], "/test/test.js"));
        assert_eq!(inspect, inspect_of(&[], "/test/test.js"));
    }
}

#[test]
fn a_script_that_no_config_map_has_room_for_is_refused_in_bytes() {
    let error =
        |text: String| validated(&with("/script", json!({"inline": text}))).map_err(|e| e.to_string());
    assert!(error("a".repeat(1_000_000)).is_ok());
    // As JSON, each of these takes two bytes.
    let message = "of them in spec.script.inline: at most 1100000 leave room for the status in etcd; move it into a \
                   ConfigMap or a volume";
    let told = error("\n".repeat(600_000)).unwrap_err();
    assert!(
        told.starts_with("spec has 1200") && told.ends_with(message),
        "{told}"
    );
    let message = "spec.script.inline has 1000002 bytes: at most 1000000 fit into a ConfigMap; use volumeClaim or \
                   localFile";
    assert_eq!(error("漢".repeat(333_334)).unwrap_err(), message);
}

#[test]
fn a_variable_is_given_as_it_is_or_is_refused_by_its_place() {
    for part in ["podTemplate", "initializer", "runner", "starter"] {
        for word in corpus() {
            let by_value = with(
                &format!("/{part}"),
                json!({"env": [{"name": "OK"}, {"name": "A", "value": word}]}),
            );
            match validated(&by_value).map_err(|error| error.to_string()) {
                Err(error) => {
                    assert!(
                        error.starts_with(&format!("spec.{part}.env[1] has ")),
                        "{word:?}: {error}"
                    );
                    assert!(word.contains('\0') || word.len() > 131_071, "{word:?}: {error}");
                }
                Ok(_) => assert!(!word.contains('\0')),
            }
            let by_name = with(
                &format!("/{part}"),
                json!({"env": [{"name": word, "value": "1"}]}),
            );
            let ascii = word.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let is_name = ascii && !word.is_empty() && !word.contains('=');
            match validated(&by_name).map_err(|error| error.to_string()) {
                Err(error) => {
                    assert!(
                        error.starts_with(&format!("spec.{part}.env[0].name is ")),
                        "{word:?}: {error}"
                    );
                    assert!(!is_name, "{word:?}: {error}");
                }
                Ok(_) => assert!(is_name, "{word:?} is accepted"),
            }
        }
    }
}

#[test]
fn variables_that_are_accepted_are_those_of_the_pod() {
    for word in corpus() {
        let spec = with("/runner", json!({"env": [{"name": "A", "value": word}]}));
        if validated(&spec).is_err() {
            continue;
        }
        let pod = pod(runner(&built_from(&owner(), &spec, &defaults()), (1, 1), None));
        let env = pod.containers[0].env.clone().unwrap();
        let env: Vec<_> = env
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_deref()))
            .collect();
        let ours = ("K6_AUTO_EXTENSION_RESOLUTION", Some("false"));
        assert_eq!(env, [ours, ("A", Some(word.as_str()))]);
    }
}

#[test]
fn a_word_that_no_program_can_be_given_is_refused_in_init_containers_too() {
    for field in ["command", "args"] {
        let mut container = json!({"image": "busybox"});
        container[field] = json!(["echo", "a\0b"]);
        let error = validated(&with(
            "/runner",
            json!({"initContainers": [{"image": "x"}, container]}),
        ))
        .unwrap_err();
        let message = format!(
            "spec.runner.initContainers[1].{field} has a NUL character, which no program can be given: remove it"
        );
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_name_that_no_object_can_have_is_refused_before_it_is_looked_for() {
    for name in [
        ".", "..", "../a", "a..b", "-a", "a-", ".a", "a.", "a.-b", "A", "a/b", "a b", "a\0", "é",
    ] {
        for source in ["configMap", "volumeClaim"] {
            let error = validated(&with("/script", json!({source: {"name": name}})))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("{name:?} can't be the name of a")),
                "{name:?}: {error}"
            );
        }
    }
    for name in ["a", "a-b", "a.b", "0", "a--b"] {
        assert!(
            validated(&with("/script", json!({"configMap": {"name": name}}))).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn each_word_of_the_largest_test_is_one_that_linux_can_give_to_a_program() {
    let mut spec = base();
    spec["parallelism"] = json!(2_000);
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let pod = pod(runner(
        &built_from(&owner(), &spec, &defaults()),
        (1_999, 2_000),
        None,
    ));
    // As the kubelet gives them to it.
    let segments = sequence(&owner(), 2_000).unwrap().data.unwrap();
    let words = argv(&pod.containers[0]).into_iter();
    let words = words.map(|word| word.replace("$(K6_OPERATOR_SEGMENTS)", &segments["sequence"]));
    let longest = words.map(|word| word.len()).max().unwrap();
    assert!((15_000..131_072).contains(&longest), "{longest}");
}
