//! Documents about the server itself: its version, and who issues tokens of ServiceAccounts.

use serde_json::{Map, Value, json};

use super::Flavour;

/// Where those documents are.
pub const OPENAPI_ABOUT_THE_SERVER: [&str; 3] = [".well-known/openid-configuration", "openid/v1/jwks", "version"];

const INFO: &str = "io.k8s.apimachinery.pkg.version.Info";
/// Fields of the version: name, whether it is always there, and what it is.
const FIELDS: [(&str, bool, &str); 13] = [
    ("buildDate", true, "When it was built."),
    ("compiler", true, "What it was built with."),
    ("emulationMajor", false, "The major version that it behaves as."),
    ("emulationMinor", false, "The minor version that it behaves as."),
    ("gitCommit", true, "The commit that it was built from."),
    ("gitTreeState", true, "Whether there were changes beside the commit: clean or dirty."),
    ("gitVersion", true, "The version, such as v1.34.1."),
    ("goVersion", true, "The version of Go that it was built with."),
    ("major", true, "The major version."),
    ("minCompatibilityMajor", false, "The major version of the oldest server that it can run beside."),
    ("minCompatibilityMinor", false, "The minor version of the oldest server that it can run beside."),
    ("minor", true, "The minor version."),
    ("platform", true, "The operating system and the architecture."),
];

/// A path, what can be done there, and the schemas that it leads to.
pub(super) fn root(flavour: Flavour, about: &str) -> Option<(String, Value, Map<String, Value>)> {
    let text = json!({ "type": "string" });
    let (id, tag, form, schema, description) = match about {
        ".well-known/openid-configuration" => (
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "application/json",
            text,
            "The issuer of the tokens of ServiceAccounts, as OpenID discovery tells it.",
        ),
        "openid/v1/jwks" => (
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "application/jwk-set+json",
            text,
            "The keys that check the tokens of ServiceAccounts.",
        ),
        "version" => {
            ("getCodeVersion", "version", "application/json", flavour.reference(INFO), "The version of the server.")
        }
        _ => return None,
    };
    let mut answer = json!({ "description": "OK" });
    let mut operation = json!({ "operationId": id, "description": description, "tags": [tag] });
    match flavour {
        Flavour::V2 => {
            answer["schema"] = schema;
            operation["schemes"] = json!(["https"]);
            if about == "version" {
                operation["consumes"] = json!([form]);
            }
            operation["produces"] = json!([form]);
        }
        Flavour::V3 => answer["content"] = json!({ form: { "schema": schema } }),
    }
    operation["responses"] = json!({ "200": answer, "401": { "description": "Unauthorized" } });
    let mut schemas = Map::new();
    if about == "version" {
        schemas.insert(INFO.to_owned(), info(flavour));
    }
    Some((format!("/{about}/"), json!({ "get": operation }), schemas))
}

fn info(flavour: Flavour) -> Value {
    let property = |is_required: bool, description: &str| {
        let mut property = json!({ "type": "string", "description": description });
        if is_required && flavour == Flavour::V3 {
            property["default"] = json!("");
        }
        property
    };
    let properties = FIELDS.map(|(name, is_required, sentence)| (name.to_owned(), property(is_required, sentence)));
    let required: Vec<&str> =
        FIELDS.iter().filter(|(_, is_required, _)| *is_required).map(|(name, ..)| *name).collect();
    json!({
        "type": "object", "description": "The version of the server, and how it was built.", "required": required,
        "properties": Map::from_iter(properties),
    })
}
