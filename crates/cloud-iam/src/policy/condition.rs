//! Conditions of statements: `operator: { key: values }`. All operators of a block and all keys must hold; one value suffices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};
use world::Timestamp;

use super::document::Malformed;
use super::pattern::{matches, matches_arn};

/// How values that the request holds are quantified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    One,
    ForAllValues,
    ForAnyValue,
}

/// One key of one operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    test: Test,
    negated: bool,
    if_exists: bool,
    quantifier: Quantifier,
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    ArnLike,
    Bool,
    Date(Order),
    Ip,
    Null,
    Numeric(Order),
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Operator, test, negated. Alphabetical.
static OPERATORS: &[(&str, Test, bool)] = &[
    ("ArnEquals", Test::ArnLike, false),
    ("ArnLike", Test::ArnLike, false),
    ("ArnNotEquals", Test::ArnLike, true),
    ("ArnNotLike", Test::ArnLike, true),
    ("Bool", Test::Bool, false),
    ("DateEquals", Test::Date(Order::Equal), false),
    ("DateGreaterThan", Test::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Test::Date(Order::GreaterEqual), false),
    ("DateLessThan", Test::Date(Order::Less), false),
    ("DateLessThanEquals", Test::Date(Order::LessEqual), false),
    ("DateNotEquals", Test::Date(Order::Equal), true),
    ("IpAddress", Test::Ip, false),
    ("NotIpAddress", Test::Ip, true),
    ("Null", Test::Null, false),
    ("NumericEquals", Test::Numeric(Order::Equal), false),
    ("NumericGreaterThan", Test::Numeric(Order::Greater), false),
    ("NumericGreaterThanEquals", Test::Numeric(Order::GreaterEqual), false),
    ("NumericLessThan", Test::Numeric(Order::Less), false),
    ("NumericLessThanEquals", Test::Numeric(Order::LessEqual), false),
    ("NumericNotEquals", Test::Numeric(Order::Equal), true),
    ("StringEquals", Test::StringEquals, false),
    ("StringEqualsIgnoreCase", Test::StringEqualsIgnoreCase, false),
    ("StringLike", Test::StringLike, false),
    ("StringNotEquals", Test::StringEquals, true),
    ("StringNotEqualsIgnoreCase", Test::StringEqualsIgnoreCase, true),
    ("StringNotLike", Test::StringLike, true),
];

pub(super) fn parse(block: &Map<String, Value>) -> Result<Vec<Condition>, Malformed> {
    let mut conditions = Vec::new();
    for (operator, keys) in block {
        let (quantifier, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Quantifier::ForAllValues, name),
            Some(("ForAnyValue", name)) => (Quantifier::ForAnyValue, name),
            Some(_) => return Err(Malformed(format!("Invalid Condition type : {operator}."))),
            None => (Quantifier::One, operator.as_str()),
        };
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        let found = OPERATORS.iter().find(|(known, ..)| *known == name);
        let Some((_, test, negated)) = found else {
            return Err(Malformed(format!("Invalid Condition type : {operator}.")));
        };
        let Value::Object(keys) = keys else { return Err(Malformed("Syntax errors in policy.".to_owned())) };
        for (key, values) in keys {
            conditions.push(Condition {
                test: *test,
                negated: *negated,
                if_exists,
                quantifier,
                key: key.to_ascii_lowercase(),
                values: scalars(values)?,
            });
        }
    }
    Ok(conditions)
}

/// AWS takes numbers and booleans where a string is meant.
fn scalars(value: &Value) -> Result<Vec<String>, Malformed> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Malformed("Syntax errors in policy.".to_owned())),
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

impl Condition {
    /// Whether it holds for a request's context, whose keys are in lower case. `expand` replaces policy variables; a value with a
    /// variable that the request lacks fits nothing.
    pub fn holds(&self, context: &BTreeMap<String, Vec<String>>, expand: &dyn Fn(&str) -> Option<String>) -> bool {
        let given = context.get(&self.key).filter(|values| !values.is_empty());
        if self.test == Test::Null {
            return self.values.iter().any(|value| value.eq_ignore_ascii_case("true") == given.is_none());
        }
        let Some(given) = given else {
            // An absent key fails what is asserted and passes what is excluded; `ForAllValues` passes on nothing.
            return self.if_exists
                || self.negated && self.quantifier != Quantifier::ForAnyValue
                || self.quantifier == Quantifier::ForAllValues;
        };
        let wanted: Vec<String> = self.values.iter().filter_map(|value| expand(value)).collect();
        let fits = |value: &String| wanted.iter().any(|wanted| self.test.holds(wanted, value)) != self.negated;
        match self.quantifier {
            Quantifier::ForAllValues => given.iter().all(fits),
            Quantifier::ForAnyValue => given.iter().any(fits),
            // A key of one value; several are only right with a quantifier, and then excluded means that none may fit.
            Quantifier::One if self.negated => given.iter().all(fits),
            Quantifier::One => given.iter().any(fits),
        }
    }
}

