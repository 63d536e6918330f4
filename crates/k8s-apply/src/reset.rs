//! Fields that a write cannot change, because the strategy of the resource puts them back: nobody comes to own them by it.

use crate::field::Set;
use crate::typed::Comparison;

/// What a write at one path of the API cannot change.
#[derive(Clone, Copy, Debug, Default)]
pub enum Reset {
    /// It can change everything.
    #[default]
    Nothing,
    /// Not these fields, nor what is below them.
    Fields(&'static [&'static [&'static str]]),
    /// Nothing but these; `*` stands for any element.
    AllBut(&'static [&'static [&'static str]]),
}

impl Reset {
    pub(crate) fn filter(&self, set: &mut Set) {
        match self {
            Reset::Nothing => {}
            Reset::Fields(paths) => set.subtract_trees(&Set::of_fields(paths)),
            Reset::AllBut(patterns) => set.keep_matching(patterns),
        }
    }

    pub(crate) fn filter_comparison(&self, comparison: &mut Comparison) {
        for set in [&mut comparison.added, &mut comparison.modified, &mut comparison.removed] {
            if !set.is_empty() {
                self.filter(set);
            }
        }
    }
}
