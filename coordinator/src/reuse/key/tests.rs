//! Keys of results: whatever changes is another key.

use proptest::prelude::*;

use super::*;
use crate::model::EntryPoint;

fn words() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[a-z=]{0,3}", 0..3)
}

fn pairs_of_words() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[a-z]{0,2}", "[a-z=]{0,2}"), 0..3)
}

fn content() -> impl Strategy<Value = ImageContent> {
    let entry = (words(), proptest::option::of("[a-z/]{0,2}"), proptest::option::of("[a-z]{0,2}"));
    (("[a-z/]{0,3}", words(), words(), words(), words()), entry, words()).prop_map(|(first, entry, volumes)| {
        let (platform, layers, env, command, shell) = first;
        let entry = EntryPoint { entrypoint: entry.0, workdir: entry.1, user: entry.2 };
        ImageContent { platform, layers, env, entry, command, shell, volumes }
    })
}

fn launches() -> impl Strategy<Value = Launch> {
    let prepended = proptest::collection::vec(("[a-z]{0,2}", "[a-z]{0,2}", "[:,]{0,1}"), 0..2);
    let files = proptest::collection::vec(("[a-z]{0,2}", proptest::collection::vec(any::<u8>(), 0..3)), 0..2);
    (words(), proptest::option::of("[a-z/]{0,2}"), pairs_of_words(), prepended, words(), files, any::<Option<i32>>()).prop_map(
        |(argv, cwd, env, env_prepend, env_remove, files, dump_signal)| Launch {
            argv,
            cwd,
            env,
            env_prepend,
            env_remove,
            files,
            dump_signal,
        },
    )
}

fn inputs() -> impl Strategy<Value = KeyInputs> {
    let suite = ("[a-z]{0,2}", words(), any::<bool>()).prop_map(|(name, command, whole)| SuiteSettings {
        name,
        command,
        whole,
        ..SuiteSettings::default()
    });
    let container =
        (any::<Option<u64>>(), words(), any::<bool>(), any::<Option<i64>>()).prop_map(|(memory, add_hosts, read_only, pids_limit)| {
            ContainerSettings { memory, add_hosts, read_only, pids_limit, ..ContainerSettings::default() }
        });
    let rest = (any::<u64>(), any::<[u8; 32]>(), words(), pairs_of_words(), any::<Option<u64>>(), proptest::option::of("[a-z]{0,2}"));
    (content(), launches(), suite, container, rest).prop_map(|(image, launch, suite, container, rest)| KeyInputs {
        image,
        launch,
        suite,
        container,
        test_ms: rest.0,
        worker: rest.1,
        engine: rest.2,
        proxies: rest.3,
        seed: rest.4,
        epoch: rest.5,
    })
}

/// One change of one input.
fn mutate(inputs: &mut KeyInputs, which: usize) {
    let x = || "x".to_owned();
    let launch = &mut inputs.launch;
    let image = &mut inputs.image;
    match which {
        0 => image.platform.push('x'),
        1 => image.layers.push(x()),
        2 => image.env.push(x()),
        3 => image.entry.user = Some(image.entry.user.take().unwrap_or_default() + "x"),
        4 => image.entry.workdir = Some(image.entry.workdir.take().unwrap_or_default() + "x"),
        5 => image.entry.entrypoint.push(x()),
        6 => image.command.push(x()),
        7 => image.shell.push(x()),
        8 => image.volumes.push(x()),
        9 => launch.argv.push(x()),
        10 => launch.cwd = Some(launch.cwd.take().unwrap_or_default() + "x"),
        11 => launch.env.push((x(), String::new())),
        12 => launch.env_prepend.push((x(), x(), x())),
        13 => launch.env_remove.push(x()),
        14 => launch.files.push((x(), vec![0])),
        15 => launch.dump_signal = Some(launch.dump_signal.map_or(0, |signal| signal.wrapping_add(1))),
        16 => inputs.suite.command.push(x()),
        17 => inputs.suite.whole ^= true,
        18 => inputs.suite.directory.push('x'),
        19 => inputs.container.cpus = Some(1.5),
        20 => inputs.container.network = Some(x()),
        21 => inputs.container.read_only ^= true,
        22 => inputs.container.user = Some(x()),
        23 => inputs.test_ms = inputs.test_ms.wrapping_add(1),
        24 => inputs.worker[7] ^= 1,
        25 => inputs.engine.push(x()),
        26 => inputs.proxies.push((x(), x())),
        27 => inputs.seed = Some(inputs.seed.map_or(0, |seed| seed.wrapping_add(1))),
        28 => inputs.epoch = Some(inputs.epoch.take().unwrap_or_default() + "x"),
        _ => inputs.image.layers.insert(0, "y".to_owned()),
    }
}

proptest! {
    #[test]
    fn different_inputs_have_different_keys(a in inputs(), b in inputs()) {
        prop_assert_eq!(a == b, key(&a) == key(&b));
    }

    #[test]
    fn each_single_change_is_another_key(before in inputs(), which in 0_usize..30) {
        let mut after = before.clone();
        mutate(&mut after, which);
        prop_assert_ne!(key(&before), key(&after), "change {}", which);
    }

    #[test]
    fn moving_a_boundary_between_two_fields_is_another_key(before in inputs(), left in "[a-z]{1,3}", right in "[a-z]{1,3}") {
        let with = |one: &str, two: &str| {
            let mut inputs = before.clone();
            inputs.image.layers = vec![one.to_owned(), two.to_owned()];
            inputs.launch.argv = vec![one.to_owned(), two.to_owned()];
            key(&inputs)
        };
        let moved = format!("{left}{}", &right[..1]);
        prop_assert_ne!(with(&left, &right), with(&moved, &right[1..]));
    }
}

#[test]
fn the_order_of_layers_counts() {
    let inputs = |layers: [&str; 2]| KeyInputs {
        image: ImageContent { layers: layers.map(str::to_owned).to_vec(), ..ImageContent::default() },
        ..plain()
    };
    assert_ne!(key(&inputs(["a", "b"])), key(&inputs(["b", "a"])));
}

fn plain() -> KeyInputs {
    KeyInputs {
        image: ImageContent::default(),
        launch: Launch {
            argv: vec!["pytest".into()],
            cwd: None,
            env: Vec::new(),
            env_prepend: Vec::new(),
            env_remove: Vec::new(),
            files: Vec::new(),
            dump_signal: None,
        },
        suite: SuiteSettings::default(),
        container: ContainerSettings::default(),
        test_ms: 600_000,
        worker: [7; 32],
        engine: Vec::new(),
        proxies: Vec::new(),
        seed: None,
        epoch: None,
    }
}

#[test]
fn the_key_of_known_inputs_stands_still() {
    insta::assert_snapshot!(key(&plain()).to_hex(), @"60e3e3f3102629eb661cfbbfe700a2683a4362c16af57a92fb4b3c1c7171ab36");
}
