//! Every order of what two candidates for one Lease can do, over the real `decide`: time passes between any two
//! steps, replies are lost, candidates are killed, and somebody deletes the Lease. One that starts just after the
//! deletion is left out: it can't know that there was a Lease, and leads at once, as on the day of installation.

use k6_operator::operator::leadership::{DURATION, Decision, Found, RENEWED_WITHIN, decide};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Time passes in steps of so many seconds, a common divisor of the two limits.
const STEP: u64 = 5;

/// Ages are told apart up to here, which is longer than both.
const OLDEST: u8 = 5;

const NAMES: [&str; 2] = ["a", "b"];

/// What of the design is in place.
#[derive(Clone, Copy)]
struct Design {
    renewed_within: Duration,
    compare_and_swap: bool,
    waits_after_a_deletion: bool,
}

const REAL: Design = Design {
    renewed_within: RENEWED_WITHIN,
    compare_and_swap: true,
    waits_after_a_deletion: true,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lease {
    version: u8,
    holder: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Between two attempts.
    Rests,
    /// It sent its request so long ago.
    Asks(u8),
    /// It read this, and will write.
    Writes { asked: u8, read: Option<Lease> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    step: Step,
    /// The version it saw last, and for how long it has been that.
    seen: Option<(Option<u8>, u8)>,
    known: bool,
    /// For how long it may act.
    open: u8,
}

const NEW: Candidate = Candidate {
    step: Step::Rests,
    seen: None,
    known: false,
    open: 0,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    lease: Option<Lease>,
    candidates: [Candidate; 2],
    kills: u8,
    deletions: u8,
    /// Versions that have been given out, as far as they can still be compared with.
    versions: u8,
}

const START: World = World {
    lease: None,
    candidates: [NEW, NEW],
    kills: 0,
    deletions: 0,
    versions: 0,
};

fn older(age: u8) -> u8 {
    (age + 1).min(OLDEST)
}

fn time_passes(mut world: World) -> World {
    for candidate in &mut world.candidates {
        candidate.open = candidate.open.saturating_sub(1);
        if let Some((_, age)) = &mut candidate.seen {
            *age = older(*age);
        }
        match &mut candidate.step {
            Step::Rests => {}
            Step::Asks(asked) | Step::Writes { asked, .. } => *asked = older(*asked),
        }
    }
    world
}

fn ticks(time: Duration) -> u8 {
    u8::try_from(time.as_secs() / STEP).unwrap()
}

/// The answer to its question has come: as `Candidate::attempt` goes on.
fn answered(design: Design, mut world: World, who: usize, asked: u8) -> World {
    let lease = world.lease;
    let candidate = &mut world.candidates[who];
    let version = lease.map(|lease| lease.version);
    let age = match candidate.seen {
        Some((seen, age)) if seen == version => age,
        Some(_) | None => 0,
    };
    candidate.seen = Some((version, age));
    let found = match lease {
        Some(Lease { holder, .. }) => Found::Held(holder.map_or("", |holder| NAMES[holder])),
        None if candidate.known && design.waits_after_a_deletion => Found::Deleted,
        None => Found::Never,
    };
    candidate.known |= lease.is_some();
    let unchanged = Duration::from_secs(u64::from(age) * STEP);
    candidate.step = match decide(found, NAMES[who], candidate.open > 0, unchanged) {
        Decision::Wait => Step::Rests,
        Decision::Create | Decision::Take | Decision::Renew => Step::Writes { asked, read: lease },
    };
    world
}

/// Its write arrives; whether its reply does is another matter.
fn written(
    design: Design,
    mut world: World,
    who: usize,
    asked: u8,
    read: Option<Lease>,
    replied: bool,
) -> World {
    let same = world.lease.map(|lease| lease.version) == read.map(|lease| lease.version);
    world.candidates[who].step = Step::Rests;
    if !same && design.compare_and_swap {
        return world;
    }
    world.versions += 1;
    world.lease = Some(Lease {
        version: world.versions,
        holder: Some(who),
    });
    if replied {
        world.candidates[who].open = ticks(design.renewed_within).saturating_sub(asked);
    }
    world
}

fn next(design: Design, world: World) -> Vec<(String, World)> {
    let mut all = vec![(format!("{STEP} s pass"), time_passes(world))];
    for (who, name) in NAMES.iter().enumerate() {
        let mut with = |what: &str, world: World| all.push((format!("{name} {what}"), world));
        match world.candidates[who].step {
            Step::Rests => {
                let mut asks = world;
                asks.candidates[who].step = Step::Asks(0);
                with("asks for the Lease", asks);
            }
            Step::Asks(asked) => with("is answered", answered(design, world, who, asked)),
            Step::Writes { asked, read } => {
                with("writes", written(design, world, who, asked, read, true));
                with(
                    "writes; the reply is lost",
                    written(design, world, who, asked, read, false),
                );
            }
        }
        if world.kills < 2 && world.deletions == 0 {
            let mut killed = world;
            killed.candidates[who] = NEW;
            killed.kills += 1;
            with("is killed and comes back", killed);
        }
    }
    let known = world.candidates.iter().all(|candidate| candidate.known);
    if world.deletions < 1 && world.lease.is_some() && known {
        let mut deleted = world;
        deleted.lease = None;
        deleted.deletions += 1;
        all.push(("somebody deletes the Lease".to_owned(), deleted));
    }
    all.into_iter()
        .map(|(what, world)| (what, renumbered(world)))
        .collect()
}

/// Versions matter only as far as they are equal: they are numbered in the order in which they are met.
fn renumbered(mut world: World) -> World {
    let mut numbers = BTreeMap::new();
    let mut number = |version: &mut u8| {
        let next = u8::try_from(numbers.len()).unwrap() + 1;
        *version = *numbers.entry(*version).or_insert(next);
    };
    world
        .lease
        .iter_mut()
        .for_each(|lease| number(&mut lease.version));
    for candidate in &mut world.candidates {
        if let Some((Some(version), _)) = &mut candidate.seen {
            number(version);
        }
        if let Step::Writes {
            read: Some(lease), ..
        } = &mut candidate.step
        {
            number(&mut lease.version);
        }
    }
    world.versions = u8::try_from(numbers.len()).unwrap();
    world
}

/// The number of worlds, or what leads to one in which two act.
fn explore(design: Design) -> Result<usize, Vec<String>> {
    let mut from: BTreeMap<World, Option<(String, World)>> = BTreeMap::from([(START, None)]);
    let mut queue = VecDeque::from([START]);
    while let Some(world) = queue.pop_front() {
        if world.candidates.iter().all(|candidate| candidate.open > 0) {
            let mut path = Vec::new();
            let mut at = world;
            while let Some(Some((what, before))) = from.get(&at) {
                path.push(what.clone());
                at = *before;
            }
            path.reverse();
            return Err(path);
        }
        for (what, after) in next(design, world) {
            from.entry(after).or_insert_with(|| {
                queue.push_back(after);
                Some((what, world))
            });
        }
    }
    let leads = |who: usize| from.keys().any(|world| world.candidates[who].open > 0);
    assert!(leads(0) && leads(1), "both can come to lead");
    Ok(from.len())
}

#[test]
fn two_candidates_never_lead_at_once() {
    assert_eq!(ticks(DURATION) * 5, 15, "time is told in steps of {STEP} s");
    match explore(REAL) {
        Ok(worlds) => println!("the Lease: all {worlds} states"),
        Err(path) => panic!("two lead:\n{}", path.join("\n")),
    }
}

#[test]
fn a_leader_that_acted_for_as_long_as_the_lease_lasts_would_meet_another() {
    let design = Design {
        renewed_within: DURATION + Duration::from_secs(STEP),
        ..REAL
    };
    assert!(explore(design).is_err());
}

#[test]
fn a_lease_replaced_whatever_its_version_would_have_two_leaders() {
    let design = Design {
        compare_and_swap: false,
        ..REAL
    };
    assert!(explore(design).is_err());
}

#[test]
fn a_lease_that_was_deleted_and_made_again_at_once_would_have_two_leaders() {
    let design = Design {
        waits_after_a_deletion: false,
        ..REAL
    };
    assert!(explore(design).is_err());
}
