//! Others who know tokens, and others who decide about requests: asked by a review over HTTPS, and believed for a while.

mod authorizer;
mod cache;
mod remote;
mod token;

pub(super) use authorizer::Asking;
pub use authorizer::{AuthorizationWebhook, FailurePolicy};
pub use remote::Remote;
pub(super) use token::TokenAsking;
pub use token::TokenWebhook;
