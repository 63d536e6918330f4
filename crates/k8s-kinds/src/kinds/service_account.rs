//! ServiceAccount. Its tokens are made by the server, at the subresource `token`.

use crate::columns::{AGE, Column, NAME};
use crate::fields::items;
use crate::{Kind, Subresource};

pub(crate) static KIND: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    type_name: "io.k8s.api.core.v1.ServiceAccount",
    subresources: &[Subresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: &["create"],
    }],
    columns: &[
        NAME,
        Column::integer("Secrets", "Number of Secrets that its pods may mount.", |object, _| {
            items(object, "secrets").len().into()
        }),
        AGE,
    ],
    ..Kind::BASE
};
