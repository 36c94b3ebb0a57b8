//! Networks as their owner made them: which addresses are in them, which of those the engine gives out by itself, and who has one now.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use bollard::models::{IpamConfig, NetworkInspect};
use bollard::query_parameters as query;

use super::{Docker, DockerError, SHORT};

/// A network of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Its subnets, as far as they are of IPv4.
    pub subnets: Vec<Subnet>,
    /// Who has an address in it now: the id and the name of a container, by its address.
    pub members: BTreeMap<Ipv4Addr, (String, String)>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// All of it.
    pub block: Block,
    /// The part that the engine gives addresses out of, if its owner said one. Without one it is all of it; and whether its owner chose the subnet, or the engine did and
    /// then lets nobody choose an address, cannot be told.
    pub given_out: Option<Block>,
    /// Addresses that are nobody's, the gateway's with them.
    pub reserved: Vec<Ipv4Addr>,
}

/// A block of addresses, `172.30.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    first: u32,
    mask: u32,
}

impl Block {
    /// Whether an address is in it.
    pub fn has(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.first
    }

    /// Whether an address in it may be a container's: it is neither the first, which names the block, nor the last, which is everybody's.
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        self.has(address) && address.to_bits() != self.first && address.to_bits() != self.first | !self.mask
    }
}

/// No block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBlock;

impl FromStr for Block {
    type Err = NoBlock;

    fn from_str(text: &str) -> Result<Self, NoBlock> {
        let (address, length) = text.split_once('/').ok_or(NoBlock)?;
        let (address, length) = (address.parse::<Ipv4Addr>().map_err(|_| NoBlock)?, length.parse::<u32>().map_err(|_| NoBlock)?);
        let mask = match length {
            0 => 0,
            1..=32 => u32::MAX << (32 - length),
            _ => return Err(NoBlock),
        };
        Ok(Self { first: address.to_bits() & mask, mask })
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.mask.count_ones())
    }
}

impl Docker {
    /// The network of this name; nothing if there is none. An id or its beginning is no name.
    pub async fn network(&self, name: &str) -> Result<Option<Network>, DockerError> {
        let request = self.client.inspect_network(name, None::<query::InspectNetworkOptions>);
        match self.call(|| format!("inspect the network `{name}`"), SHORT, request).await {
            Ok(found) => Ok(Some(found).filter(|found| found.name.as_deref() == Some(name)).map(network)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn network(found: NetworkInspect) -> Network {
    let subnets = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let member = |(id, endpoint): (String, bollard::models::EndpointResource)| {
        let address = endpoint.ipv4_address?.split('/').next()?.parse().ok()?;
        Some((address, (id, endpoint.name.unwrap_or_default())))
    };
    Network {
        subnets: subnets.iter().filter_map(subnet).collect(),
        members: found.containers.unwrap_or_default().into_iter().filter_map(member).collect(),
    }
}

fn subnet(config: &IpamConfig) -> Option<Subnet> {
    let block = config.subnet.as_ref()?.parse().ok()?;
    let others = config.auxiliary_addresses.iter().flatten().map(|(_, address)| address);
    let reserved = config.gateway.iter().chain(others);
    Some(Subnet {
        block,
        given_out: config.ip_range.as_ref().and_then(|range| range.parse().ok()),
        reserved: reserved.filter_map(|address| address.split('/').next()?.parse().ok()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_addresses_and_no_others() {
        let block: Block = "172.30.0.128/25".parse().expect("a block");
        assert!(block.has(Ipv4Addr::new(172, 30, 0, 128)) && !block.has_host(Ipv4Addr::new(172, 30, 0, 128)));
        assert!(block.has_host(Ipv4Addr::new(172, 30, 0, 200)) && !block.has_host(Ipv4Addr::new(172, 30, 0, 255)));
        assert!(!block.has(Ipv4Addr::new(172, 30, 0, 127)) && !block.has(Ipv4Addr::new(172, 31, 0, 200)));
        assert_eq!("172.30.0.77/24".parse::<Block>().expect("a block").to_string(), "172.30.0.0/24");
        assert!("0.0.0.0/0".parse::<Block>().expect("a block").has(Ipv4Addr::new(9, 9, 9, 9)));
        for none in ["", "172.30.0.0", "172.30.0.0/33", "172.30.0/24", "fd00::/64"] {
            assert_eq!(none.parse::<Block>(), Err(NoBlock), "{none}");
        }
    }

    #[test]
    fn an_engine_s_words_are_understood() {
        let text = r#"{"Name":"shop-net","IPAM":{"Config":[{"Subnet":"172.30.0.0/24","IPRange":"172.30.0.128/25","Gateway":"172.30.0.1",
            "AuxiliaryAddresses":{"printer":"172.30.0.9"}},{"Subnet":"fd00::/64"}]},
            "Containers":{"abc":{"Name":"proxy","IPv4Address":"172.30.0.129/24"},"def":{"Name":"odd","IPv4Address":""}}}"#;
        let found = network(serde_json::from_str(text).expect("an answer"));
        let [subnet] = &found.subnets[..] else { panic!("{found:?}") };
        assert_eq!(subnet.given_out.map(|block| block.to_string()).as_deref(), Some("172.30.0.128/25"));
        assert_eq!(subnet.reserved, [Ipv4Addr::new(172, 30, 0, 1), Ipv4Addr::new(172, 30, 0, 9)]);
        assert_eq!(found.members, BTreeMap::from([(Ipv4Addr::new(172, 30, 0, 129), ("abc".to_owned(), "proxy".to_owned()))]));
    }
}
