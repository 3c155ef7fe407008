//! The pictures of the state machine, drawn from what [`step`] answers: every representative state is given
//! every representative event, so that no picture can say what the machine does not do.
//!
//! `state-diagrams/` holds what is generated here; a test fails when the files are stale.

use super::event::{Event, Former, Record, RunnerFailure, Tally};
use super::state::{Aggregation, Plan, Reason, RunResult, State, StateName, Terms};
use super::step::{Step, step};
use crate::protocol::outcome::Outcome;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A state or an event that stands for all of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<T> {
    /// What tells it from the other samples of the same name; empty if there is but one.
    pub note: &'static str,
    /// The sample.
    pub value: T,
}

fn sample<T>(note: &'static str, value: T) -> Sample<T> {
    Sample { note, value }
}

/// A name with its note.
fn label(name: &str, note: &str) -> String {
    if note.is_empty() {
        name.to_owned()
    } else {
        format!("{name} ({note})")
    }
}

fn terms() -> Terms {
    Terms {
        parallelism: 4,
        initialization_timeout_seconds: 300,
        start_timeout_seconds: 300,
        ..Terms::default()
    }
}

fn plan() -> Plan {
    Plan {
        parallelism: 4,
        max_vus: Some(200),
        total_duration: Some("1m30s".to_owned()),
        thresholds: Some(1),
        deadline_seconds: Some(510),
        stop_seconds: None,
        tags: BTreeMap::new(),
        rps: None,
        warning: None,
        aggregation: None,
        not_aggregated: None,
    }
}

/// One event of each kind; of a kind whose data decides the next state, one of each such case.
pub fn events() -> Vec<Sample<Event>> {
    let failure = RunnerFailure {
        runner: 3,
        exit_code: Some(137),
        reason: Some("OOMKilled".to_owned()),
        message: "the container was killed".to_owned(),
    };
    let start_failed = |released, aborted| Event::StartFailed {
        released,
        aborted,
        message: "The runners were not released".to_owned(),
    };
    vec![
        sample(
            "",
            Event::Accepted {
                generation: 1,
                rerun: None,
                terms: terms(),
            },
        ),
        sample(
            "edited",
            Event::Accepted {
                generation: 2,
                rerun: None,
                terms: terms(),
            },
        ),
        sample(
            "unpaused",
            Event::Accepted {
                generation: 1,
                rerun: None,
                terms: Terms {
                    unpaused: true,
                    ..terms()
                },
            },
        ),
        sample(
            "",
            Event::SpecRejected {
                rerun: None,
                message: "spec.parallelism is 0".to_owned(),
            },
        ),
        sample("", Event::ScriptInspected { plan: plan() }),
        sample(
            "aggregated",
            Event::ScriptInspected {
                plan: Plan {
                    aggregation: Some(Aggregation {
                        output: "opentelemetry".to_owned(),
                        k6_version: "1.4".to_owned(),
                        setup_seconds: Some(60),
                        teardown_seconds: Some(60),
                        system_tags: None,
                        script_metrics: Default::default(),
                    }),
                    ..plan()
                },
            },
        ),
        sample("", Event::InspectionSkipped { plan: plan() }),
        sample(
            "",
            Event::ScriptRejected {
                reason: Reason::ScriptError,
                message: "the script has a syntax error".to_owned(),
            },
        ),
        sample(
            "",
            Event::StartOrdered {
                runners: 4,
                pods: "sha256:0".to_owned(),
            },
        ),
        sample(
            "",
            Event::StartConfirmed {
                runners: 4,
                spread_micros: 1500,
            },
        ),
        sample("", Event::RunnersStarted { runners: 4 }),
        sample("", start_failed(Some(2), false)),
        sample("none released", start_failed(Some(0), false)),
        sample("aborted in setup()", start_failed(Some(0), true)),
        sample("", Event::RunnerLost { failure }),
        sample(
            "",
            Event::RunnersEnded {
                tally: Tally {
                    passed: 4,
                    ..Tally::default()
                },
            },
        ),
        sample(
            "",
            Event::ResultCollected {
                outcome: Outcome::default(),
                unkept: None,
            },
        ),
        sample(
            "",
            Event::CollectionFailed {
                message: "the aggregator did not answer".to_owned(),
            },
        ),
        sample(
            "",
            Event::AggregatorLost {
                message: "OOMKilled".to_owned(),
            },
        ),
        sample("", Event::StopOrdered {}),
        sample("", Event::RunnersStopped { forced: 0 }),
        sample(
            "",
            Event::DeadlinePassed {
                waiting_for: "the cluster to answer".to_owned(),
            },
        ),
        sample(
            "",
            Event::ObjectRefused {
                reason: Reason::NameConflict,
                message: "Job k6-sample-1 is not this run's".to_owned(),
            },
        ),
        sample(
            "",
            Event::RerunOrdered {
                attempt: 2,
                former: Former {
                    result: RunResult::Passed,
                    reason: Reason::AllRunnersPassed,
                    end_time: Timestamp::UNIX_EPOCH,
                    duration: None,
                    message: "4 of 4 runners passed".to_owned(),
                },
            },
        ),
    ]
}

