//! Whether an environment's network is as it has to be, looked at before anything is changed: it is there, each slot can have its address whenever its container starts, and
//! the balancers' servers point there.
//!
//! A network is its owner's, and is never made or changed here: the balancers have to be in it, and their configuration names its addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{RolloutError, Site};
use crate::deployment::Refusal;
use crate::docker::networks::{Block, Network};
use crate::fleet::{FleetError, instance};
use crate::model::environment::{Role, Slot, SlotName};

/// What is wrong with a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// It is not there.
    #[error("engine `{engine}` has no network `{network}`")]
    Missing {
        /// Which engine.
        engine: String,
        /// Which network.
        network: String,
    },
    /// An address is not in it.
    #[error("slot `{slot}` cannot have the address {address}: the network `{network}` has {}", .blocks.join(", "))]
    Outside {
        /// Which network.
        network: String,
        /// Whose address.
        slot: SlotName,
        /// The address.
        address: Ipv4Addr,
        /// What is in it.
        blocks: Vec<String>,
    },
    /// The engine gives an address to whoever comes first.
    #[error("slot `{slot}` cannot count on the address {address}: the network `{network}` gives it to any container that asks for none")]
    GivenOut {
        /// Which network.
        network: String,
        /// Whose address.
        slot: SlotName,
        /// The address.
        address: Ipv4Addr,
        /// The subnet that it is in.
        block: Block,
    },
    /// The address is nobody's.
    #[error("slot `{slot}` cannot have the address {address}: it is reserved in the network `{network}`")]
    Reserved {
        /// Which network.
        network: String,
        /// Whose address.
        slot: SlotName,
        /// The address.
        address: Ipv4Addr,
    },
    /// Something else is there.
    #[error("slot `{slot}` cannot have the address {address}: the container `{holder}` has it")]
    Taken {
        /// Whose address.
        slot: SlotName,
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        holder: String,
    },
    /// A balancer would send requests elsewhere.
    #[error("the server `{slot}` of balancer {} points at {points}, and the slot is at {at}", place + 1)]
    Elsewhere {
        /// The balancer's place, from 0.
        place: usize,
        /// Which slot.
        slot: SlotName,
        /// Where its server points at.
        points: String,
        /// Where the slot is.
        at: String,
    },
}

impl NetworkFault {
    /// A code that stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "E_NETWORK_MISSING",
            Self::Outside { .. } | Self::GivenOut { .. } | Self::Reserved { .. } | Self::Taken { .. } => "E_NETWORK_ADDRESS",
            Self::Elsewhere { .. } => "E_BALANCER_ELSEWHERE",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { network, .. } => format!(
                "make it there, with the balancer's container in it: `docker network create --subnet 172.30.0.0/24 --ip-range 172.30.0.128/25 {network}`"
            ),
            Self::Outside { .. } | Self::Reserved { .. } => "give the slot another `address`, and its server in the balancers".into(),
            Self::GivenOut { network, block, .. } => format!(
                "make the network anew with a part of {block} that has no slot's address in it: `docker network create --subnet {block} --ip-range PART {network}`"
            ),
            Self::Taken { holder, .. } => format!("take `{holder}` out of the network, or give the slot another `address`"),
            Self::Elsewhere { slot, at, .. } => {
                format!("write `server {slot} {at} check` into the balancer's configuration, and reload it")
            }
        }
    }
}

