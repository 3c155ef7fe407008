//! The program `inspect`, as the pod of an initializer runs it, with the k6 that is here.

use crate::k6::k6_binary;
use crate::version::version;
use k6_operator::k6::Version;
use k6_operator::machine::Inspection;
use k6_operator::protocol::inspected::Inspected;
use std::fs::{read_to_string, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCENARIOS: &str = "export const options = {
    scenarios: {
        a: { executor: 'constant-vus', vus: 5, duration: '10s', gracefulStop: '0s' },
        b: { executor: 'per-vu-iterations', vus: 3, iterations: 2, startTime: '5s', maxDuration: '20s', gracefulStop: '0s' },
    },
    thresholds: { http_reqs: ['count>=0', { threshold: 'rate<9', abortOnFail: true }], iterations: ['count>1'] },
    tags: { team: 'x' },
};
export default function () {}";
const ITERATIONS: &str = "export const options = { iterations: 10 };\nexport default function () {}";
const PLAIN: &str = "export default function () {}";
const BROKEN: &str = "export default function () { let = ; }";

/// What it left.
struct Done {
    code: Option<i32>,
    out: String,
    log: String,
    message: String,
}

impl Done {
    /// What k6 said, and which k6.
    fn inspection(&self) -> (Inspection, Inspected) {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.log);
        (
            Inspection::parse(&self.out).unwrap(),
            Inspected::from_message(&self.message).unwrap(),
        )
    }

    fn refusal(&self) -> (Option<i32>, &str) {
        assert_eq!(self.out, "");
        (self.code, &self.message)
    }
}

