//! Verifying signatures with secrets out of the store.
//!
//! Verifiers are pure: they are given what they need. Which key they need only they can say, so they run twice: first to be asked
//! for the key, then with what the store has of it.

use std::sync::{Mutex, PoisonError};

use cloud_iam::records::RecordError;
use cloud_iam::{Credential, KeyStatus};
use cloud_wire::Secret;

use crate::Inner;

/// Finds the secret of an access key.
type Lookup<'a> = &'a (dyn Fn(&str) -> Option<Secret> + Send + Sync);

/// Runs a verification and returns its outcome and the credential that it was about, if there is one.
///
/// # Errors
/// The store's.
pub(crate) async fn verify<T, E>(
    inner: &Inner,
    run: impl Fn(Lookup<'_>) -> Result<T, E>,
) -> Result<(Result<T, E>, Option<Credential>), RecordError> {
    let asked = Mutex::new(None);
    let note = |id: &str| {
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
        None
    };
    let outcome = run(&note);
    let Some(id) = asked.into_inner().unwrap_or_else(PoisonError::into_inner) else { return Ok((outcome, None)) };
    let Some(credential) = inner.iam.lookup(&id).await? else { return Ok((outcome, None)) };
    let secret = || {
        (credential.status == KeyStatus::Active).then(|| Secret {
            secret_key: credential.secret.clone(),
            session_token: credential.session_token.clone(),
            expires_at: credential.expires,
        })
    };
    let outcome = run(&|_: &str| secret());
    Ok((outcome, Some(credential)))
}
