//! The corpus, and how it is mutated.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use std::path::Path;

/// So many cases, each time the same, unless PROPTEST_CASES says another number: then they are new.
pub fn config(few: u32) -> ProptestConfig {
    let default = ProptestConfig {
        failure_persistence: None,
        max_shrink_time: 5000,
        ..ProptestConfig::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig {
            cases: few,
            rng_seed: RngSeed::Fixed(0),
            ..default
        },
    }
}

/// All files of an edge, with their names.
pub fn corpus(edge: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(edge);
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() > 10, "the corpus of {edge} is not there");
    all
}

/// One file of an edge.
pub fn file(edge: &str, name: &str) -> Vec<u8> {
    let found = corpus(edge).into_iter().find(|(file, _)| file == name);
    found.unwrap_or_else(|| panic!("no {edge}/{name}")).1
}

#[derive(Clone, Debug)]
enum Mutation {
    /// Another byte.
    Flip(Index, u8),
    /// More bytes.
    Insert(Index, Vec<u8>),
    /// Bytes of one place again at another.
    Again(Index, Index, Index),
    /// Without these.
    Cut(Index, Index),
    /// Only the beginning.
    End(Index),
    /// From here on another file of the corpus.
    Splice(Index, Index, Index),
    /// A value of JSON is another.
    Replace(Index, Value),
    /// A field or an item is not there.
    Drop(Index),
    /// A field or an item is there twice.
    Double(Index),
    /// A value is that of another field.
    Move(Index, Index),
}

/// Values that are seldom meant.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(-1),
            json!(1),
            json!(2),
            json!(i64::MIN),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(u32::MAX),
            json!(1e308),
            json!(0.5),
            json!(""),
            json!("\0"),
            json!("\u{feff}x"),
            json!("\u{202e}$(A)"),
            json!("-1"),
            json!("9223372036854775807s"),
            json!("1970-01-01T00:00:00Z"),
            json!("9999-12-30T22:00:00.999999999Z"),
            json!([]),
            json!({}),
            json!([[[[[[]]]]]]),
            json!({"a": {"b": [null]}}),
        ]),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (0..5000usize).prop_map(|length| json!("漢".repeat(length))),
        (0..200usize).prop_map(|depth| (0..depth).fold(json!(1), |inner, _| json!([inner]))),
    ]
}

