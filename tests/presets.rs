//! The presets with the real tools: found without configuration, listed, split, read, and not green when a test leaves with 0.

use std::time::Duration;

use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::{Facts, Sandbox};

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    // Debian's Node finds Debian's modules by itself; another one in front of it does not.
    let line = line.replacen("run", "run --json --env NODE_PATH=/usr/share/nodejs", 1);
    let done = sandbox.splitci(&line).patience(Duration::from_mins(5)).run();
    done.expect_exit(exit);
    sandbox.expect_no_processes();
    done.facts()
}

fn sandbox(files: &[(&str, &str)]) -> Sandbox {
    files.iter().fold(Sandbox::empty(), |sandbox, (name, text)| sandbox.file(name, text))
}

/// What was said of a test.
fn told(facts: &Facts, id: &str) -> String {
    facts.told.iter().filter(|(told, _)| told == id).map(|(_, text)| text.as_str()).collect()
}

/// `init` names the framework that `run` finds.
fn expect_init(sandbox: &Sandbox, framework: &str) {
    sandbox.splitci("init").run().expect_exit(0);
    let written = fs_err::read_to_string(sandbox.project().join("splitci.toml")).unwrap_or_default();
    assert!(written.contains(&format!("framework = \"{framework}\"")), "{written}");
}

#[test]
fn bats() {
    let sandbox = sandbox(&[
        ("test/cart.bats", "@test \"adds\" { [ $((1+1)) = 2 ]; }\n@test \"ships\" { skip later; }\n"),
        ("test/tax.bats", "@test \"rounds\" { echo seven; [ 7 = 8 ]; }\n"),
        ("test/exits.bats", "@test \"leaves\" { kill -9 $PPID $$; }\n@test \"after\" { true; }\n"),
    ]);
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!(red.exceptions(), ["test/cart.bats::ships: skipped", "test/exits.bats: errored", "test/tax.bats::rounds: failed"]);
    assert!(told(&red, "test/tax.bats::rounds").contains("seven"), "{:?}", red.told);
    expect_init(&sandbox, "bats");
}

#[test]
fn ctest() {
    let cmake = "cmake_minimum_required(VERSION 3.20)\nproject(shop NONE)\nenable_testing()\nadd_test(NAME cart.adds COMMAND true)\n\
                 add_test(NAME cart.pays COMMAND sh -c \"echo broke; exit 3\")\nadd_test(NAME tax COMMAND true)\n";
    let sandbox = sandbox(&[("CMakeLists.txt", cmake)]);
    let made = std::process::Command::new("cmake").args(["-S", ".", "-B", "build"]).current_dir(sandbox.project()).output().expect("cmake");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!((red.exceptions(), red.count("passed")), (vec!["cart.pays: failed".to_owned()], 2));
    assert!(told(&red, "cart.pays").contains("broke"), "{:?}", red.told);
    assert_eq!(facts(&sandbox, "run --failed", 1).total(), 1);
    // More than one in a command, now that their times are known.
    assert_eq!(facts(&sandbox, "run --shards 1", 1).total(), 3);
    expect_init(&sandbox, "ctest");
}

#[test]
fn cargo() {
    let lib = "//! Adds.\n\n/// ```\n/// assert_eq!(shop::add(1, 1), 2);\n/// ```\npub fn add(a: u8, b: u8) -> u8 { a + b }\n\
               #[cfg(test)] mod tests { #[test] fn adds() { assert_eq!(super::add(1, 2), 3); } #[test] #[ignore = \"later\"] fn ships() {} }\n";
    let sandbox = sandbox(&[
        ("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n"),
        ("src/lib.rs", lib),
        ("tests/cart.rs", "#[test] fn pays() { println!(\"seven\"); assert_eq!(7, 8, \"no money\"); }\n#[test] fn stays() {}\n"),
        ("src/main.rs", "fn main() {}\n"),
        ("tests/exits.rs", "#[test] fn before() {}\n#[test] fn leaves() { std::process::exit(0) }\n"),
    ]);
    let red = facts(&sandbox, "run --shards 2", 1);
    let exceptions = ["shop --lib::tests::ships: skipped", "shop --test cart::pays: failed", "shop --test exits: errored"];
    assert_eq!((red.exceptions(), red.count("passed")), (exceptions.map(str::to_owned).to_vec(), 3));
    assert!(told(&red, "shop --test cart::pays").contains("seven"), "{:?}", red.told);
    expect_init(&sandbox, "cargo");
}

const MIX: &str =
    "defmodule Shop.MixProject do\n  use Mix.Project\n  def project, do: [app: :shop, version: \"0.1.0\", elixirc_paths: [\"lib\"]]\nend\n";

/// A module of `ExUnit` tests.
fn cases(name: &str, body: &str) -> String {
    format!("defmodule Shop.{name}Test do\n  use ExUnit.Case\n  {body}\nend\n")
}

