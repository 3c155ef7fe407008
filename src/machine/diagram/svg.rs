//! The diagram as an SVG.

use super::edges;
use crate::machine::state::RunResult;
use crate::machine::state::StateName::{self, Created, Finished, Initializing, Started, Starting, Stopping};

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
    from: StateName,
    to: StateName,
    /// SVG path data.
    path: &'static str,
    /// The first line of the label.
    at: (i32, i32),
    /// `start`, `middle` or `end`.
    anchor: &'static str,
}

const fn route(
    from: StateName,
    to: StateName,
    path: &'static str,
    at: (i32, i32),
    anchor: &'static str,
) -> Route {
    Route {
        from,
        to,
        path,
        at,
        anchor,
    }
}

/// The routes of the edges that the machine has. An edge that is new gets a straight line until it has one.
const ROUTES: [Route; 16] = [
    route(
        Initializing,
        Initializing,
        "M 150 152 C 140 105, 200 105, 190 152",
        (170, 92),
        "middle",
    ),
    route(Initializing, Created, "M 245 180 H 395", (320, 148), "middle"),
    route(
        Initializing,
        Finished,
        "M 170 208 V 552 Q 170 560 178 560 H 395",
        (180, 300),
        "start",
    ),
    route(Created, Starting, "M 545 180 H 695", (620, 170), "middle"),
    route(
        Created,
        Started,
        "M 490 152 C 540 95, 960 95, 1015 152",
        (770, 104),
        "middle",
    ),
    route(
        Created,
        Stopping,
        "M 520 208 V 342 Q 520 350 528 350 H 845",
        (530, 254),
        "start",
    ),
    route(Created, Finished, "M 470 208 V 516", (460, 300), "end"),
    route(Starting, Started, "M 845 180 H 995", (920, 170), "middle"),
    route(
        Starting,
        Stopping,
        "M 790 208 V 342 Q 790 350 798 350 H 845",
        (800, 254),
        "start",
    ),
    route(
        Starting,
        Finished,
        "M 740 208 V 530 Q 740 538 732 538 H 545",
        (730, 430),
        "end",
    ),
    route(
        Started,
        Started,
        "M 1050 152 C 1040 105, 1100 105, 1090 152",
        (1070, 92),
        "middle",
    ),
    route(
        Started,
        Stopping,
        "M 1050 208 V 342 Q 1050 350 1042 350 H 995",
        (1040, 254),
        "end",
    ),
    route(
        Started,
        Finished,
        "M 1100 208 V 574 Q 1100 582 1092 582 H 545",
        (1110, 300),
        "start",
    ),
    route(
        Stopping,
        Stopping,
        "M 945 378 C 947 400, 977 400, 975 380",
        (984, 394),
        "start",
    ),
    route(
        Stopping,
        Finished,
        "M 920 378 V 552 Q 920 560 912 560 H 545",
        (930, 455),
        "start",
    ),
    route(
        Finished,
        Initializing,
        "M 395 545 H 148 Q 140 545 140 537 V 208",
        (130, 470),
        "end",
    ),
];

/// Edges of a run in which nothing goes wrong.
fn is_usual(from: StateName, to: StateName) -> bool {
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
    let found = ROUTES.iter().find(|route| (route.from, route.to) == (from, to));
    let (path, (x, y), anchor) = match found {
        Some(route) => (route.path.to_owned(), route.at, route.anchor),
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
