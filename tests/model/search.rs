//! Breadth-first search over all states of a model, and what it says of them.
//!
//! It is ours and not stateright's, which brings a web server and whose `eventually` overlooks runs that go in a
//! circle.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// States, and the actions that lead from one to the next.
pub trait Model {
    type State: Clone + Eq + Hash;
    type Action: Clone + Debug;

    fn initial(&self) -> Self::State;

    /// All that can happen in this state, always in the same order.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;

    /// The state after it, or the invariant that it breaks.
    fn next(&self, state: &Self::State, action: &Self::Action) -> Result<Self::State, String>;

    /// Whether it happens by itself sooner or later: neither a fault nor a person's doing.
    fn is_fair(&self, state: &Self::State, action: &Self::Action) -> bool;

    /// Whether all is done, and stays so. From every state such a one must be reachable by fair actions.
    fn is_settled(&self, state: &Self::State) -> bool;

    /// For the reader of a counterexample.
    fn describe(&self, state: &Self::State) -> String;
}

/// How much was explored.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    pub states: usize,
    pub transitions: usize,
    /// The longest of the shortest paths to a state.
    pub depth: usize,
    pub settled: usize,
    pub time: Duration,
    /// The search ended at its limit: what lies deeper was not seen, and liveness not checked.
    pub limited: bool,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.limited {
            ", and no further: bounded"
        } else {
            ""
        };
        write!(
            f,
            "{} states, {} transitions, depth {}, {} settled, in {:.1} s{bound}",
            grouped(self.states),
            grouped(self.transitions),
            self.depth,
            grouped(self.settled),
            self.time.as_secs_f64()
        )
    }
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A shortest path to a state that should not be.
#[derive(Clone, Debug)]
pub struct Counterexample {
    pub how: String,
    pub states: usize,
    /// Each action, and the state after it.
    pub steps: Vec<(String, String)>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.how)?;
        writeln!(
            f,
            "after {} states; the shortest way there:",
            grouped(self.states)
        )?;
        for (number, (action, state)) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}. {action}", number + 1)?;
            for line in state.lines() {
                writeln!(f, "       {line}")?;
            }
        }
        Ok(())
    }
}

/// Explores all states, or the first `limit` of them.
pub fn explore<M: Model>(model: &M, limit: usize) -> Result<Explored, Counterexample> {
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut frontier = VecDeque::new();
    let mut origins = vec![Origin::default()];
    let mut depth = 0;
    let mut transitions = 0;
    let mut settled = Vec::new();
    let mut fair = Edges::default();
    let mut limited = false;

    let first = model.initial();
    seen.insert(&first);
    frontier.push_back((first, 0));
    let mut index = 0;
    while let Some((state, level)) = frontier.pop_front() {
        depth = level;
        settled.push(model.is_settled(&state));
        for (number, action) in model.actions(&state).iter().enumerate() {
            let next = match model.next(&state, action) {
                Ok(next) => next,
                Err(how) => {
                    let mut steps = path(model, &origins, index);
                    steps.push((format!("{action:?}"), String::new()));
                    return Err(Counterexample {
                        how,
                        states: origins.len(),
                        steps,
                    });
                }
            };
            transitions += 1;
            let (target, is_new) = seen.insert(&next);
            if is_new {
                origins.push(Origin {
                    parent: small(index),
                    action: small(number),
                });
                if origins.len() > limit {
                    limited = true;
                } else {
                    frontier.push_back((next, level + 1));
                }
            }
            if model.is_fair(&state, action) {
                fair.targets.push(target);
            }
        }
        fair.ends.push(fair.targets.len());
        index += 1;
        if limited {
            break;
        }
    }
    if !limited && let Some(stuck) = first_that_cannot_reach(&settled, &fair) {
        return Err(Counterexample {
            how: "Stuck: from here no end is reached, whatever happens by itself".to_owned(),
            states: origins.len(),
            steps: path(model, &origins, stuck),
        });
    }
    Ok(Explored {
        states: origins.len(),
        transitions,
        depth,
        settled: settled.iter().filter(|settled| **settled).count(),
        time: began.elapsed(),
        limited,
    })
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}

/// How a state was reached first: from which, and by which of its actions.
#[derive(Clone, Copy, Default)]
struct Origin {
    parent: u32,
    action: u32,
}

fn path<M: Model>(model: &M, origins: &[Origin], to: usize) -> Vec<(String, String)> {
    let mut numbers = Vec::new();
    let mut at = to;
    while at != 0 {
        numbers.push(origins[at].action as usize);
        at = origins[at].parent as usize;
    }
    let mut state = model.initial();
    let mut steps = Vec::new();
    for number in numbers.into_iter().rev() {
        let action = model.actions(&state)[number].clone();
        state = model.next(&state, &action).unwrap();
        steps.push((format!("{action:?}"), model.describe(&state)));
    }
    steps
}

/// The targets of each state's fair actions, one state after the other.
#[derive(Default)]
struct Edges {
    targets: Vec<u32>,
    ends: Vec<usize>,
}

