//! Roles in `kube-public` and `kube-system`, and their bindings (bootstrappolicy `namespace_policy.go`).

use super::Rule::{Named, On};
use super::Whom::{Account, User};
use super::{EVENTS, NamespacedRole, READ};

/// By namespace and name.
pub(super) static ROLES: &[NamespacedRole] = &[
    NamespacedRole {
        namespace: "kube-public",
        name: "system:controller:bootstrap-signer",
        rules: &[On("core", "configmaps", READ), Named("core", "configmaps", "cluster-info", "update"), EVENTS],
        binding: "system:controller:bootstrap-signer",
        subjects: &[Account("bootstrap-signer")],
    },
    NamespacedRole {
        namespace: "kube-system",
        name: "extension-apiserver-authentication-reader",
        rules: &[Named("core", "configmaps", "extension-apiserver-authentication", READ)],
        binding: "system::extension-apiserver-authentication-reader",
        subjects: &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
    },
    NamespacedRole {
        namespace: "kube-system",
        name: "system::leader-locking-kube-controller-manager",
        rules: &[
            On("core", "configmaps", "watch"),
            Named("core", "configmaps", "kube-controller-manager", "get update"),
        ],
        binding: "system::leader-locking-kube-controller-manager",
        subjects: &[User("system:kube-controller-manager"), Account("kube-controller-manager")],
    },
    NamespacedRole {
        namespace: "kube-system",
        name: "system::leader-locking-kube-scheduler",
        rules: &[On("core", "configmaps", "watch"), Named("core", "configmaps", "kube-scheduler", "get update")],
        binding: "system::leader-locking-kube-scheduler",
        subjects: &[User("system:kube-scheduler"), Account("kube-scheduler")],
    },
    NamespacedRole {
        namespace: "kube-system",
        name: "system:controller:bootstrap-signer",
        rules: &[On("core", "secrets", READ)],
        binding: "system:controller:bootstrap-signer",
        subjects: &[Account("bootstrap-signer")],
    },
    NamespacedRole {
        namespace: "kube-system",
        name: "system:controller:cloud-provider",
        rules: &[On("core", "configmaps", "create get list watch")],
        binding: "system:controller:cloud-provider",
        subjects: &[Account("cloud-provider")],
    },
    NamespacedRole {
        namespace: "kube-system",
        name: "system:controller:token-cleaner",
        rules: &[On("core", "secrets", "delete get list watch"), EVENTS],
        binding: "system:controller:token-cleaner",
        subjects: &[Account("token-cleaner")],
    },
];
