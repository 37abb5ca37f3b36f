//! Changes of JSON documents that stay JSON.

use serde_json::{Map, Number, Value, json};

use super::bytes;
use crate::rng::Rng;

pub const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"Infinity",
    b"-1",
    b"0.5",
    b"1e999",
    b"-1e-999",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9007199254740993",
    b"\\u0000",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\n",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":",
];

/// Changes a document; none where it is none.
pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(file).ok()?;
    let other: Value = serde_json::from_slice(other).unwrap_or_default();
    change_value(&mut value, &other, rng);
    Some(value.to_string().into_bytes())
}

/// Changes the documents that are lines of a file.
pub fn change_lines(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let lines = |file: &[u8]| -> Vec<Vec<u8>> {
        let lines = file.split(|&byte| byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    };
    let (mut here, there) = (lines(file), lines(other));
    match rng.below(3) {
        0 => bytes::change_list(&mut here, &there, rng),
        _ => {
            let at = rng.below(here.len());
            here[at] = change(&here[at], rng.pick::<Vec<u8>>(&there), rng)?;
        }
    }
    Some(here.join(&b'\n'))
}

pub fn change_value(value: &mut Value, other: &Value, rng: &mut Rng) {
    let place = rng.below(count(value));
    let taken = nth(other, rng.below(count(other))).clone();
    let elsewhere = nth(value, rng.below(count(value))).clone();
    let known = keys(value);
    let node = nth_mut(value, place);
    match rng.below(8) {
        0 => *node = any(rng),
        1 => *node = taken,
        2 => *node = elsewhere,
        3 => *node = json!([node.clone()]),
        _ => match node {
            Value::Object(map) => change_map(map, taken, &known, rng),
            Value::Array(list) => {
                let others = [taken, elsewhere, any(rng)];
                bytes::change_list(list, &others, rng);
            }
            Value::Number(_) => *node = number(node, rng),
            Value::String(text) => {
                let mut changed = std::mem::take(text).into_bytes();
                bytes::change(&mut changed, &[], &[], rng);
                *text = String::from_utf8_lossy(&changed).into_owned();
            }
            Value::Bool(truth) => *truth = !*truth,
            Value::Null => *node = any(rng),
        },
    }
}

fn change_map(map: &mut Map<String, Value>, value: Value, known: &[String], rng: &mut Rng) {
    let place = rng.below(map.len().max(1));
    let key = map.keys().nth(place).cloned();
    match (key, rng.below(4)) {
        (Some(key), 0) => drop(map.shift_remove(&key)),
        (Some(key), 1) if !known.is_empty() => {
            let value = map.shift_remove(&key).unwrap_or_default();
            map.insert(rng.pick(known).clone(), value);
        }
        (Some(key), 2) => drop(map.insert(key, any(rng))),
        _ => {
            let name = format!("key{}", rng.below(3));
            map.insert(known.first().cloned().unwrap_or(name), value);
        }
    }
}

/// Another number, near to this one or far from any.
fn number(value: &Value, rng: &mut Rng) -> Value {
    let near = value
        .as_i64()
        .map(|n| n.wrapping_add(rng.below(5) as i64 - 2));
    match rng.below(6) {
        0 => near.map_or_else(|| any(rng), Value::from),
        1 => value.as_f64().map_or_else(|| any(rng), |n| json!(-n)),
        2 => value.as_f64().map_or_else(|| any(rng), |n| json!(n * 1e9)),
        3 => json!(bytes::number(rng) as i64),
        4 => json!(bytes::number(rng)),
        _ => any(rng),
    }
}

fn any(rng: &mut Rng) -> Value {
    let float = |f: f64| Number::from_f64(f).map_or(Value::Null, Value::Number);
    match rng.below(16) {
        0 => Value::Null,
        1 => json!(rng.once_in(2)),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(i64::MIN),
        6 => json!(bytes::number(rng)),
        7 => float(*rng.pick(&[0.5, -0.0, 1e-320, 1e308, -1e308, 2.5, 1e18, 768.0])),
        8 => json!(""),
        9 => json!("x".repeat(1 << rng.below(10))),
        10 => json!("\0\u{feff}\u{202e}é"),
        11 => json!([]),
        12 => json!({}),
        13 => json!([[[[[[]]]]]]),
        14 => json!({ "a": { "b": [1, null] } }),
        _ => json!(rng.below(1000)),
    }
}

/// Number of values in a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn nth(value: &Value, mut place: usize) -> &Value {
    if place == 0 {
        return value;
    }
    place -= 1;
    let children: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => unreachable!("it has so many values"),
    };
    for child in children {
        match count(child) {
            within if place < within => return nth(child, place),
            within => place -= within,
        }
    }
    unreachable!("it has so many values")
}

fn nth_mut(value: &mut Value, mut place: usize) -> &mut Value {
    if place == 0 {
        return value;
    }
    place -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => unreachable!("it has so many values"),
    };
    for child in children {
        match count(child) {
            within if place < within => return nth_mut(child, place),
            within => place -= within,
        }
    }
    unreachable!("it has so many values")
}

/// The keys of all objects in a value.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(keys).collect(),
        Value::Object(map) => {
            let inner = map.values().flat_map(keys);
            map.keys().cloned().chain(inner).collect()
        }
        _ => Vec::new(),
    }
}