struct Pod {
    folder: tempfile::TempDir,
    k6: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Pod {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path().join("test.js"), script).unwrap();
        Self {
            folder,
            k6: k6_binary().to_owned(),
            variables: Vec::new(),
        }
    }

    /// With a shell script in place of k6.
    fn with_fake(k6: &str) -> Self {
        let mut pod = Self::new(PLAIN);
        pod.k6 = pod.path("k6");
        write(&pod.k6, format!("#!/bin/sh\n{k6}")).unwrap();
        std::fs::set_permissions(&pod.k6, std::fs::Permissions::from_mode(0o755)).unwrap();
        pod
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn begin(&self, user: &[&str], script: &Path) -> Child {
        let work = self.path("work");
        std::fs::create_dir_all(&work).unwrap();
        Command::new(env!("CARGO_BIN_EXE_k6-operator"))
            .arg("inspect")
            .args([format!("--folder={}", work.display())])
            .args([format!("--termination-log={}", self.path("message").display())])
            .args(["--timeout=60", "--"])
            .arg(&self.k6)
            .args(user)
            .arg(script)
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn done(&self, child: Child) -> Done {
        let ended = child.wait_with_output().unwrap();
        Done {
            code: ended.status.code(),
            out: String::from_utf8(ended.stdout).unwrap(),
            log: String::from_utf8(ended.stderr).unwrap(),
            message: read_to_string(self.path("message")).unwrap_or_default(),
        }
    }

    fn run(&self, user: &[&str]) -> Done {
        self.done(self.begin(user, &self.path("test.js")))
    }
}

fn is_since(major: u32, minor: u32) -> bool {
    version() >= Version::new(major, minor, 0)
}

#[test]
fn script_with_scenarios_is_read_with_all_of_them() {
    let (found, inspected) = Pod::new(SCENARIOS).run(&[]).inspection();
    assert_eq!(
        (found.max_vus, found.longest.as_secs(), found.thresholds),
        (8, 25, 3)
    );
    assert_eq!(found.tags.get("team").map(String::as_str), Some("x"));
    assert_eq!(
        (inspected.version(), inspected.resolved),
        (Some(version()), false)
    );
}

#[test]
fn tags_of_the_operator_are_named_where_anything_of_the_script_may_read_them() {
    let names = |script: &str, module: &str| {
        let pod = Pod::new(&format!("import './module.js';\n{script}"));
        write(pod.path("module.js"), module).unwrap();
        let (_, inspected) = pod.run(&[]).inspection();
        assert_eq!(
            inspected.reads_no_tags,
            !format!("{script}{module}").contains("k6/execution")
        );
        !inspected.names_no_own_tag
    };
    assert!(!names(SCENARIOS, PLAIN) && !names(PLAIN, "// exec.vu.metrics.tags.instance"));
    let reads = "import exec from 'k6/execution';
export default function () { console.log(exec.vu.metrics.tags.instance_id); }";
    assert!(names(reads, PLAIN) && names(PLAIN, reads));
    let judges = "export const options = { thresholds: { 'http_reqs{testrun_name:a}': ['count>1'] } };";
    assert!(names(&format!("{judges}\n{PLAIN}"), PLAIN));
}

#[test]
fn script_has_no_groups_if_neither_it_nor_a_module_can_make_one() {
    let has_none = |script: &str, module: &str| {
        let pod = Pod::new(&format!("import './module.js';\n{script}"));
        write(pod.path("module.js"), module).unwrap();
        pod.run(&[]).inspection().1.has_no_groups
    };
    let (group, setup) = (
        "import { group } from 'k6';\nexport default function () { group('a', () => {}); }",
        "export function setup() {}\nexport default function () {}",
    );
    assert!(has_none(SCENARIOS, PLAIN));
    assert!(!has_none(group, PLAIN) && !has_none(PLAIN, group));
    assert!(!has_none(setup, PLAIN) && !has_none(&setup.replace("setup", "teardown"), PLAIN));
}

#[test]
fn script_that_names_no_users_has_one() {
    for script in [
        ITERATIONS,
        PLAIN,
        "export const options = { duration: '5s' };\nexport default function () {}",
    ] {
        let (found, _) = Pod::new(script).run(&[]).inspection();
        assert_eq!(found.max_vus, 1, "{script}");
    }
}

#[test]
fn arguments_count_as_they_do_for_run() {
    let pod = Pod::new(ITERATIONS);
    let (found, _) = pod
        .run(&["-qu7", "--duration", "20s", "-e", "A=b", "--tag", "c=d"])
        .inspection();
    assert_eq!((found.max_vus, found.total_duration.as_str()), (7, "50s"));
    assert_eq!(found.tags.get("c").map(String::as_str), Some("d"));
    // Outputs are those of the runners.
    let more = [
        "-o",
        "json=/nowhere/x.json",
        "--out=csv=/nowhere/x.csv",
        "-qojson=/nowhere/y",
        "--no-usage-report",
    ];
    let (found, _) = pod.run(&[&more[..], &["--vus=3"]].concat()).inspection();
    assert_eq!(found.max_vus, 3);
}

#[test]
fn log_that_goes_elsewhere_costs_neither_version_nor_answer_nor_message() {
    let file = ["--log-output=file=/tmp/k6-operator-no-such-file.log"];
    let json = ["--log-output=stdout", "--log-format", "json"];
    type Case<'a> = (&'a [&'a str], &'a [(&'static str, &'static str)]);
    let cases: [Case<'_>; 6] = [
        (&["--log-output=none"], &[]),
        (&file, &[]),
        (&json, &[]),
        (
            &["--log-format=raw", "--console-output=/nowhere/console.txt"],
            &[],
        ),
        (&[], &[("K6_LOG_OUTPUT", "none"), ("K6_LOG_FORMAT", "raw")]),
        (
            &[],
            &[
                ("K6_LOG_FORMAT", "json"),
                ("K6_CONSOLE_OUTPUT", "/nowhere/console.txt"),
            ],
        ),
    ];
    for (user, variables) in cases {
        let given = |script: &str| {
            let pod = Pod::new(script);
            variables
                .iter()
                .fold(pod, |pod, (name, value)| pod.with(name, value))
        };
        let (found, inspected) = given(SCENARIOS).run(user).inspection();
        assert_eq!(
            (found.max_vus, inspected.version()),
            (8, Some(version())),
            "{user:?} {variables:?}"
        );
        let done = given(BROKEN).run(user);
        let (code, message) = done.refusal();
        assert_eq!(code, Some(107), "{user:?}");
        assert!(
            message.contains("Unexpected token ; (and 1 more errors)"),
            "{message}"
        );
        assert!(done.log.contains("Unexpected token ;"), "{}", done.log);
    }
    assert!(!Path::new("/tmp/k6-operator-no-such-file.log").exists());
}

#[test]
fn flag_that_this_k6_lacks_is_refused_with_its_version_and_the_remedy() {
    let told = |user: &[&str]| {
        let done = Pod::new(PLAIN).run(user);
        let (code, message) = done.refusal();
        assert!(
            done.log.ends_with(&format!("level=error msg=\"{message}\"\n")),
            "{}",
            done.log
        );
        (code, message.to_owned())
    };
    let k6 = version();
    let unknown = format!("k6 {k6} has no flag --no-such-flag: remove it, or take a k6 that has it");
    assert_eq!(told(&["--vus=2", "--no-such-flag", "5"]), (Some(255), unknown));
    let near = format!("k6 {k6} has no flag --duratoin: did you mean --duration?");
    assert_eq!(told(&["--duratoin=5s"]), (Some(255), near));
    let letter = format!("k6 {k6} has no flag -Z: remove it, or take a k6 that has it");
    assert_eq!(told(&["-qZ"]), (Some(255), letter));

    let cases = [
        ("--no-summary", !is_since(2, 0), ": use --summary-mode=disabled"),
        ("--summary-mode=legacy", is_since(0, 58) && !is_since(2, 0), ""),
        ("--summary-mode=disabled", is_since(1, 3), ", or use --no-summary"),
        (
            "--new-machine-readable-summary",
            is_since(1, 5),
            ": take k6 1.5 or newer",
        ),
        (
            "--features=merge-run-tags",
            is_since(2, 1),
            ": take k6 2.1 or newer",
        ),
    ];
    for (flag, is_known, remedy) in cases {
        if is_known {
            Pod::new(PLAIN).run(&[flag]).inspection();
        } else {
            let (code, message) = told(&[flag]);
            assert_eq!(code, Some(255), "{flag}");
            assert!(
                message.starts_with(&format!("k6 {k6} has no ")),
                "{flag}: {message}"
            );
            assert!(message.ends_with(remedy), "{flag}: {message}");
        }
    }
}

#[test]
fn value_that_k6_refuses_is_told_in_its_words() {
    let done = Pod::new(PLAIN).run(&["--vus", "many"]);
    let (code, message) = done.refusal();
    assert_eq!(code, Some(255));
    assert!(message.contains("\"many\" for \"-u, --vus\""), "{message}");
    let done = Pod::new(PLAIN).run(&["--vus=0", "--duration=3s"]);
    let (code, message) = done.refusal();
    assert_eq!(code, Some(104));
    assert!(
        message.contains("the number of VUs must be more than 0"),
        "{message}"
    );
}

#[test]
fn extension_that_the_image_lacks_is_named() {
    for script in [
        "import faker from 'k6/x/faker';\nexport default function () {}",
        "'use k6 with k6/x/faker >= 0.4.0';\nimport faker from 'k6/x/faker';\nexport default function () {}",
    ] {
        let began = Instant::now();
        let done = Pod::new(script).run(&[]);
        let (code, message) = done.refusal();
        assert_eq!(code, Some(107));
        let start = format!(
            "the script imports k6/x/faker, which the k6 {} of the image",
            version()
        );
        assert!(
            message.starts_with(&start) && message.contains("set spec.runner.image"),
            "{message}"
        );
        assert_eq!(
            message.contains("K6_AUTO_EXTENSION_RESOLUTION"),
            is_since(1, 2),
            "{message}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "a build service was asked"
        );
    }
}

#[test]
fn script_that_is_not_there_is_named() {
    let pod = Pod::new(PLAIN);
    let missing = pod.path("folder/other.js");
    let done = pod.done(pod.begin(&[], &missing));
    let (code, message) = done.refusal();
    assert_eq!(code, Some(255));
    assert_eq!(
        k6_operator::k6::log::missing_file(message),
        missing.to_str(),
        "{message}"
    );
}

#[test]
fn image_without_k6_is_told() {
    let mut pod = Pod::new(PLAIN);
    pod.k6 = "/nowhere/k6".into();
    let done = pod.run(&[]);
    let (code, message) = done.refusal();
    assert_eq!(code, Some(127));
    assert_eq!(
        message,
        "/nowhere/k6 can't be started: No such file or directory (os error 2)"
    );
}

/// As much of k6 as the program needs.
const FAKE: &str = r#"
case "$1 $2" in
"version "*) echo 'k6 v1.2.0 (go1.24)';;
"inspect "*) echo '{"maxVUs": 4, "totalDuration": "1s"}';;
esac
"#;

