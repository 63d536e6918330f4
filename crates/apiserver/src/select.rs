//! Which objects a list or watch is about: namespace, labels, fields.

use k8s_object::{ApiError, FieldSelector, LabelSelector, Object};

use crate::cache::Held;
use crate::core::Call;
use crate::wake::Common;
use crate::{crd, fields};

enum Field {
    Name,
    Namespace,
    /// Index into [`Held::fields`].
    Extracted(usize),
}

pub(crate) struct Selection {
    namespace: String,
    labels: LabelSelector,
    fields: Vec<(Field, String, bool)>,
    /// Fields of a version that only a webhook can tell: path, value, and whether it must be that.
    late: Vec<(String, String, bool)>,
    name: Option<String>,
    /// The only value of the indexed field that is asked for.
    indexed: Option<String>,
}

/// The refusal of a field that no selector may name, in the words of the kind's conversion.
fn unselectable(call: &Call<'_>, path: &str) -> ApiError {
    ApiError::bad_request(match call.builtin() {
        Some(kind) if kind.selectable.is_empty() => {
            format!(r#"{path:?} is not a known field selector: only "metadata.name", "metadata.namespace""#)
        }
        Some(kind) if kind.kind == "Job" => format!("field label {path:?} not supported for Job"),
        Some(kind) if kind.kind == "ResourceSlice" => {
            format!("field label not supported for {}, Kind={}: {path}", kind.api_version(), kind.kind)
        }
        _ => format!("field label not supported: {path}"),
    })
}

impl Selection {
    /// What the request asks for.
    ///
    /// # Errors
    /// Upstream's 400 for selectors that are malformed or name fields that are not selectable.
    pub(crate) fn of(call: &Call<'_>) -> Result<Selection, ApiError> {
        let options = &call.request.options;
        let labels = LabelSelector::parse(options.label_selector.as_deref().unwrap_or(""))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let selector = FieldSelector::parse(options.field_selector.as_deref().unwrap_or(""))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let extractor = call.entry.cache.extractor();
        let (mut fields, mut late) = (Vec::new(), Vec::new());
        for (path, value, equal) in &selector.terms {
            let field = match path.as_str() {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                path => match call
                    .resource
                    .stored_field(path)
                    .and_then(|stored| extractor.paths.iter().position(|own| own == stored))
                {
                    Some(_) if crd::converts_by_webhook(&call.resource) => {
                        late.push((path.to_owned(), value.clone(), *equal));
                        continue;
                    }
                    Some(index) => Field::Extracted(index),
                    None => return Err(unselectable(call, path)),
                },
            };
            fields.push((field, value.clone(), *equal));
        }
        let name = selector.required("metadata.name").map(str::to_owned);
        if !call.request.name.is_empty() && !selector.terms.is_empty() && name.as_ref() != Some(&call.request.name) {
            return Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        let mut namespace = call.request.namespace.clone();
        if namespace.is_empty()
            && call.resource.namespaced
            && let Some(only) = selector.required("metadata.namespace")
        {
            namespace = only.to_owned();
        }
        // A watch or list of one name in the path, as older clients ask for it.
        let name = if call.request.name.is_empty() { name } else { Some(call.request.name.clone()) };
        if let Some(name) = &name
            && !call.request.name.is_empty()
        {
            fields.push((Field::Name, name.clone(), true));
        }
        let indexed = fields.iter().find_map(|(field, value, equal)| match field {
            Field::Extracted(index) if *equal && extractor.indexed() == Some(*index) => Some(value.clone()),
            _ => None,
        });
        Ok(Selection { namespace, labels, fields, late, name, indexed })
    }

    /// Empty for all.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The only name that is asked for.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The only value of the indexed field that is asked for.
    pub(crate) fn indexed(&self) -> Option<&str> {
        self.indexed.as_deref()
    }

    /// What all that is asked for has in common, the rarest first.
    pub(crate) fn common(&self) -> Option<Common> {
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let name = self.name().map(|name| Common::Name(name.into()));
        let name = name.or_else(|| self.indexed().map(|value| Common::Field(value.into())));
        name.or_else(|| namespace.map(|namespace| Common::Namespace(namespace.into())))
    }

    /// Whether neither labels nor fields matter.
    pub(crate) fn is_plain(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty() && self.late.is_empty()
    }

    /// Whether an object must be in the version that is asked for before it is known that it is asked for.
    pub(crate) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether an object in that version, which [`Selection::selects`] has let through, is asked for.
    pub(crate) fn selects_late(&self, object: &Object) -> bool {
        if self.late.is_empty() {
            return true;
        }
        let paths: Vec<String> = self.late.iter().map(|(path, ..)| path.clone()).collect();
        let found = fields::pick(object.bytes(), &paths);
        self.late.iter().zip(found).all(|((_, value, equal), own)| (*own == **value) == *equal)
    }

    /// Whether an object is asked for, as far as that can be told from its stored form.
    pub(crate) fn selects(&self, held: &Held) -> bool {
        (self.namespace.is_empty() || held.object.meta().namespace == self.namespace) && self.selects_within(held)
    }

    /// As [`Selection::selects`], of an object that is known to be in the namespace. In a long list each look at an object costs
    /// a miss of the processor's cache.
    pub(crate) fn selects_within(&self, held: &Held) -> bool {
        if self.is_plain() {
            return true;
        }
        let meta = held.object.meta();
        let field = |field: &Field| match field {
            Field::Name => meta.name.as_str(),
            Field::Namespace => meta.namespace.as_str(),
            Field::Extracted(index) => held.fields.get(*index).unwrap_or(""),
        };
        self.fields.iter().all(|(own, value, equal)| (field(own) == value) == *equal)
            && self.labels.matches(&meta.labels)
    }
}
