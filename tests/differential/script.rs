//! The scripts, and what their first lines say of them.

use std::path::{Path, PathBuf};

/// A script of `scripts/`. Its first lines may be:
///
/// ```text
/// // arguments: --rps 10            as spec.arguments has them
/// // environment: WORD=a OTHER=b    of all its k6
/// // k6: 1.5                        the first version that can run it
/// // before: 2.0                    the first version that can't
/// // verdict: Error ScriptError     in place of the reason that the exit code of one k6 says
/// // runners: Error ParallelismTooHigh   what one k6 does, the operator does not do with three runners
/// // counts within: 3               of runners that end at another moment
/// // any times                      they end so early that no duration can be compared
/// // in place: no paper             its handleSummary() fails with this, and a text is printed in its place
/// ```
#[derive(Debug)]
pub struct Script {
    pub name: String,
    pub text: String,
    pub arguments: String,
    pub environment: Vec<(String, String)>,
    pub verdict: Option<(String, String)>,
    pub runners: Option<(String, String)>,
    pub counts_within: f64,
    pub any_times: bool,
    pub in_place: Option<String>,
    from: (u32, u32),
    before: (u32, u32),
}

impl Script {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut script = Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            arguments: String::new(),
            environment: Vec::new(),
            verdict: None,
            runners: None,
            counts_within: 0.0,
            any_times: false,
            in_place: None,
            from: (0, 0),
            before: (u32::MAX, 0),
            text: String::new(),
        };
        for line in text.lines() {
            let Some(line) = line.strip_prefix("// ") else {
                break;
            };
            let (key, value) = line.split_once(": ").unwrap_or((line, ""));
            match key {
                "arguments" => script.arguments = value.to_owned(),
                "environment" => {
                    let pairs = value.split_whitespace().map(|pair| pair.split_once('=').unwrap());
                    script.environment = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
                }
                "k6" => script.from = version(value),
                "before" => script.before = version(value),
                "verdict" => script.verdict = Some(two(value)),
                "runners" => script.runners = Some(two(value)),
                "counts within" => script.counts_within = value.parse().unwrap(),
                "any times" => script.any_times = true,
                "in place" => script.in_place = Some(value.to_owned()),
                other => panic!("{}: what is {other:?}?", script.name),
            }
        }
        script.text = text;
        script
    }

    pub fn runs_with(&self, version: (u32, u32)) -> bool {
        (self.from..self.before).contains(&version)
    }

    /// Whether it has a handleSummary() of its own.
    pub fn sums_up(&self) -> bool {
        self.text.contains("function handleSummary")
    }

    /// The script with a handleSummary() that prints what it is given, unless it has one.
    pub fn that_tells(&self) -> String {
        if self.sums_up() {
            return self.text.clone();
        }
        format!(
            "{}\nexport function handleSummary(data) {{ return {{ stdout: \"DATA\" + JSON.stringify(data) + \"\\n\" }}; \
             }}\n",
            self.text
        )
    }
}

fn two(words: &str) -> (String, String) {
    let (result, reason) = words.split_once(' ').unwrap();
    (result.to_owned(), reason.to_owned())
}

/// Of `1.5`, or of what `k6 version` prints.
pub fn version(text: &str) -> (u32, u32) {
    let text = text.split_once(" v").map_or(text, |(_, version)| version);
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap())
}

/// All of them, in the order of their names.
pub fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/scripts");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "js"))
        .collect();
    files.sort();
    files.iter().map(|file| Script::read(file)).collect()
}
