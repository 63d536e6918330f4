//! The errors of IAM and STS in AWS's words. Codes are those of the query protocol.

use cloud_wire::AwsError;

use crate::records::RecordError;

impl From<RecordError> for AwsError {
    fn from(error: RecordError) -> AwsError {
        AwsError::internal(error.to_string())
    }
}