#[test]
fn exunit() {
    let cart = "test \"adds\", do: assert Shop.add(1, 1) == 2\n  test \"pays\", do: assert Shop.add(3, 4) == 8\n  @tag :skip\n  test \"ships\", do: :ok";
    let sandbox = sandbox(&[
        ("mix.exs", MIX),
        ("lib/shop.ex", "defmodule Shop do\n  def add(a, b), do: a + b\nend\n"),
        ("test/test_helper.exs", "ExUnit.start()\n"),
        ("test/cart_test.exs", &cases("Cart", cart)),
        ("test/tax_test.exs", &cases("Tax", "for n <- 1..3, do: (test \"band #{n}\", do: :ok)")),
        ("test/setup_test.exs", &cases("Setup", "setup_all do\n    raise \"no <stock>\"\n  end\n  test \"never\", do: :ok")),
        ("test/none_test.exs", "defmodule Shop.None do\nend\n"),
        ("test/exits_test.exs", &cases("Exits", "test \"before\", do: :ok\n  test \"leaves\", do: System.halt(0)")),
        ("test/broken_test.exs", "defmodule Shop.BrokenTest do\n"),
    ]);
    // Four shards compile side by side, in one directory.
    let red = facts(&sandbox, "run --shards 4", 1);
    let bad = red.exceptions();
    let want = [
        "test/broken_test.exs: errored",
        "test/cart_test.exs::Shop.CartTest::test pays: failed",
        "test/cart_test.exs::Shop.CartTest::test ships: skipped",
        "test/exits_test.exs: errored",
        "test/setup_test.exs::Shop.SetupTest::test never: errored",
    ];
    assert_eq!((bad.clone(), red.count("passed")), (want.map(str::to_owned).to_vec(), 4), "{:?}", red.told);
    assert!(told(&red, "test/cart_test.exs::Shop.CartTest::test pays").contains("left:  7"), "{:?}", red.told);
    assert!(told(&red, "test/setup_test.exs::Shop.SetupTest::test never").contains("no <stock>"), "{:?}", red.told);
    // Together, what is bad in one file leaves nothing of the others unproven.
    let again = facts(&sandbox, "run --shards 1", 1);
    assert_eq!((again.exceptions(), again.count("passed")), (bad, 4));
    assert_eq!(facts(&sandbox, "run test/tax_test.exs test/none_test.exs", 0).total(), 3);
    expect_init(&sandbox, "exunit");
    // What does not compile has no tests to list, and says so once.
    sandbox.write("lib/shop.ex", "defmodule Shop do\n  def add(a, b), do: a + c\nend\n");
    sandbox.splitci("run --shards 2").run().expect_exit(1).expect_says("makes the project ready").expect_says("undefined");
}

#[test]
fn exunit_in_an_umbrella() {
    let root = "defmodule All.MixProject do\n  use Mix.Project\n  def project, do: [apps_path: \"apps\", version: \"0.1.0\"]\nend\n";
    let sandbox = sandbox(&[
        ("mix.exs", root),
        ("apps/shop/mix.exs", MIX),
        ("apps/shop/test/test_helper.exs", "ExUnit.start()\n"),
        ("apps/shop/test/cart_test.exs", &cases("Cart", "test \"adds\", do: :ok")),
        ("apps/tax/mix.exs", &MIX.replace("Shop", "Tax").replace(":shop", ":tax")),
        ("apps/tax/test/test_helper.exs", "ExUnit.start()\n"),
        ("apps/tax/test/band_test.exs", &cases("Band", "test \"one\", do: :ok\n  test \"two\", do: flunk(\"too high\")")),
    ]);
    for _ in 0..2 {
        let red = facts(&sandbox, "run --shards 1", 1);
        let bad = "apps/tax/test/band_test.exs::Shop.BandTest::test two: failed";
        assert_eq!((red.exceptions(), red.count("passed")), (vec![bad.to_owned()], 2), "{:?}", red.told);
    }
}

