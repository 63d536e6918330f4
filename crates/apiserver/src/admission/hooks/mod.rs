//! Webhooks: servers outside that change objects before they are stored, or refuse them (apiserver `admission/plugin/webhook`).

mod ask;
mod compiled;
mod measure;
mod mutate;
mod validate;

pub(super) use ask::request;
pub(super) use compiled::{Hooks, compile};
pub(super) use mutate::{Key, mutate};
pub(super) use validate::validate;
