//! The world outside of the operators: one queue of what happens next, in virtual time.
//!
//! Everything that happens is an [`Event`] at a millisecond. Of two in the same millisecond a hash decides, so
//! that no order depends on how the operator's futures are polled.

use super::api::{self, Answer, Request, Verb};
use super::cluster::{Pod, Step};
use super::faults::{Fault, OnRequest, Plan, When};
use super::process::Switch;
use super::recorder::Recorder;
use super::rng::{Rng, hash};
use super::scenario::{NAMESPACE, Operators, Scenario};
use super::store::{Change, Key, Refused, Store, Table, text, uid};
use super::watch::Watches;
use jiff::Timestamp;
use k6_operator::machine::StateName;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// When the simulation begins: midnight of some day.
const BEGINNING: i64 = 1_780_000_000_000;

/// The moment that is so many ms after the beginning.
pub fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(BEGINNING.saturating_add(ms)).unwrap_or_default()
}

/// What an operator gets back.
#[derive(Debug)]
pub enum Reply {
    Answer(u16, Arc<Value>),
    Text(u16, String),
    /// A watch, by its number.
    Stream(u64),
    /// The connection broke.
    Broken,
}

/// The longest log, in bytes, that an operator may read beside others.
const SHORT_LOG: u64 = 256 * 1024;

/// A request under way.
#[derive(Debug)]
pub struct Call {
    pub operator: usize,
    /// Which process of this operator, so that none gets what another asked for.
    pub process: u32,
    pub request: Result<Request, Refused>,
    pub reply: oneshot::Sender<Reply>,
    /// Whether it was late already.
    pub late: bool,
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    Arrive(Box<Call>),
    Reply(oneshot::Sender<Reply>, Reply),
    Deliver(u64),
    EndWatch(u64),
    Cluster(Step),
    Fault(usize),
    /// What a fault did is over.
    Over(usize),
    Restart(usize),
    Thaw(usize),
    /// The scenario's test is made.
    Apply(usize),
}

/// One operator, over its restarts.
#[derive(Debug)]
pub struct Operator {
    pub switch: Arc<Switch>,
    pub process: u32,
    pub alive: bool,
    /// Requests that change something, but for leases.
    pub writes: u64,
    /// Requests that change nothing, but for leases.
    pub reads: u64,
    /// Added to its clock, in ms.
    pub clock: i64,
}

/// What was recorded of a simulation.
#[derive(Debug)]
pub struct Trace {
    pub lines: Vec<String>,
    pub hash: u64,
}

/// All of it.
#[derive(Debug)]
pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub store: Store,
    pub scenario: Scenario,
    pub plan: Plan,
    pub watches: Watches,
    pub operators: Vec<Operator>,
    pub recorder: Recorder,
    pub trace: Trace,
    pub pods: BTreeMap<String, Pod>,
    /// Which pod has an address.
    pub addresses: BTreeMap<String, String>,
    /// When an address was given up last.
    pub free_since: BTreeMap<String, u64>,
    /// UIDs of owners that wait for what they own to go.
    pub foreground: BTreeSet<String>,
    /// Faults of requests that have happened, which happen once.
    pub spent: BTreeSet<usize>,
    /// How often a pod of a Job had to be made again, and whether one is about to be.
    pub retries: BTreeMap<String, (u32, bool)>,
    /// How often a pod of a Job was denied.
    pub denials: BTreeMap<String, u32>,
    /// Of which runners each aggregator's pod has the metrics, by UID.
    pub heard: BTreeMap<String, BTreeSet<u32>>,
    /// Until when anything is out of order.
    pub disturbed: u64,
    /// How much longer than by its deadlines a run may take, in ms.
    pub slack: u64,
    /// The beginning by the runtime's clock.
    pub began: Option<Instant>,
    /// Operators that are to be started by whoever runs this.
    pub to_start: Vec<usize>,
    /// Replies that never come.
    silent: Vec<oneshot::Sender<Reply>>,
    /// How many long logs each process of an operator has asked for, and until when the last of them is on its way.
    pub long_logs: BTreeMap<(usize, u32), (u64, u64)>,
    seen_states: BTreeSet<(usize, StateName)>,
    counts: BTreeMap<u64, u64>,
    queue: BTreeMap<(u64, u64, u64), Event>,
    sequence: u64,
}

