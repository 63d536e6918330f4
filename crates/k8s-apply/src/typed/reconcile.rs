//! Sets from before a type changed: owners of parts of what is set as a whole now own the whole.

use k8s_schema::Typed;

use crate::field::{Element, Path, Set};

/// The set as the type has it now; `None` if nothing changes.
pub(crate) fn reconcile(typed: Typed<'_>, set: &Set) -> Option<Set> {
    let mut changes = Changes::default();
    changes.visit(typed, set, false, &mut Path::default());
    if changes.whole.is_empty() {
        return None;
    }
    let mut reconciled = set.clone();
    reconciled.subtract_trees(&changes.whole);
    reconciled.add(changes.whole);
    Some(reconciled)
}

#[derive(Default)]
struct Changes {
    /// What is set as a whole, where the set has parts of it.
    whole: Set,
}

impl Changes {
    /// `owned` says that the set has the place itself and nothing below it.
    fn visit(&mut self, typed: Typed<'_>, set: &Set, owned: bool, path: &mut Path) {
        if let Some(map) = typed.map() {
            if map.is_deduced() {
                return;
            }
            if !owned && map.atomic {
                if !set.is_empty() {
                    self.whole.insert(path);
                }
                return;
            }
            self.each(set, path, |element| match element {
                Element::Field(name) => map.step(name).into_type(),
                _ => None,
            });
        } else if typed.scalar().is_none()
            && let Some(list) = typed.list()
        {
            if !owned && list.atomic {
                self.whole.insert(path);
                return;
            }
            self.each(set, path, |_| Some(list.item));
        }
    }

    fn each<'t>(&mut self, set: &Set, path: &mut Path, typed: impl Fn(&Element) -> Option<Typed<'t>>) {
        let empty = Set::default();
        for (element, member) in set.elements() {
            if let Some(typed) = typed(element) {
                let below = set.below(element);
                path.0.push(element.clone());
                self.visit(typed, below.unwrap_or(&empty), member && below.is_none(), path);
                path.0.pop();
            }
        }
    }
}
