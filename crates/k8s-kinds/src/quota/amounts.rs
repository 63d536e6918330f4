//! Lists of resources: `cpu`, `memory`, `pods`, with an amount of each that is written as it was given.

use std::collections::BTreeMap;
use std::fmt;

use k8s_object::Quantity;
use serde_json::{Map, Value, json};

/// An amount that remembers whether it was written in binary multiples.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amount {
    pub quantity: Quantity,
    binary: bool,
}

impl Amount {
    /// Of whole units.
    pub fn units(units: i64) -> Amount {
        Amount { quantity: Quantity::units(units), binary: false }
    }

    /// From text or number; `None` for what is no quantity.
    pub fn of(value: &Value) -> Option<Amount> {
        let quantity: Quantity = serde_json::from_value(value.clone()).ok()?;
        Some(Amount { quantity, binary: value.as_str().is_some_and(|text| text.ends_with('i')) })
    }

    pub fn is_zero(self) -> bool {
        self.quantity == Quantity::ZERO
    }

    pub fn is_negative(self) -> bool {
        self.quantity < Quantity::ZERO
    }

    /// Whole units, rounded up.
    pub fn rounded_up(self) -> Amount {
        Amount { quantity: Quantity::units(self.quantity.value()), ..self }
    }

    /// As upstream adds: nothing takes over how the other is written.
    pub fn plus(self, other: Amount) -> Amount {
        let binary = if self.is_zero() { other.binary } else { self.binary };
        Amount { quantity: self.quantity + other.quantity, binary }
    }

    pub fn minus(self, other: Amount) -> Amount {
        let binary = if self.is_zero() { other.binary } else { self.binary };
        Amount { quantity: self.quantity - other.quantity, binary }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.quantity == other.quantity
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.binary {
            true => f.write_str(&self.quantity.to_binary_string()),
            false => write!(f, "{}", self.quantity),
        }
    }
}

/// Amounts by the name of the resource.
pub type Amounts = BTreeMap<String, Amount>;

/// Reads a list of resources; entries that are no quantities are left out.
pub fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), Amount::of(value)?))).collect()
}

/// A list of resources as it stands in an object.
pub fn to_value(amounts: &Amounts) -> Value {
    let map: Map<String, Value> =
        amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect();
    Value::Object(map)
}

/// Adds to each resource what the other list has of it.
pub fn add(list: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let own = list.get(name).copied().unwrap_or_default();
        list.insert(name.clone(), own.plus(*amount));
    }
}

/// Raises each resource to what the other list has of it.
pub fn raise(list: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        match list.get_mut(name) {
            Some(own) if own.quantity >= amount.quantity => {}
            Some(own) => *own = *amount,
            None => {
                list.insert(name.clone(), *amount);
            }
        }
    }
}

/// `cpu=1,memory=2Gi`
pub fn to_text(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_they_were_given() {
        let cases = [
            (json!("1Gi"), json!("512Mi"), "1536Mi"),
            (json!("1G"), json!("1Gi"), "2073741824"),
            (json!("100m"), json!("900m"), "1"),
            (json!(2), json!("1500m"), "3500m"),
            (json!("0"), json!("2Ki"), "2Ki"),
        ];
        for (a, b, sum) in cases {
            let (a, b) = (Amount::of(&a).unwrap(), Amount::of(&b).unwrap());
            assert_eq!(a.plus(b).to_string(), sum);
        }
        let mut list = amounts(&json!({"cpu": "1", "memory": "1Gi"}));
        raise(&mut list, &amounts(&json!({"cpu": "500m", "memory": "2Gi", "pods": 3})));
        add(&mut list, &amounts(&json!({"cpu": "1"})));
        assert_eq!(to_text(&list), "cpu=2,memory=2Gi,pods=3");
    }
}
