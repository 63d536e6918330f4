//! A region driven by the published Rust clients. Everything is in `tests/`.