/// The world, shared with the operators' clients.
#[derive(Clone, Debug)]
pub struct Shared(pub Arc<(Mutex<World>, Notify)>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request.
    pub fn send(&self, call: Call) {
        self.lock().send(call);
        self.0.1.notify_one();
    }
}

impl World {
    pub fn new(seed: u64, scenario: Scenario, plan: Plan) -> Self {
        let operators = match scenario.operators {
            Operators::One => 1,
            Operators::Two | Operators::Leased => 2,
        };
        let operator = |_| Operator {
            switch: Arc::default(),
            process: 0,
            alive: false,
            writes: 0,
            reads: 0,
            clock: 0,
        };
        let mut world = Self {
            rng: Rng(seed),
            now: 0,
            store: Store::default(),
            watches: Watches::default(),
            operators: (0..operators).map(operator).collect(),
            recorder: Recorder::new(scenario.operators),
            trace: Trace {
                lines: Vec::new(),
                hash: 0xcbf2_9ce4_8422_2325,
            },
            pods: BTreeMap::new(),
            addresses: BTreeMap::new(),
            free_since: BTreeMap::new(),
            foreground: BTreeSet::new(),
            spent: BTreeSet::new(),
            retries: BTreeMap::new(),
            denials: BTreeMap::new(),
            heard: BTreeMap::new(),
            disturbed: 0,
            slack: 0,
            began: None,
            to_start: Vec::new(),
            silent: Vec::new(),
            long_logs: BTreeMap::new(),
            seen_states: BTreeSet::new(),
            counts: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            scenario,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let names: Vec<String> = self.scenario.tests.iter().map(|test| test.script()).collect();
        for name in names {
            let script = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"test.js": "export default function () {}"}
            });
            self.create(&Key::new(Table::ConfigMaps, NAMESPACE, &name), script);
        }
        for operator in 0..self.operators.len() {
            let at = self.rng.between("begin", operator as u64, 0, 1_500);
            self.after(at, "restart", Event::Restart(operator));
        }
        let times: Vec<u64> = self.scenario.tests.iter().map(|test| test.at).collect();
        for (test, at) in times.into_iter().enumerate() {
            self.after(at, "apply", Event::Apply(test));
        }
        let faults = self.plan.0.clone();
        for (index, fault) in faults.into_iter().enumerate() {
            if let Some(When::At(at)) = fault_time(&fault) {
                self.after(at, "fault", Event::Fault(index));
            }
            if let Fault::Outage { until, .. } = fault {
                self.disturbed = self.disturbed.max(until);
            }
        }
    }

    pub fn time(&self) -> Timestamp {
        moment(i64::try_from(self.now).unwrap_or_default())
    }

    /// A line of the trace.
    pub fn note(&mut self, line: &str) {
        self.trace.hash = hash(self.trace.hash ^ self.now, line.as_bytes());
        self.trace
            .lines
            .push(format!("{:>9.3} {line}", self.now as f64 / 1e3));
    }

    /// Queues what happens so many ms from now.
    pub fn after(&mut self, ms: u64, what: &str, event: Event) {
        self.sequence += 1;
        let order = self.rng.number(what, self.now);
        self.queue.insert((self.now + ms, order, self.sequence), event);
    }

    /// The n-th number from `low` to `high` for this purpose.
    pub fn draw(&mut self, what: &str, low: u64, high: u64) -> u64 {
        let count = self.counts.entry(hash(0, what.as_bytes())).or_default();
        *count += 1;
        self.rng.between(what, *count, low, high)
    }

    /// When the next event is.
    pub fn next(&self) -> Option<u64> {
        self.queue.keys().next().map(|(at, ..)| *at)
    }

    /// Lets the next event happen, if it is time.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(entry) = self.queue.first_entry() else {
            return false;
        };
        if entry.key().0 > until {
            return false;
        }
        let ((at, ..), event) = entry.remove_entry();
        self.now = at;
        match event {
            Event::Arrive(call) => self.arrive(*call),
            Event::Reply(to, reply) => {
                // Whoever asked may be gone.
                let _ = to.send(reply);
            }
            Event::Deliver(watch) => self.deliver(watch),
            Event::EndWatch(watch) => self.end_watch(watch),
            Event::Cluster(step) => self.cluster(step),
            Event::Fault(index) => self.inject(index),
            Event::Over(index) => self.over(index),
            Event::Restart(operator) => self.to_start.push(operator),
            Event::Thaw(operator) => {
                self.note(&format!("operator {operator} goes on"));
                if let Some(operator) = self.operators.get(operator) {
                    operator.switch.thaw();
                }
            }
            Event::Apply(test) => self.apply(test),
        }
        true
    }

    /// A user makes a resource.
    pub fn apply(&mut self, index: usize) {
        let Some(test) = self.scenario.tests.get(index).cloned() else {
            return;
        };
        let table = test.table();
        let mut object = test.manifest();
        if let Value::Object(fields) = &mut object {
            fields.insert("apiVersion".to_owned(), json!(table.api_version()));
            fields.insert("kind".to_owned(), json!(table.kind()));
        }
        self.disturbed = self.disturbed.max(self.now);
        let key = Key::new(table, NAMESPACE, test.name);
        self.create(&key, object);
        if let (Some(status), Some(made)) = (&test.left, self.store.get(&key).cloned()) {
            let mut left = (*made).clone();
            left["status"] = status.clone();
            let _ = self.store.replace_status(&key, &left);
        }
    }

    /// A process of an operator is killed.
    pub fn kill(&mut self, operator: usize, down: u64) {
        let Some(state) = self.operators.get_mut(operator).filter(|state| state.alive) else {
            return;
        };
        state.alive = false;
        state.switch.kill();
        self.note(&format!("operator {operator} is killed"));
        self.watches.drop_of(operator);
        self.disturbed = self.disturbed.max(self.now + down);
        self.after(down, "restart", Event::Restart(operator));
    }

    fn send(&mut self, call: Call) {
        let elapsed = self.began.map(|began| began.elapsed().as_millis());
        let now = elapsed.and_then(|ms| u64::try_from(ms).ok());
        self.now = self.now.max(now.unwrap_or_default());
        let what = match &call.request {
            Ok(request) => format!(
                "{} {} {:?} {:?} {}",
                call.operator,
                call.process,
                request.verb,
                request.table,
                named(request)
            ),
            Err(refused) => refused.message.clone(),
        };
        let delay = self.draw(&what, 1, 4);
        self.after(delay, &what, Event::Arrive(Box::new(call)));
    }

    /// What is to happen to a request, if it is to be anything but an answer.
    fn misfortune(&mut self, call: &Call, request: &Request) -> Option<OnRequest> {
        if call.late {
            return None;
        }
        let counts = request.table != Table::Leases;
        let (writes, reads) = (
            counts && request.verb.is_write(),
            counts && !request.verb.is_write(),
        );
        let (nth_write, nth_read) = self.operators.get_mut(call.operator).map_or((0, 0), |operator| {
            operator.writes += u64::from(writes);
            operator.reads += u64::from(reads);
            (operator.writes, operator.reads)
        });
        let now = self.now;
        let mut found = None;
        for (index, fault) in self.plan.0.iter().enumerate() {
            let (hits, once, what) = match *fault {
                Fault::Write { operator, nth, what } => (
                    writes && operator == call.operator && nth == nth_write,
                    true,
                    what,
                ),
                Fault::Read { operator, nth, what } => {
                    (reads && operator == call.operator && nth == nth_read, true, what)
                }
                Fault::Request {
                    operator,
                    when,
                    verb,
                    what,
                } => {
                    let fits = verb.is_none_or(|verb| verb == request.verb);
                    (operator == call.operator && now >= when && fits, true, what)
                }
                Fault::Outage {
                    operator,
                    from,
                    until,
                    what,
                } => (
                    operator == call.operator && (from..until).contains(&now),
                    false,
                    what,
                ),
                Fault::Watch { .. }
                | Fault::Compacted { .. }
                | Fault::Crash { .. }
                | Fault::Freeze { .. }
                | Fault::Clock { .. }
                | Fault::Pod { .. }
                | Fault::Injection { .. }
                | Fault::Hand { .. }
                | Fault::Refused { .. } => continue,
            };
            if hits && !(once && self.spent.contains(&index)) {
                if once {
                    self.spent.insert(index);
                }
                found = Some(what);
                break;
            }
        }
        if found.is_some() {
            // Until a client gives a silent request up, and a little for what it does then.
            self.disturbed = self.disturbed.max(now + 20_000);
        }
        found
    }

    fn arrive(&mut self, call: Call) {
        let request = match &call.request {
            Ok(request) => request.clone(),
            Err(refused) => {
                self.note(&format!("operator {}: {}", call.operator, refused.message));
                let reply = Reply::Answer(refused.code, Arc::new(refused.status()));
                return self.respond(call, "bad", reply);
            }
        };
        let what = format!(
            "operator {} {:?} {:?} {}",
            call.operator,
            request.verb,
            request.table,
            named(&request)
        );
        let misfortune = self.misfortune(&call, &request);
        self.covered(misfortune.map(super::covered::of_request), None);
        match misfortune {
            None => {
                let reply = self.perform(&call, &request, &what);
                self.respond(call, &what, reply);
            }
            Some(OnRequest::CrashBefore) => {
                self.note(&format!("{what}: killed before"));
                self.kill(call.operator, 1_000);
            }
            Some(OnRequest::CrashAfter) => {
                self.perform(&call, &request, &what);
                self.kill(call.operator, 1_000);
            }
            Some(OnRequest::RequestLost { silent }) => {
                self.note(&format!("{what}: lost"));
                self.lose(call, &what, silent);
            }
            Some(OnRequest::ReplyLost { silent }) => {
                self.perform(&call, &request, &what);
                self.note("and the reply is lost");
                self.lose(call, &what, silent);
            }
            Some(OnRequest::Late(ms)) => {
                self.note(&format!("{what}: late by {ms} ms"));
                self.disturbed = self.disturbed.max(self.now + ms + 20_000);
                let call = Call { late: true, ..call };
                self.after(ms, &what, Event::Arrive(Box::new(call)));
            }
            Some(OnRequest::Answered(code)) => {
                self.note(&format!("{what}: answered {code}"));
                let reason = match code {
                    409 => "Conflict",
                    429 => "TooManyRequests",
                    503 => "ServiceUnavailable",
                    _ => "InternalError",
                };
                let refused = Refused::new(code, reason, "as the plan of faults has it");
                self.respond(call, &what, Reply::Answer(code, Arc::new(refused.status())));
            }
        }
    }

    fn lose(&mut self, call: Call, what: &str, silent: bool) {
        if silent {
            self.silent.push(call.reply);
        } else {
            self.respond(call, what, Reply::Broken);
        }
    }

    fn respond(&mut self, call: Call, what: &str, reply: Reply) {
        let delay = self.draw(what, 1, 3);
        let delay = self.long_log(&call, delay);
        self.after(delay, what, Event::Reply(call.reply, reply));
    }

    /// An operator reads one long log at a time. Returns how long this answer takes, whatever it is to.
    fn long_log(&mut self, call: &Call, delay: u64) -> u64 {
        let is_long = |request: &Request| request.verb == Verb::Log && request.query.limit_bytes > SHORT_LOG;
        if !call.request.as_ref().is_ok_and(is_long) {
            return delay;
        }
        let delay = delay + self.scenario.long_log_takes;
        let (count, until) = self.long_logs.entry((call.operator, call.process)).or_default();
        *count += 1;
        if *until > self.now {
            let broken = format!("operator {} reads two long logs at once", call.operator);
            self.recorder.broken.push(broken);
        }
        *until = self.now + delay;
        delay
    }

    /// Carries a request out, as the API server does.
    fn perform(&mut self, call: &Call, request: &Request, what: &str) -> Reply {
        match request.verb {
            Verb::Watch => {
                self.note(&format!("{what} since {}", request.query.version));
                return Reply::Stream(self.open(call.operator, call.process, request));
            }
            Verb::Log => {
                let reply = self.log_of(&request.name, request.query.tail);
                self.note(what);
                return reply;
            }
            Verb::Get
            | Verb::List
            | Verb::Create
            | Verb::Replace
            | Verb::ReplaceStatus
            | Verb::Patch
            | Verb::Delete => {}
        }
        if let Some(refused) = self.admission(request) {
            self.note(&format!("{what}: {}", refused.message));
            return Reply::Answer(refused.code, Arc::new(refused.status()));
        }
        let before = self.store.get(&request.key()).cloned();
        let from = self.store.version();
        let now = self.time();
        let Answer { code, body, deletion } = api::answer(&mut self.store, request, now);
        // What comes and goes with a lease is not worth a line, and events have names of their own.
        let told = if code < 300 {
            let state = text(&body, "/status/state");
            let state =
                Some(state).filter(|_| request.verb == Verb::ReplaceStatus && request.table.is_test());
            format!("{what}: {code} {}", state.unwrap_or_default())
                .trim_end()
                .to_owned()
        } else {
            format!("{what}: {code} {}", text(&body, "/message"))
        };
        self.note(&told);
        let by = u32::try_from(call.operator).unwrap_or_default() * 1000 + call.process;
        if self.scenario.operators == Operators::Leased && !call.late {
            let lease = self.store.get(&Key::new(Table::Leases, "system", "k6-operator"));
            let leader = lease
                .map_or("", |lease| text(lease, "/spec/holderIdentity"))
                .to_owned();
            let me = format!("operator-{}-{}", call.operator, call.process);
            self.recorder.led(by, request, leader.is_empty() || leader == me);
        }
        self.recorder.request(by, request, before.as_deref(), code, &body);
        self.follow(from);
        if let Some((key, deletion)) = deletion {
            self.going(&key, deletion);
        }
        self.told();
        Reply::Answer(code, body)
    }

    /// Whether a webhook or a quota refuses it, or etcd.
    fn admission(&self, request: &Request) -> Option<Refused> {
        let refuses = |(index, fault): (usize, &Fault)| {
            matches!(fault, Fault::Refused { table, .. } if *table == request.table)
                && self.spent.contains(&index)
        };
        let found = self.plan.0.iter().enumerate().any(refuses);
        if found && request.verb == Verb::ReplaceStatus && request.table.is_test() {
            let message = "etcdserver: request is too large".to_owned();
            return Some(Refused::new(500, "InternalError", message));
        }
        let refused = found && request.verb == Verb::Create;
        refused.then(|| {
            Refused::new(
                403,
                "Forbidden",
                format!(
                    "{} \"{}\" is forbidden: exceeded quota: few",
                    request.table.qualified(),
                    request.key().name
                ),
            )
        })
    }

    /// Makes an object, as a user or a controller does.
    pub fn create(&mut self, key: &Key, object: Value) -> Option<Arc<Value>> {
        let from = self.store.version();
        let now = self.time();
        let made = self.store.create(key, object, now);
        self.note(&match &made {
            Ok(_) => format!("made: {:?} {}", key.table, key.name),
            Err(refused) => format!("not made: {}", refused.message),
        });
        self.follow(from);
        made.ok()
    }

    /// Changes an object, as a user or a controller does.
    pub fn mutate(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let from = self.store.version();
        self.store.mutate(key, change);
        self.follow(from);
    }

    /// Replaces an object, as a user does.
    pub fn replaced(&mut self, key: &Key, object: Value) {
        let from = self.store.version();
        if let Err(refused) = self.store.replace(key, object) {
            self.note(&refused.message);
        }
        self.follow(from);
    }

    /// Removes an object at once.
    pub fn remove(&mut self, key: &Key) {
        let from = self.store.version();
        if self.store.remove(key).is_some() {
            self.note(&format!("gone: {:?} {}", key.table, key.name));
        }
        self.follow(from);
    }

    /// Lets the cluster and the watches know what changed.
    fn follow(&mut self, from: u64) {
        let changes: Vec<Change> = self
            .store
            .since(from)
            .map(|changes| changes.cloned().collect())
            .unwrap_or_default();
        for change in changes {
            self.notify(&change);
            self.react(&change);
        }
    }

    /// Faults that wait for a state which has just been told for the first time.
    fn told(&mut self) {
        for test in 0..self.scenario.tests.len() {
            let Some(state) = self.state_of(test) else {
                continue;
            };
            if !self.seen_states.insert((test, state)) {
                continue;
            }
            let faults = self.plan.0.clone();
            for (index, fault) in faults.iter().enumerate() {
                match fault_time(fault) {
                    Some(When::In(of, at, later)) if of == test && at == state => {
                        self.after(later, "fault", Event::Fault(index));
                    }
                    Some(When::In(..) | When::At(_)) | None => {}
                }
            }
        }
    }

    /// The object of a test.
    pub fn object(&self, test: usize) -> Option<&Arc<Value>> {
        let test = self.scenario.tests.get(test)?;
        self.store.get(&Key::new(test.table(), NAMESPACE, test.name))
    }

    /// The state that is told of a test.
    pub fn state_of(&self, test: usize) -> Option<StateName> {
        let told = text(self.object(test)?, "/status/state");
        StateName::ALL.into_iter().find(|state| state.as_str() == told)
    }

    /// The test of this name.
    pub fn test_of(&self, name: &str) -> Option<usize> {
        self.scenario.tests.iter().position(|test| test.name == name)
    }

    /// Who has this UID now.
    pub fn is_there(&self, of_uid: &str) -> bool {
        self.store.everything().any(|(_, object)| uid(object) == of_uid)
    }
}

/// When a fault strikes by itself.
pub fn fault_time(fault: &Fault) -> Option<When> {
    match fault {
        Fault::Write { .. }
        | Fault::Read { .. }
        | Fault::Request { .. }
        | Fault::Outage { .. }
        | Fault::Pod { .. } => None,
        Fault::Watch { when, .. }
        | Fault::Compacted { when }
        | Fault::Crash { when, .. }
        | Fault::Freeze { when, .. }
        | Fault::Clock { when, .. }
        | Fault::Injection { when, .. }
        | Fault::Hand { when, .. }
        | Fault::Refused { when, .. } => Some(*when),
    }
}

/// The object's name; that of an Event has the time of the real clock in it.
fn named(request: &Request) -> String {
    match request.table {
        // Its own name has a time of the machine's clock in it.
        Table::Events => format!(
            "({} of {})",
            text(&request.body, "/reason"),
            text(&request.body, "/regarding/name")
        ),
        Table::K6s
        | Table::TestRuns
        | Table::Jobs
        | Table::Pods
        | Table::ConfigMaps
        | Table::Secrets
        | Table::Services
        | Table::CoreEvents
        | Table::Leases => format!("{}{}", request.key().name, request.query.labels),
    }
}
