//! Ways to spoil JSON: values that nearly make sense find more than bytes that make none.

use serde_json::{Map, Value, json};

use super::draw::{Draw, pick};

/// Deeper than people write, less deep than is refused.
const DEEP: usize = 40;

const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "A_b",
    "-",
    "0",
    "1",
    "1.5",
    "1e3",
    "100m",
    "1Ki",
    "-1",
    "9223372036854775808",
    "true",
    "null",
    "50%",
    "é",
    "\u{0}",
    "😀",
    "2026-11-27T12:00:00Z",
    "not-a-date",
    "10.0.0.1",
    "::1",
    "AAAA",
    "====",
    "$patch",
    "delete",
    "replace",
    "merge",
    "a/b",
    "a.b/c",
    "~1",
    "~0",
    "metadata",
    "{}",
    "[]",
    "\"",
    "\\",
    "\n",
];

const KEYS: &[&str] = &[
    "",
    "name",
    "kind",
    "apiVersion",
    "metadata",
    "managedFields",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "unknown",
    "a.b",
    "a/b",
    "~",
    "labels",
    "key",
    "items",
    "spec",
    "é",
    "type",
];

/// A value of any form.
pub fn anything(draw: &mut dyn Draw, depth: usize) -> Value {
    match draw.below(if depth == 0 { 9 } else { 12 }) {
        0 => Value::Null,
        1 => json!(draw.below(2) == 0),
        2 => json!(draw.below(5)),
        3 => json!(-1 - draw.below(5) as i64),
        4 => [json!(i64::MAX), json!(i64::MIN), json!(u64::MAX), json!(1e300), json!(-0.0), json!(0.1)][draw.below(6)]
            .clone(),
        5..=7 => json!(pick(draw, TEXTS)),
        8 => json!(pick(draw, TEXTS).repeat(draw.below(30))),
        9 => (0..draw.below(4)).map(|_| anything(draw, depth - 1)).collect(),
        10 => {
            let entries = (0..draw.below(4)).map(|_| (pick(draw, KEYS).to_owned(), anything(draw, depth - 1)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        _ => (0..draw.below(DEEP))
            .fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) }),
    }
}

/// Some place in a value.
fn place<'v>(draw: &mut dyn Draw, mut at: &'v mut Value) -> &'v mut Value {
    loop {
        let children = match &*at {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        // Most places are deep, and most of what goes wrong is there.
        if children == 0 || draw.below(8) == 0 {
            return at;
        }
        let chosen = draw.below(children);
        at = match at {
            Value::Array(items) => &mut items[chosen],
            Value::Object(fields) => fields.values_mut().nth(chosen).expect("it was counted"),
            scalar => return scalar,
        };
    }
}

/// Spoils a value in one way.
pub fn mutate(draw: &mut dyn Draw, value: &mut Value) {
    let elsewhere = place(draw, &mut value.clone()).clone();
    let here = place(draw, value);
    match (draw.below(8), here) {
        (0, here) => *here = anything(draw, 2),
        (1, here) => *here = elsewhere,
        (2, Value::Array(items)) if !items.is_empty() => {
            let copied = items[draw.below(items.len())].clone();
            items.insert(draw.below(items.len() + 1), copied);
        }
        (3, Value::Array(items)) if !items.is_empty() => drop(items.remove(draw.below(items.len()))),
        (4, Value::Array(items)) if items.len() > 1 => {
            let (a, b) = (draw.below(items.len()), draw.below(items.len()));
            items.swap(a, b);
        }
        (2 | 3, Value::Object(fields)) if !fields.is_empty() => {
            let key = fields.keys().nth(draw.below(fields.len())).cloned().unwrap_or_default();
            let value = fields.remove(&key).unwrap_or_default();
            if draw.below(2) == 0 {
                fields.insert(pick(draw, KEYS).to_owned(), value);
            }
        }
        (4 | 5, Value::Object(fields)) => drop(fields.insert(pick(draw, KEYS).to_owned(), anything(draw, 2))),
        (_, Value::String(text)) => {
            let at = (0..=text.len()).rev().find(|at| *at <= draw_at(draw, text.len()) && text.is_char_boundary(*at));
            text.insert_str(at.unwrap_or(0), pick(draw, TEXTS));
        }
        (_, here) => *here = anything(draw, 1),
    }
}

fn draw_at(draw: &mut dyn Draw, length: usize) -> usize {
    draw.below(length + 1)
}

/// Spoils bytes in one way.
pub fn mutate_bytes(draw: &mut dyn Draw, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = draw.below(bytes.len());
    let end = (at + draw.below(20)).min(bytes.len());
    match draw.below(6) {
        0 => bytes[at] ^= 1 << draw.below(8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw.below(5)],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        _ => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
    }
}
