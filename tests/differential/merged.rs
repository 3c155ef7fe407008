//! A script run as the operator runs it: by the Jobs that it makes for three runners.

use crate::jobs::Pod;
use crate::script::Script;
use crate::single::data_of;
use crate::site::Site;
use crate::{Came, InPlace};
use k6_operator::aggregate::documents::Documents;
use k6_operator::api::{Kind, Spec};
use k6_operator::clock::Clock;
use k6_operator::k6::exit_code::SCRIPT_ABORTED;
use k6_operator::k6::log::last_words;
use k6_operator::machine::{
    End, Fact, Initializer, Inspection, Observed, ObservedPod, Program, ProgramSource, Record, Run, Runner,
    State, Target,
};
use k6_operator::objects::{self, Common, Defaults, Owner, ValidatedRun};
use k6_operator::protocol::inspected::Inspected;
use k6_operator::protocol::outcome::Told;
use k6_operator::protocol::report::Report;
use k6_operator::protocol::tokens::Tokens;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::sleep;

const RUNNERS: u32 = 3;

/// The containers of the Jobs in which what is looked for happens.
const PROGRAM: &str = objects::PROGRAM_CONTAINER;

/// One run, and what is known of it.
struct Play {
    run: Run,
    seen: Observed,
    clock: Clock,
}

impl Play {
    /// Lets the state machine take note of all that has happened.
    fn go_on(&mut self) {
        loop {
            let now = self.clock.now();
            let Some(event) = self.run.next(&self.seen, now) else {
                return;
            };
            let record = Record { time: now, event };
            self.run = self
                .run
                .after(&record)
                .unwrap_or_else(|| panic!("{record:?} is refused in {:?}", self.run.state));
        }
    }

    fn came(&self, data: Option<Value>) -> Came {
        let State::Finished(finished) = &self.run.state else {
            panic!("it has no end: {:?}", self.run.state);
        };
        Came {
            result: finished.verdict.result.as_str(),
            reason: finished.verdict.reason.as_str(),
            message: finished.verdict.message.clone(),
            is_started: self.run.started.is_some(),
            data,
            in_place: None,
        }
    }
}

/// Addresses that nobody else has: each runner listens on the same port, as in a pod.
struct Network {
    process: u8,
    run: u8,
}

