//! The one handle to a schema. What each operation does is in the file of its name; this one only chooses.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::check::{self, Requirement};
use crate::crd::{self, Known, Structural};
use crate::error::{FieldError, TypeMismatch};
use crate::model::{Body, EnumValue, Minor, NEWEST_MINOR, OLDEST_MINOR, TypeId, model};
use crate::node::{ModelNode, ModelStep, Node, Shape, Step};
use crate::patch::{self, PatchError};
use crate::typed::Typed;
use crate::{declared, default, nulls, unknown};

/// The schema of one type. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Builtin(TypeId, Minor),
    Custom(Arc<Custom>),
}

#[derive(Debug)]
struct Custom {
    structural: Structural,
    /// The `openAPIV3Schema` as JSON text: smaller than the tree, and needed only when OpenAPI is asked for.
    source: Box<str>,
}

impl Schema {
    /// A built-in type by its OpenAPI name, such as `io.k8s.api.core.v1.Pod`, as Kubernetes 1.`minor` has it.
    pub fn builtin(type_name: &str, minor: Minor) -> Option<Self> {
        Self::of(model().by_full_name(type_name)?, minor)
    }

    /// A built-in type by group (empty for core), version and kind.
    pub fn builtin_kind(group: &str, version: &str, kind: &str, minor: Minor) -> Option<Self> {
        Self::of(model().by_kind(group, version, kind)?, minor)
    }

    fn of(id: TypeId, minor: Minor) -> Option<Self> {
        let known = (OLDEST_MINOR..=NEWEST_MINOR).contains(&minor) && model().get(id).minors.contains(minor);
        known.then_some(Self(Inner::Builtin(id, minor)))
    }

    /// The `openAPIV3Schema` of a CustomResourceDefinition version.
    ///
    /// Errors: every rule of structural schemas that it breaks, with paths that start at `openAPIV3Schema`, and
    /// `Forbidden` for what Minato does not support yet.
    pub fn from_crd(open_api_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        Self::from_crd_at("openAPIV3Schema", open_api_v3_schema)
    }

    /// As [`Schema::from_crd`], with the path that errors start at.
    pub fn from_crd_at(path: &str, open_api_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        Self::read(path, open_api_v3_schema, &Known::default())
    }

    /// As [`Schema::from_crd_at`], of a definition that a client sends to a cluster of Kubernetes 1.`minor`. Its rules may
    /// use the functions of the minor before, so that a downgrade finds nothing that it does not know; those that stand in
    /// one of the schemas that are `stored` may use all.
    pub fn from_new_crd_at(
        path: &str,
        open_api_v3_schema: &Value,
        minor: Minor,
        stored: &[&Value],
        unchanged: bool,
    ) -> Result<Self, Vec<FieldError>> {
        let known = Known::new(u32::from(minor).saturating_sub(1), stored, unchanged);
        Self::read(path, open_api_v3_schema, &known)
    }

    fn read(path: &str, open_api_v3_schema: &Value, known: &Known) -> Result<Self, Vec<FieldError>> {
        let structural = crd::read(path, open_api_v3_schema, known)?;
        let source = open_api_v3_schema.to_string().into_boxed_str();
        Ok(Self(Inner::Custom(Arc::new(Custom { structural, source }))))
    }

    /// The OpenAPI name of a built-in type.
    pub fn type_name(&self) -> Option<String> {
        match &self.0 {
            Inner::Builtin(id, _) => Some(model().get(*id).full_name()),
            Inner::Custom(_) => None,
        }
    }

    pub fn is_builtin(&self) -> bool {
        matches!(self.0, Inner::Builtin(..))
    }