#[test]
fn go() {
    let sandbox = sandbox(&[
        ("go.mod", "module example.com/shop\n\ngo 1.19\n"),
        (
            "cart/cart_test.go",
            "package cart\n\nimport \"testing\"\n\nfunc TestAdds(t *testing.T) {}\nfunc TestPays(t *testing.T) { t.Error(\"no money\") }\n",
        ),
        (
            "tax/tax_test.go",
            "package tax\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestBefore(t *testing.T) {}\nfunc TestLeaves(t *testing.T) { os.Exit(0) }\n",
        ),
        ("broken/broken_test.go", "package broken\n\nfunc TestX(t *testing.T) {}\n"),
        ("plain/plain.go", "package plain\n"),
    ]);
    let red = facts(&sandbox, "run --shards 2", 1);
    let bad = red.exceptions();
    assert!(bad.contains(&"example.com/shop/cart::TestPays: failed".to_owned()), "{bad:?}");
    assert!(
        bad.contains(&"example.com/shop/tax::TestLeaves: errored".to_owned())
            || bad.contains(&"example.com/shop/tax::TestLeaves: failed".to_owned()),
        "{bad:?}"
    );
    assert!(bad.iter().any(|bad| bad.starts_with("example.com/shop/broken")), "{bad:?}");
    assert!(told(&red, "example.com/shop/cart::TestPays").contains("no money"), "{:?}", red.told);
    sandbox.write(
        "broken/broken_test.go",
        "package broken\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestMain(m *testing.M) { os.Exit(0) }\n",
    );
    assert_eq!(facts(&sandbox, "run broken", 1).exceptions(), ["example.com/shop/broken: errored"], "no test ran, and nobody says so");
    fs_err::remove_dir_all(sandbox.project().join("broken")).expect("removed");
    // In the other package no test has this name, and Go says so.
    assert_eq!(facts(&sandbox, "run -- -run TestAdds", 0).total(), 1);
    expect_init(&sandbox, "go");
}