impl Test {
    fn holds(self, wanted: &str, given: &str) -> bool {
        match self {
            Test::ArnLike => matches_arn(wanted, given),
            Test::Bool => wanted.eq_ignore_ascii_case(given),
            Test::Date(order) => match (date(wanted), date(given)) {
                (Some(wanted), Some(given)) => order.holds(&given, &wanted),
                _ => false,
            },
            Test::Ip => in_network(wanted, given),
            Test::Null => false,
            Test::Numeric(order) => match (wanted.parse::<f64>(), given.parse::<f64>()) {
                (Ok(wanted), Ok(given)) => order.holds(&given, &wanted),
                _ => false,
            },
            Test::StringEquals => wanted == given,
            Test::StringEqualsIgnoreCase => wanted.eq_ignore_ascii_case(given),
            Test::StringLike => matches(wanted, given),
        }
    }
}

impl Order {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Order::Equal => left == right,
            Order::Less => left < right,
            Order::LessEqual => left <= right,
            Order::Greater => left > right,
            Order::GreaterEqual => left >= right,
        }
    }
}

fn date(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(Timestamp::from_seconds(seconds));
    }
    if text.len() == 10 {
        return Timestamp::parse(&format!("{text}T00:00:00Z")).ok();
    }
    Timestamp::parse(text).ok()
}

fn in_network(network: &str, address: &str) -> bool {
    let (base, bits) = network.split_once('/').map_or((network, None), |(base, bits)| (base, Some(bits)));
    let (Ok(base), Ok(address)) = (base.parse::<IpAddr>(), address.parse::<IpAddr>()) else { return false };
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((base, width), (address, other)) = (number(base), number(address));
    let Ok(bits) = bits.map_or(Ok(width), str::parse::<u32>) else { return false };
    if width != other || bits > width {
        return false;
    }
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    base & mask == address & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_sorted_and_unique() {
        assert!(OPERATORS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn conditions_hold_as_documented() {
        let context: BTreeMap<String, Vec<String>> = [
            ("aws:sourceip", vec!["10.1.2.3"]),
            ("aws:currenttime", vec!["2026-01-02T00:00:00Z"]),
            ("aws:username", vec!["bob"]),
            ("aws:tagkeys", vec!["team", "cost"]),
            ("n", vec!["5"]),
            ("mfa", vec!["true"]),
            ("arn", vec!["arn:aws:iam::111122223333:role/a/b"]),
        ]
        .into_iter()
        .map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()))
        .collect();
        let expand = |text: &str| match text {
            "${who}" => Some("bob".to_owned()),
            "${gone}" => None,
            text => Some(text.to_owned()),
        };
        for (block, expected) in [
            (r#"{"StringEquals":{"aws:UserName":"bob"}}"#, true),
            (r#"{"StringEquals":{"aws:username":["al","bob"]}}"#, true),
            (r#"{"StringEquals":{"aws:username":"${who}"}}"#, true),
            (r#"{"StringEquals":{"aws:username":"${gone}"}}"#, false),
            (r#"{"StringNotEquals":{"aws:username":"bob"}}"#, false),
            (r#"{"StringNotEquals":{"absent":"x"}}"#, true),
            (r#"{"StringEquals":{"absent":"x"}}"#, false),
            (r#"{"StringEqualsIfExists":{"absent":"x"}}"#, true),
            (r#"{"StringLike":{"aws:username":"b*"}}"#, true),
            (r#"{"StringEqualsIgnoreCase":{"aws:username":"BOB"}}"#, true),
            (r#"{"Null":{"absent":"true","aws:username":"false"}}"#, true),
            (r#"{"Null":{"aws:username":true}}"#, false),
            (r#"{"Bool":{"mfa":true}}"#, true),
            (r#"{"Bool":{"absent":"false"}}"#, false),
            (r#"{"NumericLessThan":{"n":6}}"#, true),
            (r#"{"NumericGreaterThanEquals":{"n":"5"}}"#, true),
            (r#"{"NumericEquals":{"n":"x"}}"#, false),
            (r#"{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}"#, true),
            (r#"{"DateLessThan":{"aws:CurrentTime":"2026-01-01"}}"#, false),
            (r#"{"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.0.0.0/8"]}}"#, true),
            (r#"{"NotIpAddress":{"aws:SourceIp":"10.1.2.3"}}"#, false),
            (r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/99"}}"#, false),
            (r#"{"ArnLike":{"arn":"arn:aws:iam::*:role/*"}}"#, true),
            (r#"{"ArnNotEquals":{"arn":"arn:aws:iam::*:role/*"}}"#, false),
            (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["team","cost","x"]}}"#, true),
            (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}"#, false),
            (r#"{"ForAllValues:StringEquals":{"absent":["team"]}}"#, true),
            (r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["team"]}}"#, true),
            (r#"{"ForAnyValue:StringEquals":{"absent":["team"]}}"#, false),
            (r#"{"StringEquals":{"aws:username":"bob"},"Bool":{"mfa":"false"}}"#, false),
        ] {
            let block: Map<String, Value> = serde_json::from_str(block).expect("JSON");
            let conditions = parse(&block).expect("valid");
            let held = conditions.iter().all(|condition| condition.holds(&context, &expand));
            assert_eq!(held, expected, "{block:?}");
        }
    }
}
