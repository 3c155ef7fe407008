//! What users ask for and how their scripts behave, before anything goes wrong.

use jiff::SignedDuration;
use serde_json::{Value, json};
use std::fmt;

/// The namespace of all resources here.
pub const NAMESPACE: &str = "load";

/// How a runner's k6 ends by itself, once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(i32),
    /// Killed for its memory.
    OutOfMemory,
    /// Never.
    Hangs,
    /// Before it waits: the script fails in its init code.
    Early(i32),
}

/// What k6 inspect does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// It says what the script needs.
    Well,
    /// It refuses the script.
    Badly,
    /// It never ends.
    Hangs,
}

/// Where the script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    ConfigMap,
    /// The ConfigMap is not there.
    Missing,
    Inline,
    LocalFile,
    /// An archive in the image.
    Archive,
}

/// One resource.
#[derive(Clone, Debug)]
pub struct Test {
    pub name: &'static str,
    pub test_run: bool,
    pub runners: u32,
    pub source: Source,
    pub paused: bool,
    pub inspects: bool,
    pub inspected: Inspected,
    /// How long each runner runs, in ms, and how it ends.
    pub endings: Vec<(u64, Ending)>,
    /// Whether a runner that is told to stop takes longer than it may.
    pub stubborn: bool,
    pub cleanup: Option<&'static str>,
    pub ttl: Option<u64>,
    pub suspended: bool,
    /// k6 says its version, which can export what it measures.
    pub aggregated: bool,
    /// Thresholds of the script.
    pub thresholds: u32,
    /// How many of them are crossed over all runners.
    pub crossed: u32,
    /// Whether the script's handleSummary() never ends.
    pub summary_hangs: bool,
    /// The aggregator is that of operator 0.1: it waits to be asked for the result, which nobody does any more.
    pub waits_to_be_asked: bool,
    /// The status that it is found with, of another operator or edited by hand.
    pub left: Option<Value>,
    /// When it is made, in ms.
    pub at: u64,
}

/// How long initialization and start may take, in seconds; the run may take [`RUN_TIMEOUT`].
pub const TIMEOUT: u64 = 60;
/// How long a run may take, in seconds.
pub const RUN_TIMEOUT: u64 = 120;

impl Test {
    /// A test of which nothing is out of the ordinary.
    pub fn plain(name: &'static str, runners: u32) -> Self {
        Self {
            name,
            test_run: false,
            runners,
            source: Source::ConfigMap,
            paused: true,
            inspects: true,
            inspected: Inspected::Well,
            endings: vec![(20_000, Ending::Code(0)); runners as usize],
            stubborn: false,
            cleanup: None,
            ttl: None,
            suspended: false,
            aggregated: false,
            thresholds: 1,
            crossed: 0,
            summary_hangs: false,
            waits_to_be_asked: false,
            left: None,
            at: 100,
        }
    }

    /// The name of the ConfigMap with its script. Each test has one of its own, so that it is known who reads it.
    pub fn script(&self) -> String {
        format!("script-{}", self.name)
    }

    /// The manifest.
    pub fn manifest(&self) -> Value {
        let script = match self.source {
            Source::ConfigMap => json!({"configMap": {"name": self.script()}}),
            Source::Missing => json!({"configMap": {"name": "nowhere"}}),
            Source::Inline => json!({"inline": "export default function () {}"}),
            Source::LocalFile => json!({"localFile": "/scripts/test.js"}),
            Source::Archive => json!({"localFile": "/scripts/test.tar"}),
        };
        let mut spec = json!({
            "parallelism": self.runners,
            "script": script,
            "timeouts": {
                "initialization": format!("{TIMEOUT}s"), "start": format!("{TIMEOUT}s"),
                "run": format!("{RUN_TIMEOUT}s")
            }
        });
        let mut set = |field: &str, value: Value| {
            if let Value::Object(spec) = &mut spec {
                spec.insert(field.to_owned(), value);
            }
        };
        if !self.paused {
            set("paused", json!("false"));
        }
        if !self.inspects {
            set("initializer", json!({"disabled": true}));
        }
        if let Some(cleanup) = self.cleanup {
            set("cleanup", json!(cleanup));
        }
        if let Some(ttl) = self.ttl {
            set("ttlSecondsAfterFinished", json!(ttl));
        }
        if self.suspended {
            set("suspend", json!(true));
        }
        json!({"metadata": {"name": self.name, "namespace": NAMESPACE}, "spec": spec})
    }
}

