//! What the port itself has to report.

use std::net::SocketAddr;

observe::event! {
    pub(crate) struct PortOpened { address: SocketAddr }
    = Info "internal_port_opened": "Internal port open at {address}"

    pub(crate) struct PortExposed { address: SocketAddr }
    = Warn "internal_port_exposed":
        "Internal port {address} can be reached from other machines: profiles are served without authentication"

    pub(crate) struct PortBusy<'a> { address: SocketAddr, error: &'a str }
    = Error "internal_port_unavailable": "Internal port {address} cannot be opened and is tried again: {error}"

    pub(crate) struct PortAbsent<'a> { address: SocketAddr, error: &'a str }
    = Info "internal_port_absent": "Internal port {address} does not exist on this system: {error}"

    pub(crate) struct PortFailed<'a> { error: &'a str }
    = Error "internal_port_failed": "The internal port could not be started: {error}"

    pub(crate) struct AcceptFailed<'a> { address: SocketAddr, error: &'a str }
    = Error "internal_accept_failed": "Internal port {address} cannot take a connection: {error}"

    pub(crate) struct ConnectionRefused { peer: SocketAddr, connections: usize }
    = Warn "internal_connection_refused": "Internal port has {connections} connections and refuses {peer}"

    pub(crate) struct PageFailed<'a> { path: &'a str, error: &'a str }
    = Error "internal_page_failed": "The page {path} failed: {error}"

    pub(crate) struct PageStuck<'a> { path: &'a str, after: std::time::Duration }
    = Error "internal_page_stuck": "The page {path} did not answer in time: it waits for something that is held"
}
