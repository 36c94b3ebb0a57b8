//! RSpec and Minitest, all the way through: found without configuration, split, reproduced, and never green by accident. What the drivers do within the
//! framework is held by `driver_contract`.

use std::time::Duration;

use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::{Facts, Sandbox};

const HELPER: &str = "RSpec.configure do |config|\n  config.before(:suite) { $ready = true }\nend\n";
const CART_SPEC: &str = "require 'spec_helper'\n\nRSpec.describe 'Cart' do\n  it('is ready') { expect($ready).to be true }\n  it('adds') { expect(1 + 1).to eq 2 }\n  \
                         it('totals') { expect(3).to eq 4 }\n  it('ships', skip: 'later') {}\nend\n";
const TAX_SPEC: &str =
    "require 'spec_helper'\n\nRSpec.describe 'Tax' do\n  5.times { |n| it(\"band #{n}\") { expect($ready).to be true } }\nend\n";

const CART_TEST: &str = "require 'minitest/autorun'\n\nclass CartTest < Minitest::Test\n  def test_adds\n    assert_equal 2, 1 + 1\n  end\n\n  def test_total\n    \
                         assert_equal 4, 3\n  end\n\n  def test_ships\n    skip 'later'\n  end\nend\n";
const TAX_TEST: &str = "require 'minitest/autorun'\n\nclass TaxTest < Minitest::Test\n  parallelize_me!\n  5.times { |n| define_method(\"test_band_#{n}\") { assert true } }\nend\n";

fn specs() -> Sandbox {
    Sandbox::empty().file("spec/spec_helper.rb", HELPER).file("spec/cart_spec.rb", CART_SPEC).file("spec/tax_spec.rb", TAX_SPEC)
}

fn tests() -> Sandbox {
    Sandbox::empty().file("test/cart_test.rb", CART_TEST).file("test/tax_test.rb", TAX_TEST)
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    let done = sandbox.splitci(&format!("{line} --json")).patience(Duration::from_mins(6)).run();
    done.expect_exit(exit);
    sandbox.expect_no_processes();
    done.facts()
}

#[test]
fn specs_are_found_split_and_reproduced() {
    let sandbox = specs();
    let red = facts(&sandbox, "run --engine process --shards 2", 1);
    assert_eq!(red.exceptions(), ["spec/cart_spec.rb::Cart::ships: skipped", "spec/cart_spec.rb::Cart::totals: failed"]);
    assert_eq!((red.count("passed"), red.total()), (7, 9));
    let again = facts(&sandbox, &format!("repro {} --test spec/cart_spec.rb::Cart::totals", red.run), 1);
    assert_eq!(again.exceptions(), ["spec/cart_spec.rb::Cart::totals: failed"]);
    sandbox.write("spec/cart_spec.rb", &CART_SPEC.replace("eq 4", "eq 3"));
    let green = facts(&sandbox, "run --engine process --shards 2 --failed", 0);
    assert_eq!((green.count("passed"), green.total()), (1, 1));
    facts(&sandbox, "run --engine process --shards 2", 0);
    sandbox.expect_no_private_directories();
}

#[test]
fn minitests_are_found_split_and_reproduced() {
    let sandbox = tests();
    let red = facts(&sandbox, "run --engine process --shards 2", 1);
    assert_eq!(red.exceptions(), ["test/cart_test.rb::CartTest#test_ships: skipped", "test/cart_test.rb::CartTest#test_total: failed"]);
    assert_eq!((red.count("passed"), red.total()), (6, 8));
    let again = red.tests_of_shard.keys().map(|shard| {
        let done = sandbox.splitci(&format!("repro {} --shard {shard} --json", red.run)).run();
        assert!(matches!(done.code, Some(0 | 1)), "a reproduction of shard {shard}: {done}");
        done.facts().total()
    });
    assert_eq!(again.sum::<usize>(), 8, "the shards run again what they ran");
    sandbox.write("test/cart_test.rb", &CART_TEST.replace("assert_equal 4, 3", "assert_equal 4, 4"));
    facts(&sandbox, "run --engine process --shards 2", 0);
    sandbox.expect_no_private_directories();
}

#[test]
fn a_ruby_test_that_ends_its_process_is_named() {
    for (leaving, outcome) in
        [("exit 0", "errored"), ("exit!(0)", "crashed: exit 0"), ("Process.kill(:SEGV, $$); sleep", "crashed: signal 6")]
    {
        let spec = format!("RSpec.describe('Cart') {{ it('before') {{}}; it('leaves') {{ {leaving} }}; it('after') {{}} }}\n");
        let sandbox = Sandbox::empty().file("spec/cart_spec.rb", &spec);
        let red = facts(&sandbox, "run --engine process --shards 2", 1);
        assert_eq!((red.exceptions(), red.count("passed")), (vec![format!("spec/cart_spec.rb::Cart::leaves: {outcome}")], 2), "{leaving}");
        let test = format!(
            "require 'minitest/autorun'\nclass CartTest < Minitest::Test\n  def test_a; end\n  def test_leaves; {leaving}; end\n  def test_z; end\nend\n"
        );
        let sandbox = Sandbox::empty().file("test/cart_test.rb", &test);
        let red = facts(&sandbox, "run --engine process --shards 2", 1);
        assert_eq!(
            (red.exceptions(), red.count("passed")),
            (vec![format!("test/cart_test.rb::CartTest#test_leaves: {outcome}")], 2),
            "{leaving}"
        );
    }
}

#[test]
fn both_run_in_containers() {
    require();
    let dockerfile = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends ruby ruby-rspec ruby-minitest \\\n \
                      && rm -rf /var/lib/apt/lists/*\nWORKDIR /app\nCOPY . .\n";
    let sandbox = specs().file("Dockerfile", dockerfile).file("test/cart_test.rb", CART_TEST).file("test/tax_test.rb", TAX_TEST);
    let rspec = facts(&sandbox, "run --framework rspec --shards 2", 1);
    assert_eq!((rspec.count("passed"), rspec.total()), (7, 9));
    let minitest = facts(&sandbox, "run --framework minitest --shards 2", 1);
    assert_eq!((minitest.count("passed"), minitest.total()), (6, 8));
    expect_no_containers(&rspec.run);
    expect_no_containers(&minitest.run);
}