impl Network {
    fn new() -> Self {
        static RUNS: AtomicU8 = AtomicU8::new(1);
        Self {
            process: 64 + u8::try_from(std::process::id() % 190).unwrap(),
            run: RUNS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn ip(&self, host: u32) -> String {
        format!("127.{}.{}.{host}", self.process, self.run)
    }

    fn aggregator(&self) -> String {
        format!("{}:4318", self.ip(200))
    }
}

/// The runners' processes; what is left of them is ended with this.
struct Running(Vec<Child>);

impl Running {
    fn signal(&self, signal: &str) {
        for child in &self.0 {
            if let Some(process) = child.id() {
                let process = process.to_string();
                for sent in [
                    Command::new("pkill")
                        .args([&format!("-{signal}"), "-P", &process])
                        .status(),
                    Command::new("kill").args(["-s", signal, &process]).status(),
                ] {
                    let _it_may_have_ended = sent;
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

fn spec(script: &Script, path: &Path, site: &Site) -> Spec {
    let site = ("SITE".to_owned(), format!("http://{}", site.address));
    let environment = script.environment.iter().cloned().chain([site]);
    let environment: Vec<Value> = environment
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let spec = json!({
        "parallelism": RUNNERS, "script": {"localFile": path}, "quiet": "true",
        "runner": {"env": environment}
    });
    let mut spec: Spec = serde_json::from_value(spec).unwrap();
    spec.arguments.clone_from(&script.arguments);
    spec
}

/// What the initializer leaves.
async fn inspected(pod: &Pod) -> Initializer {
    let containers = pod.containers();
    for container in &containers {
        let code = pod.run(container).await;
        if container == objects::INSPECT && code == Some(SCRIPT_ABORTED.into()) {
            return Initializer::Aborted(last_words(&pod.message(container)));
        }
        if code != Some(0) {
            return Initializer::Failed(last_words(&pod.log(container)));
        }
    }
    let inspection = Inspection::parse(&pod.log(objects::INSPECT));
    let inspected = Inspected::from_message(&pod.message(objects::INSPECT)).unwrap();
    Initializer::Succeeded(inspection.map(|inspection| inspection.by(&inspected)))
}

fn ready(i: u32, ip: &str) -> Runner {
    Runner {
        pod: Some(ObservedPod {
            uid: format!("uid-{i}"),
            ip: Some(ip.to_owned()),
            ready: true,
            waiting: None,
        }),
        ..Runner::default()
    }
}

async fn listens(address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < until, "nobody listens at {address}");
        sleep(Duration::from_millis(50)).await;
    }
}

pub async fn run(script: &Script, site: &Site) -> Came {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.js");
    std::fs::write(&path, script.that_tells()).unwrap();
    let spec = spec(script, &path, site);
    let owner = Owner {
        kind: Kind::K6,
        name: "differential".to_owned(),
        namespace: "load".to_owned(),
        uid: "d1ff".to_owned(),
        generation: 1,
        attempt: 1,
    };
    let defaults = Defaults {
        runner_image: "k6".to_owned(),
        starter_image: "k6-operator".to_owned(),
        common: Common::default(),
    };
    let checked = objects::validate(&spec, &defaults).unwrap();
    let mut play = Play {
        run: Run::default(),
        seen: Observed {
            script: Fact::Known(Ok(())),
            initializer: Fact::Absent,
            runners: Fact::Known([].into()),
            starter: Fact::Absent,
            stopper: Fact::Absent,
            aggregator: Fact::Absent,
            result: Fact::Absent,
            ..Observed::unknown(1, Ok(checked.terms.clone()))
        },
        clock: Clock::system(),
    };
    play.go_on();
    sleep(Duration::from_millis(2)).await;

    let mut run = ValidatedRun {
        owner,
        spec: checked,
        plan: None,
    };
    let initializer = objects::initializer(&run, ProgramSource::Copied);
    let initializer = Pod::of("initializer", initializer, folder.path());
    let found = inspected(&initializer).await;
    let mut options = String::new();
    if let Initializer::Succeeded(Ok(inspection)) = &found {
        options.clone_from(&inspection.options);
    }
    play.seen.initializer = Fact::Known(found);
    play.go_on();
    let State::Created(created) = &play.run.state else {
        return play.came(None);
    };
    let plan = created.plan.clone();
    assert!(plan.aggregation.is_some(), "it is merged");
    run.plan = Some(plan.clone());

    let network = Network::new();
    let at = network.aggregator();
    let secret = objects::tokens(&run.owner, &Tokens::random().unwrap());
    let job = objects::aggregator(&run, &options);
    let aggregator = Pod::of("aggregator", job, folder.path())
        .mounting(&secret)
        .listening(&at);
    let containers = aggregator.containers();
    let _aggregates = aggregator.begin(&containers[0]);
    listens(&at).await;
    play.seen.aggregator = Fact::Known(ready(0, &network.ip(200)));

    let pods: Vec<Pod> = (1..=RUNNERS)
        .map(|i| {
            let job = objects::runner(&run, (i, RUNNERS), Some(&at));
            let name = ["first", "second", "third"][i as usize - 1];
            let (address, api) = (network.ip(i), format!("{}:16565", network.ip(i)));
            let uid = ("K6_OPERATOR_POD_UID".to_owned(), format!("uid-{i}"));
            Pod::of(name, job, folder.path())
                .mounting(&secret)
                .with([uid])
                .replacing("--listen=[::]:", &format!("--listen={address}:"))
                .asking(&api)
        })
        .collect();
    let mut running = Running(pods.iter().map(|pod| pod.begin(objects::RUNNER)).collect());
    let all = (1..=RUNNERS).map(|i| (i, ready(i, &network.ip(i))));
    play.seen.runners = Fact::Known(all.collect());
    play.go_on();
    assert!(
        matches!(play.run.state, State::Starting(_)),
        "{:?}",
        play.run.state
    );

    let targets: Vec<Target> = (1..=RUNNERS)
        .map(|runner| Target {
            runner,
            ip: network.ip(runner),
        })
        .collect();
    let starter = objects::starter(&run, &targets);
    let starter = Pod::of("starter", starter, folder.path()).mounting(&secret);
    starter.run(PROGRAM).await;
    play.seen.starter = Fact::Known(match Report::from_message(&starter.message(PROGRAM)) {
        Ok(report) => Program::Reported(report),
        Err(_) => Program::Failed(last_words(&starter.log(PROGRAM))),
    });
    play.go_on();
    if let State::Finished(_) = play.run.state {
        // None was released: the operator deletes them.
        return play.came(None);
    }
    if let State::Stopping(_) = play.run.state {
        let stopper = objects::stopper(&run, &targets);
        let stopper = Pod::of("stopper", stopper, folder.path()).mounting(&secret);
        stopper.run(PROGRAM).await;
    }

    for (i, (pod, child)) in (1..).zip(pods.iter().zip(&mut running.0)) {
        let code = child.wait().await.unwrap().code();
        let end = End {
            code,
            reason: None,
            message: last_words(&pod.log(objects::RUNNER)),
        };
        let runner = Runner {
            end: Some(end),
            ..ready(i, &network.ip(i))
        };
        if let Fact::Known(runners) = &mut play.seen.runners {
            runners.insert(i, runner);
        }
    }
    play.go_on();

    let collects = play.run.state.awaits_result().is_some();
    if !collects {
        return play.came(None);
    }
    let until = Instant::now() + Duration::from_secs(60);
    let (outcome, documents) = loop {
        let log = aggregator.log(&containers[0]);
        if let (Told::Final(outcome), Some(documents)) = (Told::of(&log), Documents::parse(&log)) {
            break (outcome, documents);
        }
        assert!(Instant::now() < until, "the aggregator tells nothing: {log}");
        sleep(Duration::from_millis(100)).await;
    };
    play.seen.result = Fact::Known(Box::new(outcome));
    play.seen.summary = Fact::Known(());
    play.go_on();
    // What is kept has no tokens that setup() returned.
    let kept: Value = serde_json::from_str(&documents.data).unwrap();
    assert_eq!(kept.get("setup_data"), None);
    // What handleSummary() was given has them.
    let given = pods.iter().find_map(|pod| data_of(&pod.log(objects::RUNNER)));
    let mut came = play.came(Some(given.unwrap_or(kept)));
    came.in_place = documents.error.map(|error| InPlace {
        text: documents.text,
        error,
    });
    came
}
