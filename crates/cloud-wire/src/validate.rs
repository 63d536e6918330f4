//! Checks parameters against the model's constraints, with AWS's sentences. Must never check what the model does not state.

use serde_json::Value;

use crate::error::AwsError;
use crate::model::{Kind, Member, Operation, Protocol, Service, Shape};

/// Most violations that are reported at once; one request can break thousands.
pub const MAX_VIOLATIONS: usize = 20;

/// Longest piece of an offending value that is quoted, in characters.
const MAX_QUOTED: usize = 256;

/// A rule that a parameter breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// It is required.
    Required,
    /// It is shorter, or has fewer items, than this.
    MinLength(f64),
    /// It is longer, or has more items, than this.
    MaxLength(f64),
    /// It is less than this.
    Min(f64),
    /// It is greater than this.
    Max(f64),
    /// It does not match this pattern.
    Pattern(&'static str),
    /// It is none of these.
    Enum(Vec<&'static str>),
}

/// One violation.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Dotted path of the member; lists count from 1 as `.1.member`.
    pub at: String,
    /// What it holds, shortened.
    pub value: String,
    /// What it should be.
    pub rule: Rule,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            Rule::Required => {
                return write!(f, "Value null at '{}' failed to satisfy constraint: Member must not be null", self.at);
            }
            _ => write!(f, "Value '{}' at '{}' failed to satisfy constraint: Member must ", self.value, self.at)?,
        }
        match &self.rule {
            Rule::Required => Ok(()),
            Rule::MinLength(length) => write!(f, "have length greater than or equal to {length}"),
            Rule::MaxLength(length) => write!(f, "have length less than or equal to {length}"),
            Rule::Min(value) => write!(f, "have value greater than or equal to {value}"),
            Rule::Max(value) => write!(f, "have value less than or equal to {value}"),
            Rule::Pattern(pattern) => write!(f, "satisfy regular expression pattern: {pattern}"),
            Rule::Enum(values) => write!(f, "satisfy enum value set: [{}]", values.join(", ")),
        }
    }
}

/// Parameters that break constraints of the model: at least one violation, at most [`MAX_VIOLATIONS`].
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationError(pub Vec<Violation>);

impl std::error::Error for ValidationError {}

impl std::fmt::Display for ValidationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} validation error{plural} detected: ", self.0.len())?;
        for (index, violation) in self.0.iter().enumerate() {
            write!(f, "{}{violation}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl ValidationError {
    /// The error that the service answers with. EC2 has its own words for a missing parameter.
    pub fn to_aws(&self, service: &Service) -> AwsError {
        if service.protocol == crate::model::Protocol::Ec2
            && let Some(missing) = self.0.iter().find(|violation| violation.rule == Rule::Required)
        {
            let message = format!("The request must contain the parameter {}", missing.at);
            return AwsError::new("MissingParameter", 400, message);
        }
        service.error(service.invalid_parameter_code(), self.to_string())
    }
}

impl Service {
    /// Checks the parameters of a call: required members, lengths, ranges, patterns and enums.
    ///
    /// # Errors
    /// All violations, up to [`MAX_VIOLATIONS`].
    pub fn validate(&self, operation: &Operation, input: &Value) -> Result<(), ValidationError> {
        let mut checker = Checker { service: self, violations: Vec::new() };
        if let Some(id) = operation.input {
            checker.check(&Member::of(id), input, "");
        }
        if checker.violations.is_empty() { Ok(()) } else { Err(ValidationError(checker.violations)) }
    }
}

struct Checker<'s> {
    service: &'s Service,
    violations: Vec<Violation>,
}

