//! What expressions may name: the functions of a minor of Kubernetes, variables, types.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check;
use crate::cost;
use crate::decl::{DeclKind, DeclType, FieldDecl};
use crate::functions::Overload;
use crate::parser::{self, Syntax};
use crate::plan;
use crate::program::Program;
use crate::source::Issues;
use crate::types::Type;

/// In place of a minor: what only expressions have that make mutations.
pub(crate) const MUTATION: u32 = u32::MAX;

/// All minors: what is stored already may use everything.
pub const EVERY_MINOR: u32 = u32::MAX - 1;

/// An environment. Programs do not refer to it, so it may be made for one compilation.
#[derive(Clone, Debug)]
pub struct Env {
    minor: u32,
    mutation: bool,
    variables: BTreeMap<String, Arc<DeclType>>,
    objects: BTreeMap<Arc<str>, Arc<DeclType>>,
}

/// Why a text is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It does not parse or check.
    #[error("{0}")]
    Issues(Issues),
    /// A constant in it cannot be converted.
    #[error("{0}")]
    Constant(String),
}

impl Env {
    /// The functions that Kubernetes 1.`minor` has. Upstream lets *new* expressions use only those of the minor before, so
    /// that a downgrade finds nothing that it does not know, and stored ones everything ([`EVERY_MINOR`]).
    pub fn new(minor: u32) -> Self {
        Self { minor, mutation: false, variables: BTreeMap::new(), objects: BTreeMap::new() }
    }

    /// With `Object{…}`, `JSONPatch{…}` and what goes with them.
    pub fn with_mutation(mut self) -> Self {
        self.mutation = true;
        self
    }

    /// With a variable. A name may have dots: `variables.x` is then found before a field `x` of `variables`.
    pub fn variable(mut self, name: &str, decl: Arc<DeclType>) -> Self {
        DeclType::collect_objects(&decl, &mut self.objects);
        self.variables.insert(name.to_owned(), decl);
        self
    }

    /// Parses, checks and plans an expression.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let parsed = parser::parse(text, Syntax { minor: self.minor }).map_err(CompileError::Issues)?;
        let checked = check::check(self, &parsed, text).map_err(CompileError::Issues)?;
        let estimate = cost::estimate(self, &parsed.root, &checked);
        let planned = plan::plan(&parsed.root, &checked).map_err(CompileError::Constant)?;
        Ok(Program::new(planned, checked.result, estimate, checked.variables))
    }

    pub(crate) fn has(&self, overload: &Overload) -> bool {
        if overload.since == MUTATION { self.mutation } else { overload.since <= self.minor }
    }

    pub(crate) fn variable_decl(&self, name: &str) -> Option<&Arc<DeclType>> {
        self.variables.get(name)
    }

    /// Whether an object type of that name may be made or has declared fields.
    pub(crate) fn object_type(&self, name: &str) -> Option<Type> {
        let known = self.objects.contains_key(name) || self.is_made(name);
        known.then(|| Type::object(name))
    }

    fn is_made(&self, name: &str) -> bool {
        self.mutation && (name == "JSONPatch" || name == "Object" || name.starts_with("Object."))
    }

    /// The type of a field; `None` when the object has none of that name.
    pub(crate) fn field_type(&self, object: &str, field: &str) -> Option<Type> {
        if self.is_made(object) {
            return match (object, field) {
                ("JSONPatch", "op" | "path" | "from") => Some(Type::String),
                ("JSONPatch", "value") => Some(Type::Dyn),
                ("JSONPatch", _) => None,
                _ => Some(Type::Dyn),
            };
        }
        self.field(object, field).map(|field| field.decl.to_type())
    }

    fn field(&self, object: &str, field: &str) -> Option<&FieldDecl> {
        match &self.objects.get(object)?.kind {
            DeclKind::Object(object) => object.field(field),
            _ => None,
        }
    }
}