fn mutate() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        1 => (index(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (index(), index(), index()).prop_map(|(from, to, at)| Mutation::Again(from, to, at)),
        1 => (index(), index()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        1 => index().prop_map(Mutation::End),
        1 => (index(), index(), index()).prop_map(|(at, which, from)| Mutation::Splice(at, which, from)),
        6 => (index(), odd()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        3 => index().prop_map(Mutation::Drop),
        2 => index().prop_map(Mutation::Double),
        2 => (index(), index()).prop_map(|(from, to)| Mutation::Move(from, to)),
    ]
}

/// Files of an edge, mutated a few times.
pub fn mutated(edge: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let all: Vec<Vec<u8>> = corpus(edge).into_iter().map(|(_, bytes)| bytes).collect();
    (any::<Index>(), vec(mutate(), 1..5)).prop_map(move |(which, mutations)| {
        let bytes = which.get(&all).clone();
        mutations
            .iter()
            .fold(bytes, |bytes, mutation| apply(mutation, bytes, &all))
    })
}

/// One file of an edge, of which only values of JSON are mutated: what is not valid there is so by what it says.
pub fn mutated_json(edge: &str, name: &str) -> impl Strategy<Value = Value> + use<> {
    let whole: Value = serde_json::from_slice(&file(edge, name)).unwrap();
    let mutations = vec(
        prop_oneof![
            3 => (any::<Index>(), odd()).prop_map(|(at, value)| Mutation::Replace(at, value)),
            1 => any::<Index>().prop_map(Mutation::Drop),
            1 => any::<Index>().prop_map(Mutation::Double),
            1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Move(from, to)),
        ],
        0..4,
    );
    mutations.prop_map(move |mutations| {
        let mut value = whole.clone();
        for mutation in &mutations {
            mutate_value(mutation, &mut value);
        }
        value
    })
}

fn apply(mutation: &Mutation, mut bytes: Vec<u8>, all: &[Vec<u8>]) -> Vec<u8> {
    let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
    let range = |a: &Index, b: &Index, bytes: &[u8]| {
        let (a, b) = (place(a, bytes), place(b, bytes));
        a.min(b)..a.max(b)
    };
    match mutation {
        Mutation::Flip(at, byte) => {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
        }
        Mutation::Insert(at, more) => {
            let at = place(at, &bytes);
            bytes.splice(at..at, more.iter().copied());
        }
        Mutation::Again(from, to, at) => {
            let again = bytes[range(from, to, &bytes)].to_vec();
            let at = place(at, &bytes);
            bytes.splice(at..at, again);
        }
        Mutation::Cut(from, to) => {
            let range = range(from, to, &bytes);
            bytes.drain(range);
        }
        Mutation::End(at) => bytes.truncate(place(at, &bytes)),
        Mutation::Splice(at, which, from) => {
            let other = which.get(all);
            bytes.truncate(place(at, &bytes));
            bytes.extend_from_slice(&other[place(from, other)..]);
        }
        Mutation::Replace(..) | Mutation::Drop(_) | Mutation::Double(_) | Mutation::Move(..) => {
            // Before the document there may be other text, such as a head.
            let start = bytes.iter().position(|byte| *byte == b'{').unwrap_or(bytes.len());
            let mut values = serde_json::Deserializer::from_slice(&bytes[start..]).into_iter::<Value>();
            if let Some(Ok(mut value)) = values.next() {
                let end = start + values.byte_offset();
                mutate_value(mutation, &mut value);
                bytes.splice(start..end, serde_json::to_vec(&value).unwrap());
            }
        }
    }
    bytes
}

fn mutate_value(mutation: &Mutation, value: &mut Value) {
    let all = pointers(value);
    match mutation {
        Mutation::Replace(at, odd) => {
            if let Some(place) = value.pointer_mut(at.get(&all).as_str()) {
                *place = odd.clone();
            }
        }
        Mutation::Move(from, to) => {
            let moved = value
                .pointer(from.get(&all).as_str())
                .cloned()
                .unwrap_or_default();
            if let Some(place) = value.pointer_mut(to.get(&all).as_str()) {
                *place = moved;
            }
        }
        Mutation::Drop(at) | Mutation::Double(at) => {
            let Some((parent, last)) = at.get(&all).rsplit_once('/') else {
                return;
            };
            let twice = matches!(mutation, Mutation::Double(_));
            match value.pointer_mut(parent) {
                Some(Value::Object(fields)) => {
                    let removed = fields.remove(last);
                    if let (true, Some(removed)) = (twice, removed) {
                        fields.insert(format!("{last}2"), removed.clone());
                        fields.insert(last.to_owned(), removed);
                    }
                }
                Some(Value::Array(items)) => {
                    let item = items.remove(last.parse().unwrap());
                    if twice {
                        items.extend([item.clone(), item]);
                    }
                }
                _ => {}
            }
        }
        Mutation::Flip(..)
        | Mutation::Insert(..)
        | Mutation::Again(..)
        | Mutation::Cut(..)
        | Mutation::End(_)
        | Mutation::Splice(..) => {}
    }
}

/// Where the values of a document are.
fn pointers(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut collect = |name: &str, child: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        all.extend(pointers(child).into_iter().map(|rest| format!("/{name}{rest}")));
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, child)| collect(name, child)),
        Value::Array(items) => {
            for (i, child) in items.iter().enumerate() {
                collect(&i.to_string(), child);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}
