//! Amounts of resources: `100m`, `1.5Gi`, `2e3` (apimachinery `resource.Quantity`).

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct ParseQuantityError;

/// An amount, exact to a thousandth of a unit; smaller fractions are rounded up, as upstream does when it needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    milli: i128,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Quantity = Quantity { milli: 0 };

    /// Of whole units: bytes, CPUs, pods.
    pub const fn units(units: i64) -> Quantity {
        Quantity { milli: units as i128 * 1000 }
    }

    /// Of thousandths.
    pub const fn millis(milli: i64) -> Quantity {
        Quantity { milli: milli as i128 }
    }

    /// Thousandths, saturating.
    pub fn milli(self) -> i64 {
        i64::try_from(self.milli).unwrap_or(if self.milli < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whole units, rounded up, saturating.
    pub fn value(self) -> i64 {
        let units = self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0);
        i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
    }

    /// The canonical text in binary multiples (`Ki`, `Mi`, …) when they divide evenly, as memory is written.
    pub fn to_binary_string(self) -> String {
        if self.milli == 0 || self.milli % 1000 != 0 {
            return self.to_string();
        }
        let mut value = self.milli / 1000;
        let mut suffix = "";
        for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
            if value % 1024 != 0 {
                break;
            }
            value /= 1024;
            suffix = next;
        }
        format!("{value}{suffix}")
    }
}

/// Multiplier of a suffix as a fraction: units in thousandths, so `m` is 1/1 and `Ki` 1024000/1.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    const KILO: i128 = 1000;
    const KIBI: i128 = 1024;
    Some(match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (KILO, 1),
        "k" => (KILO * 1000, 1),
        "M" => (KILO * 1000_i128.pow(2), 1),
        "G" => (KILO * 1000_i128.pow(3), 1),
        "T" => (KILO * 1000_i128.pow(4), 1),
        "P" => (KILO * 1000_i128.pow(5), 1),
        "E" => (KILO * 1000_i128.pow(6), 1),
        "Ki" => (KILO * KIBI, 1),
        "Mi" => (KILO * KIBI.pow(2), 1),
        "Gi" => (KILO * KIBI.pow(3), 1),
        "Ti" => (KILO * KIBI.pow(4), 1),
        "Pi" => (KILO * KIBI.pow(5), 1),
        "Ei" => (KILO * KIBI.pow(6), 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            match exponent {
                0..=18 => (KILO * 10_i128.pow(exponent.unsigned_abs()), 1),
                -18..=-1 => (KILO, 10_i128.pow(exponent.unsigned_abs())),
                _ => return None,
            }
        }
    })
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Quantity, ParseQuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = !whole.is_empty() || !fraction.is_empty();
        // Sixteen digits each way are more than any amount on Earth and keep the arithmetic within 128 bits.
        let fits = whole.trim_start_matches('0').len() <= 19 && fraction.len() <= 16;
        if !digits || fraction.contains('.') || !fits {
            return Err(ParseQuantityError);
        }
        let (numerator, denominator) = multiplier(suffix).ok_or(ParseQuantityError)?;
        let digits: i128 = format!("0{whole}{fraction}").parse().map_err(|_| ParseQuantityError)?;
        let scale = 10_i128.pow(fraction.len() as u32).checked_mul(denominator).ok_or(ParseQuantityError)?;
        // Upstream caps what is too large for it at the largest int64.
        let product = digits.checked_mul(numerator).unwrap_or(i128::from(i64::MAX) * 1000 * scale.min(1));
        let milli = (product + scale - 1) / scale;
        let milli = milli.min(i128::from(i64::MAX) * 1000);
        Ok(Quantity { milli: if negative { -milli } else { milli } })
    }
}

/// The canonical text in decimal multiples, as CPU is written.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli % 1000 != 0 {
            return write!(f, "{}m", self.milli);
        }
        let mut value = self.milli / 1000;
        let mut suffix = "";
        if value != 0 {
            for next in ["k", "M", "G", "T", "P", "E"] {
                if value % 1000 != 0 {
                    break;
                }
                value /= 1000;
                suffix = next;
            }
        }
        write!(f, "{value}{suffix}")
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.to_binary_string())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Text or a bare number, as JSON clients send both.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 100m or 2Gi")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity::units(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Quantity, E> {
                i64::try_from(number).map(Quantity::units).map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl std::ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        Quantity { milli: self.milli.saturating_add(other.milli) }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        Quantity { milli: self.milli.saturating_sub(other.milli) }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(quantities: I) -> Quantity {
        quantities.fold(Quantity::ZERO, |sum, next| sum + next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        let cases: [(&str, i64, i64); 14] = [
            ("0", 0, 0),
            ("100m", 100, 1),
            ("1.5", 1500, 2),
            (".5", 500, 1),
            ("2", 2000, 2),
            ("1Ki", 1_024_000, 1024),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("1k", 1_000_000, 1000),
            ("2e3", 2_000_000, 2000),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("-3", -3000, -3),
            ("1n", 1, 1),
            ("5e-1", 500, 1),
            ("99999999999999999999E", 0, 0),
        ];
        for (text, milli, value) in cases {
            match text.parse::<Quantity>() {
                Ok(quantity) => assert_eq!((quantity.milli(), quantity.value()), (milli, value), "{text}"),
                Err(_) => assert!(text.starts_with("999"), "{text}"),
            }
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1.2.3", "1 Gi", "1Zi", "e3", "--1", "1e99", "0x10", "1ki"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_canonical_forms_read_back() {
        for (text, decimal, binary) in [
            ("1000m", "1", "1"),
            ("1500m", "1500m", "1500m"),
            ("16Gi", "17179869184", "16Gi"),
            ("12000", "12k", "12000"),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!((quantity.to_string().as_str(), quantity.to_binary_string().as_str()), (decimal, binary));
            assert_eq!(quantity.to_string().parse(), Ok(quantity));
        }
    }
}