#[test]
fn version_is_that_of_the_k6_that_runs_the_script() {
    let fake = format!(
        "{FAKE}[ \"$1\" != archive ] || {{ case \"$*\" in *--verbose*) :;; *) exit 9;; esac; echo \"$K6_AUTO_EXTENSION_RESOLUTION\" >&2
         for v in 1.2.0 1.3.7; do echo \"time=now level=debug msg=\\\"k6 version: v$v (go1.24)\\\"\" >&2; done; }}\n"
    );
    let pod = Pod::with_fake(&fake).with("K6_AUTO_EXTENSION_RESOLUTION", "true");
    let done = pod.run(&[]);
    let (found, inspected) = done.inspection();
    assert_eq!(
        (found.max_vus, inspected.version.as_str(), inspected.resolved),
        (4, "1.3.7", true)
    );
    assert!(done.log.starts_with("true\n"), "{}", done.log);
}

#[test]
fn archive_that_can_not_be_read_may_name_all_tags() {
    let fake = format!("{FAKE}[ \"$1\" != archive ] || rm -f \"$4\"\n");
    let (_, inspected) = Pod::with_fake(&fake).run(&[]).inspection();
    let sure = [
        inspected.names_no_own_tag,
        inspected.reads_no_tags,
        inspected.has_no_groups,
    ];
    assert_eq!(sure, [false; 3]);
}

