//! What clusters configure of admission, ready for use: read anew when something has changed, each object once per version of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_object::Object;

use super::hooks::{self, Hooks};
use super::policies::{Binding, MutatingPolicy, Policy};
use super::rules::GROUP;
use crate::core::Core;

/// A configuration and what was made of it.
type Known<T> = BTreeMap<String, (Arc<Object>, T)>;

/// What is configured at one moment.
#[derive(Default)]
pub(super) struct Configured {
    changes: u64,
    known_mutating: Known<Hooks>,
    known_validating: Known<Hooks>,
    known_policies: Known<Arc<Policy>>,
    known_bindings: Known<Arc<Binding>>,
    known_mutating_policies: Known<Arc<MutatingPolicy>>,
    known_mutating_bindings: Known<Arc<Binding>>,
    pub mutating: Hooks,
    pub validating: Hooks,
}

/// What is configured now.
#[derive(Default)]
pub(crate) struct Admission {
    /// Changes of configuring objects that the caches have seen.
    changes: AtomicU64,
    current: RwLock<Arc<Configured>>,
}

impl Admission {
    /// Takes note that objects of a group have changed, after the caches have them.
    pub(crate) fn changed(&self, group: &str) {
        if group == GROUP {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What is configured; nothing where nothing ever was, which costs nothing.
    pub(super) fn current(&self, core: &Core) -> Option<Arc<Configured>> {
        let changes = self.changes.load(Ordering::Acquire);
        if changes == 0 {
            return None;
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.changes == changes {
            return Some(current);
        }
        let mut slot = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if slot.changes < changes {
            *slot = Arc::new(Configured::read(core, &slot, changes));
        }
        Some(slot.clone())
    }
}

impl Configured {
    /// Policies that something is bound to, by name.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.known_policies.values().map(|(_, policy)| policy.as_ref())
    }

    pub(super) fn bindings(&self) -> Vec<&Binding> {
        self.known_bindings.values().map(|(_, binding)| binding.as_ref()).collect()
    }

    /// Policies that change objects, by name, and what is bound to them.
    pub(super) fn mutating_policies(&self) -> impl Iterator<Item = &MutatingPolicy> {
        self.known_mutating_policies.values().map(|(_, policy)| policy.as_ref())
    }

    pub(super) fn mutating_bindings(&self) -> Vec<&Binding> {
        self.known_mutating_bindings.values().map(|(_, binding)| binding.as_ref()).collect()
    }

    /// Whether anything that changes objects is configured.
    pub(super) fn mutates(&self) -> bool {
        !self.mutating.is_empty() || !self.known_mutating_bindings.is_empty()
    }

    /// Whether anything that judges is configured.
    pub(super) fn judges(&self) -> bool {
        !self.validating.is_empty() || !self.known_bindings.is_empty()
    }

    fn read(core: &Core, before: &Configured, changes: u64) -> Configured {
        let hooks =
            |plural: &str, known: &Known<Hooks>| renew(core, plural, known, |object| hooks::compile(core, object));
        let known_mutating = hooks("mutatingwebhookconfigurations", &before.known_mutating);
        let known_validating = hooks("validatingwebhookconfigurations", &before.known_validating);
        let flat = |known: &Known<Hooks>| known.values().flat_map(|(_, hooks)| hooks.iter().cloned()).collect();
        Configured {
            changes,
            mutating: flat(&known_mutating),
            validating: flat(&known_validating),
            known_mutating,
            known_validating,
            known_policies: renew(core, "validatingadmissionpolicies", &before.known_policies, |object| {
                Arc::new(Policy::of(object))
            }),
            known_bindings: renew(core, "validatingadmissionpolicybindings", &before.known_bindings, |object| {
                Arc::new(Binding::of(object))
            }),
            known_mutating_policies: renew(
                core,
                "mutatingadmissionpolicies",
                &before.known_mutating_policies,
                |object| Arc::new(MutatingPolicy::of(object)),
            ),
            known_mutating_bindings: renew(
                core,
                "mutatingadmissionpolicybindings",
                &before.known_mutating_bindings,
                |object| Arc::new(Binding::of(object)),
            ),
        }
    }
}

/// Makes of every object of a resource what is made of it, unless that was done for this version of it before.
fn renew<T: Clone>(core: &Core, plural: &str, known: &Known<T>, make: impl Fn(&Object) -> T) -> Known<T> {
    let objects = core.lookup_all(GROUP, plural, "");
    let made = objects.into_iter().map(|object| {
        let name = object.meta().name.clone();
        let made = match known.get(&name).filter(|(own, _)| Arc::ptr_eq(own, &object)) {
            Some((_, made)) => made.clone(),
            None => make(&object),
        };
        (name, (object, made))
    });
    made.collect()
}
