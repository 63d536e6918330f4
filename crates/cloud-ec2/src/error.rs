//! EC2's errors: codes with dots, and AWS's words.

use cloud_wire::AwsError;

pub(crate) fn client(code: &'static str, message: impl Into<String>) -> AwsError {
    AwsError::new(code, 400, message)
}

/// Kinds of things that have ids: prefix, error code and the word in the message. Alphabetical.
static KINDS: &[(&str, &str, &str)] = &[
    ("eni", "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"),
    ("i", "InvalidInstanceID.NotFound", "instance ID"),
    ("igw", "InvalidInternetGatewayID.NotFound", "internetGateway ID"),
    ("rtb", "InvalidRouteTableID.NotFound", "routeTable ID"),
    ("sg", "InvalidGroup.NotFound", "security group"),
    ("subnet", "InvalidSubnetID.NotFound", "subnet ID"),
    ("vpc", "InvalidVpcID.NotFound", "vpc ID"),
];

/// The thing with this id does not exist; its kind is the part before the dash, `kind` when the id has none.
pub(crate) fn not_found(kind: &str, id: &str) -> AwsError {
    match KINDS.iter().find(|(prefix, ..)| *prefix == kind) {
        Some((_, code, word)) => client(code, format!("The {word} '{id}' does not exist")),
        None => client("InvalidID", format!("The ID '{id}' is not valid")),
    }
}

pub(crate) fn dependency(kind: &str, id: &str) -> AwsError {
    client("DependencyViolation", format!("The {kind} '{id}' has dependencies and cannot be deleted."))
}

pub(crate) fn invalid(message: impl Into<String>) -> AwsError {
    client("InvalidParameterValue", message)
}

pub(crate) fn no_free_addresses(subnet: &str) -> AwsError {
    client(
        "InsufficientFreeAddressesInSubnet",
        format!(
            "There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances."
        ),
    )
}