impl Edges {
    fn of(&self, state: usize) -> &[u32] {
        let from = state.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.targets[from..self.ends[state]]
    }
}

/// Most states lie before what they lead to: a few passes from the last to the first find all that can.
fn first_that_cannot_reach(goal: &[bool], edges: &Edges) -> Option<usize> {
    let mut can = goal.to_vec();
    loop {
        let mut changed = false;
        for state in (0..can.len()).rev() {
            if !can[state] && edges.of(state).iter().any(|target| can[*target as usize]) {
                can[state] = true;
                changed = true;
            }
        }
        if !changed {
            return can.iter().position(|can| !can);
        }
    }
}

/// The states that were seen, by a fingerprint of 128 bits: among a hundred million, two that differ have the
/// same one with a chance of less than 1 in 10^22.
#[derive(Default)]
struct Seen {
    /// By their number.
    prints: Vec<u128>,
    /// A hash table with open addressing: the number of the state plus one, or zero.
    slots: Vec<u32>,
}

impl Seen {
    /// The number of the state, and whether it is new.
    fn insert<T: Hash>(&mut self, state: &T) -> (u32, bool) {
        if self.slots.len() < (self.prints.len() + 1) * 2 {
            self.grow();
        }
        let mut hasher = Fingerprint::default();
        state.hash(&mut hasher);
        let print = hasher.print();
        let slot = self.slot(print);
        match self.slots[slot].checked_sub(1) {
            Some(number) => (number, false),
            None => {
                let number = small(self.prints.len());
                self.prints.push(print);
                self.slots[slot] = number + 1;
                (number, true)
            }
        }
    }

    /// Where this fingerprint is, or belongs.
    fn slot(&self, print: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = print as usize & mask;
        while let Some(number) = self.slots[slot].checked_sub(1)
            && self.prints[number as usize] != print
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![0; (self.slots.len() * 2).max(1 << 12)];
        for number in 0..self.prints.len() {
            let slot = self.slot(self.prints[number]);
            self.slots[slot] = small(number) + 1;
        }
    }
}

/// Two independent lanes, mixed by multiplication.
struct Fingerprint(u64, u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

impl Fingerprint {
    fn mix(&mut self, word: u64) {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product as u64) ^ ((product >> 64) as u64)
        };
        self.0 = fold(self.0 ^ word, 0x9e37_79b9_7f4a_7c15).wrapping_add(self.0.rotate_left(23));
        self.1 = fold(self.1 ^ word, 0xd6e8_feb8_6659_fd93).wrapping_add(self.1.rotate_left(41));
    }

    fn print(mut self) -> u128 {
        self.mix(0x1234_5678_9abc_def1);
        self.mix(0x0fed_cba9_8765_4321);
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

mod tests {
    use super::{Model, explore};

    /// A counter that goes up to three; at two it may fall into a circle, or break.
    struct Counter {
        circle: bool,
        breaks: bool,
    }

    impl Model for Counter {
        type State = u8;
        type Action = u8;

        fn initial(&self) -> u8 {
            0
        }

        fn actions(&self, state: &u8) -> Vec<u8> {
            match state {
                2 if self.circle => vec![3, 10],
                3 => vec![],
                10 => vec![11],
                11 => vec![10],
                state => vec![state + 1],
            }
        }

        fn next(&self, _: &u8, to: &u8) -> Result<u8, String> {
            if self.breaks && *to == 3 {
                Err("three".to_owned())
            } else {
                Ok(*to)
            }
        }

        fn is_fair(&self, _: &u8, _: &u8) -> bool {
            true
        }

        fn is_settled(&self, state: &u8) -> bool {
            *state == 3
        }

        fn describe(&self, state: &u8) -> String {
            state.to_string()
        }
    }

    #[test]
    fn every_state_is_seen_once() {
        let explored = explore(
            &Counter {
                circle: false,
                breaks: false,
            },
            100,
        )
        .unwrap();
        assert_eq!((explored.states, explored.depth, explored.settled), (4, 3, 1));
    }

    #[test]
    fn a_circle_without_an_end_is_found() {
        let stuck = explore(
            &Counter {
                circle: true,
                breaks: false,
            },
            100,
        )
        .unwrap_err();
        let actions: Vec<&str> = stuck.steps.iter().map(|(action, _)| action.as_str()).collect();
        assert!(stuck.how.starts_with("Stuck"), "{stuck}");
        assert_eq!(actions, ["1", "2", "10"]);
    }

    #[test]
    fn what_breaks_is_told_with_the_way_there() {
        let broken = explore(
            &Counter {
                circle: false,
                breaks: true,
            },
            100,
        )
        .unwrap_err();
        assert_eq!((broken.how.as_str(), broken.steps.len()), ("three", 3));
    }

    #[test]
    fn a_search_that_ends_at_its_limit_says_so() {
        let explored = explore(
            &Counter {
                circle: true,
                breaks: false,
            },
            2,
        )
        .unwrap();
        assert!(explored.limited && explored.to_string().contains("bounded"));
    }
}
