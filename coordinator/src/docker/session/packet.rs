//! The packets in which files travel to BuildKit, as `fsutil` defines them. Names and link targets are bytes here: the generated messages take
//! them for text, which a file's name need not be, and on the wire both are the same.

use std::collections::BTreeMap;

use super::sources::{SentEntry, SentKind};

/// Go's bits for what a file is; permissions are below them.
mod go {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const LINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const PIPE: u32 = 1 << 25;
    pub(super) const SET_USER: u32 = 1 << 23;
    pub(super) const SET_GROUP: u32 = 1 << 22;
    pub(super) const CHARACTERS: u32 = 1 << 21;
    pub(super) const STICKY: u32 = 1 << 20;
}

/// A time that counts. The builder's own keys hold no times: it would put a layer that holds an old one before steps that compare it with newer work.
const DATE: &str = "user.splitci.sent";

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    /// A file is told of, or, without one, that all have been.
    Stat = 0,
    /// Its content is asked for.
    Request = 1,
    /// A piece of content, or, when empty, its end.
    Data = 2,
    /// There is no more to ask.
    Finished = 3,
    /// It failed, for the reason in `data`.
    Failed = 4,
}

/// A packet.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Packet {
    #[prost(enumeration = "Kind", tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) stat: Option<Stat>,
    /// The place of a file among all that were told of.
    #[prost(uint32, tag = "3")]
    pub(super) id: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) data: bytes::Bytes,
}

/// What is told of a file. Owners are left at 0.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stat {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(super) mode: u32,
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(super) modified: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) target: Vec<u8>,
    #[prost(int64, tag = "8")]
    pub(super) major: i64,
    #[prost(int64, tag = "9")]
    pub(super) minor: i64,
    /// Counts for the builder like content, and is in the image.
    #[prost(btree_map = "string, bytes", tag = "10")]
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
}

impl Packet {
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    pub(super) fn data(id: u32, data: bytes::Bytes) -> Self {
        Self { id, data, ..Self::of(Kind::Data) }
    }

    pub(super) fn stat(entry: &SentEntry) -> Self {
        Self { stat: Some(stat(entry)), ..Self::of(Kind::Stat) }
    }
}

fn stat(entry: &SentEntry) -> Stat {
    let attributes = entry.attributes.clone();
    let mut stat = Stat { path: entry.path.clone(), mode: mode(entry), modified: entry.modified, attributes, ..Stat::default() };
    match &entry.kind {
        SentKind::File { length, .. } => stat.size = i64::try_from(*length).unwrap_or(i64::MAX),
        SentKind::Text(text) => stat.size = i64::try_from(text.len()).unwrap_or(i64::MAX),
        SentKind::Link(target) => {
            stat.size = i64::try_from(target.len()).unwrap_or(i64::MAX);
            stat.target.clone_from(target);
        }
        SentKind::Device { number, .. } => {
            stat.major = rustix::fs::major(*number).into();
            stat.minor = rustix::fs::minor(*number).into();
        }
        SentKind::Directory | SentKind::Pipe => {}
    }
    if entry.dated {
        stat.attributes.insert(DATE.to_owned(), entry.modified.to_string().into_bytes());
    }
    stat
}

fn mode(entry: &SentEntry) -> u32 {
    let special = [(0o4000, go::SET_USER), (0o2000, go::SET_GROUP), (0o1000, go::STICKY)];
    let special = special.iter().filter(|(bit, _)| entry.mode & bit != 0).fold(0, |all, (_, go)| all | go);
    let kind = match &entry.kind {
        SentKind::Directory => go::DIRECTORY,
        SentKind::File { .. } | SentKind::Text(_) => 0,
        SentKind::Link(_) => go::LINK,
        SentKind::Pipe => go::PIPE,
        SentKind::Device { block: true, .. } => go::DEVICE,
        SentKind::Device { block: false, .. } => go::DEVICE | go::CHARACTERS,
    };
    kind | special | (entry.mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::fsutil::types as generated;
    use prost::Message;

    fn entry(mode: u32, kind: SentKind) -> SentEntry {
        SentEntry { path: b"a/b".to_vec(), origin: None, mode, modified: 1_000_000_007, dated: false, attributes: BTreeMap::new(), kind }
    }

    #[test]
    fn a_packet_is_what_the_generated_one_reads() {
        let attributes = BTreeMap::from([("user.colour".to_owned(), b"red\xff".to_vec())]);
        let file = SentEntry { attributes: attributes.clone(), ..entry(0o4755, SentKind::File { length: 12, hash: [0; 32] }) };
        let sent = Packet { id: 7, ..Packet::stat(&file) };
        let read = generated::Packet::decode(sent.encode_to_vec().as_slice()).expect("a packet");
        let stat = read.stat.expect("a file");
        assert_eq!((read.r#type, read.id), (generated::packet::PacketType::PacketStat.into(), 7));
        assert_eq!((stat.path.as_str(), stat.size, stat.mod_time, stat.mode), ("a/b", 12, 1_000_000_007, (1 << 23) | 0o755));
        assert_eq!((stat.uid, stat.gid), (0, 0));
        assert_eq!(stat.xattrs.into_iter().collect::<BTreeMap<_, _>>(), attributes);

        let sent = Packet::data(3, bytes::Bytes::from_static(b"x"));
        let read = generated::Packet::decode(sent.encode_to_vec().as_slice()).expect("a packet");
        assert_eq!((read.r#type, read.id, read.data), (generated::packet::PacketType::PacketData.into(), 3, b"x".to_vec()));
    }

    #[test]
    fn modes_are_in_go_bits() {
        assert_eq!(mode(&entry(0o1777, SentKind::Directory)), (1 << 31) | (1 << 20) | 0o777);
        assert_eq!(mode(&entry(0o777, SentKind::Link(Vec::new()))), (1 << 27) | 0o777);
        assert_eq!(mode(&entry(0o600, SentKind::Device { block: false, number: 0 })), (1 << 26) | (1 << 21) | 0o600);
        assert_eq!(mode(&entry(0o2600, SentKind::Pipe)), (1 << 25) | (1 << 22) | 0o600);
    }
}
