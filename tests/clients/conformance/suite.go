//go:build suite

// Package conformance names what `cargo xtask conformance` builds: Kubernetes' own end-to-end tests, at a fixed version.
package conformance

import _ "k8s.io/kubernetes/test/e2e"
