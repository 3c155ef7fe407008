//! One test on this machine: an aggregator, runners with real k6, and what they ask.

use crate::k6::{k6_binary, unused_address};
use axum::Router;
use axum::extract::Path as At;
use axum::http::StatusCode;
use axum::routing::get;
use k6_operator::aggregate::documents::Documents;
use k6_operator::aggregate::report::RunInfo;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::summary::Options;
use k6_operator::clock::Clock;
use k6_operator::k6::Version;
use k6_operator::k6::export::{arguments, environment, measuring};
use k6_operator::k6::threshold::thresholds;
use k6_operator::objects::segments;
use k6_operator::programs::aggregate::server::{Aggregator, Names, Publication, Publisher};
use k6_operator::programs::runners::{Limits, Target};
use k6_operator::programs::start::start;
use k6_operator::protocol::outcome::Outcome;
use k6_operator::protocol::report::Report;
use k6_operator::protocol::tokens::{AGGREGATOR, RUNNERS_HASH, Tokens};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(60),
    release: Duration::from_secs(20),
    stop: Duration::from_secs(30),
    setup: None,
};

/// The server under load: `/MS/STATUS` answers after so many ms, with a little that differs from time to time, and
/// `/say/WORD` remembers the word.
pub struct Site {
    pub address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Site {
    pub async fn open() -> Self {
        let (said, asked) = (Arc::default(), Arc::default());
        let requests: Arc<Mutex<Vec<Instant>>> = Arc::clone(&asked);
        let answer = move |At((ms, status)): At<(u64, u16)>| {
            let mut requests = requests.lock().unwrap();
            let nth = requests.len() as u64;
            requests.push(Instant::now());
            // From 1 to 8 times as long, the longer the rarer.
            let times = 1.0 + 7.0 * ((nth.wrapping_mul(2_654_435_761) % 1000) as f64 / 1e3).powi(6);
            async move {
                tokio::time::sleep(Duration::from_secs_f64(ms as f64 * times / 1e3)).await;
                (StatusCode::from_u16(status).unwrap(), "hello")
            }
        };
        let words: Arc<Mutex<Vec<String>>> = Arc::clone(&said);
        let say = move |At(word): At<String>| {
            words.lock().unwrap().push(word);
            async { "heard" }
        };
        let routes = Router::new()
            .route("/{ms}/{status}", get(answer))
            .route("/say/{word}", get(say));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        Self {
            address,
            said,
            asked,
            task,
        }
    }

    /// The words, in the order in which they were said.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// When each request came.
    pub fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an aggregator has told of the end, as it was printed; none where it was taken back.
pub type Told = Option<(Outcome, String)>;

/// An aggregator that can be taken away and brought back.
pub struct Service {
    pub address: SocketAddr,
    runners: u32,
    once: bool,
    options: Value,
    folder: tempfile::TempDir,
    up: Option<(Arc<Aggregator>, tokio::runtime::Runtime)>,
    told: Arc<Mutex<Vec<Told>>>,
}

/// Those of all runs here.
pub fn tokens() -> &'static Tokens {
    static TOKENS: OnceLock<Tokens> = OnceLock::new();
    TOKENS.get_or_init(|| Tokens::random().unwrap())
}

/// What a runner shows to the aggregator.
pub fn authorization() -> &'static str {
    static SHOWN: OnceLock<String> = OnceLock::new();
    SHOWN.get_or_init(|| format!("Bearer {}", tokens().aggregator.text()))
}

/// What a runner finds of the tokens, in a folder.
pub fn hand_over(folder: &std::path::Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(AGGREGATOR), tokens().aggregator.text()).unwrap();
    std::fs::write(folder.join(RUNNERS_HASH), tokens().runners.hash().to_string()).unwrap();
}

fn names(options: &Value) -> Names {
    Names {
        token: tokens().aggregator.hash(),
        about: RunInfo {
            name: "load/shop".to_owned(),
            kind: "K6".to_owned(),
            ..RunInfo::default()
        },
        options: Options::of(options),
    }
}

impl Service {
    pub fn open(runners: u32, options: Value) -> Self {
        Self::with(runners, false, options)
    }

    /// Of runners of which the first runs setup() and teardown() for all.
    pub fn with_one_setup(runners: u32, options: Value) -> Self {
        Self::with(runners, true, options)
    }

