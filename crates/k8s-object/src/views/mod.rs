//! Typed, read-only views of the kinds that components of the control plane work with: the fields they read, nothing
//! else. A view is never written back (what it does not know would be lost): components change objects by patches.

mod batch;
mod node;
mod node_selection;
mod pod;
mod rbac;
mod workloads;

pub use batch::*;
pub use node::*;
pub use pod::*;
pub use rbac::*;
pub use workloads::*;

use serde::Deserialize;

/// A condition of a status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Option<String>,
    pub last_heartbeat_time: Option<String>,
    pub last_update_time: Option<String>,
}

/// A number or a percentage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i64),
    String(String),
}

impl IntOrString {
    /// The number, or the percentage of `total`, rounded up or down; `None` if the text is no percentage.
    pub fn scaled(&self, total: i64, round_up: bool) -> Option<i64> {
        match self {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(text) => {
                let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
                let product = percent.checked_mul(total)?;
                Some(if round_up {
                    product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
                } else {
                    product.div_euclid(100)
                })
            }
        }
    }
}

/// A list that upstream writes as null when it is empty.
fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn lists_that_are_null_are_empty() {
        fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
            serde_json::from_value(value).expect("a view")
        }
        let slice: EndpointSlice = read(json!({"endpoints": null, "ports": null}));
        assert!(slice.endpoints.is_empty() && slice.ports.is_empty());
        assert!(read::<PodFailurePolicy>(json!({"rules": null})).rules.is_empty());
        assert!(read::<SuccessPolicy>(json!({"rules": null})).rules.is_empty());
        assert!(read::<ContainerImage>(json!({"names": null})).names.is_empty());
        assert!(read::<Role>(json!({"rules": null})).rules.is_empty());
    }
}
