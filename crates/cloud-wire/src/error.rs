//! What goes wrong on the wire, and the error that AWS clients see. Must never know HTTP bodies: the protocols write them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::model::Protocol;

/// Whose fault an error is; the query protocols write it as `Sender` and `Receiver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller's: HTTP 4xx.
    Client,
    /// Ours: HTTP 5xx.
    Server,
}

/// An error as an AWS operation answers it.
///
/// `code` is the name of the modelled exception (`ResourceNotFoundException`) or its wire code (`NoSuchEntity`); the protocol writes
/// whichever of the two its clients expect.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// Exception name or wire code.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// What was wrong, with what, and what to do.
    pub message: String,
    /// Further members of the modelled exception by member name, for example `clusterName`.
    pub members: Map<String, Value>,
    /// Whose fault it is.
    pub fault: Fault,
}

impl AwsError {
    /// An error of the caller with this HTTP status; the fault is the server's from 500 on.
    pub fn new(code: impl Into<Cow<'static, str>>, status: u16, message: impl Into<String>) -> AwsError {
        let fault = if status >= 500 { Fault::Server } else { Fault::Client };
        AwsError { code: code.into(), status, message: message.into(), members: Map::new(), fault }
    }

    /// Adds a modelled member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> AwsError {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// The operation exists at AWS and not here. 501 is a status that SDKs do not retry.
    pub fn not_supported(service: &str, operation: &str) -> AwsError {
        AwsError::new("NotImplemented", 501, format!("{service}:{operation} is not supported by Minato yet."))
    }

    /// Something broke that the caller cannot mend.
    pub fn internal(message: impl Into<String>) -> AwsError {
        AwsError::new("InternalFailure", 500, message)
    }
}

/// Why a request could not be turned into a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Neither signature, target, action nor path belongs to a service that Minato has.
    #[error("the service {0:?} is not supported by Minato yet")]
    UnknownService(String),
    /// Nothing in the request says which service it is for.
    #[error(
        "the request names no AWS service: it has no SigV4 credential scope, no X-Amz-Target, no Action, and no known path"
    )]
    NoService,
    /// A query request without `Action`.
    #[error("The request must contain the parameter Action")]
    MissingAction,
    /// No operation of the service matches.
    #[error("{service} has no operation for {what}")]
    UnknownOperation {
        /// The service's endpoint name.
        service: &'static str,
        /// The action, target or method and path that was asked for.
        what: String,
    },
    /// The operation exists at AWS, but its model is not included.
    #[error("{service}:{operation} is not supported by Minato yet")]
    NotSupported {
        /// The service's endpoint name.
        service: &'static str,
        /// The operation's name.
        operation: &'static str,
    },
    /// The body or a parameter is not in the protocol's form at all.
    #[error("the {what} is malformed: {why}")]
    Malformed {
        /// For example `JSON body`.
        what: &'static str,
        /// What the parser found.
        why: String,
    },
    /// A value has another type than its member.
    #[error("{found} can not be converted to {expected} at '{at}'")]
    WrongType {
        /// Dotted path of the member; empty at the top.
        at: String,
        /// What the request holds, for example `STRING_VALUE`.
        found: &'static str,
        /// What the model asks for, for example `an Integer`.
        expected: &'static str,
    },
    /// A `%` escape that is not one.
    #[error("{text:?} is not valid percent-encoded UTF-8")]
    PercentEncoding {
        /// The start of the text.
        text: String,
    },
    /// A parameter stands twice where one is allowed.
    #[error("the parameter {0:?} is given more than once")]
    Duplicate(String),
    /// A limit was exceeded.
    #[error("the request has too many {what}: at most {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl WireError {
    /// Puts an outer member in front of the path of a [`WireError::WrongType`].
    #[must_use]
    pub(crate) fn within(mut self, outer: &str) -> WireError {
        if let WireError::WrongType { at, .. } = &mut self {
            if at.is_empty() {
                outer.clone_into(at);
            } else {
                at.insert(0, '.');
                at.insert_str(0, outer);
            }
        }
        self
    }

    /// The error that AWS's front ends of this protocol give (their "common errors").
    pub fn to_aws(&self, protocol: Protocol) -> AwsError {
        use Protocol::{Ec2, Query};
        let message = self.to_string();
        let (code, status) = match (self, protocol) {
            (WireError::UnknownService(_) | WireError::NotSupported { .. }, _) => ("NotImplemented", 501),
            (WireError::NoService, _) => ("UnknownOperationException", 404),
            (WireError::MissingAction, _) => ("MissingAction", 400),
            (WireError::UnknownOperation { .. }, Query | Ec2) => ("InvalidAction", 400),
            (WireError::UnknownOperation { .. }, Protocol::Json) => ("UnknownOperationException", 400),
            (WireError::UnknownOperation { .. }, _) => ("UnknownOperationException", 404),
            (WireError::TooLarge { .. }, _) => ("RequestEntityTooLarge", 413),
            (WireError::PercentEncoding { .. } | WireError::Duplicate(_), Query | Ec2) => ("MalformedQueryString", 400),
            (WireError::WrongType { .. }, Ec2) => ("InvalidParameterValue", 400),
            (WireError::Malformed { .. } | WireError::WrongType { .. }, Query | Ec2) => ("MalformedInput", 400),
            (_, Protocol::RestXml) => ("MalformedXML", 400),
            (_, _) => ("SerializationException", 400),
        };
        AwsError::new(code, status, message)
    }
}
