//! EKS's exceptions. Messages that clients match on are AWS's, word for word.

use cloud_wire::AwsError;

pub(crate) fn invalid_parameter(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", 400, message)
}

pub(crate) fn invalid_request(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidRequestException", 400, message)
}

pub(crate) fn in_use(message: impl Into<String>) -> AwsError {
    AwsError::new("ResourceInUseException", 409, message)
}

pub(crate) fn not_found(message: impl Into<String>) -> AwsError {
    AwsError::new("ResourceNotFoundException", 404, message)
}

pub(crate) fn limit(message: impl Into<String>) -> AwsError {
    AwsError::new("ResourceLimitExceededException", 400, message)
}

pub(crate) fn no_cluster(name: &str) -> AwsError {
    not_found(format!("No cluster found for name: {name}.")).with("clusterName", name)
}

pub(crate) fn no_nodegroup(cluster: &str, name: &str) -> AwsError {
    not_found(format!("No node group found for name: {name}.")).with("clusterName", cluster).with("nodegroupName", name)
}

/// Errors of EC2 in an answer of EKS, where they are the parameters' fault.
pub(crate) fn from_ec2(error: AwsError) -> AwsError {
    if error.status >= 500 { error } else { invalid_parameter(error.message) }
}
