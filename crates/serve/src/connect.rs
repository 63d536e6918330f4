//! Connections that this process opens.

use std::io;

use tokio::net::TcpStream;

/// Opens a TCP connection to a host, by name or address.
///
/// # Errors
/// Those of the system.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((host, port)).await?;
    // What is sent is whole messages, which are waited for.
    socket.set_nodelay(true)?;
    Ok(socket)
}
