//! What goes to the audit sink: one event per completed request.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_client::Request;
use k8s_object::UserInfo;

use crate::core::Core;
use crate::ports::AuditEvent;

/// Starts an event if somebody wants it.
pub(crate) fn begin(
    core: &Core,
    user: &Arc<UserInfo>,
    agent: &str,
    source: Option<IpAddr>,
    request: &Request,
) -> Option<AuditEvent> {
    core.audit.as_ref()?;
    let now = core.world.now();
    Some(AuditEvent {
        audit_id: core.world.uuid(),
        user: user.clone(),
        agent: agent.into(),
        source,
        verb: request.verb.as_str(),
        group: request.resource.group.to_string(),
        version: request.resource.version.to_string(),
        resource: request.resource.resource.to_string(),
        subresource: request.subresource.clone(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        code: 0,
        received: now,
        completed: now,
    })
}

/// Records an event with the status that the client got.
pub(crate) fn end(core: &Core, event: Option<AuditEvent>, code: u16) {
    if let (Some(sink), Some(mut event)) = (&core.audit, event) {
        event.code = code;
        event.completed = core.world.now();
        sink.record(event);
    }
}