    fn node(&self) -> Node<'_> {
        match &self.0 {
            Inner::Builtin(id, minor) => Node::Builtin(ModelNode::new(*id, *minor)),
            Inner::Custom(custom) => Node::Custom(&custom.structural, true),
        }
    }

    /// What server-side apply sees of the schema.
    pub fn typed(&self) -> Typed<'_> {
        Typed::of(self.node())
    }

    /// What the checker of expressions sees of the schema, under a name that no other type has there.
    pub fn declared(&self, name: &str) -> Option<Arc<cel::DeclType>> {
        match &self.0 {
            Inner::Builtin(id, minor) => declared::builtin(ModelNode::new(*id, *minor), name),
            Inner::Custom(custom) => declared::custom(&custom.structural, name),
        }
    }

    pub(crate) fn builtin_node(&self) -> Option<ModelNode> {
        match &self.0 {
            Inner::Builtin(id, minor) => Some(ModelNode::new(*id, *minor)),
            Inner::Custom(_) => None,
        }
    }

    pub(crate) fn builtin_id(&self) -> Option<TypeId> {
        match &self.0 {
            Inner::Builtin(id, _) => Some(*id),
            Inner::Custom(_) => None,
        }
    }

    /// The custom schema as it was given.
    pub fn source(&self) -> Option<&str> {
        match &self.0 {
            Inner::Builtin(..) => None,
            Inner::Custom(custom) => Some(&custom.source),
        }
    }

    /// Paths of fields that the schema does not have, `spec.containers[0].foo`, sorted. The messages of strict and warn
    /// modes are `unknown field "<path>"`.
    pub fn unknown_fields(&self, value: &Value) -> Vec<String> {
        unknown::find(self.node(), value)
    }

    /// Removes what [`Schema::unknown_fields`] names, and returns it.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        unknown::prune(self.node(), value)
    }

    /// Whether a built-in object can be decoded: the first JSON value of a kind that its field cannot hold. Custom
    /// resources report their type errors in [`Schema::validate`], and pass here.
    pub fn check_types(&self, value: &Value) -> Result<(), TypeMismatch> {
        self.builtin_node().map_or(Ok(()), |node| check::types(node, value))
    }

    /// As [`Schema::check_types`], in the words in which a strategic merge patch is refused.
    pub fn check_conversion(&self, value: &Value) -> Result<(), TypeMismatch> {
        self.builtin_node().map_or(Ok(()), |node| check::conversion(node, value))
    }

    /// Removes nulls that mean "absent", and writes quantities and times of built-in types in the one form that upstream
    /// writes.
    /// To be called before [`Schema::default`].
    pub fn drop_nulls(&self, value: &mut Value) {
        match &self.0 {
            Inner::Builtin(id, minor) => nulls::drop_builtin(ModelNode::new(*id, *minor), value),
            Inner::Custom(custom) => nulls::drop_custom(&custom.structural, value),
        }
    }

    /// Fills the defaults that the schema declares.
    pub fn default(&self, value: &mut Value) {
        match &self.0 {
            Inner::Builtin(id, minor) => default::builtin(ModelNode::new(*id, *minor), value),
            Inner::Custom(custom) => default::custom(&custom.structural, value),
        }
    }

    /// Brings a built-in object, its nulls dropped, into the form that upstream stores and returns: zero values of
    /// optional fields go, structs and required fields that are absent appear. Custom resources stay as they are.
    pub fn canonicalise(&self, value: &mut Value) {
        if let Some(node) = self.builtin_node() {
            nulls::canonicalise(node, value);
        }
    }

    /// What the schema itself says about an object. For built-in types these are the constraints that markers declare
    /// outside `status`; the rest of their validation belongs to each kind.
    pub fn validate(&self, value: &Value) -> Vec<FieldError> {
        match &self.0 {
            Inner::Builtin(id, minor) => check::constraints(ModelNode::new(*id, *minor), value, Requirement::Declared),
            Inner::Custom(custom) => crd::validate_update(&custom.structural, value, None),
        }
    }

    /// As [`Schema::validate`], of an object that replaces `old`. A custom resource may keep what was wrong before, and is
    /// held to rules that compare it with `old`.
    pub fn validate_update(&self, value: &Value, old: &Value) -> Vec<FieldError> {
        match &self.0 {
            Inner::Builtin(..) => self.validate(value),
            Inner::Custom(custom) => crd::validate_update(&custom.structural, value, Some(old)),
        }
    }

    /// As [`Schema::validate_update`], of a custom resource of which only `status` is replaced.
    pub fn validate_status(&self, value: &Value, old: &Value) -> Vec<FieldError> {
        match &self.0 {
            Inner::Builtin(..) => self.validate(value),
            Inner::Custom(custom) => crd::validate_status(&custom.structural, value, old),
        }
    }

    /// Brings what a custom resource says of the resources inside of it into its types: what their metadata does not have goes.
    ///
    /// # Errors
    /// The first value of a type that its field cannot hold.
    pub fn coerce_embedded(&self, value: &mut Value) -> Result<(), FieldError> {
        match &self.0 {
            Inner::Builtin(..) => Ok(()),
            Inner::Custom(custom) => crd::coerce(&custom.structural, value),
        }
    }

    /// Tells of each resource inside of a custom resource, with its path.
    pub fn each_embedded(&self, value: &Value, tell: &mut dyn FnMut(&str, &Map<String, Value>)) {
        if let Inner::Custom(custom) = &self.0 {
            crd::each_embedded(&custom.structural, value, tell);
        }
    }

    /// Absent fields that the published OpenAPI of a built-in type requires. Stricter than upstream's validation in
    /// places (`rules` of a Role may be absent there), so a kind decides what to do with it. Empty for custom resources,
    /// whose `required` is part of [`Schema::validate`].
    pub fn missing_required(&self, value: &Value) -> Vec<FieldError> {
        self.builtin_node().map_or_else(Vec::new, |node| check::constraints(node, value, Requirement::Published))
    }

    /// The values that a field of a built-in type enumerates, by field names from the root; lists and maps are looked
    /// through. Empty when there is no such field or it enumerates nothing.
    pub fn enum_values(&self, fields: &[&str]) -> Vec<EnumValue> {
        let Some(mut node) = self.builtin_node() else { return Vec::new() };
        for name in fields {
            let ModelStep::Known(next) = node.step(name) else { return Vec::new() };
            node = next;
            while let Shape::List(item) | Shape::Map(item) = node.shape() {
                node = node.of(item);
            }
        }
        let crate::model::TyKind::Named(id) = &node.ty.kind else { return Vec::new() };
        match &model().get(*id).body {
            Body::Named(named) => {
                named.values.iter().filter(|value| value.minors.contains(node.minor)).copied().collect()
            }
            Body::Struct(_) | Body::Leaf(_) => Vec::new(),
        }
    }

    /// Whether the schema has a field, by names from the root; lists and maps are looked through.
    pub fn has_field(&self, fields: &[&str]) -> bool {
        let mut node = self.node();
        for name in fields {
            while let Some(item) = node.item() {
                node = item;
            }
            match node.step(name) {
                Step::Known(next) => node = next,
                Step::Free => return true,
                Step::Unknown => return false,
            }
        }
        true
    }

    /// Applies a strategic merge patch. Errors with [`PatchError::StrategicUnsupported`] for custom resources, whose
    /// schemas have no merge keys for it.
    pub fn strategic_merge_patch(&self, original: &Value, patch: &Value) -> Result<Value, PatchError> {
        match self.builtin_node() {
            Some(node) => patch::strategic::apply(node, original, patch),
            None => Err(PatchError::StrategicUnsupported),
        }
    }
}