    fn with(runners: u32, once: bool, options: Value) -> Self {
        let mut service = Self {
            address: unused_address(),
            runners,
            once,
            options,
            folder: tempfile::tempdir().unwrap(),
            up: None,
            told: Arc::default(),
        };
        service.begin();
        service
    }

    /// A new process has none of the memory of the one before, but what that wrote down.
    pub fn begin(&mut self) {
        let session = Session::new(self.runners, self.once, thresholds(&self.options).unwrap());
        let folder = Some(self.folder.path().to_owned());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let told = Arc::clone(&self.told);
        let teller = Publisher::new(move |telling| {
            told.lock().unwrap().push(match telling {
                Publication::Result(outcome, printed) => Some((outcome.clone(), printed.to_owned())),
                Publication::Withdrawn => None,
            });
        });
        let aggregator = Aggregator::new(names(&self.options), session, folder, &Clock::system());
        let aggregator = Arc::new(aggregator.publishing_to(teller));
        // The one before lets go of the address when its runtime has ended.
        let until = Instant::now() + Duration::from_secs(10);
        let socket = loop {
            match std::net::TcpListener::bind(self.address) {
                Ok(socket) => break socket,
                Err(error) => assert!(Instant::now() < until, "{}: {error}", self.address),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        socket.set_nonblocking(true).unwrap();
        let entered = runtime.enter();
        let socket = TcpListener::from_std(socket).unwrap();
        drop(entered);
        let (judging, serving) = (Arc::clone(&aggregator), Arc::clone(&aggregator));
        runtime.spawn(async move { judging.judge().await });
        runtime.spawn(async move { serving.serve(socket).await.unwrap() });
        self.up = Some((aggregator, runtime));
    }

    /// Where it is written down what came.
    pub fn kept(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// What was written down was so long ago.
    pub fn age(&self, ago: Duration) {
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = std::fs::File::options()
                .write(true)
                .open(file.unwrap().path())
                .unwrap();
            file.set_modified(SystemTime::from(Clock::system().now()) - ago)
                .unwrap();
        }
    }

    /// Connections break, and nobody listens.
    pub fn end(&mut self) {
        if let Some((_, runtime)) = self.up.take() {
            runtime.shutdown_background();
        }
    }

    /// What was told of the end, and taken back.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The result, once it is told.
    pub fn result(&self) -> (Outcome, Documents) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(Some((outcome, printed))) = self.told().pop() {
                return (outcome, Documents::parse(&printed).unwrap());
            }
            assert!(Instant::now() < until, "nothing is told");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn aggregator(&self) -> &Aggregator {
        &self.up.as_ref().unwrap().0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runners as their pods have them.
pub struct Runners {
    pub children: Vec<Child>,
    pub targets: Vec<Target>,
    folder: tempfile::TempDir,
}

fn signal(signal: &str, process: &str) {
    let told = Command::new("kill")
        .args(["-s", signal, process])
        .status()
        .unwrap();
    assert!(told.success(), "{process} can't be told {signal}");
}

pub fn process(runner: u32) -> String {
    format!("pod-{runner}")
}

impl Runners {
    pub fn begin(count: u32, script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        let arguments = arguments("experimental-opentelemetry", false);
        Self::with(count, script, site, aggregator, &arguments, &[], &[])
    }

    /// Whose user has these variables in the environment.
    pub fn with_environment(
        count: u32,
        script: &str,
        site: SocketAddr,
        aggregator: SocketAddr,
        variables: &[(&str, &str)],
    ) -> Self {
        let arguments = arguments("experimental-opentelemetry", false);
        Self::with(count, script, site, aggregator, &arguments, variables, &[])
    }

    /// That export over gRPC.
    pub fn with_grpc(count: u32, script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        let arguments = arguments("experimental-opentelemetry", false);
        let address = aggregator.to_string();
        let shown = authorization().replace(' ', "%20");
        let headers = format!("authorization={shown},k6-runner=$RUNNER,k6-process=pod");
        let grpc = [
            ("K6_OTEL_EXPORTER_TYPE", "grpc"),
            ("K6_OTEL_EXPORTER_PROTOCOL", "grpc"),
            ("K6_OTEL_GRPC_EXPORTER_INSECURE", "true"),
            ("K6_OTEL_GRPC_EXPORTER_ENDPOINT", &address),
            ("K6_OTEL_HTTP_EXPORTER_ENDPOINT", "127.0.0.1:1"),
            ("K6_OTEL_HEADERS", &headers),
        ];
        Self::with(count, script, site, aggregator, &arguments, &[], &grpc)
    }

    /// That are told not to sum up, as their user can.
    pub fn that_do_not_sum_up(count: u32, script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        // 2.0 has only the second.
        let flag = if crate::version::version() < Version::new(1, 3, 0) {
            "--no-summary"
        } else {
            "--summary-mode=disabled"
        };
        let mut words = vec![flag.to_owned()];
        words.extend(arguments("experimental-opentelemetry", false));
        words.extend(measuring(crate::version::version(), &words, |_| None));
        Self::with(count, script, site, aggregator, &words, &[], &[])
    }

    /// That are told to log nothing.
    pub fn that_log_nothing(count: u32, script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        let mut words = arguments("experimental-opentelemetry", false);
        words.push("--log-output=none".to_owned());
        Self::with(count, script, site, aggregator, &words, &[], &[])
    }

    /// Of which the first runs setup() and teardown() for all.
    pub fn with_one_setup(count: u32, script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        let arguments = arguments("experimental-opentelemetry", true);
        Self::with(count, script, site, aggregator, &arguments, &[], &[])
    }

    /// One runner, whose k6 judges its thresholds too.
    pub fn with_own_thresholds(script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        Self::with_own_thresholds_and(script, site, aggregator, &[])
    }

    /// The same, with more arguments of k6.
    pub fn with_own_thresholds_and(
        script: &str,
        site: SocketAddr,
        aggregator: SocketAddr,
        more: &[&str],
    ) -> Self {
        let arguments: Vec<_> = arguments("experimental-opentelemetry", false)
            .into_iter()
            .filter(|argument| argument != "--no-thresholds")
            .chain(more.iter().map(|argument| (*argument).to_owned()))
            .collect();
        let of_user = [("METRICS", "te,ce,ge,re,errors,retries,depth,kept,lag")];
        Self::with(1, script, site, aggregator, &arguments, &of_user, &[])
    }

    /// With these arguments of the user, which end as those of a run do: one of them calls handleSummary().
    pub fn that_sum_up(
        count: u32,
        script: &str,
        site: SocketAddr,
        aggregator: SocketAddr,
        more: &[&str],
    ) -> Self {
        let mut words = arguments("experimental-opentelemetry", false);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        Self::with(count, script, site, aggregator, &words, &[("SUMS", "yes")], &[])
    }

    /// The same, of an archive of the script.
    pub fn of_archive(count: u32, script: &str, site: SocketAddr, aggregator: SocketAddr) -> Self {
        let words = arguments("experimental-opentelemetry", false);
        let of_user = [("SUMS", "yes"), ("ARCHIVED", "yes")];
        Self::with(count, script, site, aggregator, &words, &of_user, &[])
    }

    fn with(
        count: u32,
        script: &str,
        site: SocketAddr,
        aggregator: SocketAddr,
        arguments: &[String],
        of_user: &[(&str, &str)],
        of_k6: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut path = folder.path().join("script.js");
        std::fs::write(&path, script).unwrap();
        std::fs::write(folder.path().join("beside.txt"), "beside").unwrap();
        let proto = "syntax = \"proto3\";\nmessage Empty {}\n";
        std::fs::write(folder.path().join("hello.proto"), proto).unwrap();
        if of_user.contains(&("ARCHIVED", "yes")) {
            let archive = folder.path().join("script.tar");
            let mut k6 = Command::new(k6_binary());
            let k6 = k6
                .args(["archive", "-e", "WORD=archived", "-O"])
                .arg(&archive)
                .arg(&path);
            let made = k6.output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            for file in [
                &path,
                &folder.path().join("beside.txt"),
                &folder.path().join("hello.proto"),
            ] {
                std::fs::remove_file(file).unwrap();
            }
            path = archive;
        }
        let mut runners = Self {
            children: Vec::new(),
            targets: Vec::new(),
            folder,
        };
        let metrics = of_user.iter().find(|(name, _)| *name == "METRICS");
        for runner in 1..=count {
            let (api, address) = (unused_address(), unused_address());
            let handed_over = runners.folder.path().join(format!("tokens-{runner}"));
            hand_over(&handed_over);
            let mut command = Command::new(env!("CARGO_BIN_EXE_k6-operator"));
            command
                .args(["linger", &format!("--aggregator={aggregator}")])
                .arg(format!("--tokens={}", handed_over.display()))
                .arg(format!("--listen={address}"))
                .args([
                    format!("--runner={runner}"),
                    format!("--process={}", process(runner)),
                ])
                .arg(format!("--api={api}"))
                .args(
                    of_user
                        .contains(&("SUMS", "yes"))
                        .then(|| format!("--script={}", path.display())),
                )
                .args(metrics.map(|(_, names)| format!("--script-metrics={names}")))
                .args(["--k6-version", &crate::version::version().to_string()])
                .args(["--", "env"])
                .args(of_k6.iter().map(|(name, value)| {
                    let value = value.replace("$RUNNER", &runner.to_string());
                    format!(
                        "{name}={}",
                        value.replace("=pod", &format!("={}", process(runner)))
                    )
                }))
                .arg(k6_binary())
                .args(["run", "--quiet", "--no-usage-report", "--paused"]);
            if count > 1 {
                command.arg(format!(
                    "--execution-segment={}",
                    segments::segment(runner, count)
                ));
                command.arg(format!(
                    "--execution-segment-sequence={}",
                    segments::sequence(count)
                ));
            }
            command
                .args(["--tag".to_owned(), format!("instance_id={runner}")])
                .args(["--tag", "testrun_name=truth"])
                .arg(format!("--out=json={}", runners.samples(runner).display()))
                .args(arguments)
                .arg(&path)
                .envs(of_user.iter().copied())
                .envs(environment(crate::version::version()))
                .env("SITE", format!("http://{site}"))
                .env("RUNNER", runner.to_string())
                .stdin(Stdio::null())
                .stdout(std::fs::File::create(runners.log(runner)).unwrap())
                .stderr(std::fs::File::create(runners.errors(runner)).unwrap());
            runners.children.push(command.spawn().unwrap());
            runners.targets.push(Target { runner, address });
        }
        runners
    }

    /// Where a runner's k6 writes all its samples.
    pub fn samples(&self, runner: u32) -> PathBuf {
        self.folder.path().join(format!("{runner}.json"))
    }

    /// What stands in a pod's log beside that.
    pub fn errors(&self, runner: u32) -> PathBuf {
        self.folder.path().join(format!("{runner}.errors"))
    }

    pub fn log(&self, runner: u32) -> PathBuf {
        self.folder.path().join(format!("{runner}.log"))
    }

    pub async fn release(&self) {
        let report = start(&self.targets, &LIMITS, Some(&tokens().runners)).await;
        assert!(report.complete(), "{:?}", report.failures);
    }

    /// After setup() has run once.
    pub async fn set_up_and_release(&self) -> Report {
        let limits = Limits {
            setup: Some(Duration::from_secs(60)),
            ..LIMITS
        };
        start(&self.targets, &limits, Some(&tokens().runners)).await
    }

    /// Kills a runner's k6, as the kernel does that takes what uses most of a pod's memory.
    pub fn kill_k6(&self, runner: u32) {
        let k6 = self.k6_of(runner);
        signal("KILL", &k6);
    }

    /// Kills a runner with its k6, as the kernel does that takes all of a container.
    pub fn kill(&mut self, runner: u32) {
        let k6 = self.k6_of(runner);
        // First that which would tell of the end of the other.
        self.children[runner as usize - 1].kill().unwrap();
        signal("KILL", &k6);
    }

    fn k6_of(&self, runner: u32) -> String {
        let parent = self.children[runner as usize - 1].id().to_string();
        let found = Command::new("pgrep").args(["-P", &parent]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    }

    /// Their exit codes; None of one that a signal ended.
    pub async fn end(&mut self) -> Vec<Option<i32>> {
        let until = Instant::now() + Duration::from_secs(120);
        let mut codes = Vec::new();
        for child in &mut self.children {
            codes.push(loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status.code();
                }
                assert!(Instant::now() < until, "a runner does not end");
                tokio::time::sleep(Duration::from_millis(50)).await;
            });
        }
        codes
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        for child in &mut self.children {
            if child.try_wait().is_ok_and(|ended| ended.is_none()) {
                let _ = Command::new("pkill")
                    .args(["-KILL", "-P", &child.id().to_string()])
                    .status();
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
