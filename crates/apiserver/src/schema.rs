//! The schema engine as the request path uses it: one place where its words become `Status` errors.

use k8s_object::{ApiError, Cause, Reason};
use k8s_schema::{FieldError, PatchError, Schema};
use serde_json::{Map, Value};

/// Causes of one refusal beyond which no more are looked for.
pub(crate) const MAX_CAUSES: usize = k8s_schema::MAX_FIELD_ERRORS;

/// Field validation, as clients ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// Absent is `Warn`.
    pub(crate) fn parse(text: Option<&str>) -> Result<FieldValidation, ApiError> {
        match text.unwrap_or("") {
            "Ignore" => Ok(FieldValidation::Ignore),
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Strict" => Ok(FieldValidation::Strict),
            other => Err(ApiError::new(
                Reason::Invalid,
                format!(
                    "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
                ),
            )),
        }
    }
}

/// The schema of one version of a resource.
pub(crate) struct TypeSchema(pub Option<Schema>);

impl TypeSchema {
    /// Of a built-in kind. A kind that the model does not know takes any fields.
    pub(crate) fn builtin(group: &str, version: &str, kind: &str, minor: u8) -> TypeSchema {
        let minor = minor.clamp(k8s_schema::OLDEST_MINOR, k8s_schema::NEWEST_MINOR);
        TypeSchema(Schema::builtin_kind(group, version, kind, minor))
    }

    /// Takes away what the schema does not have; returns it as `unknown field "…"`.
    pub(crate) fn prune(&self, value: &mut Value) -> Vec<String> {
        let unknown = self.0.as_ref().map(|schema| schema.prune(value)).unwrap_or_default();
        unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect()
    }

    /// Whether every value is of its field's type; `kind` is for the message.
    pub(crate) fn check_types(&self, value: &Value, kind: &str, version: &str) -> Result<(), ApiError> {
        let Some(schema) = &self.0 else { return Ok(()) };
        schema.check_types(value).map_err(|error| {
            ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
        })
    }

    /// What a strategic merge patch has made that is not of the type, in the words in which it is refused.
    pub(crate) fn unconvertible(&self, value: &Value) -> Option<String> {
        Some(self.0.as_ref()?.check_conversion(value).err()?.to_string())
    }

    pub(crate) fn drop_nulls(&self, value: &mut Value) {
        if let Some(schema) = &self.0 {
            schema.drop_nulls(value);
        }
    }

    pub(crate) fn default(&self, value: &mut Value) {
        if let Some(schema) = &self.0 {
            schema.default(value);
        }
    }

    pub(crate) fn canonicalise(&self, value: &mut Value) {
        if let Some(schema) = &self.0 {
            schema.canonicalise(value);
        }
    }

    /// What the schema says about an object, created or in the place of `old`.
    pub(crate) fn validate(&self, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        let Some(schema) = &self.0 else { return Vec::new() };
        causes(match old {
            Some(old) => schema.validate_update(value, old),
            None => schema.validate(value),
        })
    }

    /// As [`TypeSchema::validate`], of an object of which only the status is replaced.
    pub(crate) fn validate_status(&self, value: &Value, old: &Value) -> Vec<Cause> {
        self.0.as_ref().map(|schema| causes(schema.validate_status(value, old))).unwrap_or_default()
    }

    pub(crate) fn coerce_embedded(&self, value: &mut Value) -> Result<(), FieldError> {
        self.0.as_ref().map_or(Ok(()), |schema| schema.coerce_embedded(value))
    }

    /// Tells of each resource inside of an object, with its path.
    pub(crate) fn each_embedded(&self, value: &Value, tell: &mut dyn FnMut(&str, &Map<String, Value>)) {
        if let Some(schema) = &self.0 {
            schema.each_embedded(value, tell);
        }
    }

    /// Applies a strategic merge patch.
    pub(crate) fn strategic_merge(&self, original: &Value, patch: &Value) -> Result<Value, ApiError> {
        match &self.0 {
            Some(schema) => schema.strategic_merge_patch(original, patch).map_err(patch_error),
            None => Err(patch_error(PatchError::StrategicUnsupported)),
        }
    }
}

/// The schema engine's errors as causes of a `Status`.
pub(crate) fn causes(errors: Vec<FieldError>) -> Vec<Cause> {
    let errors = errors.into_iter();
    errors
        .map(|error| Cause { reason: error.kind.reason().to_owned(), message: error.body(), field: error.path })
        .collect()
}

/// What a client is told about its patch.
pub(crate) fn patch_error(error: PatchError) -> ApiError {
    let text = error.to_string();
    match error {
        PatchError::Malformed(_) => ApiError::bad_request(text),
        PatchError::TooManyOperations { .. } => {
            ApiError::new(Reason::RequestEntityTooLarge, format!("Request entity too large: {text}"))
        }
        // Upstream keeps to itself why.
        PatchError::NotApplicable(_) => {
            ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request")
        }
        PatchError::Unexplained(_) => ApiError::new(Reason::InternalError, text).verbatim(500, ""),
        PatchError::StrategicUnsupported => ApiError::new(Reason::UnsupportedMediaType, text),
    }
}

/// Reads JSON strictly: the value, and `duplicate field "…"` for each field that stood there twice.
pub(crate) fn decode_json(bytes: &[u8]) -> Result<(Value, Vec<String>), ApiError> {
    match k8s_schema::decode(bytes) {
        Ok(decoded) => Ok((decoded.value, decoded.duplicates)),
        Err(error) => {
            Err(ApiError::bad_request(format!("the object provided is unrecognized (must be of type JSON): {error}")))
        }
    }
}

/// Reads an object in Kubernetes' protobuf form.
pub(crate) fn decode_protobuf(bytes: &[u8]) -> Result<Value, ApiError> {
    k8s_schema::decode_protobuf(bytes).map_err(|error| ApiError::bad_request(error.to_string()))
}