#[test]
fn endless_log_is_shown_and_takes_no_memory() {
    let fake = format!("{FAKE}[ \"$1\" != archive ] || head -c 50000000 /dev/zero | tr '\\0' 'x' >&2\n");
    let done = Pod::with_fake(&fake).run(&[]);
    assert_eq!(done.log.len(), 50_000_000);
    assert_eq!(done.inspection().0.max_vus, 4);
}

#[test]
fn nothing_is_left_running_when_the_pod_is_told_to_end() {
    let fake =
        format!("{FAKE}[ \"$1\" != archive ] || {{ trap '' TERM; sleep 300 & echo $! $$ > pids; wait; }}\n");
    let pod = Pod::with_fake(&fake);
    let child = pod.begin(&[], &pod.path("test.js"));
    let until = Instant::now() + Duration::from_secs(30);
    let pids = loop {
        let pids = read_to_string(pod.path("pids")).unwrap_or_default();
        if pids.ends_with('\n') {
            break pids;
        }
        assert!(Instant::now() < until, "k6 does not begin");
        std::thread::sleep(Duration::from_millis(20));
    };
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let done = pod.done(child);
    let words = "told to end before k6 had read the script";
    assert_eq!(done.refusal(), (Some(143), words));
    let until = Instant::now() + Duration::from_secs(10);
    for pid in pids.split_whitespace() {
        // One that has ended and that nobody has awaited yet is a zombie.
        let runs = || read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while runs() {
            assert!(Instant::now() < until, "{pid} is left running");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
