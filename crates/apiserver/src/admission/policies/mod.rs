//! Policies: rules of the cluster in expressions, bound to what they are for (apiserver `admission/plugin/policy`).

mod compiled;
mod mutate;
mod params;
mod validate;

pub(super) use compiled::{Binding, Policy};
pub(super) use mutate::{Key, MutatingPolicy, mutate};
pub(super) use validate::validate;
