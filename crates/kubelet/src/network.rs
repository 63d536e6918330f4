//! Where pods get their addresses: a port, and a pool of a node's secondary addresses behind it.
//!
//! A released address rests before it is given out again, as the VPC CNI does, so that nothing that still sends to the
//! old pod reaches the new one. A pool never gives one address to two pods.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use world::World;

/// How long a released address rests: the VPC CNI's cooldown.
pub const COOLDOWN: Duration = Duration::from_secs(30);

/// What the VPC CNI answers when it has no address left.
pub(crate) const EXHAUSTED: &str = "add cmd: failed to assign an IP address to container";

/// The pod an address is for.
#[derive(Debug, Clone, Copy)]
pub struct PodNetworkRef<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

/// Addresses of the pods of one node.
pub trait PodNetwork: Send + Sync {
    /// An address for the pod; the same one when it has one already. The error is the network plugin's message.
    fn allocate(&self, pod: PodNetworkRef<'_>) -> Result<IpAddr, String>;

    /// Gives the pod the address it had before the process restarted. The error is the network plugin's message.
    fn restore(&self, pod: PodNetworkRef<'_>, address: IpAddr) -> Result<(), String>;

    /// The pod that had this address needs it no more. Releasing what is not held does nothing.
    fn release(&self, address: IpAddr);
}

/// The addresses a node may give to its pods: single ones, ranges, or both, in the order they are given out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodAddresses(Vec<(IpAddr, IpAddr)>);

/// The text is no address and no CIDR block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither an address nor a CIDR block such as 10.0.1.0/28")]
pub struct ParseAddressesError {
    /// What was given.
    pub text: String,
}

impl PodAddresses {
    /// These single addresses.
    pub fn list(addresses: impl IntoIterator<Item = IpAddr>) -> PodAddresses {
        PodAddresses(addresses.into_iter().map(|address| (address, address)).collect())
    }

    /// Every address from `first` to `last`, both included; none if they are of different families or reversed.
    pub fn range(first: IpAddr, last: IpAddr) -> PodAddresses {
        PodAddresses(if first.is_ipv4() == last.is_ipv4() && first <= last { vec![(first, last)] } else { Vec::new() })
    }

    /// These and then the others.
    pub fn and(mut self, others: PodAddresses) -> PodAddresses {
        self.0.extend(others.0);
        self
    }
}

impl FromStr for PodAddresses {
    type Err = ParseAddressesError;

    /// One address, or every address of a CIDR block (a delegated prefix has no reserved ones).
    fn from_str(text: &str) -> Result<PodAddresses, ParseAddressesError> {
        let error = || ParseAddressesError { text: text.to_owned() };
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(width), str::parse).map_err(|_| error())?;
        if bits > width {
            return Err(error());
        }
        let host = 1_u128.checked_shl(width - bits).map_or(u128::MAX, |size| size - 1);
        let first = number(address) & !host;
        Ok(PodAddresses(vec![(address_of(first, address.is_ipv4()), address_of(first | host, address.is_ipv4()))]))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address_of(number: u128, v4: bool) -> IpAddr {
    // The number came from an address of this family or lies between two of them.
    if v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() }
}

/// A pool over [`PodAddresses`].
pub struct AddressPool {
    world: World,
    cooldown: Duration,
    addresses: PodAddresses,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the next address comes from that was never used: a range and an offset in it.
    next: (usize, u128),
    used: BTreeMap<IpAddr, Arc<str>>,
    /// Released addresses and when they may be used again, oldest first.
    resting: VecDeque<(IpAddr, Duration)>,
}

impl AddressPool {
    /// A pool of `addresses` in which a released address rests for `cooldown`.
    pub fn new(world: World, addresses: PodAddresses, cooldown: Duration) -> AddressPool {
        AddressPool { world, cooldown, addresses, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, state: &mut State) -> Option<IpAddr> {
        loop {
            let (first, last) = *self.addresses.0.get(state.next.0)?;
            let candidate = number(first).checked_add(state.next.1).filter(|number_| *number_ <= number(last));
            let Some(candidate) = candidate else {
                state.next = (state.next.0 + 1, 0);
                continue;
            };
            state.next.1 += 1;
            let address = address_of(candidate, first.is_ipv4());
            // A restored address is in use, or has been used and rests, before the cursor reaches it.
            if !state.used.contains_key(&address) && !state.resting.iter().any(|(resting, _)| *resting == address) {
                return Some(address);
            }
        }
    }
}

impl PodNetwork for AddressPool {
    fn allocate(&self, pod: PodNetworkRef<'_>) -> Result<IpAddr, String> {
        let now = self.world.elapsed();
        let mut state = self.lock();
        if let Some((address, _)) = state.used.iter().find(|(_, uid)| uid.as_ref() == pod.uid) {
            return Ok(*address);
        }
        let address = match self.fresh(&mut state) {
            Some(address) => address,
            None => match state.resting.front() {
                Some((address, ready)) if *ready <= now => {
                    let address = *address;
                    state.resting.pop_front();
                    address
                }
                _ => return Err(EXHAUSTED.to_owned()),
            },
        };
        state.used.insert(address, pod.uid.into());
        Ok(address)
    }

    fn restore(&self, pod: PodNetworkRef<'_>, address: IpAddr) -> Result<(), String> {
        let mut state = self.lock();
        match state.used.get(&address) {
            Some(holder) if holder.as_ref() != pod.uid => {
                Err(format!("address {address} of pod {}/{} is used by another pod", pod.namespace, pod.name))
            }
            _ => {
                state.resting.retain(|(resting, _)| *resting != address);
                state.used.insert(address, pod.uid.into());
                Ok(())
            }
        }
    }

    fn release(&self, address: IpAddr) {
        let ready = self.world.elapsed().saturating_add(self.cooldown);
        let mut state = self.lock();
        let ours = |(first, last): &(IpAddr, IpAddr)| *first <= address && address <= *last;
        if state.used.remove(&address).is_some() && self.addresses.0.iter().any(ours) {
            state.resting.push_back((address, ready));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodNetworkRef<'_> {
        PodNetworkRef { namespace: "default", name: uid, uid }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_run_out_rest_and_come_back() {
        let (world, mut simulation) = World::simulated(1);
        let pool = AddressPool::new(world.clone(), "10.0.0.4/31".parse().unwrap(), COOLDOWN);
        assert_eq!(pool.allocate(pod("a")), Ok(ip("10.0.0.4")));
        assert_eq!(pool.allocate(pod("a")), Ok(ip("10.0.0.4")), "a pod keeps its address");
        assert_eq!(pool.allocate(pod("b")), Ok(ip("10.0.0.5")));
        assert_eq!(pool.allocate(pod("c")), Err(EXHAUSTED.to_owned()));
        pool.release(ip("10.0.0.4"));
        assert_eq!(pool.allocate(pod("c")), Err(EXHAUSTED.to_owned()), "a released address rests");
        simulation.block_on(world.sleep(COOLDOWN));
        assert_eq!(pool.allocate(pod("c")), Ok(ip("10.0.0.4")));
    }

    #[test]
    fn a_restored_address_is_given_to_nobody_else() {
        let (world, _simulation) = World::simulated(1);
        let pool = AddressPool::new(world, PodAddresses::list([ip("10.0.0.4"), ip("10.0.0.9")]), COOLDOWN);
        assert_eq!(pool.restore(pod("a"), ip("10.0.0.4")), Ok(()));
        assert!(pool.restore(pod("b"), ip("10.0.0.4")).is_err());
        assert_eq!(pool.allocate(pod("b")), Ok(ip("10.0.0.9")));
        pool.release(ip("192.0.2.1"));
        assert!(pool.allocate(pod("c")).is_err(), "an address from elsewhere does not enter the pool");
    }

    #[test]
    fn blocks_are_read() {
        let cases = [
            ("10.0.0.7", Some(("10.0.0.7", "10.0.0.7"))),
            ("10.0.0.7/28", Some(("10.0.0.0", "10.0.0.15"))),
            ("fd00::/80", Some(("fd00::", "fd00::ffff:ffff:ffff"))),
            ("0.0.0.0/0", Some(("0.0.0.0", "255.255.255.255"))),
            ("10.0.0.0/33", None),
            ("10.0.0/8", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(first, last)| PodAddresses(vec![(ip(first), ip(last))]));
            assert_eq!(text.parse::<PodAddresses>().ok(), expected, "{text}");
        }
    }
}
