//! The encoding against random inputs, and mutations of one input each.

use super::*;
use proptest::prelude::*;

fn content() -> impl Strategy<Value = ItemContent> {
    prop_oneof![
        Just(ItemContent::Directory),
        Just(ItemContent::Pipe),
        any::<[u8; 32]>().prop_map(ItemContent::File),
        any::<Vec<u8>>().prop_map(ItemContent::Link),
        any::<(bool, u64)>().prop_map(|(block, number)| ItemContent::Device { block, number }),
    ]
}

fn inputs() -> impl Strategy<Value = KeyInputs> {
    let words = || proptest::collection::btree_map("[a-z=]{0,3}", "[a-z=]{0,3}", 0..3);
    let item = (any::<Vec<u8>>(), any::<u32>(), content(), any::<Option<[u8; 32]>>())
        .prop_map(|(path, mode, content, attributes)| ContextItem { path, mode, content, attributes });
    let named = || any::<(Vec<u8>, Vec<u8>)>().prop_map(|(name, text)| NamedText { name, text });
    let files = (named(), proptest::option::of(named()), proptest::collection::vec(item, 0..4));
    let single = ("[a-z/]{0,6}", any::<bool>(), "[0-9.]{0,4}", proptest::option::of("[a-z]{0,3}"), proptest::option::of("[a-z]{0,3}"));
    let hosts = proptest::collection::vec("[a-z:]{0,3}", 0..3);
    let rest = (words(), words(), words(), hosts, any::<Option<u64>>(), proptest::option::of("[a-z]{0,3}"), any::<Option<u64>>());
    let ids = || proptest::collection::btree_set("[a-z]{0,3}", 0..3);
    (files, single, rest, (ids(), ids())).prop_map(|(files, single, rest, ids)| KeyInputs {
        platform: single.0,
        containerd_store: single.1,
        engine_line: single.2,
        dockerfile: files.0,
        ignore: files.1,
        target: single.3,
        args: rest.0,
        labels: rest.1,
        network: single.4,
        add_hosts: rest.3,
        shm_size: rest.4,
        bases: rest.2,
        context: Arc::new(files.2),
        secrets: ids.0,
        ssh: ids.1,
        epoch: rest.5,
        age: rest.6,
    })
}

proptest! {
    #[test]
    fn an_encoding_can_be_read_back_so_no_two_inputs_share_one(inputs in inputs()) {
        prop_assert_eq!(decode(encode(&inputs).bytes()), Some(inputs));
    }

    #[test]
    fn different_inputs_have_different_keys(a in inputs(), b in inputs()) {
        prop_assert_eq!(a == b, image_key(&a) == image_key(&b));
    }
}

#[test]
fn the_key_of_known_inputs_stands_still() {
    let inputs = KeyInputs {
        platform: "linux/amd64".into(),
        engine_line: "20.10".into(),
        dockerfile: NamedText { name: b"Dockerfile".to_vec(), text: b"FROM scratch\n".to_vec() },
        args: BTreeMap::from([("A".into(), "1".into())]),
        context: Arc::new(vec![ContextItem { path: b"a".to_vec(), mode: 0o644, content: ItemContent::File([7; 32]), attributes: None }]),
        ..KeyInputs::default()
    };
    insta::assert_snapshot!(image_key(&inputs).to_hex(), @"be9b99443553c17a24835a4a9967772235c4fa1ab20081a84c5390206116a25a");
    assert_eq!(image_key(&inputs).short().len(), 12);
}

proptest! {
    #[test]
    fn nothing_that_is_read_back_brings_the_reader_down(inputs in inputs(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&inputs).bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(other) = decode(&bytes) {
            prop_assert_eq!(decode(encode(&other).bytes()), Some(other));
        }
        prop_assert!(decode(&bytes[..at]).is_none_or(|cut| encode(&cut).bytes().len() <= bytes.len()));
    }
}
