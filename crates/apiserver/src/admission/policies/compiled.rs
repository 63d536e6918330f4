//! Policies and bindings, read once per version of each.

use k8s_object::{LabelSelector, Object};
use serde_json::Value;

use super::super::Review;
use super::super::conditions::Conditions;
use super::super::expressions::{Expression, May, Variables, Yields, environment};
use super::super::rules::{self, Rule};

/// `matchConstraints` of a policy or `matchResources` of a binding.
pub(super) struct Constraints {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

impl Constraints {
    pub(super) fn of(value: &Value) -> Constraints {
        Constraints {
            rules: Rule::all(&value["resourceRules"]),
            excluded: Rule::all(&value["excludeResourceRules"]),
            equivalent: value["matchPolicy"] != "Exact",
            namespaces: rules::selector(&value["namespaceSelector"]),
            objects: rules::selector(&value["objectSelector"]),
        }
    }

    /// Whether they are met, and by which version of the resource (its index).
    pub(super) fn met(&self, review: &Review<'_, '_>, object: Option<&Value>) -> Result<Option<usize>, String> {
        let namespaces = self.namespaces.as_ref().map_err(Clone::clone);
        let selected = namespaces
            .and_then(|selector| rules::selects_namespace(review, object, selector).map_err(|error| error.message));
        if selected == Ok(false) {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(Clone::clone);
        let selected_object = objects.map(|selector| rules::selects_object(object, review.old, selector));
        if selected_object == Ok(false) {
            return Ok(None);
        }
        let name = rules::name(review.call, object.or(review.old));
        if rules::matched(review, name, &self.excluded, self.equivalent).is_some() {
            return Ok(None);
        }
        let version = match self.rules.is_empty() {
            true => rules::own_version(review),
            false => rules::matched(review, name, &self.rules, self.equivalent),
        };
        let Some(version) = version else { return Ok(None) };
        selected?;
        selected_object?;
        Ok(Some(version))
    }
}

/// One rule of a policy.
pub(super) struct Validation {
    pub rule: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

/// A ValidatingAdmissionPolicy.
pub(in super::super) struct Policy {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    /// `apiVersion` and `kind` of its parameters.
    pub(super) params: Option<(String, String)>,
    /// An error denies the request.
    pub(super) fails: bool,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Expression)>,
}

pub(super) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or("").to_owned()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `apiVersion` and `kind` of a policy's parameters.
pub(super) fn param_kind(spec: &Value) -> Option<(String, String)> {
    let kind = &spec["paramKind"];
    kind.is_object().then(|| (text(kind, "apiVersion"), text(kind, "kind")))
}

/// The variables that a policy defines, and their types; each sees those before it.
pub(super) fn variables(env: &cel::Env, spec: &Value) -> (Vec<(String, Expression)>, Variables) {
    let mut types = Variables::default();
    let compiled = list(&spec["variables"]).iter().map(|own| {
        let (name, written) = (text(own, "name"), text(own, "expression"));
        let expression = Expression::compile(&types.within(env.clone()), &written, Yields::Any);
        expression.declare(&name, &mut types);
        (name, expression)
    });
    (compiled.collect(), types)
}

impl Policy {
    pub(in super::super) fn of(object: &Object) -> Policy {
        let value = object.value();
        let spec = &value["spec"];
        let params = spec["paramKind"].is_object();
        let asking = environment(May { params, authorizer: true, mutation: false });
        let (variables, types) = variables(&asking, spec);
        let env = types.within(asking);
        // Messages cannot ask the authorizer.
        let quiet = types.within(environment(May { params, authorizer: false, mutation: false }));
        let compile = |value: &Value, field: &str, yields| Expression::compile(&env, &text(value, field), yields);
        let conditions = list(&spec["matchConditions"]).iter().map(|own| compile(own, "expression", Yields::Flag));
        let conditions = conditions.collect();
        let validations = list(&spec["validations"]).iter().map(|own| Validation {
            rule: compile(own, "expression", Yields::Flag),
            message: text(own, "message"),
            message_expression: own["messageExpression"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(|text| Expression::compile(&quiet, text, Yields::Text)),
            reason: text(own, "reason"),
        });
        let validations = validations.collect();
        let annotations = list(&spec["auditAnnotations"]).iter();
        let annotations =
            annotations.map(|own| (text(own, "key"), compile(own, "valueExpression", Yields::OptionalText))).collect();
        Policy {
            name: object.meta().name.clone(),
            constraints: Constraints::of(&spec["matchConstraints"]),
            params: param_kind(spec),
            fails: spec["failurePolicy"] != "Ignore",
            conditions: Conditions::of_policy(&object.meta().name, conditions),
            variables,
            validations,
            annotations,
        }
    }
}

/// Which parameters a binding names.
pub(super) struct ParamRef {
    pub name: String,
    pub namespace: String,
    pub selector: Option<Result<LabelSelector, String>>,
    /// Without any the request is denied.
    pub denies: bool,
}

/// A ValidatingAdmissionPolicyBinding.
pub(in super::super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) params: Option<ParamRef>,
    pub(super) constraints: Option<Constraints>,
    pub(super) denies: bool,
    pub(super) warns: bool,
    pub(super) audits: bool,
    pub(super) actions: Value,
}

impl Binding {
    pub(in super::super) fn of(object: &Object) -> Binding {
        let value = object.value();
        let spec = &value["spec"];
        let reference = &spec["paramRef"];
        let acts = |action: &str| list(&spec["validationActions"]).iter().any(|own| own == action);
        Binding {
            name: object.meta().name.clone(),
            policy: text(spec, "policyName"),
            params: reference.is_object().then(|| ParamRef {
                name: text(reference, "name"),
                namespace: text(reference, "namespace"),
                selector: reference["selector"].is_object().then(|| rules::selector(&reference["selector"])),
                denies: reference["parameterNotFoundAction"] == "Deny",
            }),
            constraints: spec["matchResources"].is_object().then(|| Constraints::of(&spec["matchResources"])),
            denies: acts("Deny"),
            warns: acts("Warn"),
            audits: acts("Audit"),
            actions: spec["validationActions"].clone(),
        }
    }
}