/// The event at a fixed time: nothing here depends on when it is run.
fn at_epoch(event: Event) -> Record {
    Record {
        time: Timestamp::UNIX_EPOCH,
        event,
    }
}

/// One state of each kind, reached by events; of a kind whose data decides the next step, one of each case.
pub fn states() -> Vec<Sample<State>> {
    let kinds: BTreeMap<String, Event> = events()
        .into_iter()
        .map(|event| (label(event.value.name(), event.note), event.value))
        .collect();
    let after = |names: &[&str]| {
        names.iter().fold(State::default(), |state, name| {
            let next = kinds
                .get(*name)
                .map(|event| step(&state, &at_epoch(event.clone())));
            match next {
                Some(Step::Next(next)) => next,
                Some(Step::Unchanged | Step::Refused) | None => state,
            }
        })
    };
    let started = ["Accepted", "ScriptInspected", "StartOrdered", "StartConfirmed"];
    let mut aggregated = started;
    aggregated[1] = "ScriptInspected (aggregated)";
    let but = |last: &'static str| [started.as_slice(), &[last]].concat();
    let and = |last: &[&'static str]| [aggregated.as_slice(), last].concat();
    vec![
        sample("", State::default()),
        sample("accepted", after(&started[..1])),
        sample("", after(&started[..2])),
        sample("unpaused", after(&["Accepted (unpaused)", "ScriptInspected"])),
        sample("", after(&started[..3])),
        sample("", after(&started)),
        sample("aggregated", after(&aggregated[..2])),
        sample("aggregated", after(&aggregated)),
        sample("all ended", after(&and(&["RunnersEnded"]))),
        sample("one lost", after(&but("RunnerLost"))),
        sample("", after(&but("DeadlinePassed"))),
        sample("aggregated", after(&and(&["DeadlinePassed"]))),
        sample("all stopped", after(&and(&["DeadlinePassed", "RunnersStopped"]))),
        sample("", after(&but("RunnersEnded"))),
    ]
}

/// From, to, and the events that lead there, in the order of a run.
fn edges() -> Vec<(StateName, StateName, Vec<String>)> {
    let mut edges: BTreeMap<(StateName, StateName), Vec<String>> = BTreeMap::new();
    for event in events() {
        let name = event.value.name();
        let text = label(name, event.note);
        for state in states() {
            match step(&state.value, &at_epoch(event.value.clone())) {
                Step::Next(next) => {
                    let labels = edges.entry((state.value.name(), next.name())).or_default();
                    // A case of an event that leads where its plain form leads is no news.
                    if !labels.contains(&text) && !labels.iter().any(|label| label == name) {
                        labels.push(text.clone());
                    }
                }
                Step::Unchanged | Step::Refused => {}
            }
        }
    }
    edges.into_iter().map(|((a, b), labels)| (a, b, labels)).collect()
}

/// The files of `state-diagrams/`.
pub fn files() -> [(&'static str, String); 3] {
    [
        ("lifecycle.mmd", mermaid()),
        ("lifecycle.svg", svg()),
        ("table.md", table()),
    ]
}

/// `lifecycle.mmd`: the diagram in Mermaid.
pub fn mermaid() -> String {
    let edges = edges();
    let line = |(from, to, labels): &(StateName, StateName, Vec<String>)| {
        format!("{} --> {} : {}\n", from.as_str(), to.as_str(), labels.join(", "))
    };
    let is_live = |name: StateName| name != StateName::Finished;
    let mut text = String::from(
        "%% Generated from `step` by `make manifests`.\nstateDiagram-v2\n    state Live {\n        [*] --> Initializing\n",
    );
    for edge in edges.iter().filter(|edge| is_live(edge.1)) {
        text.push_str("        ");
        text.push_str(&line(edge));
    }
    text.push_str("    }\n");
    for edge in edges.iter().filter(|edge| !is_live(edge.1)) {
        text.push_str("    ");
        text.push_str(&line(edge));
    }
    text.push_str("    Finished --> [*]\n");
    text
}

/// `table.md`: what every state answers to every event.
pub fn table() -> String {
    let states = states();
    let head = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = String::from(
        "<!-- Generated from `step` by `make manifests`. -->\n\n# Every state and every event\n\n\
         A name is the next state (a state's own name: its data changes). `unchanged`: the event says nothing \
         new. `refused`: the event can't happen in this state, and is never recorded.\n\n",
    );
    let names = states
        .iter()
        .map(|state| label(state.value.name().as_str(), state.note));
    text.push_str(&head(std::iter::once("Event".to_owned()).chain(names).collect()));
    text.push_str(&head(vec!["---".to_owned(); states.len() + 1]));
    for event in events() {
        let answers = states
            .iter()
            .map(|state| match step(&state.value, &at_epoch(event.value.clone())) {
                Step::Next(next) => format!("**{}**", next.name().as_str()),
                Step::Unchanged => "unchanged".to_owned(),
                Step::Refused => "refused".to_owned(),
            });
        let first = label(event.value.name(), event.note);
        text.push_str(&head(std::iter::once(first).chain(answers).collect()));
    }
    text
}

const BOX_WIDTH: i32 = 150;

/// Centre and half height of a state's box.
fn place(state: StateName) -> (i32, i32, i32) {
    match state {
        StateName::Initializing => (170, 180, 28),
        StateName::Created => (470, 180, 28),
        StateName::Starting => (770, 180, 28),
        StateName::Started => (1070, 180, 28),
        StateName::Stopping => (920, 350, 28),
        StateName::Finished => (470, 560, 44),
    }
}

/// What is written under a state's name.
fn subtitle(state: StateName) -> String {
    match state {
        StateName::Initializing => "k6 reads the script".to_owned(),
        StateName::Created => "runners get ready".to_owned(),
        StateName::Starting => "runners are released".to_owned(),
        StateName::Started => "the test runs".to_owned(),
        StateName::Stopping => "runners are stopped".to_owned(),
        StateName::Finished => [
            RunResult::Passed,
            RunResult::Failed,
            RunResult::Aborted,
            RunResult::Error,
        ]
        .map(RunResult::as_str)
        .join(" · "),
    }
}

/// How an edge runs, and where its label stands.
struct Route {
    /// SVG path data.
    path: &'static str,
    /// The first line of the label.
    at: (i32, i32),
    /// `start`, `middle` or `end`.
    anchor: &'static str,
}

/// The routes of the edges that the machine has. An edge that is new gets a straight line until it has one.
fn route(from: StateName, to: StateName) -> Option<Route> {
    use StateName::{Created, Finished, Initializing, Started, Starting, Stopping};
    let routes = [
        (
            Initializing,
            Initializing,
            "M 150 152 C 140 105, 200 105, 190 152",
            (170, 92),
            "middle",
        ),
        (Initializing, Created, "M 245 180 H 395", (320, 148), "middle"),
        (
            Initializing,
            Finished,
            "M 170 208 V 552 Q 170 560 178 560 H 395",
            (180, 300),
            "start",
        ),
        (Created, Starting, "M 545 180 H 695", (620, 170), "middle"),
        (
            Created,
            Started,
            "M 490 152 C 540 95, 960 95, 1015 152",
            (770, 104),
            "middle",
        ),
        (
            Created,
            Stopping,
            "M 520 208 V 342 Q 520 350 528 350 H 845",
            (530, 254),
            "start",
        ),
        (Created, Finished, "M 470 208 V 516", (460, 300), "end"),
        (Starting, Started, "M 845 180 H 995", (920, 170), "middle"),
        (
            Starting,
            Stopping,
            "M 790 208 V 342 Q 790 350 798 350 H 845",
            (800, 254),
            "start",
        ),
        (
            Starting,
            Finished,
            "M 740 208 V 530 Q 740 538 732 538 H 545",
            (730, 430),
            "end",
        ),
        (
            Started,
            Started,
            "M 1050 152 C 1040 105, 1100 105, 1090 152",
            (1070, 92),
            "middle",
        ),
        (
            Started,
            Stopping,
            "M 1050 208 V 342 Q 1050 350 1042 350 H 995",
            (1040, 254),
            "end",
        ),
        (
            Started,
            Finished,
            "M 1100 208 V 574 Q 1100 582 1092 582 H 545",
            (1110, 300),
            "start",
        ),
        (
            Stopping,
            Stopping,
            "M 945 378 C 947 400, 977 400, 975 380",
            (984, 394),
            "start",
        ),
        (
            Stopping,
            Finished,
            "M 920 378 V 552 Q 920 560 912 560 H 545",
            (930, 455),
            "start",
        ),
        (
            Finished,
            Initializing,
            "M 395 545 H 148 Q 140 545 140 537 V 208",
            (130, 470),
            "end",
        ),
    ];
    let found = routes.into_iter().find(|route| (route.0, route.1) == (from, to));
    found.map(|(_, _, path, at, anchor)| Route { path, at, anchor })
}

/// Edges of a run in which nothing goes wrong.
fn is_usual(from: StateName, to: StateName) -> bool {
    use StateName::{Created, Finished, Initializing, Started, Starting};
    [
        (Initializing, Created),
        (Created, Starting),
        (Starting, Started),
        (Started, Finished),
    ]
    .contains(&(from, to))
}

const STYLE: &str = "\
text { font-family: ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2937 }
.title { font-size: 20px; font-weight: 600 }
.note, .event { font-size: 13px; fill: #4b5563 }
.usual-event { font-size: 13px; font-weight: 600; fill: #4338ca }
.name { font-size: 16px; font-weight: 600 }
.sub { font-size: 11.5px; fill: #4b5563 }
.live { fill: #f5f7ff; stroke: #c7d2fe; stroke-width: 1.5; stroke-dasharray: 6 5 }
.state { fill: #ffffff; stroke: #6366f1; stroke-width: 2 }
.usual { fill: none; stroke: #4f46e5; stroke-width: 2.5 }
.edge { fill: none; stroke: #9ca3af; stroke-width: 1.75 }
";

/// `lifecycle.svg`: the diagram, on a card of its own so that it reads on a light and on a dark page.
pub fn svg() -> String {
    let mut out = String::from(
        "<!-- Generated from `step` by `make manifests`. -->\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1260 640\" width=\"1260\" height=\"640\" \
         role=\"img\" aria-label=\"The states of a run and the events between them\">\n",
    );
    out.push_str(&format!("<style>\n{STYLE}</style>\n<defs>\n"));
    for (id, colour) in [("usual-head", "#4f46e5"), ("head", "#9ca3af")] {
        out.push_str(&format!(
            "<marker id=\"{id}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"9\" \
             markerHeight=\"9\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
             <path d=\"M 0 0 L 10 5 L 0 10 z\" fill=\"{colour}\"/></marker>\n"
        ));
    }
    out.push_str(
        "</defs>\n\
         <rect x=\"1\" y=\"1\" width=\"1258\" height=\"638\" rx=\"16\" fill=\"#fdfdff\" stroke=\"#e5e7eb\"/>\n\
         <text class=\"title\" x=\"28\" y=\"40\">The life of a run</text>\n\
         <rect class=\"live\" x=\"64\" y=\"62\" width=\"1168\" height=\"340\" rx=\"14\"/>\n\
         <text class=\"note\" x=\"80\" y=\"84\">Live</text>\n\
         <circle cx=\"34\" cy=\"180\" r=\"8\" fill=\"#1f2937\"/>\n\
         <path class=\"usual\" d=\"M 42 180 H 95\" marker-end=\"url(#usual-head)\"/>\n",
    );
    for (from, to, labels) in edges() {
        out.push_str(&edge(from, to, &labels));
    }
    for state in StateName::ALL {
        out.push_str(&state_box(state));
    }
    out.push_str("</svg>\n");
    out
}

fn edge(from: StateName, to: StateName, labels: &[String]) -> String {
    let (class, head, words) = if is_usual(from, to) {
        ("usual", "usual-head", "usual-event")
    } else {
        ("edge", "head", "event")
    };
    let (path, (x, y), anchor) = match route(from, to) {
        Some(Route { path, at, anchor }) => (path.to_owned(), at, anchor),
        None => {
            let ((x1, y1, _), (x2, y2, _)) = (place(from), place(to));
            let middle = ((x1 + x2) / 2, (y1 + y2) / 2);
            (format!("M {x1} {y1} L {x2} {y2}"), middle, "middle")
        }
    };
    let mut out = format!("<path class=\"{class}\" d=\"{path}\" marker-end=\"url(#{head})\"/>\n");
    // A note stands on a line of its own.
    let lines = labels.iter().flat_map(|label| match label.split_once(" (") {
        Some((name, note)) => vec![name.to_owned(), format!("({note}")],
        None => vec![label.clone()],
    });
    for (line, dy) in lines.zip((0..).step_by(18)) {
        let y = y + dy;
        out.push_str(&format!(
            "<text class=\"{words}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{line}</text>\n"
        ));
    }
    out
}

fn state_box(state: StateName) -> String {
    let (x, y, half) = place(state);
    let rect = |inset: i32| {
        format!(
            "<rect class=\"state\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n",
            x - BOX_WIDTH / 2 + inset,
            y - half + inset,
            BOX_WIDTH - 2 * inset,
            2 * (half - inset)
        )
    };
    let mut out = rect(0);
    let mut subtitle = subtitle(state);
    if state == StateName::Finished {
        out.push_str(&rect(4));
        // The four results stand on two lines.
        if let Some((first, second)) = split_in_half(&subtitle) {
            let y = y + 10;
            out.push_str(&format!(
                "<text class=\"sub\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{first}</text>\n"
            ));
            subtitle = second;
        }
    }
    let (name_y, sub_y) = if state == StateName::Finished {
        (y - 10, y + 26)
    } else {
        (y - 2, y + 16)
    };
    let name = state.as_str();
    out.push_str(&format!(
        "<text class=\"name\" x=\"{x}\" y=\"{name_y}\" text-anchor=\"middle\">{name}</text>\n\
         <text class=\"sub\" x=\"{x}\" y=\"{sub_y}\" text-anchor=\"middle\">{subtitle}</text>\n"
    ));
    out
}

fn split_in_half(text: &str) -> Option<(String, String)> {
    let words: Vec<&str> = text.split(" · ").collect();
    let (first, second) = words.split_at_checked(words.len() / 2)?;
    Some((first.join(" · "), second.join(" · ")))
}