/// Which operators there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operators {
    /// One, which needs no lease.
    One,
    /// Two that both act, as when somebody runs a second by mistake.
    Two,
    /// Two with a lease.
    Leased,
}

/// All that users ask for.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub tests: Vec<Test>,
    pub operators: Operators,
    /// How many addresses there are for the pods of runners.
    pub addresses: u64,
    /// How much longer than another answer a long log takes, in ms.
    pub long_log_takes: u64,
    /// How long the Jobs of a Finished run are kept.
    pub keep_jobs: Option<SignedDuration>,
}

impl Scenario {
    /// One plain test and one operator.
    pub fn plain(runners: u32) -> Self {
        Self {
            tests: vec![Test::plain("a", runners)],
            operators: Operators::One,
            addresses: u64::from(runners) + 2,
            long_log_takes: 0,
            keep_jobs: None,
        }
    }

    /// The same, of which the metrics are merged, and so many of two thresholds crossed.
    pub fn merged(runners: u32, crossed: u32) -> Self {
        let mut scenario = Self::plain(runners);
        for test in &mut scenario.tests {
            test.aggregated = true;
            test.thresholds = 2;
            test.crossed = crossed;
        }
        scenario
    }

    /// Draws one.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let count = if rng.u8(..3) == 0 { 2 } else { 1 };
        let tests: Vec<Test> = ["a", "b"]
            .into_iter()
            .take(count)
            .map(|name| test(rng, name))
            .collect();
        let runners: u32 = tests.iter().map(|test| test.runners).sum();
        Self {
            operators: match rng.u8(..10) {
                0 => Operators::Two,
                1 | 2 => Operators::Leased,
                _ => Operators::One,
            },
            addresses: u64::from(runners) + rng.u64(0..3),
            tests,
            // Drawn aside, so that what a seed has drawn since before stays the same.
            long_log_takes: 0,
            keep_jobs: {
                let mut aside = rng.clone();
                (aside.u8(..8) == 0).then(|| SignedDuration::from_secs(aside.u32(0..30).into()))
            },
        }
    }
}

fn test(rng: &mut fastrand::Rng, name: &'static str) -> Test {
    let runners = rng.u32(1..=4);
    let ending = |rng: &mut fastrand::Rng| {
        let how = match rng.u8(..24) {
            0 => Ending::Code(99),
            1 => Ending::Code(108),
            2 => Ending::Code(137),
            3 => Ending::OutOfMemory,
            4 => Ending::Hangs,
            5 => Ending::Early(107),
            _ => Ending::Code(0),
        };
        (rng.u64(1_000..40_000), how)
    };
    let thresholds = rng.u32(0..=2);
    let rarely = |rng: &mut fastrand::Rng| rng.u8(..12) == 0;
    Test {
        name,
        test_run: rng.bool(),
        runners,
        source: match rng.u8(..12) {
            0 => Source::Missing,
            1..=3 => Source::Inline,
            4 => Source::LocalFile,
            5 => Source::Archive,
            _ => Source::ConfigMap,
        },
        paused: !rarely(rng),
        inspects: !rarely(rng),
        inspected: match rng.u8(..24) {
            0 => Inspected::Badly,
            1 => Inspected::Hangs,
            _ => Inspected::Well,
        },
        endings: (0..runners).map(|_| ending(rng)).collect(),
        stubborn: rarely(rng),
        cleanup: rarely(rng).then_some(if rng.bool() { "post" } else { "onSuccess" }),
        ttl: rarely(rng).then(|| rng.u64(0..60)),
        suspended: rarely(rng),
        aggregated: rng.bool(),
        thresholds,
        crossed: if rng.u8(..3) == 0 {
            rng.u32(0..=thresholds)
        } else {
            0
        },
        summary_hangs: rarely(rng),
        waits_to_be_asked: false,
        left: None,
        at: rng.u64(0..3_000),
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operators: {:?}, {} addresses", self.operators, self.addresses)?;
        for test in &self.tests {
            writeln!(f, "{test:?}")?;
        }
        Ok(())
    }
}