impl Checker<'_> {
    fn report(&mut self, at: &str, value: &Value, rule: Rule) {
        if self.violations.len() < MAX_VIOLATIONS {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let value = text.chars().take(MAX_QUOTED).collect();
            self.violations.push(Violation { at: at.to_owned(), value, rule });
        }
    }

    fn check(&mut self, member: &Member, value: &Value, at: &str) {
        if value.is_null() || self.violations.len() == MAX_VIOLATIONS {
            return;
        }
        let shape = self.service.shape(member.shape);
        let join = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        match (&shape.kind, value) {
            (Kind::Structure(structure), Value::Object(members)) => {
                for member in &structure.members {
                    match members.get(member.name) {
                        None | Some(Value::Null) if member.required => {
                            self.report(&join(member.name), &Value::Null, Rule::Required);
                        }
                        None => {}
                        Some(value) => self.check(member, value, &join(member.name)),
                    }
                }
            }
            (Kind::List(item), Value::Array(list)) => {
                self.check_length(shape, list.len(), value, at);
                for (index, value) in list.iter().enumerate() {
                    self.check(item, value, &join(&format!("{}.member", index + 1)));
                }
            }
            (Kind::Map(pair), Value::Object(map)) => {
                self.check_length(shape, map.len(), value, at);
                for (key, value) in map {
                    self.check(&pair.0, &Value::from(key.as_str()), at);
                    self.check(&pair.1, value, &join(&format!("{key}.member")));
                }
            }
            (Kind::String, Value::String(text)) => self.check_text(shape, text, value, at),
            (Kind::Integer | Kind::Long | Kind::Float | Kind::Double, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or_default();
                if let Some(min) = shape.min.filter(|min| number < *min) {
                    self.report(at, value, Rule::Min(min));
                }
                if let Some(max) = shape.max.filter(|max| number > *max) {
                    self.report(at, value, Rule::Max(max));
                }
            }
            (Kind::Blob, Value::String(text)) => {
                let length = crate::scalar::decode_blob(text).map_or(0, |bytes| bytes.len());
                self.check_length(shape, length, value, at);
            }
            _ => {}
        }
    }

    fn check_length(&mut self, shape: &Shape, length: usize, value: &Value, at: &str) {
        let length = length as f64;
        if let Some(min) = shape.min.filter(|min| length < *min) {
            self.report(at, value, Rule::MinLength(min));
        }
        if let Some(max) = shape.max.filter(|max| length > *max) {
            self.report(at, value, Rule::MaxLength(max));
        }
    }

    fn check_text(&mut self, shape: &Shape, text: &str, value: &Value, at: &str) {
        self.check_length(shape, text.chars().count(), value, at);
        if let Some(pattern) = shape.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.report(at, value, Rule::Pattern(pattern.source()));
        }
        // EC2 has errors of its own for values that it does not know, such as InvalidInstanceType.
        let closed = !shape.values.is_empty() && self.service.protocol != Protocol::Ec2;
        if closed && !shape.values.iter().any(|allowed| allowed == text) {
            self.report(at, value, Rule::Enum(shape.values.iter().collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Name;
    use serde_json::json;

    fn message(name: Name, operation: &str, input: Value) -> Option<String> {
        let service = Service::get(name);
        let operation = service.operation(operation).expect("modelled");
        service.validate(operation, &input).err().map(|error| {
            let error = error.to_aws(service);
            format!("{} {}: {}", error.status, error.code, error.message)
        })
    }

    #[test]
    fn constraints_are_reported_in_the_words_of_aws() {
        let vpc = json!({"subnetIds": ["subnet-1"]});
        for (name, operation, input, expected) in [
            (Name::Eks, "CreateCluster", json!({"name": "a", "roleArn": "r", "resourcesVpcConfig": vpc}), None),
            (
                Name::Eks,
                "CreateCluster",
                json!({"name": "a b", "resourcesVpcConfig": vpc}),
                Some(
                    "400 InvalidParameterException: 2 validation errors detected: Value 'a b' at 'name' failed to satisfy \
                     constraint: Member must satisfy regular expression pattern: ^[0-9A-Za-z][A-Za-z0-9\\-_]*; Value null at \
                     'roleArn' failed to satisfy constraint: Member must not be null",
                ),
            ),
            (
                Name::Eks,
                "ListClusters",
                json!({"maxResults": 101}),
                Some(
                    "400 InvalidParameterException: 1 validation error detected: Value '101' at 'maxResults' failed to satisfy \
                     constraint: Member must have value less than or equal to 100",
                ),
            ),
            (
                Name::Iam,
                "CreateUser",
                json!({"UserName": "u", "Tags": [{"Key": "", "Value": "v"}]}),
                Some(
                    "400 ValidationError: 2 validation errors detected: Value '' at 'Tags.1.member.Key' failed to satisfy \
                     constraint: Member must have length greater than or equal to 1; Value '' at 'Tags.1.member.Key' failed to \
                     satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+",
                ),
            ),
            (
                Name::Ec2,
                "DeleteVpc",
                json!({}),
                Some("400 MissingParameter: The request must contain the parameter VpcId"),
            ),
        ] {
            assert_eq!(message(name, operation, input).as_deref(), expected, "{operation}");
        }
    }

    #[test]
    fn enums_and_list_lengths_are_checked_and_reports_are_bounded() {
        let error = message(
            Name::Eks,
            "UpdateAccessEntry",
            json!({"clusterName": "c", "principalArn": "p", "kubernetesGroups": []}),
        );
        assert_eq!(error, None);
        let bad =
            json!({"clusterName": "c", "nodegroupName": "n", "subnets": [], "nodeRole": "r", "amiType": "WINDOWS_95"});
        assert!(
            message(Name::Eks, "CreateNodegroup", bad)
                .is_some_and(|text| text.contains("'amiType'") && text.contains("enum value set: ["))
        );
        let tags: Vec<_> = (0..1000).map(|_| json!({"Key": "k"})).collect();
        let service = Service::get(Name::Iam);
        let operation = service.operation("CreateUser").expect("modelled");
        let violations =
            service.validate(operation, &json!({"UserName": "u", "Tags": tags})).map_err(|error| error.0.len());
        assert_eq!(violations, Err(MAX_VIOLATIONS));
    }
}
