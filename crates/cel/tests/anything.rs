//! Whatever the text, it compiles or is refused; whatever the program, it has a value or an error, within its limits.

use cel::{Budget, CompileError, DeclType, EVERY_MINOR, Env, ListKind, MAX_CALL_COST, Val};
use serde_json::json;

/// A small generator of its own: the same texts in every run (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const PARTS: &[&str] = &[
    "self",
    "self.a",
    ".b",
    ".?c",
    "[0]",
    "[?1]",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "==",
    "!=",
    "<",
    ">=",
    " in ",
    "1",
    "2u",
    "1.5",
    "'x'",
    "b'y'",
    "true",
    "null",
    "x",
    "y",
    ".all(x, ",
    ".map(x, ",
    ".exists(x, ",
    ".filter(x, ",
    ".transformMap(x, y, ",
    ".size()",
    "has(",
    "size(",
    "dyn(",
    "type(",
    "string(",
    "duration('1s')",
    "timestamp(0)",
    ".matches('a+')",
    ".format([",
    "optional.of(",
    ".orValue(",
    "quantity('1')",
    ".sortBy(x, ",
    "Object{",
    "\"",
    "'",
    "\\",
    "\n",
    "é",
    "//",
    "`a`",
    "0x",
    "1e",
    ".",
    "..",
    "@",
    "#",
];

/// Expressions that nest, from the grammar.
fn expression(chance: &mut Chance, depth: u32) -> String {
    if depth == 0 {
        return chance.pick(&["self", "self.a", "x", "1", "'t'", "true", "[]", "{}", "null", "1.5"]).to_owned();
    }
    let mut below = || expression(chance, depth - 1);
    let (a, b, c) = (below(), below(), below());
    match chance.below(16) {
        0 => format!("({a} + {b})"),
        1 => format!("{a} == {b}"),
        2 => format!("{a} && {b}"),
        3 => format!("({a} ? {b} : {c})"),
        4 => format!("[{a}, {b}, {c}]"),
        5 => format!("{{{a}: {b}}}"),
        6 => format!("dyn({a}).all(x, {b})"),
        7 => format!("dyn({a}).map(x, {b})"),
        8 => format!("dyn({a}).filter(x, {b}).size()"),
        9 => format!("string({a})"),
        10 => format!("dyn({a})[{b}]"),
        11 => format!("{a} in {b}"),
        12 => format!("!{a}"),
        13 => format!("{a} < {b} || {c}"),
        14 => format!("dyn({a}).exists(x, {b} != {c})"),
        _ => format!("optional.of({a}).orValue({b})"),
    }
}

fn evaluate(env: &Env, text: &str) -> bool {
    let data = json!({"a": {"b": [1, 2, {"c": "text"}]}, "l": vec!["x"; 50]});
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(CompileError::Issues(issues)) => {
            assert!(!issues.list().is_empty() && issues.to_string().starts_with("ERROR: <input>:"), "{text:?}");
            return false;
        }
        Err(CompileError::Constant(_)) => return false,
    };
    let mut budget = Budget::default();
    let before = budget.remaining();
    let _ = program.eval(&[("self", Val::from(&data)), ("l", Val::from(&data["l"]))], &mut budget);
    // The step that goes over the limit is the last.
    assert!(before - budget.remaining() <= 4 * MAX_CALL_COST, "{text:?}");
    true
}

#[test]
fn no_text_panics() {
    let env = Env::new(EVERY_MINOR)
        .with_mutation()
        .variable("self", DeclType::dynamic())
        .variable("l", DeclType::list(DeclType::string(None), ListKind::Atomic, None));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut programs = 0;
    for _ in 0..4_000 {
        let length = 1 + chance.below(14);
        let text: String = (0..length).map(|_| chance.pick(PARTS)).collect();
        programs += usize::from(evaluate(&env, &text));
    }
    for round in 0..2_000 {
        let text = expression(&mut chance, 1 + round % 4);
        programs += usize::from(evaluate(&env, &text));
    }
    assert!(programs > 200, "{programs} of the texts were programs");
}

#[test]
fn what_could_run_on_is_stopped() {
    let env = Env::new(EVERY_MINOR).variable("self", DeclType::dynamic()).variable("l", DeclType::dynamic());
    let nested = |levels: usize| {
        let mut text = "true".to_owned();
        for level in 0..levels {
            text = format!("l.all(v{level}, {text})");
        }
        text
    };
    let deep = |count: usize| format!("{}1{}", "(".repeat(count), ")".repeat(count));
    let cases = [
        (nested(8), "operation cancelled: actual cost limit exceeded"),
        (
            "l.map(a, l.map(b, l.map(c, l.map(d, l)))).size()".to_owned(),
            "operation cancelled: actual cost limit exceeded",
        ),
        (
            "lists.range(900000).all(x, x in lists.range(900000))".to_owned(),
            "operation cancelled: actual cost limit exceeded",
        ),
    ];
    let data = json!(vec!["x"; 50]);
    for (text, message) in cases {
        let program = env.compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let result = program.eval(&[("l", Val::from(&data))], &mut Budget::default());
        assert_eq!(result.unwrap_err().to_string(), message, "{text}");
    }
    for text in [deep(300), format!("1{}", " + 1".repeat(300)), format!("self{}", ".a".repeat(300)), nested(260)] {
        let error = env.compile(&text).unwrap_err().to_string();
        assert_eq!(error, "ERROR: <input>:-1:0: expression recursion limit exceeded: 250");
    }
    assert!(env.compile(&format!("true{}", " && true".repeat(5_000))).is_ok(), "long chains of logic are fine");
    assert!(env.compile(&"x".repeat(100_001)).unwrap_err().to_string().contains("code point size exceeds limit"));
}
