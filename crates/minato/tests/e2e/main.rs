//! The minato command driven as people drive it: a real process, the AWS CLI, kubectl and boto3. Tests that need a client
//! that is not on the PATH say so and pass, unless MINATO_REQUIRE_CLIENTS is set, as it is in CI.

mod access;
mod bad_input;
mod boto;
mod client_go;
mod eks;
mod etcd;
mod etcd_face;
mod harness;
mod helm;
mod kubectl;
mod persistence;
mod python;
mod quickstart;
mod transcript;
