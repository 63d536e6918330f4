//! Policies: rules of the cluster in expressions, bound to what they are for (apiserver `admission/plugin/policy`).

mod compiled;
mod measure;
mod mutate;
mod params;
mod type_check;
mod validate;

pub(super) use compiled::{Binding, Policy};
pub(super) use mutate::{Key, MutatingPolicy, mutate};
pub(in super::super) use type_check::keep as keep_status;
pub(super) use validate::validate;
