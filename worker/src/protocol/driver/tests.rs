//! The driver protocol's bytes: held still by a golden file, cut anywhere, and answered with errors when they are garbage.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::message::{Select, Slot};
use super::super::{VERSION, Version};
use super::*;

fn from_driver() -> Vec<FromDriver> {
    vec![
        FromDriver::Hello {
            version: VERSION,
            pid: 77,
            seed: 42,
            framework: "pytest".into(),
            framework_version: "9.0.1".into(),
            appetite: 1,
        },
        FromDriver::Units(vec!["a.py".into(), "b/c.py".into()]),
        FromDriver::Declared { unit: 3, ids: vec!["a.py::x".into(), "a.py::é".into()], selected: None },
        FromDriver::Declared { unit: 3, ids: vec!["a".into(), "b".into()], selected: Some(vec![1]) },
        FromDriver::Started { unit: 3, ordinal: 1 },
        FromDriver::Finished(Finished {
            unit: 3,
            ordinal: 1,
            outcome: Outcome::Failed,
            micros: 1500,
            file: "a.py".into(),
            line: 12,
            message: "no".into(),
            output: vec![0xff, b'o'],
            details: b"trace".to_vec(),
        }),
        FromDriver::UnitEnd { unit: 3, count: 1 },
        FromDriver::Bye { count: 1, status: -1, errors: "e".into() },
        FromDriver::Notice("n".into()),
    ]
}

fn to_driver() -> Vec<ToDriver> {
    let unit = |select, until| DriverUnit { unit: 3, name: "a.py".into(), select, from: 1, until, careful: until.is_some() };
    vec![
        ToDriver::Run(vec![unit(Select::All, None)]),
        ToDriver::Run(vec![unit(Select::Only(vec!["x".into()]), Some(9)), unit(Select::Except(vec!["x".into()]), None)]),
        ToDriver::Stop,
    ]
}

fn hex<M: Wire + std::fmt::Debug>(messages: &[M]) -> String {
    messages.iter().fold(String::new(), |mut text, message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let _ = writeln!(text, "{message:?}");
        bytes.chunks(16).for_each(|row| {
            let row: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "    {}", row.join(" "));
        });
        text
    })
}

fn all<M: Wire>(pieces: &[&[u8]]) -> Result<Vec<M>, DriverError> {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(message) = decoder.next()? {
            seen.push(message);
        }
    }
    Ok(seen)
}

fn bytes_of<M: Wire>(messages: &[M]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        message.encode(&mut bytes);
    }
    bytes
}

#[test]
fn the_bytes_are_those_of_version_1() {
    insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("driver", hex(&from_driver()) + &hex(&to_driver()));
    });
}

#[test]
fn messages_survive_any_cut_of_the_stream() {
    let bytes = bytes_of(&from_driver());
    for cut in 1..bytes.len() {
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        assert_eq!(all::<FromDriver>(&pieces), Ok(from_driver()));
    }
    assert_eq!(all::<ToDriver>(&[&bytes_of(&to_driver())]), Ok(to_driver()));
}

#[test]
fn unknown_kinds_and_further_fields_are_skipped() {
    let mut bytes = vec![3, 0, 0, 0, 0x7f, 1, 2];
    bytes.extend([10, 0, 0, 0, 0x04, 3, 0, 0, 0, 1, 0, 0, 0, 9]);
    assert_eq!(all(&[&bytes]), Ok(vec![FromDriver::Started { unit: 3, ordinal: 1 }]));
}

#[test]
fn invalid_text_is_replaced() {
    let bytes = [7, 0, 0, 0, 0x08, 2, 0, 0, 0, 0xff, b'x'];
    assert_eq!(all(&[&bytes]), Ok(vec![FromDriver::Notice("\u{fffd}x".into())]));
}

#[test]
fn a_huge_count_reserves_nothing_and_is_an_error() {
    let bytes = [5, 0, 0, 0, 0x02, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(all::<FromDriver>(&[&bytes]), Err(DriverError::Short(0x02)));
}

#[test]
fn text_on_the_connection_is_refused_at_its_first_bytes() {
    assert_eq!(all::<FromDriver>(&[b"GET / HTTP/1.1\r\n"]), Err(DriverError::Length(u32::from_le_bytes(*b"GET "))));
    assert_eq!(all::<FromDriver>(&[&[0; 4]]), Err(DriverError::Length(0)));
}

#[test]
fn an_unknown_outcome_is_an_error() {
    let mut bytes = bytes_of(&from_driver()[5..6]);
    bytes[13] = 200;
    assert_eq!(all::<FromDriver>(&[&bytes]), Err(DriverError::Outcome(200)));
}

#[test]
fn a_slot_says_what_runs() {
    let slot = |unit: u32, ordinal: u32| {
        let mut bytes = [0; SLOT_SIZE];
        bytes[..4].copy_from_slice(&unit.to_le_bytes());
        bytes[4..8].copy_from_slice(&ordinal.to_le_bytes());
        bytes[8] = 5;
        read_slot(&bytes)
    };
    assert_eq!(slot(NONE, NONE), (Slot::Idle, 5));
    assert_eq!(slot(NONE, CLOSING), (Slot::Closing, 5));
    assert_eq!(slot(4, NONE), (Slot::Loading { unit: 4 }, 5));
    assert_eq!(slot(4, 0), (Slot::Test { unit: 4, ordinal: 0 }, 5));
}

#[test]
fn versions_are_written_major_dot_minor() {
    assert_eq!(Version { major: 1, minor: 2 }.to_string(), "1.2");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        drop(all::<FromDriver>(&pieces));
        drop(all::<ToDriver>(&pieces));
    }

    #[test]
    fn arbitrary_payloads_of_known_kinds_never_panic(kind in prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 7, 8, 0x81, 0x82]),
                                                     payload in prop::collection::vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..200)) {
        drop(FromDriver::decode(kind, &payload));
        drop(ToDriver::decode(kind, &payload));
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_another_message_but_no_panic(at in 0_usize..300, with in any::<u8>()) {
        let mut bytes = bytes_of(&from_driver());
        let at = at % bytes.len();
        bytes[at] = with;
        drop(all::<FromDriver>(&[&bytes]));
    }
}