#[test]
fn jest() {
    require();
    // Debian's Jest needs Debian's Node, which this machine may not have.
    let dockerfile = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends jest \\\n \
                      && rm -rf /var/lib/apt/lists/*\nWORKDIR /app\nCOPY . .\n";
    let cart = "describe('cart', () => {\n  it('adds', () => {});\n  it('pays', () => { expect(7).toBe(8); });\n  it.skip('ships', () => {});\n  \
                it.todo('later');\n});\n";
    let sandbox = sandbox(&[
        ("Dockerfile", dockerfile),
        ("package.json", "{\"jest\": {\"coverageThreshold\": {\"global\": {\"lines\": 100}}, \"collectCoverage\": true}}"),
        ("src/cart.js", "module.exports = (a) => { if (a > 1) { return 2; }\n return 1; };\n"),
        ("src/cart.test.js", cart),
        ("src/__tests__/tax.js", "const cart = require('../cart');\nfor (let n = 0; n < 3; n++) it('band ' + n, () => { cart(1); });\n"),
        ("src/hook.test.js", "beforeAll(() => { throw new Error('no stock'); });\nit('never', () => {});\n"),
        ("src/exits.test.js", "it('before', () => {});\nit('leaves', () => process.exit(0));\n"),
        ("src/broken.test.js", "describe('x', () => {\n"),
    ]);
    let docker = |line: &str, exit| {
        let done = sandbox.splitci(line).patience(Duration::from_mins(10)).run();
        done.expect_exit(exit);
        expect_no_containers(&done.facts().run);
        done.facts()
    };
    let red = docker("run --json --shards 2", 1);
    let want = [
        "src/broken.test.js: errored",
        "src/cart.test.js::cart later: skipped",
        "src/cart.test.js::cart pays: failed",
        "src/cart.test.js::cart ships: skipped",
        "src/exits.test.js: errored",
        "src/hook.test.js::never: failed",
    ];
    assert_eq!((red.exceptions(), red.count("passed")), (want.map(str::to_owned).to_vec(), 4), "{:?}", red.told);
    assert!(told(&red, "src/cart.test.js::cart pays").contains("Expected: 8"), "{:?}", red.told);
    // Together, what is bad in one file leaves nothing of the others unproven.
    let again = docker("run --json --shards 1", 1);
    assert_eq!((again.exceptions(), again.count("passed")), (want.map(str::to_owned).to_vec(), 4));
    // A part of the suite covers a part of the code.
    assert_eq!(docker("run --json src/__tests__/tax.js", 0).total(), 3);
    expect_init(&sandbox, "jest");
}

/// Debian's Maven finds what Debian has, and asks nobody else.
const DEBIAN: &str = "-o\n-Dmaven.repo.local=/usr/share/maven-repo\n";
const POM: &str = "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>example</groupId>\
    <artifactId>shop</artifactId><version>1</version><properties><maven.compiler.source>17</maven.compiler.source>\
    <maven.compiler.target>17</maven.compiler.target><project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>\
    <dependencies><dependency><groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId><version>5.9.2</version>\
    <scope>test</scope></dependency></dependencies></project>\n";

#[test]
fn junit() {
    let class = |head: &str, body: &str| format!("package shop;\nimport org.junit.jupiter.api.*;\n{head} {{ {body} }}\n");
    let cart = "@Test void adds() { Assertions.assertEquals(2, Cart.add(1, 1)); }\n@Test void pays() { Assertions.assertEquals(8, 7, \"no money\"); }\n\
                @Test @Disabled(\"later\") void ships() {}\n@Nested class Inner { @Test void deep() {} }";
    let sandbox = sandbox(&[
        (".mvn/maven.config", DEBIAN),
        ("pom.xml", POM),
        ("src/main/java/shop/Cart.java", "package shop;\npublic class Cart { public static int add(int a, int b) { return a + b; } }\n"),
        ("src/test/java/shop/CartTest.java", &class("class CartTest", cart)),
        ("src/test/java/shop/CartTests.java", &class("class CartTests", "@Test void other() {}")),
        ("src/test/java/shop/AbstractTest.java", &class("abstract class AbstractTest", "@Test void never() {}")),
        ("src/test/java/shop/ExitsTest.java", &class("class ExitsTest", "@Test void before() {} @Test void leaves() { System.exit(0); }")),
    ]);
    // Four shards in one directory that is not compiled yet.
    let red = facts(&sandbox, "run --shards 4", 1);
    let bad = red.exceptions();
    let want = [
        "src/test/java/shop/CartTest.java::shop.CartTest::pays: failed",
        "src/test/java/shop/CartTest.java::shop.CartTest::ships: skipped",
        "src/test/java/shop/ExitsTest.java: errored",
    ];
    assert_eq!((bad.clone(), red.count("passed")), (want.map(str::to_owned).to_vec(), 3), "{:?}", red.told);
    assert!(told(&red, "src/test/java/shop/CartTest.java::shop.CartTest::pays").contains("no money"), "{:?}", red.told);
    assert!(told(&red, "src/test/java/shop/ExitsTest.java").contains("terminated without properly saying goodbye"), "{:?}", red.told);
    // Together, what is bad in one class leaves nothing of the others unproven.
    let again = facts(&sandbox, "run --shards 1", 1);
    assert_eq!((again.exceptions(), again.count("passed")), (bad, 3));
    expect_init(&sandbox, "junit");
    sandbox.write("src/test/java/shop/ExitsTest.java", "package shop;\nclass ExitsTest {\n");
    sandbox.splitci("run --shards 2").run().expect_exit(1).expect_says("makes the project ready").expect_says("ExitsTest.java");
}

#[test]
fn mocha() {
    let sandbox = sandbox(&[
        (".mocharc.json", "{}"),
        (
            "test/cart.js",
            "const assert = require('assert');\ndescribe('cart', () => { it('adds', () => {}); it('pays', () => assert.equal(7, 8)); it('ships'); });\n",
        ),
        ("test/tax.js", "describe('tax', () => { for (let n = 0; n < 3; n++) it('band ' + n, () => {}); });\n"),
        ("test/hook.js", "describe('hook', () => { before(() => { throw new Error('no stock'); }); it('never', () => {}); });\n"),
        ("test/exits.js", "it('leaves', () => process.exit(0));\nit('after', () => {});\n"),
        ("test/broken.js", "describe('x', () => {\n"),
    ]);
    let red = facts(&sandbox, "run --shards 2", 1);
    let bad = red.exceptions();
    let hook = "test/hook.js::hook \"before all\" hook for \"never\": failed";
    assert_eq!(
        bad,
        ["test/broken.js: errored", "test/cart.js::cart pays: failed", "test/cart.js::cart ships: skipped", "test/exits.js: errored", hook]
    );
    assert_eq!(red.count("passed"), 4);
    // Together, what is bad in one file leaves nothing of the others unproven.
    let again = facts(&sandbox, "run --shards 1", 1);
    assert_eq!((again.exceptions(), again.count("passed")), (bad, 4));
    expect_init(&sandbox, "mocha");
}

#[test]
fn phpunit() {
    let class = |name: &str, body: &str| format!("<?php\nclass {name} extends PHPUnit\\Framework\\TestCase {{ {body} }}\n");
    let cart = class("CartTest", "function testAdds() { $this->assertSame(2, 1 + 1); } function testPays() { $this->assertSame(8, 7); }");
    let base = class("BaseTest", "function testNever() {}").replace("class", "abstract class");
    let exits = class("ExitTest", "function testBefore() { $this->assertTrue(true); } function testLeaves() { exit(0); }");
    let sandbox = sandbox(&[
        ("phpunit.xml", "<phpunit/>"),
        ("tests/CartTest.php", &cart),
        ("tests/ExitTest.php", &exits),
        ("tests/BaseTest.php", &base),
    ]);
    let red = facts(&sandbox, "run --shards 2", 1);
    let bad = red.exceptions();
    assert_eq!((bad.len(), red.count("passed")), (2, 1), "{bad:?}");
    assert!(
        bad[0].starts_with("tests/CartTest.php::") && bad[0].ends_with("testPays: failed") && bad[1] == "tests/ExitTest.php: errored",
        "{bad:?}"
    );
    expect_init(&sandbox, "phpunit");
}
