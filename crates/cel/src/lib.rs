//! The Common Expression Language (CEL) as Kubernetes has it.
//!
//! An [`Env`] declares variables and their types ([`DeclType`]); [`Env::compile`] parses, type-checks and plans a text into a
//! [`Program`], or says what is wrong with it in cel-go's words ([`CompileError`]). [`Program::eval`] evaluates it over values
//! ([`Val`]) that borrow the objects they come from, and takes what it cost from a [`Budget`].
//!
//! ```
//! use cel::{Budget, DeclType, Env, Val};
//!
//! let env = Env::new(34).variable("replicas", DeclType::int());
//! let program = env.compile("replicas <= 5")?;
//! let variables = [("replicas", Val::Int(3))];
//! assert_eq!(program.eval(&variables, &mut Budget::default())?.as_bool(), Some(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Semantics, messages and costs are those of cel-go and of Kubernetes' libraries. The crate knows nothing of API objects; it
//! must never do I/O or look at a clock, and nothing that an expression or an object says makes it panic, run on without
//! end, or recurse deeper than the parser allows.

mod ast;
mod charge;
mod check;
mod convert;
mod cost;
mod decl;
mod env;
mod error;
mod eval;
mod functions;
mod lexer;
mod macros;
mod meter;
mod parser;
mod pattern;
mod plan;
mod program;
mod source;
mod syntax;
mod time;
mod types;
mod unify;
mod val;
mod validators;

pub use cost::Range as CostRange;
pub use decl::{DeclKind, DeclType, FieldDecl, ListKind, MAX_REQUEST_BYTES, ObjectDecl, RESERVED, UNLIMITED, escape};
pub use env::{CompileError, EVERY_MINOR, Env};
pub use error::EvalError;
pub use eval::Activation;
pub use functions::{Authorizer, AuthorizerDecision, Check, CheckKind, Library, ResourceCheck, ServiceAccount};
pub use meter::{Budget, MAX_CALL_COST, MAX_MATCH_CONDITIONS_COST, MAX_REQUEST_COST};
pub use pattern::Pattern;
pub use program::Program;
pub use source::{Issue, Issues};
pub use time::Timestamp;
pub use types::Type;
pub use val::{Bytes, Key, List, Map, Struct, Text, Val};