/// Whether the network of an environment is as it has to be, if it has one.
///
/// # Errors
/// What is wrong with it first; an engine or a balancer that does not answer.
pub(super) async fn check(site: &Site) -> Result<(), RolloutError> {
    let Some(name) = &site.environment.network else { return Ok(()) };
    for (engine, docker) in site.fleet.engines() {
        let failed = |cause| FleetError::Engine { engine: engine.to_owned(), cause };
        let found = docker.network(name).await.map_err(failed)?;
        let network = found.ok_or_else(|| NetworkFault::Missing { engine: engine.to_owned(), network: name.clone() })?;
        let instances = instance::all(docker, &site.place).await.map_err(failed)?;
        for slot in site.environment.slots.iter().filter(|slot| slot.engine == engine) {
            let own = instances.iter().filter(|instance| instance.slot == slot.name.0).map(|instance| instance.id.as_str()).collect();
            addressed(slot, (name, &network), &own)?;
        }
    }
    let of = site.balancers.len();
    for (place, (balancer, backend)) in site.balancers.iter().enumerate() {
        let seen = balancer.observe(backend).await.map_err(|_| Refusal::BalancerUnreachable { place, of })?;
        for slot in site.environment.slots.iter().filter(|slot| slot.role == Role::Web) {
            let server = seen.servers.iter().find(|server| server.place.server.to_string() == slot.name.0);
            let points = server.map_or_else(|| "nothing".to_owned(), |server| format!("{}:{}", server.address, server.port));
            let at = format!("{}:{}", slot.reached_at(), slot.port);
            if points != at {
                return Err(NetworkFault::Elsewhere { place, slot: slot.name.clone(), points, at }.into());
            }
        }
    }
    Ok(())
}

/// Whether a slot can have its address whenever a container of its own starts.
fn addressed(slot: &Slot, (name, network): (&str, &Network), own: &BTreeSet<&str>) -> Result<(), NetworkFault> {
    // One that has none is a fault of the environment's.
    let Some(address) = slot.address else { return Ok(()) };
    let (name, slot) = (name.to_owned(), slot.name.clone());
    let Some(subnet) = network.subnets.iter().find(|subnet| subnet.block.has_host(address)) else {
        let blocks = network.subnets.iter().map(|subnet| subnet.block.to_string()).collect();
        return Err(NetworkFault::Outside { network: name, slot, address, blocks });
    };
    if subnet.given_out.unwrap_or(subnet.block).has(address) {
        return Err(NetworkFault::GivenOut { network: name, slot, address, block: subnet.block });
    }
    if subnet.reserved.contains(&address) {
        return Err(NetworkFault::Reserved { network: name, slot, address });
    }
    match network.members.get(&address) {
        Some((id, holder)) if !own.contains(id.as_str()) => Err(NetworkFault::Taken { slot, address, holder: holder.clone() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::networks::Subnet;

    fn network(given_out: Option<&str>) -> Network {
        let block = |text: &str| text.parse().expect("a block");
        let reserved = vec![Ipv4Addr::new(172, 30, 0, 9)];
        let members =
            [(12, "web2-now"), (13, "stranger")].map(|(last, id)| (Ipv4Addr::new(172, 30, 0, last), (id.to_owned(), format!("c-{id}"))));
        Network {
            subnets: vec![Subnet { block: block("172.30.0.0/24"), given_out: given_out.map(block), reserved }],
            members: members.into(),
        }
    }

    fn at(last: u8, network: &Network) -> Result<(), &'static str> {
        let slot = Slot {
            role: Role::Web,
            name: SlotName("web2".into()),
            engine: "here".into(),
            port: 8000,
            zone: None,
            side: None,
            publish: None,
            address: Some(Ipv4Addr::new(172, 30, 0, last)),
        };
        let told = addressed(&slot, ("shop-net", network), &BTreeSet::from(["web2-now", "web2-before"]));
        told.map_err(|fault| {
            assert!(fault.code().starts_with("E_") && !fault.hint().is_empty() && fault.to_string().contains("web2"), "{fault}");
            match fault {
                NetworkFault::Outside { .. } => "outside",
                NetworkFault::GivenOut { .. } => "given out",
                NetworkFault::Reserved { .. } => "reserved",
                NetworkFault::Taken { .. } => "taken",
                other => panic!("{other}"),
            }
        })
    }

    #[test]
    fn an_address_has_to_be_there_for_whoever_starts_at_the_slot() {
        let fit = network(Some("172.30.0.128/25"));
        assert_eq!((at(11, &fit), at(12, &fit)), (Ok(()), Ok(())), "nobody's, and its own");
        assert_eq!((at(13, &fit), at(9, &fit)), (Err("taken"), Err("reserved")));
        assert_eq!((at(0, &fit), at(255, &fit), at(200, &fit)), (Err("outside"), Err("outside"), Err("given out")));
        assert_eq!(at(11, &network(None)), Err("given out"), "its owner chose no part, or not even the subnet");
        assert_eq!(at(11, &Network::default()), Err("outside"));
    }
}
